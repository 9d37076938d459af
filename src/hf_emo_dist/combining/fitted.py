"""What a combiner has learnt: the maps, what they were fitted on, and how they did on speakers held out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

from .choosing import Choice, Richer
from .correction import Correction
from .evidence import Evidence, FloatArray
from .fitting import pooled_counts
from .posterior import PosteriorMap

Method = Literal["posterior", "weighted", "pool"]


@dataclass
class Fitted:
    """What was learnt.

    Attributes:
        method: What targets are made by.
        annotators: Names of those that were fitted on.
        about: What it was fitted on: `rows`, `speakers` (None where not known), `votes`, `votes_a_row` (number of human
            votes → rows), `answers` (annotator → answers in all, rows, and the usual number).
        alone: (K,) Dirichlet parameters of a row of which nothing is known.
        weight: Of every synthetic vote, with ``"weighted"``.
        given: Whether that weight was given, and not fitted.
        map: With ``"posterior"``, the map.
        parts: Where a correction was chosen, a map a fold, fitted without the fold's speakers.
        groups: The fold of each speaker, by the hash of their name.
        choice: How the candidates did on speakers held out.
        worth: Annotator → number of answers → their worth in human votes, with an interval over speakers.
        notes: What must be said with it.
    """

    method: Method
    annotators: tuple[str, ...]
    about: dict[str, Any]
    alone: FloatArray | None = None
    weight: float | None = None
    given: bool = False
    map: Richer | None = None
    parts: list[Richer] = field(default_factory=list)
    groups: dict[int, int] = field(default_factory=dict)
    choice: Choice | None = None
    worth: dict[str, dict[str, tuple[float, float, float]]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @classmethod
    def described(cls, method: Method, evidence: Evidence, **parts: Any) -> Fitted:
        """With what the evidence says about itself."""
        number = evidence.human.sum(axis=1)
        answers = {}
        for name, given in evidence.annotators.items():
            spoke = given.number[given.number > 0]
            answers[name] = {
                "answers": float(spoke.sum()),
                "rows": len(spoke),
                "usual": float(np.median(spoke)) if len(spoke) else 0.0,
                "singly": given.singly,
                "versions": list(given.versions),
            }
        votes = Counter(f"{value:g}" for value in number)
        about = {
            "rows": len(evidence),
            "speakers": None if evidence.groups is None else len(set(evidence.groups.tolist())),
            "votes": float(number.sum()),
            "votes_a_row": dict(sorted(votes.items(), key=lambda item: float(item[0]))),
            "answers": answers,
        }
        found = cls(method, tuple(evidence.annotators), about, **parts)
        if method == "posterior" and not found.scale_is_measured:
            found.notes.append(
                "No row has two human votes, so that how much listeners agree is unidentified: it is assumed, and "
                "with it the total weight of the synthetic votes. Mend: a second vote on some rows."
            )
        return found

    @property
    def scale_is_measured(self) -> bool:
        """Whether some rows have two human votes, which tell how much listeners agree."""
        return any(float(number) >= 2 for number in self.about["votes_a_row"])

    def prior(self, evidence: Evidence) -> FloatArray:
        """Dirichlet parameters of each row before its own human votes, (N, K)."""
        if self.method == "pool":
            return pooled_counts(evidence)
        assert self.alone is not None
        if self.method == "weighted":
            return np.asarray(self.alone + (self.weight or 0.0) * pooled_counts(evidence))
        assert self.map is not None
        hashes = evidence.only(self.annotators).row_hashes() if self.parts else None
        evidence = evidence.only(self.annotators)
        result = self.map.prior(evidence)
        if hashes is None:
            return result
        # a row's target comes from a map that was fitted without its speaker
        if evidence.groups is not None or self.groups:
            fold = np.array([self.groups.get(int(value), -1) for value in hashes])
        else:
            fold = (hashes % np.uint64(len(self.parts))).astype(np.int64)
        for place, part in enumerate(self.parts):
            rows = np.flatnonzero(fold == place)
            if len(rows):
                result[rows] = part.prior(evidence.select(rows))
        return result

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "method": self.method,
            "annotators": list(self.annotators),
            "about": self.about,
            "alone": None if self.alone is None else self.alone.tolist(),
            "weight": self.weight,
            "given": self.given,
            "map": None if self.map is None else _richer_to_dict(self.map),
            "parts": [_richer_to_dict(part) for part in self.parts],
            "groups": {f"{key:016x}": fold for key, fold in self.groups.items()} if self.parts else {},
            "choice": None if self.choice is None else self.choice.to_dict(),
            "worth": {
                name: {number: _plain(found) for number, found in numbers.items()}
                for name, numbers in self.worth.items()
            },
            "notes": self.notes,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Fitted:
        """From JSON."""
        worth = {
            str(name): {str(number): _interval(found) for number, found in numbers.items()}
            for name, numbers in values["worth"].items()
        }
        return cls(
            values["method"],
            tuple(values["annotators"]),
            dict(values["about"]),
            None if values["alone"] is None else np.array(values["alone"], dtype=np.float64),
            values["weight"],
            values["given"],
            None if values["map"] is None else _richer_from_dict(values["map"]),
            [_richer_from_dict(part) for part in values["parts"]],
            {int(key, 16): int(fold) for key, fold in values["groups"].items()},
            None if values["choice"] is None else Choice.from_dict(values["choice"]),
            worth,
            list(values["notes"]),
        )


def _richer_to_dict(found: Richer) -> dict[str, Any]:
    correction = None if found.correction is None else found.correction.to_dict()
    return {"posterior": found.posterior.to_dict(), "correction": correction}


def _richer_from_dict(values: Mapping[str, Any]) -> Richer:
    correction = None if values["correction"] is None else Correction.from_dict(values["correction"])
    return Richer(PosteriorMap.from_dict(values["posterior"]), correction)


def _interval(values: Sequence[float | None]) -> tuple[float, float, float]:
    value, low, high = (float("nan") if number is None else float(number) for number in values)
    return value, low, high


def _plain(found: Sequence[float]) -> list[float | None]:
    """JSON has no NaN."""
    return [float(number) if np.isfinite(number) else None for number in found]
