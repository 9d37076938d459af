"""Distributions as matrices: what rows are scored against, and what is trained on."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import compress
from typing import Any

import numpy as np

from ..columns import distributions_to_matrix
from ..votes import rater_squares, vote_counts_matrix
from .label_map import refuse_without_votes
from .mixed_rows import refuse_mixed
from .rows import lazy_column, row_ids


def scored_matrix(rows: Any, emotions: Sequence[str], column: str = "human_distribution") -> np.ndarray:
    """What the rows are scored against, (N, K) float64.

    Raises:
        ValueError: there are no rows, a row is mixed, the column is missing, or it holds other labels or no
            distributions.
    """
    if len(rows) == 0:
        raise ValueError("There are no rows to score. Mend: choose another split, or drop the limit.")
    refuse_mixed(rows)
    values = lazy_column(rows, column)
    if values is None:
        refuse_without_votes(_columns(rows), column)
        raise ValueError(
            f"There is no column {column!r} to score against (there are {', '.join(_columns(rows))}). Mend: write it "
            "from the human votes with combine_votes, or name another column with score_column."
        )
    return distributions_to_matrix(values, emotions, ids=row_ids(rows), column_name=column)


def counted_votes(rows: Any, emotions: Sequence[str]) -> tuple[np.ndarray | None, np.ndarray | None]:
    """The human votes of each row, (N, K), and what must be known of raters who gave several tags, (N, 2).

    The first is `None` where there is no column of votes, the second where every vote is a whole one
    (`hf_emo_dist.votes.rater_squares`). Votes for other labels than `emotions` are left out.
    """
    votes = lazy_column(rows, "human_votes")
    if votes is None:
        return None, None
    weights, ids = lazy_column(rows, "human_vote_weights"), row_ids(rows)
    counts = vote_counts_matrix(votes, emotions, weights, ids, outside="drop")
    if weights is None or all(weight == 1 for row in weights for weight in row or ()):
        return counts, None
    return counts, rater_squares(votes, emotions, weights, lazy_column(rows, "human_raters"), ids, outside="drop")


def training_targets(rows: Any, emotions: Sequence[str], column: str = "emotion_distribution") -> np.ndarray:
    """Targets (M, K) of the rows that have one; rows without are left out, as nothing can be trained on them.

    Raises:
        ValueError: the column is missing, no row has a target, or a target is no distribution over `emotions`.
    """
    values = lazy_column(rows, column)
    if values is None:
        refuse_without_votes(_columns(rows), column)
        raise ValueError(f"The training rows have no column {column!r}. Mend: write it with combine_votes.")
    kept = [value is not None and any(share is not None for share in value.values()) for value in values]
    if not any(kept):
        raise ValueError(f"No training row has a target in {column!r}. Mend: write it with combine_votes.")
    ids = list(compress(row_ids(rows), kept))
    return distributions_to_matrix(compress(values, kept), emotions, ids=ids, column_name=column)


def _columns(rows: Any) -> list[str]:
    return list(rows.column_names if hasattr(rows, "column_names") else rows[0] if len(rows) else ())
