"""What predictors score on folds of speakers: those that hear nothing, those that were trained, and the floor; one code
for the study of folds and for cross-validation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence
from ..scores.floor import js_divergence_floor
from .scoring import Bootstrap, interval_words

UNIFORM, MEAN, KNOWN, FLOOR = "uniform", "mean_of_other_folds", "known", "floor"
_FIGURES = {
    "js_divergence": "JS divergence",
    "bhattacharyya_coefficient": "Bhattacharyya",
    "multilabel_macro_f1": "macro-F1 over 1/K",
}


@dataclass(frozen=True)
class FoldedVotes:
    """N rows: what is scored against, in which fold each row is tested, and who speaks."""

    shares: np.ndarray  # (N, K)
    counts: np.ndarray | None  # (N, K), None where there are no votes beside the shares
    fold: np.ndarray  # (N,)
    groups: np.ndarray  # (N,), the speakers
    labels: np.ndarray  # (N, K), what macro-F1 is of: the shares, or a protocol's labels
    squares: np.ndarray | None = None  # (N, 2), of raters who gave several tags


def constant_predictions(
    shares: np.ndarray, fold: np.ndarray, cells: Sequence[Any] | None = None
) -> tuple[dict[str, np.ndarray], list[Any]]:
    """Predictors that hear nothing, each row predicted from the rows of the other folds alone; cells not seen there.

    The uniform one; the mean of the other folds' rows; and with `cells`, N values such as (intended, level), the mean
    of those that are alike in it. A row whose cell no other fold has gets the mean.
    """
    found = {UNIFORM: np.full(shares.shape, 1.0 / shares.shape[1]), MEAN: np.empty_like(shares)}
    if cells is not None:
        found[KNOWN] = np.empty_like(shares)
    new: set[Any] = set()
    for number in np.unique(fold):
        test, others = np.flatnonzero(fold == number), np.flatnonzero(fold != number)
        found[MEAN][test] = shares[others].mean(axis=0)
        if cells is not None:
            found[KNOWN][test], unseen = cell_means(shares, cells, others, test)
            new.update(unseen)
    return found, sorted(new, key=str)


def cell_means(
    targets: np.ndarray, cells: Sequence[Any], train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, list[Any]]:
    """For each test row the mean of the training targets in its cell, and the cells that training has not seen.

    An unseen cell gets the mean of all training rows.
    """
    members: dict[Any, list[int]] = {}
    for i in train:
        members.setdefault(cells[i], []).append(int(i))
    means = {cell: targets[rows].mean(axis=0) for cell, rows in members.items()}
    overall = targets[train].mean(axis=0)
    unseen = sorted({cells[i] for i in test} - set(means), key=str)
    return np.stack([means.get(cells[i], overall) for i in test]), unseen


def fold_figures(predictions: Mapping[str, np.ndarray], votes: FoldedVotes, bootstrap: Bootstrap) -> dict[str, Any]:
    """Figures of predictors (N, K) and the floor, each with an interval over speakers, and fold by fold.

    JS divergence (base 2) and the Bhattacharyya coefficient are means over the rows. Macro-F1 at a threshold of 1/K is
    the mean of the folds' own, as is usual with it. Where no row has 2 votes there is no floor.

    Returns:
        Predictor, or ``floor``, to figure to ``value``, ``low`` and ``high``; and ``folds``, a list of one dict a fold
        with ``fold``, ``rows``, ``speakers`` and the figures' values.
    """
    numbers, one = np.unique(votes.fold), (0.0, 1.0)
    found: dict[str, Any] = {}
    folds: list[dict[str, Any]] = [
        {"fold": int(number), "rows": int(inside.sum()), "speakers": len(set(votes.groups[inside].tolist()))}
        for number in numbers
        for inside in [votes.fold == number]
    ]
    for name, predicted in predictions.items():
        js = jensen_shannon_divergence(predicted, votes.shares, base=2)
        coefficient = bhattacharyya_coefficient(predicted, votes.shares)
        there = _EmotionsThere.of(predicted, votes)
        found[name] = {
            "js_divergence": bootstrap.interval(js, votes.groups, bounds=one),
            "bhattacharyya_coefficient": bootstrap.interval(coefficient, votes.groups, bounds=one),
            "multilabel_macro_f1": bootstrap.score(_mean_of_folds, there.counted, there.fold, bounds=one),
        }
        for fold, number in zip(folds, numbers, strict=True):
            inside = votes.fold == number
            fold[name] = {
                "js_divergence": float(js[inside].mean()),
                "bhattacharyya_coefficient": float(coefficient[inside].mean()),
                "multilabel_macro_f1": _macro_f1(there.counted[there.fold == number]),
            }
    if votes.counts is not None and (votes.counts.sum(axis=1) > 1).any():
        found[FLOOR] = {"js_divergence": bootstrap.floor(votes.counts, votes.groups, squares=votes.squares)}
        floor = js_divergence_floor(votes.counts, rater_squares=votes.squares)
        for fold, number in zip(folds, numbers, strict=True):
            inside = (votes.fold == number) & np.isfinite(floor)
            fold[FLOOR] = {"js_divergence": float(floor[inside].mean()) if inside.any() else None}
    return {**found, "folds": folds}


@dataclass(frozen=True)
class _EmotionsThere:
    """For each speaker in each fold how often an emotion was there, (S, 3, K): in both, in predictions, in labels."""

    counted: np.ndarray
    fold: np.ndarray  # (S,)

    @classmethod
    def of(cls, predicted: np.ndarray, votes: FoldedVotes) -> _EmotionsThere:
        least = 1.0 / predicted.shape[1] + 1e-9  # as `multilabel_macro_f1` has it
        there, true = predicted > least, votes.labels > least
        keys = np.stack([votes.fold.astype(str), votes.groups.astype(str)])
        pairs, member = np.unique(keys, axis=1, return_inverse=True)
        counted = np.zeros((pairs.shape[1], 3, predicted.shape[1]))
        np.add.at(counted, member.reshape(-1), np.stack([there & true, there, true], axis=1))
        return cls(counted, pairs[0].astype(np.int64))


def _macro_f1(counted: np.ndarray) -> float:
    hits, named, true = counted.sum(axis=0)
    some = named + true > 0
    return float((2.0 * hits[some] / (named + true)[some]).mean()) if some.any() else float("nan")


def _mean_of_folds(counted: np.ndarray, fold: np.ndarray) -> float:
    return float(np.nanmean([_macro_f1(counted[fold == number]) for number in np.unique(fold)]))


def folds_markdown(figures: Mapping[str, Any], titles: Mapping[str, str]) -> tuple[list[str], list[list[str]]]:
    """The columns and rows of a table of figures: each predictor with what it scored, then the floor."""
    rows = [
        [titles.get(name, name), *(interval_words(found[figure]) if figure in found else "-" for figure in _FIGURES)]
        for name, found in figures.items()
        if name != "folds"
    ]
    return ["predictor", *_FIGURES.values()], rows
