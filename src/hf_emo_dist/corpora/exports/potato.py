"""Potato: the folder of annotators' states, or what its exporter wrote of it (CSV, TSV, JSON Lines).

``annotation_output/<annotator>/user_state.json`` holds ``user_id`` and ``instance_id_to_label_to_value``, which is
``{"clip-1": [[{"schema": "emotion", "name": "happy"}, "true"]]}``, or by schema and label. The exporter's
``annotations.csv`` has ``instance_id, user_id`` and a column ``emotion.happy`` for each label; ``annotations.jsonl``
has ``labels``. Neither names the audio: that is in the data file that Potato was given.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Unpack

from ..table.options import TableOptions
from ..table.reading import TableReading
from ..utterances import CorpusReport
from .answers import (
    Answers,
    LocalNames,
    audio_key,
    export_reader,
    hide_person,
    looks_like_audio,
    read_json,
    read_rows,
    there,
    which_question,
)

_YES = ("true", "1", "yes", "on")
_NO = ("false", "0", "no", "off", "", "none", "null")
# A menu's answer is its value, not the name of a label.
_MENUS = ("select-one", "slider")


class _Answered(NamedTuple):
    """What one annotator said of one clip."""

    place: str
    clip: str
    who: str | None
    labels: Mapping[str, Mapping[str, Any]]  # schema → label → value


def _answers(
    export: Path,
    audio_dir: Path,
    report: CorpusReport,
    question: str | None,
    items: Path | None,
    id_key: str,
    audio: str | None,
) -> Answers:
    """One row a rating."""
    answers = Answers(export.name)
    given = list(_states(export, report) if export.is_dir() else _exported(answers, export))
    if not given:
        answers.fail("it holds no annotations", "give the folder of annotators' folders, or an exported file.")
    labels: dict[str, list[str]] = {}
    for answered in given:
        for schema, values in answered.labels.items():
            labels.setdefault(schema, []).extend(_chosen(values))
    scheme = which_question(answers, {name: found for name, found in labels.items() if found}, question)
    local = LocalNames(audio_dir)
    known = _items(answers, items, id_key, audio) if items is not None else {}
    for answered in given:
        chosen = _chosen(answered.labels.get(scheme, {}))
        where = f"{answers.name} {answered.place}"
        if not chosen:
            report.note("no_answer", answered.clip, where, f"nothing for {scheme!r}")
            continue
        about = known.get(answered.clip)
        if items is not None and about is None:
            report.skip("no_audio", answered.clip, where, f"{items.name} has no such id")
            continue
        row = {**about} if about is not None else {"file": _file_of(answered.clip, audio_dir)}
        row["file"] = local(str(row["file"]))
        answers.add(answered.place, {**row, "rater": hide_person(answered.who), "votes": chosen})
    return answers


def _chosen(values: Mapping[str, Any]) -> list[str]:
    """The labels that are marked; the value itself for a menu."""
    found = []
    for name, value in values.items():
        text = ("true" if value is True else "false" if value is False else str(value or "")).strip()
        if text.lower() in _NO:
            continue
        if name.lower() in _MENUS or not name:
            found.append(text)
        elif text.lower() in _YES or text.lower() == name.lower():
            found.append(name)
    return found


def _by_schema(raw: Any) -> dict[str, dict[str, Any]]:
    """Labels by scheme, from either form that a state has."""
    found: dict[str, dict[str, Any]] = {}
    if isinstance(raw, Mapping):
        for schema, values in raw.items():
            if isinstance(values, Mapping) and isinstance(values.get("labels"), Mapping):
                values = values["labels"]
            found[str(schema)] = dict(values) if isinstance(values, Mapping) else {"": values}
        return found
    for entry in raw if isinstance(raw, list) else []:
        if isinstance(entry, (list, tuple)) and len(entry) == 2 and isinstance(entry[0], Mapping):
            found.setdefault(str(entry[0].get("schema", "")), {})[str(entry[0].get("name", ""))] = entry[1]
    return found


def _states(folder: Path, report: CorpusReport) -> Iterator[_Answered]:
    for path in sorted(folder.glob("*/user_state.json")):
        state = read_json(path)
        raw = state.get("instance_id_to_label_to_value") if isinstance(state, Mapping) else None
        if not isinstance(raw, Mapping):
            report.note("bad_line", path.parent.name, str(path.relative_to(folder)), "no state of an annotator")
            continue
        who = str(state.get("user_id") or path.parent.name)
        for clip, labels in raw.items():
            yield _Answered(f"{path.parent.name}/{path.name} {clip}", str(clip), who, _by_schema(labels))


def _exported(answers: Answers, path: Path) -> Iterator[_Answered]:
    if path.suffix.lower() in (".csv", ".tsv"):
        for line, row in read_rows(path):
            if not {"instance_id", "user_id"} <= set(row):
                answers.fail(f"it has no columns instance_id and user_id (there are {', '.join(row)})", "see --help.")
            found: dict[str, dict[str, Any]] = {}
            for column, cell in row.items():
                if column not in ("instance_id", "user_id") and not column.endswith("._spans") and cell:
                    schema, _, name = column.partition(".")
                    found.setdefault(schema, {})[name] = cell
            yield _Answered(f"line {line}", row["instance_id"], row["user_id"], found)
        return
    content = read_json(path)
    for number, entry in enumerate(content if isinstance(content, list) else [content], start=1):
        if not isinstance(entry, Mapping) or "instance_id" not in entry:
            answers.fail(
                f"entry {number} has no instance_id", "give annotations.jsonl, as Potato's exporter writes it."
            )
        labels = entry.get("labels")
        if labels is None:  # of its export to the Hub: a column a scheme
            labels = {name: value for name, value in entry.items() if name not in ("instance_id", "user_id")}
            labels = {name: _unpacked(value) for name, value in labels.items()}
        yield _Answered(f"entry {number}", str(entry["instance_id"]), entry.get("user_id"), _by_schema(labels))


def _unpacked(value: Any) -> Any:
    if isinstance(value, str) and value.startswith("{"):
        try:
            return json.loads(value)
        except ValueError:
            return value
    return value


def _items(answers: Answers, path: Path, id_key: str, audio: str | None) -> dict[str, dict[str, Any]]:
    """Id to the row of the data file, with its clip as `file`."""
    if path.suffix.lower() in (".csv", ".tsv"):
        entries: list[Any] = [row for _, row in read_rows(path)]
    else:
        content = read_json(path)
        entries = content if isinstance(content, list) else [content]
    entries = [entry for entry in entries if isinstance(entry, Mapping)]
    if not any(id_key in entry for entry in entries):
        answers.fail(f"{path.name} has no key {id_key!r}", "name the key of the ids, --id_key KEY.")
    key = audio_key(answers, entries, audio)
    found = {}
    for entry in entries:
        row = {name: value for name, value in entry.items() if name not in (id_key, key) and isinstance(value, str)}
        found[str(entry.get(id_key))] = {**row, "file": entry.get(key) or ""}
    return found


def _file_of(clip: str, audio_dir: Path) -> str:
    """The file of an id: as it stands, or the only audio file of that name."""
    if looks_like_audio(clip) or (audio_dir / clip).is_file():
        return clip
    found = sorted(path.name for path in audio_dir.glob("*") if path.stem == clip and looks_like_audio(path.name))
    return found[0] if len(found) == 1 else clip


@export_reader(
    "annotations of Potato (its folder, or an exported file)",
    "hf-emo-dist read potato annotation_output recordings my_data --items data/audio.json --question emotion --dry_run",
)
def understand_potato(
    export: str | Path,
    audio_dir: str | Path,
    *,
    question: str | None = None,
    items: str | Path | None = None,
    id_key: str = "id",
    audio_key: str | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand the annotations of Potato: one vote an annotator.

    Several labels of one annotator are tags that share a vote. An old Potato stored every answer that was ever clicked
    to a question of one choice: its own ``potato repair-annotations`` mends that first. Answers to surveys and consent
    are not read.

    Args:
        export: The folder of the annotators' folders; or ``annotations.csv``, ``.tsv`` or ``.jsonl``.
        audio_dir: The folder of the clips.
        question: The name of the annotation scheme about the emotion. Default: the only one, or the only one answered
            with emotions.
        items: The data file that Potato was given (JSON, JSON Lines, CSV or TSV), which says what audio an id stands
            for. Default: the ids are the names of the clips, with or without extension.
        id_key: The key of the id in `items`.
        audio_key: The key of the audio in `items`. Default: the only one that names audio files.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the export does not fit, or must be asked.
        FileNotFoundError: There is no such file or folder.

    Example:
        >>> understand_potato("annotation_output", "recordings", items="audio.json").build()  # doctest: +SKIP
    """
    table = None if items is None else there(items, "file")
    report = CorpusReport() if report is None else report
    source, folder = there(export, "file"), there(audio_dir, "folder")
    return _answers(source, folder, report, question, table, id_key, audio_key).understand(folder, report, options)
