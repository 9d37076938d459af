"""Arithmetic on rows of counts and distributions: normalising, posteriors, entropy, ambiguity, the dominant class.

Nothing here knows the names of the emotions. :mod:`hf_emo_dist.votes` offers all of it too.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

Empty = Literal["error", "drop", "uniform"]
FloatArray = NDArray[np.float64]


def check_choice(name: str, value: str, choices: tuple[str, ...]) -> None:
    """Raise a ValueError that lists `choices` unless `value` is one of them."""
    if value not in choices:
        raise ValueError(f"`{name}` must be one of {', '.join(map(repr, choices))}, got {value!r}.")


def counts_to_distribution(counts: ArrayLike, empty: Empty = "error") -> FloatArray | None:
    """Divide counts by their sum.

    Args:
        counts: (K,) or (N, K), not negative and finite, in votes.
        empty: What becomes of a row without votes: ``"error"``; ``"drop"``, which gives ``None`` for (K,) and a row of
            NaN for (N, K); or ``"uniform"``, 1/K each.

    Returns:
        float64 array of the same shape whose rows sum to 1, or ``None`` (see `empty`).

    Raises:
        ValueError: A count is negative or not finite, or a row is empty with ``empty="error"``.

    Example:
        >>> counts_to_distribution([3, 1, 0, 0])
        array([0.75, 0.25, 0.  , 0.  ])
    """
    check_choice("empty", empty, ("error", "drop", "uniform"))
    values = _counts(counts)
    total = values.sum(axis=-1, keepdims=True)
    bare = total[..., 0] == 0
    if np.any(bare):
        if empty == "error":
            where = "" if values.ndim == 1 else f" in row(s) {np.flatnonzero(bare)[:10].tolist()}"
            raise ValueError(f"No votes{where}. Mend: leave such rows out, or pass empty='drop' or empty='uniform'.")
        if empty == "drop" and values.ndim == 1:
            return None
    with np.errstate(invalid="ignore"):
        result: FloatArray = values / total
    if empty == "uniform":
        result[bare] = 1.0 / values.shape[-1]
    return result


def _counts(counts: ArrayLike) -> FloatArray:
    values = np.asarray(counts, dtype=np.float64)
    if values.ndim not in (1, 2) or values.shape[-1] == 0:
        raise ValueError(f"Counts must have the shape (K,) or (N, K), got {values.shape}.")
    if not np.isfinite(values).all() or (values < 0).any():
        raise ValueError("Counts must be finite and not negative.")
    return values


def posterior_mean(counts: ArrayLike, concentration: float = 1.0, prior: ArrayLike | None = None) -> FloatArray:
    """Mean of the Dirichlet posterior over an utterance's distribution, given its vote counts.

    ``(counts + concentration * prior) / (sum(counts) + concentration)``: the prior speaks with `concentration` votes
    in total (not each), so a row without votes gives the prior back.

    Args:
        counts: (K,) or (N, K), in votes.
        concentration: Total weight of the prior, in votes, over 0.
        prior: Distribution (K,), such as the mean over a corpus. Default: uniform.

    Returns:
        float64 array of the shape of `counts`; rows sum to 1, and no entry is 0 where the prior's is not.

    Raises:
        ValueError: Counts, concentration or prior are out of range.

    Example:
        >>> posterior_mean([3, 0, 0, 0], concentration=1.0)
        array([0.8125, 0.0625, 0.0625, 0.0625])
    """
    values = _counts(counts)
    if not np.isfinite(concentration) or concentration <= 0:
        raise ValueError(f"`concentration` must be a finite number of votes over 0, got {concentration}.")
    size = values.shape[-1]
    weights = np.full(size, 1.0 / size) if prior is None else np.asarray(prior, dtype=np.float64)
    if weights.shape != (size,) or not (weights >= 0).all() or abs(weights.sum() - 1.0) > 1e-3:
        raise ValueError(f"`prior` must be a distribution of length {size}, got {weights.tolist()}.")
    result: FloatArray = (values + concentration * weights) / (values.sum(axis=-1, keepdims=True) + concentration)
    return result


def entropy(p: ArrayLike, base: float = 2, normalized: bool | Literal["present"] = False) -> FloatArray:
    """Shannon entropy of each row.

    Args:
        p: Distributions (K,) or (N, K).
        base: Base of the logarithm; 2 gives bits.
        normalized: ``True`` divides by log K, so that 1 is uniform. ``"present"`` divides by the logarithm of the
            number of labels with any mass in that row (0 where there is one), as arXiv 2601.14620 does for its strata.

    Returns:
        float64 array (N,), or of shape () for (K,).

    Example:
        >>> entropy([[0.5, 0.5, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0]])
        array([1., 0.])
        >>> float(entropy([0.5, 0.5, 0.0, 0.0], normalized="present"))
        1.0
    """
    values = np.asarray(p, dtype=np.float64)
    with np.errstate(divide="ignore", invalid="ignore"):
        terms = np.where(values > 0, values * np.log(values), np.where(values == 0, 0.0, np.nan))
    result = np.abs(terms.sum(axis=-1))
    if normalized == "present":
        labels = (values > 0).sum(axis=-1)
        return np.asarray(np.where(labels > 1, result / np.log(np.maximum(labels, 2)), result * 0.0))
    return np.asarray(result / (np.log(values.shape[-1]) if normalized else np.log(base)))


def ambiguity_strata(entropies: ArrayLike, n: int = 3) -> NDArray[np.int64]:
    """Cut rows into `n` strata of ambiguity by the rank of their entropy; 0 is the clearest.

    Distinct entropies give strata whose sizes differ by at most one. Rows with equal entropy (to 1e-9) always share a
    stratum, that of their mean rank, so that the outcome does not depend on the order of the rows; with many ties the
    strata are then of unequal size.

    Args:
        entropies: (N,), finite.
        n: Number of strata, at least 1.

    Returns:
        int64 array (N,) of values 0 to n - 1.

    Raises:
        ValueError: `n` is under 1, or an entropy is not finite.

    Example:
        >>> ambiguity_strata([0.9, 0.0, 0.4])
        array([2, 0, 1])
    """
    values = np.round(np.asarray(entropies, dtype=np.float64), 9)
    if n < 1 or values.ndim != 1 or not np.isfinite(values).all():
        raise ValueError(f"Need finite entropies of shape (N,) and n >= 1, got shape {values.shape} and n={n}.")
    _, group, sizes = np.unique(values, return_inverse=True, return_counts=True)
    # Half-open ranks: group g covers [end - size, end), whose middle decides.
    middle = np.cumsum(sizes) - sizes / 2.0
    return np.minimum(np.floor(n * middle[group] / max(len(values), 1)), n - 1).astype(np.int64)


def dominant(p: ArrayLike) -> NDArray[np.int64]:
    """Index of the largest entry of each row; among equals the first in the order of the emotions.

    Args:
        p: Distributions or counts, (K,) or (N, K).

    Returns:
        int64 array (N,), or of shape () for (K,).

    Example:
        >>> dominant([[0.2, 0.8], [0.5, 0.5]])
        array([1, 0])
    """
    return np.asarray(np.argmax(np.asarray(p, dtype=np.float64), axis=-1), dtype=np.int64)


def dominant_ties(p: ArrayLike, atol: float = 1e-9) -> NDArray[np.bool_]:
    """Mark every entry that is within `atol` of the largest of its row: more than one in a row is a tie.

    Returns:
        bool array of the shape of `p`.

    Example:
        >>> dominant_ties([0.4, 0.4, 0.2])
        array([ True,  True, False])
    """
    values = np.asarray(p, dtype=np.float64)
    return np.asarray(values >= values.max(axis=-1, keepdims=True) - atol)
