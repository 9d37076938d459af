"""Rows → batches, in the data loader's workers: the collator, data sets that carry it, and what redraws them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import TrainerCallback

from .._lazy import need
from ..audio.decoding import MAX_SECONDS
from ..votes import count_votes, distributions_to_matrix
from .cached_tower import TowerCache, cached_inputs, transform_of
from .row_weights import RowWeights

logger = logging.getLogger(__name__)

COUNTED_ROWS = "counted_rows"  # key of a batch whose last rows are repeats, there to give every process as many


@dataclass
class EmotionDistributionCollator:
    """Makes model inputs, `labels` and, where the rows have votes, `vote_counts`.

    Args:
        processor: An `EmotionDistributionProcessor`.
        emotions: The order of the labels; the processor's own by default.
        target_column: Distribution column that becomes `labels`; `None` makes inputs only.
        with_votes: Also make `vote_counts` from `human_votes`.
        with_synthetic_votes: Count `synthetic_votes` among them, one for one.
        row_weights: Also make `loss_weight`, how much each row counts in the loss.
        tower_cache: Where the audio tower's outputs may be found, which then replace features; such batches go through
            `cached_tower.complete_inputs` before the model.

    Returns:
        Of a call: the processor's inputs, `labels` and `vote_counts` (batch, K) float32, and `loss_weight` (batch,)
        float32. A row without a vote that counts (a mixed one, or one that only synthetic annotators voted on) counts
        as one vote, split as its distribution, whatever that is worth.

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
    row_weights: RowWeights | None = None
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
            if self.row_weights is not None:
                batch["loss_weight"] = torch.tensor([self.row_weights(row) for row in rows], dtype=torch.float32)
        return batch

    def _counts(self, row: Mapping[str, Any]) -> np.ndarray:
        counts = count_votes(
            row.get("human_votes") or [], self._emotions, row.get("human_vote_weights") or None, "drop"
        )
        if self.with_synthetic_votes and row.get("synthetic_votes"):
            counts = counts + count_votes(row["synthetic_votes"], self._emotions, None, "drop")
        return counts


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
    if "id" not in dataset.column_names:
        raise ValueError(
            "perturb_waveforms draws from the rows' ids, and the training data has no `id` column: no clip would be "
            "changed. Mend: add one, dataset.add_column('id', [str(i) for i in range(len(dataset))])."
        )
    if dataset.format["type"] is not None:
        raise ValueError(
            "perturb_waveforms sets a transform, and the training data has one already. Mend: leave it out, and give "
            "the perturbation to that one: plan.lazy(perturbation=WaveformPerturbation())"
        )
    need("librosa", "perturb_waveforms")  # before training, not at the first clip that is drawn
    from ..augmentation.perturbation import WaveformPerturbation

    return WaveformPerturbation(p=p, seed=seed)


def longest_durations(durations: NDArray[np.float64], perturbation: Any, dataset: Any = None) -> NDArray[np.float64]:
    """Return the durations (N,) in seconds that clips may get at most when their tempo changes.

    Args:
        durations: As they were measured.
        perturbation: What the trainer changes after that.
        dataset: The data set, whose own transform changes tempo too, also while it was measured.
    """
    if perturbation is None:
        # a lazy mixer carries one
        transform = transform_of(dataset)
        perturbation = getattr(transform, "perturbation", transform)
        tempo = getattr(perturbation, "tempo", None) if getattr(perturbation, "changes_audio", False) else None
        if tempo is None:
            return durations
        durations = durations * max(1.0, tempo[1])
    slowest = durations / min(1.0, perturbation.tempo[0])
    return np.where(slowest > MAX_SECONDS, durations, slowest)


def warn_about_large_rows(tokens: NDArray[np.int64], budget: int, ids: Sequence[Any]) -> None:
    """Name the rows that have more audio tokens than a batch may have: each is a batch of its own."""
    total = tokens[:, 0] * tokens[:, 1]
    large = np.flatnonzero(total > budget)
    if len(large):
        logger.warning(
            "%d training rows have more audio tokens than max_audio_tokens_per_batch=%d (%s, ...; up to %d): each is a "
            "batch of its own, and larger than that. Mend: raise it to %d, or leave them out.",
            len(large),
            budget,
            ", ".join(str(ids[i]) for i in large[:3]),
            total.max(),
            total.max(),
        )
