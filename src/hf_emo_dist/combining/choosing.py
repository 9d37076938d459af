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
#: With fewer rows than this the map stays plain: what is richer could not be told from chance.
FEW_ROWS = 400
# Standard errors over groups that a richer map must gain: by foci (False), by a correction (True). Foci have many
# parameters each, and in truth mostly say the same.
_ERRORS = {False: 3.0, True: 1.0}


@dataclass(frozen=True)
class Recipe:
    """How rich the map is: precision of the foci's own maps and of the correction; None where there are none."""

    foci: float | None = None
    correction: float | None = None
    silent: bool = False  # nobody but people is heard

    def __str__(self) -> str:
        if self.silent:
            return "human votes alone, smoothed: on speakers held out, the annotators did not help"
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


@dataclass
class Richer:
    """The map in use: the posterior's and, where it was chosen, a correction."""

    posterior: PosteriorMap
    correction: Correction | None = None

    def prior(self, evidence: Evidence) -> FloatArray:
        """Dirichlet parameters of each row before its own human votes, (N, K)."""
        found = self.posterior.prior(evidence)
        return found if self.correction is None else self.correction.apply(found, evidence, self.posterior)


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


@dataclass(frozen=True)
class FoldMaps:
    """What was fitted without one fold: every candidate, and the simpler methods' parameters of the fold's rows."""

    candidates: dict[Recipe, Richer]
    human: FloatArray
    weighted: FloatArray


def without_fold(train: Evidence, tested: Evidence, expected: float, seed: int) -> FoldMaps:
    """Fit all candidates on the other folds' rows."""
    base = fit_posterior(train, expected, seed)
    full = full_numbers(train)
    found = {Recipe(): Richer(base), Recipe(silent=True): Richer(base.silenced())}
    many = len(train) >= FEW_ROWS
    if many and any(answers.row is not None and len(answers.foci) > 1 for answers in train.annotators.values()):
        for precision in FOCUS_PRECISIONS:
            split = fit_posterior(train, expected, seed, precision, base.shape(full))
            found[Recipe(foci=precision)] = Richer(split)
    for precision in PRECISIONS if many and train.annotators else ():
        found[Recipe(correction=precision)] = Richer(base, fit_correction(train, base, full, precision))
    prior, weight = fit_weight(train, expected)
    human = np.broadcast_to(base.alone, tested.human.shape)
    return FoldMaps(found, human, prior + weight * pooled_counts(tested))


def choose(
    evidence: Evidence, folds: IndexArray, expected: float, seed: int
) -> tuple[Choice, dict[int, Richer], list[PosteriorMap]]:
    """Compare the candidates on speakers that they were not fitted on, on rows with human votes.

    Where the plain map does no better than people alone, the annotators are silenced. A richer map takes over where it
    gains more than a standard error over speakers (with maps of the foci three); what is reported of a fold is the
    candidate that the other folds would have chosen.

    Returns:
        The choice; the chosen map of each fold, fitted without it; and the plain ones.
    """
    used = [int(fold) for fold in np.unique(folds)]
    groups = evidence.groups if evidence.groups is not None else evidence.row_hashes().astype(str)
    number = len(set(groups.tolist()))
    if len(used) < 2:
        return Choice(Recipe(), {}, {}, len(evidence), number), {}, []
    rows = {fold: np.flatnonzero(folds == fold) for fold in used}
    maps, alpha = {}, {}
    for fold in used:
        tested = evidence.select(rows[fold])
        maps[fold] = without_fold(evidence.select(np.flatnonzero(folds != fold)), tested, expected, seed)
        alpha[fold] = {recipe: found.prior(tested) for recipe, found in maps[fold].candidates.items()}
    candidates = [
        recipe for recipe in maps[used[0]].candidates if all(recipe in maps[fold].candidates for fold in used)
    ]

    def joined(parts: Mapping[int, FloatArray]) -> FloatArray:
        found = np.empty(evidence.human.shape)
        for fold in used:
            found[rows[fold]] = parts[fold]
        return found

    likelihood = VoteLikelihood(evidence.human)
    held = {recipe: likelihood.value(joined({fold: alpha[fold][recipe] for fold in used})) for recipe in candidates}
    apart = {fold: _best({each: held[each][folds != fold] for each in held}, groups[folds != fold]) for fold in used}
    methods = {
        "posterior": joined({fold: alpha[fold][apart[fold]] for fold in used}),
        "human": joined({fold: maps[fold].human for fold in used}),
        "weighted": joined({fold: maps[fold].weighted for fold in used}),
        "pool": pooled_counts(evidence),
    }
    told = {name: beside_others(values, evidence.human) for name, values in methods.items()}
    votes = evidence.human.sum(axis=1)
    per_vote = {name: _interval(values, votes, groups, seed) for name, values in told.items()}
    others = [name for name in told if name != "posterior"]
    gain = {name: _interval(told["posterior"] - told[name], votes, groups, seed) for name in others}
    recipe = _best(held, groups)
    chosen = {fold: maps[fold].candidates[recipe] for fold in used}
    plain = [maps[fold].candidates[Recipe()].posterior for fold in used]
    return Choice(recipe, per_vote, gain, len(evidence), number), chosen, plain


def beside_others(alpha: FloatArray, human: FloatArray) -> FloatArray:
    """Log-likelihood of each row's human votes, (N,) nats, each vote predicted from the row's others and from
    `alpha`.
    """
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
    """The plain map, unless people alone do better; or the best of those that beat the plain one beyond chance."""
    plain = Recipe()
    _, place = np.unique(groups, return_inverse=True)
    place = place.reshape(-1)
    if float(held[plain].sum()) <= float(held[Recipe(silent=True)].sum()):
        return Recipe(silent=True)
    best, most = plain, 0.0
    for recipe, values in held.items():
        if recipe.silent:
            continue
        gains = np.bincount(place, values - held[plain])
        error = float(np.std(gains, ddof=1) * np.sqrt(len(gains))) if len(gains) > 1 else np.inf
        gain = float(gains.sum())
        if gain > most and gain > _ERRORS[recipe.foci is None] * error:
            best, most = recipe, gain
    return best


def fit_recipe(evidence: Evidence, recipe: Recipe, expected: float, seed: int) -> Richer:
    """Fit a map as rich as the recipe says on the rows with human votes."""
    evidence = evidence.select(np.flatnonzero(evidence.human.sum(axis=1) > 0))
    posterior = fit_posterior(evidence, expected, seed, recipe.foci)
    if recipe.silent:
        return Richer(posterior.silenced())
    if recipe.correction is None:
        return Richer(posterior)
    return Richer(posterior, fit_correction(evidence, posterior, full_numbers(evidence), recipe.correction))
