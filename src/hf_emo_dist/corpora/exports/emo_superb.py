"""EMO-SUPERB: its label tables, ``labels_consensus_<fold>.csv``, with a smoothed share an emotion.

Columns: ``FileName`` (in one corpus without a name), an emotion each, then ``EmoAct, EmoVal, EmoDom`` where the corpus
has them, ``SpkrID, Gender, Split_Set``. With K emotions and smoothing e (.05), a table's value of a share s is
``s (1 - e) + (1 - s) e / (K - 1)``: for K = 6, .94 s + .01. How many people voted is not in the tables.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Unpack

import numpy as np

from ..label_files import number
from ..table.options import TableOptions
from ..table.reading import TableReading
from ..utterances import CorpusReport
from .answers import Answers, export_reader, read_rows, there

_NOT_EMOTIONS = {
    "FileName": "file",
    "": "file",
    "SpkrID": "speaker",
    "Gender": "gender",
    "Split_Set": "split",
    "EmoAct": "arousal",
    "EmoVal": "valence",
    "EmoDom": "dominance",
}
_TEXTS = ("speaker", "gender", "split")
# The tables have three to six digits: shares of two rows that are equal differ by no more.
_ROUNDED = 2e-3


def _answers(export: Path, smoothing: float) -> Answers:
    """One row a clip, with shares."""
    answers = Answers(export.name)
    if not 0 <= smoothing < 1:
        answers.fail(f"`smoothing` must be from 0 to below 1, got {smoothing}", "the tables have .05.")
    rows = read_rows(export)
    columns = list(rows[0][1]) if rows else []
    emotions = [name for name in columns if name not in _NOT_EMOTIONS]
    if len(emotions) < 2 or not ({"FileName", ""} & set(columns)):
        answers.fail(
            f"it has the columns {', '.join(columns) or 'none'}: FileName and one an emotion are needed",
            "give a labels_consensus_<fold>.csv of EMO-SUPERB.",
        )
    answers.options = {"amounts": "shares", "emotions": emotions}
    values = [[number(row[name]) for name in emotions] for _, row in rows]
    for (line, _), cells in zip(rows, values, strict=True):
        if None in cells:
            answers.fail(f"line {line}: {emotions[cells.index(None)]} is no number", "export it again.")
    floor = smoothing / (len(emotions) - 1)
    shares = (np.array(values, dtype=np.float64) - floor) / (1.0 - smoothing - floor)
    for (line, row), given in zip(rows, shares, strict=True):
        if given.min() < -_ROUNDED or abs(given.sum() - 1) > len(emotions) * _ROUNDED:
            told = ", ".join(f"{name} {row[name]}" for name in emotions)
            answers.fail(
                f"line {line} is no row of shares smoothed by {smoothing:g} ({told})",
                "say how it was smoothed, --smoothing; 0 for plain shares.",
            )
        given = np.clip(given, 0.0, None)
        given = np.where(given < _ROUNDED, 0.0, given)
        row_cells: dict[str, Any] = dict(zip(emotions, np.round(given / given.sum(), 6).tolist(), strict=True))
        for column, role in _NOT_EMOTIONS.items():
            if column in row:
                row_cells[role] = (row[column] or None) if role in ("file", *_TEXTS) else number(row[column])
        if row_cells.get("gender"):
            row_cells["gender"] = row_cells["gender"].lower()
        answers.add(f"line {line}", row_cells)
    return answers


@export_reader(
    "a label table of EMO-SUPERB (smoothed shares)",
    "hf-emo-dist read emo_superb labels_consensus_1.csv CREMA-D/AudioWAV my_data --dry_run",
)
def understand_emo_superb(
    export: str | Path,
    audio_dir: str | Path,
    *,
    smoothing: float = 0.05,
    report: CorpusReport | None = None,
    **options: Unpack[TableOptions],
) -> TableReading:
    """Understand a label table of EMO-SUPERB: shares as they were before they were smoothed.

    The tables do not say how many people voted: a row weighs one vote, unless `num_raters` says more. ``Split_Set``
    becomes the split, ``EmoAct, EmoVal, EmoDom`` become ``arousal, valence, dominance`` on the corpus's own scale.

    Args:
        export: One of the tables; those of a corpus differ in ``Split_Set`` alone.
        audio_dir: The folder of the clips.
        smoothing: What was given to the emotions that nobody voted for, in all; 0 for a table of plain shares.
        report: Receives what is left out.

    Returns:
        What was understood: ``summary()`` says it in one screen, ``build()`` reads the audio and makes the data set.

    Raises:
        TableError: A row is not what a smoothed share can be, or something must be asked.
        FileNotFoundError: There is no such file or folder.

    Example:
        >>> understand_emo_superb("labels_consensus_1.csv", "AudioWAV").build()  # doctest: +SKIP
    """
    report = CorpusReport() if report is None else report
    source, folder = there(export, "file"), there(audio_dir, "folder")
    return _answers(source, smoothing).understand(folder, report, options)
