"""The one decoder: a clip of whatever shape a data set row holds it in → mono samples, within bounds.

WAV, FLAC, OGG, Opus, MP3 and their like (:mod:`.signatures` lists them) are decoded by libsndfile and resampled by
soxr: neither FFmpeg nor torchcodec is needed. Whatever a clip claims, nothing is allocated before rate, channels,
length and bytes were held against the bounds below, and decoding goes on block by block, so that memory is what the
mono samples take at the wanted rate: 230 MB for the hour that a clip may last.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from ..distributions import check_choice
from .faults import MENDS as MENDS
from .faults import MIN_SAMPLES as MIN_SAMPLES
from .faults import AudioError as AudioError
from .faults import BadClip as BadClip
from .faults import clip_error as clip_error
from .files import check_size, read_clip_file
from .mpeg import silent_header
from .signatures import check_format
from .wholeness import Carried, check_whole

#: What the audio tower of the model hears, in Hz.
SAMPLING_RATE = 16000
#: Longest clip that the audio tower hears, in seconds. The feature extractor cuts longer ones without a word.
MAX_SECONDS = 30.0

#: Bounds of what is decoded; of the encoded bytes, see `files.MAX_BYTES`. Longest recording, in seconds.
MAX_DECODED_SECONDS = 3600.0
#: Sampling rates, in Hz.
MIN_RATE, MAX_RATE = 4000, 384_000
MAX_CHANNELS = 32
#: Samples of all channels, before resampling; an hour in stereo at 48 kHz has 3.5e8.
MAX_SAMPLES = 1 << 29
#: Highest peak of float samples, of which full scale is 1. A hot mix or a lossy codec passes 1 by a little; integers
#: that were never divided by their full scale pass it by far.
MAX_PEAK = 8.0

_BLOCK = 1 << 18  # samples of all channels

LongAudio = Literal["error", "truncate", "window"]
Waveform = NDArray[np.float32]


def check_long_audio(value: str) -> None:
    """Raise a ValueError unless `value` is a way to treat long clips."""
    check_choice("long_audio", value, get_args(LongAudio))


@dataclass(frozen=True)
class Decoded:
    """A clip that can be used."""

    wave: Waveform  # (T,) mono, at the rate that was asked for, finite, not empty
    rate: int  # as stored, in Hz
    channels: int  # as stored
    seconds: float  # as stored
    data: bytes | None = None  # the encoded file, where it was one
    kind: str | None = None  # its format, see `signatures.format_of`
    verified: bool = True  # False for a file that carries no length, so that nobody can tell whether its end is missing


def encoded_form(value: Any) -> Any:
    """What a torchcodec decoder of ``datasets`` was made from, ``{"bytes", "path"}``; anything else as it is."""
    encoded = getattr(value, "_hf_encoded", None)
    if isinstance(encoded, Mapping) and (encoded.get("bytes") is not None or _is_local(encoded.get("path"))):
        return encoded
    return value


def _is_local(path: Any) -> bool:
    return isinstance(path, (str, os.PathLike)) and "://" not in os.fspath(path)


def source_bytes(value: Any) -> bytes | None:
    """Return the encoded bytes behind `value`, reading its file where it has one; None where it is decoded already."""
    if value is None:
        raise BadClip("missing", "the row has no audio")
    value = encoded_form(value)
    data: Any = value if isinstance(value, (bytes, bytearray, memoryview)) else None
    path: Any = value if isinstance(value, (str, os.PathLike)) else None
    if isinstance(value, Mapping):
        data = value.get("bytes")
        path = None if value.get("array") is not None else value.get("path")
        if data is None and path is None and value.get("array") is None:
            raise BadClip("missing", "the row has neither bytes, nor a path, nor an array")
    if data is not None:
        check_size(len(data))
        return bytes(data)
    return None if path is None else read_clip_file(path)


@contextlib.contextmanager
def whole_clip() -> Iterator[None]:
    """Let a Ctrl-C count after the block, in which libsndfile works on one clip, instead of within it.

    libsndfile reads and writes through callbacks to Python. A `KeyboardInterrupt` in one of them is printed and
    dropped: the run would go on, with a damaged clip or one that is said to be unreadable, or the process would abort.
    So is one while the object of an open file is deleted, which has to happen within the block, too.
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


def decode(value: Any, sampling_rate: int = SAMPLING_RATE, assumed_rate: int | None = None) -> Decoded:
    """Decode one clip to mono at `sampling_rate`: channels are averaged first, then the result is resampled.

    Args:
        value: A clip of any shape, see :func:`.clips.load_audio`.
        sampling_rate: Wanted rate, in Hz.
        assumed_rate: Rate of a bare array, in Hz; default: `sampling_rate`.

    Returns:
        The clip.

    Raises:
        BadClip: It cannot be used; what is wrong is one of the kinds of :data:`.faults.MENDS`.
        ModuleNotFoundError: The extra ``audio`` is not installed.

    Example:
        >>> found = decode({"array": np.zeros((2, 8000)), "sampling_rate": 8000})
        >>> found.wave.shape, found.rate, found.channels, found.seconds
        ((16000,), 8000, 2, 1.0)
    """
    data = source_bytes(value)
    if data is not None:
        with whole_clip():
            return _decode_bytes(data, sampling_rate)
    samples, rate = samples_of(value, assumed_rate or sampling_rate)
    check_bounds(rate, samples.shape[1], len(samples))
    sink = _Sink(rate, samples.shape[1], sampling_rate)
    step = max(1, _BLOCK // samples.shape[1])
    for start in range(0, len(samples), step):
        sink.take(as_floats(samples[start : start + step]))
    return Decoded(sink.wave(), rate, samples.shape[1], len(samples) / rate)


def check_bounds(rate: float, channels: int, frames: int) -> None:
    """Raise `BadClip` where a clip of so many samples a channel is beyond the bounds of what is decoded."""
    if not MIN_RATE <= rate <= MAX_RATE:
        raise BadClip(
            "too_large" if rate > MAX_RATE else "corrupt",
            f"the sampling rate is {rate:g} Hz, and it may be {MIN_RATE:,} to {MAX_RATE:,}",
        )
    if channels > MAX_CHANNELS:
        raise BadClip("too_large", f"{channels} channels, and there may be {MAX_CHANNELS}")
    if frames > MAX_DECODED_SECONDS * rate:
        raise BadClip("too_large", f"{frames / rate:,.0f} s, and a recording may last {MAX_DECODED_SECONDS:,.0f}")
    if frames * channels > MAX_SAMPLES:
        raise BadClip("too_large", f"{frames * channels:,} samples, and there may be {MAX_SAMPLES:,}")


class _Sink:
    """Takes a clip block by block: checks, averages the channels, resamples, and keeps the result."""

    def __init__(self, rate: int, channels: int, wanted: int) -> None:
        self.rate, self.channels, self.wanted = rate, channels, wanted
        self.frames = self._bad = 0
        self._peak = 0.0
        self._kept = bytearray()  # grows by an eighth, and without a second copy
        self._only: Waveform | None = None  # the one block that needs nothing done
        self._stream: Any = None
        if rate != wanted:
            self._stream = need("soxr", "audio").ResampleStream(rate, wanted, 1, dtype="float32")

    def take(self, block: Waveform) -> None:
        """A block (t, C) of float samples."""
        if not len(block):
            return
        self.frames += len(block)
        check_bounds(self.rate, self.channels, self.frames)
        with np.errstate(invalid="ignore", over="ignore"):  # what is infinite is counted below
            mono: Waveform = np.ascontiguousarray(block[:, 0] if block.shape[1] == 1 else block.mean(axis=1))
        peak = max(float(mono.max()), -float(mono.min()))
        if not np.isfinite(peak):
            self._bad += mono.size - int(np.isfinite(mono).sum())
        if self._bad:
            return
        self._peak = max(self._peak, peak)
        if self._stream is not None:
            mono = self._stream.resample_chunk(mono)
        elif self._only is None and not self._kept:
            self._only = mono
            return
        if self._only is not None:
            self._kept += self._only.tobytes()
            self._only = None
        self._kept += mono.tobytes()

    def wave(self) -> Waveform:
        """All of it (T,), once there is no more; raises `BadClip` where it cannot be used."""
        if not self.frames:
            raise BadClip("empty", "the clip has no samples")
        if self._bad:
            raise BadClip("non_finite", f"{self._bad} of {self.frames} samples are NaN or infinite")
        if self._peak > MAX_PEAK:
            raise BadClip("wrong_scale", f"the samples reach {self._peak:,.6g}, and full scale is 1")
        if self._only is not None:
            return self._only
        if self._stream is not None:
            rest = self._stream.resample_chunk(np.zeros(0, dtype=np.float32), last=True)
            self._kept += rest.tobytes()
        if not self._kept:
            raise BadClip("too_short", f"nothing is left of it at {self.wanted} Hz")
        return np.frombuffer(self._kept, dtype=np.float32)


# --- samples that are decoded already


def samples_of(value: Any, assumed_rate: int) -> tuple[NDArray[Any], int]:
    """The samples (T, C) of what is decoded already, as they are, and their rate."""
    if isinstance(value, Mapping):
        samples, rate = value["array"], value.get("sampling_rate")
        if rate is None:
            raise BadClip("corrupt", "the row has an array but no sampling_rate")
    elif hasattr(value, "get_all_samples"):  # torchcodec's AudioDecoder, which datasets gives with Audio(decode=True)
        samples, rate = _of_decoder(value)
    else:
        samples, rate = value, assumed_rate
    if not isinstance(rate, (int, float, np.number)) or not rate > 0 or int(rate) != rate:
        raise BadClip("corrupt", f"the sampling rate is {rate!r}, not a whole number of Hz over 0")
    try:
        array = np.asarray(samples)
    except (ValueError, TypeError) as error:
        raise BadClip("corrupt", f"the samples are not an array of numbers ({error})") from error
    if array.dtype not in (np.int16, np.int32) and array.dtype.kind != "f" and array.size:
        raise BadClip("corrupt", f"samples are {array.dtype}; give floats between -1 and 1, or int16 or int32")
    if array.ndim == 1:
        array = array[:, None]
    elif array.ndim == 2:
        # Channels are the shorter axis; for a square, the first, as torch and datasets write it.
        array = array.T if array.shape[0] <= array.shape[1] else array
    else:
        raise BadClip("corrupt", f"samples must have the shape (T,), (C, T) or (T, C), got {array.shape}")
    if not array.size:
        raise BadClip("empty", "the clip has no samples")
    return array, int(rate)


def _of_decoder(value: Any) -> tuple[Any, Any]:
    about = getattr(value, "metadata", None)
    seconds, rate = getattr(about, "duration_seconds_from_header", None), getattr(about, "sample_rate", None)
    if seconds and rate:
        check_bounds(rate, getattr(about, "num_channels", None) or 1, int(seconds * rate))
    try:
        if hasattr(value, "get_samples_played_in_range"):  # headers may claim anything
            decoded = value.get_samples_played_in_range(0.0, MAX_DECODED_SECONDS + 1)
        else:
            decoded = value.get_all_samples()
    except (RuntimeError, ValueError) as error:
        raise BadClip("corrupt", f"the decoder failed ({error})") from error
    return decoded.data, decoded.sample_rate


def as_floats(array: NDArray[Any]) -> Waveform:
    """Samples as float32, integers divided by their full scale."""
    if array.dtype.kind == "i":
        array = array / -float(np.iinfo(array.dtype).min)
    with np.errstate(over="ignore"):  # what is beyond float32 becomes infinite, and is told of
        return np.asarray(array, dtype=np.float32)


# --- encoded files


@lru_cache(maxsize=1)
def _reader_class(soundfile: Any) -> Any:
    class Reader(soundfile.SoundFile):  # type: ignore[misc]
        """Reads on without a seek after every block, which costs time and, in MP3, accuracy."""

        def seekable(self) -> bool:
            return False

    return Reader


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[tuple[Any, str, Carried]]:
    """An encoded file as libsndfile opens it, its format, and what it carries; within the bounds, as far as it says."""
    soundfile = need("soundfile", "audio")
    kind = check_format(data)
    carried = check_whole(data, kind)
    for at, value in carried.fixes:
        data = data[:at] + value + data[at + len(value) :]
    if carried.rebuild is not None:
        data = _countable(data, carried.rebuild)
    file = None
    try:
        file = _reader_class(soundfile)(io.BytesIO(data))
        claimed = file.frames if file.frames < 1 << 62 else 0  # a stream that was never closed does not know
        check_bounds(file.samplerate, file.channels, max(claimed, carried.frames))
        yield file, kind, carried
    except (soundfile.SoundFileError, ValueError, OverflowError, MemoryError) as error:
        reason = str(error).rpartition(": ")[2].rstrip(".") or type(error).__name__
        if "unsupported" in reason.lower() or "unimplemented" in reason.lower():
            raise BadClip("unsupported", f"the file is {kind.upper()} of a coding that is not decoded here") from error
        raise BadClip(
            "corrupt", f"the file breaks off or is damaged: not readable as {kind.upper()} ({reason})"
        ) from error
    finally:
        if file is not None:
            file.close()


def _countable(data: bytes, start: int) -> bytes:
    """MP3 with a header that says how many frames there are.

    Without one, libmpg123 guesses the length from the first frames' rate of bits, and libsndfile stops there: of a file
    of varying rate, half was gone. From a header without a checksum it takes whatever stands there.
    """
    header = silent_header(data, start)
    return header + data[start:] if header else data


def encoded_seconds(data: bytes) -> float | None:
    """The duration of an encoded file by its header, or None where that does not say. Raises `BadClip`."""
    with whole_clip():
        return _seconds(data)


def _seconds(data: bytes) -> float | None:
    with _opened(data) as (file, kind, carried):
        if carried.length and kind != "mp3" and 0 < file.frames < 1 << 62:
            return float(file.frames / file.samplerate)
    return None


def _decode_bytes(data: bytes, wanted: int) -> Decoded:
    with _opened(data) as (file, kind, carried):
        sink = _Sink(file.samplerate, file.channels, wanted)
        digest = hashlib.md5(usedforsecurity=False) if carried.md5 else None
        size = max(1, _BLOCK // file.channels)
        while True:
            left = file.frames - sink.frames
            if left <= 0:
                break
            block = file.read(min(size, left), dtype="int32" if digest else "float32", always_2d=True)
            if not len(block):
                break
            if digest:
                digest.update(_packed(block, carried.bits))
                block = block.astype(np.float32) * np.float32(2.0**-31)
            sink.take(block)
        _check_count(sink.frames, 0 if "MPEG" in file.subtype else file.frames, carried)
        if digest and digest.digest() != carried.md5:
            raise BadClip("corrupt", "the file is damaged: its samples do not have the checksum that its header says")
        wave = sink.wave()
        return Decoded(wave, sink.rate, sink.channels, sink.frames / sink.rate, data, kind, carried.length)


def _check_count(frames: int, claimed: int, carried: Carried) -> None:
    """As many samples must come out as were promised; `claimed` is what libsndfile makes of the header."""
    least = max(carried.frames, carried.at_least, claimed if claimed < 1 << 62 else 0)
    if frames < least or (carried.frames and frames > carried.frames):
        raise BadClip("corrupt", f"the file is damaged: {frames} samples came out, and {least} were promised")


def _packed(block: NDArray[np.int32], bits: int) -> bytes:
    """Samples as FLAC's MD5 takes them: little-endian integers of as few bytes as hold them."""
    whole = block >> (32 - bits)
    if bits == 24:
        return whole.astype("<i4").view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    return whole.astype(f"<i{bits // 8}").tobytes()
