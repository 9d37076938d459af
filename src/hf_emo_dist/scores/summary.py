"""Every figure of a set of predictions in one dictionary."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from ..distributions import entropy
from .calibration import expected_calibration_error
from .checking import EPSILON, checked_counts, checked_pair
from .classes import accuracy, entropy_correlation, macro_f1, unweighted_average_recall, weighted_f1
from .divergences import bhattacharyya_coefficient, jensen_shannon_divergence, kl_divergence
from .floor import js_divergence_floor
from .label_distribution import (
    brier_score,
    canberra_metric,
    chebyshev_distance,
    clark_distance,
    cosine_similarity,
    intersection_similarity,
    r2_score,
)
from .likelihood import log_likelihood, unbiased_brier_score
from .transport import wasserstein_distance

__all__ = ["compute_scores"]


def compute_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    emotions: Sequence[str] | None = None,
    counts: ArrayLike | None = None,
    base: float = 2,
) -> dict[str, float]:
    """Compute every figure, averaged over the rows.

    Args:
        predictions: Predicted distributions (N, K).
        references: Distributions of human votes (N, K), in the same order of emotions.
        emotions: The K labels; name the figures of single classes.
        counts: Human votes (N, K); rows may be without votes.
        base: Base of the logarithms of ``js_divergence``, ``kl_divergence``, its floor and the entropies.

    Returns:
        Figures of rows, averaged: ``js_divergence``; ``js_distance`` (the mean of the rows' square roots);
        ``bhattacharyya_coefficient``; ``kl_divergence`` (of the prediction from the reference, the prediction floored
        at :data:`EPSILON` so that the figure is finite); ``chebyshev_distance``, ``clark_distance``,
        ``canberra_metric``, ``cosine_similarity``, ``intersection_similarity``; ``wasserstein_distance`` (cost 1
        between any two emotions); ``brier_score``; ``entropy_prediction``, ``entropy_reference``, ``entropy_error``
        (mean absolute difference).

        Figures of all rows together: ``r2`` (mean over the classes) and, with `emotions`, ``r2_<emotion>``;
        ``expected_calibration_error`` (10 bins, classes pooled); ``entropy_pearson``, ``entropy_spearman``;
        ``accuracy``, ``macro_f1``, ``weighted_f1`` and ``uar`` of the dominant class (a tie in the reference goes to
        the first in the order of the emotions).

        With `counts`: ``log_likelihood_per_vote`` (nats, the mean over all votes); and, where the votes are whole and
        some rows have 2, ``unbiased_brier_score`` (over the rows with 2 votes or more), ``js_divergence_floor`` and
        ``js_divergence_above_floor``, the mean over the rows with votes.

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
    js = jensen_shannon_divergence(p, q, base)
    entropies = entropy(p, base), entropy(q, base)
    r2 = r2_score(p, q, average="none")
    scores: dict[str, float] = {
        "js_divergence": float(js.mean()),
        "js_distance": float(np.sqrt(js).mean()),
        "bhattacharyya_coefficient": float(bhattacharyya_coefficient(p, q).mean()),
        "kl_divergence": float(kl_divergence(q, p, base, EPSILON).mean()),
        "r2": float(r2[~np.isnan(r2)].mean()) if not np.isnan(r2).all() else math.nan,
        **({} if emotions is None else {f"r2_{name}": float(value) for name, value in zip(emotions, r2, strict=True)}),
        "chebyshev_distance": float(chebyshev_distance(p, q).mean()),
        "clark_distance": float(clark_distance(p, q).mean()),
        "canberra_metric": float(canberra_metric(p, q).mean()),
        "cosine_similarity": float(cosine_similarity(p, q).mean()),
        "intersection_similarity": float(intersection_similarity(p, q).mean()),
        "wasserstein_distance": float(wasserstein_distance(p, q).mean()),
        "brier_score": float(brier_score(p, q).mean()),
        "expected_calibration_error": expected_calibration_error(p, q),
        "entropy_prediction": float(entropies[0].mean()),
        "entropy_reference": float(entropies[1].mean()),
        "entropy_error": float(np.abs(entropies[0] - entropies[1]).mean()),
        "entropy_pearson": entropy_correlation(p, q, "pearson"),
        "entropy_spearman": entropy_correlation(p, q, "spearman"),
        "accuracy": accuracy(p, q),
        "macro_f1": macro_f1(p, q),
        "weighted_f1": weighted_f1(p, q),
        "uar": unweighted_average_recall(p, q),
    }
    if counts is not None:
        total, votes = log_likelihood(p, counts, EPSILON)
        scores["log_likelihood_per_vote"] = float(total.sum() / votes.sum()) if votes.sum() > 0 else math.nan
        given = checked_counts(counts)
        if (given == np.round(given)).all() and (votes >= 2).any():
            scores["unbiased_brier_score"] = float(np.nanmean(unbiased_brier_score(p, given)))
            floor = js_divergence_floor(given, base)
            known = votes > 0
            scores["js_divergence_floor"] = float(floor[known].mean())
            shares = given[known] / votes[known, None]
            above = jensen_shannon_divergence(p[known], shares, base) - floor[known]
            scores["js_divergence_above_floor"] = float(above.mean())
    scores["num_examples"] = len(p)
    return {name: value for name, value in scores.items() if math.isfinite(value)}
