"""Every figure of a set of predictions in one dictionary, from one table of the figures."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from ..distributions import FloatArray, entropy
from .bootstrap import Bounds
from .checking import EPSILON, checked_counts, checked_pair
from .classes import (
    accuracy,
    entropy_correlation,
    expected_calibration_error,
    macro_f1,
    multilabel_macro_f1,
    unweighted_average_recall,
    weighted_f1,
)
from .divergences import (
    bhattacharyya_coefficient,
    brier_score,
    canberra_metric,
    chebyshev_distance,
    clark_distance,
    cosine_similarity,
    intersection_similarity,
    jensen_shannon_distance,
    jensen_shannon_divergence,
    kl_divergence,
    r2_score,
)
from .floor import js_divergence_floor
from .likelihood import log_likelihood, unbiased_brier_score
from .transport import wasserstein_distance


class Score(NamedTuple):
    """One figure of predictions against references."""

    # Of (predictions, references), float64 (N, K), and the base of its logarithms. It gives (N,) figures of rows, whose
    # mean counts, or one figure of all rows; NaN where it is not defined.
    compute: Callable[[FloatArray, FloatArray, float], FloatArray | float]
    greater_is_better: bool | None  # None where it describes the distributions and judges nobody
    bounds: Bounds = (0.0, 1.0)  # the least and the greatest that it can be, in base 2


class VoteScore(NamedTuple):
    """One figure that needs votes beside the distributions."""

    greater_is_better: bool | None
    bounds: Bounds


def _of(
    function: Callable[[FloatArray, FloatArray], FloatArray | float],
    greater_is_better: bool,
    bounds: Bounds = (0.0, 1.0),
) -> Score:
    """A figure without logarithms, or with its own base."""
    return Score(lambda p, q, base: function(p, q), greater_is_better, bounds)


# What depends on the number of the emotions.
_FROM_0: Bounds = (0.0, math.inf)


#: name → figure, in the order in which they are shown; a new score is a line here
SCORES: Mapping[str, Score] = MappingProxyType(
    {
        "js_divergence": Score(jensen_shannon_divergence, False),
        "js_distance": Score(jensen_shannon_distance, False),
        "bhattacharyya_coefficient": _of(bhattacharyya_coefficient, True),
        # of the prediction from the reference, floored so that it is finite
        "kl_divergence": Score(lambda p, q, base: kl_divergence(q, p, base, EPSILON), False, _FROM_0),
        "r2": _of(r2_score, True, (-math.inf, 1.0)),
        "chebyshev_distance": _of(chebyshev_distance, False),
        "clark_distance": _of(clark_distance, False, _FROM_0),
        "canberra_metric": _of(canberra_metric, False, _FROM_0),
        "cosine_similarity": _of(cosine_similarity, True),
        "intersection_similarity": _of(intersection_similarity, True),
        "wasserstein_distance": _of(wasserstein_distance, False),
        "brier_score": _of(brier_score, False, (0.0, 2.0)),
        "expected_calibration_error": _of(expected_calibration_error, False),
        "entropy_prediction": Score(lambda p, q, base: entropy(p, base), None, _FROM_0),
        "entropy_reference": Score(lambda p, q, base: entropy(q, base), None, _FROM_0),
        "entropy_error": Score(lambda p, q, base: np.abs(entropy(p, base) - entropy(q, base)), False, _FROM_0),
        "entropy_pearson": _of(lambda p, q: entropy_correlation(p, q, "pearson"), True, (-1.0, 1.0)),
        "entropy_spearman": _of(lambda p, q: entropy_correlation(p, q, "spearman"), True, (-1.0, 1.0)),
        "accuracy": _of(accuracy, True),
        "macro_f1": _of(macro_f1, True),
        "weighted_f1": _of(weighted_f1, True),
        "uar": _of(unweighted_average_recall, True),
        "multilabel_macro_f1": _of(multilabel_macro_f1, True),
    }
)

#: name → figure that needs votes beside the distributions
VOTE_SCORES: Mapping[str, VoteScore] = MappingProxyType(
    {
        "log_likelihood_per_vote": VoteScore(True, (-math.inf, 0.0)),
        "unbiased_brier_score": VoteScore(False, (-1.0, 2.0)),
        "js_divergence_floor": VoteScore(None, (0.0, 1.0)),  # of the votes alone
        "js_divergence_above_floor": VoteScore(False, (-1.0, 1.0)),
    }
)


def greater_is_better(name: str) -> bool | None:
    """Say in which direction a figure of :func:`compute_scores` is better: whatever chooses by one asks here.

    Args:
        name: As :func:`compute_scores` names it.

    Returns:
        True where more is better, False where less is, None where the figure judges nobody.

    Raises:
        KeyError: There is no such figure.

    Example:
        >>> greater_is_better("js_divergence"), greater_is_better("accuracy"), greater_is_better("entropy_reference")
        (False, True, None)
    """
    return None if name == "num_examples" else _score(name).greater_is_better


def score_bounds(name: str) -> Bounds:
    """Say what a figure of :func:`compute_scores` lies within, in base 2: whatever gives it an interval asks here.

    Args:
        name: As :func:`compute_scores` names it.

    Returns:
        The least and the greatest that it can be; infinite where that depends on the number of the emotions.

    Raises:
        KeyError: There is no such figure.

    Example:
        >>> score_bounds("js_divergence"), score_bounds("entropy_pearson"), score_bounds("log_likelihood_per_vote")
        ((0.0, 1.0), (-1.0, 1.0), (-inf, 0.0))
    """
    return (0.0, math.inf) if name == "num_examples" else _score(name).bounds


def _score(name: str) -> Score | VoteScore:
    if name in VOTE_SCORES:
        return VOTE_SCORES[name]
    name = "r2" if name.startswith("r2_") else name  # of one emotion
    if name not in SCORES:
        raise KeyError(f"{name!r} is no figure of compute_scores. Mend: one of {', '.join([*SCORES, *VOTE_SCORES])}.")
    return SCORES[name]


def compute_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    emotions: Sequence[str] | None = None,
    counts: ArrayLike | None = None,
    base: float = 2,
    rater_squares: ArrayLike | None = None,
) -> dict[str, float]:
    """Compute every figure, averaged over the rows.

    Args:
        predictions: Predicted distributions (N, K).
        references: Distributions of human votes (N, K), in the same order of emotions.
        emotions: The K labels; name the figures of single classes.
        counts: Human votes (N, K); rows may be without votes.
        base: Base of the logarithms of ``js_divergence``, ``kl_divergence``, its floor and the entropies.
        rater_squares: Where raters give several tags: what is known of them, (N, 2), from
            :func:`hf_emo_dist.votes.rater_squares`.

    Returns:
        The figures of :data:`SCORES`.

        Figures of rows, averaged: ``js_divergence``; ``js_distance`` (the mean of the rows' square roots);
        ``bhattacharyya_coefficient``; ``kl_divergence`` (of the prediction from the reference, the prediction floored
        at :data:`EPSILON` so that the figure is finite); ``chebyshev_distance``, ``clark_distance``,
        ``canberra_metric``, ``cosine_similarity``, ``intersection_similarity``; ``wasserstein_distance`` (cost 1
        between any two emotions); ``brier_score``; ``entropy_prediction``, ``entropy_reference``, ``entropy_error``
        (mean absolute difference).

        Figures of all rows together: ``r2`` (mean over the classes) and, with `emotions`, ``r2_<emotion>``;
        ``expected_calibration_error`` (10 bins, classes pooled); ``entropy_pearson``, ``entropy_spearman``;
        ``accuracy``, ``macro_f1``, ``weighted_f1`` and ``uar`` of the dominant class (a tie in the reference goes to
        the first in the order of the emotions); ``multilabel_macro_f1`` of the emotions whose share is over 1/K.

        With `counts`: ``log_likelihood_per_vote`` (nats, the mean over all votes); and, where some rows have 2 votes,
        ``unbiased_brier_score`` (over the rows with 2 raters or more), ``js_divergence_floor`` and
        ``js_divergence_above_floor``, the mean over the rows with votes. Rows with votes that are not whole are left
        out of these three where `rater_squares` are not given.

        ``num_examples``. A figure that is not defined for these rows (the correlation with an entropy that is the same
        everywhere, R² of shares that never vary) is left out, so that every figure is finite.

    Raises:
        ValueError: Shapes differ, there are no rows, or a row is not a distribution.

    Example:
        >>> scores = compute_scores([[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [1.0, 0.0]], counts=[[2, 2], [3, 0]])
        >>> round(scores["js_divergence"], 4), scores["accuracy"], scores["num_examples"]
        (0.0259, 1.0, 2)
    """
    p, q = checked_pair(predictions, references, ("predictions", "references"))
    if p.ndim != 2 or not len(p):
        raise ValueError(f"Predictions and references must have the shape (N, K) with N of at least 1, got {p.shape}.")
    if emotions is not None and len(emotions) != p.shape[1]:
        raise ValueError(f"{p.shape[1]} columns for {len(emotions)} emotions: {', '.join(emotions)}.")
    scores: dict[str, float] = {}
    for name, score in SCORES.items():
        scores[name] = float(np.mean(score.compute(p, q, base)))
        if name == "r2" and emotions is not None:
            by_class = r2_score(p, q, average="none")
            scores |= {f"r2_{emotion}": float(value) for emotion, value in zip(emotions, by_class, strict=True)}
    if counts is not None:
        total, votes = log_likelihood(p, counts, EPSILON)
        scores["log_likelihood_per_vote"] = float(total.sum() / votes.sum()) if votes.sum() > 0 else math.nan
        given = checked_counts(counts)
        brier = unbiased_brier_score(p, given, rater_squares)
        if np.isfinite(brier).any():
            scores["unbiased_brier_score"] = float(np.nanmean(brier))
            floor = js_divergence_floor(given, base, rater_squares=rater_squares)
            known = np.isfinite(floor)
            scores["js_divergence_floor"] = float(floor[known].mean())
            shares = given[known] / votes[known, None]
            above = jensen_shannon_divergence(p[known], shares, base) - floor[known]
            scores["js_divergence_above_floor"] = float(above.mean())
    scores["num_examples"] = len(p)
    return {name: value for name, value in scores.items() if math.isfinite(value)}
