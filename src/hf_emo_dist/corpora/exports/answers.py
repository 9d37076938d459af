"""What readers of exports share: rows of one rating each, which question is meant, which file a clip is."""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn
from urllib.parse import parse_qs, unquote, urlsplit

from ...emotions import is_known_emotion

_AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au", ".sph", ".webm", ".aac", ".wma")
# Label Studio puts eight digits before the name of what is uploaded to it.
_UPLOADED = re.compile(r"[0-9a-f]{8}-")


class ExportError(ValueError):
    """An export that cannot be turned into votes."""


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


def read_json(path: Path) -> Any:
    """The content of a JSON file, or of a file with one JSON value a line."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ExportError(f"{path.name} is not UTF-8 text (byte {error.start}). Mend: export it again.") from error
    try:
        return json.loads(text)
    except ValueError as whole:
        lines = [line for line in text.splitlines() if line.strip()]
        try:
            return [json.loads(line) for line in lines] if len(lines) > 1 else json.loads(text)
        except ValueError as error:
            raise ExportError(f"{path.name} is not JSON ({whole}). Mend: export it again.") from error


def read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """Line number and cells by column name of a CSV or TSV file, whose cells may be quoted."""
    sign = "\t" if path.suffix.lower() == ".tsv" else ","
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            # Strict: an unclosed quote is an error, where it would swallow the rows after it.
            reader = csv.reader(file, delimiter=sign, strict=True)
            columns = [cell.strip() for cell in next(reader, [])]
            rows, line = [], reader.line_num
            for cells in reader:
                first, line = line + 1, reader.line_num
                if not any(cell.strip() for cell in cells):
                    continue
                if len(cells) != len(columns):
                    raise ExportError(
                        f"{path.name} line {first} has {len(cells)} cells, the header has {len(columns)}. "
                        "Mend: export it again."
                    )
                rows.append((first, {column: cell.strip() for column, cell in zip(columns, cells, strict=True)}))
    except UnicodeDecodeError as error:
        raise ExportError(f"{path.name} is not UTF-8 text (byte {error.start}). Mend: export it again.") from error
    except csv.Error as error:
        raise ExportError(
            f"{path.name} line {reader.line_num}: {error}. Mend: close the quote, or export it again."
        ) from error
    twice = sorted({column for column in columns if columns.count(column) > 1})
    if twice:
        raise ExportError(f"{path.name} has two columns {twice[0]!r}. Mend: rename one of them.")
    return rows


def looks_like_audio(value: Any) -> bool:
    """Whether a value names an audio file, as a path or an address."""
    return isinstance(value, str) and os.path.splitext(_plain_path(value))[1].lower() in _AUDIO


def _plain_path(text: str) -> str:
    """The path in a name, an address or Label Studio's ``/data/local-files/?d=path``."""
    text = text.strip()
    parts = urlsplit(text) if "://" in text or text.startswith("/data/") else None
    if parts is None:
        return text.replace("\\", "/")
    asked = parse_qs(parts.query).get("d")
    return asked[0] if asked else unquote(parts.path)


class LocalNames:
    """Finds the name that a clip has in the user's folder.

    Tools name a clip as they saw it: on their server, in a bucket, under an upload's own name. A relative name stays as
    it is; of an address or an absolute path the longest ending that is a file in the folder is taken, and what Label
    Studio puts before an upload's name is left out where there is no such file. Nothing outside of the folder is named.

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

    def __call__(self, text: str) -> str:
        """The name of one clip."""
        if text not in self._known:
            self._known[text] = self._find(text)
        return self._known[text]

    def _find(self, text: str) -> str:
        path = _plain_path(text)
        if path == text.strip() and not path.startswith("/") and not re.match(r"[A-Za-z]:/", path):
            return path
        parts = [part for part in path.split("/") if part not in ("", ".", "..")]
        endings = ["/".join(parts[start:]) for start in range(len(parts))]
        last = parts[-1] if parts else path
        if _UPLOADED.match(last):
            endings.append(_UPLOADED.sub("", last, count=1))
        return next((name for name in endings if (self._folder / name).is_file()), endings[-1] if endings else path)


def audio_key(answers: Answers, data: Sequence[Mapping[str, Any]], given: str | None, option: str) -> str:
    """Which key of the tasks' data names the clip: `given`, else the only one that looks like audio files."""
    keys = list(dict.fromkeys(key for entry in data for key in entry))
    if given is not None:
        if given not in keys:
            answers.fail(f"no task has the key {given!r} (there are {', '.join(keys)})", f"correct --{option}.")
        return given
    likely = [
        key for key in keys if any(entry.get(key) for entry in data) and _all_audio(entry.get(key) for entry in data)
    ]
    if len(likely) == 1 or "audio" in likely:
        return "audio" if "audio" in likely else likely[0]
    found = f"several keys do ({', '.join(likely)})" if likely else f"none of the keys ({', '.join(keys)}) does"
    answers.fail(f"one key must name the audio files, and {found}", f"name it, --{option} KEY.")


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
