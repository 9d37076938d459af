"""MPEG audio (MP3) frame by frame, without decoding: what it is, and whether frames are missing or were changed.

Sources: ISO/IEC 11172-3 and 13818-3 (frame header); gabriel.mp3-tech.org/mp3infotag.html (Info tag of LAME); the
Xing and VBRI headers as described at codeproject.com/Articles/8295/MPEG-Audio-Frame-Header.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from .faults import BadClip

_RATES = (44100, 48000, 32000)
# kbit/s by bitrate index 1 to 14: MPEG-1 layers I, II and III, then MPEG-2 and 2.5 layer I, and layers II and III.
_BITRATES = {
    (1, 1): (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (1, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (1, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (2, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (2, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (2, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}
_DELAY = 529  # of a decoder, in samples
_TAGS_AT_THE_END = (b"TAG", b"APETAGEX", b"LYRICSBEGIN", b"3DI")


class Frame(NamedTuple):
    """A frame header. One of free format, which does not say how long the frame is, is taken for none."""

    size: int  # of the frame, in bytes, the header included
    samples: int  # a channel
    rate: int  # in Hz
    kind: int  # the bits that all frames of a stream share: version, layer and rate
    side: int  # bytes of layer III's side information
    crc: bool  # whether a checksum of header and side information follows the header


def frame_at(data: bytes, at: int) -> Frame | None:
    """The header of a frame, or None where there is none."""
    if at + 4 > len(data) or data[at] != 0xFF or data[at + 1] & 0xE0 != 0xE0:
        return None
    head = int.from_bytes(data[at : at + 4], "big")
    version, layer = head >> 19 & 3, 4 - (head >> 17 & 3)
    bitrate, rate_index, padding = head >> 12 & 15, head >> 10 & 3, head >> 9 & 1
    if version == 1 or layer == 4 or bitrate in (0, 15) or rate_index == 3:
        return None
    first = version == 3
    rate = _RATES[rate_index] >> {3: 0, 2: 1, 0: 2}[version]
    samples = 384 if layer == 1 else 576 if layer == 3 and not first else 1152
    mono = head >> 6 & 3 == 3
    side = ((17 if mono else 32) if first else (9 if mono else 17)) if layer == 3 else 0
    bits = 1000 * _BITRATES[1 if first else 2, layer][bitrate - 1]
    size = (12 * bits // rate + padding) * 4 if layer == 1 else samples // 8 * bits // rate + padding
    return Frame(size, samples, rate, head & 0xFFFE0C00, side, not head >> 16 & 1)


def tag_size(data: bytes, at: int = 0) -> int:
    """The size of an ID3v2 tag that begins here, 0 where there is none."""
    if data[at : at + 3] != b"ID3" or at + 10 > len(data) or max(data[at + 6 : at + 10]) > 127:
        return 0
    size = 0
    for value in data[at + 6 : at + 10]:
        size = size << 7 | value
    return size + (20 if data[at + 5] & 0x10 else 10)


def stream_start(data: bytes) -> int | None:
    """Where the first frame is, behind tags and zeros, or None where this is no MPEG audio."""
    at = 0
    while size := tag_size(data, at):
        at += size
    if data[at : at + 1] == b"\0":
        at += len(data[at : at + (1 << 16)]) - len(data[at : at + (1 << 16)].lstrip(b"\0"))
    frame = frame_at(data, at)
    if frame is None:
        return None
    after = frame_at(data, at + frame.size)
    # Two bytes are not much to go by: another frame has to follow, or the end.
    return at if at + frame.size == len(data) or (after is not None and after.kind == frame.kind) else None


class Walk(NamedTuple):
    """What the frames hold."""

    samples: int  # a channel, that must come out at least
    said: bool  # whether the file says how many frames or bytes there should be
    rebuild: bool  # whether its decoder would guess the length from what the file says, and could guess too little
    start: int  # where the frames of sound begin


class _Tag(NamedTuple):
    """What a first frame without sound says of the others; 0 where it does not say."""

    end: int = 0  # where they begin, 0 where there is no such frame
    frames: int = 0
    size: int = 0  # in bytes, its own included
    sound: bool = False  # whether the tag is LAME's, and its checksum fits
    music: int = 0  # checksum of the others
    trim: int = 0  # samples that the encoder added at both ends


def check_frames(data: bytes, start: int) -> Walk:
    """Walk through the frames from the first on.

    Raises:
        BadClip: Frames are missing or were changed.
    """
    first = frame_at(data, start)
    if first is None:
        raise BadClip("corrupt", "the file breaks off: no sound follows its tag")
    tag = _tag(data, start, first)
    at = begin = tag.end or start
    frames, rates = 0, set()
    while at < len(data):
        frame = frame_at(data, at)
        if frame is None or frame.kind != first.kind:
            if size := tag_size(data, at):
                at += size
                continue
            rest = data[at : at + 16]
            if rest.startswith(_TAGS_AT_THE_END) or not data[at:].strip(b"\0"):
                break
            raise BadClip("corrupt", f"the file is damaged: no frame begins at byte {at}, where the next should be")
        if at + frame.size > len(data):
            lost = at + frame.size - len(data)
            raise BadClip("corrupt", f"the file breaks off: {lost} bytes fewer than its last frame's header says")
        if frame.crc:
            _check_frame(data, at, frame)
        frames += 1
        rates.add(data[at + 2] >> 4)
        at += frame.size
    # Some writers count the frame of the tag, too, and some the tags at the end.
    if tag.frames and abs(frames - tag.frames) > 1:
        raise BadClip("corrupt", f"the file is not whole: its header says {tag.frames} frames, and {frames} are there")
    if tag.size > len(data) - start:
        lost = tag.size - (len(data) - start)
        raise BadClip("corrupt", f"the file breaks off: {lost} bytes fewer than its header says")
    # There are tools that change the frames' loudness, leave the checksum alone, and say so in a tag of their own.
    if tag.music and tag.music != crc16(data[begin:at]) and b"MP3GAIN_" not in data[at:]:
        raise BadClip("corrupt", "the file was changed or damaged: its checksum differs from its tag's")
    samples = max(0, frames * first.samples - tag.trim - _DELAY)
    rebuild = not tag.sound and (bool(tag.end) or len(rates) > 1)
    return Walk(samples, bool(tag.frames or tag.size), rebuild, begin)


def _tag(data: bytes, start: int, frame: Frame) -> _Tag:
    body = data[start : start + frame.size]
    at = 4 + frame.side
    if body[36:40] == b"VBRI":
        size, frames = int.from_bytes(body[46:50], "big"), int.from_bytes(body[50:54], "big")
        return _Tag(start + frame.size, frames, size)
    if body[at : at + 4] not in (b"Xing", b"Info"):
        return _Tag()
    flags = int.from_bytes(body[at + 4 : at + 8], "big")
    place = at + 8
    frames = size = 0
    if flags & 1:
        frames, place = int.from_bytes(body[place : place + 4], "big"), place + 4
    if flags & 2:
        size, place = int.from_bytes(body[place : place + 4], "big"), place + 4
    place += (100 if flags & 4 else 0) + (4 if flags & 8 else 0)
    plain = _Tag(start + frame.size, frames, size)
    more = body[place : place + 36]
    if more[:4] not in (b"LAME", b"Lavf", b"Lavc") or len(more) < 36 or not any(more[34:]):
        return plain
    own = int.from_bytes(more[34:], "big")
    # FFmpeg takes 190 bytes always, the checksum among them while it is still 0; that is right for 44.1 kHz in stereo.
    always_190 = (body[: place + 34] + b"\0\0" + body[place + 36 :])[:190].ljust(190, b"\0")
    if own not in (crc16(body[: place + 34]), crc16(always_190)):
        if more[:4] != b"LAME":
            return plain
        raise BadClip("corrupt", "the file is damaged: the checksum of its first frame does not fit")
    added = int.from_bytes(more[21:24], "big")
    return plain._replace(sound=True, music=int.from_bytes(more[32:34], "big"), trim=(added >> 12) + (added & 0xFFF))


def _check_frame(data: bytes, at: int, frame: Frame) -> None:
    if not frame.side:  # of layers I and II it covers what has to be decoded first
        return
    covered = data[at + 2 : at + 4] + data[at + 6 : at + 6 + frame.side]
    crc = 0xFFFF
    for value in covered:
        crc ^= value << 8
        for _ in range(8):
            crc = (crc << 1 ^ 0x8005 if crc & 0x8000 else crc << 1) & 0xFFFF
    if crc != int.from_bytes(data[at + 4 : at + 6], "big"):
        raise BadClip("corrupt", f"the file is damaged: the checksum of the frame at byte {at} does not fit")


@cache
def _table() -> NDArray[np.uint16]:
    table = np.arange(256, dtype=np.uint16)
    for _ in range(8):
        table = np.where(table & 1, table >> 1 ^ 0xA001, table >> 1).astype(np.uint16)
    return table


def crc16(data: bytes) -> int:
    """CRC-16 with the polynomial 0x8005, reflected, from 0: that of LAME's tag.

    >>> hex(crc16(b"123456789"))
    '0xbb3d'
    """
    table = _table()
    # The checksum is linear: lanes of equal length are worked on side by side, and put together afterwards.
    lanes = max(1, min(1024, len(data) // 64))
    length = -(-len(data) // lanes)
    columns = np.frombuffer(data.rjust(lanes * length, b"\0"), np.uint8).reshape(lanes, length).T
    crc = np.zeros(lanes, dtype=np.uint16)
    low, high = np.arange(256, dtype=np.uint16), np.arange(256, dtype=np.uint16) << 8
    for column in columns:
        crc = crc >> 8 ^ table[(crc ^ column) & 255]
        low = low >> 8 ^ table[low & 255]  # what a checksum becomes over the next lane's length
        high = high >> 8 ^ table[high & 255]
    total = 0
    low_steps, high_steps = low.tolist(), high.tolist()
    for value in crc.tolist():
        total = low_steps[total & 255] ^ high_steps[total >> 8] ^ value
    return total


def silent_header(data: bytes, start: int) -> bytes:
    """A first frame for a stream that has none: of silence, with a tag that says how many frames and bytes follow.

    Empty where the stream is none that can be walked through.
    """
    first = frame_at(data, start)
    if first is None or not first.side:
        return b""
    frames, at = 0, start
    while (frame := frame_at(data, at)) is not None:
        frames, at = frames + 1, at + frame.size
    head = bytearray(data[start : start + 4])
    head[1] |= 1  # no checksum
    for bitrate in range(1, 15):
        head[2] = bitrate << 4 | head[2] & 0x0C
        made = frame_at(bytes(head), 0)
        if made is not None and made.size >= 4 + first.side + 16:
            tag = b"Xing\0\0\0\3" + frames.to_bytes(4, "big") + (made.size + len(data) - start).to_bytes(4, "big")
            return (bytes(head) + bytes(first.side) + tag).ljust(made.size, b"\0")
    return b""
