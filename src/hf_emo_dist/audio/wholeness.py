"""Whether an encoded file is whole, by the lengths and checksums that its format carries, before it is decoded.

libsndfile opens files of which half is gone without a word. Containers of chunks (WAV, RF64, W64, AIFF, CAF), AU and
SPHERE carry the length of the sound; Ogg carries lengths, page numbers and a checksum a page; FLAC a length, a checksum
a frame (which its decoder checks) and the MD5 of all samples; MP3 what :mod:`.mpeg` says. What carries no length, since
it was written to a pipe, may lack its end, and nobody can tell.

Sources: the RIFF and WAVE specifications of Microsoft and IBM, EBU Tech 3306 (RF64), Sony's Wave64, Apple's AIFF-C and
Core Audio Format specifications, the AU header of NeXT and Sun, NIST's SPHERE header; RFC 3533 (Ogg), RFC 9639 (FLAC).
The checksum of samples that some SPHERE files carry (`sample_checksum`) is not looked at.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from .faults import BadClip
from .mpeg import check_frames, stream_start, tag_size

# Programs that write to a pipe cannot know the length and leave a huge one, or none.
_HUGE = 0x7F000000
_MOST_CHUNKS = 10_000  # a file of nothing but chunk headers would take long
# What programs that write tags put behind a file of any format.
_TAGS = (b"TAG", b"ID3", b"APETAGEX", b"LYRICSBEGIN")


@dataclass(frozen=True)
class Carried:
    """What a file says of itself, once what can be checked before decoding has been."""

    length: bool  # whether it says how long it is; if not, its end may be missing
    frames: int = 0  # samples a channel that must come out; 0 where that is not known
    at_least: int = 0  # the same, where the decoder may leave out the encoder's padding
    md5: bytes = b""  # of the samples, see RFC 9639; empty where there is none
    bits: int = 0  # of a sample, where there is an MD5
    # Lengths that the writer left open and libsndfile insists on: place and value.
    fixes: tuple[tuple[int, bytes], ...] = ()
    rebuild: int | None = None  # where the sound of MP3 begins whose decoder would guess its length


def check_whole(data: bytes, kind: str) -> Carried:
    """Check the lengths and checksums that a file carries.

    Args:
        data: The encoded file.
        kind: Its format, as :func:`.signatures.format_of` says.

    Returns:
        What it carries.

    Raises:
        BadClip: The file breaks off, or is damaged.

    Example:
        >>> header = b".snd" + bytes([0, 0, 0, 24, 0, 0, 0, 4, 0, 0, 0, 3, 0, 0, 62, 128, 0, 0, 0, 1])
        >>> check_whole(header + bytes(4), "au").length
        True
        >>> check_whole(header + bytes(2), "au")
        Traceback (most recent call last):
        hf_emo_dist.audio.faults.BadClip: ('corrupt', 'the file breaks off: 2 bytes fewer than its header says')
    """
    if kind == "mp3":
        walk = check_frames(data, stream_start(data) or 0)
        return Carried(walk.said, at_least=walk.samples, rebuild=walk.start if walk.rebuild else None)
    if kind == "flac":
        return _flac(data)
    if kind == "ogg":
        return _ogg(data)
    if kind == "au":
        return Carried(_au(data))
    if kind == "sphere":
        return Carried(_sphere(data))
    return _chunks(data, kind)


def _breaks_off(lost: int) -> BadClip:
    return BadClip("corrupt", f"the file breaks off: {lost} bytes fewer than its header says")


# --- containers of chunks


@dataclass(frozen=True)
class _Layout:
    """How chunks are laid out: name, size, contents."""

    name: int  # bytes of the name
    size: int  # bytes of the size
    big: bool  # whether the size is big-endian
    head: int  # where the first chunk begins
    align: int  # chunks begin at multiples of this
    sound: bytes  # name of the chunk that holds the sound, or its first four bytes
    inclusive: bool = False  # whether the size counts name and size

    def number(self, data: bytes, at: int) -> int:
        return int.from_bytes(data[at : at + self.size], "big" if self.big else "little")

    def named(self, data: bytes, at: int) -> bool:
        """Whether a chunk may begin here: its name is four printable characters, and none of another file's."""
        name = data[at : at + 4]
        fits = len(data) >= at + self.name + self.size
        return fits and all(32 <= letter < 127 for letter in name) and name.upper() not in (b"RIFF", b"RF64", b"FORM")

    def chunks(self, data: bytes, at: int, end: int) -> Iterator[tuple[bytes, int, int]]:
        """Name, beginning and size of the contents of each chunk from a place on, as long as there are some."""
        for _ in range(_MOST_CHUNKS):
            if at + self.name + self.size > end:
                return
            size = self.number(data, at + self.name) - (self.name + self.size if self.inclusive else 0)
            body = at + self.name + self.size
            yield data[at : at + 4], body, size
            if size < 0:
                return
            at = body + size
            padded = at + -at % self.align
            # Some writers leave the padding out.
            at = at if padded != at and self.named(data, at) and not self.named(data, padded) else padded


_RIFF = _Layout(4, 4, False, 12, 2, b"data")
_LAYOUTS = {
    "wav": _RIFF,
    "rf64": _RIFF,
    "w64": _Layout(16, 8, False, 40, 8, b"data", inclusive=True),
    "aiff": _Layout(4, 4, True, 12, 2, b"SSND"),
    "caf": _Layout(4, 8, True, 8, 1, b"data"),
}


def _chunks(data: bytes, kind: str) -> Carried:
    layout = _LAYOUTS[kind] if data[:4] != b"RIFX" else _Layout(4, 4, True, 12, 2, b"data")
    whole = {
        "w64": lambda: layout.number(data, 16),
        "caf": lambda: len(data),
    }.get(kind, lambda: layout.number(data, 4) + 8)()
    said: dict[bytes, tuple[int, int]] = {}
    for name, body, size in layout.chunks(data, layout.head, len(data)):
        if not layout.named(data, body - layout.name - layout.size):
            break
        if kind == "rf64" and name == b"ds64":
            whole = int.from_bytes(data[body : body + 8], "little") + 8
        if kind == "rf64" and name == layout.sound and size == 0xFFFFFFFF and b"ds64" in said:
            at = said[b"ds64"][0] + 8
            size = int.from_bytes(data[at : at + 8], "little")
        said.setdefault(name, (body, size))
        if name == layout.sound:
            break
    if layout.sound not in said:
        raise BadClip("corrupt", "the file breaks off, or is damaged: it has no chunk with the sound")
    body, size = said[layout.sound]
    open_ended = not 8 < whole < _HUGE
    if kind == "caf":
        open_ended = size == (1 << 64) - 1
    if open_ended and (size == 0 or not 0 <= size < _HUGE):
        there = (len(data) - body).to_bytes(layout.size, "big" if layout.big else "little")
        return Carried(False, fixes=((body - layout.size, there),) if size == 0 or kind == "caf" else ())
    if not 0 <= size <= len(data) - body:
        raise _breaks_off(size - (len(data) - body))
    # A size that was changed for a smaller one leaves sound behind the chunk, and so does what came in between.
    rest = data[body + size + (size % 2 if layout.align > 1 else 0) :]
    tagged = rest.lstrip(b"\0").startswith(_TAGS)
    padded = len(rest) > 1 and not rest.strip(b"\0")  # one byte too many is no padding: it moves all that follow it
    if rest and not padded and not tagged and not _follow(layout, data, body + size):
        raise BadClip(
            "corrupt",
            f"the file is damaged: {len(rest)} bytes behind the sound are no part of it",
            "replace the file; if it plays well to its end, write it anew with `ffmpeg -i IN OUT.wav`",
        )
    if kind == "aiff":
        _aiff_frames(data, said, body, size)
    return Carried(True)


def _follow(layout: _Layout, data: bytes, at: int) -> bool:
    """Whether nothing but whole chunks follows."""
    for start in dict.fromkeys((at + -at % layout.align, at)):
        if layout.named(data, start) and all(
            layout.named(data, body - layout.name - layout.size) and 0 <= size <= len(data) - body
            for _, body, size in layout.chunks(data, start, len(data))
        ):
            return True
    return False


def _aiff_frames(data: bytes, said: dict[bytes, tuple[int, int]], body: int, size: int) -> None:
    """The number of samples that the header promises, against the sound's size."""
    if b"COMM" not in said:
        return
    at = said[b"COMM"][0]
    channels, frames = int.from_bytes(data[at : at + 2], "big"), int.from_bytes(data[at + 2 : at + 6], "big")
    bits = int.from_bytes(data[at + 6 : at + 8], "big")
    coding = data[at + 18 : at + 22] if data[8:12] == b"AIFC" else b"NONE"
    width = {b"NONE": -(-bits // 8), b"twos": -(-bits // 8), b"sowt": -(-bits // 8)}.get(coding, 0)
    width = {b"fl32": 4, b"FL32": 4, b"fl64": 8, b"FL64": 8}.get(coding, width)
    held = size - 8 - int.from_bytes(data[body : body + 4], "big")
    if width and channels and frames * channels * width != held:
        promised = frames * channels * width
        if promised > held:
            raise _breaks_off(promised - held)
        if held - promised > 1:
            raise BadClip("corrupt", f"the file is damaged: its header says {promised} bytes of sound, not {held}")


# --- a header, then the sound


def _same(said: int, there: int) -> None:
    if said > there:
        raise _breaks_off(said - there)
    if said < there:
        raise BadClip("corrupt", f"the file is damaged: its header says {said} bytes of sound, and {there} are there")


def _au(data: bytes) -> bool:
    order = "big" if data[:4] == b".snd" else "little"
    start, said = (int.from_bytes(data[at : at + 4], order) for at in (4, 8))  # type: ignore[arg-type]
    if start < 24 or start > len(data):
        raise BadClip("corrupt", f"the file is damaged: its sound should begin at byte {start} of {len(data)}")
    if said == 0xFFFFFFFF:
        return False
    _same(said, len(data) - start)
    return True


def _sphere(data: bytes) -> bool:
    size = data[8:16].strip()
    start = int(size) if size.isdigit() else 0
    if not 16 < start <= len(data):
        raise BadClip("corrupt", "the file breaks off, or is damaged: its header is not whole")
    fields = dict(re.findall(rb"^(\w+) -\w+ (.*)$", data[:start], re.MULTILINE))
    coding = fields.get(b"sample_coding", b"pcm")
    if b"shorten" in coding or b"wavpack" in coding or b"shortpack" in coding:
        what = coding.decode("ascii", "replace")
        raise BadClip(
            "unsupported", f"the file is a SPHERE file packed as {what!r}", "unpack it with `sph2pipe -f wav`"
        )
    try:
        counts = [int(fields[name]) for name in (b"sample_count", b"sample_n_bytes")]
        counts.append(int(fields.get(b"channel_count", b"1")))
    except KeyError:
        return False
    except ValueError:
        raise BadClip("corrupt", "the file is damaged: its header's numbers cannot be read") from None
    _same(counts[0] * counts[1] * counts[2], len(data) - start)
    return True


# --- FLAC and Ogg


def _flac(data: bytes) -> Carried:
    start = tag_size(data)
    at, last, info = start + 4, False, b""
    while not last:
        if at + 4 > len(data):
            raise BadClip("corrupt", "the file breaks off within its header")
        last, size = bool(data[at] & 0x80), int.from_bytes(data[at + 1 : at + 4], "big")
        if not info:
            info = data[at + 4 : at + 4 + size]
        at += 4 + size
    if len(info) < 34:
        raise BadClip("corrupt", "the file is damaged: its header is not whole")
    packed = int.from_bytes(info[10:18], "big")
    rate, channels, bits, frames = packed >> 44, (packed >> 41 & 7) + 1, (packed >> 36 & 31) + 1, packed & (1 << 36) - 1
    # The header has no checksum; the first frame says most of it again, and has one.
    head = data[at : at + 4]
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xFE != 0xF8:
        raise BadClip("corrupt", "the file breaks off, or is damaged: no sound follows its header")
    rates = (0, 88200, 176400, 192000, 8000, 16000, 22050, 24000, 32000, 44100, 48000, 96000)
    said_rate = rates[head[2] & 15] if head[2] & 15 < 12 else 0
    said_channels = (head[3] >> 4) + 1 if head[3] >> 4 < 8 else 2
    said_bits = (0, 8, 12, 0, 16, 20, 24, 32)[head[3] >> 1 & 7]
    for said, header, what in (
        (said_rate, rate, "Hz"),
        (said_channels, channels, "channels"),
        (said_bits, bits, "bits"),
    ):
        if said and said != header:
            raise BadClip("corrupt", f"the file is damaged: {header} {what} in its header, {said} in its first frame")
    if data.find(b"fLaC\0\0\0\x22", at) > 0 or data.find(b"fLaC\x80\0\0\x22", at) > 0:
        raise BadClip("corrupt", "the file is two in one, and the second would not be heard", "take them apart")
    md5 = info[18:34] if any(info[18:34]) and bits in (8, 16, 24) else b""
    return Carried(frames > 0, frames=frames, md5=md5, bits=bits)


_REVERSED = bytes(int(f"{value:08b}"[::-1], 2) for value in range(256))


def ogg_crc(page: bytes) -> int:
    """The checksum of an Ogg page: that of zlib with the bits of every byte turned round, from 0.

    >>> hex(ogg_crc(b"123456789"))
    '0x89a1897f'
    """
    crc = zlib.crc32(page.translate(_REVERSED), 0xFFFFFFFF) ^ 0xFFFFFFFF
    return int(f"{crc:032b}"[::-1], 2)


def _ogg(data: bytes) -> Carried:
    at, number, stream, ended = 0, -1, b"", False
    while at < len(data):
        if data[at : at + 4] != b"OggS":
            if ended:
                break
            raise BadClip("corrupt", f"the file is damaged: no page begins at byte {at}, where the next should be")
        segments = data[at + 26] if at + 26 < len(data) else 0
        size = 27 + segments + sum(data[at + 27 : at + 27 + segments])
        if at + size > len(data) or at + 27 > len(data):
            raise _breaks_off(max(1, at + size - len(data)))
        page = data[at : at + size]
        if ogg_crc(page[:22] + bytes(4) + page[26:]) != int.from_bytes(page[22:26], "little"):
            raise BadClip("corrupt", f"the file is damaged: the checksum of the page at byte {at} does not fit")
        if page[14:18] != stream:
            if stream:
                raise BadClip(
                    "unsupported",
                    "the file holds several streams, of which one alone would be heard",
                    "convert it, such as with `ffmpeg -i IN -map 0:a OUT.flac`",
                )
            stream, number = page[14:18], int.from_bytes(page[18:22], "little") - 1
            if not page[5] & 2:
                raise BadClip("corrupt", "the file is not whole: its first page is not the first of a stream")
            packet = page[27 + segments :]
            if not packet.startswith((b"\x01vorbis", b"OpusHead")):
                known = {b"\x7fFLA": "FLAC", b"Spee": "Speex", b"\x80the": "Theora video"}.get(
                    packet[:4], "what is unknown"
                )
                raise BadClip("unsupported", f"the file is an Ogg file of {known}")
        number += 1
        if int.from_bytes(page[18:22], "little") != number:
            raise BadClip("corrupt", f"the file is not whole: page {number} is missing before byte {at}")
        ended = bool(page[5] & 4)
        at += size
    if not ended:
        raise BadClip("corrupt", "the file breaks off: none of its pages says that it is the last")
    return Carried(True)
