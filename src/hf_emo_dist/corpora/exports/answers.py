"""What readers of exports share: rows of one rating each, which question is meant, which file a clip is."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol, cast
from urllib.parse import parse_qs, unquote, urlsplit

from ..._files import refuse_special
from ...emotions import is_known_emotion
from ..csv_text import CsvRecord, csv_records
from ..options import spell_out
from ..table.content import TableError, table_of
from ..table.disguises import disguise
from ..table.options import DEFAULTS, TableOptions, table_settings
from ..table.read import understand_files
from ..table.reading import TableReading
from ..utterances import CorpusReport

_AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au", ".sph", ".webm", ".aac", ".wma")
# Label Studio puts eight digits before the name of what is uploaded to it.
_UPLOADED = re.compile(r"[0-9a-f]{8}-")


class ExportError(TableError):
    """An export that cannot be turned into votes."""


class ExportReader(Protocol):
    """A function that understands the exports of one tool, with what the help says of it beside it."""

    title: str
    example: str

    def __call__(self, export: str | Path, audio_dir: str | Path, **options: Any) -> TableReading:
        """Understand an export."""


def export_reader(title: str, example: str) -> Callable[[Callable[..., TableReading]], ExportReader]:
    """Make a function the reader of a tool's exports.

    Args:
        title: What it reads, for the list of readers.
        example: A command, for the end of its help.

    Returns:
        A decorator, for functions that end in ``**options: Unpack[TableOptions]``: the options are written into their
        signature and docstring.
    """

    def mark(function: Callable[..., TableReading]) -> ExportReader:
        spell_out(function, TableOptions, DEFAULTS)
        reader = cast(ExportReader, function)
        reader.title, reader.example = title, example
        return reader

    return mark


def there(path: str | Path, what: str) -> Path:
    """The path, with ``~`` for the home folder, or a FileNotFoundError."""
    found = Path(path).expanduser()
    if not found.is_dir():
        refuse_special(found)
    if not found.exists():
        raise FileNotFoundError(f"There is no {what} {found}. Mend: check the path.")
    return found


@dataclass
class Answers:
    """An export, as rows of the long form: one a rating, with the columns ``file``, ``rater`` and ``votes``.

    Where an export has shares instead of ratings, a row is a clip and `options` says so.
    """

    name: str  # of the file, for messages
    rows: list[dict[str, Any]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)  # where each row stands, such as "task 7"
    options: dict[str, Any] = field(default_factory=dict)  # what the format says of its rows, for the table's reader

    def add(self, place: str, row: dict[str, Any]) -> None:
        """Add a rating."""
        self.rows.append(row)
        self.places.append(place)

    def fail(self, problem: str, mend: str) -> NoReturn:
        """Raise an error about the export."""
        raise ExportError(f"{self.name}: {problem}. Mend: {mend}")

    def understand(self, audio_dir: Path, report: CorpusReport, options: TableOptions) -> TableReading:
        """Find out what the rows hold, by the rules of the user's own tables."""
        if not self.rows:
            told = ", ".join(f"{count} {reason}" for reason, count in report.counts().items())
            self.fail(f"there is no rating in it ({told or 'it is empty'})", "check that it is the right export.")
        settings = table_settings(cast(TableOptions, {**self.options, **options}))
        rows = table_of(self.rows, self.name, self.places)
        return understand_files(
            rows, audio_dir, settings, report, key=f"{self.name}\n{audio_dir.resolve()}\n{settings}"
        )


def _refuse_disguise(path: Path) -> None:
    refuse_special(path)
    other = disguise(path)
    if other is not None:
        raise ExportError(f"{path.name} {other[0]}. Mend: {other[1]}.")


def read_json(path: Path) -> Any:
    """The content of a JSON file, or of a file with one JSON value a line."""
    _refuse_disguise(path)
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path.name} is not UTF-8 text (byte {error.start}). Mend: export it again.") from error
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as whole:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [json.loads(line) for line in lines] if len(lines) > 1 else json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ExportError(f"{path.name} is not JSON ({whole}). Mend: export it again.") from error


def read_parquet(path: Path) -> list[dict[str, Any]]:
    """The rows of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    _refuse_disguise(path)
    try:
        return pq.read_table(path).to_pylist()
    except (pa.ArrowException, OSError, UnicodeDecodeError) as error:
        told = str(error).partition("\n")[0]
        raise ExportError(f"{path.name} cannot be read as Parquet ({told}). Mend: copy it again.") from error


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column name of a CSV or TSV file, whose cells may be quoted."""
    _refuse_disguise(path)
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise ExportError(f"{path.name} is not UTF-8 text (byte {error.start}). Mend: export it again.") from error
    records = csv_records(lines, "\t" if path.suffix.lower() == ".tsv" else ",")
    columns = [cell.strip() for cell in next(records, CsvRecord(1, [])).cells]
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ExportError(f"{path.name} has two columns {twice[0]!r}. Mend: rename one of them.")
    rows = []
    for line, cells, problem in records:
        if not problem and not any(cell.strip() for cell in cells):
            continue
        if not problem and len(cells) != len(columns):
            problem = f"{len(cells)} cells, the header has {len(columns)}"
        if problem:
            raise ExportError(f"{path.name} line {line}: {problem}. Mend: export it again.")
        rows.append((line, {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}))
    return rows


def looks_like_audio(value: Any) -> bool:
    """Whether a value names an audio file, as a path or an address."""
    return isinstance(value, str) and os.path.splitext(_plain_path(value))[1].lower() in _AUDIO


def _plain_path(text: str) -> str:
    """The path in a name, an address or Label Studio's ``/data/local-files/?d=path``."""
    text = text.strip()
    if "://" not in text and not text.startswith("/data/"):
        return text.replace("\\", "/")
    try:
        parts = urlsplit(text)
    except ValueError:  # it only looks like an address
        return text
    asked = parse_qs(parts.query).get("d")
    return asked[0] if asked else unquote(parts.path)


class LocalNames:
    """Finds the name that a clip has in the user's folder.

    Tools name a clip as they saw it: on their server, in a bucket, under an upload's own name. Of a path or an address
    the longest ending that is a file in the folder is taken, and what Label Studio puts before an upload's name is left
    out where there is no such file. Nothing outside of the folder is named, and two names are never one file.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "a.wav").write_bytes(b"RIFF")
        >>> LocalNames(folder)("/data/upload/3/1b2c3d4e-a.wav")
        'a.wav'
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: dict[str, str] = {}
        self._sources: dict[str, str] = {}

    def __call__(self, text: str) -> str:
        """The name of one clip."""
        if text not in self._known:
            name = self._known[text] = self._find(text)
            first = self._sources.setdefault(name, text)
            if first != text and name:
                raise ExportError(
                    f"{first!r} and {text!r} would both be the file {name!r} of {self._folder}, and their votes one "
                    "clip's. Mend: give a folder in which they are two files, named as the export names them."
                )
        return self._known[text]

    def _find(self, text: str) -> str:
        path = _plain_path(text)
        absolute = path != text.strip() or path.startswith("/") or re.match(r"[A-Za-z]:/", path)
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        endings = ["/".join(parts[start:]) for start in range(len(parts))]
        last = parts[-1] if parts else path
        if _UPLOADED.match(last):
            endings.append(_UPLOADED.sub("", last, count=1))
        found = next((name for name in endings if (self._folder / name).is_file()), None)
        return found or (last if absolute else path)


def audio_key(answers: Answers, data: Sequence[Mapping[str, Any]], given: str | None) -> str:
    """Which key of the tasks' data names the clip: `given`, else the only one that looks like audio files."""
    keys = list(dict.fromkeys(key for entry in data for key in entry))
    if given is not None:
        if given not in keys:
            answers.fail(f"no task has the key {given!r} (there are {', '.join(keys)})", "correct --audio_key.")
        return given
    likely = [
        key for key in keys if any(entry.get(key) for entry in data) and _all_audio(entry.get(key) for entry in data)
    ]
    if len(likely) == 1 or "audio" in likely:
        return "audio" if "audio" in likely else likely[0]
    found = f"several keys do ({', '.join(likely)})" if likely else f"none of the keys ({', '.join(keys)}) does"
    answers.fail(f"one key must name the audio files, and {found}", "name it, --audio_key KEY.")


def _all_audio(values: Iterable[Any]) -> bool:
    return all(value in (None, "") or looks_like_audio(value) for value in values)


def which_question(answers: Answers, found: Mapping[str, Sequence[str]], given: str | None) -> str:
    """Which question is the one about the emotion: `given`; the only one; or the only one answered with emotions.

    Args:
        answers: The export, for messages.
        found: Question to the labels that were given to it.
        given: The name that the user gave.
    """
    if given is not None:
        if given not in found:
            there = ", ".join(map(repr, found)) or "none"
            answers.fail(f"nobody answered a question {given!r} (there are {there})", "correct --question.")
        return given
    emotional = [name for name, labels in found.items() if labels and mostly_emotions(labels)]
    for names in (list(found), emotional):
        if len(names) == 1:
            return names[0]
    if not found:
        answers.fail("no question has an answer that names labels", "check that it is the export of a labelling task.")
    told = "; ".join(f"{name!r} ({', '.join(list(dict.fromkeys(labels))[:4])})" for name, labels in found.items())
    answers.fail(f"several questions have answers: {told}", "say which is about the emotion, --question NAME.")


def mostly_emotions(labels: Sequence[str]) -> bool:
    """Whether more than half of the distinct labels are known emotions."""
    distinct = set(labels)
    return 2 * sum(is_known_emotion(label) for label in distinct) > len(distinct)


def hide_person(who: Any) -> str | None:
    """A rater's name that is fit to be published: an address of e-mail becomes a number that is always the same."""
    text = "" if who is None else str(who).strip()
    if "@" in text:
        return f"rater-{hashlib.sha256(text.lower().encode()).hexdigest()[:8]}"
    return text or None


class Numbered:
    """Gives raters numbers in the order in which they occur, where their own names may not be handed on.

    Example:
        >>> raters = Numbered()
        >>> raters("5f1c9"), raters("77ab0"), raters("5f1c9")
        ('p1', 'p2', 'p1')
    """

    def __init__(self) -> None:
        self._numbers: dict[str, str] = {}

    def __call__(self, who: str) -> str:
        """The number of one rater."""
        return self._numbers.setdefault(who, f"p{len(self._numbers) + 1}")


def texts_of(value: Any) -> Iterator[str]:
    """The labels in an answer, which is one, or a list of them."""
    for item in value if isinstance(value, (list, tuple)) else [value]:
        if isinstance(item, str) and item.strip():
            yield item.strip()
