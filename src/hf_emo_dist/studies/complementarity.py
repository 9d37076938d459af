"""What synthetic votes add to human ones, with the number of votes taken into account."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scores.divergences import jensen_shannon_divergence
from .strata_cut import Strata, cut_strata
from .vote_table import Annotations, VoteTable, count_labels, shuffle_votes

__all__ = ["added_by_focus", "gain_from_synthetic", "pooled_annotations"]

FloatArray = NDArray[np.float64]


def pooled_annotations(annotations: Annotations, rows: int, keep: NDArray[np.bool_] | None = None) -> FloatArray:
    """Sum of the annotations of each row, (rows, K); a stated distribution weighs as one vote.

    >>> a = Annotations(np.array([0, 0]), np.array([0, 1]), np.eye(2), np.array(["m", "m"]), np.array(["f", "f"]))
    >>> pooled_annotations(a, 2)
    array([[1., 1.],
           [0., 0.]])
    """
    inside = slice(None) if keep is None else keep
    total = np.zeros((rows, annotations.distribution.shape[1]))
    np.add.at(total, annotations.row[inside], annotations.distribution[inside])
    return total


def synthetic_mass(table: VoteTable) -> FloatArray:
    """Synthetic votes an emotion, stated distributions included, (N, K)."""
    if table.annotations is not None:
        return pooled_annotations(table.annotations, len(table.ids))
    return table.counts("synthetic")


def gain_from_synthetic(
    table: VoteTable, seed: int = 0, num_halves: int = 5, normalized: bool = False
) -> tuple[FloatArray, Strata, NDArray[np.int64]]:
    """How much nearer one half of the human votes comes to the other half when the synthetic votes are added to it, row by row.

    JS(half, other half) - JS(half + synthetic, other half), base 2; above 0 the synthetic votes complement the human ones. Strata come from the first
    half, which is not scored against. Rows with fewer than 2 human votes or no synthetic one are left out.

    Returns:
        Gains (M,), strata of these M, and the row of each (a row once for each split).
    """
    size, mass = len(table.emotions), synthetic_mass(table)
    rows = np.flatnonzero(((table.votes >= 0).sum(axis=1) >= 2) & (mass.sum(axis=1) > 0))
    if not len(rows):
        raise ValueError("No row has 2 human votes and a synthetic one. Mend: annotate the data set first.")
    ids = [table.ids[row] for row in rows]
    gains, shares = [], []
    for half in range(num_halves):
        shuffled = shuffle_votes(table.votes[rows], ids, seed, half)
        middle = (shuffled >= 0).sum(axis=1)[:, None] // 2
        place = np.arange(shuffled.shape[1])
        first = count_labels(np.where(place < middle, shuffled, -1), size)
        other = count_labels(np.where(place >= middle, shuffled, -1), size)
        target, both = other / other.sum(axis=1, keepdims=True), first + mass[rows]
        own = first / first.sum(axis=1, keepdims=True)
        gains.append(
            jensen_shannon_divergence(own, target)
            - jensen_shannon_divergence(both / both.sum(axis=1, keepdims=True), target)
        )
        shares.append(own)
    return np.concatenate(gains), cut_strata(np.concatenate(shares), normalized), np.tile(rows, num_halves)


def added_by_focus(
    table: VoteTable, seed: int = 0, num_draws: int = 10
) -> dict[str, tuple[FloatArray, NDArray[np.int64]]]:
    """What each focus adds to the pooled annotations: how much further from the human votes they are without it.

    JS(pool without the focus, human) - JS(pool without as many annotations drawn at random, human), base 2, row by row: any annotation that is left out
    makes the pool noisier, so the random draw of as many is the fair comparison. Above 0 the focus adds more than another annotation does.

    Returns:
        Focus to (values (M,), rows (M,)).
    """
    annotations = table.annotations
    if annotations is None:
        raise ValueError("Who annotated is not known: there is no column 'synthetic_annotations'.")
    counts = table.counts()
    number = len(table.ids)
    rng = np.random.default_rng(seed)
    total = np.bincount(annotations.row, minlength=number)
    found = {}
    for focus in np.unique(annotations.focus).tolist():
        mine = annotations.focus == focus
        own = np.bincount(annotations.row[mine], minlength=number)
        rows = np.flatnonzero((own > 0) & (own < total) & (counts.sum(axis=1) > 0))
        if not len(rows):
            continue
        human = counts[rows] / counts[rows].sum(axis=1, keepdims=True)

        def distance(keep: NDArray[np.bool_], rows: Any = rows, human: FloatArray = human) -> FloatArray:
            pool = pooled_annotations(annotations, number, keep)[rows]
            return jensen_shannon_divergence(pool / pool.sum(axis=1, keepdims=True), human)

        drawn = [distance(~_drop(annotations.row, own, rng)) for _ in range(num_draws)]
        found[focus] = (distance(~mine) - np.mean(drawn, axis=0), rows)
    return found


def _drop(row: NDArray[np.int64], number: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark `number` annotations of each row, drawn at random."""
    order = np.lexsort((rng.random(len(row)), row))
    sorted_row = row[order]
    start = np.searchsorted(sorted_row, sorted_row)
    dropped = np.empty(len(row), dtype=bool)
    dropped[order] = np.arange(len(row)) - start < number[sorted_row]
    return dropped
