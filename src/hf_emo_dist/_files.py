"""What a path leads to: a user's file is opened only where it is an ordinary one."""

from __future__ import annotations

import os
import stat

_OTHERS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe, which may never end"),
    (stat.S_ISCHR, "a device, which may never end"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)


def special_kind(mode: int) -> str | None:
    """What a file is by its mode, in words; None for an ordinary one.

    >>> special_kind(os.stat(os.devnull).st_mode)
    'a device, which may never end'
    """
    if stat.S_ISREG(mode):
        return None
    return next((text for is_one, text in _OTHERS if is_one(mode)), "no ordinary file")


def refuse_special(path: str | os.PathLike[str]) -> None:
    """Refuse what is no ordinary file before it is opened, whatever a link to it is called: ``/dev/zero`` has no end,
    and opening a named pipe waits for somebody who writes. What is not there is left to who opens it.

    Raises:
        OSError: It is something else.
    """
    try:
        found = special_kind(os.stat(path).st_mode)
    except (OSError, ValueError):
        return
    if found is not None:
        raise OSError(f"{os.fspath(path)} is {found}. Mend: name an ordinary file.")


def is_ordinary(path: str | os.PathLike[str]) -> bool:
    """Whether there is an ordinary file; a folder is none. A pipe or a device is there, and is not called absent.

    >>> is_ordinary(os.devnull)
    Traceback (most recent call last):
    OSError: /dev/null is a device, which may never end. Mend: name an ordinary file.

    Raises:
        OSError: It is a pipe, a device or a socket.
    """
    if not os.path.isdir(path):
        refuse_special(path)
    return os.path.isfile(path)
