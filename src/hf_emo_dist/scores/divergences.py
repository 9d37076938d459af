"""Divergences between predicted and reference distributions, one figure a row: JS and its distance, KL,
Bhattacharyya.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from .checking import FloatArray, by_chunk, log_base

# Added to both sides of a ratio: 0/0 becomes 1 and 0/y a finite logarithm, which a factor of 0 then removes.
_TINY = 1e-300


def jensen_shannon_divergence(p: ArrayLike, q: ArrayLike, base: float = 2) -> FloatArray:
    """Jensen-Shannon divergence of each pair of rows (Lin 1991, doi:10.1109/18.61115), lower is better.

    ``(KL(p, m) + KL(q, m)) / 2`` with ``m = (p + q) / 2``. Symmetric, always finite, 0 for equal rows and
    ``log_base(2)`` (1 in base 2) for rows that share no label. It is the square of SciPy's ``jensenshannon``, which is
    the distance.

    Args:
        p: Distributions (N, K) or (K,).
        q: Distributions of the same shape.
        base: Base of the logarithm.

    Returns:
        float64 array (N,), or of shape ().

    Raises:
        ValueError: The shapes differ, or a row is not a distribution; the message names the row.

    Example:
        >>> jensen_shannon_divergence([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]])
        array([1., 0.])
    """
    scale = 0.5 / log_base(base)
    top = 2.0 * math.log(2.0)

    def divergence(x: FloatArray, y: FloatArray) -> FloatArray:
        middle = 0.5 * (x + y)
        middle += _TINY
        total = np.einsum("nk,nk->n", x, _log_ratio(x, middle))
        total += np.einsum("nk,nk->n", y, _log_ratio(y, middle))
        return np.asarray(np.clip(total, 0.0, top) * scale)

    return by_chunk(divergence, p, q)


def _log_ratio(x: FloatArray, shifted: FloatArray) -> FloatArray:
    """Return ln(x / y) for `shifted` = y + _TINY."""
    ratio = x + _TINY
    ratio /= shifted
    return np.asarray(np.log(ratio, out=ratio))


def jensen_shannon_distance(p: ArrayLike, q: ArrayLike, base: float = 2) -> FloatArray:
    """Square root of the Jensen-Shannon divergence of each pair of rows, a metric (Endres and Schindelin 2003,
    doi:10.1109/TIT.2003.813506).

    From 0 (equal) to ``sqrt(log_base(2))``, lower is better. Arguments and errors as for
    :func:`jensen_shannon_divergence`. arXiv 2601.14620 reports it by ambiguity in base e.

    >>> float(jensen_shannon_distance([1.0, 0.0], [0.0, 1.0]))
    1.0
    """
    return np.asarray(np.sqrt(jensen_shannon_divergence(p, q, base)))


def kl_divergence(p: ArrayLike, q: ArrayLike, base: float = 2, epsilon: float = 0.0) -> FloatArray:
    """Kullback-Leibler divergence ``sum(p * log(p / q))`` of each pair of rows, `p` being the reference (Kullback and
    Leibler 1951).

    From 0 (equal) to infinity, lower is better; not symmetric. Also one of the six measures of Label Distribution
    Learning (Geng 2016, arXiv 1408.6027), there in nats.

    Args:
        p: Distributions (N, K) or (K,).
        q: Distributions of the same shape.
        base: Base of the logarithm.
        epsilon: Floor under `q`. With 0 a row is infinite where `q` denies what `p` allows.

    Returns:
        float64 array (N,), or of shape (), not negative.

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
        >>> kl_divergence([[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5], [1.0, 0.0]])
        array([ 1., inf])
    """
    scale = log_base(base)

    def divergence(x: FloatArray, y: FloatArray) -> FloatArray:
        with np.errstate(divide="ignore", over="ignore"):
            ratio = np.divide(x, np.maximum(y, epsilon), out=np.ones_like(x), where=x > 0)
            return np.asarray(np.maximum((x * np.log(ratio)).sum(axis=-1), 0.0) / scale)

    return by_chunk(divergence, p, q)


def bhattacharyya_coefficient(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Bhattacharyya coefficient ``sum(sqrt(p * q))`` of each pair of rows (Bhattacharyya 1943), higher is better.

    From 0 (no shared label) to 1 (equal rows). Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> bhattacharyya_coefficient([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]])
    array([0., 1.])
    """
    # sqrt(p) * sqrt(q), because the product of two tiny numbers would vanish.
    return by_chunk(lambda x, y: np.minimum((np.sqrt(x) * np.sqrt(y)).sum(axis=-1), 1.0), p, q)
