"""Curves over the number of votes: the exponential of arXiv 2601.14620 and a + b/n, fitted to many curves at once."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["CurveFit", "fit_exponential", "fit_hyperbola", "saturation_point"]

FloatArray = NDArray[np.float64]

# Rates that are tried: from a curve that has hardly begun to bend within 100 votes to one that is flat after the first vote.
_RATES = np.geomspace(0.005, 8.0, 120)


@dataclass(frozen=True)
class CurveFit:
    """``y = a + b * shape(n)`` for each of S curves.

    Attributes:
        a: (S,) the asymptote.
        b: (S,).
        c: (S,) the rate of the exponential ``exp(-c * n)``, or NaN for the hyperbola ``1 / n``.
        error: (S,) root mean square of the residuals.
    """

    a: FloatArray
    b: FloatArray
    c: FloatArray
    error: FloatArray

    def at(self, n: ArrayLike) -> FloatArray:
        """The fitted curves (S, M) at M numbers of votes."""
        x = np.asarray(n, dtype=np.float64)
        shape = np.where(np.isnan(self.c)[:, None], 1.0 / x, np.exp(-np.nan_to_num(self.c)[:, None] * x))
        return np.asarray(self.a[:, None] + self.b[:, None] * shape)

    def relative_point(self, share: float = 0.1) -> FloatArray:
        """First number of votes (real) at which the curve is within `share` of its range, from one vote to the asymptote, of the asymptote.

        For the exponential ``1 - ln(share) / c``. For ``a + b/n`` it is ``1 / share`` whatever the data: such a curve has no
        saturation point of its own.
        """
        return np.where(np.isnan(self.c), 1.0 / share, 1.0 - math.log(share) / self.c)

    def absolute_point(self, tolerance: float = 0.01) -> FloatArray:
        """First number of votes (real, at least 1) at which the curve is within `tolerance` of its asymptote."""
        size = np.abs(self.b) / tolerance
        with np.errstate(divide="ignore"):
            exponential = np.log(np.maximum(size, 1e-300)) / self.c
        return np.maximum(np.where(np.isnan(self.c), size, exponential), 1.0)


def fit_hyperbola(n: ArrayLike, curves: ArrayLike) -> CurveFit:
    """Least squares of ``a + b/n``, what the mean of n independent votes does to first order.

    Args:
        n: (M,) numbers of votes.
        curves: (M,) or (S, M).

    Example:
        >>> fit = fit_hyperbola([1, 2, 4], [[1.5, 1.0, 0.75]])
        >>> float(fit.a[0].round(6)), float(fit.b[0].round(6))
        (0.5, 1.0)
    """
    x, y = np.asarray(n, dtype=np.float64), np.atleast_2d(np.asarray(curves, dtype=np.float64))
    a, b, rss = _line(np.broadcast_to(1.0 / x, y.shape), y)
    return CurveFit(a, b, np.full(len(y), math.nan), np.sqrt(rss / y.shape[1]))


def fit_exponential(n: ArrayLike, curves: ArrayLike) -> CurveFit:
    """Least squares of ``a + b * exp(-c * n)``, the paper's ``a - b * exp(-c * n)`` with the sign left to the data.

    For each rate c the best a and b are known in closed form; c is searched over 0.005 to 8 a vote, first coarsely and then three times more closely.

    Args:
        n: (M,) numbers of votes, at least 3.
        curves: (M,) or (S, M).

    Raises:
        ValueError: Fewer than 3 points.

    Example:
        >>> n = np.arange(1, 21)
        >>> fit = fit_exponential(n, 0.36 + 0.1 * np.exp(-0.4 * n))
        >>> float(fit.c[0].round(4)), float(fit.a[0].round(4)), float(fit.relative_point()[0].round(2))
        (0.4, 0.36, 6.76)
    """
    x, y = np.asarray(n, dtype=np.float64), np.atleast_2d(np.asarray(curves, dtype=np.float64))
    if len(x) < 3:
        raise ValueError(f"An exponential needs at least 3 numbers of votes, got {len(x)}. Mend: take more votes.")
    rates = np.broadcast_to(np.log(_RATES), (len(y), len(_RATES)))
    for _ in range(4):
        shapes = np.exp(-np.exp(rates)[:, :, None] * x)
        _, _, rss = _line(shapes, y[:, None, :])
        best = np.argmin(rss, axis=1)
        places = np.arange(len(y))
        step = rates[:, 1] - rates[:, 0]
        middle = rates[places, best]
        rates = middle[:, None] + step[:, None] * np.linspace(-1.0, 1.0, 21)
    c = np.exp(np.clip(middle, math.log(_RATES[0]), math.log(_RATES[-1])))
    a, b, rss = _line(np.exp(-c[:, None] * x), y)
    return CurveFit(a, b, c, np.sqrt(rss / y.shape[1]))


def _line(shape: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Return the least-squares a, b of ``a + b * shape`` over the last axis, and the sum of the squared residuals."""
    mean, level = shape.mean(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)
    spread = ((shape - mean) ** 2).sum(axis=-1)
    product = ((shape - mean) * (y - level)).sum(axis=-1)
    b = np.divide(product, spread, out=np.zeros_like(product), where=spread > 1e-300)
    a = level[..., 0] - b * mean[..., 0]
    rss = ((y - a[..., None] - b[..., None] * shape) ** 2).sum(axis=-1)
    return a, b, rss


def saturation_point(real: ArrayLike) -> NDArray[np.float64]:
    """The first whole number of votes at or beyond a real one.

    >>> saturation_point([6.0, 6.2])
    array([6., 7.])
    """
    return np.ceil(np.asarray(real, dtype=np.float64) - 1e-6)
