"""A clip as a service takes it: 16 kHz mono, which is what models hear, or its own bytes where those are fewer."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Literal

from ...audio.check import check_usable
from ...audio.clips import audio_hash, encode_flac, encode_wav
from ...audio.decoding import SAMPLING_RATE, AudioError, BadClip, decode
from ..capabilities import ModelCapabilities
from ..types import PreparedAudio

#: What is done with a clip that is longer than the model hears. Windows would be several clips with one vote each.
AnnotatorAudio = Literal["error", "truncate"]

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


def prepare_audio(
    value: Any,
    row_id: Any,
    has: ModelCapabilities,
    encode_as: str | None,
    long_audio: AnnotatorAudio = "error",
) -> PreparedAudio:
    """A checked clip as 16 kHz mono, 16 bit, or as it is where the model takes that and it is no larger.

    Keys of replies do not depend on which of the two was sent (see `types.AUDIO_PREPARATION_VERSION`).

    Args:
        value: The clip, in any shape.
        row_id: For messages.
        has: What the model takes, and how much of a clip it hears.
        encode_as: ``"flac"`` or ``"wav"``; None leaves a clip as it is, for annotators that are sent nothing.
        long_audio: For a clip that is longer than the model hears.

    Raises:
        AudioError: The clip cannot be used, or is too long.
    """
    try:
        clip = decode(value)
        check_usable(clip, long_audio="truncate")  # how much is heard is said below, by model
    except BadClip as bad:
        raise bad.error(row_id) from bad.__cause__
    data, wave, seconds = clip.data, clip.wave, clip.seconds
    digest = audio_hash(value if data is None else data)
    kind = None if data is None else sniff(data)
    as_it_is = (data, MIME[kind]) if data is not None and kind is not None and kind in has.audio_formats else None
    heard = heard_seconds(seconds, has, long_audio, row_id)
    if heard < seconds:
        wave, as_it_is = wave[: int(heard * SAMPLING_RATE)], None
        seconds = len(wave) / SAMPLING_RATE
    plain = clip.rate == SAMPLING_RATE and clip.channels == 1 and kind == encode_as
    if as_it_is is not None and (plain or encode_as is None):
        return PreparedAudio(*as_it_is, seconds, digest)
    encode_as = encode_as or "flac"
    smaller = (_ENCODERS[encode_as](wave), MIME[encode_as])
    if as_it_is is not None and len(as_it_is[0]) <= len(smaller[0]):
        smaller = as_it_is
    return PreparedAudio(*smaller, seconds, digest)


def heard_seconds(seconds: float, has: ModelCapabilities, long_audio: str, row_id: Any = None) -> float:
    """How much of a clip is sent: what the model hears of it. Raises `AudioError` where that is not all of it."""
    longest = has.longest_clip_s
    if longest is None or seconds <= longest:
        return seconds
    if long_audio == "truncate":
        return longest
    where = "" if row_id is None else f"Row {row_id!r}: "
    error = AudioError(
        f"{where}{seconds:.2f} s, and {has.model} hears {longest:g} s of a clip. Mend: cut the clip, or let its first "
        f"{longest:g} s be heard: long_audio='truncate', on the command line --long_audio truncate."
    )
    error.kind = "too_long"
    raise error
