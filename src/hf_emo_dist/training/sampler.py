"""The training order: seeded, a function of (seed, epoch) alone, with clips of like duration in a batch."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from torch.utils.data import Sampler

# How many optimizer batches are sorted by duration together: enough to match, few enough to stay random, and at most a
# quarter of the data, or every epoch would have the same batches in another order.
UNITS_A_WINDOW, WINDOWS = 32, 4


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
