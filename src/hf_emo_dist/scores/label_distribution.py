"""The measures of Label Distribution Learning (Geng 2016, IEEE TKDE 28, arXiv 1408.6027, table 1), and R², squared and
optimal-transport distances.

The sixth measure, KL, is :func:`hf_emo_dist.scores.kl_divergence`.
"""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .checking import FloatArray, by_chunk, checked_pair


def chebyshev_distance(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Chebyshev distance ``max |p - q|`` of each pair of rows (Geng 2016), lower is better, 0 to 1.

    Args:
        p: Distributions (N, K) or (K,).
        q: Distributions of the same shape.

    Returns:
        float64 array (N,), or of shape ().

    Raises:
        ValueError: The shapes differ, or a row is not a distribution.

    Example:
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

    A label with no mass on either side adds 0. Arguments and errors as for :func:`chebyshev_distance`.

    >>> float(clark_distance([1.0, 0.0, 0.0, 0.0], [0.0, 1.0, 0.0, 0.0])) == 2**0.5
    True
    """
    return by_chunk(lambda x, y: np.sqrt((_relative(x, y) ** 2).sum(axis=-1)), p, q)


def canberra_metric(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Canberra metric ``sum(|p - q| / (p + q))`` of each pair of rows (Geng 2016), lower is better, 0 to K.

    A label with no mass on either side adds 0. Arguments and errors as for :func:`chebyshev_distance`.

    >>> float(canberra_metric([1.0, 0.0, 0.0], [0.0, 1.0, 0.0]))
    2.0
    """
    return by_chunk(lambda x, y: _relative(x, y).sum(axis=-1), p, q)


def cosine_similarity(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Cosine of the angle between each pair of rows (Geng 2016), higher is better, 0 (no shared label) to 1.

    Arguments and errors as for :func:`chebyshev_distance`.

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

    It is 1 minus the total variation distance. Arguments and errors as for :func:`chebyshev_distance`.

    >>> intersection_similarity([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.25, 0.75]])
    array([0.  , 0.75])
    """
    return by_chunk(lambda x, y: np.minimum(np.minimum(x, y).sum(axis=-1), 1.0), p, q)


def brier_score(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Squared error ``sum((p - q) ** 2)`` of each pair of rows (Brier 1950, for distributions), lower is better, 0 to
    2.

    Against shares of few votes it also counts the noise of the votes: see
    :func:`hf_emo_dist.scores.unbiased_brier_score`. Arguments and errors as for :func:`chebyshev_distance`.

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
    if average not in ("classes", "none"):
        raise ValueError(f"`average` must be 'classes' or 'none', got {average!r}.")
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
