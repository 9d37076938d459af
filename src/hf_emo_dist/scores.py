"""Every figure over predicted and reference distributions, in NumPy.

Functions of two distributions take rows (N, K) and give (N,), or take (K,) and give an array of shape (). They compute
in float64 whatever comes in, and divide rows by their sums, so that rounding in float16 or float32 does no harm.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from hf_emo_dist.bootstrap import bootstrap_interval, paired_bootstrap
from hf_emo_dist.distributions import FloatArray, check_choice, dominant, dominant_ties, entropy

__all__ = [
    "EPSILON",
    "accuracy",
    "bhattacharyya_coefficient",
    "bootstrap_interval",
    "compute_scores",
    "entropy",
    "jensen_shannon_distance",
    "jensen_shannon_divergence",
    "kl_divergence",
    "log_likelihood_per_vote",
    "macro_f1",
    "paired_bootstrap",
    "weighted_f1",
]

#: Floor under predicted probabilities where a logarithm of them is reported as one figure.
EPSILON = 1e-7

Ties = Literal["first", "drop"]
# Rows computed at a time: the temporaries then stay in the processor's cache.
_CHUNK = 16384


def _rows(values: ArrayLike, name: str) -> FloatArray:
    """Return distributions as float64 whose rows sum to 1, or say which row is none."""
    try:
        array = np.asarray(values, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers, (N, K) or (K,) ({error}). "
            f"Mend: convert a column of structs with distributions_to_matrix(column, emotions)."
        ) from error
    if array.ndim not in (1, 2) or array.shape[-1] < 2:
        raise ValueError(f"`{name}` must have the shape (N, K) or (K,) with K of at least 2, got {array.shape}.")
    sums = array.sum(axis=-1, keepdims=True)
    # Written so that NaN counts as bad.
    if not (np.all(np.abs(sums - 1.0) <= 1e-2) and np.all(array >= 0)):
        good = (np.abs(sums[..., 0] - 1.0) <= 1e-2) & (array >= 0).all(axis=-1)
        row = int(np.flatnonzero(~np.atleast_1d(good))[0])
        raise ValueError(
            f"Row {row} of `{name}` is not a distribution: {np.atleast_2d(array)[row].tolist()}. "
            f"Mend: its numbers must not be negative and sum to 1 (for logits, apply softmax first)."
        )
    return np.asarray(array / sums)


def _pair(p: ArrayLike, q: ArrayLike, names: tuple[str, str] = ("p", "q")) -> tuple[FloatArray, FloatArray]:
    first, second = _rows(p, names[0]), _rows(q, names[1])
    if first.shape != second.shape:
        raise ValueError(
            f"`{names[0]}` has the shape {first.shape} and `{names[1]}` {second.shape}; they must be alike."
        )
    return first, second


def _by_chunk(function: Callable[[FloatArray, FloatArray], FloatArray], p: FloatArray, q: FloatArray) -> FloatArray:
    if p.ndim == 1 or len(p) <= _CHUNK:
        return np.asarray(function(p, q))
    return np.concatenate([function(p[at : at + _CHUNK], q[at : at + _CHUNK]) for at in range(0, len(p), _CHUNK)])


def _log_base(base: float) -> float:
    if not base > 0 or base == 1:
        raise ValueError(f"`base` of a logarithm must be over 0 and not 1, got {base}.")
    return math.log(base)


def _x_log_ratio(x: FloatArray, y: FloatArray) -> FloatArray:
    """Return x * ln(x / y), 0 where x is 0 and infinite where only y is."""
    with np.errstate(divide="ignore", over="ignore"):
        ratio = np.divide(x, y, out=np.ones_like(x), where=x > 0)
        return np.asarray(x * np.log(ratio))


def jensen_shannon_divergence(p: ArrayLike, q: ArrayLike, base: float = 2) -> FloatArray:
    """Jensen-Shannon divergence of each pair of rows (Lin 1991, doi:10.1109/18.61115).

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
    scale = _log_base(base)

    def divergence(x: FloatArray, y: FloatArray) -> FloatArray:
        middle = 0.5 * (x + y)
        # A denormal number may halve to 0; the ratio must then stay finite.
        np.maximum(middle, np.finfo(np.float64).tiny, out=middle)
        terms = _x_log_ratio(x, middle)
        terms += _x_log_ratio(y, middle)
        return np.asarray(np.clip(0.5 * terms.sum(axis=-1), 0.0, math.log(2.0)) / scale)

    return _by_chunk(divergence, *_pair(p, q))


def jensen_shannon_distance(p: ArrayLike, q: ArrayLike, base: float = 2) -> FloatArray:
    """Square root of the Jensen-Shannon divergence of each pair of rows, a metric (Endres and Schindelin 2003).

    Arguments and errors as for :func:`jensen_shannon_divergence`. arXiv 2601.14620 reports it by ambiguity in base e.

    >>> float(jensen_shannon_distance([1.0, 0.0], [0.0, 1.0]))
    1.0
    """
    return np.asarray(np.sqrt(jensen_shannon_divergence(p, q, base)))


def kl_divergence(p: ArrayLike, q: ArrayLike, base: float = 2, epsilon: float = 0.0) -> FloatArray:
    """Kullback-Leibler divergence ``sum(p * log(p / q))`` of each pair of rows, `p` being the reference.

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
    scale = _log_base(base)

    def divergence(x: FloatArray, y: FloatArray) -> FloatArray:
        return np.asarray(np.maximum(_x_log_ratio(x, np.maximum(y, epsilon)).sum(axis=-1), 0.0) / scale)

    return _by_chunk(divergence, *_pair(p, q))


def bhattacharyya_coefficient(p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Bhattacharyya coefficient ``sum(sqrt(p * q))`` of each pair of rows: 1 for equal rows, 0 for no shared label.

    Arguments and errors as for :func:`jensen_shannon_divergence`.

    >>> bhattacharyya_coefficient([[1.0, 0.0], [0.5, 0.5]], [[0.0, 1.0], [0.5, 0.5]])
    array([0., 1.])
    """
    # sqrt(p) * sqrt(q), because the product of two tiny numbers would vanish.
    return _by_chunk(lambda x, y: np.minimum((np.sqrt(x) * np.sqrt(y)).sum(axis=-1), 1.0), *_pair(p, q))


def log_likelihood_per_vote(p: ArrayLike, counts: ArrayLike, epsilon: float = EPSILON) -> FloatArray:
    """Mean log-likelihood, in nats a vote, of each row's votes under the predicted distribution.

    ``sum(counts * ln(max(p, epsilon))) / sum(counts)``. The floor keeps one denied vote from making it infinite; a vote
    costs at most ``-ln(epsilon)``, 16.1 nats by default. :func:`compute_scores` reports the mean over votes, not over
    rows.

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
    total, votes = _log_likelihood(p, counts, epsilon)
    return np.divide(total, votes, out=np.full_like(total, np.nan), where=votes > 0)


def _log_likelihood(p: ArrayLike, counts: ArrayLike, epsilon: float) -> tuple[FloatArray, FloatArray]:
    """Return each row's log-likelihood and its number of votes."""
    predicted, votes = _rows(p, "p"), np.asarray(counts, dtype=np.float64)
    if predicted.shape != votes.shape:
        raise ValueError(f"Predictions have the shape {predicted.shape} and counts {votes.shape}; they must be alike.")
    if not np.isfinite(votes).all() or (votes < 0).any():
        raise ValueError("Counts must be finite and not negative.")
    if not epsilon > 0:
        raise ValueError(f"`epsilon` must be over 0, got {epsilon}.")
    total = (votes * np.log(np.maximum(predicted, epsilon))).sum(axis=-1)
    return np.asarray(total), np.asarray(votes.sum(axis=-1))


def _classes(predictions: ArrayLike, references: ArrayLike, ties: str) -> tuple[NDArray[Any], NDArray[Any]]:
    check_choice("ties", ties, ("first", "drop"))
    p, q = (np.atleast_2d(rows) for rows in _pair(predictions, references, ("predictions", "references")))
    if ties == "drop":
        clear = dominant_ties(q).sum(axis=-1) == 1
        p, q = p[clear], q[clear]
    return dominant(p), dominant(q)


def accuracy(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Share of rows whose dominant class is that of the reference.

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


def _f1(predictions: ArrayLike, references: ArrayLike, ties: str) -> tuple[FloatArray, FloatArray]:
    """Return F1 and number of reference rows of each class that occurs among references or predictions."""
    predicted, true = _classes(predictions, references, ties)
    size = np.asarray(references).shape[-1]
    hits = np.bincount(true[predicted == true], minlength=size)
    named, support = np.bincount(predicted, minlength=size), np.bincount(true, minlength=size)
    there = named + support > 0
    return (2.0 * hits / np.maximum(named + support, 1))[there], support[there].astype(np.float64)


def macro_f1(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Mean F1 of the dominant classes, each class alike; classes that occur on neither side are left out.

    Arguments and errors as for :func:`accuracy`.

    >>> macro_f1([[0.9, 0.1], [0.9, 0.1]], [[0.6, 0.4], [0.4, 0.6]]) == (2 / 3 + 0) / 2
    True
    """
    f1, _ = _f1(predictions, references, ties)
    return float(f1.mean()) if f1.size else math.nan


def weighted_f1(predictions: ArrayLike, references: ArrayLike, ties: Ties = "first") -> float:
    """Mean F1 of the dominant classes, each weighted by its number of reference rows.

    Arguments and errors as for :func:`accuracy`.

    >>> weighted_f1([[0.9, 0.1], [0.2, 0.8]], [[0.6, 0.4], [0.4, 0.6]])
    1.0
    """
    f1, support = _f1(predictions, references, ties)
    return float((f1 * support).sum() / support.sum()) if f1.size else math.nan


def compute_scores(
    predictions: ArrayLike,
    references: ArrayLike,
    emotions: Sequence[str] | None = None,
    counts: ArrayLike | None = None,
    base: float = 2,
) -> dict[str, float]:
    """Compute every figure, averaged over the rows.

    Args:
        predictions: Predicted distributions (N, K).
        references: Distributions of human votes (N, K), in the same order of emotions.
        emotions: The K labels; only their number is checked.
        counts: Human votes (N, K); gives ``log_likelihood_per_vote``. Rows may be without votes.
        base: Base of the logarithms of ``js_divergence``, ``kl_divergence`` and the entropies.

    Returns:
        ``js_divergence``; ``bhattacharyya_coefficient``; ``kl_divergence`` (of the prediction from the reference, the
        prediction floored at :data:`EPSILON` so that the figure is finite); ``entropy_prediction``;
        ``entropy_reference``; ``accuracy``, ``macro_f1`` and ``weighted_f1`` of the dominant class (a tie in the
        reference goes to the first in the order of the emotions); with `counts`, ``log_likelihood_per_vote`` (nats, the
        mean over all votes); ``num_examples``.

    Raises:
        ValueError: Shapes differ, there are no rows, or a row is not a distribution.

    Example:
        >>> scores = compute_scores([[0.5, 0.5], [0.9, 0.1]], [[0.5, 0.5], [1.0, 0.0]], counts=[[2, 2], [3, 0]])
        >>> round(scores["js_divergence"], 4), scores["accuracy"], scores["num_examples"]
        (0.0259, 1.0, 2)
    """
    p, q = _pair(predictions, references, ("predictions", "references"))
    if p.ndim != 2 or not len(p):
        raise ValueError(f"Predictions and references must have the shape (N, K) with N of at least 1, got {p.shape}.")
    if emotions is not None and len(emotions) != p.shape[1]:
        raise ValueError(f"{p.shape[1]} columns for {len(emotions)} emotions: {', '.join(emotions)}.")
    scores: dict[str, float] = {
        "js_divergence": float(jensen_shannon_divergence(p, q, base).mean()),
        "bhattacharyya_coefficient": float(bhattacharyya_coefficient(p, q).mean()),
        "kl_divergence": float(kl_divergence(q, p, base, EPSILON).mean()),
        "entropy_prediction": float(entropy(p, base).mean()),
        "entropy_reference": float(entropy(q, base).mean()),
        "accuracy": accuracy(p, q),
        "macro_f1": macro_f1(p, q),
        "weighted_f1": weighted_f1(p, q),
    }
    if counts is not None:
        total, votes = _log_likelihood(p, counts, EPSILON)
        scores["log_likelihood_per_vote"] = float(total.sum() / votes.sum()) if votes.sum() > 0 else math.nan
    scores["num_examples"] = len(p)
    return scores
