"""`EmotionDistributionCollator`: rows → batches, in the data loader's workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..votes import count_votes, distributions_to_matrix
from .cached_tower import TowerCache, cached_inputs


@dataclass
class EmotionDistributionCollator:
    """Makes model inputs, `labels` and, where the rows have votes, `vote_counts`.

    Args:
        processor: An `EmotionDistributionProcessor`.
        emotions: The order of the labels; the processor's own by default.
        target_column: Distribution column that becomes `labels`; `None` makes inputs only.
        with_votes: Also make `vote_counts` from `human_votes`.
        with_synthetic_votes: Count `synthetic_votes` among them.
        tower_cache: Where the audio tower's outputs may be found, which then replace features; such batches go through
            `cached_tower.complete_inputs` before the model.

    Returns:
        Of a call: the processor's inputs, and `labels` and `vote_counts` (batch, K) float32. A row without votes (a
        mixed one) counts as one vote, split as its distribution.

    Raises:
        ValueError: A row has no distribution over just these emotions; the message names it.
        AudioError: A clip cannot be used; the message names it.

    Example:
        >>> batch = EmotionDistributionCollator(processor)([dataset[0], dataset[1]])  # doctest: +SKIP
    """

    processor: Any
    emotions: Sequence[str] = ()
    target_column: str | None = "emotion_distribution"
    with_votes: bool = False
    with_synthetic_votes: bool = False
    tower_cache: TowerCache | None = None
    _emotions: tuple[str, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._emotions = tuple(self.emotions or self.processor.emotions)

    def __call__(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, Tensor]:
        """Make a batch for the model from data set rows."""
        if self.tower_cache is None:
            batch = dict(self.processor.from_rows(rows, return_tensors="pt"))
        else:
            batch = cached_inputs(self.processor, self.tower_cache, rows)
        if self.target_column is not None:
            # a data set was checked as a whole before training; the rows of a stream are checked here
            labels = distributions_to_matrix(
                [row.get(self.target_column) for row in rows],
                self._emotions,
                ids=[row.get("id", i) for i, row in enumerate(rows)],
                column_name=self.target_column,
            ).astype(np.float32)
            batch["labels"] = torch.from_numpy(labels)
            if self.with_votes:
                counts = np.stack([self._counts(row) for row in rows]).astype(np.float32)
                batch["vote_counts"] = torch.from_numpy(np.where(counts.sum(1, keepdims=True) > 0, counts, labels))
        return batch

    def _counts(self, row: Mapping[str, Any]) -> np.ndarray:
        counts = count_votes(
            row.get("human_votes") or [], self._emotions, row.get("human_vote_weights") or None, "drop"
        )
        if self.with_synthetic_votes and row.get("synthetic_votes"):
            counts = counts + count_votes(row["synthetic_votes"], self._emotions, None, "drop")
        return counts
