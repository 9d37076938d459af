"""What is a synthetic vote worth? Targets by method and number of human votes, annotators, and the next votes."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from ...combining.combiner import VoteCombiner
from ...combining.recommending import Recommendation, recommend
from ...combining.worth import verdict
from ...data.rows import rough_intervals
from ...evaluation.scoring import Bootstrap
from ..study import Plot, Study
from ..vote_table import Sources
from .findings import allocation_finding, annotator_findings, target_findings, worth_tables
from .plots import answers_plot, confusion_plot, targets_plot
from .targets import (
    HELD_OUT,
    POSTERIOR,
    IndexArray,
    Made,
    allocate_votes,
    compared,
    fitted,
    folds,
    make_targets,
)
from .voters import Voters, first_counts, voters_of

__all__ = ["worth"]

logger = logging.getLogger(__name__)

#: Share of the rows that must have the votes of a column for it to be shown, and the rows that are scored at least.
ENOUGH, FEWEST_ROWS = 0.5, 20
#: Human votes a row on average that are allocated.
ALLOCATED = 3
#: Answers that the curve of their worth goes up to.
MOST_ANSWERS = 30


def worth(
    data: Sources,
    *,
    human: str | None = None,
    annotators: Sequence[str] | None = None,
    predictions: Sequence[str] = (),
    votes: Sequence[int] = (1, 2, 3, 5),
    num_folds: int = 4,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Study:
    """Study what synthetic votes are worth beside human ones: targets that are scored on human votes held out.

    Annotators are those of a data set's own synthetic votes and, where several sources are given or a column is named
    by --by, all but --human: their rows answer about people's row of the same id (CSV: id, file or clip).

    Args:
        data: Votes of people and of annotators.
        human: Whose votes are people's, where there are several sources or values of --by: its name.
        annotators: Annotators to look at (default: all).
        predictions: Distribution columns with out-of-fold predictions of a model of your own: further annotators.
        votes: Human votes a row, for each of which targets are made and scored.
        num_folds: Folds of whole speakers: targets come from what was fitted on the others.
        num_resamples: Bootstrap resamples.
        seed: Of the votes drawn, folds, fits and the bootstrap.

    Raises:
        ValueError: Nobody but people voted, there is one speaker only, or the rows have too few human votes.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    if num_folds < 2 or not votes or min(votes) < 1:
        raise ValueError(f"num_folds={num_folds}, votes={list(votes)}. Mend: 2 folds or more, and numbers from 1.")
    voters = voters_of(data, human, annotators, predictions)
    number = (voters.votes >= 0).sum(axis=1)
    speakers = None if voters.speakers is None else len(set(voters.speakers.tolist()))
    if speakers == 1:
        raise ValueError(
            "There is one speaker only, and targets are scored on other speakers than the fit's. Mend: add speakers, "
            "or name their column, --speaker_column."
        )
    shown, left_out = _shown(sorted(set(votes)), number)
    scored = np.flatnonzero(number >= shown[-1] + HELD_OUT)
    order = voters.in_random_order(seed)
    size = len(voters.emotions)
    everything = voters.evidence(first_counts(order, number, size))
    fold = folds(everything, voters.groups, num_folds, seed)
    held = (everything.human - first_counts(order, shown[-1], size))[scored]
    made: dict[int, Made] = {}
    results: dict[str, Any] = {"targets": {}}
    for each in shown:
        logger.info("worth: targets from %d human votes a row, %d folds", each, int(fold.max()) + 1)
        made[each] = make_targets(voters.evidence(first_counts(order, each, size)), voters.emotions, fold, seed)
        targets = {name: target[scored] for name, target in made[each].targets.items()}
        results["targets"][str(each)] = compared(targets, held, voters.groups[scored], bootstrap)
    logger.info("worth: all human votes, and what each annotator is worth")
    combiner = fitted(everything, voters.emotions, POSTERIOR, seed)
    results |= {
        "people": voters.name,
        "rows": len(voters.ids),
        "scored_rows": len(scored),
        "speakers": speakers,
        "folds": int(fold.max()) + 1,
        "votes": shown,
        "votes_left_out": left_out,
        "votes_held_out": float(held.sum(axis=1).mean()),
        **_fitted(combiner, voters, everything),
        "allocation": None,
    }
    if ALLOCATED in made:
        results["allocation"] = _allocation(made[ALLOCATED], voters, order, fold, seed, bootstrap)
    return _study(data, voters, results, num_resamples, seed)


def _shown(votes: list[int], number: IndexArray) -> tuple[list[int], list[int]]:
    """The numbers of votes that enough rows have beside those that are held out, and the others."""
    rows = {each: int((number >= each + HELD_OUT).sum()) for each in votes}
    shown = [each for each in votes if rows[each] >= max(FEWEST_ROWS, ENOUGH * len(number))]
    if not shown:
        raise ValueError(
            f"{rows[votes[0]]} of {len(number)} rows have {votes[0] + HELD_OUT} human votes: {votes[0]} to make a "
            f"target of and {HELD_OUT} to score it by; half of the rows, and {FEWEST_ROWS}, are needed. Mend: more "
            "human votes on some rows."
        )
    return shown, [each for each in votes if each not in shown]


def _fitted(combiner: VoteCombiner, voters: Voters, evidence: Any) -> dict[str, Any]:
    """What was fitted on all rows: the annotators, and how they did on speakers held out."""
    found = combiner.fitted
    assert found is not None and found.map is not None and found.choice is not None and found.alone is not None
    posterior = found.map.posterior
    recommended: dict[str, Recommendation] = {}
    if any(answers.singly for answers in voters.annotators.values()):
        given = recommend(posterior, evidence, combiner.agreement, combiner.seed, most=MOST_ANSWERS)
        recommended = {each.annotator: each for each in given}
    annotators = {}
    for name, about in found.about["answers"].items():
        number = recommended.get(name)
        annotators[name] = {
            "answers": about["answers"],
            "rows": about["rows"],
            "usual": about["usual"],
            "worth": {
                count: dict(zip(("value", "low", "high"), interval, strict=True))
                for count, interval in found.worth[name].items()
            },
            "repeats": posterior.annotators[name].repeat if about["singly"] else None,
            "heard_as": {
                said: dict(zip(voters.emotions, row.tolist(), strict=True))
                for said, row in zip(voters.emotions, posterior.annotators[name].confusion, strict=True)
            },
            "recommended": None if number is None else {**asdict(number), "told": str(number)},
        }
    choice = found.choice
    return {
        "annotators": annotators,
        "prior_votes": float(found.alone.sum()),
        "agreement": float(1.0 / (1.0 + found.alone.sum())),
        "agreement_measured": found.scale_is_measured,
        "map": str(choice.recipe),
        "held_out": {
            "log_likelihood_per_vote": {name: _estimate(value) for name, value in choice.per_vote.items()},
            "gain": {name: _estimate(value) for name, value in choice.gain.items()},
            "verdict": verdict(choice.gain["human"]) if choice.gain else None,
        },
        "notes": list(found.notes),
    }


def _estimate(found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), found, strict=True))


def _allocation(
    made: Made, voters: Voters, order: IndexArray, fold: IndexArray, seed: int, bootstrap: Bootstrap
) -> dict[str, Any]:
    """The same number of human votes, given where they help most, against as many for each row."""
    size = len(voters.emotions)
    rows = np.flatnonzero((order >= 0).sum(axis=1) >= ALLOCATED + HELD_OUT)
    evidence = voters.evidence(np.zeros((len(order), size)))
    given = allocate_votes(order, evidence, fold, made.combiners, rows, ALLOCATED)
    # what neither of the two has seen
    used = np.maximum(given.number, ALLOCATED)
    held = (first_counts(order, order.shape[1], size) - first_counts(order, used, size))[rows]
    targets = {"even": made.targets[POSTERIOR][rows], "allocated": given.target[rows]}
    numbers = np.bincount(given.number[rows])
    return {
        "average": float(given.number[rows].mean()),
        "rows": len(rows),
        "rows_by_votes": {str(each): int(count) for each, count in enumerate(numbers) if count},
        **compared(targets, held, voters.groups[rows], bootstrap, baseline="even"),
    }


def _study(data: Sources, voters: Voters, results: dict[str, Any], num_resamples: int, seed: int) -> Study:
    told = data.facts()
    shown = results["votes"]
    told["people"] = f"{voters.name}: {results['rows']} rows with human votes, {int((voters.votes >= 0).sum())} votes"
    told["annotators"] = "; ".join(
        f"{name}: {found['rows']} rows, usually {found['usual']:g} answers"
        for name, found in results["annotators"].items()
    )
    over = "utterances (speakers are not known)" if results["speakers"] is None else "speakers"
    told["protocol"] = (
        f"each row's first votes, in an order drawn by (seed, id), make its target, by combiners fitted on as many "
        f"votes of the rows of other {'folds' if results['speakers'] is None else 'speakers'} ({results['folds']} "
        f"folds); scored on the votes after the first {shown[-1]}, the same for every column, of the "
        f"{results['scored_rows']} rows with {HELD_OUT} or more of them ({results['votes_held_out']:.1f} on average); "
        f"worth of annotators: all human votes of all rows; 95 % bootstrap intervals over {over}"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    notes = data.notes()
    if results["speakers"] is None:
        notes.append("speakers are not known: a row's speaker may be among those that its target was fitted on")
    else:
        notes += rough_intervals(results["speakers"])
    notes += results["notes"]
    if results["votes_left_out"]:
        numbers = ", ".join(map(str, results["votes_left_out"]))
        notes.append(f"left out: {numbers} human votes a row, since too few rows have {HELD_OUT} more to score by")
    if results["allocation"] is None:
        notes.append(f"left out: allocation, which starts from the targets of {ALLOCATED} human votes a row")
    study = Study("worth", "What is a synthetic vote worth?", told, notes, results=results)
    study.findings = [
        *target_findings(results["targets"]),
        *([results["held_out"]["verdict"]] if results["held_out"]["verdict"] else []),
        *annotator_findings(results["annotators"]),
        *([allocation_finding(results["allocation"], ALLOCATED)] if results["allocation"] else []),
    ]
    study.tables = worth_tables(results, ALLOCATED)
    shared = data.notes()
    study.plots = [
        Plot(
            "worth_targets",
            targets_plot(results["targets"], shared),
            "Distance of targets to human votes that were held out, by the number of human votes that they were made "
            "of, with 95 % intervals; lower is better.",
        )
    ]
    if any(found["recommended"] for found in results["annotators"].values()):
        caption = (
            "What answers are worth in human votes. Dotted: the number after which a further answer adds less than "
            "0.05 human votes, and its 90 % interval. Beyond the answers that the data have, the curve is the model's."
        )
        study.plots.append(Plot("worth_answers", answers_plot(results["annotators"], shared), caption))
    caption = "What listeners hear, by what the annotator answers; rows sum to 1."
    study.plots.append(Plot("worth_confusion", confusion_plot(results["annotators"], shared), caption))
    return study
