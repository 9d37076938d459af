"""Is what is predicted as 30 % heard by 30 % of the listeners?"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..distributions import check_choice, dominant
from .checking import FloatArray, checked_pair


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
