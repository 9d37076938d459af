"""From the log-probabilities of labels to distributions, votes and what is missing: arithmetic alone.

A read-out of K labels is l_k = ln P(the answer is exactly label k), k = 1…K. Its *mass* is m = Σ_k exp(l_k), what of
the model's probability is on the list at all; what is missing, 1 − m, went to other answers. The distribution over the
labels is p_k = exp(l_k)/m, and at a temperature T of whole answers it is p_k^(1/T) / Σ_j p_j^(1/T). That is not the
temperature of sampling token by token, which a label of several tokens would meet several times.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...distributions import FloatArray

#: Masses under this are counted: more went to other answers than to the labels.
LOW_MASS = 0.5
#: By which a sum of probabilities may pass 1: bf16 has three digits.
ABOVE_ONE = 0.02


def mass_of(log_probabilities: ArrayLike) -> FloatArray:
    """What of the answer's probability is on the labels.

    Args:
        log_probabilities: (…, K), natural logarithms; -inf for what cannot be, or was not seen.

    Returns:
        (…,), from 0 to 1: rounding above 1 is taken off.

    Raises:
        ValueError: These are no log-probabilities: NaN, +inf, or a sum above 1 by more than rounding.

    Example:
        >>> mass_of(np.log([0.5, 0.3])).round(6).item()
        0.8
    """
    values = _checked(log_probabilities)
    mass = np.exp(values).sum(axis=-1)
    return np.asarray(np.minimum(mass, 1.0))


def distribution_at(log_probabilities: ArrayLike, temperature: float | None = None) -> FloatArray:
    """The distribution over the labels at a temperature of whole answers, in closed form.

    Args:
        log_probabilities: (…, K), natural logarithms, in any common scale: of a read-out, or of a distribution.
        temperature: From 0, where the most probable label has all, and equal ones share it; None for 1.

    Returns:
        (…, K); rows sum to 1.

    Raises:
        ValueError: The temperature is negative or not finite, there is a NaN or +inf, or no label has any probability.

    Example:
        >>> distribution_at(np.log([0.4, 0.2])).round(3), distribution_at(np.log([0.4, 0.2]), 0.5).round(3)
        (array([0.667, 0.333]), array([0.8, 0.2]))
        >>> distribution_at(np.log([0.4, 0.2, 0.4]), 0)
        array([0.5, 0. , 0.5])
    """
    heat = 1.0 if temperature is None else float(temperature)
    if not (np.isfinite(heat) and heat >= 0):
        raise ValueError(f"`temperature` is {temperature!r}. Mend: a number from 0, or None for 1.")
    values = np.asarray(log_probabilities, dtype=np.float64)
    if np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError("Log-probabilities must not be NaN or +inf. Mend: of a model in half precision, use bf16.")
    best = values.max(axis=-1, keepdims=True)
    if np.isneginf(best).any():
        raise ValueError("No label has any probability. Mend: ask for labels that the model can say.")
    below = values - best
    if heat == 0:
        raised = (below == 0).astype(np.float64)
    else:
        with np.errstate(over="ignore"):  # 1/T of a T near 0
            raised = np.where(below == 0, 1.0, np.exp(below / heat))
    return np.asarray(raised / raised.sum(axis=-1, keepdims=True))


def panel_mean(distributions: ArrayLike) -> FloatArray:
    """The mean of a panel, each member counting once: the limit of ever more votes drawn from its members in turn.

    Args:
        distributions: (members, …, K).

    Returns:
        (…, K).

    Example:
        >>> panel_mean([[1.0, 0.0], [0.5, 0.5]])
        array([0.75, 0.25])
    """
    values = np.asarray(distributions, dtype=np.float64)
    if values.ndim < 2 or not len(values):
        raise ValueError(f"A panel's mean is of (members, …, K), got {values.shape}. Mend: one row a member.")
    return np.asarray(values.mean(axis=0))


def draw_labels(distributions: ArrayLike, number: int, seed: int, row_id: str) -> NDArray[np.int64]:
    """Draw votes from the read-outs of a panel about one row, its members in turn: vote i is of member i mod M.

    Each draw depends on (seed, row id, its number) alone, so that the draws of n are the first n of those of m > n, and
    the same row draws alike in any order and process. The same numbers are used at any temperature.

    Args:
        distributions: (M, K), one row a member; rows sum to 1.
        number: Of votes, from 0.
        seed: Of the draws.
        row_id: Of the row.

    Returns:
        (number,), places of labels.

    Raises:
        ValueError: `number` is negative, or these are no distributions.

    Example:
        >>> many = draw_labels([[0.2, 0.8]], 1000, 0, "clip-1")
        >>> bool(abs(many.mean() - 0.8) < 0.05), draw_labels([[0.2, 0.8]], 3, 0, "clip-1").tolist() == many[:3].tolist()
        (True, True)
    """
    shares = np.asarray(distributions, dtype=np.float64)
    if isinstance(number, bool) or not isinstance(number, (int, np.integer)) or number < 0:
        raise ValueError(f"The number of votes is {number!r}. Mend: a whole number from 0.")
    if (
        shares.ndim != 2
        or not shares.size
        or not (shares >= 0).all()
        or not np.allclose(shares.sum(axis=1), 1, 0, 1e-6)
    ):
        raise ValueError("Votes are drawn from distributions (M, K) whose rows sum to 1. Mend: see distribution_at.")
    digest = hashlib.sha256(f"{seed} {row_id}".encode("utf-8", "surrogatepass")).digest()
    # One number a vote, in the order of the votes.
    numbers = np.random.default_rng(np.frombuffer(digest, dtype="<u4").tolist()).random(number)
    members = np.arange(number) % len(shares)
    steps = np.cumsum(shares, axis=1)
    drawn = (numbers[:, None] * steps[members, -1:] >= steps[members]).sum(axis=1)
    return np.asarray(np.minimum(drawn, shares.shape[1] - 1), dtype=np.int64)


@dataclass
class Masses:
    """What was missing in read-outs, counted as they come.

    Attributes:
        number: Read-outs.
        total: Sum of their masses.
        least: The smallest; 1 where there is none.
        low: How many are under `LOW_MASS`.
        assumed: In how many the end of the turn was assumed after a whole label, and not looked for.

    Example:
        >>> found = Masses()
        >>> for mass in (0.9, 0.4):
        ...     found.add(mass)
        >>> found.told()
        '2 read-outs: on the labels is 0.65 of the probability on average, 0.4 at the least; under 0.5 in 1'
    """

    number: int = 0
    total: float = 0.0
    least: float = 1.0
    low: int = 0
    assumed: int = 0

    def add(self, mass: float, assumed: bool = False) -> None:
        """Count one read-out."""
        self.assumed += assumed
        self.number += 1
        self.total += mass
        self.least = min(self.least, mass)
        self.low += mass < LOW_MASS

    def update(self, others: Iterable[Masses]) -> None:
        """Count those of others, too."""
        for other in others:
            self.number += other.number
            self.total += other.total
            self.least = min(self.least, other.least)
            self.low += other.low
            self.assumed += other.assumed

    @property
    def mean(self) -> float:
        """Of the masses; 1 where there is none."""
        return self.total / self.number if self.number else 1.0

    def to_dict(self) -> dict[str, float]:
        """In figures."""
        told = {"number": self.number, "mean": self.mean, "least": self.least, "under_half": self.low}
        return {**told, **({"end_assumed": self.assumed} if self.assumed else {})}

    @classmethod
    def from_dict(cls, values: Mapping[str, float]) -> Masses:
        """Of what `to_dict` gave."""
        number, low, assumed = (int(values.get(name, 0)) for name in ("number", "under_half", "end_assumed"))
        return cls(number, number * values["mean"], values["least"], low, assumed)

    def told(self) -> str:
        """In words."""
        return (
            f"{self.number:,} read-outs: on the labels is {self.mean:.3g} of the probability on average, "
            f"{self.least:.3g} at the least; under {LOW_MASS:g} in {self.low:,}"
        )


def _checked(log_probabilities: ArrayLike | Sequence[float]) -> FloatArray:
    values = np.asarray(log_probabilities, dtype=np.float64)
    if values.ndim < 1 or not values.shape[-1] or np.isnan(values).any() or np.isposinf(values).any():
        raise ValueError("Log-probabilities must be numbers (…, K), none of them NaN or +inf. Mend: see the model's.")
    with np.errstate(over="ignore"):
        most = np.exp(values).sum(axis=-1).max(initial=0.0)
    if most > 1 + ABOVE_ONE:
        raise ValueError(
            f"The probabilities of the labels sum to {most:.4g}. Mend: natural logarithms of probabilities are wanted."
        )
    return values
