"""Where listeners disagree, is the model still right? Scores by stratum of ambiguity, or by any other column."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ..data.rows import rough_intervals
from ..distributions import ambiguity_strata, entropy
from ..evaluation.resuming import predictions_for
from ..evaluation.scoring import Bootstrap, interval_words
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_distance, jensen_shannon_divergence
from .study import Plot, Study, StudyTable, interval_plot, panels, polished, slanted
from .vote_table import FloatArray, Sources, VoteTable, shares_of

#: Votes that make halves worth while, and the share of rows that must have them.
ENOUGH_VOTES, ENOUGH_ROWS = 6, 0.8
#: Distinct entropies up to which the values themselves are the strata.
FEW_VALUES = 5
UNIFORM, MEAN, HALF = "uniform", "mean of others", "other half of the listeners"


@dataclass(frozen=True)
class Strata:
    """A stratum for each of N rows, and the names of the strata in order."""

    index: NDArray[np.int64]
    names: tuple[str, ...]


def cut_strata(shares: FloatArray, normalized: bool = False) -> Strata:
    """Strata of ambiguity: thirds by the rank of the entropy, or, where there are few distinct entropies, these.

    `normalized` divides the entropy by the logarithm of the number of labels present, as arXiv 2601.14620 does (which
    makes a vote of 1 to 1 as ambiguous as an even split over all labels).
    """
    values = np.round(entropy(shares, normalized="present") if normalized else entropy(shares), 6)
    distinct, index = np.unique(values, return_inverse=True)
    if len(distinct) <= FEW_VALUES:
        unit = "of the maximum" if normalized else "bits"
        return Strata(index.astype(np.int64), tuple(f"{value:.2f} {unit}" for value in distinct))
    # with many ties a third may be empty
    present, index = np.unique(ambiguity_strata(values), return_inverse=True)
    return Strata(index.astype(np.int64), tuple(("low", "medium", "high")[place] for place in present))


def constant_predictors(
    shares: FloatArray, speakers: Sequence[Any] | None, cells: Mapping[str, Sequence[Any]] | None = None
) -> dict[str, FloatArray]:
    """Predictors that hear nothing, each row predicted from the rows of other speakers.

    The uniform one, the mean, and for each of `cells` (title to N values) the mean of the rows that are alike in it; a
    row whose cell no other speaker has gets the mean. Without speakers each row is left out by itself.
    """
    rows = range(len(shares)) if speakers is None else speakers
    speaker = np.unique(np.array([str(row) for row in rows]), return_inverse=True)[1]

    def means(values: NDArray[np.int64], fallback: FloatArray) -> FloatArray:
        size = int(values.max()) + 1
        whole = np.zeros((size, shares.shape[1]))
        np.add.at(whole, values, shares)
        number = np.bincount(values, minlength=size).astype(np.float64)
        pair, place = np.unique(np.stack([values, speaker]), axis=1, return_inverse=True)
        place = place.reshape(-1)
        own = np.zeros((pair.shape[1], shares.shape[1]))
        np.add.at(own, place, shares)
        left = number[values] - np.bincount(place)[place]
        result = (whole[values] - own[place]) / np.maximum(left, 1)[:, None]
        return np.where((left > 0)[:, None], np.maximum(result, 0.0), fallback)

    uniform = np.full_like(shares, 1.0 / shares.shape[1])
    found = {UNIFORM: uniform, MEAN: means(np.zeros(len(shares), dtype=np.int64), uniform)}
    for title, values in (cells or {}).items():
        index = np.unique(np.array([str(value) for value in values]), return_inverse=True)[1]
        found[title] = means(index, found[MEAN])
    return {name: shares_of(rows) for name, rows in found.items()}


@dataclass(frozen=True)
class ScoredRows:
    """N rows: strata, what is scored against, its votes, and predictors of it."""

    strata: Strata
    target: FloatArray
    counts: FloatArray
    predictors: dict[str, FloatArray]


@dataclass(frozen=True)
class _Scoring:
    """What scores N rows: predictions, and what is known of them without listening."""

    table: VoteTable
    given: Mapping[str, FloatArray]
    train_mean: FloatArray | None
    known: Sequence[str]
    seed: int

    def rows_of(self, by: str | None, normalized: bool, half: int | None) -> ScoredRows:
        """Strata, targets, predictors; with `half` strata come from that half of the votes, targets from the other."""
        rows = self.table
        counts = first = rows.counts()
        if half is not None:
            first, counts = rows.halves(self.seed, half)
        shares, target = shares_of(first), shares_of(counts)
        if by is None:
            strata = cut_strata(shares, normalized)
        else:
            names, index = np.unique(np.array([str(value) for value in rows.column(by)]), return_inverse=True)
            strata = Strata(index.astype(np.int64), tuple(names.tolist()))
        cells = {}
        if self.known:
            values = [rows.column(name) for name in self.known]
            cells[f"knowing {' and '.join(self.known)}"] = list(zip(*values, strict=True))
        constants = constant_predictors(shares, rows.speakers(), cells)
        if self.train_mean is not None:
            constants[MEAN] = np.broadcast_to(self.train_mean / self.train_mean.sum(), shares.shape)
        predictors = {**self.given, **constants}
        if half is not None:
            predictors[HALF] = shares
        return ScoredRows(strata, target, counts, predictors)


def _joined(parts: Sequence[ScoredRows]) -> ScoredRows:
    """The parts below each other: a row once for each of its splits, its speaker being resampled as a whole."""
    # halves with many equal entropies have fewer strata, with names of their own
    by_number = sorted((part.strata.names for part in parts), key=len, reverse=True)
    names = tuple(dict.fromkeys(name for found in by_number for name in found))
    index = [np.array([names.index(part.strata.names[place]) for place in part.strata.index]) for part in parts]
    return ScoredRows(
        Strata(np.concatenate(index), names),
        np.concatenate([part.target for part in parts]),
        np.concatenate([part.counts for part in parts]),
        {name: np.concatenate([part.predictors[name] for part in parts]) for name in parts[0].predictors},
    )


def strata(
    data: Sources,
    *,
    stratify_by: str | None = None,
    predictions: Sequence[str] | Mapping[str, FloatArray] = (),
    train_split: str | None = None,
    known: Sequence[str] | None = None,
    halves: Literal["auto", "yes", "no"] = "auto",
    num_halves: int = 5,
    normalized: bool = False,
    paper: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Study:
    """Score predictors by stratum of ambiguity, or of any other column.

    Votes that place a row in a stratum are not those it is scored on, where there are enough: a row whose votes happen
    to agree counts as clear *and* is easy to score, so that strata and scores on the same votes differ for a predictor
    that knows nothing of ambiguity.

    Args:
        data: Votes of one corpus.
        stratify_by: Column whose values are the strata (default: the entropy of the votes).
        predictions: FILE or NAME=FILE, the predictions.parquet of a model; may be repeated; the first is what skill is
            reported of. From Python also names with (N, K) distributions.
        train_split: Split whose human votes give the mean predictor (default: the mean over the other speakers' rows).
        known: Columns whose knowledge is a predictor, such as intended,level: the mean of the other speakers' rows that
            are alike in all of them.
        halves: Strata and scores from different votes; auto: where 80 % of the rows have 6 votes.
        num_halves: Random splits of each row's votes.
        normalized: Divide the entropy by the logarithm of the number of labels present, as arXiv 2601.14620 does.
        paper: Add the table by the protocol of arXiv 2601.14620, marked so.
        num_resamples: Bootstrap resamples.
        seed: Of subsets, halves and the bootstrap.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    if data.by:
        raise ValueError(
            "--by shows corpora side by side. Mend: here, --stratify_by COLUMN, or one --where COLUMN=VALUE."
        )
    if num_halves < 1:
        raise ValueError(f"num_halves={num_halves} is too few. Mend: at least 1, or --halves no.")
    table = data.one("Strata")
    number = (table.votes >= 0).sum(axis=1)
    split = halves == "yes" or (
        halves == "auto" and stratify_by is None and float((number >= ENOUGH_VOTES).mean()) >= ENOUGH_ROWS
    )
    kept = np.flatnonzero(number >= (4 if split else 1))
    if len(kept) < 2:
        raise ValueError("Fewer than 2 rows have votes enough. Mend: --halves no, or more votes.")
    rows = table.select(kept)
    given = {name: np.asarray(matrix)[kept] for name, matrix in _predictions(predictions, table).items()}
    train_mean = None if train_split is None else _mean_of(data, train_split, table.emotions)
    made = _Scoring(rows, given, train_mean, known or (), seed)
    parts = [
        made.rows_of(stratify_by, normalized, half if split else None) for half in range(num_halves if split else 1)
    ]
    joined = _joined(parts)
    groups = rows.groups()
    members = np.tile(groups, len(parts))
    ids = np.array(rows.ids * len(parts))
    main = next(iter(given), None) or next((name for name in joined.predictors if name not in (UNIFORM, MEAN)), None)
    found = [_stratum(joined, place, members, ids, main, bootstrap) for place in range(len(joined.strata.names))]

    named = "ambiguity (entropy of the votes)" if stratify_by is None else stratify_by
    told = data.facts()
    told["protocol"] = _protocol(stratify_by, split, num_halves, normalized, train_mean is not None)
    speakers = len(set(groups))
    told["scored"] = f"{len(kept)} of {len(table.ids)} rows; {speakers} " + (
        "speakers" if rows.speakers() else "rows resampled one by one"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    rough = rough_intervals(speakers) if rows.speakers() else []
    study = Study("strata", f"Scores by {named}", told, [*data.notes(), *rough])
    study.results = {"by": stratify_by or "entropy", "halves": split, "main": main, "strata": found}
    study.tables = _tables(found, list(joined.predictors), main)
    if paper:
        study.tables.append(_paper_table(made.rows_of(None, True, None), study))
    study.findings = _findings(found, main, split)
    votes = (
        "Strata come from one half of the votes, scores from the other."
        if split
        else "Strata and scores come from the same votes."
    )
    caption = f"JS divergence by stratum, with 95 % intervals{f', and the skill of: {main}' if main else ''}. {votes}"
    study.plots = [Plot("strata", _plot(found, list(joined.predictors), main, named, study.notes), caption)]
    return study


def _predictions(given: Sequence[str] | Mapping[str, FloatArray], table: VoteTable) -> Mapping[str, FloatArray]:
    if isinstance(given, Mapping):
        return given
    found = {}
    for place, text in enumerate(given):
        name, sign, path = text.partition("=")
        if not sign:
            name, path = "model" if place == 0 else f"model {place + 1}", text
        found[name] = predictions_for(path, table.ids, table.emotions)
    return found


def _mean_of(data: Sources, split: str, emotions: Sequence[str]) -> FloatArray:
    """Mean of a split's human votes, (K,)."""
    (source,) = data.opened.values()
    if isinstance(source, VoteTable):
        raise ValueError("Votes that are in memory have no splits. Mend: leave train_split out.")
    counts = replace(data, emotions=emotions).read(source, split).counts()
    return np.asarray(shares_of(counts[counts.sum(axis=1) > 0]).mean(axis=0))


def _stratum(
    part: ScoredRows,
    place: int,
    members: NDArray[np.str_],
    ids: NDArray[np.str_],
    main: str | None,
    bootstrap: Bootstrap,
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
        "js_divergence": {
            name: bootstrap.interval(values, groups, bounds="js_divergence") for name, values in js.items()
        },
        "bhattacharyya_coefficient": {
            name: bootstrap.interval(bhattacharyya_coefficient(p[inside], target), groups, bounds=(0.0, 1.0))
            for name, p in part.predictors.items()
        },
    }
    try:
        found["floor"] = bootstrap.floor(part.counts, members, rows=inside)
    except ValueError:
        found["floor"] = None  # no row has 2 votes
    if main is not None:
        found["skill"] = {
            other: bootstrap.ratio(js[other] - js[main], js[other], groups, bounds=(-math.inf, 1.0))
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
    return (
        f"{how}; {votes}; the mean predictor is the mean {mean}; human votes are what is scored against; 95 % "
        "bootstrap intervals over speakers where known"
    )


def _tables(strata: list[dict[str, Any]], predictors: list[str], main: str | None) -> list[StudyTable]:
    rows = [
        [
            stratum["name"],
            str(stratum["rows"]),
            f"{stratum['entropy']:.2f}",
            *(interval_words(stratum["js_divergence"][name]) for name in predictors),
            "-" if stratum["floor"] is None else interval_words(stratum["floor"]),
        ]
        for stratum in strata
    ]
    tables = [
        StudyTable(
            "JS divergence (base 2, lower is better)",
            ["stratum", "rows", "entropy, bits", *predictors, "floor"],
            rows,
            "The floor is what the true distribution would be expected to score against so few votes. Rows count once "
            "for each split of their votes.",
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
                "Skill is the share of the constant predictor's JS divergence that is saved: 0 is no better, 1 "
                "perfect. JS alone is lower in ambiguous strata for any predictor near the middle, so compare skills "
                "across strata.",
            )
        )
    return tables


def _paper_table(part: ScoredRows, study: Study) -> StudyTable:
    """JS distance in base e by thirds of normalised entropy, strata and scores on the same votes."""
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
        "JS distance (square root), natural logarithm, by thirds of entropy over the logarithm of the number of labels "
        "present; strata and scores come from the same votes.",
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
            "Strata and scores come from the same votes: part of the differences between strata is the noise of these "
            "votes."
        )
    return lines


def _plot(strata: list[dict[str, Any]], predictors: list[str], main: str | None, named: str, notes: list[str]) -> Any:
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
