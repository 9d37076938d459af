"""Decode one clip, whatever shape a data set row holds it in; :mod:`hf_emo_dist.audio` is built on this.

WAV, FLAC, OGG and MP3 are decoded by libsndfile: neither FFmpeg nor torchcodec is needed.
"""

from __future__ import annotations

import contextlib
import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from ..distributions import check_choice

#: What the audio tower of the model hears, in Hz.
SAMPLING_RATE = 16000
#: Fewest samples at 16 kHz that give an audio token: from 320 on down the tower's strides leave none.
MIN_SAMPLES = 321
#: Longest clip that the audio tower hears, in seconds. The feature extractor cuts longer ones without a word.
MAX_SECONDS = 30.0

LongAudio = Literal["error", "truncate", "window"]
Waveform = NDArray[np.float32]

#: The mend for each kind of problem.
MENDS = {
    "missing": "correct the path, or write the data set anew with the audio inside",
    "corrupt": "replace the file, or leave the row out",
    "empty": "replace the file, or leave the row out",
    "silent": "check the recording, or leave the row out",
    "non_finite": "write the clip anew without NaN or infinite samples, or leave the row out",
    "too_short": f"leave the row out, or give a clip of at least {MIN_SAMPLES} samples at {SAMPLING_RATE} Hz",
    "too_long": "cut the clip, or pass long_audio='window' (or 'truncate')",
}


class AudioError(ValueError):
    """A clip that cannot be used. The message names the row and the mend; `kind` is as in :class:`AudioProblem`."""

    kind: str = "corrupt"


def check_long_audio(value: str) -> None:
    """Raise a ValueError unless `value` is a way to treat long clips."""
    check_choice("long_audio", value, get_args(LongAudio))


def clip_error(kind: str, detail: str, row_id: Any) -> AudioError:
    """Return the error to raise for a clip, with the row and the mend."""
    where = "" if row_id is None else f"Row {row_id!r}: "
    error = AudioError(f"{where}{detail}. Mend: {MENDS[kind]}.")
    error.kind = kind
    return error


class BadClip(Exception):
    """What is wrong with a clip, before the row is known."""

    def __init__(self, kind: str, detail: str) -> None:
        super().__init__(kind, detail)
        self.kind, self.detail = kind, detail


def source_bytes(value: Any) -> bytes | None:
    """Return the encoded bytes behind `value`, reading its file where it has one; None where it is decoded already."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    path: Any = value if isinstance(value, (str, os.PathLike)) else None
    if isinstance(value, Mapping):
        if value.get("bytes") is not None:
            return bytes(value["bytes"])
        path = None if value.get("array") is not None else value.get("path")
        if path is None and value.get("array") is None:
            raise BadClip("missing", "the row has neither bytes, nor a path, nor an array")
    if path is None:
        return None
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise BadClip("missing", f"cannot read {os.fspath(path)!r} ({error.strerror or error})") from error


@contextlib.contextmanager
def whole_clip() -> Iterator[None]:
    """Let a Ctrl-C count after the block, which holds one call of libsndfile, instead of within it.

    libsndfile reads and writes through callbacks to Python. A `KeyboardInterrupt` in one of them is printed and
    dropped: the run would go on, with a damaged clip or one that is said to be unreadable, or the process would abort.
    """
    handler = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or not callable(handler):
        yield
        return
    pressed: list[tuple[Any, Any]] = []
    signal.signal(signal.SIGINT, lambda *signal_and_frame: pressed.append(signal_and_frame))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, handler)
        if pressed:
            handler(*pressed[0])


def decode(value: Any, assumed_rate: int) -> tuple[Waveform, int]:
    """Return samples (T, C) and their rate; `assumed_rate` is that of a bare array."""
    if value is None:
        raise BadClip("missing", "the row has no audio")
    data = source_bytes(value)
    if data is not None:
        return decode_bytes(data)
    if isinstance(value, Mapping):
        samples, rate = value["array"], value.get("sampling_rate")
        if rate is None:
            raise BadClip("corrupt", "the row has an array but no sampling_rate")
    elif hasattr(value, "get_all_samples"):  # torchcodec's AudioDecoder, which datasets gives with Audio(decode=True)
        try:
            decoded = value.get_all_samples()
        except (RuntimeError, ValueError) as error:
            raise BadClip("corrupt", f"the decoder failed ({error})") from error
        samples, rate = decoded.data, decoded.sample_rate
    else:
        samples, rate = value, assumed_rate
    if not isinstance(rate, (int, float, np.number)) or not rate > 0 or int(rate) != rate:
        raise BadClip("corrupt", f"the sampling rate is {rate!r}, not a whole number of Hz over 0")
    try:
        array = np.asarray(samples)
    except (ValueError, TypeError) as error:
        raise BadClip("corrupt", f"the samples are not an array of numbers ({error})") from error
    if array.dtype in (np.int16, np.int32):
        array = array / -float(np.iinfo(array.dtype).min)
    elif array.dtype.kind != "f" and array.size:
        raise BadClip("corrupt", f"samples are {array.dtype}; give floats between -1 and 1, or int16 or int32")
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim == 2:
        # Channels are the shorter axis; for a square, the first, as torch and datasets write it.
        array = array.T if array.shape[0] <= array.shape[1] else array
    else:
        raise BadClip("corrupt", f"samples must have the shape (T,), (C, T) or (T, C), got {array.shape}")
    return np.asarray(array, dtype=np.float32), int(rate)


def decode_bytes(data: bytes) -> tuple[Waveform, int]:
    """Decode an encoded file to samples (T, C) and their rate."""
    soundfile = need("soundfile", "audio")
    if not data:
        raise BadClip("empty", "the file has no bytes")
    try:
        with whole_clip():
            samples, rate = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    except soundfile.SoundFileError as error:
        reason = str(error).rpartition(": ")[2].rstrip(".") or "the data breaks off or is damaged"
        raise BadClip("corrupt", f"not readable as WAV, FLAC, OGG or MP3 ({reason})") from error
    return samples, int(rate)


def lost_bytes(data: bytes) -> int:
    """Return how many bytes a WAV file lacks by its own header; libsndfile reads a cut file without a word."""
    if data[:4] != b"RIFF" or data[8:12] != b"WAVE":
        return 0
    declared = int.from_bytes(data[4:8], "little") + 8
    # Programs that write to a pipe cannot know the size and leave a huge one.
    return max(0, declared - len(data)) if declared < 0x7F000000 else 0


def to_mono(samples: Waveform) -> Waveform:
    """Average the channels of samples (T, C), refusing what is empty or not finite."""
    if samples.size == 0:
        raise BadClip("empty", "the clip has no samples")
    mono: Waveform = np.ascontiguousarray(samples[:, 0] if samples.shape[1] == 1 else samples.mean(axis=1))
    bad = mono.size - int(np.isfinite(mono).sum())
    if bad:
        raise BadClip("non_finite", f"{bad} of {mono.size} samples are NaN or infinite")
    return mono
