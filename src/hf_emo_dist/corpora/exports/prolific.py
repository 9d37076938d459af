"""A study run over Prolific: answers with the participant's id, and the status of their submissions.

What is written down of an answer is the survey's own matter; Prolific gives it the participant in the address's
``PROLIFIC_PID``, beside ``STUDY_ID`` and ``SESSION_ID``. Its own export of a study is a CSV with ``Submission id,
Participant id, Status, ...``. Both are read: one row an answer, and who was approved.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

from ..table.options import TableOptions
from ..table.reading import TableReading
from ..utterances import CorpusReport
from .answers import (
    Answers,
    ExportError,
    LocalNames,
    Numbered,
    audio_key,
    export_reader,
    mostly_emotions,
    read_rows,
    there,
    which_question,
)

#: How the column of participants is called, in any case: by Prolific, by its address, and by what is made of it.
_PARTICIPANT = ("prolific_pid", "participant id", "participant_id", "prolific_id", "prolificid", "prolific id")
_NOT_KEPT = ("study_id", "session_id", "submission id", "submission_id")
_APPROVED = "approved"


def _answers(
    export: Path,
    audio_dir: Path,
    report: CorpusReport,
    question: str | None,
    audio: str | None,
    participants: Path | None,
    any_status: bool,
) -> Answers:
    """One row a rating."""
    answers = Answers(export.name)
    lines = read_rows(export)
    if not lines:
        answers.fail("it has no rows", "check that it is the file of answers.")
    names = list(lines[0][1])
    who = _participant_column(answers, names)
    rows = [row for _, row in lines]
    key = audio_key(answers, rows, audio)
    others = [name for name in names if name not in (who, key) and name.lower() not in _NOT_KEPT]
    values = {name: [row[name] for row in rows if row[name]] for name in others}
    if question is None:  # every column of text may be an answer: only one that holds emotions is taken unasked
        values = {name: cells for name, cells in values.items() if cells and mostly_emotions(cells)}
    tag = which_question(answers, values, question)
    statuses = _statuses(participants) if participants is not None else None
    numbered, local = Numbered(), LocalNames(audio_dir)
    for line, row in lines:
        where, name = f"{export.name}:{line}", row[key] or f"line {line}"
        status = None if statuses is None else statuses.get(row[who], "not listed")
        refused = status is not None and (status == "not listed" or (status != _APPROVED and not any_status))
        if not row[who]:
            report.note("not_approved", name, where, "no participant")
        elif refused:
            report.note("not_approved", name, where, f"{numbered(row[who])}: {status}")
        elif not row[tag]:
            report.note("no_answer", name, where, numbered(row[who]))
        else:
            kept: dict[str, Any] = {column: row[column] or None for column in others if column != tag}
            answers.add(
                f"line {line}", {**kept, "file": local(row[key]), "rater": numbered(row[who]), "votes": row[tag]}
            )
    return answers


def _participant_column(answers: Answers, names: list[str]) -> str:
    found = [name for name in names if name.lower() in _PARTICIPANT]
    if not found:
        answers.fail(
            f"no column names the participants (there are {', '.join(names)})",
            "call it PROLIFIC_PID; or read it as a table, with --rater_column.",
        )
    return found[0]


def _statuses(path: Path) -> dict[str, str]:
    """Participant to the status of their last submission that is listed."""
    found: dict[str, str] = {}
    for _, row in read_rows(path):
        lowered = {name.lower(): cell for name, cell in row.items()}
        who = next((lowered[name] for name in _PARTICIPANT if name in lowered), None)
        status = lowered.get("status", lowered.get("submission_status"))
        if who is None or status is None:
            raise ExportError(
                f"{path.name} has no columns Participant id and Status (there are {', '.join(row)}). "
                "Mend: give the file that Prolific's page of the study offers for download."
            )
        found[who] = status.strip().lower()
    return found


@export_reader(
    "answers of a study that was run over Prolific",
    "hf-emo-dist read prolific answers.csv recordings my_data --participants prolific_export.csv --dry_run",
)
def understand_prolific(
    export: str | Path,
    audio_dir: str | Path,
    *,
    question: str | None = None,
    audio_key: str | None = None,
    participants: str | Path | None = None,
    any_status: bool = False,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand the answers of a study that was run over Prolific: one vote a participant.

    The column of participants is ``PROLIFIC_PID`` or ``Participant id``, in any spelling of these. Participants are
    numbered in the order in which they occur, ``p1, p2, ...``: their ids are not written. How a survey tool writes one
    row a participant with a column an answer is its own matter: bring such a file into one row an answer first.

    Args:
        export: A CSV or TSV file with one row an answer.
        audio_dir: The folder of the clips.
        question: The column of the answers. Default: the only one that holds emotions.
        audio_key: The column of the clips. Default: the only one that names audio files.
        participants: Prolific's export of the study (``Submission id, Participant id, Status, ...``). Answers of those
            whose status is not ``APPROVED`` are left out and reported, and so are those of whom it does not list.
        any_status: Take all whom `participants` lists, whatever their status.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: Something in the export does not fit, or must be asked.
        FileNotFoundError: There is no such file or folder.

    Example:
        >>> understand_prolific("answers.csv", "recordings", participants="prolific.csv").build()  # doctest: +SKIP
    """
    listed = None if participants is None else there(participants, "file")
    report = CorpusReport() if report is None else report
    source, folder = there(export, "file"), there(audio_dir, "folder")
    return _answers(source, folder, report, question, audio_key, listed, any_status).understand(folder, report, options)
