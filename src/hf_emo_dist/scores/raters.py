"""How far shares of votes are from the distribution behind them by the chance of who was asked, also where raters give
several tags.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from .checking import FloatArray, checked_counts


def checked_squares(counts: FloatArray, rater_squares: ArrayLike | None) -> FloatArray:
    """The sums of squares (N, 2) of the raters of counts (N, K): those given, else those of one whole vote a rater.

    Of a row with votes that are not whole, and of which nothing was given, they are not known: NaN.
    """
    number = counts.sum(axis=1)
    if rater_squares is None:
        whole = (counts == np.round(counts)).all(axis=1)
        return np.repeat(np.where(whole, number, np.nan)[:, None], 2, axis=1)
    squares = np.atleast_2d(np.asarray(rater_squares, dtype=np.float64))
    if squares.shape != (len(counts), 2):
        raise ValueError(
            f"`rater_squares` of shape {squares.shape} do not fit {len(counts)} rows. Mend: give the (N, 2) numbers of "
            "rater_squares(votes, weights, raters)."
        )
    # a rater's own squares cannot be more than the square of what the rater gave in all
    if not np.isfinite(squares).all() or (squares < 0).any() or (squares[:, 1] > squares[:, 0] * (1 + 1e-4)).any():
        raise ValueError(
            "`rater_squares` must be finite, not negative, and their second number at most their first. Mend: make "
            "them with rater_squares(votes, weights, raters)."
        )
    return squares


def share_noise(counts: ArrayLike, rater_squares: ArrayLike | None = None) -> FloatArray:
    """Estimate, without bias, the squared distance of each row's shares to the distribution behind them.

    For raters r who are drawn independently, each with a vector of votes ``t_r`` that sums to ``w_r``, shares ``f =
    sum(t_r) / sum(w_r)``, ``A = sum(w_r**2) / sum(w_r)**2`` and ``B = sum(|t_r|**2) / sum(w_r)**2``, the expectation of
    ``|f - q|**2`` is ``A (E|u|**2 - |q|**2)`` (u being one rater's shares, q their expectation), and ``(B - A |f|**2) /
    (1 - A)`` has just this expectation. With one whole vote a rater it is the known ``(1 - |f|**2) / (n - 1)``. A rater
    who splits a vote over several tags is less noisy than one who gives one tag, and by how much is in B.

    Args:
        counts: Votes (N, K).
        rater_squares: ``sum(w_r**2)`` and ``sum(|t_r|**2)`` of each row, (N, 2), as
            :func:`hf_emo_dist.votes.rater_squares` gives them. Default: every rater gave one whole vote.

    Returns:
        float64 array (N,); NaN for a row with fewer than 2 raters, and for one with votes that are not whole whose
        `rater_squares` are not given.

    Raises:
        ValueError: A count is negative or not finite, or the squares do not fit.

    Example:
        >>> share_noise([[2, 1], [1.5, 0.5]], [[3, 3], [2, 1.5]]).round(3)
        array([0.222, 0.125])
    """
    votes = np.atleast_2d(checked_counts(counts))
    alike, split = _relative_squares(votes, checked_squares(votes, rater_squares))
    several = alike < 1.0 - 1e-6
    result = np.full(len(votes), np.nan)
    shares = votes[several] / votes[several].sum(axis=1, keepdims=True)
    same = (shares**2).sum(axis=1)
    result[several] = (split[several] - alike[several] * same) / (1.0 - alike[several])
    return result


def effective_votes(counts: ArrayLike, rater_squares: ArrayLike | None = None) -> FloatArray:
    """Votes (N, K) with the shares of the given ones, as many as whole votes of one tag each would be as noisy.

    Where every rater gives one whole vote these are the votes themselves. Else a row has ``rho / A`` votes (A as for
    :func:`share_noise`): `rho`, the same for all rows, is how much noisier whole votes would be than these raters are,
    ``sum(A (1 - |q|**2)) / sum(A (E|u|**2 - |q|**2))`` with both sums estimated from the rows. It is one number, since
    a rater who could have split a vote is as steady where no vote was split.

    Arguments and errors as for :func:`share_noise`. Rows whose `rater_squares` are not known have no votes here.
    """
    votes = np.atleast_2d(checked_counts(counts))
    squares = checked_squares(votes, rater_squares)
    number = votes.sum(axis=1)
    known = (number > 0) & np.isfinite(squares).all(axis=1)
    result = np.where(known[:, None], votes, 0.0)
    if (squares[known] == number[known, None]).all():
        return result
    alike, _ = _relative_squares(votes, squares)
    noise = share_noise(votes, squares)
    several = np.isfinite(noise)
    shares = votes[several] / number[several, None]
    if_whole = alike[several] * np.maximum(1.0 - (shares**2).sum(axis=1) + noise[several], 0.0)
    steadier = max(if_whole.sum() / noise[several].sum(), 1.0) if noise[several].sum() > 0 else 1.0
    result[known] *= (steadier / (alike[known] * number[known]))[:, None]
    return result


def _relative_squares(votes: FloatArray, squares: FloatArray) -> tuple[FloatArray, FloatArray]:
    """A and B of each row, 1 where it has no votes or they are not known."""
    number = votes.sum(axis=1)
    known = (number > 0) & np.isfinite(squares).all(axis=1)
    total = np.where(known, number, 1.0) ** 2
    return np.where(known, squares[:, 0] / total, 1.0), np.where(known, squares[:, 1] / total, 1.0)
