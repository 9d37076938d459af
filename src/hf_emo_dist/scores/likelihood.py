"""Scores of a predicted distribution on the votes themselves: proper, so that the true distribution is the best answer
whatever the number of votes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checking import EPSILON, FloatArray, checked_counts, checked_rows
from .divergences import brier_score
from .raters import share_noise


def log_likelihood_per_vote(p: ArrayLike, counts: ArrayLike, epsilon: float = EPSILON) -> FloatArray:
    """Mean log-likelihood, in nats a vote, of each row's votes under the predicted distribution (Good 1952), higher is
    better.

    ``sum(counts * ln(max(p, epsilon))) / sum(counts)``, from ``ln(epsilon)`` to 0. The floor keeps one denied vote from
    making it infinite; a vote costs at most ``-ln(epsilon)``, 16.1 nats by default. :func:`hf_emo_dist.compute_scores`
    reports the mean over votes, not over rows.

    Args:
        p: Predicted distributions (N, K) or (K,).
        counts: Votes of the same shape, not negative; weighted votes need not be whole.
        epsilon: Floor under `p`.

    Returns:
        float64 array (N,), or of shape (); NaN for a row without votes.

    Raises:
        ValueError: The shapes differ, a row of `p` is not a distribution, or a count is negative or not finite.

    Example:
        >>> log_likelihood_per_vote([[0.5, 0.5], [0.5, 0.5]], [[3, 1], [0, 0]])
        array([-0.69314718,         nan])
    """
    total, votes = log_likelihood(p, counts, epsilon)
    return np.divide(total, votes, out=np.full_like(total, np.nan), where=votes > 0)


def log_likelihood(p: ArrayLike, counts: ArrayLike, epsilon: float = EPSILON) -> tuple[FloatArray, FloatArray]:
    """Return each row's log-likelihood in nats and its number of votes."""
    predicted, votes = checked_rows(p, "p"), checked_counts(counts)
    if predicted.shape != votes.shape:
        raise ValueError(f"Predictions have the shape {predicted.shape} and counts {votes.shape}; they must be alike.")
    if not epsilon > 0:
        raise ValueError(f"`epsilon` must be over 0, got {epsilon}.")
    total = (votes * np.log(np.maximum(predicted, epsilon))).sum(axis=-1)
    return np.asarray(total), np.asarray(votes.sum(axis=-1))


def unbiased_brier_score(p: ArrayLike, counts: ArrayLike, rater_squares: ArrayLike | None = None) -> FloatArray:
    """Squared error to the distribution *behind* the votes, without the noise of the votes; lower is better.

    For n independent votes with shares ``f``, ``E|p - f|**2 = |p - q|**2 + (1 - |q|**2) / n`` where q is the true
    distribution (the multinomial variance), and ``(1 - |f|**2) / (n - 1)`` estimates that last term without bias. So
    ``|p - f|**2 - (1 - |f|**2) / (n - 1)`` has the expectation ``|p - q|**2`` for every n of at least 2 (the idea of
    Bröcker 2012, doi:10.1002/qj.1891, for the multinomial). It lies between -1 and 2; single rows can be below 0, the
    mean over many cannot be by more than chance. Where raters split their votes the noise is less, and
    :func:`hf_emo_dist.scores.raters.share_noise` estimates it, also without bias.

    Args:
        p: Predicted distributions (N, K) or (K,).
        counts: Votes of the same shape.
        rater_squares: Of each row's raters, (N, 2), as :func:`hf_emo_dist.votes.rater_squares` gives them. Default:
            every rater gave one whole vote.

    Returns:
        float64 array (N,), or of shape (); NaN for a row with fewer than 2 raters, and for one with votes that are not
        whole whose `rater_squares` are not given.

    Raises:
        ValueError: The shapes differ, a row of `p` is not a distribution, a count is negative or not finite, or the
            squares do not fit.

    Example:
        >>> unbiased_brier_score([[0.5, 0.5], [0.5, 0.5], [0.5, 0.5]], [[1, 1], [2, 0], [1, 0]]).round(3)
        array([-0.5,  0.5,  nan])
    """
    predicted, votes = np.atleast_2d(checked_rows(p, "p")), checked_counts(counts)
    rows = np.atleast_2d(votes)
    if predicted.shape != rows.shape:
        raise ValueError(f"Predictions have the shape {np.shape(p)} and counts {votes.shape}; they must be alike.")
    noise = share_noise(rows, rater_squares)
    enough = np.isfinite(noise)
    result = np.full(len(rows), np.nan)
    shares = rows[enough] / rows[enough].sum(axis=-1, keepdims=True)
    result[enough] = brier_score(predicted[enough], shares) - noise[enough]
    return result.reshape(votes.shape[:-1])
