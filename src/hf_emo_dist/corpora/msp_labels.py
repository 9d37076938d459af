"""The raters' label files of MSP-Podcast: ``labels.txt`` and ``labels_detailed`` in all of their shapes."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path
from sys import intern
from typing import NamedTuple

from .label_files import file_name, iter_csv, iter_lines, stem_of
from .utterances import CorpusError, CorpusReport

__all__ = ["Rating", "find_details", "iter_ratings"]

_DETAILS = ("labels_detailed.csv", "labels_detailed.json", "labels.txt")
# 1.6 says "Workers", 2.0 "WorkerID".
_WORKER_COLUMNS = ("WorkerID", "Workers", "Worker")
_ATTRIBUTE = re.compile(r"[AVD]\s*:")


class Rating(NamedTuple):
    """What one rater said of one clip, and the line where (0: the file has no lines to speak of)."""

    worker: str
    primary: str
    secondary: tuple[str, ...]
    line: int


def find_details(folder: Path) -> Path:
    """Return the raters' label file of a release.

    Raises:
        CorpusError: There is none.
    """
    for name in _DETAILS:
        if (folder / name).is_file():
            return folder / name
    raise CorpusError(
        f"{folder} holds none of {', '.join(_DETAILS)}. Mend: give the folder that holds MSP-Podcast's Labels and Audios; "
        "the consensus file alone has no votes."
    )


# A million ratings share a few thousand strings: interning keeps the memory for them small.
@lru_cache(maxsize=100_000)
def _split_secondary(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def parse_rating(text: str, line: int) -> Rating | None:
    """Read ``WORKER; primary; secondary; A:..; V:..; D:..;``, where the secondary emotions may be missing.

    >>> parse_rating("WORKER00000044; Surprise; Neutral,Surprise; A:3.000000; V:5.000000; D:3.000000;", 4)
    Rating(worker='WORKER00000044', primary='Surprise', secondary=('Neutral', 'Surprise'), line=4)
    """
    fields = [part.strip() for part in text.strip().strip('"').split(";")]
    fields = [part for part in fields if part and not _ATTRIBUTE.match(part)]
    if len(fields) not in (2, 3):
        return None
    secondary = _split_secondary(fields[2]) if len(fields) == 3 else ()
    return Rating(intern(fields[0]), intern(fields[1]), secondary, line)


def iter_ratings(path: Path, report: CorpusReport) -> Iterator[tuple[str, str, list[Rating]]]:
    """Yield the name of each clip, the file and line where it begins, and its ratings.

    Raises:
        CorpusError: The file is none of the known shapes.
    """
    if path.suffix == ".json":
        yield from _from_json(path, report)
    elif path.suffix == ".txt":
        yield from _from_blocks(path, report)
    else:
        yield from _from_csv(path, report)


def _from_blocks(path: Path, report: CorpusReport) -> Iterator[tuple[str, str, list[Rating]]]:
    name, where, file = "", "", report.name(path)
    ratings: list[Rating] = []
    for number, text in iter_lines(path, report):
        here = f"{file}:{number}"
        first = text.partition(";")[0].strip()
        if not text.strip():
            continue
        if first.lower().endswith(".wav"):
            if name:
                yield name, where, ratings
            name, where, ratings = file_name(first, here, report), here, []
            continue
        rating = parse_rating(text, number)
        if rating is None or not name:
            report.note("bad_line", stem_of(name) or path.name, here, text.strip()[:80])
        else:
            ratings.append(rating)
    if name:
        yield name, where, ratings


def _from_csv(path: Path, report: CorpusReport) -> Iterator[tuple[str, str, list[Rating]]]:
    clips: dict[str, tuple[str, list[Rating]]] = {}
    file = report.name(path)
    for line, row in iter_csv(path, report, required=("FileName",)):
        where = f"{file}:{line}"
        name = file_name(row["FileName"], where, report)
        _, ratings = clips.setdefault(name, (where, []))
        if "EmoDetail" in row:
            rating = parse_rating(row["EmoDetail"], line)
        else:
            worker = next((row[column] for column in _WORKER_COLUMNS if column in row), None)
            if worker is None or "EmoClass_Major" not in row:
                raise CorpusError(
                    f"{report.name(path)} has the columns {', '.join(row)}: votes are in EmoDetail, or in EmoClass_Major "
                    "with WorkerID or Workers. Mend: check that it is the raters' file, not the consensus."
                )
            secondary = _split_secondary(row.get("EmoClass_Second", ""))
            rating = Rating(intern(worker), intern(row["EmoClass_Major"]), secondary, line)
        if rating is None or not rating.primary or not rating.worker:
            report.note("bad_line", stem_of(name), where, ", ".join(row.values())[:80])
        else:
            ratings.append(rating)
    for name in list(clips):
        where, ratings = clips.pop(name)
        yield name, where, ratings


def _from_json(path: Path, report: CorpusReport) -> Iterator[tuple[str, str, list[Rating]]]:
    where = report.name(path)
    try:
        content = json.loads("\n".join(text for _, text in iter_lines(path, report)))
    except ValueError as error:
        raise CorpusError(f"{where} is not JSON ({error}). Mend: copy it again.") from error
    for key, workers in content.items():
        name = file_name(key, where, report)
        ratings = []
        for worker, fields in workers.items() if isinstance(workers, dict) else ():
            primary = fields.get("EmoClass_Major") if isinstance(fields, dict) else None
            if not isinstance(primary, str) or not primary.strip():
                report.note("bad_line", stem_of(name), where, f"{worker} has no EmoClass_Major")
                continue
            second = fields.get("EmoClass_Second") or ""
            secondary = _split_secondary(second) if isinstance(second, str) else tuple(map(str, second))
            ratings.append(Rating(intern(worker), intern(primary.strip()), secondary, 0))
        yield name, where, ratings
