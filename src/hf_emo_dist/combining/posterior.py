"""The posterior's prior for a clip: from what annotators said to Dirichlet parameters, with derivatives.

For a row in which annotator a gave n answers with the mean m (a distribution over K emotions)::

    w   = s * n / (1 + (n - 1) * rho)                   answers of one annotator repeat one another (rho)
    S   = sum of w;  J = S**2 / sum of w**2              J: as if so many annotators spoke with equal weight
    g   = 1 / (1 + (J - 1) * r)                         and annotators repeat one another (r)
    t   = 1 - exp(-c * g * S / sum(alone))              what they said takes the place of the general prior (c)
    a   = (1 - t) * alone + t * beside + g * sum of w * (m @ confusion)

`alone` is the prior of a clip that nobody but people has heard, of `sum(alone)` votes; `beside` is what is left of it
beside much that annotators said. c is from 0 to 1: a vote of weight takes at most a vote of the prior away, so that no
answer makes a target less sure. ``n / (1 + (n - 1) * rho)`` is the effective number of equally correlated answers
(Kish 1965, "Survey Sampling", ch. 5). The human votes of the row are added to `a`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from .evidence import Answers, Evidence, FloatArray


@dataclass(frozen=True)
class Shape:
    """How evidence adds up: rho of each annotator, r and c; and the number of answers at which weights are compared."""

    repeat: dict[str, float]
    across: float
    share: float
    reference: dict[str, float]


@dataclass
class AnnotatorMap:
    """What one annotator's answers mean.

    Attributes:
        worth: s, the weight of its first answer in votes.
        repeat: rho, from 0 (every answer is new) to 1 (the second says nothing that the first did not).
        confusion: (K, K), rows sum to 1: what listeners hear, by what the annotator answers.
        by_focus: The same for single foci, where they were seen to differ.
    """

    worth: float
    repeat: float
    confusion: FloatArray
    by_focus: dict[str, FloatArray] = field(default_factory=dict)

    def weight(self, number: FloatArray) -> FloatArray:
        """Weight of so many answers, in votes."""
        return np.asarray(self.worth * number / (1.0 + np.maximum(number - 1.0, 0.0) * self.repeat))

    def heard(self, answers: Answers) -> FloatArray:
        """The mean answers as listeners would have it, (N, K); sums to 1, or to 0 where there are none."""
        if not self.by_focus or answers.row is None:
            return row_by_row(answers.mean, self.confusion)
        maps = np.stack([self.by_focus.get(name, self.confusion) for name in answers.foci])
        split = answers.by_focus()
        return row_by_row(split.reshape(len(split), -1), maps.reshape(-1, maps.shape[-1]))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "worth": self.worth,
            "repeat": self.repeat,
            "confusion": self.confusion.tolist(),
            "by_focus": {name: values.tolist() for name, values in self.by_focus.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> AnnotatorMap:
        """From JSON."""
        foci = {str(name): np.array(table, dtype=np.float64) for name, table in values["by_focus"].items()}
        return cls(float(values["worth"]), float(values["repeat"]), np.array(values["confusion"], np.float64), foci)


@dataclass
class PosteriorMap:
    """The fitted map; the names are those of the module's formulas."""

    alone: FloatArray
    beside: FloatArray
    share: float  # c
    across: float  # r
    annotators: dict[str, AnnotatorMap] = field(default_factory=dict)

    def shape(self, reference: Mapping[str, float]) -> Shape:
        """How evidence adds up in this map."""
        repeat = {name: annotator.repeat for name, annotator in self.annotators.items()}
        return Shape(repeat, self.across, self.share, dict(reference))

    def silenced(self) -> PosteriorMap:
        """The same with annotators that are worth nothing."""
        silent = {name: replace(annotator, worth=0.0) for name, annotator in self.annotators.items()}
        return replace(self, annotators=silent)

    def weights(self, evidence: Evidence) -> FloatArray:
        """Weight of each annotator in each row, in votes and before `across`, (N, A)."""
        names = self.annotators
        found = [self.annotators[name].weight(evidence.annotators[name].number) for name in names]
        return np.stack(found, axis=1) if found else np.zeros((len(evidence), 0))

    def prior(self, evidence: Evidence) -> FloatArray:
        """Dirichlet parameters of each row before its own human votes, (N, K)."""
        weights = self.weights(evidence)
        together, _, _, _ = across_annotators(weights, self.across)
        replaced = 1.0 - np.exp(-self.share * together * weights.sum(axis=1) / self.alone.sum())[:, None]
        result = (1.0 - replaced) * self.alone + replaced * self.beside
        for place, (name, annotator) in enumerate(self.annotators.items()):
            result = result + (together * weights[:, place])[:, None] * annotator.heard(evidence.annotators[name])
        return np.asarray(result)

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "alone": self.alone.tolist(),
            "beside": self.beside.tolist(),
            "share": self.share,
            "across": self.across,
            "annotators": {name: annotator.to_dict() for name, annotator in self.annotators.items()},
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> PosteriorMap:
        """From JSON."""
        return cls(
            np.array(values["alone"], dtype=np.float64),
            np.array(values["beside"], dtype=np.float64),
            float(values["share"]),
            float(values["across"]),
            {str(name): AnnotatorMap.from_dict(entry) for name, entry in values["annotators"].items()},
        )


def row_by_row(left: FloatArray, right: FloatArray) -> FloatArray:
    """``left @ right``, in which a row's result is the same to the last bit whatever other rows there are: BLAS sums in
    another order for one row than for many, and a batch of one would not equal a batch of eight.
    """
    result = np.zeros((len(left), right.shape[1]))
    for place, values in enumerate(right):
        result += left[:, place, None] * values
    return result


def across_annotators(weights: FloatArray, across: float) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
    """g of each row (N,), its number of annotators J (N,), and the derivatives of g by the weights (N, A) and by r
    (N,).

    A row that nobody spoke about has g = 1.
    """
    total, squares = weights.sum(axis=1), (weights**2).sum(axis=1)
    some = squares > 0
    safe = np.where(some, squares, 1.0)
    number = np.where(some, total**2 / safe, 1.0)
    together = 1.0 / (1.0 + (number - 1.0) * across)
    by_weight = np.where(some, 2.0 * total / safe, 0.0)[:, None] - weights * (2.0 * total**2 / safe**2)[:, None]
    return together, number, -across * together[:, None] ** 2 * by_weight, -(together**2) * (number - 1.0)
