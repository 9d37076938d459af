"""A few lines of text about a data set: what was written, at a glance."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from ..emotions import KNOWN_EMOTIONS
from ..votes import distributions_to_matrix
from .loading import emotions_of

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict


def describe_dataset(dataset: DatasetDict | Dataset) -> str:
    """Describe a data set in a table: rows, speakers, votes and the mean distribution, by split.

    Args:
        dataset: The splits, with ``human_votes`` and ``human_distribution``; or with ``intended`` alone.

    Returns:
        Text of one line a split below a header. ``votes`` is the mean number of votes an utterance; a column named
        like an emotion is its share of the votes, every utterance weighing the same; without votes, the share of
        the utterances that were meant so.

    Example:
        >>> from datasets import Dataset
        >>> row = {"speaker": "s", "human_votes": ["sad"], "human_distribution": {"angry": 0.0, "sad": 1.0}}
        >>> print(describe_dataset(Dataset.from_list([row])))
        split  rows  speakers  votes  angry    sad
        all       1         1    1.0  0.000  1.000
    """
    from datasets import Dataset

    splits = {"all": dataset} if isinstance(dataset, Dataset) else dict(dataset)
    first = next(iter(splits.values()))
    if "human_distribution" not in first.column_names and "intended" in first.column_names:
        present = {label for rows in splits.values() for label in rows["intended"][:]} - {None}
        emotions = tuple(name for name in KNOWN_EMOTIONS if name in present) + tuple(
            sorted(present - set(KNOWN_EMOTIONS))
        )
    else:
        emotions = emotions_of(dataset)
    table = [["split", "rows", "speakers", "votes", *emotions]]
    for split, rows in splits.items():
        speakers = set(rows["speaker"][:]) - {None} if "speaker" in rows.column_names else set()
        if "human_votes" in rows.column_names:
            votes = float(np.mean([len(labels or ()) for labels in rows["human_votes"][:]]))
            mass = distributions_to_matrix(
                rows["human_distribution"][:], emotions, column_name="human_distribution"
            ).mean(0)
        else:
            votes = 0.0
            mass = np.mean([[label == name for name in emotions] for label in rows["intended"][:]], axis=0)
        table.append(
            [split, str(len(rows)), str(len(speakers) or "?"), f"{votes:.1f}", *(f"{value:.3f}" for value in mass)]
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([line[0].ljust(len(first)), *rest]))
    return "\n".join(lines)
