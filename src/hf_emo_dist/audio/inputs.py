"""What a user hands to the pipeline → a name, a waveform and what else the model hears of it."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from .check import SILENCE_DBFS, level_dbfs
from .clips import load_audio
from .clips import windows as cut
from .decoding import MAX_SECONDS, MIN_SAMPLES, SAMPLING_RATE, clip_error
from .fetching import fetch, is_address_of_the_web, shown_address
from .files import MAX_BYTES


@dataclass
class Clip:
    """One recording, cut into windows that the model can hear."""

    name: str  # the path, URL or id that messages and tables show
    windows: list[np.ndarray] = field(default_factory=list)  # (T_i,) float32 at 16 kHz, one after the other
    transcript: str | None = None
    speaker: str | None = None
    error: Exception | None = None  # why it cannot be predicted; there are no windows then
    distributions: list[np.ndarray | None] = field(default_factory=list)  # of each window, when it has been predicted
    silent: list[bool] = field(default_factory=list)  # whether each window holds nothing that anybody could hear
    log_concentrations: dict[int, float] = field(default_factory=dict)  # of each window, of a model that is sure or not

    @property
    def done(self) -> bool:
        """Whether there is an error or a distribution for every window."""
        return self.error is not None or all(value is not None for value in self.distributions)


def name_of(value: Any, number: int) -> str:
    """What to call an input: its path, URL (without query and user, which may hold a secret) or id, else its number.

    Example:
        >>> name_of("a/b.wav", 0), name_of("https://host/c.wav?token=abc", 1), name_of("https://me:pw@host/d.wav", 2)
        ('a/b.wav', 'https://host/c.wav', 'https://host/d.wav')
    """
    if is_file(value) and isinstance(getattr(value, "name", None), str):
        return str(value.name)
    if isinstance(value, str | os.PathLike):
        text = os.fspath(value)
        return shown_address(text) if is_address_of_the_web(text) else text
    if isinstance(value, Mapping):
        audio = value.get("audio")
        for found in (value.get("id"), value.get("path"), audio.get("path") if isinstance(audio, Mapping) else None):
            if found is not None:
                return str(found)
        if isinstance(audio, str | os.PathLike):
            return name_of(audio, number)
    return f"input {number}"


def open_clip(
    value: Any,
    name: str,
    *,
    transcript: str | None = None,
    speaker: str | None = None,
    sampling_rate: int = SAMPLING_RATE,
    window_seconds: float = MAX_SECONDS,
    allow_private_addresses: bool = False,
) -> Clip:
    """Read one input, or say why it cannot be used, in an AudioError that names it.

    Args:
        value: A path; an http(s) URL; the bytes of a file, or an open file; an array or tensor (T,), (C, T) or (T, C)
            at `sampling_rate`; ``(rate, array)`` or ``(array, rate)``; ``{"array" or "raw", "sampling_rate"}``;
            ``{"bytes", "path"}``; a torchcodec decoder; or a data set row with `audio` in any of these shapes and,
            where known, `transcript`, `speaker` and `id`.
        name: What messages call it.
        transcript: The words; a row's own where it is None.
        speaker: Who speaks; a row's own where it is None.
        sampling_rate: Of bare arrays, in Hz.
        window_seconds: A longer clip is cut into the fewest windows of equal length that are no longer than this.
        allow_private_addresses: Whether an address may be of this machine or its network.
    """
    if isinstance(value, Mapping) and "audio" in value:
        transcript = value.get("transcript") if transcript is None else transcript
        speaker = value.get("speaker") if speaker is None else speaker
        value = value["audio"]
    if is_address_of_the_web(value):
        value = fetch(value, name, allow_private_addresses)
    elif is_file(value):
        value = _read(value, name)
    elif (pair := rate_and_array(value)) is not None:
        value = pair
    elif isinstance(value, Mapping) and "raw" in value:
        value = {**value, "array": value["raw"]}
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    if isinstance(value, np.ndarray | list | tuple):
        value = {"array": value, "sampling_rate": sampling_rate}
    elif isinstance(value, Mapping) and hasattr(value.get("array"), "detach"):
        value = {**value, "array": value["array"].detach().cpu().numpy()}
    waveform = load_audio(value, row_id=name)
    if len(waveform) < MIN_SAMPLES:
        raise clip_error("too_short", f"{len(waveform)} samples give no audio token", name)
    windows = cut(waveform, window_seconds, long_audio="window", row_id=name)
    silent = [level_dbfs(window) < SILENCE_DBFS for window in windows]
    return Clip(name, windows, transcript, speaker, distributions=[None] * len(windows), silent=silent)


def is_file(value: Any) -> bool:
    """Whether a value is an open file, or what can be read like one, such as `io.BytesIO`."""
    return hasattr(value, "read") and not isinstance(value, Mapping)


def rate_and_array(value: Any) -> dict[str, Any] | None:
    """What gradio and scipy, soundfile, librosa or torchaudio give as a recording: a rate beside samples; else None.

    Example:
        >>> rate_and_array((16000, np.zeros(3))) == rate_and_array(np.zeros(3))
        False
    """
    if not isinstance(value, tuple) or len(value) != 2:
        return None
    for rate, samples in (value, value[::-1]):
        whole = isinstance(rate, (int, np.integer)) and not isinstance(rate, bool)
        if whole and (getattr(samples, "ndim", 0) > 0 or isinstance(samples, list)):
            return {"array": samples, "sampling_rate": int(rate)}
    return None


def check_window(seconds: float) -> float:
    """`seconds` if a window may be so long."""
    if not (math.isfinite(seconds) and 0.1 <= seconds <= MAX_SECONDS):
        raise ValueError(
            f"window_seconds={seconds} must lie between 0.1 and {MAX_SECONDS:g}, the longest clip that the model hears"
        )
    return float(seconds)


def _read(file: Any, name: str) -> bytes:
    try:
        if file.seekable():  # also one that was just written
            file.seek(0)
        data = file.read(MAX_BYTES + 1)  # of what has no end too much for the decoder, and no more
    except (OSError, ValueError) as error:
        raise clip_error("missing", f"the file cannot be read ({error})", name) from None
    if not isinstance(data, bytes | bytearray):
        raise clip_error("corrupt", "the file is open as text; open it with 'rb'", name)
    return bytes(data)
