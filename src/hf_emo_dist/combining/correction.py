"""A smoother, richer map on top of the posterior's, where there are data enough to learn it.

The prior ``a`` of a row becomes ``a * exp(x @ B)``, where x holds the mean answers of each annotator and their pairwise
products (so that a mixed answer may mean another thing than the mixture of what its parts mean), standardised over the
rows that were fitted on, and times w / (w + 1), with w the weight that the number of answers gives the annotator. B is
shrunk towards 0, at which nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from .evidence import Evidence, FloatArray
from .fitting import minimise
from .likelihood import VoteLikelihood
from .posterior import PosteriorMap, row_by_row

#: Precisions of B's entries that are tried: 1 / variance, in nats.
PRECISIONS = (1000.0, 300.0, 100.0, 30.0)
# with more emotions than this, squares stand for products: there would be hundreds of these
_PRODUCTS_UP_TO = 8
# exp(3) = 20-fold: far beyond what is seen, so that an unseen answer cannot do more
_MOST = 3.0
# An annotator whose answers weigh so many votes has half of the say: of one that is worth nothing, nothing is learnt.
_HALF = 1.0


@dataclass
class Correction:
    """B, (D, K), and what standardises x: mean and scale (D,); the full number of answers of each annotator."""

    coefficients: FloatArray
    mean: FloatArray
    scale: FloatArray
    full: dict[str, float]

    def apply(self, prior: FloatArray, evidence: Evidence, fitted: PosteriorMap) -> FloatArray:
        """The corrected parameters, (N, K)."""
        x = (self._features(evidence) - self.mean) / self.scale * _presence(evidence, fitted, self.full)
        return np.asarray(prior * np.exp(np.clip(row_by_row(x, self.coefficients), -_MOST, _MOST)))

    def _features(self, evidence: Evidence) -> FloatArray:
        return features_of(evidence.only(list(self.full)))

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "coefficients": self.coefficients.tolist(),
            "mean": self.mean.tolist(),
            "scale": self.scale.tolist(),
            "full": self.full,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Correction:
        """From JSON."""
        table, mean, scale = (np.array(values[name], dtype=np.float64) for name in ("coefficients", "mean", "scale"))
        return cls(table, mean, scale, {str(name): float(number) for name, number in values["full"].items()})


def features_of(evidence: Evidence) -> FloatArray:
    """Mean answers of each annotator and their products, (N, D)."""
    parts = []
    for answers in evidence.annotators.values():
        mean, size = answers.mean, answers.mean.shape[1]
        if size <= _PRODUCTS_UP_TO:
            first, second = np.triu_indices(size)
            parts += [mean, mean[:, first] * mean[:, second]]
        else:
            parts += [mean, mean**2]
    return np.concatenate(parts, axis=1)


def _presence(evidence: Evidence, fitted: PosteriorMap, full: Mapping[str, float]) -> FloatArray:
    """For each feature how much its annotator's number of answers lets it say, from 0 to 1, (N, D)."""
    size = evidence.human.shape[1]
    each = size + (size * (size + 1) // 2 if size <= _PRODUCTS_UP_TO else size)
    parts = []
    for name, number in full.items():
        annotator = fitted.annotators[name]
        most = float(annotator.weight(np.array([number]))[0])
        share = np.minimum(annotator.weight(evidence.annotators[name].number), most) / (most + _HALF)
        parts.append(np.repeat(share[:, None], each, axis=1))
    return np.concatenate(parts, axis=1)


def fit_correction(evidence: Evidence, fitted: PosteriorMap, full: Mapping[str, float], precision: float) -> Correction:
    """Fit B on rows with human votes, beside a posterior map that is held."""
    evidence = evidence.only(list(full))
    x = features_of(evidence)
    spoken = _presence(evidence, fitted, full)
    some = spoken > 0
    number = np.maximum(some.sum(axis=0), 1)
    mean = (x * some).sum(axis=0) / number
    scale = np.sqrt((((x - mean) * some) ** 2).sum(axis=0) / number)
    scale[scale < 1e-6] = 1.0
    x = (x - mean) / scale * spoken
    prior, likelihood = fitted.prior(evidence), VoteLikelihood(evidence.human)
    size = prior.shape[1]

    def objective(flat: FloatArray) -> tuple[float, FloatArray]:
        coefficients = flat.reshape(-1, size)
        logs = x @ coefficients
        alpha = prior * np.exp(np.clip(logs, -_MOST, _MOST))
        value, gradient = likelihood.value_and_gradient(alpha)
        gradient = gradient * alpha * (np.abs(logs) < _MOST)
        loss = 0.5 * precision * float((flat**2).sum()) - float(value.sum())
        return loss, (precision * coefficients - x.T @ gradient).ravel()

    found = minimise(objective, np.zeros(x.shape[1] * size), most_steps=100)
    return Correction(found.reshape(-1, size), mean, scale, dict(full))
