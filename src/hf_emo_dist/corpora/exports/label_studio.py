"""Label Studio: the JSON export, with every annotator's answer; and JSON-MIN, CSV and TSV, with one row an answer.

A task is ``{"id", "data": {"audio": ...}, "annotations": [{"completed_by", "was_cancelled", "result": [{"from_name",
"type": "choices", "value": {"choices": ["Happy"]}}]}]}``. Choices for a part of the sound have its times in ``value``.
Predictions are a model's and are not read.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

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
    read_rows,
    texts_of,
    there,
    which_question,
)

#: What Label Studio itself adds to a row of JSON-MIN or CSV.
_ITS_OWN = ("id", "annotator", "annotation_id", "created_at", "updated_at", "lead_time", "agreement")


def _answers(export: Path, audio_dir: Path, report: CorpusReport, question: str | None, audio: str | None) -> Answers:
    """One row a rating."""
    answers = Answers(export.name)
    if export.suffix.lower() in (".csv", ".tsv"):
        flat: list[tuple[str, dict[str, Any]]] = [(f"line {line}", dict(row)) for line, row in read_rows(export)]
        return _flat(answers, flat, LocalNames(audio_dir), report, question, audio)
    content = read_json(export)
    tasks = [task for task in (content if isinstance(content, list) else [content]) if isinstance(task, Mapping)]
    if not tasks:
        answers.fail("there are no tasks in it", "export the project as JSON.")
    if not any("annotations" in task or "completions" in task for task in tasks):
        flat = [(f"entry {number}", dict(task)) for number, task in enumerate(tasks, start=1)]
        return _flat(answers, flat, LocalNames(audio_dir), report, question, audio)
    return _tasks(answers, tasks, LocalNames(audio_dir), report, question, audio)


def _tasks(
    answers: Answers,
    tasks: list[Mapping[str, Any]],
    local: LocalNames,
    report: CorpusReport,
    question: str | None,
    audio: str | None,
) -> Answers:
    data = [_mapping(task.get("data")) for task in tasks]
    key = audio_key(answers, data, audio)
    given: list[tuple[str, Mapping[str, Any], Mapping[str, Any], dict[str, list[str]]]] = []
    labels: dict[str, list[str]] = {}
    for number, (task, about) in enumerate(zip(tasks, data, strict=True), start=1):
        place = f"task {task.get('id', number)}"
        name = str(about.get(key) or place)
        annotations = task.get("annotations") or task.get("completions") or []
        if not annotations:
            report.note("no_answer", name, f"{answers.name} {place}", "no annotation")
        for annotation in annotations:
            if not isinstance(annotation, Mapping):
                report.note("bad_line", name, f"{answers.name} {place}", "an annotation is no object")
            elif annotation.get("was_cancelled") or annotation.get("skipped"):
                report.note("not_submitted", name, f"{answers.name} {place}", "skipped")
            else:
                chosen = _chosen(annotation, name, f"{answers.name} {place}", report)
                for tag, choices in chosen.items():
                    labels.setdefault(tag, []).extend(choices)
                given.append((place, about, annotation, chosen))
    tag = which_question(answers, labels, question)
    for place, about, annotation, chosen in given:
        who = annotation.get("completed_by")
        who = who.get("id", who.get("email")) if isinstance(who, Mapping) else who
        if tag not in chosen:
            report.note("no_answer", str(about.get(key) or place), f"{answers.name} {place}", f"nothing for {tag!r}")
            continue
        row = {name: value for name, value in about.items() if name != key and _is_plain(value)}
        row |= {"file": local(str(about.get(key) or "")), "rater": hide_person(who), "votes": chosen[tag]}
        answers.add(place, row)
    return answers


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _chosen(annotation: Mapping[str, Any], name: str, where: str, report: CorpusReport) -> dict[str, list[str]]:
    """The choices of one annotator for the whole clip, by control tag."""
    found: dict[str, list[str]] = {}
    for result in annotation.get("result") or []:
        value = result.get("value") if isinstance(result, Mapping) else None
        if not isinstance(value, Mapping) or "choices" not in value:
            continue
        if "start" in value or "end" in value:
            report.note("part_of_clip", name, where, f"{value.get('start')} to {value.get('end')}")
            continue
        found.setdefault(str(result.get("from_name")), []).extend(texts_of(value["choices"]))
    return found


def _flat(
    answers: Answers,
    entries: list[tuple[str, dict[str, Any]]],
    local: LocalNames,
    report: CorpusReport,
    question: str | None,
    audio: str | None,
) -> Answers:
    data = [entry for _, entry in entries]
    key = audio_key(answers, data, audio)
    names = [name for name in dict.fromkeys(name for entry in data for name in entry) if name not in (*_ITS_OWN, key)]
    columns = {name: [label for entry in data for label in _labels(entry.get(name))] for name in names}
    tag = which_question(answers, {name: labels for name, labels in columns.items() if labels}, question)
    for place, entry in entries:
        chosen = list(_labels(entry.get(tag)))
        if not chosen:
            report.note("no_answer", str(entry.get(key) or place), f"{answers.name} {place}", f"nothing for {tag!r}")
            continue
        row = {n: value for n, value in entry.items() if n not in (key, tag, *_ITS_OWN) and _is_plain(value)}
        row |= {"file": local(str(entry.get(key) or "")), "rater": hide_person(entry.get("annotator")), "votes": chosen}
        answers.add(place, row)
    return answers


def _labels(value: Any) -> list[str]:
    """The labels of a cell: one, or several as ``{"choices": [...]}``, which CSV holds as text."""
    if isinstance(value, str) and value.startswith("{"):
        try:
            value = json.loads(value)
        except ValueError:
            return [value]
    if isinstance(value, Mapping):
        return list(texts_of(value.get("choices")))
    return list(texts_of(value))


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (str, int, float, bool))


@export_reader(
    "a JSON, JSON-MIN, CSV or TSV export of Label Studio",
    "hf-emo-dist read label_studio project-1.json recordings my_data --question emotion --dry_run",
)
def understand_label_studio(
    export: str | Path,
    audio_dir: str | Path,
    *,
    question: str | None = None,
    audio_key: str | None = None,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand an export of Label Studio: choices for whole clips, one vote an annotator.

    Several choices of one annotator are tags that share a vote. Annotators are named by their number; of an e-mail
    address a number is made. Answers that were skipped, and choices for a part of a clip, are reported and are no
    votes. The other keys of the tasks' data are kept as columns.

    Args:
        export: The file.
        audio_dir: The folder of the clips, under the names that they had before they were uploaded, or have now.
        question: The ``name`` of the control tag about the emotion. Default: the only one with choices, or the only one
            answered with emotions.
        audio_key: The key of the tasks' data that names the clip. Default: the only one that names audio files.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the export does not fit, or must be asked.
        FileNotFoundError: There is no such file or folder.

    Example:
        >>> understand_label_studio("project-1.json", "recordings").build()  # doctest: +SKIP
    """
    report = CorpusReport() if report is None else report
    source, folder = there(export, "file"), there(audio_dir, "folder")
    return _answers(source, folder, report, question, audio_key).understand(folder, report, options)
