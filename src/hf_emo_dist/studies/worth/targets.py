"""Targets of rows by combiners that were fitted on other speakers, and their scores on votes that none of them saw."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from ...combining.allocation import allocate
from ...combining.choosing import folds_of
from ...combining.combiner import VoteCombiner
from ...combining.evidence import Evidence
from ...combining.fitted import Method
from ...evaluation.scoring import Bootstrap
from ...scores.divergences import jensen_shannon_divergence
from ...scores.likelihood import unbiased_brier_score
from ..vote_table import FloatArray, Labels, shares_of
from .voters import first_counts

IndexArray = NDArray[np.int64]

#: Ways to make a target, in the order in which they are shown.
RAW: Final = "raw"
HUMAN: Final = "human"
POOL: Final = "pool"
WEIGHTED: Final = "weighted"
POSTERIOR: Final = "posterior"
METHODS = {
    RAW: "human votes, raw",
    HUMAN: "human votes, smoothed",
    POOL: "pooled one for one",
    WEIGHTED: "one fitted weight",
    POSTERIOR: "posterior",
}
#: What targets are scored by.
#: The figure of `compute_scores` that each of them is.
BOUNDS = {"js": "js_divergence", "unbiased_brier": "unbiased_brier_score"}
FIGURES = {"js": "JS divergence", "unbiased_brier": "Unbiased Brier score"}
#: Votes that a row must have beside those of its target: the unbiased Brier score needs two.
HELD_OUT = 2


def folds(evidence: Evidence, groups: NDArray[np.str_], number: int, seed: int) -> IndexArray:
    """The fold of each row, (N,), whole groups together."""
    return folds_of(Evidence(evidence.human, {}, groups), seed, number)[0]


@dataclass(frozen=True)
class Made:
    """Targets (N, K) by method, NaN where a row has none, and the posterior that each fold's were made by."""

    targets: dict[str, FloatArray]
    combiners: list[VoteCombiner]


def make_targets(
    evidence: Evidence,
    emotions: Sequence[str],
    fold: IndexArray,
    seed: int,
    fit_rows: Sequence[IndexArray] | None = None,
) -> Made:
    """Make each row's target from its own human votes, by combiners fitted on the human votes of other folds.

    Args:
        evidence: Rows; those without a human vote get no target.
        emotions: The label set.
        fold: The fold of each row, (N,), from 0.
        seed: Of the combiners.
        fit_rows: For each fold the rows to fit on. Default: all of the others.
    """
    voted = evidence.human.sum(axis=1) > 0
    targets = {method: np.full(evidence.human.shape, np.nan) for method in METHODS}
    combiners = []
    for place in range(int(fold.max()) + 1):
        fitted_on = np.flatnonzero(fold != place) if fit_rows is None else fit_rows[place]
        rows = np.flatnonzero((fold == place) & voted)
        train, test = evidence.select(fitted_on), evidence.select(rows)
        targets[RAW][rows] = shares_of(test.human)
        methods: tuple[Method, ...] = (POOL, WEIGHTED, POSTERIOR)
        for method in methods:
            combiner = fitted(train, emotions, method, seed)
            targets[method][rows] = shares_of(combiner.concentration_of(test))
        assert combiner.fitted is not None and combiner.fitted.alone is not None
        targets[HUMAN][rows] = shares_of(test.human + combiner.fitted.alone)
        combiners.append(combiner)
    return Made(targets, combiners)


def fitted(evidence: Evidence, emotions: Sequence[str], method: Method, seed: int) -> VoteCombiner:
    """A combiner fitted on these rows; what it warns of is left to who asked."""
    with _quiet():
        return VoteCombiner(emotions, method, seed=seed).fit_evidence(evidence)


@contextmanager
def _quiet() -> Iterator[None]:
    logger = logging.getLogger("hf_emo_dist.combining")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)


def row_scores(target: FloatArray, held: FloatArray) -> dict[str, FloatArray]:
    """Each row's figures, (N,), of targets (N, K) on counts of votes that were held out: base-2 JS, unbiased Brier."""
    return {
        "js": jensen_shannon_divergence(target, shares_of(held)),
        "unbiased_brier": unbiased_brier_score(target, held),
    }


def compared(
    targets: Mapping[str, FloatArray], held: FloatArray, groups: Any, bootstrap: Bootstrap, baseline: str = HUMAN
) -> dict[str, dict[str, Any]]:
    """Method → figure → its mean, paired difference from that of a baseline and ratio to it, with intervals."""
    rows = {name: row_scores(target, held) for name, target in targets.items()}
    found: dict[str, dict[str, Any]] = {}
    for name, figures in rows.items():
        found[name] = {}
        for figure, values in figures.items():
            reference = rows[baseline][figure]
            found[name][figure] = {
                **bootstrap.interval(values, groups, bounds=BOUNDS[figure]),
                f"minus_{baseline}": bootstrap.difference(values, reference, groups, bounds=BOUNDS[figure]),
                f"ratio_to_{baseline}": bootstrap.ratio(values, reference, groups),
            }
    return found


@dataclass(frozen=True)
class Allocated:
    """Human votes of each row, (N,), by where they were expected to help most, and the targets (N, K) made of them."""

    number: IndexArray
    target: FloatArray


def allocate_votes(
    order: Labels,
    evidence: Evidence,
    fold: IndexArray,
    combiners: Sequence[VoteCombiner],
    rows: IndexArray,
    average: int,
    rounds: int = 2,
) -> Allocated:
    """Give rows a vote each, and then, in rounds, further ones where these lower the expected squared error most.

    Args:
        order: Votes of each row (N, m), in the order in which they would be given.
        evidence: The rows; their human votes are not looked at.
        fold: The fold of each row, (N,).
        combiners: The posterior of each fold, fitted on the others.
        rows: The rows that votes are given to; each keeps `HELD_OUT` votes at least.
        average: Votes a row in all.
        rounds: Times that somebody looks where the next votes should go.

    Returns:
        Numbers of votes and targets; 0 and NaN for rows that are not among `rows`.
    """
    size = evidence.human.shape[1]
    most = (order >= 0).sum(axis=1) - HELD_OUT
    number, target = np.zeros(len(order), dtype=np.int64), np.full(evidence.human.shape, np.nan)
    for place, combiner in enumerate(combiners):
        inside = rows[fold[rows] == place]
        number[inside] = 1
        left = (average - 1) * len(inside)

        def now(inside: IndexArray = inside, combiner: VoteCombiner = combiner) -> FloatArray:
            human = first_counts(order, number, size)
            return combiner.concentration_of(Evidence(human, evidence.annotators, evidence.groups).select(inside))

        for turn in range(rounds):
            budget = left // (rounds - turn)
            number[inside] += allocate(now(), budget, most[inside] - number[inside])[0]
            left -= budget
        target[inside] = shares_of(now())
    return Allocated(number, target)
