"""A clip as a service takes it: its own bytes where they will do, else decoded once and encoded anew."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from ...audio.check import problem_of
from ...audio.clips import audio_hash, encode_flac, encode_wav, load_audio
from ...audio.decoding import (
    SAMPLING_RATE,
    BadClip,
    clip_error,
    decode,
    decode_bytes,
    lost_bytes,
    source_bytes,
    to_mono,
)
from ..types import PreparedAudio

MIME: Mapping[str, str] = {"wav": "audio/wav", "flac": "audio/flac", "ogg": "audio/ogg", "mp3": "audio/mp3"}
_ENCODERS: Mapping[str, Callable[[Any], bytes]] = {"flac": encode_flac, "wav": encode_wav}


def sniff(data: bytes) -> str | None:
    """The format by the first bytes: ``wav`` (integer PCM), ``flac``, ``ogg`` (Vorbis), ``mp3``, or None."""
    # The name of a file is not asked: it is often wrong, and in a data set often missing.
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        at = data.find(b"fmt ", 12, 4096)
        tag = int.from_bytes(data[at + 8 : at + 10], "little")
        bits = int.from_bytes(data[at + 22 : at + 24], "little")
        if tag == 0xFFFE:  # the real format comes later in the chunk
            tag = int.from_bytes(data[at + 32 : at + 34], "little")
        return "wav" if at > 0 and tag == 1 and bits in (16, 24) else None
    if data[:4] == b"fLaC":
        return "flac"
    if data[:4] == b"OggS":
        return "ogg" if b"\x01vorbis" in data[:64] else None
    if data[:3] == b"ID3" or (len(data) > 1 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2):
        return "mp3"
    return None


def prepare_audio(value: Any, row_id: Any, formats: Collection[str], encode_as: str) -> PreparedAudio:
    """A checked clip: as it is if its format is among `formats`, else 16 kHz mono 16 bit. Raises `AudioError`."""
    # What an AudioDecoder was made from; audio_hash looks there too.
    encoded = getattr(value, "_hf_encoded", None)
    if isinstance(encoded, Mapping) and encoded.get("bytes"):
        value = encoded
    try:
        data = source_bytes(value) if value is not None else None
        samples, rate = decode(value, SAMPLING_RATE) if data is None else decode_bytes(data)
        mono = to_mono(samples)
        lost = lost_bytes(data or b"")
        if lost:
            raise BadClip("corrupt", f"the file breaks off: {lost} bytes fewer than its header says")
    except BadClip as bad:
        raise clip_error(bad.kind, bad.detail, row_id) from bad.__cause__
    decoded = {"array": mono, "sampling_rate": rate}
    problem = problem_of(decoded, row_id, long_audio="truncate")  # services hear longer clips than the audio tower
    if problem is not None:
        raise clip_error(problem.kind, problem.detail, row_id)
    kind = None if data is None else sniff(data)
    if data is not None and kind is not None and kind in formats:
        body, mime = data, MIME[kind]
    else:
        body, mime = _ENCODERS[encode_as](load_audio(decoded, row_id=row_id)), MIME[encode_as]
    return PreparedAudio(
        data=body,
        mime=mime,
        seconds=len(mono) / rate,
        digest=audio_hash(value if data is None else data),
    )
