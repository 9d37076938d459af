"""Strata of ambiguity, and predictors that hear nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributions import ambiguity_strata, entropy
from .vote_table import VoteTable, count_labels, shuffle_votes

__all__ = [
    "HALF",
    "MEAN",
    "UNIFORM",
    "ScoredRows",
    "Strata",
    "constant_predictors",
    "cut_strata",
    "joined_rows",
    "scored_rows",
]

FloatArray = NDArray[np.float64]

#: Distinct entropies up to which the values themselves are the strata.
FEW_VALUES = 5
UNIFORM, MEAN, HALF = "uniform", "mean of others", "other half of the listeners"


@dataclass(frozen=True)
class Strata:
    """A stratum for each of N rows, and the names of the strata in order."""

    index: NDArray[np.int64]
    names: tuple[str, ...]


def cut_strata(shares: FloatArray, normalized: bool = False, number: int = 3) -> Strata:
    """Strata of ambiguity: thirds by the rank of the entropy, or, where there are few distinct entropies, these.

    Args:
        shares: (N, K) distributions of votes.
        normalized: Divide the entropy by the logarithm of the number of labels present, as arXiv 2601.14620 does (which makes a vote of 1 to 1
            as ambiguous as an even split over all labels).
        number: Strata by rank.

    Example:
        >>> cut_strata(np.array([[1.0, 0.0], [0.5, 0.5], [1.0, 0.0]])).names
        ('0.00 bits', '1.00 bits')
    """
    values = np.round(entropy(shares, normalized="present") if normalized else entropy(shares), 6)
    distinct, index = np.unique(values, return_inverse=True)
    if len(distinct) <= FEW_VALUES:
        unit = "of the maximum" if normalized else "bits"
        return Strata(index.astype(np.int64), tuple(f"{value:.2f} {unit}" for value in distinct))
    names = ("low", "medium", "high") if number == 3 else tuple(f"{place + 1} of {number}" for place in range(number))
    found = ambiguity_strata(values, number)
    present = [place for place in range(number) if (found == place).any()]
    renamed = np.searchsorted(present, found)
    return Strata(renamed.astype(np.int64), tuple(names[place] for place in present))


def constant_predictors(
    shares: FloatArray, speakers: Sequence[Any] | None, cells: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, FloatArray]:
    """Predictors that hear nothing, each row predicted from the rows of other speakers: uniform, the mean, and the mean of the rows alike in a column.

    Args:
        shares: (N, K) distributions.
        speakers: N speakers; without them each row is left out by itself.
        cells: Title to N values; a row whose cell no other speaker has gets the mean.

    Example:
        >>> found = constant_predictors(np.array([[1.0, 0.0], [0.0, 1.0], [0.0, 1.0]]), ["a", "b", "c"])
        >>> found["mean of others"][0]
        array([0., 1.])
    """
    rows = range(len(shares)) if speakers is None else speakers
    speaker = np.unique(np.array([str(row) for row in rows]), return_inverse=True)[1]

    def means(values: NDArray[np.int64], fallback: FloatArray) -> FloatArray:
        size = int(values.max()) + 1
        whole = np.zeros((size, shares.shape[1]))
        np.add.at(whole, values, shares)
        number = np.bincount(values, minlength=size).astype(np.float64)
        pair, place = np.unique(np.stack([values, speaker]), axis=1, return_inverse=True)
        place = place.reshape(-1)
        own = np.zeros((pair.shape[1], shares.shape[1]))
        np.add.at(own, place, shares)
        left = number[values] - np.bincount(place)[place]
        result = (whole[values] - own[place]) / np.maximum(left, 1)[:, None]
        return np.where((left > 0)[:, None], np.maximum(result, 0.0), fallback)

    uniform = np.full_like(shares, 1.0 / shares.shape[1])
    found = {UNIFORM: uniform, MEAN: means(np.zeros(len(shares), dtype=np.int64), uniform)}
    for title, values in (cells or {}).items():
        index = np.unique(np.array([str(value) for value in values]), return_inverse=True)[1]
        found[title] = means(index, found[MEAN])
    return {name: rows / rows.sum(axis=1, keepdims=True) for name, rows in found.items()}


@dataclass(frozen=True)
class ScoredRows:
    """N rows: strata, what is scored against, its votes, and predictors of it."""

    strata: Strata
    target: FloatArray
    counts: FloatArray
    predictors: dict[str, FloatArray]


def scored_rows(
    rows: VoteTable,
    given: Mapping[str, FloatArray],
    by: str | None,
    train_mean: FloatArray | None,
    known: Sequence[str],
    split: bool,
    normalized: bool,
    seed: int,
    half: int,
) -> ScoredRows:
    """Strata, targets and predictors of the rows; with `split` strata come from one random half of the votes, targets from the other."""
    size = len(rows.emotions)
    counts = first = rows.counts()
    if split:
        shuffled = shuffle_votes(rows.votes, rows.ids, seed, half)
        middle = (shuffled >= 0).sum(axis=1)[:, None] // 2
        place = np.arange(shuffled.shape[1])
        first = count_labels(np.where(place < middle, shuffled, -1), size)
        counts = count_labels(np.where(place >= middle, shuffled, -1), size)
    shares, target = first / first.sum(axis=1, keepdims=True), counts / counts.sum(axis=1, keepdims=True)
    if by is None:
        strata = cut_strata(shares, normalized)
    else:
        names, index = np.unique(np.array([str(value) for value in rows.column(by)]), return_inverse=True)
        strata = Strata(index.astype(np.int64), tuple(names.tolist()))
    cells = (
        {f"knowing {' and '.join(known)}": list(zip(*(rows.column(name) for name in known), strict=True))}
        if known
        else None
    )
    constants = constant_predictors(shares, rows.speakers(), cells)
    if train_mean is not None:
        constants[MEAN] = np.broadcast_to(train_mean / train_mean.sum(), shares.shape)
    predictors = {**given, **constants}
    if split:
        predictors[HALF] = shares
    return ScoredRows(strata, target, counts, predictors)


def joined_rows(parts: Sequence[ScoredRows], rows: VoteTable) -> ScoredRows:
    """Put the parts below each other: a row once for each of its splits, its speaker being resampled as a whole."""
    names = max((part.strata.names for part in parts), key=len)
    index = [np.array([names.index(part.strata.names[place]) for place in part.strata.index]) for part in parts]
    return ScoredRows(
        Strata(np.concatenate(index), names),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.counts for part in parts]),
        {name: np.concatenate([part.predictors[name] for part in parts]) for name in parts[0].predictors},
    )
