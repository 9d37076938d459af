"""What every score shares: rows that are checked to be distributions, and work done in pieces that stay in the
processor's cache.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distributions import FloatArray

#: Floor under predicted probabilities where a logarithm of them is reported as one figure.
EPSILON = 1e-7


# Numbers of one input computed at a time: they and the temporaries then stay in the second-level cache.
CHUNK = 1 << 15


def _as_array(values: ArrayLike, name: str) -> NDArray[Any]:
    try:
        array = np.asarray(values)
        if array.dtype.kind not in "fiub":
            array = array.astype(np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"`{name}` must be an array of numbers, (N, K) or (K,) ({error}). "
            f"Mend: convert a column of structs with distributions_to_matrix(column, emotions)."
        ) from error
    if array.ndim not in (1, 2) or array.shape[-1] < 2:
        raise ValueError(f"`{name}` must have the shape (N, K) or (K,) with K of at least 2, got {array.shape}.")
    return array


def _normalised(array: NDArray[Any], name: str, first: int = 0) -> FloatArray:
    """Return (N, K) rows as float64 that sum to 1; `first` is the number of the first row, for the message."""
    rows = np.asarray(array, dtype=np.float64)
    sums = rows @ np.ones(rows.shape[1])
    # Written so that NaN counts as bad; an infinity makes its sum bad.
    if not (np.abs(sums - 1.0) <= 1e-2).all() or rows.min(initial=0.0) < 0:
        good = (np.abs(sums - 1.0) <= 1e-2) & (rows >= 0).all(axis=1)
        row = int(np.flatnonzero(~good)[0])
        raise ValueError(
            f"Row {first + row} of `{name}` is not a distribution: {rows[row].tolist()}. "
            f"Mend: its numbers must not be negative and sum to 1 (for logits, apply softmax first)."
        )
    return np.asarray(rows / sums[:, None])


def checked_rows(values: ArrayLike, name: str) -> FloatArray:
    """Return distributions, (N, K) or (K,), as float64 whose rows sum to 1, or say which row is none."""
    array = _as_array(values, name)
    return _normalised(np.atleast_2d(array), name).reshape(array.shape)


def checked_pair(p: ArrayLike, q: ArrayLike, names: tuple[str, str] = ("p", "q")) -> tuple[FloatArray, FloatArray]:
    """Return two arrays of distributions of the same shape; see :func:`checked_rows`."""
    first, second = _same_shape(p, q, names)
    return checked_rows(first, names[0]), checked_rows(second, names[1])


def _same_shape(p: ArrayLike, q: ArrayLike, names: tuple[str, str]) -> tuple[NDArray[Any], NDArray[Any]]:
    first, second = _as_array(p, names[0]), _as_array(q, names[1])
    if first.shape != second.shape:
        raise ValueError(
            f"`{names[0]}` has the shape {first.shape} and `{names[1]}` {second.shape}; they must be alike."
        )
    return first, second


def by_chunk(function: Callable[[FloatArray, FloatArray], FloatArray], p: ArrayLike, q: ArrayLike) -> FloatArray:
    """Apply a function of rows (n, K), (n, K) to (n,) piece by piece, each piece checked and normalised on the way."""
    # Going through memory once instead of once an operation is what makes a million rows quick.
    first, second = _same_shape(p, q, ("p", "q"))
    if first.ndim == 1:
        return np.asarray(function(_normalised(first[None], "p"), _normalised(second[None], "q")))[0, ...]
    step = max(1, CHUNK // first.shape[1])
    result = np.empty(len(first))
    for at in range(0, len(first), step):
        piece = slice(at, at + step)
        result[piece] = function(_normalised(first[piece], "p", at), _normalised(second[piece], "q", at))
    return result


def checked_counts(counts: ArrayLike, whole: bool = False) -> FloatArray:
    """Return vote counts as float64 (N, K) or (K,), not negative, finite and, where asked for, `whole`."""
    votes = np.asarray(counts, dtype=np.float64)
    if votes.ndim not in (1, 2) or votes.shape[-1] < 2:
        raise ValueError(f"`counts` must have the shape (N, K) or (K,) with K of at least 2, got {votes.shape}.")
    if not np.isfinite(votes).all() or (votes < 0).any():
        raise ValueError("`counts` must be finite and not negative.")
    rows = np.atleast_2d(votes)
    broken = np.flatnonzero((rows != np.round(rows)).any(axis=1))
    if whole and len(broken):
        raise ValueError(
            f"Row {broken[0]} of `counts` has votes that are not whole: {rows[broken[0]].tolist()}. This score "
            "needs one whole vote a listener. Mend: leave out listeners who gave several tags, or keep one tag of each."
        )
    return votes


def log_base(base: float) -> float:
    """Return ln(base), what nats are divided by."""
    if not base > 0 or base == 1:
        raise ValueError(f"`base` of a logarithm must be over 0 and not 1, got {base}.")
    return math.log(base)
