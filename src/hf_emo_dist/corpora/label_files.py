"""What readers share: label files line by line, folders of clips, and a corpus's spellings in the library's words.

Odd encodings are read and reported, and every line keeps its number.
"""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

from .._files import refuse_special
from ..emotions import KNOWN_EMOTIONS, UnknownEmotionError, canonical_emotion
from .csv_text import CsvRecord, csv_records
from .utterances import CorpusError, CorpusInfo, CorpusReport, Utterance

_BOM = b"\xef\xbb\xbf"
_SPLITS = {
    **dict.fromkeys(("train", "training", "tr"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev", "devel", "development"), "validation"),
    **dict.fromkeys(("test", "testing", "te", "eval", "evaluation"), "test"),
}


def iter_lines(path: Path, report: CorpusReport) -> Iterator[tuple[int, str]]:
    """Yield number (from 1) and text of each line, without its end; only one line is in memory at a time.

    A byte order mark, Windows line ends (once a file) and bytes that are not UTF-8 are noted in the report.
    """
    name = report.name(path)
    refuse_special(path)
    with path.open("rb") as file:
        windows = False
        for number, raw in enumerate(file, start=1):
            if number == 1 and raw.startswith(_BOM):
                report.note("bom", name, f"{name}:1")
                raw = raw.removeprefix(_BOM)
            if raw.endswith(b"\r\n") and not windows:
                report.note("crlf", name, f"{name}:{number}")
                windows = True
            raw = raw.rstrip(b"\r\n")
            try:
                text = raw.decode("utf-8")
            except UnicodeDecodeError:
                report.note("encoding", name, f"{name}:{number}")
                text = raw.decode("cp1252", errors="replace")
            yield number, text


def iter_csv(
    path: Path, report: CorpusReport, required: Sequence[str] = (), delimiter: str = ","
) -> Iterator[tuple[int, dict[str, str]]]:
    """Yield line number and cells by column name of a table that must have the columns `required`."""
    name = report.name(path)
    lines = (text for _, text in iter_lines(path, report))
    # A TSV of a corpus is not quoted; a quote there is a character of the text.
    records = csv_records(lines, delimiter, plain_quotes=delimiter == "\t")
    columns = [cell.strip() for cell in next(records, CsvRecord(1, [])).cells]
    lacking = [column for column in required if column not in columns]
    if lacking:
        raise CorpusError(
            f"{name} has no column {', '.join(lacking)} (there are {', '.join(columns) or 'none'}). "
            "Mend: check that it is the right file."
        )
    for line, cells, problem in records:
        if problem:
            report.note("bad_line", name, f"{name}:{line}", problem)
            continue
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) != len(columns):
            found = f"{len(cells)} cells, the header has {len(columns)}"
            report.note("bad_line", name, f"{name}:{line}", found)
            continue
        yield line, {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}


def file_name(text: str, where: str, report: CorpusReport) -> str:
    """Return the name of a file from a path of any system."""
    if "\\" in text:
        report.note("windows_path", text, where)
        text = text.replace("\\", "/")
    return text.strip().rpartition("/")[2]


def stem_of(name: str) -> str:
    """The name of a file without its extension."""
    return os.path.splitext(name)[0]


def audio_files(folder: Path, suffixes: Sequence[str] = (".wav",)) -> dict[str, str]:
    """Return stem to path of the audio files in one folder, by name; files that begin with ``._`` are none."""
    if not folder.is_dir():
        return {}
    found = {}
    with os.scandir(folder) as entries:
        for entry in entries:
            stem, suffix = os.path.splitext(entry.name)
            if suffix.lower() in suffixes and not entry.name.startswith("._"):
                found[stem] = entry.path
    return dict(sorted(found.items()))


def corpus_folder(source: str | Path) -> Path:
    """The folder that a reader is given, or a FileNotFoundError."""
    root = Path(source).expanduser()
    if not root.is_dir():
        raise FileNotFoundError(f"There is no folder {root}. Mend: check the path.")
    return root


def find_folder(root: Path, *names: str) -> Path | None:
    """Return the first folder in `root` whose name is one of `names` in any case, or None."""
    folders = {entry.name.lower(): entry for entry in sorted(root.iterdir()) if entry.is_dir()}
    return next((folders[name.lower()] for name in names if name.lower() in folders), None)


def find_file(folder: Path, *names: str) -> Path | None:
    """Return the first file in `folder` whose name is one of `names` in any case, the first name before the second."""
    if not folder.is_dir():
        return None
    files = {path.name.lower(): path for path in sorted(folder.iterdir(), reverse=True) if path.is_file()}
    return next((files[name.lower()] for name in names if name.lower() in files), None)


def audio_below(root: Path, suffixes: Sequence[str] = (".wav",)) -> tuple[dict[str, str], list[tuple[str, str]]]:
    """Return stem to path of the audio files in a folder and those below it, and the stems found again elsewhere."""
    found: dict[str, str] = {}
    again: list[tuple[str, str]] = []
    for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
        for stem, path in audio_files(folder, suffixes).items():
            if stem in found:
                again.append((stem, path))
            else:
                found[stem] = path
    return found, again


def number(value: object) -> float | None:
    """A rating as a number; None where it is none, and for the NaN that corpora write where nobody rated."""
    try:
        found = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        return None
    return found if math.isfinite(found) else None


def mean(values: Iterable[float | None]) -> float | None:
    """The mean of the ratings that are there, or None."""
    present = [value for value in values if value is not None]
    return sum(present) / len(present) if present else None


def split_name(text: str) -> str:
    """Return the standard name of a split; others in lower case, with an underscore for what a name may not hold."""
    name = text.strip().lower()
    return _SPLITS.get(name) or re.sub(r"\W+", "_", name, flags=re.ASCII).strip("_") or "train"


def utterances_by_name(
    info: CorpusInfo, root: Path, parse: Callable[[str, str], Utterance | None], report: CorpusReport
) -> Iterator[Utterance]:
    """Yield what `parse` makes of stem and path of every clip below a folder; None is reported as ``bad_name``."""
    found = False
    for folder in (root, *sorted(path for path in root.rglob("*") if path.is_dir())):
        for stem, path in audio_files(folder, (".wav", ".flac")).items():
            found = True
            utterance = parse(stem, path)
            if utterance is None:
                report.skip("bad_name", stem, report.name(path))
            else:
                utterance.where = report.name(path)
                yield utterance
    if not found:
        raise CorpusError(f"There are no audio files of {info.title} below {root}. Mend: check the path.")


def is_split_name(text: str) -> bool:
    """Whether text is one of the usual names of a split."""
    return text.strip().lower() in _SPLITS


class Labels:
    """Turns a corpus's spellings, with `codes` of its own, into its `emotions`; what it does not know is None.

    Example:
        >>> labels = Labels(["neutral", "other"], {"N": "neutral"})
        >>> labels("Neutral state"), labels("N"), labels("Happy"), labels("x")
        ('neutral', 'neutral', None, None)
    """

    def __init__(self, emotions: Sequence[str] = KNOWN_EMOTIONS, codes: dict[str, str] | None = None) -> None:
        self._emotions = tuple(emotions)
        self._known: dict[str, str | None] = dict(codes or {})

    def __call__(self, text: str) -> str | None:
        """Look up one label."""
        if text not in self._known:
            try:
                self._known[text] = canonical_emotion(text, self._emotions)
            except UnknownEmotionError:
                self._known[text] = None
        return self._known[text]
