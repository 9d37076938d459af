"""The Dirichlet-multinomial likelihood of votes, and how much listeners agree: values and gradients in closed form."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatArray = NDArray[np.float64]

#: Votes of a row for one emotion that are still taken one by one; beyond it, memory would grow with them.
MOST_ONE_BY_ONE = 1000


class VoteLikelihood:
    """Log-likelihood of the rows' votes, as a function of each row's Dirichlet parameters.

    ``sum_k [lnG(a_k + h_k) - lnG(a_k)] - [lnG(A + n) - lnG(A)]`` a row (Minka 2000, "Estimating a Dirichlet
    distribution", eq. 53); the multinomial coefficient, which does not depend on the parameters, is left out. Whole
    votes are taken one by one, ``ln(a_k) + ln(a_k + 1) + ...``, which is many times as fast as the gamma function;
    votes with weights (a rater who gives several tags) go through it.

    Args:
        votes: Human votes (N, K), not negative.
    """

    def __init__(self, votes: FloatArray) -> None:
        self.shape = votes.shape
        self.number = votes.sum(axis=1)
        self.whole = bool((votes == np.round(votes)).all() and votes.max(initial=0.0) <= MOST_ONE_BY_ONE)
        row, column = np.nonzero(votes)
        amount = votes[row, column]
        flat = row * votes.shape[1] + column
        if self.whole:
            # one entry a vote: the cell that it falls into, and how many votes fell into it before
            times = amount.astype(np.int64)
            self._cell = np.repeat(flat, times)
            self._before = _counting(times)
            rows = self.number.astype(np.int64)
            self._row, self._before_in_row = np.repeat(np.arange(len(votes)), rows), _counting(rows)
        else:
            self._cell, self._amount = flat, amount

    def value(self, alpha: FloatArray) -> FloatArray:
        """Log-likelihood of each row in nats, (N,), for Dirichlet parameters (N, K)."""
        return self.value_and_gradient(alpha)[0]

    def value_and_gradient(self, alpha: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Log-likelihood of each row (N,) and its derivatives by the row's parameters (N, K)."""
        rows, total = len(alpha), alpha.sum(axis=1)
        row_of = self._cell // self.shape[1]
        if self.whole:
            up, down = alpha.ravel()[self._cell] + self._before, total[self._row] + self._before_in_row
            value = sums_by(row_of, np.log(up), rows) - sums_by(self._row, np.log(down), rows)
            gradient = sums_by(self._cell, 1.0 / up, alpha.size).reshape(alpha.shape)
            return value, gradient - sums_by(self._row, 1.0 / down, rows)[:, None]
        from scipy.special import digamma, gammaln

        held = alpha.ravel()[self._cell]
        value = sums_by(row_of, gammaln(held + self._amount) - gammaln(held), rows)
        value -= gammaln(total + self.number) - gammaln(total)
        gradient = sums_by(self._cell, digamma(held + self._amount) - digamma(held), alpha.size)
        return value, np.asarray(
            gradient.reshape(alpha.shape) - (digamma(total + self.number) - digamma(total))[:, None]
        )


def row_products(left: FloatArray, right: FloatArray) -> FloatArray:
    """Scalar product of each pair of rows, (N,): several times as fast as multiplying and summing few columns."""
    return np.asarray(np.einsum("nk,nk->n", left, right))


def sums_by(index: NDArray[np.int64], values: FloatArray, size: int) -> FloatArray:
    """The sum of the values of each index, (size,)."""
    return np.asarray(np.bincount(index, values, size), dtype=np.float64)


def _counting(times: NDArray[np.int64]) -> FloatArray:
    """0, 1, ... up to each number, joined."""
    ends = np.cumsum(times)
    return (np.arange(ends[-1] if len(ends) else 0) - np.repeat(ends - times, times)).astype(np.float64)


def agreement(alpha: FloatArray) -> tuple[float, FloatArray]:
    """How much two listeners of one clip agree beyond chance, and its derivatives by the parameters (N, K).

    Under the rows' Dirichlet distributions with means m and totals A, the variance of the clips' distributions over the
    corpus is that of m plus the mean of ``(1 - |m|**2) / (A + 1)`` (law of total variance); divided by that of a single
    vote it is Fleiss' kappa. For one Dirichlet distribution over all clips it is ``1 / (A + 1)``.
    """
    rows, total = len(alpha), alpha.sum(axis=1)
    mean = alpha / total[:, None]
    overall = mean.mean(axis=0)
    square = row_products(mean, mean)
    chance = 1.0 - (overall**2).sum()
    within = ((1.0 - square) / (total + 1.0)).mean()
    between = square.mean() - (overall**2).sum()
    kappa = (within + between) / chance
    by_square = 2.0 * (mean - square[:, None]) / total[:, None] / rows
    by_overall = 2.0 * (overall - (mean @ overall)[:, None]) / total[:, None] / rows
    gradient = by_square * (1.0 - 1.0 / (total + 1.0))[:, None]
    gradient = gradient - ((1.0 - square) / (total + 1.0) ** 2 / rows)[:, None]
    return float(kappa), (gradient - by_overall + kappa * by_overall) / chance


def agreement_penalty(alpha: FloatArray, expected: float, spread: float) -> tuple[float, FloatArray]:
    """Half the squared distance of `agreement` from what is expected, on the logit scale in units of `spread`."""
    kappa, gradient = agreement(alpha)
    kappa = min(max(kappa, 1e-9), 1.0 - 1e-9)
    away = (np.log(kappa / (1.0 - kappa)) - np.log(expected / (1.0 - expected))) / spread
    return 0.5 * away**2, gradient * (away / spread / (kappa * (1.0 - kappa)))
