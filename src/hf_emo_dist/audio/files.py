"""Read the file of a clip: an ordinary file, and no larger than a clip may be."""

from __future__ import annotations

import os
from typing import Any

from .._files import special_kind
from .faults import BadClip

#: Largest encoded clip, in bytes: an hour of 16 kHz mono WAV takes 110 of these 128 MiB.
MAX_BYTES = 1 << 27


def check_size(size: int) -> None:
    """Raise `BadClip` for an encoded clip of more than `MAX_BYTES`."""
    if size > MAX_BYTES:
        raise BadClip("too_large", f"{size / (1 << 20):,.0f} MiB, and a clip may have {MAX_BYTES >> 20}")


def read_clip_file(path: str | os.PathLike[str], most: int | None = None) -> bytes:
    """Read the file of a clip.

    What is no ordinary file is not opened for reading, whatever a link to it is called: ``/dev/zero`` has no end, and
    a named pipe may have no beginning.

    Args:
        path: The file.
        most: So many of its first bytes are enough.

    Returns:
        Its bytes, at most `MAX_BYTES`.

    Raises:
        BadClip: There is no such file, it is none, it cannot be read, or it is too large.

    Example:
        >>> read_clip_file("/nowhere/clip.wav")
        Traceback (most recent call last):
        hf_emo_dist.audio.faults.BadClip: ('missing', "cannot read '/nowhere/clip.wav' (No such file or directory)")
    """
    name = os.fspath(path)
    try:
        _check_kind(name, os.stat(name))
        # It may have been replaced since: a pipe is not waited for.
        with open(name, "rb", opener=_open) as file:
            size = _check_kind(name, os.fstat(file.fileno()))
            data = file.read(size + 1 if most is None else min(most, size))
            if len(data) > size:  # it grows, or is of a kind that does not know its size
                data += file.read(MAX_BYTES + 1 - len(data))
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        reason = getattr(error, "strerror", None) or str(error)
        raise BadClip("missing", f"cannot read {name!r} ({reason})") from error
    check_size(len(data))
    return data


def _open(path: Any, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0))


def _check_kind(name: str, found: os.stat_result) -> int:
    """The size of what was found, if it is an ordinary file of a size that a clip may have."""
    what = special_kind(found.st_mode)
    if what is not None:
        raise BadClip("missing", f"{name!r} is {what}")
    check_size(found.st_size)
    return found.st_size
