"""A full disk: which one it is, and what to do, whatever library met it."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

#: What the system answers where there is no room, or no more of a quota.
FULL = (errno.ENOSPC, getattr(errno, "EDQUOT", errno.ENOSPC))
# safetensors, pyarrow and SQLite hand it on as text
_TEXT = re.compile(r"no space left on device|disk quota exceeded|disk is full|os error (?:28|122)\b", re.IGNORECASE)


class DiskFullError(OSError):
    """There is no room; the message says on which disk."""


def disk_full(error: BaseException, *places: str | Path) -> DiskFullError | None:
    """What to raise in place of an error that a full disk is behind; None for every other.

    Args:
        error: What was raised. Libraries wrap what the system said in errors of their own, so that those behind it and
            their texts are looked at, too.
        places: Where something is written. The message names the one with the least room.
    """
    seen: list[BaseException] = []
    behind: BaseException | None = error
    while behind is not None and behind not in seen:
        seen.append(behind)
        behind = behind.__cause__ or behind.__context__
    for found in seen:
        if isinstance(found, DiskFullError):
            return found
    if not any(getattr(one, "errno", None) in FULL or _TEXT.search(str(one)) for one in seen):
        return None
    room = {}
    for place in [*places, tempfile.gettempdir(), *_caches()]:
        there = Path(place).expanduser().absolute()
        there = next((path for path in (there, *there.parents) if path.is_dir()), there)
        with contextlib.suppress(OSError):
            room[there] = shutil.disk_usage(there)
    if not room:
        return DiskFullError(errno.ENOSPC, f"A disk is full ({error}). Mend: make room.")
    place = min(room, key=lambda path: room[path].free)
    free, total = (f"{number / 1e6:,.0f} MB" for number in (room[place].free, room[place].total))
    what = "where temporary files go" if place == Path(tempfile.gettempdir()) else ""
    what = "the cache of Hugging Face" if str(place) in _caches() else what
    mend = {
        "": "choose an output on another disk",
        "where temporary files go": "set TMPDIR to a folder on another disk",
        "the cache of Hugging Face": "set HF_HOME to a folder on another disk",
    }[what]
    return DiskFullError(
        f"The disk of {place}{f' ({what})' if what else ''} is full: {free} of {total} are free. What was there before "
        f"is as it was. Mend: make room there, or {mend}; then the same command again."
    )


def _caches() -> list[str]:
    home = os.environ.get("HF_HOME") or os.path.join(
        os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "huggingface"
    )
    found = [os.environ.get("HF_DATASETS_CACHE") or os.path.join(home, "datasets"), home]
    return [path for path in found if os.path.isdir(path)]


@contextlib.contextmanager
def disk_told(*places: str | Path) -> Iterator[None]:
    """Let a full disk say which one it is, whatever library met it."""
    try:
        yield
    except Exception as error:
        full = disk_full(error, *places)
        if full is None or full is error:
            raise
        raise full from error
