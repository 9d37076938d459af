"""What a file is by its first bytes: a format that is decoded here, another one, or no audio at all."""

from __future__ import annotations

import os

from .faults import BadClip
from .files import read_clip_file
from .mpeg import stream_start, tag_size

_CONVERT = "convert it, such as with `ffmpeg -i IN OUT.flac`"
_FETCH = "put the recording itself in its place"
_HEAD = 1 << 14


def format_of(data: bytes) -> str | None:
    """The format, by its first bytes and not by a name, which is often wrong.

    Args:
        data: The encoded file, or its first bytes.

    Returns:
        ``wav, rf64, w64, aiff, au, sphere, caf, flac, ogg`` or ``mp3``; None where it is none of them.

    Example:
        >>> format_of(b"fLaC"), format_of(b"version https://git-lfs.github.com/spec/v1")
        ('flac', None)
    """
    head = data[:16]
    if head[8:12] == b"WAVE" and head[:4] in (b"RIFF", b"RIFX"):
        return "wav"
    if head[8:12] == b"WAVE" and head[:4] in (b"RF64", b"BW64"):
        return "rf64"
    if head == b"riff.\x91\xcf\x11\xa5\xd6(\xdb\x04\xc1\0\0":
        return "w64"
    if head[:4] == b"FORM" and head[8:12] in (b"AIFF", b"AIFC"):
        return "aiff"
    for magic, name in ((b".snd", "au"), (b"dns.", "au"), (b"NIST_1A", "sphere"), (b"caff", "caf"), (b"OggS", "ogg")):
        if head.startswith(magic):
            return name
    start = tag_size(data)
    if start > len(data):  # these are its first bytes, and all of them tag
        return "mp3"
    if data[start : start + 4] == b"fLaC":
        return "flac"
    return "mp3" if stream_start(data) is not None else None


# First bytes, what the file is, its kind (see `faults.MENDS`) and the mend.
_FOREIGN: tuple[tuple[int, bytes, str, str, str], ...] = (
    (0, b"version https://git-lfs.github.com/", "a Git LFS pointer", "not_audio", "`git lfs pull` where it was cloned"),
    (0, b"/annex/objects/", "a git-annex pointer", "not_audio", "`git annex get` where it was cloned"),
    (0, b"\0\5\x16\7", "a Mac's AppleDouble file, which goes with another one", "not_audio", "leave it out"),
    (0, b"PK\3\4", "a ZIP archive", "not_audio", "unpack it"),
    (0, b"\x1f\x8b", "a gzip archive", "not_audio", "unpack it"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", "not_audio", "unpack it"),
    (0, b"Rar!", "a RAR archive", "not_audio", "unpack it"),
    (0, b"%PDF", "a PDF", "not_audio", _FETCH),
    (0, b"\x89PNG", "a PNG picture", "not_audio", _FETCH),
    (0, b"\xff\xd8\xff", "a JPEG picture", "not_audio", _FETCH),
    (0, b"SQLite format 3", "an SQLite file", "not_audio", _FETCH),
    (0, b"PAR1", "a Parquet file", "not_audio", "read it as a data set"),
    (0, b"\x93NUMPY", "a NumPy array", "not_audio", "write its samples as WAV or FLAC"),
    (0, b"MThd", "a MIDI file, which holds notes", "not_audio", _FETCH),
    (4, b"ftyp", "an M4A, MP4 or 3GP file", "unsupported", _CONVERT),
    (0, b"\x1aE\xdf\xa3", "a WebM or Matroska file", "unsupported", _CONVERT),
    (0, b"0&\xb2u\x8ef\xcf\x11", "a WMA or ASF file", "unsupported", _CONVERT),
    (8, b"AVI ", "an AVI video", "unsupported", _CONVERT),
    (0, b"#!AMR", "an AMR file", "unsupported", _CONVERT),
    (0, b"ADIF", "an AAC file", "unsupported", _CONVERT),
    (0, b"MAC ", "a Monkey's Audio file", "unsupported", _CONVERT),
    (0, b"wvpk", "a WavPack file", "unsupported", _CONVERT),
    (0, b"TTA", "a True Audio file", "unsupported", _CONVERT),
    (0, b"ajkg", "a Shorten file", "unsupported", _CONVERT),
    (0, b"DSD ", "a DSD file", "unsupported", _CONVERT),
    (0, b"FRM8", "a DSD file", "unsupported", _CONVERT),
    (0, b"FLV\1", "a Flash video", "unsupported", _CONVERT),
    (0, b"Creative Voice File", "a VOC file", "unsupported", _CONVERT),
)


def check_format(data: bytes) -> str:
    """Say which format a file has.

    Args:
        data: The encoded file, or its first bytes.

    Returns:
        As :func:`format_of`.

    Raises:
        BadClip: It is empty, of a format that is not decoded here, or no audio; it says what it is and what to do.

    Example:
        >>> check_format(b"<!DOCTYPE html><title>Sign in</title>")
        Traceback (most recent call last):
        hf_emo_dist.audio.faults.BadClip: ('not_audio', 'the file is an HTML page, such as of a log-in')
    """
    if not data:
        raise BadClip("empty", "the file has no bytes")
    found = format_of(data)
    if found is None:
        raise _foreign(data)
    return found


def check_head(path: str | os.PathLike[str]) -> None:
    """Look at the first bytes of the file of a clip; raises `BadClip` for what is no audio that is decoded here."""
    check_format(read_clip_file(path, _HEAD))


def _foreign(data: bytes) -> BadClip:
    for at, magic, what, kind, mend in _FOREIGN:
        if data[at : at + len(magic)] == magic:
            return BadClip(kind, f"the file is {what}", mend)
    head = data[:1024]
    text = _text(head)
    if text is not None:
        start = text.lstrip().lower()
        if start.startswith(("<!doctype html", "<html", "<head", "<body", "<script", "<title")):
            return BadClip("not_audio", "the file is an HTML page, such as of a log-in", f"{_FETCH}: download it anew")
        if start.startswith("<"):
            return BadClip("not_audio", "the file is XML, such as a server's error", f"{_FETCH}: download it anew")
        if start.startswith("{"):
            return BadClip("not_audio", "the file is JSON, such as a server's error", f"{_FETCH}: download it anew")
        # not what it says: a stranger's table may name a private file, and messages are kept and shown around
        return BadClip("not_audio", "the file is text", _FETCH)
    if len(data) > 1 and data[0] == 0xFF and data[1] & 0xF6 == 0xF0:
        return BadClip("unsupported", "the file is an AAC file", _CONVERT)
    if not data.strip(b"\0"):
        return BadClip("not_audio", "the file is nothing but zero bytes", f"{_FETCH}: copy it again")
    return BadClip(
        "corrupt",
        f"not readable as WAV, FLAC, OGG or MP3: it begins with {head[:12].hex(' ')}, like no audio that is known here",
    )


def _text(head: bytes) -> str | None:
    """The first bytes as text, if they are some."""
    for encoding in ("utf-8-sig", "utf-16") if head[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig",):
        try:
            text = head[: len(head) & ~3].decode(encoding) if encoding == "utf-16" else _utf8(head)
        except UnicodeDecodeError:
            continue
        if text.strip() and all(letter.isprintable() or letter.isspace() for letter in text):
            return text
    return None


def _utf8(head: bytes) -> str:
    for cut in range(4):  # a letter may be cut at the end
        try:
            return head[: len(head) - cut].decode("utf-8-sig")
        except UnicodeDecodeError as error:
            if cut == 3 or error.start < len(head) - 4:
                raise
    raise AssertionError
