"""Source-filter synthesis of short speech-like utterances from a handful of prosodic settings, in plain NumPy.

A train of glottal pulses and some noise pass through formants that move from sound to sound (Fant 1960, "Acoustic
Theory of Speech Production"). It is no text-to-speech system: it makes signals whose pitch, loudness, tempo and voice
quality are known, for tests and for a first run without any data.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..distributions import FloatArray

# First three formants in Hz of adult male speakers, rounded from Peterson & Barney (1952), Table II.
_VOWELS: dict[str, tuple[float, float, float]] = {
    "a": (730.0, 1090.0, 2440.0),
    "e": (530.0, 1840.0, 2480.0),
    "i": (270.0, 2290.0, 3010.0),
    "o": (570.0, 840.0, 2410.0),
    "u": (300.0, 870.0, 2240.0),
}
_HIGH_FORMANTS = (3400.0, 4300.0, 5400.0)
_BANDWIDTHS = np.array([70.0, 90.0, 130.0, 200.0, 260.0, 320.0])


@dataclass(frozen=True)
class _Consonant:
    """How a consonant sounds: `formants` while it is held, voicing and noise as amplitudes beside a vowel's 1."""

    formants: tuple[float, float, float]
    seconds: float
    voicing: float
    noise: float = 0.0
    noise_hz: float = 0.0
    noise_width_hz: float = 1000.0
    burst: bool = False  # silence or a voice bar, then the noise in a short burst


_CONSONANTS: dict[str, _Consonant] = {
    "p": _Consonant((250.0, 800.0, 2200.0), 0.085, 0.0, 0.25, 900.0, 900.0, burst=True),
    "b": _Consonant((250.0, 800.0, 2200.0), 0.065, 0.12, 0.15, 900.0, 900.0, burst=True),
    "t": _Consonant((250.0, 1750.0, 2700.0), 0.085, 0.0, 0.35, 4200.0, 1500.0, burst=True),
    "d": _Consonant((250.0, 1750.0, 2700.0), 0.065, 0.12, 0.2, 4000.0, 1500.0, burst=True),
    "k": _Consonant((250.0, 1600.0, 2200.0), 0.09, 0.0, 0.35, 1900.0, 700.0, burst=True),
    "g": _Consonant((250.0, 1600.0, 2200.0), 0.07, 0.12, 0.2, 1900.0, 700.0, burst=True),
    "s": _Consonant((320.0, 1700.0, 2600.0), 0.1, 0.0, 0.3, 5600.0, 1400.0),
    "z": _Consonant((300.0, 1700.0, 2600.0), 0.075, 0.25, 0.16, 5400.0, 1400.0),
    "f": _Consonant((320.0, 1000.0, 2300.0), 0.09, 0.0, 0.12, 4200.0, 3500.0),
    "v": _Consonant((300.0, 1000.0, 2300.0), 0.065, 0.3, 0.05, 4200.0, 3500.0),
    "m": _Consonant((280.0, 1000.0, 2200.0), 0.07, 0.35),
    "n": _Consonant((280.0, 1500.0, 2500.0), 0.065, 0.35),
    "l": _Consonant((350.0, 1100.0, 2700.0), 0.06, 0.5),
}

_HOP_SECONDS = 0.008
_EDGE_SECONDS = 0.05  # near silence before and after


@dataclass(frozen=True)
class Voice:
    """What belongs to a speaker, relative to others."""

    f0_hz: float = 120.0  # middle of the pitch
    formant_scale: float = 1.0  # relative to an adult male's; a shorter vocal tract has a larger one
    rate: float = 1.0  # tempo
    level_db: float = 0.0  # loudness
    tilt_db: float = 0.0  # slope of the spectrum, dB an octave; more is brighter
    breath_db: float = 0.0


@dataclass(frozen=True)
class Prosody:
    """How one utterance is said."""

    f0_semitones: float = 0.0  # mean pitch, relative to the voice's
    f0_range: float = 3.0  # width of the pitch movements, semitones
    f0_end: float = -1.5  # pitch movement over the last syllable, semitones; negative falls
    rate: float = 5.2  # syllables a second
    level_db: float = 0.0  # loudness, relative to neutral
    tilt_db: float = -1.5  # slope of the source's spectrum beyond that of the pulses, dB an octave; negative is dull
    breath_db: float = -24.0  # noise of breath, relative to the voice
    jitter: float = 0.008  # standard deviation of a period's length, as a share of it
    shimmer: float = 0.04  # standard deviation of a period's amplitude, as a share of it
    tremor: float = 0.0  # depth of a trembling of pitch, semitones
    attack: float = 0.04  # in which a syllable rises, seconds
    formant_shift: float = 1.0  # formants relative to the voice's; spread lips raise them


@dataclass(frozen=True)
class _Tracks:
    """Settings frame by frame, and what the pitch contour needs to know of the syllables."""

    formants: FloatArray  # (frames, 3), Hz
    voicing: FloatArray  # (frames,)
    noise: FloatArray
    noise_hz: FloatArray
    noise_width: FloatArray
    centres: FloatArray  # (syllables,) middle of each vowel, seconds
    stress: FloatArray  # (syllables,)
    end: float  # end of speech, seconds


def _syllables(text: str) -> list[tuple[str, str]]:
    """Cut text into pairs of a consonant (or none) and a vowel; other letters and signs are passed over."""
    pairs, onset = [], ""
    for letter in text.lower():
        if letter in _VOWELS:
            pairs.append((onset, letter))
            onset = ""
        elif letter in _CONSONANTS:
            onset = letter
    if not pairs:
        raise ValueError(f"{text!r} has no vowel to speak. Mend: write syllables such as 'bani sodu'.")
    return pairs


def _smooth(values: FloatArray, frames: int) -> FloatArray:
    """Average over `frames` neighbours (an odd number), along the first axis: sounds run into each other."""
    padded = np.concatenate([np.repeat(values[:1], frames // 2, 0), values, np.repeat(values[-1:], frames // 2, 0)])
    sums = np.cumsum(np.concatenate([np.zeros_like(padded[:1]), padded]), axis=0)
    return np.asarray((sums[frames:] - sums[:-frames]) / frames)


def _tracks(text: str, prosody: Prosody, voice: Voice, rng: np.random.Generator) -> _Tracks:
    syllables = _syllables(text)
    seconds = 1.0 / (prosody.rate * voice.rate)
    total = seconds * len(syllables) + 2 * _EDGE_SECONDS
    count = int(np.ceil(total / _HOP_SECONDS)) + 1
    time = np.arange(count) * _HOP_SECONDS
    formants = np.tile(np.array(_VOWELS[syllables[0][1]]), (count, 1))
    voicing, noise = np.zeros(count), np.zeros(count)
    noise_hz, noise_width = np.full(count, 3000.0), np.full(count, 1000.0)
    centres, stress = [], []
    lengths = seconds * (1.0 + 0.12 * rng.uniform(-1.0, 1.0, len(syllables)))
    lengths *= seconds * len(syllables) / lengths.sum()
    start = _EDGE_SECONDS
    for index, ((onset, vowel), length) in enumerate(zip(syllables, lengths, strict=True)):
        end = start + length
        opening = start
        stressed = 1.0 if index % 2 == 0 else 0.0
        if onset:
            sound = _CONSONANTS[onset]
            opening = start + min(sound.seconds, 0.45 * length)
            held = (time >= start) & (time < opening)
            formants[held] = sound.formants
            voicing[held] = sound.voicing
            sounding = held & (time >= opening - 0.02) if sound.burst else held
            noise[sounding] = sound.noise
            noise_hz[held], noise_width[held] = sound.noise_hz, sound.noise_width_hz
        vocalic = (time >= opening) & (time < end)
        formants[vocalic] = _VOWELS[vowel]
        inside = time[vocalic] - opening
        left = end - time[vocalic]
        rise = 1.0 - np.exp(-(inside + 0.004) / max(prosody.attack * 0.5, 0.004))
        fall = np.minimum(1.0, 0.45 + left / max(length, 1e-3))
        voicing[vocalic] = (0.75 + 0.25 * stressed) * rise * fall
        centres.append((opening + end) / 2.0)
        stress.append(stressed)
        start = end
    formants[time >= start] = _VOWELS[syllables[-1][1]]
    voicing *= np.clip((start + 0.02 - time) / 0.06, 0.0, 1.0)
    return _Tracks(
        _smooth(formants, 5),
        _smooth(voicing, 3),
        noise,
        noise_hz,
        noise_width,
        np.array(centres),
        np.array(stress),
        start,
    )


def _f0_contour(
    time: FloatArray, tracks: _Tracks, prosody: Prosody, voice: Voice, rng: np.random.Generator
) -> FloatArray:
    """Pitch in Hz: it declines over the utterance, rises on stressed syllables, and moves at the end."""
    position = np.clip((time - _EDGE_SECONDS) / (tracks.end - _EDGE_SECONDS), 0.0, 1.0)
    semitones = prosody.f0_semitones + 0.5 * prosody.f0_range * (0.5 - position)
    heights = prosody.f0_range * (0.35 + 0.65 * tracks.stress) * rng.uniform(0.6, 1.2, len(tracks.centres))
    width = 0.07
    for centre, height in zip(tracks.centres, heights, strict=True):
        semitones = semitones + 0.6 * height * np.exp(-0.5 * ((time - centre) / width) ** 2)
    last = tracks.centres[-1] - 0.06
    semitones = semitones + prosody.f0_end * np.clip((time - last) / max(tracks.end - last, 0.05), 0.0, 1.0)
    phase = rng.uniform(0.0, 2.0 * np.pi)
    semitones = semitones + prosody.tremor * np.sin(2.0 * np.pi * 7.0 * time + phase)
    return np.asarray(np.clip(voice.f0_hz * 2.0 ** (semitones / 12.0), 55.0, 700.0))


def _glottal_source(
    f0: FloatArray, prosody: Prosody, rate: int, rng: np.random.Generator
) -> tuple[FloatArray, FloatArray]:
    """Derivative of the glottal flow (Rosenberg 1971, pulse shape C), and the flow itself, which shapes the breath."""
    cycles = int(np.sum(f0) / rate) + 3
    periods = 1.0 + prosody.jitter * rng.standard_normal(cycles)
    amplitudes = np.clip(1.0 + prosody.shimmer * rng.standard_normal(cycles), 0.2, 2.0)
    smooth_phase = np.cumsum(f0) / rate
    step = f0 / rate / np.clip(periods[np.minimum(smooth_phase.astype(int), cycles - 1)], 0.7, 1.3)
    phase = np.cumsum(step)
    cycle = np.minimum(phase.astype(int), cycles - 1)
    # Flow and slope are looked up in a table over one cycle: half a cosine up, a quarter down, then closed.
    opening, closing = 0.42, 0.18
    table = np.arange(2048) / 2048
    up, down = np.pi * table / opening, 0.5 * np.pi * (table - opening) / closing
    rising, falling = table < opening, (table >= opening) & (table < opening + closing)
    flow = np.where(rising, 0.5 * (1.0 - np.cos(up)), np.where(falling, np.cos(down), 0.0))
    slope = np.where(rising, 0.5 * np.pi / opening * np.sin(up), 0.0)
    slope = np.where(falling, -0.5 * np.pi / closing * np.sin(down), slope)
    within = ((phase - np.floor(phase)) * 2048).astype(int)
    return slope[within] * amplitudes[cycle], flow[within]


def _frames(signal: FloatArray, count: int, hop: int, window: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cut a signal into windowed frames, (count, len(window)), centred on the hops; float32 halves the time taken."""
    padded = np.concatenate([np.zeros(len(window) // 2), signal, np.zeros(len(window) + hop)]).astype(np.float32)
    return np.asarray(np.lib.stride_tricks.sliding_window_view(padded, len(window))[::hop][:count] * window)


def _vocal_tract(formants: FloatArray, bandwidths: FloatArray, rate: int, size: int) -> NDArray[np.complex64]:
    """Response of second-order resonators in cascade (Klatt 1980), (frames, size // 2 + 1), 1 at 0 Hz."""
    delay = np.exp(-2j * np.pi * np.arange(size // 2 + 1) / size).astype(np.complex64)
    delay_2 = delay * delay
    radius = np.exp(-np.pi * bandwidths / rate).astype(np.float32)
    below: NDArray[np.complex64] = np.ones((len(formants), size // 2 + 1), dtype=np.complex64)
    gain = np.ones(len(formants), dtype=np.float32)
    for index in range(formants.shape[1]):
        b = (2.0 * radius[index] * np.cos(2.0 * np.pi * formants[:, index] / rate)).astype(np.float32)
        c = -(radius[index] ** 2)
        below *= 1.0 - b[:, None] * delay - c * delay_2
        gain *= 1.0 - b - c
    return np.asarray(gain[:, None] / below, dtype=np.complex64)


def synthesize(
    text: str, prosody: Prosody, voice: Voice, rng: np.random.Generator, sampling_rate: int = 16000
) -> NDArray[np.float32]:
    """Speak syllables of a consonant of ``bdfgklmnpstvz`` and a vowel of ``aeiou``: float32 (T,) in [-1, 1], mono."""
    if sampling_rate < 16000:
        raise ValueError(f"`sampling_rate` must be at least 16000 Hz, got {sampling_rate}.")
    hop = round(_HOP_SECONDS * sampling_rate)
    tracks = _tracks(text, prosody, voice, rng)
    count = len(tracks.voicing)
    length = (count - 1) * hop
    contour = _f0_contour(np.arange(count, dtype=np.float64) * _HOP_SECONDS, tracks, prosody, voice, rng)
    f0 = np.interp(np.arange(length) / hop, np.arange(count), contour)
    slope, flow = _glottal_source(f0, prosody, sampling_rate, rng)

    # Air is turbulent while the glottis is open; a first difference gives its noise the bright spectrum that it has.
    white = rng.standard_normal(length)
    turbulence = np.diff(white, prepend=0.0) * (0.3 + flow)
    breath = 10.0 ** ((prosody.breath_db + voice.breath_db) / 20.0)
    breath *= np.std(slope) / np.std(turbulence)

    window = np.hanning(4 * hop + 1)[:-1].astype(np.float32)
    size = 1 << (2 * len(window) - 1).bit_length()
    frequency = np.fft.rfftfreq(size, 1.0 / sampling_rate)
    scale = voice.formant_scale * prosody.formant_shift
    high = np.tile(np.array(_HIGH_FORMANTS), (count, 1))
    formants = np.minimum(np.concatenate([tracks.formants, high], axis=1) * scale, 0.46 * sampling_rate)
    octaves = np.log2(1.0 + frequency / 500.0)
    tilt = (10.0 ** ((prosody.tilt_db + voice.tilt_db) * octaves / 20.0)).astype(np.float32)
    spectrum = np.fft.rfft(_frames(slope, count, hop, window), size)
    spectrum *= tilt
    spectrum += np.fft.rfft(_frames(breath * turbulence, count, hop, window), size)
    spectrum *= _vocal_tract(formants, _BANDWIDTHS * np.sqrt(scale), sampling_rate, size)
    spectrum *= (tracks.voicing / np.std(slope))[:, None].astype(np.float32)
    noisy = np.flatnonzero(tracks.noise > 0)
    if len(noisy):
        centre, width = tracks.noise_hz[noisy, None] * np.sqrt(scale), tracks.noise_width[noisy, None]
        distance = (frequency[None, :] - centre) / width
        # Friction grows with effort too, so half of the tilt is in it.
        shape = (np.exp(-0.5 * distance**2) * tracks.noise[noisy, None] * np.sqrt(tilt) * 2.0).astype(np.float32)
        spectrum[noisy] += np.fft.rfft(_frames(rng.standard_normal(length), count, hop, window)[noisy], size) * shape
    pieces = np.fft.irfft(spectrum, size)
    wave = np.zeros(length + size + hop)
    for index in range(count):
        wave[index * hop : index * hop + size] += pieces[index]
    wave = wave[len(window) // 2 : len(window) // 2 + length]

    loud = np.sqrt(np.mean(wave**2)) + 1e-12
    level = 10.0 ** ((-26.0 + prosody.level_db + voice.level_db) / 20.0)
    wave = wave * (level / loud) + 10.0 ** (-76.0 / 20.0) * rng.standard_normal(length)
    peak = np.abs(wave).max()
    if peak > 0.98:
        wave *= 0.98 / peak
    return np.asarray(wave, dtype=np.float32)
