"""Where listeners disagree, is the model still right? Scores by stratum of ambiguity, or by any other column."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.rows import rough_intervals
from ..distributions import entropy
from ..evaluation.scoring import bootstrap_ratio
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_distance, jensen_shannon_divergence
from ..scores.floor import js_divergence_floor
from .inputs import add_source_arguments, corpora_of, interval, interval_words, predictions_for, source_facts
from .strata_cut import MEAN, UNIFORM, ScoredRows, joined_rows, scored_rows
from .study import Plot, Study, StudyTable
from .vote_table import VoteTable, read_vote_table

__all__ = ["strata_study"]

FloatArray = NDArray[np.float64]

#: Votes that make halves worth while, and the share of rows that must have them.
ENOUGH_VOTES, ENOUGH_ROWS = 6, 0.8


def strata_study(
    table: VoteTable,
    predictions: Mapping[str, FloatArray] | None = None,
    *,
    by: str | None = None,
    train_mean: FloatArray | None = None,
    known: Sequence[str] = (),
    halves: str = "auto",
    num_halves: int = 5,
    normalized: bool = False,
    paper: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Score predictors by stratum.

    Votes that place a row in a stratum are not those it is scored on, where there are enough: a row whose votes happen to agree counts as clear *and* is easy
    to score, so that strata and scores on the same votes differ for a predictor that knows nothing of ambiguity.

    Args:
        table: Votes.
        predictions: Name to (N, K) predicted distributions; the first is what skill is reported of.
        by: Column whose values are the strata; default: the entropy of the votes.
        train_mean: (K,) mean of the training split's human votes; default: the mean over the other speakers' rows.
        known: Columns; the mean of the other speakers' rows that are alike in all of them is a predictor.
        halves: ``yes``, ``no``, or ``auto`` (yes where 80 % of the rows have 6 votes).
        num_halves: Random splits of each row's votes.
        normalized: See :func:`cut_strata`.
        paper: Add the table by the protocol of arXiv 2601.14620, marked so.
        num_resamples: Bootstrap draws.
        seed: Of splits and bootstrap.
        facts: Facts for the report.
        notes: Notes to show.
    """
    number = (table.votes >= 0).sum(axis=1)
    split = halves == "yes" or (
        halves == "auto" and by is None and float((number >= ENOUGH_VOTES).mean()) >= ENOUGH_ROWS
    )
    kept = np.flatnonzero(number >= (4 if split else 1))
    if len(kept) < 2:
        raise ValueError("Fewer than 2 rows have votes enough. Mend: halves='no', or more votes.")
    rows = table.select(kept)
    given = {name: np.asarray(matrix)[kept] for name, matrix in (predictions or {}).items()}
    parts = [
        scored_rows(rows, given, by, train_mean, known, split, normalized, seed, half)
        for half in range(num_halves if split else 1)
    ]
    joined = joined_rows(parts, rows)
    groups = rows.speakers() or rows.ids
    members = np.array([str(group) for group in groups] * len(parts))
    ids = np.array(rows.ids * len(parts))
    main = next(iter(given), None) or next((name for name in joined.predictors if name not in (UNIFORM, MEAN)), None)
    resample = {"num_resamples": num_resamples, "seed": seed}
    strata = [_stratum(joined, place, members, ids, main, resample) for place in range(len(joined.strata.names))]

    named = "ambiguity (entropy of the votes)" if by is None else by
    told = dict(facts or {})
    told["protocol"] = _protocol(by, split, num_halves, normalized, train_mean is not None)
    told["scored"] = f"{len(kept)} of {len(table.ids)} rows; {len(set(map(str, groups)))} " + (
        "speakers" if rows.speakers() else "rows resampled one by one"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    rough = rough_intervals(len(set(map(str, groups)))) if rows.speakers() else []
    study = Study("strata", f"Scores by {named}", told, [*notes, *rough])
    study.results = {"by": by or "entropy", "halves": split, "main": main, "strata": strata}
    study.tables = _tables(strata, list(joined.predictors), main)
    if paper:
        study.tables.append(_paper_table(rows, given, train_mean, known, study))
    study.findings = _findings(strata, main, split)
    study.plots = [
        Plot("strata", _plot(strata, list(joined.predictors), main, named, study.notes), _caption(split, main))
    ]
    return study


def _stratum(
    part: ScoredRows,
    place: int,
    members: NDArray[np.str_],
    ids: NDArray[np.str_],
    main: str | None,
    resample: dict[str, int],
) -> dict[str, Any]:
    inside = np.flatnonzero(part.strata.index == place)
    target, groups = part.target[inside], members[inside]
    if len(np.unique(groups)) == 1:
        groups = ids[inside]  # one speaker: the interval is over the utterances of this speaker alone
    js = {name: jensen_shannon_divergence(p[inside], target) for name, p in part.predictors.items()}
    found: dict[str, Any] = {
        "name": part.strata.names[place],
        "rows": len(inside),
        "entropy": float(entropy(target).mean()),
        "js_divergence": {name: interval(values, groups, **resample) for name, values in js.items()},
        "bhattacharyya_coefficient": {
            name: interval(bhattacharyya_coefficient(p[inside], target), groups, **resample)
            for name, p in part.predictors.items()
        },
    }
    try:
        floor = js_divergence_floor(part.counts)[inside]
        found["floor"] = interval(floor, groups, **resample)
    except ValueError:
        found["floor"] = None  # no row has 2 votes
    if main is not None:
        found["skill"] = {
            other: bootstrap_ratio(
                js[other] - js[main], js[other], groups, resample["num_resamples"], seed=resample["seed"]
            )
            for other in (UNIFORM, MEAN)
        }
    return found


def _protocol(by: str | None, split: bool, num_halves: int, normalized: bool, trained: bool) -> str:
    how = "values of the column" if by else "thirds by rank of the entropy (the values themselves where there are few)"
    if by is None and normalized:
        how += ", divided by the logarithm of the number of labels present"
    votes = (
        f"strata from one random half of each row's votes, scores on the other half, {num_halves} splits"
        if split
        else "strata and scores from the same votes"
    )
    mean = "of the training split's human votes" if trained else "over the other speakers' rows"
    return f"{how}; {votes}; the mean predictor is the mean {mean}; human votes are what is scored against; 95 % bootstrap intervals over speakers where known"


def _tables(strata: list[dict[str, Any]], predictors: list[str], main: str | None) -> list[StudyTable]:
    rows = [
        [
            stratum["name"],
            str(stratum["rows"]),
            f"{stratum['entropy']:.2f}",
            *(interval_words(stratum["js_divergence"][name]) for name in predictors),
            "-" if stratum["floor"] is None else f"{stratum['floor']['value']:.3f}",
        ]
        for stratum in strata
    ]
    tables = [
        StudyTable(
            "JS divergence (base 2, lower is better)",
            ["stratum", "rows", "entropy, bits", *predictors, "floor"],
            rows,
            "The floor is what the true distribution would be expected to score against so few votes. Rows count once for each split of their votes.",
        )
    ]
    if main is not None:
        tables.append(
            StudyTable(
                f"Skill of: {main}",
                ["stratum", "over uniform", "over the mean", "Bhattacharyya coefficient"],
                [
                    [
                        stratum["name"],
                        interval_words(stratum["skill"][UNIFORM]),
                        interval_words(stratum["skill"][MEAN]),
                        interval_words(stratum["bhattacharyya_coefficient"][main]),
                    ]
                    for stratum in strata
                ],
                "Skill is the share of the constant predictor's JS divergence that is saved: 0 is no better, 1 perfect. JS alone is lower in ambiguous strata for any "
                "predictor near the middle, so compare skills across strata.",
            )
        )
    return tables


def _paper_table(
    rows: VoteTable, given: Mapping[str, FloatArray], train_mean: FloatArray | None, known: Sequence[str], study: Study
) -> StudyTable:
    """JS distance in base e by thirds of normalised entropy, strata and scores on the same votes."""
    part = scored_rows(rows, given, None, train_mean, known, False, True, 0, 0)
    found = {
        name: [
            float(jensen_shannon_distance(p[inside], part.target[inside], math.e).mean())
            for inside in (part.strata.index == place for place in range(len(part.strata.names)))
        ]
        for name, p in part.predictors.items()
    }
    study.results["paper_protocol"] = {"strata": part.strata.names, "js_distance_nats": found}
    return StudyTable(
        "PAPER PROTOCOL (arXiv 2601.14620), not comparable with the tables above",
        ["predictor", *part.strata.names],
        [[name, *(f"{value:.3f}" for value in values)] for name, values in found.items()],
        "JS distance (square root), natural logarithm, by thirds of entropy over the logarithm of the number of labels present; strata and scores come from the same votes.",
    )


def _findings(strata: list[dict[str, Any]], main: str | None, split: bool) -> list[str]:
    if main is None:
        return ["No predictor to judge: give predictions, or columns that are known."]
    lines = []
    if len(strata) > 6:
        ranked = sorted(strata, key=lambda stratum: stratum["skill"][MEAN]["value"])
        told = [f"{interval_words(end['skill'][MEAN], '.2f')} ({end['name']})" for end in (ranked[0], ranked[-1])]
        lines.append(
            f"Skill of {main} over the mean predictor: from {told[0]} to {told[1]}, over {len(strata)} strata."
        )
    for stratum in strata if len(strata) <= 6 else ():
        skill = stratum["skill"][MEAN]
        verdict = "better than" if skill["low"] > 0 else "worse than" if skill["high"] < 0 else "not told apart from"
        lines.append(
            f"{stratum['name']}: {main} is {verdict} the mean predictor (skill {interval_words(skill, '.2f')}; JS "
            f"{stratum['js_divergence'][main]['value']:.3f} against {stratum['js_divergence'][MEAN]['value']:.3f})."
        )
    if not split:
        lines.append(
            "Strata and scores come from the same votes: part of the differences between strata is the noise of these votes."
        )
    return lines


def _caption(split: bool, main: str | None) -> str:
    votes = (
        "Strata come from one half of the votes, scores from the other."
        if split
        else "Strata and scores come from the same votes."
    )
    return f"JS divergence by stratum, with 95 % intervals{f', and the skill of: {main}' if main else ''}. {votes}"


def _plot(strata: list[dict[str, Any]], predictors: list[str], main: str | None, named: str, notes: list[str]) -> Any:
    from ..evaluation.study_plots import interval_plot, panels, polished, slanted

    names = [stratum["name"] for stratum in strata]
    width = float(np.clip(0.35 * len(names), 4.2, 8.0))
    figure, axes = panels(1, ["js", "skill"] if main else ["js"], notes, f"Scores by {named}", (width, 3.3))
    series = {name: [stratum["js_divergence"][name] for stratum in strata] for name in predictors}
    if all(stratum["floor"] for stratum in strata):
        series["floor"] = [stratum["floor"] for stratum in strata]
    interval_plot(axes[0][0], series, names, "JS divergence")
    axes[0][0].set_ylim(bottom=0)
    top = axes[0][0].get_ylim()[1]
    axes[0][0].set_ylim(0, 1.35 * top)  # room for the legend above the points
    axes[0][0].legend(frameon=False, fontsize=7, loc="upper left", ncols=2)
    if main:
        skills = {f"over {other}": [stratum["skill"][other] for stratum in strata] for other in (UNIFORM, MEAN)}
        interval_plot(axes[0][1], skills, names, f"skill of: {main}", zero=True)
        axes[0][1].legend(frameon=False, fontsize=7)
    for axis in axes[0]:
        axis.set_xlabel(named)
        if len(names) > 8:
            slanted(axis)
    polished(figure)
    if len(names) > 24:
        for axis in axes[0]:
            axis.tick_params(axis="x", labelsize=4)
    return figure


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hf-emo-dist report strata`."""
    add_source_arguments(parser)
    parser.add_argument(
        "--stratify_by", metavar="COLUMN", help="strata are this column's values (default: entropy of the votes)"
    )
    parser.add_argument(
        "--predictions",
        action="append",
        default=[],
        metavar="[NAME=]FILE",
        help="predictions.parquet of a model; may be repeated",
    )
    parser.add_argument(
        "--train_split", help="split whose human votes give the mean predictor (default: mean of the other speakers)"
    )
    parser.add_argument(
        "--known", default="", metavar="A,B", help="columns whose knowledge is a predictor, such as intended,level"
    )
    parser.add_argument(
        "--halves", choices=("auto", "yes", "no"), default="auto", help="strata and scores from different votes"
    )
    parser.add_argument(
        "--normalized", action="store_true", help="entropy over the logarithm of the labels present, as the paper"
    )
    parser.add_argument("--paper", action="store_true", help="add the paper's protocol, marked so")


def run(args: argparse.Namespace) -> Study:
    """Run the study that the arguments describe."""
    if args.by:
        raise ValueError(
            "--by shows corpora side by side. Mend: here, --stratify_by COLUMN, or one --where COLUMN=VALUE."
        )
    corpora = corpora_of(args)
    if len(corpora) > 1:
        raise ValueError("Strata are of one corpus. Mend: run the command once for each, or use report cross-corpus.")
    ((_, table),) = corpora.items()
    facts, notes = source_facts(args, corpora)
    predictions = {}
    for place, given in enumerate(args.predictions):
        name, sign, path = given.partition("=")
        if not sign:
            name, path = "model" if place == 0 else f"model {place + 1}", given
        predictions[name] = predictions_for(path, table.ids, table.emotions)
    train_mean = None
    if args.train_split:
        source = args.sources[0].partition("=")[2] or args.sources[0]
        training = read_vote_table(source, split=args.train_split, emotions=table.emotions)
        counts = training.counts()
        counts = counts[counts.sum(axis=1) > 0]
        train_mean = (counts / counts.sum(axis=1, keepdims=True)).mean(axis=0)
    return strata_study(
        table,
        predictions,
        by=args.stratify_by,
        train_mean=train_mean,
        known=[name.strip() for name in args.known.split(",") if name.strip()],
        halves=args.halves,
        normalized=args.normalized,
        paper=args.paper,
        num_resamples=args.num_resamples or 1000,
        seed=args.seed,
        facts=facts,
        notes=notes,
    )
