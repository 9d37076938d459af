"""Bootstrap intervals over utterances or, better, over whole speakers; :mod:`hf_emo_dist.scores` offers them too.

Utterances of one speaker are alike, so resampling them one by one gives intervals that are too narrow for a claim
about unseen speakers. Where the speakers are known, give them as `groups`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..distributions import FloatArray

#: The least and the greatest that a figure can be.
Bounds = tuple[float, float]
UNBOUNDED: Bounds = (-math.inf, math.inf)

# Resampled entries held at a time.
_CHUNK = 1 << 21


def bootstrap_interval(
    values: ArrayLike,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    bounds: Bounds = UNBOUNDED,
) -> tuple[float, float, float]:
    """Mean of a figure over rows, with a bootstrap interval.

    Whole groups (speakers) are resampled with replacement, and each resample's mean is over the rows in it. The
    interval holds the percentiles of these means, with their deviations from the mean widened by
    ``sqrt(G / (G - 1)) * t / z`` for G groups (t and z being the quantiles of Student's distribution with G - 1
    degrees of freedom and of the normal distribution): the plain percentiles of few groups promise too much. The
    factor (at level 0.95) is 9.2 for 2 groups, 1.9 for 4, 1.2 for 10 and 1.02 for 100. Even so, an interval over fewer
    than about 8 speakers is a rough one, and a single group gives none (NaN).

    Args:
        values: A figure a row (N,), finite.
        groups: N labels, such as the speakers. Default: every row by itself.
        num_resamples: Number of resamples.
        level: Share of resamples inside the interval, between 0 and 1.
        seed: Seed of the resampling; the same seed gives the same interval.
        bounds: What the figure lies within, such as 0 and 1: an interval that was widened for few groups is cut there.
            :func:`hf_emo_dist.scores.score_bounds` knows them of every figure.

    Returns:
        ``(mean, low, high)``.

    Raises:
        ValueError: There are no values, one is not finite, the groups do not fit, or an argument is out of range.

    Example:
        >>> mean, low, high = bootstrap_interval([0.1, 0.2, 0.3, 0.4], groups=["a", "a", "b", "b"])
        >>> round(mean, 6), low < 0.15, high > 0.35
        (0.25, True, True)
    """
    data = np.asarray(values, dtype=np.float64)
    if data.ndim != 1 or not data.size or not np.isfinite(data).all():
        raise ValueError(f"Need finite values of shape (N,), got shape {data.shape}. Mend: leave NaN rows out first.")
    if num_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"Need num_resamples >= 1 and 0 < level < 1, got {num_resamples} and {level}.")
    sums, sizes = _group_sums(data, groups)
    mean, number = float(data.mean()), len(sums)
    if number < 2:
        return mean, math.nan, math.nan
    rng = np.random.default_rng(seed)
    means = np.empty(num_resamples)
    step = max(1, _CHUNK // number)
    for at in range(0, num_resamples, step):
        drawn = rng.integers(number, size=(min(step, num_resamples - at), number))
        means[at : at + step] = sums[drawn].sum(axis=1) / sizes[drawn].sum(axis=1)
    return _interval(mean, means, number, level, bounds)


def paired_bootstrap(
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    num_resamples: int = 2000,
    level: float = 0.95,
    seed: int = 0,
    bounds: Bounds = UNBOUNDED,
) -> dict[str, float]:
    """Mean difference ``a - b`` of a figure of two predictors on the same rows, with a bootstrap interval.

    Pairing takes out what makes a row hard for both. Arguments and errors as for :func:`bootstrap_interval`; `bounds`
    are those of the figure, and the difference lies within their distance.

    Returns:
        ``mean_difference``, ``low``, ``high``, and ``num_groups``, the number of groups (or rows) resampled.

    Example:
        >>> result = paired_bootstrap([0.5, 0.7, 0.6], [0.4, 0.6, 0.5])
        >>> round(result["mean_difference"], 6), result["low"] > 0, result["num_groups"]
        (0.1, True, 3)
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape:
        raise ValueError(f"The two predictors have {a.shape} and {b.shape} values; they must be of the same rows.")
    mean, low, high = bootstrap_interval(a - b, groups, num_resamples, level, seed, bounds_of_difference(bounds))
    number = len(a) if groups is None else len(set(groups))
    return {"mean_difference": mean, "low": low, "high": high, "num_groups": number}


def bootstrap_score(
    score: Callable[..., float],
    *arrays: ArrayLike,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    num_resamples: int = 1000,
    level: float = 0.95,
    seed: int = 0,
    bounds: Bounds = UNBOUNDED,
) -> tuple[float, float, float]:
    """A figure of all rows together (macro F1, R2, kappa, a correlation), with a bootstrap interval.

    Rows, or whole groups, are resampled and the figure is computed anew each time. The interval is that of
    :func:`bootstrap_interval`: percentiles of the deviations, widened for few groups. Resamples in which the figure is
    not defined (NaN) are left out.

    Args:
        score: Takes the resampled arrays and returns one number.
        *arrays: Arrays of N rows each; the other arguments are as for :func:`bootstrap_interval`.

    Returns:
        ``(value, low, high)``; the limits are NaN with a single group, or where no resample defines the figure.

    Raises:
        ValueError: The arrays or groups do not fit, or an argument is out of range.

    Example:
        >>> value, low, high = bootstrap_score(lambda x: float(np.median(x)), np.arange(101.0))
        >>> value, 30 < low < 50 < high < 70
        (50.0, True)
    """
    data = [np.asarray(array) for array in arrays]
    if not data or any(len(array) != len(data[0]) for array in data) or not len(data[0]):
        raise ValueError(f"Need arrays of the same number of rows, got {[len(array) for array in data]}.")
    if num_resamples < 1 or not 0 < level < 1:
        raise ValueError(f"Need num_resamples >= 1 and 0 < level < 1, got {num_resamples} and {level}.")
    index = _group_index(groups, len(data[0]))
    value, number = float(score(*data)), int(index.max()) + 1
    if number < 2:
        return value, math.nan, math.nan
    order = np.argsort(index, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(index))[:-1])
    rng = np.random.default_rng(seed)
    values = np.empty(num_resamples)
    for resample in range(num_resamples):
        drawn = rng.integers(number, size=number)
        rows = drawn if groups is None else np.concatenate([members[group] for group in drawn])
        values[resample] = score(*(array[rows] for array in data))
    values = values[np.isfinite(values)]
    if not len(values):
        return value, math.nan, math.nan
    return _interval(value, values, number, level, bounds)


def paired_permutation_test(
    values_a: ArrayLike,
    values_b: ArrayLike,
    groups: Sequence[Any] | NDArray[Any] | None = None,
    num_resamples: int = 10000,
    seed: int = 0,
) -> dict[str, float]:
    """Test whether two models' figures on the same rows differ by more than chance, by flipping signs (Fisher 1935).

    If the models were alike, each group's (speaker's) differences could as well have had the other sign. The p-value is
    the share of sign flips whose mean difference is at least as far from 0 as the observed one; up to 13 groups all
    flips are counted, beyond that so many are drawn, the observed one among them. With G groups it cannot be under ``2
    ** (1 - G)``.

    Args:
        values_a: Figures of the first model (N,), finite.
        values_b: Figures of the second model on the same rows.
        groups: N labels, such as the speakers. Default: every row by itself.
        num_resamples: Sign flips that are drawn where there are too many to count.
        seed: Seed of the draws.

    Returns:
        ``mean_difference`` (a minus b), ``p_value`` (two-sided) and ``num_groups``.

    Raises:
        ValueError: The arrays or groups do not fit.

    Example:
        >>> paired_permutation_test([0.5, 0.7, 0.6, 0.8], [0.4, 0.6, 0.5, 0.6])["p_value"]
        0.125
    """
    a, b = np.asarray(values_a, dtype=np.float64), np.asarray(values_b, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or not a.size or not np.isfinite(a - b).all():
        raise ValueError(f"Need finite figures of the same rows, shape (N,), got {a.shape} and {b.shape}.")
    sums, _ = _group_sums(a - b, groups)
    number = len(sums)
    if number <= 13:
        signs = 1.0 - 2.0 * ((np.arange(2**number)[:, None] >> np.arange(number)) & 1)
        flipped = signs @ sums
    else:
        rng = np.random.default_rng(seed)
        flipped = np.empty(num_resamples)
        step = max(1, _CHUNK // number)
        for at in range(0, num_resamples, step):
            size = (min(step, num_resamples - at), number)
            flipped[at : at + step] = (rng.integers(2, size=size) * 2.0 - 1.0) @ sums
        flipped[0] = sums.sum()
    # a flip that only rounding tells from the observed one is as far from 0
    extreme = np.abs(flipped) >= abs(sums.sum()) * (1 - 1e-9) - 1e-15
    return {"mean_difference": float((a - b).mean()), "p_value": float(extreme.mean()), "num_groups": number}


def _group_index(groups: Sequence[Any] | NDArray[Any] | None, rows: int) -> NDArray[np.int64]:
    """Return the number of each row's group, in the order in which the groups first occur."""
    if groups is None:
        return np.arange(rows)
    labels = list(groups)
    if len(labels) != rows:
        raise ValueError(f"{rows} values but {len(labels)} groups; give one group a row.")
    number: dict[Any, int] = {}
    for row, label in enumerate(labels):
        if label is None:
            raise ValueError(f"Row {row} has no group (None). Mend: name its speaker, or leave the row out.")
        number.setdefault(label, len(number))
    return np.array([number[label] for label in labels], dtype=np.int64)


def _group_sums(data: FloatArray, groups: Sequence[Any] | NDArray[Any] | None) -> tuple[FloatArray, FloatArray]:
    """Return the sum and the number of rows of each group, in the order in which the groups first occur."""
    index = _group_index(groups, len(data))
    return np.bincount(index, weights=data).astype(np.float64), np.bincount(index).astype(np.float64)


def bounds_of_difference(bounds: Bounds) -> Bounds:
    """What the difference of two figures within these bounds lies within.

    >>> bounds_of_difference((0.0, 1.0))
    (-1.0, 1.0)
    """
    return bounds[0] - bounds[1], bounds[1] - bounds[0]


def _interval(value: float, draws: FloatArray, number: int, level: float, bounds: Bounds) -> tuple[float, float, float]:
    """The value with the interval of its draws, widened for few groups and cut at the bounds of the figure."""
    tail = (1.0 - level) / 2.0
    wider = 1.0
    if number <= 1000:
        t, z = _student_quantile(1.0 - tail, number - 1), NormalDist().inv_cdf(1.0 - tail)
        wider = math.sqrt(number / (number - 1)) * t / z
    low, high = np.quantile(draws - value, [tail, 1.0 - tail]) * wider + value
    # rounding can take a value just past a bound, which the interval must hold all the same
    return value, float(max(low, min(bounds[0], value))), float(min(high, max(bounds[1], value)))


def _student_quantile(quantile: float, freedom: int) -> float:
    """Upper quantile of Student's t, by bisection of the finite series of Abramowitz and Stegun, 26.7.3 and 26.7.4."""
    low, high = 0.0, math.pi / 2
    for _ in range(60):
        angle = (low + high) / 2
        sine, cosine = math.sin(angle), math.cos(angle)
        odd = freedom % 2
        term = cosine if odd else 1.0
        total = term if freedom > 1 else 0.0
        for k in range(2 + odd, freedom - 1, 2):
            term *= cosine * cosine * (k - 1) / k
            total += term
        inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
        if inside < 2 * quantile - 1:
            low = angle
        else:
            high = angle
    return math.sqrt(freedom) * math.tan((low + high) / 2)
