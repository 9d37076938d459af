"""audformat: databases as audEERING publishes them, from their header and tables.

A database is a folder with ``db.yaml`` (raters, schemes, tables and their columns) and a file a table,
``db.<table>.csv`` or ``.parquet``. A filewise table has a row a file; a column names its scheme and its rater.
Segmented tables have ``file, start, end``; segments are parts of files, unless they span all of one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..._files import refuse_special
from ..._yaml import in_one_line, read_yaml_file
from ...emotions import is_known_emotion
from ..label_files import mean, number
from ..table.options import TableOptions
from ..table.reading import TableReading
from ..utterances import CorpusReport
from .answers import Answers, ExportError, export_reader, read_parquet, read_rows, there

_MOST_BYTES = 16_000_000  # of a header, which may list all of its speakers
_ATTRIBUTES = ("arousal", "valence", "dominance")
_ABOUT = {"speaker": "speaker", "transcription": "transcript", "transcript": "transcript", "text": "transcript"}
_DURATION = ("", "nat", "none", "nan")

_Header = Mapping[str, Mapping[str, Mapping[str, Any]]]


class _Column(NamedTuple):
    """A column of a table, and what the header says of it."""

    table: str
    name: str
    scheme: str
    rater: str
    split: str | None


def _answers(export: Path, report: CorpusReport, question: str | None, tables: Sequence[str] | None) -> Answers:
    """One row a rating."""
    header = export if export.is_file() else export / "db.yaml"
    answers = Answers(header.parent.name or header.name)
    if not header.is_file():
        answers.fail("there is no db.yaml in it", "give the folder of the database.")
    root, about = header.parent, _header(header)
    schemes = about["schemes"]
    columns = list(_columns(answers, header, about, tables))
    humans = {name for name, rater in about["raters"].items() if rater.get("type") == "human"}
    asked = _scheme(answers, schemes, columns, humans, question)
    names = _names(schemes[asked])
    voted = [column for column in columns if column.scheme == asked and column.rater in humans]
    known = _about(root, about, columns, report)
    read: dict[str, list[tuple[str, dict[str, str]]]] = {}
    parts = 0
    for column in voted:
        if column.table not in read:
            read[column.table] = list(_rows(root, column.table))
        for place, row in read[column.table]:
            file, label = row.get("file", ""), row.get(column.name, "")
            if not label:
                continue  # an empty cell says that this rater was not asked
            if not _is_whole(row):
                parts += 1
                report.note("part_of_clip", file, f"{column.table} {place}", f"{row.get('start')} to {row.get('end')}")
                continue
            details = {**known.get(file, {}), "split": column.split}
            details = {name: value for name, value in details.items() if value is not None}
            answers.add(
                f"{column.table} {place}",
                {**details, "file": file, "rater": column.rater, "votes": names.get(label, label)},
            )
    if not answers.rows and parts:
        answers.fail(
            f"all {parts} ratings are of segments",
            "cut the segments into files of their own first, with audformat.utils.to_filewise_index.",
        )
    return answers


def _header(path: Path) -> _Header:
    import yaml

    refuse_special(path)
    try:
        content = read_yaml_file(path, _MOST_BYTES)
    except yaml.YAMLError as error:
        raise ExportError(
            f"{path.name} is not a header of audformat ({in_one_line(error)}). Mend: copy it again."
        ) from error
    if not isinstance(content, Mapping) or not isinstance(content.get("tables"), Mapping):
        raise ExportError(f"{path.name} names no tables. Mend: give the folder of a database in audformat.")
    return {section: _entries(path, content, section) for section in ("tables", "schemes", "raters", "splits")}


def _entries(path: Path, content: Mapping[str, Any], section: str) -> dict[str, Mapping[str, Any]]:
    """A part of the header: what it says of each name."""
    entries = content.get(section) or {}
    if not isinstance(entries, Mapping) or not all(isinstance(about or {}, Mapping) for about in entries.values()):
        raise ExportError(f"{path.name} is not a header of audformat ({section}). Mend: copy it again.")
    return {str(name): about or {} for name, about in entries.items()}


def _columns(answers: Answers, path: Path, about: _Header, tables: Sequence[str] | None) -> Iterator[_Column]:
    known = about["tables"]
    lacking = sorted(set(tables or ()) - set(known))
    if lacking:
        answers.fail(f"there is no table {lacking[0]!r} (there are {', '.join(known)})", "correct --tables.")
    for table, description in known.items():
        if tables and table not in tables:
            continue
        split = description.get("split_id")
        kind = str(about["splits"].get(str(split), {}).get("type", split)) if split else None
        for name, column in _entries(path, description, "columns").items():
            yield _Column(table, name, str(column.get("scheme_id", "")), str(column.get("rater_id", "")), kind)


def _names(scheme: Mapping[str, Any]) -> dict[str, str]:
    """Value in a table to the label that it stands for: itself, or the name that the scheme gives it."""
    labels = scheme.get("labels")
    if isinstance(labels, list):
        return {str(label): str(label) for label in labels}
    found = {}
    for key, meaning in labels.items() if isinstance(labels, Mapping) else ():
        texts = list(meaning.values()) if isinstance(meaning, Mapping) else [meaning]
        found[str(key)] = next((t for t in texts if isinstance(t, str) and is_known_emotion(t)), str(key))
    return found


def _scheme(
    answers: Answers, schemes: Mapping[str, Any], columns: list[_Column], humans: set[str], question: str | None
) -> str:
    voted = dict.fromkeys(column.scheme for column in columns if column.rater in humans and column.scheme in schemes)
    if question is not None:
        if question not in voted:
            found = ", ".join(voted) or "none"
            answers.fail(
                f"no column of a human rater has the scheme {question!r} (there are {found})", "correct --question."
            )
        return question
    emotional = [name for name in voted if any(map(is_known_emotion, _names(schemes[name]).values()))]
    if len(emotional) == 1:
        return emotional[0]
    if emotional:
        answers.fail(f"several schemes have emotions: {', '.join(emotional)}", "name one, --question SCHEME.")
    concluded = sorted(
        {
            c.scheme
            for c in columns
            if c.scheme in schemes and any(map(is_known_emotion, _names(schemes[c.scheme]).values()))
        }
    )
    if concluded:
        answers.fail(
            f"the emotions ({', '.join(concluded)}) are what was concluded, of no human rater",
            "take the database's table of single raters; a gold standard is no vote.",
        )
    answers.fail(
        f"no scheme of a human rater has emotions ({', '.join(voted) or 'none'})", "name it, --question SCHEME."
    )


def _rows(root: Path, table: str) -> Iterator[tuple[str, dict[str, str]]]:
    """The place and the cells, as text, of each row of a table."""
    path = root / f"db.{table}.parquet"
    if path.is_file():
        for position, row in enumerate(read_parquet(path), start=1):
            yield f"row {position}", {name: "" if value is None else str(value) for name, value in row.items()}
        return
    path = root / f"db.{table}.csv"
    if not path.is_file():
        raise ExportError(
            f"There is no db.{table}.csv or .parquet in {root}. Mend: complete the database; pickles are not read, so "
            "save it with storage_format='parquet'."
        )
    for line, cells in read_rows(path):
        yield f"line {line}", cells


def _is_whole(row: Mapping[str, str]) -> bool:
    """Whether a row is about all of a file."""
    start, end = row.get("start", "").strip().lower(), row.get("end", "").strip().lower()
    begins = start in _DURATION or start in ("0 days", "0 days 00:00:00", "0:00:00", "0")
    return begins and end in _DURATION


def _about(root: Path, about: _Header, columns: list[_Column], report: CorpusReport) -> dict[str, dict[str, Any]]:
    """Speaker, transcript and attributes of the files, from the filewise tables; the speaker's sex from their table."""
    wanted: dict[str, list[tuple[str, str]]] = {}
    for column in columns:
        role = _ABOUT.get(column.scheme) or _ABOUT.get(column.name)
        attribute = next((name for name in _ATTRIBUTES if name in (column.scheme, column.name)), None)
        if about["tables"][column.table].get("type") == "filewise" and (role or attribute):
            wanted.setdefault(column.table, []).append((column.name, role or attribute or ""))
    found: dict[str, dict[str, Any]] = {}
    rated: dict[tuple[str, str], list[float | None]] = {}
    for table, roles in wanted.items():
        for _, row in _rows(root, table):
            for name, role in roles:
                if role in _ATTRIBUTES:
                    rated.setdefault((row.get("file", ""), role), []).append(number(row.get(name)))
                elif row.get(name):
                    found.setdefault(row.get("file", ""), {}).setdefault(role, row[name])
    for (file, role), values in rated.items():
        found.setdefault(file, {})[role] = mean(values)
    return found


@export_reader(
    "a database in audformat (audEERING)",
    "hf-emo-dist read audformat my-database my-database my_data --dry_run",
)
def understand_audformat(
    export: str | Path,
    audio_dir: str | Path,
    *,
    question: str | None = None,
    tables: Sequence[str] | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand a database in audformat: the columns of an emotion's scheme whose rater is human.

    What a database concludes, of a rater of another type (``vote``, ``truth``, ``machine``, ``other``), is no vote. The
    split of a table, and the speaker, the transcription and the means of ``arousal``, ``valence`` and ``dominance`` of
    whichever filewise table has them, become columns. Labels of parts of a file are reported and are no votes.

    Args:
        export: The database's folder, or its ``db.yaml``; tables in CSV or Parquet.
        audio_dir: The folder that the tables' files are relative to, as a rule the database's own.
        question: The scheme of the emotion. Default: the only one whose labels are emotions.
        tables: The tables to read. Default: all that have such columns.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the database does not fit, or must be asked.
        FileNotFoundError: There is no such folder.

    Example:
        >>> understand_audformat("my-database", "my-database").build()  # doctest: +SKIP
    """
    report = CorpusReport() if report is None else report
    source, folder = there(export, "database"), there(audio_dir, "folder")
    return _answers(source, report, question, tables).understand(folder, report, options)
