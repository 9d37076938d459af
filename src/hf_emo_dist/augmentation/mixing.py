"""How two clips become one: the paper's way, and Between-Class mixing with both clips kept whole."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .._tables import resolve
from ..audio.decoding import SAMPLING_RATE, AudioError
from ..distributions import FloatArray, check_choice

Waveform = NDArray[np.float32]
Lengths = Literal["align", "pad", "loop"]
#: ``mixer(first (T1,), second (T2,), ratio)`` gives a waveform; all at 16 kHz, `ratio` being the share of the first.
Mixer = Callable[[Waveform, Waveform, float], Waveform]

#: Name → where the mixer is: a class that may take `lengths` and `fade_seconds`, or a function.
MIXERS = {"between_class": "mixing:BetweenClassMixer", "paper": "mixing:PaperMixer"}

_FRAME, _STEP = 2048, 1024
_WINDOW = np.hanning(_FRAME).astype(np.float32)
# Levels of speech against speech are compared on 10 ms.
_ENVELOPE = 160
# Below it there is no speech: to be heard in proportion, the other clip would have to be turned down to nothing.
SILENCE_DBFS = -70.0


def mix_distributions(first: ArrayLike, second: ArrayLike, ratio: ArrayLike) -> FloatArray:
    """``ratio * first + (1 - ratio) * second``, (K,) or (N, K) float64: the label of a mixed row, exactly."""
    p, q = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    share = np.asarray(ratio, dtype=np.float64)[..., None]
    return np.asarray(share * p + (1.0 - share) * q)


@lru_cache(maxsize=1)
def _a_weights() -> NDArray[np.float32]:
    """Gain in power of each bin of a frame, IEC 61672-1: A-weighting with 0 dB at 1 kHz."""
    f2 = np.fft.rfftfreq(_FRAME, 1.0 / SAMPLING_RATE) ** 2
    c1, c2, c3, c4 = 20.598997**2, 107.65265**2, 737.86223**2, 12194.217**2
    response = c4 * f2**2 / ((f2 + c1) * np.sqrt((f2 + c2) * (f2 + c3)) * (f2 + c4))
    gain = (10 ** (2.0 / 20) * response) ** 2
    window = np.hanning(_FRAME)
    # Parseval: a one-sided spectrum counts every bin but the outer two twice
    twice = np.full(len(f2), 2.0)
    twice[[0, -1]] = 1.0
    return np.asarray(gain * twice / (_FRAME * (window**2).sum()), dtype=np.float32)


def a_weighted_level(waveform: Waveform) -> float:
    """Level of a clip (T,) to listeners: the A-weighted one of its loudest 128 ms, in dB of full scale."""
    # as in Between-Class learning (Tokozume et al., arXiv 1711.10282) the loudest frame stands for the clip, so that
    # pauses do not count
    from scipy.fft import rfft

    wave = np.asarray(waveform, dtype=np.float32)
    if len(wave) < _FRAME:
        wave = np.pad(wave, (0, _FRAME - len(wave)))
    elif (len(wave) - _FRAME) % _STEP:
        wave = np.pad(wave, (0, _STEP - (len(wave) - _FRAME) % _STEP))
    frames = np.lib.stride_tricks.sliding_window_view(wave, _FRAME)[::_STEP] * _WINDOW
    spectrum = rfft(frames, axis=-1)
    power = float(np.max((spectrum.real**2 + spectrum.imag**2) @ _a_weights()))
    return 10.0 * float(np.log10(power)) if power > 1e-20 else -np.inf


def between_class_weight(level_first: float, level_second: float, ratio: float) -> float:
    """Amplitude weight of the first clip, so that listeners hear the two in the proportion `ratio` to `1 - ratio`."""
    # arXiv 1711.10282, equation 2
    return 1.0 / (1.0 + 10.0 ** ((level_first - level_second) / 20.0) * (1.0 - ratio) / ratio)


def lay_out(first: Waveform, second: Waveform, lengths: Lengths = "align", fade: int = 0) -> tuple[Waveform, Waveform]:
    """Bring two clips to the length of the longer, both whole; the shorter fades in and out over `fade` samples."""
    # "pad" puts silence after the shorter; "loop" repeats it; "align" lays its loud parts over those of the longer,
    # where the correlation of their envelopes is largest
    if len(first) == len(second):
        return first, second
    if len(first) < len(second):
        longer, shorter = lay_out(second, first, lengths, fade)
        return shorter, longer
    fade = min(fade, len(second) // 2)
    if lengths == "loop":
        return first, _looped(second, len(first), fade)
    start = _best_start(first, second) if lengths == "align" else 0
    end = start + len(second)
    placed = np.zeros_like(first)
    placed[start:end] = second
    if fade:
        ramp = _ramp(fade)
        if start > 0:
            placed[start : start + fade] *= ramp
        if end < len(first):
            placed[end - fade : end] *= ramp[::-1]
    return first, placed


def _ramp(length: int) -> Waveform:
    return np.asarray(0.5 - 0.5 * np.cos(np.pi * (np.arange(length) + 0.5) / length), dtype=np.float32)


def _looped(clip: Waveform, length: int, fade: int) -> Waveform:
    if not fade:
        return np.resize(clip, length)
    step = len(clip) - fade  # each repetition begins in the fade of the last
    result = np.zeros(length + len(clip), dtype=np.float32)
    ramp = _ramp(fade)
    for start in range(0, length, step):
        piece = clip.copy()
        if start:
            piece[:fade] *= ramp
        piece[-fade:] *= ramp[::-1]
        result[start : start + len(clip)] += piece
    return result[:length]


def _best_start(longer: Waveform, shorter: Waveform) -> int:
    room = len(longer) - len(shorter)
    a, b = _envelope(longer), _envelope(shorter)
    places = room // _ENVELOPE + 1
    if len(b) * places > 1 << 18:
        from scipy.signal import fftconvolve

        likeness = fftconvolve(a, b[::-1], mode="full")[len(b) - 1 : len(b) - 1 + places]
    else:
        likeness = np.correlate(np.pad(a, (0, len(b))), b, mode="valid")[:places]
    # among equals the first; what differs in the last digits is equal
    best = likeness.max()
    return min(room, int(np.flatnonzero(likeness >= best - 1e-6 * abs(best))[0]) * _ENVELOPE)


def _envelope(wave: Waveform) -> NDArray[np.float64]:
    rest = -len(wave) % _ENVELOPE
    frames = np.pad(wave, (0, rest)).reshape(-1, _ENVELOPE)
    return np.sqrt(np.einsum("nt,nt->n", frames, frames, dtype=np.float64) / _ENVELOPE)


def without_clipping(wave: Waveform) -> Waveform:
    """The clip, turned down as a whole where it would pass full scale."""
    peak = max(float(wave.max()), -float(wave.min()))
    return wave if peak <= 1.0 else np.asarray(wave * np.float32(1.0 / peak), dtype=np.float32).clip(-1.0, 1.0)


@dataclass(frozen=True)
class BetweenClassMixer:
    """The default: weights by perceived level, both clips whole, never clipped.

    ``(t x1 + (1 - t) x2) / sqrt(t² + (1 - t)²)`` with t by the A-weighted levels (arXiv 1711.10282). Raises an
    `AudioError` for a silent clip: there is no proportion in which it could be heard.

    >>> loud = np.sin(np.arange(8000) * 0.3).astype(np.float32)
    >>> mixed = BetweenClassMixer()(loud, 0.01 * loud[:4000], 0.5)
    >>> mixed.shape, bool(np.abs(mixed).max() <= 1)
    ((8000,), True)
    """

    lengths: Lengths = "align"
    fade_seconds: float = 0.01
    version: int = 1  # to be raised when the numbers change: a mixer's fields name the cached rows

    def __post_init__(self) -> None:
        check_choice("lengths", self.lengths, ("align", "pad", "loop"))
        if not 0 <= self.fade_seconds < 10:
            raise ValueError(f"`fade_seconds` must be from 0 to 10, got {self.fade_seconds}. Mend: 0.01 is usual.")

    def __call__(self, first: Waveform, second: Waveform, ratio: float) -> Waveform:
        """The mixture, see the class."""
        return self.with_levels(first, second, ratio, a_weighted_level(first), a_weighted_level(second))

    def with_levels(self, first: Waveform, second: Waveform, ratio: float, level_1: float, level_2: float) -> Waveform:
        """The mixture of clips whose levels are known already."""
        for level in (level_1, level_2):
            if level < SILENCE_DBFS:
                error = AudioError(f"a source is silent ({level:.0f} dB). Mend: leave silent clips out of the data.")
                error.kind = "silent"
                raise error
        t = between_class_weight(level_1, level_2, ratio)
        norm = np.sqrt(t * t + (1.0 - t) * (1.0 - t))
        a, b = lay_out(first, second, self.lengths, round(self.fade_seconds * SAMPLING_RATE))
        mixed = a * np.float32(t / norm)
        mixed += b * np.float32((1.0 - t) / norm)
        return without_clipping(mixed)


@dataclass(frozen=True)
class PaperMixer:
    """arXiv 2601.14620: both clips cut to the shorter, ``ratio x1 + (1 - ratio) x2``, whatever their levels.

    >>> PaperMixer()(np.ones(4, np.float32), np.zeros(2, np.float32), 0.25).tolist()
    [0.25, 0.25]
    """

    version: int = 1

    def __call__(self, first: Waveform, second: Waveform, ratio: float) -> Waveform:
        """The mixture, see the class."""
        length = min(len(first), len(second))
        mixed = first[:length] * np.float32(ratio)
        mixed += second[:length] * np.float32(1.0 - ratio)
        return without_clipping(mixed)


def mixer_named(name: str, lengths: Lengths, fade_seconds: float) -> Mixer:
    """The mixer of a name of `MIXERS`, or of ``module:Name``: a class or a function ``(first, second, ratio)``."""
    found = resolve(name, MIXERS, "`mixing`", __package__)
    if not isinstance(found, type):
        return found  # type: ignore[no-any-return]
    options = {"lengths": lengths, "fade_seconds": fade_seconds}
    taken = inspect.signature(found).parameters
    return found(**{key: value for key, value in options.items() if key in taken})  # type: ignore[no-any-return]
