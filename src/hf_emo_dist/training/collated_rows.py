"""Data sets as the Trainer gets them: rows with their collator, and what changes them from epoch to epoch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import TrainerCallback

from .._lazy import need
from ..audio.decoding import MAX_SECONDS
from .cached_tower import transform_of
from .collator import EmotionDistributionCollator

COUNTED_ROWS = "counted_rows"  # key of a batch whose last rows are repeats, there to give every process as many


class Rows(torch.utils.data.Dataset):
    """A data set together with the collator that its rows need: training and evaluation read other columns."""

    def __init__(self, dataset: Any, collator: EmotionDistributionCollator) -> None:
        self.dataset, self.collator = dataset, collator

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> tuple[EmotionDistributionCollator, Any]:
        return self.collator, self.dataset[int(index)]


class StreamedRows(torch.utils.data.IterableDataset):
    """A stream with its collator."""

    # `step` rows make a batch of every process; each row says its place in its own process's, which starts at row
    # `start`: a row that accelerate repeats stands in another place.

    def __init__(self, dataset: Any, collator: EmotionDistributionCollator, step: int = 0, start: int = 0) -> None:
        self.dataset, self.collator, self.step, self.start = dataset, collator, step, start

    def set_epoch(self, epoch: int) -> None:
        """Hand the epoch on to a stream that shuffles."""
        if hasattr(self.dataset, "set_epoch"):
            self.dataset.set_epoch(epoch)

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        if not self.step:
            return ((self.collator, row) for row in self.dataset)
        return ((self.collator, row, i % self.step - self.start) for i, row in enumerate(self.dataset))


def collate(rows: list[tuple[Any, ...]]) -> dict[str, Any]:
    """Make the batch that the rows' own collator makes, with `COUNTED_ROWS` where some are repeats."""
    batch: dict[str, Any] = rows[0][0]([row for _, row, *_ in rows])
    counted = sum(place in ([], [i]) for i, (_, _, *place) in enumerate(rows))
    return batch if counted == len(rows) else {**batch, COUNTED_ROWS: counted}


def counted_rows(rows: int, remainder: int, process_index: int) -> int:
    """Count the rows of a process's last batch that are not repeats."""
    # So that all processes take as many steps, accelerate fills the last batches up with rows from the beginning. Of
    # the batches of all processes, one after the other, the first `remainder` rows are the epoch's own: the data set's
    # size modulo the rows of a step over all processes; 0 or less where nothing was filled up.
    return rows if remainder <= 0 else min(max(remainder - process_index * rows, 0), rows)


def rows_that_count(accelerator: Any, rows: int, size: int | None = None) -> int:
    """Count the rows of the batch that accelerate's data loader gave last; all of them where it is not the last."""
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not accelerator.even_batches or not state.end_of_dataloader:
        return rows
    # without the data set's size accelerate's own count is used, which is missing in an epoch that is resumed
    remainder = state.remainder if size is None else size % (rows * accelerator.num_processes)
    return counted_rows(rows, remainder, accelerator.process_index)


class AnnounceEpochs(TrainerCallback):
    """Tells what draws anew each epoch (a lazy mixer, a perturbation) which epoch it is, also after resuming."""

    def __init__(self, dataset: Any, perturbation: Any) -> None:
        drawing = (dataset, transform_of(dataset), perturbation)
        self.announced = [thing for thing in drawing if hasattr(thing, "set_epoch")]

    def on_epoch_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Announce it before the data loader starts on the epoch."""
        for thing in self.announced:
            # a resumed epoch begins at a fraction
            thing.set_epoch(int((state.epoch or 0.0) + 1e-6))


def perturbation_for(dataset: Any, p: float, seed: int) -> Any:
    """Make the transform that changes a share `p` of the training clips when they are read; `None` where that is 0."""
    if not p or dataset is None:
        return None
    if not hasattr(dataset, "with_transform") or not hasattr(dataset, "__len__"):
        raise ValueError(
            "perturb_waveforms needs a datasets.Dataset. Mend: leave it out; a stream takes stream.map(perturbation, "
            "batched=True, batch_size=16) with a WaveformPerturbation whose set_epoch you call in each epoch"
        )
    if dataset.format["type"] is not None:
        raise ValueError(
            "perturb_waveforms sets a transform, and the training data has one already. Mend: leave it out, and give "
            "the perturbation to that one: plan.lazy(perturbation=WaveformPerturbation())"
        )
    need("librosa", "perturb_waveforms")  # before training, not at the first clip that is drawn
    from ..augmentation.perturbation import WaveformPerturbation

    return WaveformPerturbation(p=p, seed=seed)


def longest_durations(durations: NDArray[np.float64], perturbation: Any) -> NDArray[np.float64]:
    """Return the durations (N,) in seconds that clips may get at most when their tempo changes."""
    if perturbation is None:
        return durations
    slowest = durations / min(1.0, perturbation.tempo[0])
    return np.where(slowest > MAX_SECONDS, durations, slowest)
