"""Held-out speakers decide how rich a map may be, and say what it gains over people alone, one weight, and pooling."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scores.bootstrap import bootstrap_interval
from ..scores.checking import EPSILON
from .correction import PRECISIONS, Correction, fit_correction
from .evidence import Evidence, FloatArray, IndexArray
from .fitting import fit_posterior, fit_weight, pooled_counts
from .likelihood import VoteLikelihood
from .posterior import PosteriorMap

FOLDS = 5
#: Precisions of the deviation of a focus from its annotator, in logits, that are tried.
FOCUS_PRECISIONS = (30.0, 3.0)
#: Rows that candidates are compared on at most: enough to tell apart what matters.
MOST_ROWS = 20_000


@dataclass(frozen=True)
class Recipe:
    """How rich the map is: precision of the foci's own maps and of the correction; None where there are none."""

    foci: float | None = None
    correction: float | None = None

    def __str__(self) -> str:
        parts = ["one confusion map an annotator" if self.foci is None else "maps of the foci, leaning on one"]
        return ", ".join(parts + ([] if self.correction is None else ["a smooth correction on top"]))


@dataclass(frozen=True)
class Choice:
    """The recipe, and the log-likelihood of held-out votes, in nats a vote with interval over speakers, by method."""

    recipe: Recipe
    per_vote: dict[str, tuple[float, float, float]]  # method → value, low, high
    gain: dict[str, tuple[float, float, float]]  # posterior minus that method
    rows: int
    groups: int
    maps: tuple[PosteriorMap, ...] = ()  # of the folds, each fitted on the others; not kept in JSON

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return {
            "recipe": asdict(self.recipe),
            "per_vote": self.per_vote,
            "gain": self.gain,
            "rows": self.rows,
            "groups": self.groups,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Choice:
        """From JSON."""
        per_vote, gain = (
            {str(name): (float(v[0]), float(v[1]), float(v[2])) for name, v in values[kind].items()}
            for kind in ("per_vote", "gain")
        )
        return cls(Recipe(**values["recipe"]), per_vote, gain, int(values["rows"]), int(values["groups"]))


def folds_of(evidence: Evidence, seed: int, number: int = FOLDS) -> tuple[IndexArray, dict[int, int]]:
    """The fold of each row, (N,), whole groups together; and, where groups are known, of each group by its hash.

    Groups are dealt in the order of their hashes, each to the fold with the fewest rows, so that the folds depend
    neither on the order of the rows nor on that of the groups.
    """
    hashes = evidence.row_hashes()
    if evidence.groups is None:
        return (hashes % np.uint64(number)).astype(np.int64), {}
    kinds, place, sizes = np.unique(hashes ^ np.uint64(seed), return_inverse=True, return_counts=True)
    number = min(number, len(kinds))
    fold, rows = np.zeros(len(kinds), dtype=np.int64), np.zeros(number, dtype=np.int64)
    for kind in range(len(kinds)):
        fold[kind] = np.argmin(rows)
        rows[fold[kind]] += sizes[kind]
    table = {int(kind ^ np.uint64(seed)): int(where) for kind, where in zip(kinds, fold, strict=True)}
    return fold[place.reshape(-1)], table


def full_numbers(evidence: Evidence) -> dict[str, float]:
    """The usual number of answers of each annotator where it gave any."""
    found = {}
    for name, answers in evidence.annotators.items():
        spoke = answers.number[answers.number > 0]
        found[name] = max(float(np.median(spoke)), 1.0) if len(spoke) else 1.0
    return found


def choose(evidence: Evidence, folds: IndexArray, expected: float, seed: int) -> Choice:
    """Compare the candidates on speakers that they were not fitted on.

    A richer map takes over where it gains more than one standard error over speakers; what is reported of a fold
    is the candidate that the other folds would have chosen.
    """
    rows = np.flatnonzero(evidence.human.sum(axis=1) > 0)
    if len(rows) > MOST_ROWS:
        rows = np.sort(np.random.default_rng([seed, 2]).permutation(rows)[:MOST_ROWS])
    part, fold = evidence.select(rows), folds[rows]
    number = part.human.sum(axis=1)
    likelihood = VoteLikelihood(part.human)
    groups = part.groups if part.groups is not None else part.row_hashes().astype(str)
    candidates = [Recipe()]
    if any(answers.row is not None and len(answers.foci) > 1 for answers in part.annotators.values()):
        candidates += [Recipe(foci) for foci in FOCUS_PRECISIONS]
    if part.annotators:
        candidates += [Recipe(None, precision) for precision in PRECISIONS]
    held = {recipe: np.zeros(len(part)) for recipe in candidates}
    alpha = {recipe: np.zeros(part.human.shape) for recipe in candidates}
    others = {name: np.zeros(part.human.shape) for name in ("human", "weighted")}
    used = np.unique(fold)
    maps = []
    for one in used if len(used) > 1 else ():
        train, test = part.select(np.flatnonzero(fold != one)), np.flatnonzero(fold == one)
        tested = part.select(test)
        base = fit_posterior(train, expected, seed)
        maps.append(base)
        others["human"][test] = base.alone
        prior, weight = fit_weight(train, expected)
        others["weighted"][test] = prior + weight * pooled_counts(tested)
        full = full_numbers(train)
        for recipe in candidates:
            if recipe.foci is not None:
                found = fit_posterior(train, expected, seed, recipe.foci, base.shape(full)).prior(tested)
            else:
                found = base.prior(tested)
                if recipe.correction is not None:
                    correction = fit_correction(train, base, full, recipe.correction)
                    found = correction.apply(found, tested, base)
            alpha[recipe][test] = found
    for recipe in candidates if len(used) > 1 else ():
        held[recipe] = likelihood.value(alpha[recipe])
    recipe = _best(held, groups)
    if len(used) < 2:
        return Choice(recipe, {}, {}, len(part), len(set(groups)))
    chosen = np.zeros(part.human.shape)
    for one in used:
        apart = _best({each: values[fold != one] for each, values in held.items()}, groups[fold != one])
        chosen[fold == one] = alpha[apart][fold == one]
    methods = {
        "posterior": beside_others(chosen, part.human),
        "human": beside_others(others["human"], part.human),
        "weighted": beside_others(others["weighted"], part.human),
        "pool": beside_others(pooled_counts(part), part.human),
    }
    per_vote = {name: _interval(values, number, groups, seed) for name, values in methods.items()}
    gain = {
        name: _interval(methods["posterior"] - values, number, groups, seed)
        for name, values in methods.items()
        if name != "posterior"
    }
    return Choice(recipe, per_vote, gain, len(part), len(set(groups)), tuple(maps))


def beside_others(alpha: FloatArray, human: FloatArray) -> FloatArray:
    """Log-likelihood of each row's human votes, (N,) nats, each vote predicted from the row's others and from `alpha`."""
    share = (alpha + np.maximum(human - 1.0, 0.0)) / np.maximum(
        alpha.sum(axis=1, keepdims=True) + np.maximum(human.sum(axis=1, keepdims=True) - 1.0, 0.0), 1e-12
    )
    return np.asarray((human * np.log(np.maximum(share, EPSILON))).sum(axis=1))


def _interval(values: FloatArray, votes: FloatArray, groups: NDArray[np.str_], seed: int) -> tuple[float, float, float]:
    """Mean over votes with a 95 % interval over groups."""
    mean = float(values.sum() / votes.sum())
    # the sum of a group's deviations, so that groups count by their votes
    scaled = mean + (values - mean * votes) * (len(values) / votes.sum())
    value, low, high = bootstrap_interval(scaled, groups=groups, seed=seed)
    return float(value), float(low), float(high)


def _best(held: Mapping[Recipe, FloatArray], groups: NDArray[np.str_]) -> Recipe:
    """The candidate of the highest likelihood, if it beats the plain one by over a standard error over groups."""
    plain = Recipe()
    best = max(held, key=lambda recipe: float(held[recipe].sum()))
    if best == plain:
        return plain
    _, place = np.unique(groups, return_inverse=True)
    gains = np.bincount(place.reshape(-1), held[best] - held[plain])
    error = float(np.std(gains, ddof=1) * np.sqrt(len(gains))) if len(gains) > 1 else np.inf
    return best if float(gains.sum()) > error else plain


@dataclass
class Richer:
    """The map in use: the posterior's and, where it was chosen, a correction."""

    posterior: PosteriorMap
    correction: Correction | None = None

    def prior(self, evidence: Evidence) -> FloatArray:
        """Dirichlet parameters of each row before its own human votes, (N, K)."""
        found = self.posterior.prior(evidence)
        return found if self.correction is None else self.correction.apply(found, evidence, self.posterior)


def fit_recipe(evidence: Evidence, recipe: Recipe, expected: float, seed: int) -> Richer:
    """Fit a map as rich as the recipe says on the rows with human votes."""
    evidence = evidence.select(np.flatnonzero(evidence.human.sum(axis=1) > 0))
    posterior = fit_posterior(evidence, expected, seed, recipe.foci)
    if recipe.correction is None:
        return Richer(posterior)
    return Richer(posterior, fit_correction(evidence, posterior, full_numbers(evidence), recipe.correction))
