"""Agreement of raters beyond chance, from counts of votes."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checking import FloatArray, checked_counts


def _rows_with_pairs(counts: ArrayLike) -> FloatArray:
    votes = checked_counts(counts, whole=True)
    if votes.ndim != 2:
        raise ValueError(f"`counts` must have the shape (N, K), got {votes.shape}.")
    return votes[votes.sum(axis=1) >= 2]


def observed_agreement(counts: ArrayLike) -> FloatArray:
    """Share of the pairs of raters of each row who agree, ``sum(c * (c - 1)) / (n * (n - 1))``, 0 to 1, higher is more
    agreement.

    Args:
        counts: Votes (N, K), whole.

    Returns:
        float64 array (N,); NaN for a row with fewer than 2 votes.

    Raises:
        ValueError: The counts are not whole, or not (N, K).

    Example:
        >>> observed_agreement([[3, 0], [2, 2], [1, 0]]).round(3)
        array([1.   , 0.333,   nan])
    """
    votes = np.atleast_2d(checked_counts(counts, whole=True))
    number = votes.sum(axis=1)
    pairs = number * (number - 1)
    return np.divide((votes * (votes - 1)).sum(axis=1), pairs, out=np.full(len(votes), np.nan), where=pairs > 0)


def fleiss_kappa(counts: ArrayLike) -> float:
    """Fleiss' kappa (Fleiss 1971, doi:10.1037/h0031619), higher is more agreement: 1 complete, 0 as by chance, below 0
    less.

    ``(P - P_e) / (1 - P_e)``: P is the mean over the rows of the share of agreeing pairs of raters, P_e the sum of the
    squared shares of the classes over all votes. **Unequal numbers of raters**: each row's agreement is over its own
    pairs, each row counts alike in P, and each vote alike in P_e; with equal numbers this is Fleiss's formula. Rows
    with fewer than 2 votes are left out.

    Args:
        counts: Votes (N, K), whole.

    Returns:
        From ``-1 / (n - 1)`` (for n raters a row) to 1; NaN where no row has 2 votes, or where all votes are for one
        class.

    Raises:
        ValueError: The counts are not whole, or not (N, K).

    Example:
        >>> round(fleiss_kappa([[3, 0], [0, 3], [2, 1]]), 4)
        0.55
    """
    votes = _rows_with_pairs(counts)
    if not len(votes):
        return math.nan
    shares = votes.sum(axis=0) / votes.sum()
    chance = float((shares**2).sum())
    if chance >= 1.0:
        return math.nan
    return float((observed_agreement(votes).mean() - chance) / (1.0 - chance))


def krippendorff_alpha(counts: ArrayLike) -> float:
    """Krippendorff's alpha for nominal data (Krippendorff 2011, "Computing Krippendorff's alpha-reliability"), higher
    is more agreement.

    ``1 - D_o / D_e`` over the pairable votes: D_o is the share of disagreeing pairs within rows, D_e that among all
    votes without replacement. 1 is complete agreement, 0 as by chance, below 0 less. **Unequal numbers of raters** are
    what it is made for: a row of n votes has n (n - 1) ordered pairs, each weighing 1 / (n - 1), so that each vote
    counts alike. Rows with fewer than 2 votes are left out.

    Args:
        counts: Votes (N, K), whole.

    Returns:
        From somewhat below 0 to 1; NaN where no row has 2 votes, or where all votes are for one class.

    Raises:
        ValueError: The counts are not whole, or not (N, K).

    Example:
        >>> round(krippendorff_alpha([[3, 0], [0, 3], [2, 1]]), 4)
        0.6
    """
    votes = _rows_with_pairs(counts)
    number = votes.sum(axis=1)
    total = number.sum()
    if not len(votes):
        return math.nan
    classes = votes.sum(axis=0)
    expected = 1.0 - (classes * (classes - 1)).sum() / (total * (total - 1))
    if expected <= 0:
        return math.nan
    agreeing = ((votes * (votes - 1)).sum(axis=1) / (number - 1)).sum() / total
    return float(1.0 - (1.0 - agreeing) / expected)
