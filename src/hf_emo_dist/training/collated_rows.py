"""Data sets as the Trainer gets them: every row comes with the collator that it needs."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

from .collator import EmotionDistributionCollator
from .distributed import COUNTED_ROWS


class Rows(torch.utils.data.Dataset):
    """A data set together with the collator that its rows need: training and evaluation read other columns."""

    def __init__(self, dataset: Any, collator: EmotionDistributionCollator) -> None:
        self.dataset, self.collator = dataset, collator

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[EmotionDistributionCollator, Any]:
        return self.collator, self.dataset[int(index)]


class StreamedRows(torch.utils.data.IterableDataset):
    """A stream with its collator.

    `step` rows make a batch of every process; each row says its place in its own process's, which starts at row `start`: a row that
    accelerate repeats stands in another place.
    """

    def __init__(self, dataset: Any, collator: EmotionDistributionCollator, step: int = 0, start: int = 0) -> None:
        self.dataset, self.collator, self.step, self.start = dataset, collator, step, start

    def set_epoch(self, epoch: int) -> None:
        """Hands the epoch on to a stream that shuffles."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if not self.step:
            return ((self.collator, row) for row in self.dataset)
        return ((self.collator, row, i % self.step - self.start) for i, row in enumerate(self.dataset))


def collate(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """The batch that the rows' own collator makes, with `COUNTED_ROWS` where some are repeats."""
    batch: dict[str, Any] = rows[0][0]([row for _, row, *_ in rows])
    counted = sum(place in ([], [i]) for i, (_, _, *place) in enumerate(rows))
    return batch if counted == len(rows) else {**batch, COUNTED_ROWS: counted}
