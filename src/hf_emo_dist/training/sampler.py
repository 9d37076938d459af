"""The training order, a function of (seed, epoch) alone: clips of like duration in a batch, so many or by tokens."""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from torch.utils.data import DataLoader, Sampler

from ..audio.decoding import MAX_SECONDS, SAMPLING_RATE, LongAudio
from ..audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames

# How many optimizer batches are sorted by duration together: enough to match, few enough to stay random, and at most a
# quarter of the data, or every epoch would have the same batches in another order.
UNITS_A_WINDOW, WINDOWS = 32, 4
ATTEMPTS = 8


class SeededSampler(Sampler[Any]):
    """Draws from (seed, epoch) and no global state, so that a resumed run sees the same order."""

    def __init__(self, size: int, weights: np.ndarray | None, seed: int) -> None:
        self.size, self.seed, self.epoch = size, seed, 0
        self.weights = (
            None if weights is None else weights / np.sum(weights)
        )  # with them rows are drawn with replacement

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose order is drawn; accelerate's data loaders call it."""
        self.epoch = epoch

    def draw(self, rng: np.random.Generator) -> np.ndarray:
        """Draw as many rows as there are; with weights, with replacement."""
        if self.weights is None:
            return rng.permutation(self.size)
        return rng.choice(self.size, size=self.size, p=self.weights)


class EmotionSampler(SeededSampler):
    """Indices of an epoch; with durations (size,), units of rows of like duration are made and their order shuffled."""

    def __init__(
        self,
        size: int,
        unit: int,  # rows of one optimizer step: device batch × processes × accumulation steps
        durations: np.ndarray | None = None,
        weights: np.ndarray | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__(size, weights, seed)
        self.unit, self.durations = max(1, unit), durations

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[int]:
        rng = np.random.default_rng([self.seed, self.epoch])
        order = self.draw(rng)
        if self.durations is not None:
            order = self._group(order, rng)
        return iter(order.tolist())

    def _group(self, order: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        assert self.durations is not None
        window = self.unit * min(UNITS_A_WINDOW, max(1, self.size // (WINDOWS * self.unit)))
        units = []
        for start in range(0, self.size, window):
            part = order[start : start + window]
            part = part[np.argsort(self.durations[part], kind="stable")]
            units += [part[i : i + self.unit] for i in range(0, len(part), self.unit)]
        # the only short unit is the last one; it must stay last, or the batches after it would straddle units
        last = [units.pop()] if units and len(units[-1]) < self.unit else []
        return np.concatenate([units[i] for i in rng.permutation(len(units))] + last)


def balancing_weights(distributions: np.ndarray) -> np.ndarray:
    """Return sampling weights (N,), summing to 1, under which every emotion has about the same expected mass."""
    # Σ_k p_k / mass_k, the mass being the class's share over the data set: rows of rare emotions are drawn more often,
    # ambiguous ones in proportion
    mass = distributions.sum(axis=0)
    weights = (distributions / np.where(mass > 0, mass, 1.0)).sum(axis=1)
    return weights / weights.sum()


def tokens_and_clips(
    seconds: Sequence[float] | np.ndarray,
    long_audio: LongAudio = "error",
    num_tokens: Callable[[int], int] = lambda samples: num_audio_tokens(num_mel_frames(samples)),
) -> np.ndarray:
    """Return the audio tokens of each row's longest clip, and the clips that it is cut into: (N, 2) int64."""
    values = np.asarray(seconds, dtype=np.float64)
    clips = np.maximum(1, np.ceil(values / MAX_SECONDS)) if long_audio == "window" else np.ones_like(values)
    longest = np.ceil(np.minimum(values / clips, MAX_SECONDS) * SAMPLING_RATE).astype(np.int64)
    tokens = [max(1, num_tokens(int(samples))) for samples in longest]
    return np.stack([np.asarray(tokens, dtype=np.int64), clips.astype(np.int64)], axis=1)


class TokenBatchSampler(SeededSampler):
    """Batches of at most `budget` padded audio tokens: the longest clip's tokens × the clips."""

    # Clips of like length go together, drawn anew from (seed, epoch) and no global state, so that a resumed run sees
    # the same batches. Every epoch has the same number of batches, a multiple of `num_processes`, since the number of
    # steps is computed once: it is that of epoch 0 and 2 % more, batches being halved where an epoch needs fewer. A row
    # that is larger than the budget is a batch of its own. Where every batch is a single row and their number is odd
    # for the processes, rows of the epoch are repeated to even it out.

    def __init__(
        self,
        tokens: Sequence[int] | np.ndarray,
        budget: int,
        weights: np.ndarray | None = None,
        num_processes: int = 1,
        seed: int = 0,
    ) -> None:
        values = np.asarray(tokens, dtype=np.int64)
        self.rows = np.stack([values, np.ones_like(values)], axis=1) if values.ndim == 1 else values
        super().__init__(len(self.rows), weights, seed)
        self.budget = budget
        # accelerate hands set_epoch to what a batch sampler calls `sampler`, also behind its own wrappers
        self.sampler, self.batch_size, self.drop_last = self, None, False
        everything = np.arange(self.size)
        first = len(self._pack(self.draw(np.random.default_rng([seed, 0, 0])), self._window()))
        # all rows in one window always fit: without weights the number of those batches is the same in every epoch
        enough = max(min(self.size, math.ceil(1.02 * first)), len(self._pack(everything, self.size)))
        self.num_batches = math.ceil(enough / num_processes) * num_processes

    def __len__(self) -> int:
        return self.num_batches

    def __iter__(self) -> Iterator[list[int]]:
        for attempt in range(ATTEMPTS):
            rng = np.random.default_rng([self.seed, self.epoch, attempt])
            order = self.draw(rng)
            batches = self._pack(order, self._window())
            if len(batches) <= self.num_batches:
                break
        while len(batches) > self.num_batches:
            batches = self._pack(order, self.size)
            # only drawing with replacement gets here again, when an epoch has many more long clips than epoch 0
            order = order[: int(0.98 * len(order))]
        batches = self._fill_up(batches)
        return iter([batches[i] for i in rng.permutation(len(batches))])

    def _window(self) -> int:
        # rows that are sorted by length together: 32 batches' worth; of less data a quarter, of very little a half
        a_batch = max(1, int(self.budget / (self.rows[:, 0] * self.rows[:, 1]).mean()))
        part, half = math.ceil(self.size / WINDOWS), math.ceil(self.size / 2)
        return max(min(a_batch * WINDOWS, half), min(a_batch * UNITS_A_WINDOW, part))

    def _pack(self, order: np.ndarray, window: int) -> list[list[int]]:
        batches: list[list[int]] = []
        longest = clips = 0
        for number, start in enumerate(range(0, len(order), window)):
            part = order[start : start + window]
            part = part[np.lexsort((self.rows[part, 1], self.rows[part, 0]))]
            # up and down in turn, so that a batch can go on over the border of two windows
            for row in (part if number % 2 == 0 else part[::-1]).tolist():
                tokens, pieces = self.rows[row].tolist()
                if batches and max(longest, tokens) * (clips + pieces) <= self.budget:
                    batches[-1].append(row)
                    longest, clips = max(longest, tokens), clips + pieces
                else:
                    batches.append([row])
                    longest, clips = tokens, pieces
        return batches

    def _fill_up(self, batches: list[list[int]]) -> list[list[int]]:
        heap = [(-len(batch), i, batch) for i, batch in enumerate(batches)]
        heapq.heapify(heap)
        while len(heap) < self.num_batches:
            _, number, batch = heap[0]
            half = len(batch) // 2
            if half:
                heapq.heapreplace(heap, (-half, number, batch[:half]))
            heapq.heappush(heap, (half - len(batch), len(heap), batch[half:]))
        return [batch for _, _, batch in sorted(heap, key=lambda entry: entry[1])]


def prepared_loader(accelerator: Any, rows: Any, batches: TokenBatchSampler, collate: Any, args: Any) -> Any:
    """Make a data loader over `batches` with the training arguments' settings, shared out over the processes."""
    loader: Any = DataLoader(
        rows,
        batch_sampler=batches,
        collate_fn=collate,
        num_workers=args.dataloader_num_workers,
        pin_memory=args.dataloader_pin_memory,
        persistent_workers=args.dataloader_persistent_workers,
        prefetch_factor=args.dataloader_prefetch_factor,
    )
    before = accelerator.even_batches
    accelerator.even_batches = False  # there is a batch for every process already
    try:
        return accelerator.prepare(loader)
    finally:
        accelerator.even_batches = before


def show_sampler(loader: Any) -> None:
    """Let `set_epoch` of a prepared data loader reach the sampler also in an epoch resumed on several processes."""
    # accelerate wraps the batch sampler once for the processes and once more to skip batches, but looks for the sampler
    # in the outer two only; the resumed epoch would have the first one's order
    shard: Any = getattr(loader, "batch_sampler", None)
    sampler = getattr(getattr(shard, "batch_sampler", None), "sampler", None)
    if sampler is not None and not hasattr(shard, "sampler"):
        shard.sampler = sampler
