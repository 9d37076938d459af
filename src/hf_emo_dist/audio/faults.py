"""What can be wrong with a clip, and the error that says so, with the row and the mend."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

#: Fewest samples at 16 kHz that give an audio token: from 320 on down the tower's strides leave none.
MIN_SAMPLES = 321

_REPLACE = "replace the file, or leave the row out"

#: The mend for each kind of problem, where a clip does not ask for another.
MENDS = {
    "missing": "correct the path, or write the data set anew with the audio inside",
    "not_audio": "put the recording itself in its place, or leave the row out",
    "unsupported": "convert it, such as with `ffmpeg -i IN OUT.flac`, or leave the row out",
    "corrupt": _REPLACE,
    "too_large": "cut it, or convert it with `ffmpeg -i IN -ac 1 -ar 16000 OUT.flac`, or leave the row out",
    "empty": _REPLACE,
    "silent": "check the recording, or leave the row out",
    "non_finite": "write the clip anew without NaN or infinite samples, or leave the row out",
    "wrong_scale": "divide integers by their full scale (32768 for 16 bits), so that samples lie between -1 and 1",
    "too_short": f"leave the row out, or give a clip of at least {MIN_SAMPLES} samples at 16000 Hz",
    "too_long": "cut the clip, or pass long_audio='window' (or 'truncate')",
}


#: Most groups of faults that one list shows; what is beyond is counted.
MOST_GROUPS = 20
# What differs between faults of one sort: names in quotes, and numbers with what hangs on them.
_VARYING = re.compile(r"'[^']*'|\"[^\"]*\"|\S*\d\S*|begins with [^,]*")

_ROW = re.compile(r"^Row (?:'[^']*'|\"[^\"]*\"|\d+): ")


def told_by_reason(faults: Iterable[tuple[str, str, str]], most: int = MOST_GROUPS, named: int = 1) -> list[str]:
    """A line for each sort of fault: the first that have it, how many more do, what was found, and what to do.

    Args:
        faults: Name of the clip, what was found, and the mend. Those that differ in numbers and names alone are of one
            sort, so that an odd one among many is not hidden.
        most: Lines at most.
        named: So many clips are named in a line.

    Example:
        >>> lost = "the file breaks off: {} bytes fewer than its header says"
        >>> rate = "the sampling rate is 1 Hz, and it may be 4,000 to 384,000"
        >>> for line in told_by_reason([("a", lost.format(7), "x"), ("b", rate, "x"), ("c", lost.format(90), "x")]):
        ...     print(line)
        a (and 1 more): the file breaks off: 7 bytes fewer than its header says. Mend: x.
        b: the sampling rate is 1 Hz, and it may be 4,000 to 384,000. Mend: x.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    first: dict[tuple[str, str], str] = {}
    for name, detail, mend in faults:
        sort = (_VARYING.sub("#", detail), mend)
        groups.setdefault(sort, []).append(name)
        first.setdefault(sort, detail)
    lines = [
        f"{', '.join(names[:named])}{f' (and {len(names) - named} more)' if len(names) > named else ''}: {first[sort]}."
        + (f" Mend: {sort[1]}." if sort[1] else "")
        for sort, names in list(groups.items())[:most]
    ]
    if len(groups) > most:
        rest = sum(map(len, list(groups.values())[most:]))
        lines.append(f"and {rest} with other faults.")
    return lines


def told_parts(row_id: Any, message: str) -> tuple[str, str, str]:
    """The message of an `AudioError` as `told_by_reason` takes it.

    >>> told_parts("a", str(clip_error("empty", "the file has no bytes", "a", "replace it")))
    ('a', 'the file has no bytes', 'replace it')
    """
    # another row's name, where one file stands in two rows
    detail, _, mend = _ROW.sub("", message.removeprefix(f"Row {row_id!r}: ")).partition(". Mend: ")
    return str(row_id), detail, mend.removesuffix(".")


class AudioError(ValueError):
    """A clip that cannot be used. The message names the row and the mend; `kind` is as in :class:`AudioProblem`."""

    kind: str = "corrupt"


class BadClip(Exception):
    """What is wrong with a clip, before the row is known: a kind of :data:`MENDS`, what was found, and what to do."""

    def __init__(self, kind: str, detail: str, mend: str = "") -> None:
        super().__init__(kind, detail)
        self.kind, self.detail, self.mend = kind, detail, mend or MENDS[kind]

    def error(self, row_id: Any) -> AudioError:
        """The same as the error to raise for a row."""
        return clip_error(self.kind, self.detail, row_id, self.mend)


def clip_error(kind: str, detail: str, row_id: Any, mend: str = "") -> AudioError:
    """Return the error to raise for a clip, with the row and the mend."""
    where = "" if row_id is None else f"Row {row_id!r}: "
    error = AudioError(f"{where}{detail}. Mend: {mend or MENDS[kind]}.")
    error.kind = kind
    return error
