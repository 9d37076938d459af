"""Figures of the dominant class, calibration, and how well ambiguity itself is predicted."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distributions import check_choice, dominant, dominant_ties, entropy
from .checking import FloatArray, checked_pair, checked_rows

Ties = Literal["first", "drop"]


def _classes(predictions: ArrayLike, references: ArrayLike, ties: str) -> tuple[NDArray[Any], NDArray[Any]]:
    check_choice("ties", ties, ("first", "drop"))
    p, q = (np.atleast_2d(rows) for rows in checked_pair(predictions, references, ("predictions", "references")))
    if ties == "drop":
        clear = dominant_ties(q).sum(axis=-1) == 1
        p, q = p[clear], q[clear]
    return dominant(p), dominant(q)


def accuracy(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Share of rows whose dominant class is that of the reference, higher is better.

    Args:
        predictions: Distributions (N, K). The dominant class is the largest entry, the first among equals.
        references: Distributions (N, K).
        ties: Where the reference has several largest entries, the ``"first"`` in the order of the emotions is its
            class, as with ``argmax``; or ``"drop"`` leaves such rows out.

    Returns:
        0 to 1; NaN where no row is left.

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
        >>> accuracy([[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.4, 0.6]])
        0.5
    """
    predicted, true = _classes(predictions, references, ties)
    return float(np.mean(predicted == true)) if len(true) else math.nan


def _confusions(predictions: ArrayLike, references: ArrayLike, ties: str) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return hits, number of predictions and number of reference rows of each class."""
    predicted, true = _classes(predictions, references, ties)
    size = np.asarray(references).shape[-1]
    hits = np.bincount(true[predicted == true], minlength=size).astype(np.float64)
    named = np.bincount(predicted, minlength=size).astype(np.float64)
    return hits, named, np.bincount(true, minlength=size).astype(np.float64)


def macro_f1(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Mean F1 of the dominant classes, each class alike, 0 to 1, higher is better; classes on neither side are left
    out.

    Arguments and errors as for :func:`accuracy`.

    >>> macro_f1([[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.4, 0.6]]) == (2 / 3 + 0) / 2
    True
    """
    hits, named, support = _confusions(predictions, references, ties)
    there = named + support > 0
    return float((2.0 * hits[there] / (named + support)[there]).mean()) if there.any() else math.nan


def smoothed_labels(shares: ArrayLike, smoothing: float = 0.05) -> FloatArray:
    """Soft labels smoothed as those of EMO-SUPERB are (Wu et al. 2024, arXiv 2402.13018).

    A listener counts for the label that was given with ``1 - smoothing``, and for each of the K - 1 others with
    ``smoothing / (K - 1)``. With K = 6 that is ``0.94 * share + 0.01``. A share of 1/K stays what it is. The rule was
    read off the released labels of its corpora with 4, 6, 9 and 10 emotions.

    Args:
        shares: Distributions (N, K) or (K,).
        smoothing: How much of a vote is given away, at least 0 and under 1.

    Returns:
        float64 array of the same shape.

    Raises:
        ValueError: A row is not a distribution, or the smoothing is out of range.

    Example:
        >>> smoothed_labels([0.4, 0.6, 0.0, 0.0, 0.0, 0.0]).round(3)
        array([0.386, 0.574, 0.01 , 0.01 , 0.01 , 0.01 ])
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing={smoothing} is out of range. Mend: at least 0 and under 1; EMO-SUPERB's is 0.05.")
    rows = checked_rows(shares, "shares")
    return np.asarray((1.0 - smoothing) * rows + smoothing / (rows.shape[-1] - 1) * (1.0 - rows))


def multilabel_macro_f1(predictions: ArrayLike, references: ArrayLike, threshold: float | None = None) -> float:
    """Mean over the classes of the F1 of "this emotion is there", each class alike, 0 to 1, higher is better.

    An emotion is there where its share is over the threshold, 1/K by default (a share of just 1/K is not), in the
    prediction as in the reference: the macro-F1 of EMO-SUPERB (Wu et al. 2024, arXiv 2402.13018). Several emotions can
    be there at once, or, where all shares are 1/K, none. Classes that are nowhere are left out.

    Args:
        predictions: Distributions (N, K).
        references: Distributions (N, K).
        threshold: The share that is to be exceeded.

    Returns:
        The mean; NaN where no class is anywhere.

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
        >>> multilabel_macro_f1([[0.6, 0.4, 0.0], [0.8, 0.1, 0.1]], [[0.5, 0.5, 0.0], [0.4, 0.6, 0.0]])
        0.8333333333333333
    """
    p, q = (np.atleast_2d(rows) for rows in checked_pair(predictions, references, ("predictions", "references")))
    # rounding must not lift a share of 1/K over it
    least = (1.0 / p.shape[-1] if threshold is None else threshold) + 1e-9
    there, true = p > least, q > least
    both = (there.sum(axis=0) + true.sum(axis=0)).astype(np.float64)
    hits = (there & true).sum(axis=0)
    return float((2.0 * hits[both > 0] / both[both > 0]).mean()) if both.any() else math.nan


def weighted_f1(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Mean F1 of the dominant classes, each weighted by its number of reference rows, 0 to 1, higher is better.

    Arguments and errors as for :func:`accuracy`.

    >>> weighted_f1([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]])
    1.0
    """
    hits, named, support = _confusions(predictions, references, ties)
    f1 = 2.0 * hits / np.maximum(named + support, 1.0)
    return float((f1 * support).sum() / support.sum()) if support.any() else math.nan


def unweighted_average_recall(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """UAR: mean recall of the dominant classes, each class alike (Schuller et al. 2009, Interspeech Emotion Challenge),
    higher is better.

    0 to 1; a constant prediction gets 1 over the number of classes. Classes without a reference row are left out.
    Arguments and errors as for :func:`accuracy`.

    >>> unweighted_average_recall([[0.9, 0.1]] * 3, [[0.6, 0.4], [0.4, 0.6], [0.3, 0.7]])
    0.5
    """
    hits, _, support = _confusions(predictions, references, ties)
    there = support > 0
    return float((hits[there] / support[there]).mean()) if there.any() else math.nan


def entropy_error(predictions: ArrayLike, references: ArrayLike, base: float = 2) -> FloatArray:
    """Entropy of each prediction minus that of its reference, in bits by default; 0 is best, below 0 the prediction is
    too sharp.

    Range: minus to plus ``log_base(K)``. The entropy of shares of n votes is too low, by about ``(K - 1) / (2 n ln 2)``
    bits (Miller 1955), so that a perfect prediction lies above 0.

    Args:
        predictions: Distributions (N, K) or (K,).
        references: Distributions of the same shape.
        base: Base of the logarithm.

    Returns:
        float64 array (N,), or of shape ().

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
        >>> entropy_error([[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.5]])
        array([-1.,  0.])
    """
    p, q = checked_pair(predictions, references, ("predictions", "references"))
    return np.asarray(entropy(p, base) - entropy(q, base))


def entropy_correlation(
    predictions: ArrayLike, references: ArrayLike, method: Literal["pearson", "spearman"] = "pearson"
) -> float:
    """Correlation over the rows between the entropy of predictions and of references: is it known *where* listeners
    disagree?

    -1 to 1, higher is better; 0 without relation. NaN with fewer than two rows, or where either entropy is the same in
    every row.

    Args:
        predictions: Distributions (N, K).
        references: Distributions (N, K).
        method: ``"pearson"``, or ``"spearman"`` (of the ranks, equal values sharing their mean rank).

    Returns:
        The correlation.

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
        >>> p, q = [[0.5, 0.5], [0.9, 0.1], [1.0, 0.0]], [[0.6, 0.4], [0.8, 0.2], [1.0, 0.0]]
        >>> round(entropy_correlation(p, q, "spearman"), 6)
        1.0
    """
    check_choice("method", method, ("pearson", "spearman"))
    p, q = (np.atleast_2d(rows) for rows in checked_pair(predictions, references, ("predictions", "references")))
    # rounded, so that the order of summing does not tell equal entropies apart
    first, second = np.round(entropy(p), 12), np.round(entropy(q), 12)
    if method == "spearman":
        first, second = _mean_ranks(first), _mean_ranks(second)
    if len(first) < 2 or np.ptp(first) == 0 or np.ptp(second) == 0:
        return math.nan
    return float(np.clip(np.corrcoef(first, second)[0, 1], -1.0, 1.0))


def _mean_ranks(values: FloatArray) -> FloatArray:
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    return np.asarray((np.cumsum(sizes) - (sizes - 1) / 2.0)[group])


def expected_calibration_error(
    predictions: ArrayLike,
    references: ArrayLike,
    num_bins: int = 10,
    kind: Literal["all", "classwise", "top"] = "all",
) -> float:
    """Expected calibration error for soft labels, lower is better, 0 to 1.

    The (row, class) pairs are cut by predicted probability into bins of equal width over 0 to 1, and the error is
    ``sum(share of pairs in the bin * |mean prediction - mean human share|)``. The mean human share takes the place of
    the accuracy of hard labels (Guo et al. 2017, arXiv 1706.04599): shares of few votes are noisy but right on average,
    so no bin needs many votes a row. Few *rows* a bin bias it upwards, and a constant prediction of the mean shares
    scores 0: read it beside a score that rewards telling rows apart.

    Args:
        predictions: Distributions (N, K).
        references: Distributions of human votes (N, K).
        num_bins: Number of bins; the last one includes 1. arXiv 2601.14620 uses 10.
        kind: ``"all"`` pools the classes; ``"classwise"`` is the mean of each class's own error (Kull et al. 2019,
            arXiv 1910.12656); ``"top"`` takes only the predicted dominant class of each row, with the share of
            listeners who agree as its accuracy.

    Returns:
        The error.

    Raises:
        ValueError: The shapes are not (N, K) or differ, a row is not a distribution, or there is no bin.

    Example:
        >>> round(expected_calibration_error([[0.9, 0.1], [0.9, 0.1]], [[1.0, 0.0], [0.5, 0.5]]), 6)
        0.15
    """
    check_choice("kind", kind, ("all", "classwise", "top"))
    p, q = checked_pair(predictions, references, ("predictions", "references"))
    if p.ndim != 2 or not len(p) or num_bins < 1:
        raise ValueError(f"Need rows (N, K) and at least one bin, got the shape {p.shape} and {num_bins} bins.")
    if kind == "classwise":
        return float(np.mean([_binned_error(p[:, k], q[:, k], num_bins) for k in range(p.shape[1])]))
    if kind == "top":
        top = dominant(p)[:, None]
        p, q = np.take_along_axis(p, top, axis=1), np.take_along_axis(q, top, axis=1)
    return _binned_error(p.ravel(), q.ravel(), num_bins)


def _binned_error(p: FloatArray, q: FloatArray, num_bins: int) -> float:
    bins = np.minimum((p * num_bins).astype(np.int64), num_bins - 1)
    gaps = np.bincount(bins, weights=p - q, minlength=num_bins)
    return float(np.abs(gaps).sum() / len(p))
