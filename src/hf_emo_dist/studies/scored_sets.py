"""Rows that models of other corpora are scored on, and their predictions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.mixed_rows import refuse_mixed
from ..data.rows import column_of, notes_about, row_ids, speaker_groups
from ..emotions import canonical_emotion
from ..votes import vote_counts_matrix

__all__ = ["CrossPrediction", "TestSet", "read_test_set"]

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class TestSet:
    """Rows to score on.

    Attributes:
        emotions: K labels.
        counts: (N, K) human votes; of a corpus without votes the intended label as one.
        speakers: (N,), or `None` where they are not known.
        voted: Whether the counts are votes. Intended labels are good for the dominant class only.
        source: What the data is, in words.
        notes: What must be said with its figures.
    """

    __test__ = False  # not for pytest

    emotions: tuple[str, ...]
    counts: FloatArray
    speakers: NDArray[np.str_] | None
    voted: bool
    source: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class CrossPrediction:
    """Predicted distributions (N, K) of the rows of a test set, over the model's own emotions."""

    emotions: tuple[str, ...]
    matrix: FloatArray


def read_test_set(source: str, rows: Any, vote_source: str | None = None) -> TestSet:
    """Votes of a data set; where it has none, its intended labels, which are good for the dominant class only.

    Args:
        source: Its name.
        rows: A data set or a sequence of mappings.
        vote_source: What its card says about its votes.

    Raises:
        ValueError: It has neither, or rows are mixed.

    Example:
        >>> read_test_set("demo", [{"id": "a", "intended": "sad"}, {"id": "b", "intended": "angry"}]).voted
        False
    """
    refuse_mixed(rows)
    groups, known = speaker_groups(rows)
    votes, intended = column_of(rows, "human_votes"), column_of(rows, "intended")
    if votes is not None and any(votes):
        shares = next((value for value in column_of(rows, "human_distribution") or [] if value), None)
        names = tuple(shares) if shares else tuple(sorted({canonical_emotion(v) for row in votes for v in row or []}))
        counts = vote_counts_matrix(votes, names, column_of(rows, "human_vote_weights"), row_ids(rows), outside="drop")
        return TestSet(names, counts, groups if known else None, True, source, tuple(notes_about(rows, vote_source)))
    if intended is None or not any(intended):
        raise ValueError(
            f"{source} has neither human votes nor intended labels. Mend: choose another split or data set."
        )
    labels = [None if label is None else canonical_emotion(label) for label in intended]
    names = tuple(sorted({label for label in labels if label is not None}))
    counts = np.array([[float(label == name) for name in names] for label in labels])
    note = f"{source}: intended labels, not votes; only the dominant class is scored"
    return TestSet(names, counts, groups if known else None, False, source, (*notes_about(rows, vote_source), note))
