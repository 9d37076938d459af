"""How many answers of an annotator are worth buying."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from .evidence import Answers, Evidence
from .fitting import fit_posterior
from .posterior import PosteriorMap
from .worth import MOST_ROWS, worth_in_votes

if TYPE_CHECKING:
    from .combiner import VoteCombiner

_RESAMPLES = 20


@dataclass(frozen=True)
class Recommendation:
    """How many answers of an annotator are worth buying.

    Attributes:
        annotator: Its name.
        number: Answers to buy: the last of them still adds `least` human votes.
        low, high: 90 % interval over resampled speakers.
        worth: Worth in human votes of 1, 2, ... answers.
        limit: Worth of infinitely many.
        another: Worth of `number` answers each of this annotator and of another model that is as good and errs apart.
        least: Human votes that an answer must add.
    """

    annotator: str
    number: int
    low: int
    high: int
    worth: list[float]
    limit: float
    another: float
    least: float

    def __str__(self) -> str:
        number = self.number
        if number == 0:
            return f"{self.annotator}: no answer is worth {self.least:g} human votes (the first: {self.worth[0]:.2f})."
        told = (
            f"{self.annotator}: {number} answers an utterance (90 % interval {self.low} to {self.high}); they are "
            f"worth {self.worth[number - 1]:.2f} human votes, infinitely many {self.limit:.2f}."
        )
        if self.another > self.limit:
            told += (
                f" Rather than more of them, ask another model: {number} answers of each would be worth up to "
                f"{self.another:.2f}."
            )
        return told


def recommend_n(
    combiner: VoteCombiner, dataset: Any, *, least: float = 0.05, most: int = 50, num_resamples: int = _RESAMPLES
) -> list[Recommendation]:
    """How many answers of each annotator are worth buying, from a pilot that has several of them a row.

    Args:
        combiner: Fitted with ``method="posterior"``, on the pilot or on other rows with these annotators.
        dataset: The pilot's rows.
        least: Human votes that a further answer must add to be bought.
        most: Answers to look at.
        num_resamples: Resamples of speakers, on which everything is fitted anew, for the interval.

    Returns:
        One recommendation an annotator.

    Raises:
        ValueError: The combiner is not a fitted posterior; or no row has two single answers of any annotator, so that
            what a further one repeats cannot be told.
    """
    fitted = combiner.needed()
    if fitted.map is None:
        raise ValueError("The combiner has no posterior. Mend: VoteCombiner(method='posterior').fit(rows).")
    evidence = combiner.evidence(dataset)
    return recommend(fitted.map.posterior, evidence, combiner.agreement, combiner.seed, least, most, num_resamples)


def recommend(
    fitted: PosteriorMap,
    evidence: Evidence,
    expected: float,
    seed: int = 0,
    least: float = 0.05,
    most: int = 50,
    num_resamples: int = _RESAMPLES,
) -> list[Recommendation]:
    """As `recommend_n`, of evidence in the form that the room has."""
    if most < 1:
        raise ValueError(f"most={most} leaves nothing to look at. Mend: a number from 1.")
    if not evidence.human.any():
        raise ValueError(
            "No row of the pilot has a human vote, so that nothing tells what its answers are worth. Mend: a pilot on "
            "rows with human votes."
        )
    names = [name for name in fitted.annotators if name in evidence.annotators and evidence.annotators[name].singly]
    if not names:
        raise ValueError(
            "No annotator answered twice about a row, so that what a further answer repeats cannot be told. Mend: a "
            "pilot with several answers a row, say num_annotations 5."
        )
    evidence = evidence.only(list(fitted.annotators))
    rng = np.random.default_rng([seed, 4])
    rows = rng.permutation(len(evidence))[:MOST_ROWS]
    evidence = evidence.select(np.sort(rows))
    curves = {name: _curve(fitted, name, evidence.annotators[name], most, seed) for name in names}
    resampled: dict[str, list[int]] = {name: [] for name in names}
    groups = evidence.groups if evidence.groups is not None else np.arange(len(evidence)).astype(str)
    kinds, place = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(place == kind) for kind in range(len(kinds))]
    for _ in range(num_resamples):
        drawn = np.concatenate([members[kind] for kind in rng.integers(0, len(members), len(members))])
        again = fit_posterior(repeated(evidence, drawn), expected, seed)
        for name in names:
            curve = _curve(again, name, evidence.annotators[name], most, seed)
            resampled[name].append(_number(curve, least))
    found = []
    for name in names:
        number = _number(curves[name], least)
        low, high = np.quantile(resampled[name] or [number], [0.05, 0.95])
        limit = worth_in_votes(fitted, name, evidence.annotators[name], 1e9, seed)
        another = 2.0 * curves[name][max(number, 1) - 1]  # where errors are independent, what is known adds up
        found.append(
            Recommendation(
                name,
                number,
                min(number, int(np.floor(low))),
                max(number, int(np.ceil(high))),
                curves[name],
                limit,
                another,
                least,
            )
        )
    return found


def repeated(evidence: Evidence, rows: np.ndarray[Any, Any]) -> Evidence:
    """Rows, some of them several times."""
    annotators: dict[str, Answers] = {}
    for name, answers in evidence.annotators.items():
        if answers.row is None:
            annotators[name] = Answers(answers.number[rows], answers.mean[rows])
            continue
        assert answers.answer is not None and answers.focus is not None
        order = np.argsort(answers.row, kind="stable")
        starts = np.searchsorted(answers.row[order], np.arange(len(answers.number) + 1))
        times = (starts[1:] - starts[:-1])[rows]
        inside = np.arange(times.sum()) - np.repeat(np.cumsum(times) - times, times)
        single = order[np.repeat(starts[rows], times) + inside]
        place = np.repeat(np.arange(len(rows)), times)
        annotators[name] = Answers(
            answers.number[rows], answers.mean[rows], place, answers.answer[single], answers.focus[single], answers.foci
        )
    return Evidence(evidence.human[rows], annotators, None if evidence.groups is None else evidence.groups[rows])


def _curve(fitted: PosteriorMap, name: str, answers: Answers, most: int, seed: int) -> list[float]:
    return [worth_in_votes(fitted, name, answers, number, seed) for number in range(1, most + 1)]


def _number(curve: Sequence[float], least: float) -> int:
    """The last answer that still adds so many human votes."""
    steps = np.diff([0.0, *curve])
    good = np.flatnonzero(steps >= least)
    return int(good[-1]) + 1 if len(good) else 0
