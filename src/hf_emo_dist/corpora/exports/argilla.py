"""Argilla: records with responses, as its ``to_datasets`` and its uploads to the Hub write them.

In version 2 a question ``emotion`` has the columns ``emotion.responses``, ``emotion.responses.users`` and
``emotion.responses.status``, lists of one entry a user. In version 1 it has one column, a list of
``{"user_id", "value", "status"}``. Suggestions are a model's and are not read.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

from ..._hub import check_hub_answers
from ...data.outside_files import check_repository_stays_inside
from ..table.options import TableOptions
from ..table.reading import TableReading
from ..utterances import CorpusReport
from .answers import (
    Answers,
    LocalNames,
    audio_key,
    export_reader,
    hide_person,
    read_json,
    read_parquet,
    texts_of,
    there,
    which_question,
)

_RESPONSES = ".responses"
_SOURCE = re.compile(r"<audio\b[^>]*?\bsrc\s*=\s*[\"']([^\"']+)[\"']|<source\b[^>]*?\bsrc\s*=\s*[\"']([^\"']+)[\"']")
_SUBMITTED = "submitted"


def _answers(export: Path, audio_dir: Path, report: CorpusReport, question: str | None, audio: str | None) -> Answers:
    """One row a rating."""
    answers = Answers(export.name)
    records = _records(answers, export)
    columns = list(dict.fromkeys(name for record in records for name in record))
    two = [name.removesuffix(_RESPONSES) for name in columns if name.endswith(_RESPONSES)]
    one = [name for name in columns if any(_is_version_1(record.get(name)) for record in records)]
    if not two and not one:
        answers.fail(
            f"no column holds responses (there are {', '.join(columns[:12])})",
            "export the records with their responses, by `dataset.records(with_responses=True).to_datasets()`.",
        )
    given = {name: [_responses(record, name) for record in records] for name in (two or one)}
    labels = {
        name: [label for row in rows for _, value, status in row if status == _SUBMITTED for label in texts_of(value)]
        for name, rows in given.items()
    }
    asked = which_question(answers, {name: found for name, found in labels.items() if found}, question)
    about = [_about(record) for record in records]
    key = audio_key(answers, about, audio)
    local = LocalNames(audio_dir)
    for number, (record, responses) in enumerate(zip(about, given[asked], strict=True), start=1):
        place = f"record {record.get('id', number)}"
        where = f"{answers.name} {place}"
        name = str(record.get(key) or place)
        if not responses:
            report.note("no_answer", name, where, "no response")
        kept = {
            column: value
            for column, value in record.items()
            if isinstance(value, (str, int, float)) and column not in (key, "id", "status", "_server_id")
            and not any(column == q or column.startswith((f"{q}.", f"{q}-")) for q in given)
        }  # fmt: skip
        for who, value, status in responses:
            chosen = list(texts_of(value))
            if status != _SUBMITTED:
                report.note("not_submitted", name, where, f"{status or 'without status'}")
            elif not chosen:
                report.note("no_answer", name, where, f"{who}")
            else:
                answers.add(place, {**kept, "file": local(name), "rater": hide_person(who), "votes": chosen})
    return answers


def _about(record: Mapping[str, Any]) -> dict[str, Any]:
    """A record's fields and metadata, whichever of them hold the metadata flat or within themselves."""
    inner = record.get("metadata")
    merged = {**record, **(inner if isinstance(inner, Mapping) else {})}
    return {name: _named_clip(value) for name, value in merged.items()}


def _records(answers: Answers, export: Path) -> list[dict[str, Any]]:
    records: list[Any] = []
    if not export.exists():
        records, paths = _from_hub(answers, export.as_posix()), []
    else:
        paths = sorted(export.rglob("*.parquet")) if export.is_dir() else [export]
    for path in paths:
        if path.suffix.lower() == ".parquet":
            records += read_parquet(path)
        else:
            content = read_json(path)
            if isinstance(content, Mapping) and all(isinstance(value, list) for value in content.values()):
                content = [dict(zip(content, row, strict=True)) for row in zip(*content.values(), strict=True)]
            records += content if isinstance(content, list) else [content]
    found = [dict(record) for record in records if isinstance(record, Mapping)]
    if not found:
        answers.fail("it holds no records", "give Parquet or JSON of records with responses, or a folder of Parquet.")
    return found


def _from_hub(answers: Answers, name: str) -> list[Any]:
    from datasets import load_dataset

    try:
        check_hub_answers(name, "dataset")
        check_repository_stays_inside(name, None)
        splits = load_dataset(name)
    except Exception as error:  # noqa: BLE001 - of many kinds: no such name, no network, no permission
        told = str(error).splitlines()[0] if str(error) else type(error).__name__
        answers.fail(f"there is no such data set on the Hub, or it cannot be read ({told})", "check the name.")
    return [row for split in splits.values() for row in split.to_list()]


def _is_version_1(value: Any) -> bool:
    entries = value if isinstance(value, list) else []
    return bool(entries) and all(isinstance(entry, Mapping) and {"value", "user_id"} <= set(entry) for entry in entries)


def _responses(record: Mapping[str, Any], question: str) -> list[tuple[str | None, Any, str | None]]:
    """Who answered what, and whether it was submitted."""
    if f"{question}{_RESPONSES}" not in record:
        entries = record.get(question) or []
        return [(entry.get("user_id"), entry.get("value"), entry.get("status")) for entry in entries]
    values = record.get(f"{question}{_RESPONSES}") or []
    users = record.get(f"{question}{_RESPONSES}.users") or [None] * len(values)
    status = record.get(f"{question}{_RESPONSES}.status") or [_SUBMITTED] * len(values)
    return [
        (users[i] if i < len(users) else None, value, status[i] if i < len(status) else None)
        for i, value in enumerate(values)
    ]


def _named_clip(value: Any) -> Any:
    """The address in ``<audio src=...>``; any other value as it is."""
    match = _SOURCE.search(value) if isinstance(value, str) else None
    return next(name for name in match.groups() if name) if match else value


@export_reader(
    "records of Argilla with their responses (Parquet, JSON, the Hub)",
    "hf-emo-dist read argilla owner/my-records recordings my_data --question emotion --dry_run",
)
def understand_argilla(
    export: str | Path,
    audio_dir: str | Path,
    *,
    question: str | None = None,
    audio_key: str | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand records of Argilla, of version 2 or 1: one vote a user who submitted.

    Drafts and discarded responses are reported and are no votes; suggestions are a model's and are not read. Argilla
    has no field for sound: the clip is named by a field or by metadata, also within ``<audio src=...>``. Sound that
    stands in the text itself, as ``data:audio/...``, is not taken from it.

    Args:
        export: Parquet, JSON or JSON Lines; a folder of Parquet files; or a data set of the Hub, ``owner/name``.
        audio_dir: The folder of the clips.
        question: The question about the emotion. Default: the only one, or the only one answered with emotions.
        audio_key: The field or metadata that names the clip. Default: the only one that names audio files.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the export does not fit, or must be asked.
        FileNotFoundError: There is no such file or folder.

    Example:
        >>> understand_argilla("records.parquet", "recordings", question="emotion").build()  # doctest: +SKIP
    """
    report = CorpusReport() if report is None else report
    source, folder = Path(export).expanduser(), there(audio_dir, "folder")
    if not source.exists() and not re.fullmatch(r"[\w.-]+/[\w.-]+", str(export)):
        raise FileNotFoundError(f"There is no file {source}. Mend: check the path, or give a data set as owner/name.")
    return _answers(source, folder, report, question, audio_key).understand(folder, report, options)
