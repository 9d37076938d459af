"""How much is added, and from which utterances: targets by dominant class, by expected class mass, or a count."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributions import FloatArray
from ..emotions import canonical_emotion, validate_emotions

Counts = NDArray[np.int64]
RIDGE = 0.02  # weight of the penalty on θ in `tilted_weights`


def balance_vector(balance: Any, emotions: Sequence[str]) -> FloatArray:
    """The wanted balance as (K,) shares that sum to 1, from ``"uniform"`` or emotion to its share on any scale."""
    names = validate_emotions(emotions)
    if isinstance(balance, str):
        if balance != "uniform":
            raise ValueError(
                f"`balance` must be 'uniform' or a dict of shares, got {balance!r}. Mend: {{'sad': 2, 'angry': 1}}."
            )
        return np.full(len(names), 1.0 / len(names))
    shares = np.zeros(len(names))
    for label, share in balance.items():
        shares[names.index(canonical_emotion(label, names))] += float(share)
    if not np.isfinite(shares).all() or (shares < 0).any() or shares.sum() <= 0:
        raise ValueError(
            f"`balance` must hold shares that are finite, not negative and not all 0, got {dict(balance)}. "
            "Mend: name each emotion that is wanted, with a share over 0."
        )
    return np.asarray(shares / shares.sum())


def dominant_targets(counts: Counts, target_ratio: float) -> Counts:
    """The paper's rule, (K,) rows to have: each class is filled up to `target_ratio` × the largest, rounded down."""
    level = int(np.floor(target_ratio * counts.max(initial=0) + 1e-9))
    return np.maximum(counts, level)


def mass_to_add(mass: FloatArray, balance: FloatArray, ratio: float, limit: int | None) -> FloatArray:
    """Mass to add to each emotion, (K,): those that lie lowest, relative to the balance, rise to a common level."""
    # `ratio` × that of the highest emotion, or as high as `limit` rows (of mass 1 each) go
    wanted = balance > 0
    level = ratio * (mass[wanted] / balance[wanted]).max()
    if limit is not None:
        level = min(level, mass.sum() + limit)  # beyond it every emotion is raised by more than all rows

    def missing(at: float) -> FloatArray:
        return np.maximum(0.0, balance * at - mass)

    if limit is not None and missing(level).sum() > limit:
        low, high = 0.0, level
        for _ in range(100):
            middle = 0.5 * (low + high)
            low, high = (middle, high) if missing(middle).sum() <= limit else (low, middle)
        level = low
    return missing(level)


def tilted_weights(sources: FloatArray, wanted: FloatArray, number: int, most: float) -> FloatArray:
    """Expected draws (M,) of sources (M, K), at most `most` each, so that `number` rows have the `wanted` mean (K,)."""
    # Maximum entropy: weights ∝ exp(θ · q_i), with θ such that Σ w_i q_i comes nearest to `wanted`. Where it cannot be
    # reached, the ridge on θ keeps the weights from falling on a single source. What a source may not take is shared
    # by the rest; where M × `most` is less than `number`, fewer rows are drawn.
    from scipy.optimize import minimize

    centred = sources - wanted

    def share(theta: FloatArray) -> FloatArray:
        logits = centred @ theta
        weights = np.exp(logits - logits.max())
        weights /= weights.sum()
        limit = most / number
        if len(weights) * limit <= 1.0:
            return np.full(len(weights), limit)
        capped = np.zeros(len(weights), dtype=bool)
        for _ in range(64):
            over = (weights > limit) & ~capped
            if not over.any():
                break
            capped |= over
            rest = weights[~capped].sum()
            if rest <= 0:
                break
            weights[~capped] *= (1.0 - limit * capped.sum()) / rest
            weights[capped] = limit
        return np.minimum(weights, limit)

    def dual(theta: FloatArray) -> tuple[float, FloatArray]:
        logits = centred @ theta
        top = logits.max()
        weights = np.exp(logits - top)
        total = weights.sum()
        value = top + float(np.log(total)) + 0.5 * RIDGE * float(theta @ theta)
        return value, weights @ centred / total + RIDGE * theta

    theta = minimize(dual, np.zeros(sources.shape[1]), jac=True, method="L-BFGS-B").x
    return share(theta) * number


def whole_counts(expected: FloatArray, rng: np.random.Generator) -> Counts:
    """Whole numbers of the expectation given, floor or ceiling of each, by systematic sampling: their sum is kept."""
    edges = np.floor(np.cumsum(expected) + rng.random() * (1 - 1e-9) + 1e-9)
    return np.diff(np.concatenate([[0.0], edges])).astype(np.int64)


def check_numbers(target: Mapping[str, Any], emotions: Sequence[str] | None = None) -> None:
    """Refuse numbers of rows that are none, and labels that are not among the emotions, where these are known."""
    for label, number in target.items():
        if isinstance(number, bool) or not isinstance(number, int | float) or number % 1 or number < 0:
            raise ValueError(
                f"`target` must hold whole numbers of rows, got {label!r}: {number!r}. Mend: {{'sad': 500}}."
            )
        canonical_emotion(label, emotions)


def dict_targets(target: Mapping[str, int], emotions: Sequence[str], counts: Counts) -> Counts:
    """A user's rows to have by dominant class, (K,); classes that are not named stay."""
    check_numbers(target, emotions)
    wanted = counts.copy()
    for label, number in target.items():
        wanted[list(emotions).index(canonical_emotion(label, emotions))] = int(number)
    return np.maximum(wanted, counts)
