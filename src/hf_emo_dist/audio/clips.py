"""Read, resample, hash, encode and cut one clip, whatever shape a data set row holds it in.

All of it goes through the one decoder, :mod:`.decoding`.
"""

from __future__ import annotations

import hashlib
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from .decoding import (
    MAX_SECONDS,
    SAMPLING_RATE,
    BadClip,
    LongAudio,
    Waveform,
    as_floats,
    check_bounds,
    check_long_audio,
    clip_error,
    decode,
    samples_of,
    source_bytes,
    whole_clip,
)


def load_audio(value: Any, sampling_rate: int = SAMPLING_RATE, row_id: Any = None) -> Waveform:
    """Decode one clip to mono at `sampling_rate`.

    Channels are averaged first, then the result is resampled. Levels are left as they are.

    Args:
        value: A path; the bytes of a WAV, FLAC, OGG, Opus, MP3, AIFF, AU, CAF, RF64, W64 or SPHERE file;
            ``{"bytes", "path"}``; ``{"array", "sampling_rate"}`` with an array (T,), (C, T) or (T, C), the shorter axis
            being the channels; a torchcodec ``AudioDecoder``; or a bare array, taken to be at `sampling_rate`. Float
            samples lie between -1 and 1; int16 and int32 are scaled to that.
        sampling_rate: Wanted rate, in Hz.
        row_id: The row's id, for messages.

    Returns:
        float32 array (T,), finite, not empty.

    Raises:
        AudioError: The clip is missing, no audio, not whole, beyond the decoder's bounds, empty, or has samples that
            are no numbers between -1 and 1. The message names the row, says what the file is and what to do.
        ModuleNotFoundError: The extra ``audio`` is not installed.

    Example:
        >>> stereo = np.zeros((2, 8000), dtype=np.float32)
        >>> load_audio({"array": stereo, "sampling_rate": 8000}).shape
        (16000,)
    """
    try:
        return decode(value, sampling_rate).wave
    except BadClip as bad:
        raise bad.error(row_id) from bad.__cause__


def audio_hash(value: Any, row_id: Any = None) -> str:
    """Hash a clip: the SHA-256 of its encoded bytes, or of its samples and rate where there are only samples.

    The same file gives the same hash as a path, as bytes, as ``{"bytes", "path"}``, and as the ``AudioDecoder`` that
    ``datasets`` makes of these with ``Audio(decode=True)``: a row hashes alike decoded or not. Samples without their
    file give another hash, which does not depend on whether channels are their first or last axis; a bare array is
    taken to be at 16 kHz.

    Args:
        value: As for :func:`load_audio`.
        row_id: The row's id, for messages.

    Returns:
        64 hexadecimal digits.

    Raises:
        AudioError: The clip is missing, cannot be read, or is beyond the decoder's bounds.

    Example:
        >>> audio_hash(b"RIFF")[:8]
        'a40ff3d5'
    """
    try:
        data = source_bytes(value)
        if data is None:
            samples, rate = samples_of(value, SAMPLING_RATE)
            check_bounds(rate, samples.shape[1], len(samples))
            header = f"pcm_f32le:{rate}:{samples.shape[0]}:{samples.shape[1]}:"
            data = header.encode() + np.ascontiguousarray(as_floats(samples), dtype="<f4").tobytes()
    except BadClip as bad:
        raise bad.error(row_id) from bad.__cause__
    return hashlib.sha256(data).hexdigest()


def encode_flac(waveform: NDArray[Any], sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Encode a waveform, floats between -1 and 1 (beyond: clipped), as 16-bit FLAC.

    Args:
        waveform: (T,) or (T, C), finite, not empty.
        sampling_rate: In Hz.

    Returns:
        The bytes of a FLAC file.

    Raises:
        AudioError: The waveform is empty or not finite.

    Example:
        >>> encode_flac(np.zeros(400))[:4]
        b'fLaC'
    """
    return _encode(waveform, sampling_rate, "FLAC")


def encode_wav(waveform: NDArray[Any], sampling_rate: int = SAMPLING_RATE) -> bytes:
    """Encode a waveform as 16-bit WAV; arguments and errors as for :func:`encode_flac`.

    >>> encode_wav(np.zeros(400))[:4]
    b'RIFF'
    """
    return _encode(waveform, sampling_rate, "WAV")


def _encode(waveform: NDArray[Any], sampling_rate: int, file_format: str) -> bytes:
    samples = np.asarray(waveform, dtype=np.float32)
    if samples.size == 0:
        raise clip_error("empty", "there are no samples to encode", None)
    if not np.isfinite(samples).all():
        raise clip_error("non_finite", "there are NaN or infinite samples to encode", None)
    buffer = io.BytesIO()
    soundfile = need("soundfile", "audio")
    with whole_clip():
        soundfile.write(buffer, np.clip(samples, -1.0, 1.0), sampling_rate, format=file_format, subtype="PCM_16")
    return buffer.getvalue()


def windows(
    waveform: Waveform,
    max_seconds: float = MAX_SECONDS,
    sampling_rate: int = SAMPLING_RATE,
    long_audio: LongAudio = "error",
    row_id: Any = None,
) -> list[Waveform]:
    """Cut a clip that is too long for the model.

    Args:
        waveform: (T,).
        max_seconds: Longest piece, in seconds; at least 0.05.
        sampling_rate: In Hz.
        long_audio: For a longer clip, ``"error"``; ``"truncate"``, its first `max_seconds`; or ``"window"``, the
            fewest consecutive pieces of equal length (to one sample) that are short enough and leave nothing out.
        row_id: The row's id, for messages.

    Returns:
        One or more arrays (t,); ``[waveform]`` if it is short enough. They are views, not copies.

    Raises:
        AudioError: The clip is too long and `long_audio` is ``"error"``.
        ValueError: An argument is out of range.

    Example:
        >>> [len(piece) for piece in windows(np.zeros(70 * 16000), long_audio="window")]
        [373334, 373333, 373333]
    """
    check_long_audio(long_audio)
    if max_seconds < 0.05:
        raise ValueError(f"`max_seconds` must be at least 0.05, got {max_seconds}.")
    longest = int(max_seconds * sampling_rate)
    if len(waveform) <= longest:
        return [waveform]
    if long_audio == "error":
        raise clip_error("too_long", f"{len(waveform) / sampling_rate:.2f} s, over {max_seconds:g} s", row_id)
    if long_audio == "truncate":
        return [waveform[:longest]]
    return list(np.array_split(waveform, math.ceil(len(waveform) / longest)))
