"""Divergences and distances between predicted and reference distributions, one figure a row, and R².

The measures of Label Distribution Learning (Geng 2016, IEEE TKDE 28, arXiv 1408.6027, table 1) are all here.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from ..distributions import check_choice
from .checking import FloatArray, by_chunk, checked_pair, log_base

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


def chebyshev_distance(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Chebyshev distance ``max |p - q|`` of each pair of rows (Geng 2016), lower is better, 0 to 1.

    Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> chebyshev_distance([[1.0, 0.0, 0.0], [0.5, 0.5, 0.0]], [[0.0, 1.0, 0.0], [0.25, 0.5, 0.25]])
    array([1.  , 0.25])
    """
    return by_chunk(lambda x, y: np.abs(x - y).max(axis=-1), p, q)


def _relative(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return |x - y| / (x + y), 0 where both are 0."""
    total = x + y
    return np.divide(np.abs(x - y), total, out=np.zeros_like(x), where=total > 0)


def clark_distance(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Clark distance ``sqrt(sum(((p - q) / (p + q)) ** 2))`` of each pair of rows (Geng 2016), lower is better, 0 to
    sqrt(K).

    A label with no mass on either side adds 0. Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> float(clark_distance([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])) == 2**0.5
    True
    """
    return by_chunk(lambda x, y: np.sqrt((_relative(x, y) ** 2).sum(axis=-1)), p, q)


def canberra_metric(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Canberra metric ``sum(|p - q| / (p + q))`` of each pair of rows (Geng 2016), lower is better, 0 to K.

    A label with no mass on either side adds 0. Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> float(canberra_metric([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    2.0
    """
    return by_chunk(lambda x, y: _relative(x, y).sum(axis=-1), p, q)


def cosine_similarity(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Cosine of the angle between each pair of rows (Geng 2016), higher is better, 0 (no shared label) to 1.

    Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> cosine_similarity([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]]).round(12)
    array([0., 1.])
    """

    def cosine(x: FloatArray, y: FloatArray) -> FloatArray:
        dot = np.einsum("nk,nk->n", x, y)
        norms = np.einsum("nk,nk->n", x, x) * np.einsum("nk,nk->n", y, y)
        return np.minimum(dot / np.sqrt(norms), 1.0)

    return by_chunk(cosine, p, q)


def intersection_similarity(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Mass that each pair of rows shares, ``sum(min(p, q))`` (Geng 2016), higher is better, 0 to 1 (equal).

    It is 1 minus the total variation distance. Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> intersection_similarity([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.25, 0.75]])
    array([0.  , 0.75])
    """
    return by_chunk(lambda x, y: np.minimum(np.minimum(x, y).sum(axis=-1), 1.0), p, q)


def brier_score(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Squared error ``sum((p - q) ** 2)`` of each pair of rows (Brier 1950, for distributions), lower is better, 0 to
    2.

    Against shares of few votes it also counts the noise of the votes: see
    :func:`hf_emo_dist.scores.unbiased_brier_score`. Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> brier_score([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]])
    array([2., 0.])
    """

    def squared(x: FloatArray, y: FloatArray) -> FloatArray:
        difference = x - y
        return np.einsum("nk,nk->n", difference, difference)

    return by_chunk(squared, p, q)


def r2_score(p: ArrayLike, q: ArrayLike, average: Literal["classes", "none"] = "classes") -> FloatArray:
    """Coefficient of determination of the shares of each class, ``1 - sum((q - p)**2) / sum((q - mean(q))**2)`` over
    the rows.

    From minus infinity to 1, higher is better: 0 is what the mean share of the scored rows gets. As scikit-learn's
    ``r2_score`` with ``multioutput``, but a class whose share is the same in every row has nothing to explain and is
    NaN, not 0 or 1.

    Args:
        p: Predicted distributions (N, K).
        q: Reference distributions (N, K).
        average: ``"classes"`` gives the plain mean over the classes that vary; ``"none"`` one figure a class.

    Returns:
        float64 of shape (), NaN where no class varies; or (K,) with ``average="none"``.

    Raises:
        ValueError: The shapes are not (N, K), or a row is not a distribution.

    Example:
        >>> r2_score([[0.9, 0.1], [0.1, 0.9]], [[1.0, 0.0], [0.0, 1.0]], average="none").round(2)
        array([0.96, 0.96])
    """
    check_choice("average", average, ("classes", "none"))
    x, y = checked_pair(p, q)
    if x.ndim != 2:
        raise ValueError(f"`p` and `q` must have the shape (N, K), got {x.shape}.")
    spread = ((y - y.mean(axis=0)) ** 2).sum(axis=0)
    # equal shares of a rounded sum may differ in the last digit
    varies = spread > 1e-24 * max(len(y), 1)
    scores = np.full(x.shape[1], math.nan)
    scores[varies] = 1.0 - ((y - x) ** 2).sum(axis=0)[varies] / spread[varies]
    if average == "none":
        return scores
    return np.asarray(scores[varies].mean() if varies.any() else math.nan)
