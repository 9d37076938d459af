"""Is the model as good for everybody? Scores by gender, language, corpus or any other column, and the gaps between."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.rows import FEW_SPEAKERS, column_of, row_ids, speaker_groups
from ..data.targets import counted_votes, scored_matrix
from ..emotions import validate_emotions
from ..markdown import as_code, as_text, one_line
from ..scores.bootstrap import bounds_of_difference
from ..scores.divergences import jensen_shannon_divergence
from ..scores.likelihood import log_likelihood
from ..scores.summary import SCORES, greater_is_better, score_bounds
from .scoring import Bootstrap, check_predictions, interval_words

#: What the tables and the plot show; every score of `compute_scores` that has a value is in the JSON.
SHOWN = {
    "js_divergence": "JS divergence",
    "bhattacharyya_coefficient": "Bhattacharyya",
    "log_likelihood_per_vote": "log-lik. a vote (nats)",
    "accuracy": "accuracy",
    "expected_calibration_error": "calibration error",
}
#: A group of fewer rows, or of one speaker, has scores but no interval, and is not compared.
FEWEST_ROWS, FEWEST_SPEAKERS = 10, 2
#: Most values that a column may have.
MOST_GROUPS = 30
# Of figures that are computed anew in each resample.
_MOST_RESAMPLES = 500
NOT_RECORDED = "not recorded"

Arrays = tuple[np.ndarray, ...]
#: A figure of some rows, and the arrays that it is computed from; `by_row` where it is their mean.
Figure = tuple[Callable[..., float], Arrays, bool]


def check_groups(rows: Any, columns: Sequence[str]) -> dict[str, list[str]]:
    """The group of each row by each column; a row without a value is `NOT_RECORDED`.

    Raises:
        ValueError: There is no such column, or it holds nothing that rows could be grouped by.
    """
    names = list(rows.column_names if hasattr(rows, "column_names") else rows[0] if len(rows) else ())
    found = {}
    for column in dict.fromkeys(columns):
        values = column_of(rows, column)
        if values is None:
            near = difflib.get_close_matches(column, names, 1)
            told = f"name {near[0]!r}" if near else "name another"
            raise ValueError(f"There is no column {column!r} to score by. Mend: {told}; there are {', '.join(names)}.")
        kinds = {type(value) for value in values if value is not None}
        if not kinds <= {str, int, bool}:
            shown = ", ".join(sorted(kind.__name__ for kind in kinds - {str, int, bool}))
            raise ValueError(
                f"The column {column!r} holds values of type {shown}, and rows are grouped by words or whole numbers. "
                "Mend: write a column that names each row's group, such as an age range."
            )
        groups = [NOT_RECORDED if value is None or value == "" else str(value) for value in values]
        if len(set(groups)) > min(MOST_GROUPS, max(len(groups) - 1, 1)):
            raise ValueError(
                f"The column {column!r} has {len(set(groups))} values in {len(groups)} rows, too many for groups (at "
                f"most {MOST_GROUPS}). Mend: name a column with few values."
            )
        found[column] = groups
    return found


def scores_by_group(
    predictions: ArrayLike,
    rows: Any,
    emotions: Sequence[str],
    columns: Sequence[str],
    *,
    train_targets: ArrayLike | None = None,
    score_column: str = "human_distribution",
    seed: int = 0,
    num_resamples: int = 2000,
) -> dict[str, Any]:
    """Score predictions for each group of rows, with intervals over speakers, and the gap between best and worst group.

    Args:
        predictions: (N, K) rows that sum to 1, columns in the order of `emotions`.
        rows: N rows with `score_column`, the columns, and, where known, `speaker` and `human_votes`.
        emotions: The label set, K labels.
        columns: Columns of words or whole numbers, such as `gender`, `language`, `corpus`.
        train_targets: (M, K) targets of the training rows. The divergence of their mean says how hard a group is for
            somebody who hears nothing.
        score_column: The distribution column that is scored against.
        seed: Of the bootstrap.
        num_resamples: Resamples of speakers; of figures that are no mean over rows, such as macro F1, at most 500.

    Returns:
        For each column `groups`, `gap` and `notes`. A group has `num_examples`, `num_speakers` (None where they are not
        known), `scores` (name to `value`, `low`, `high`), `mean_predictor` (its JS divergence, or None) and
        `too_small`, why it has no intervals and is not compared (None where it has and is). A gap, for each score with
        a direction, has the groups `best` and `worst` and how far they are apart, `value`, `low` and `high`: NaN where
        there is no interval.

        A gap's interval comes from those of two groups without a speaker in common, by the method of variance
        estimates recovery (Zou and Donner 2008, doi:10.1002/sim.3095); of groups with common speakers from resampling
        all of their speakers. Best and worst are found on the same rows, so that a gap is never below 0, and above it
        by chance, the more so the more groups there are.

    Raises:
        ValueError: Predictions or references do not fit, or a column is missing or no grouping.

    Example:
        >>> human = [{"angry": 1.0, "sad": 0.0}, {"angry": 0.0, "sad": 1.0}] * 20
        >>> rows = [{"gender": "female" if i < 20 else "male", "speaker": f"s{i // 5}", "human_distribution": share}
        ...         for i, share in enumerate(human)]
        >>> predicted = [[0.9, 0.1], [0.1, 0.9]] * 10 + [[0.6, 0.4], [0.4, 0.6]] * 10
        >>> found = scores_by_group(predicted, rows, ["angry", "sad"], ["gender"], num_resamples=100)["gender"]
        >>> found["gap"]["js_divergence"]["best"], round(found["groups"]["male"]["scores"]["js_divergence"]["value"], 2)
        ('female', 0.24)
    """
    grouped = check_groups(rows, columns)
    names = validate_emotions(emotions)
    references = scored_matrix(rows, names, score_column)
    predicted = check_predictions(predictions, references.shape, row_ids(rows))
    members, known = speaker_groups(rows)
    figures = _figures(predicted, references, counted_votes(rows, names)[0])
    mean = None
    if train_targets is not None:
        average = np.asarray(train_targets, dtype=np.float64).mean(axis=0)
        mean = jensen_shannon_divergence(np.broadcast_to(average, references.shape), references, base=2)
    bootstrap = Bootstrap(num_resamples, seed)
    report = {}
    for column, values in grouped.items():
        index = np.array(values)
        order = sorted(set(values) - {NOT_RECORDED}) + ([NOT_RECORDED] if NOT_RECORDED in values else [])
        places = {name: np.flatnonzero(index == name) for name in order}
        groups = {name: _group(figures, place, members, known, mean, bootstrap) for name, place in places.items()}
        compared = [name for name, group in groups.items() if name != NOT_RECORDED and group["too_small"] is None]
        gap = {}
        if len(compared) > 1:
            for figure in figures:
                found = _gap(figure, figures[figure], groups, compared, places, members, bootstrap)
                if found is not None:
                    gap[figure] = found
        report[column] = {"groups": groups, "gap": gap, "notes": _notes(groups, compared, known)}
    return report


def _figures(predicted: np.ndarray, references: np.ndarray, counts: np.ndarray | None) -> dict[str, Figure]:
    found: dict[str, Figure] = {}
    for name, score in SCORES.items():
        values = score.compute(predicted, references, 2)
        if np.ndim(values) == 1:
            found[name] = _mean, (np.asarray(values),), True
        else:
            found[name] = _of_all(score.compute), (predicted, references), False
    if counts is not None:
        total, votes = log_likelihood(predicted, counts)
        found["log_likelihood_per_vote"] = _ratio, (total, votes), False
    return found


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else math.nan


def _ratio(total: np.ndarray, votes: np.ndarray) -> float:
    return float(total.sum() / votes.sum()) if votes.sum() > 0 else math.nan


def _of_all(compute: Callable[..., Any]) -> Callable[..., float]:
    return lambda p, q: float(compute(p, q, 2)) if len(p) else math.nan


def _group(
    figures: Mapping[str, Figure],
    place: np.ndarray,
    members: np.ndarray,
    known: bool,
    mean: np.ndarray | None,
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    speakers = len(set(members[place]))
    too_small = None
    if len(place) < FEWEST_ROWS:
        too_small = f"{len(place)} utterance{'s' * (len(place) != 1)}"
    elif known and speakers < FEWEST_SPEAKERS:
        too_small = "one speaker"
    scores = {}
    for name, (compute, arrays, by_row) in figures.items():
        own = [array[place] for array in arrays]
        value = compute(*own)
        if not math.isfinite(value):
            continue
        found = {"value": value, "low": math.nan, "high": math.nan}
        if too_small is None:
            if by_row:
                found = bootstrap.interval(own[0], members[place], bounds=name)
            elif compute is _ratio:
                found = bootstrap.ratio(own[0], own[1], members[place], bounds=score_bounds(name))
            else:
                found = _fewer(bootstrap).score(compute, *own, groups=members[place], bounds=name)
        scores[name] = found
    return {
        "num_examples": len(place),
        "num_speakers": speakers if known else None,
        "too_small": too_small,
        "scores": scores,
        "mean_predictor": None if mean is None else float(mean[place].mean()),
    }


def _fewer(bootstrap: Bootstrap) -> Bootstrap:
    return Bootstrap(min(bootstrap.num_resamples, _MOST_RESAMPLES), bootstrap.seed)


def _gap(
    score: str,
    figure: Figure,
    groups: Mapping[str, dict[str, Any]],
    compared: Sequence[str],
    places: Mapping[str, np.ndarray],
    members: np.ndarray,
    bootstrap: Bootstrap,
) -> dict[str, Any] | None:
    """How far the best and the worst group are apart; None for what has no direction, or no value in two groups."""
    greater = greater_is_better(score)
    there = [name for name in compared if score in groups[name]["scores"]]
    if greater is None or len(there) < 2:
        return None
    ranked = sorted(there, key=lambda name: groups[name]["scores"][score]["value"])
    lower, upper = ranked[0], ranked[-1]
    if set(members[places[lower]]) & set(members[places[upper]]):
        compute, arrays, _ = figure
        both = np.concatenate([places[lower], places[upper]])
        is_upper = np.arange(len(both)) >= len(places[lower])
        found = _fewer(bootstrap).score(
            lambda which, *own: compute(*(a[which] for a in own)) - compute(*(a[~which] for a in own)),
            is_upper,
            *(array[both] for array in arrays),
            groups=members[both],
            bounds=bounds_of_difference(score_bounds(score)),
        )
    else:
        found = recovered(groups[upper]["scores"][score], groups[lower]["scores"][score])
    best, worst = (upper, lower) if greater else (lower, upper)
    return {"best": best, "worst": worst, **found}


def recovered(a: Mapping[str, float], b: Mapping[str, float]) -> dict[str, float]:
    """The difference a - b of two independent estimates, with an interval made of theirs (Zou and Donner 2008).

    >>> recovered({"value": 3.0, "low": 2.0, "high": 4.0}, {"value": 1.0, "low": 1.0, "high": 1.0})
    {'value': 2.0, 'low': 1.0, 'high': 3.0}
    """
    value = a["value"] - b["value"]
    return {
        "value": value,
        "low": value - math.hypot(a["value"] - a["low"], b["high"] - b["value"]),
        "high": value + math.hypot(a["high"] - a["value"], b["value"] - b["low"]),
    }


def _notes(groups: Mapping[str, dict[str, Any]], compared: Sequence[str], known: bool) -> list[str]:
    notes = [
        f"{name}: too small ({group['too_small']}), no interval and not compared"
        for name, group in groups.items()
        if group["too_small"] is not None
    ]
    if not known:
        notes.append("speakers are not known: the intervals are over utterances, and too narrow for unseen speakers")
    else:
        few = [
            f"{name} ({group['num_speakers']})"
            for name, group in groups.items()
            if group["too_small"] is None and group["num_speakers"] < FEW_SPEAKERS
        ]
        if few:
            notes.append(f"few speakers, rough intervals: {', '.join(few)}")
    if len(compared) < 2:
        notes.append("no gap: there are not two groups that can be compared")
    return notes


def groups_markdown(report: Mapping[str, Any]) -> str:
    """What `scores_by_group` found as tables in Markdown."""
    lines: list[str] = []
    for column, found in report.items():
        shown = [name for name in SHOWN if any(name in group["scores"] for group in found["groups"].values())]
        titles = " | ".join(SHOWN[name] for name in shown)
        lines += [
            "",
            f"By {as_code(column)} (brackets: 95 % intervals; last column: the mean predictor, which hears nothing):",
            "",
            f"| group | utterances | speakers | {titles} | its JS |",
            "|---" * (len(shown) + 4) + "|",
        ]
        for name, group in found["groups"].items():
            cells = [_cell(group["scores"].get(score)) for score in shown]
            speakers = "-" if group["num_speakers"] is None else str(group["num_speakers"])
            mean = "-" if group["mean_predictor"] is None else f"{group['mean_predictor']:.3f}"
            lines.append(f"| {as_text(name)} | {group['num_examples']} | {speakers} | {' | '.join(cells)} | {mean} |")
        if found["gap"]:
            cells = [
                f"{_cell(found['gap'][score])} ({as_text(found['gap'][score]['best'])} best, "
                f"{as_text(found['gap'][score]['worst'])} worst)"
                if score in found["gap"]
                else "-"
                for score in shown
            ]
            lines.append(f"| **gap**, best to worst | | | {' | '.join(cells)} | |")
        lines += ["", *(f"- {one_line(note)}" for note in found["notes"])]
    if any(found["gap"] for found in report.values()):
        lines += [
            "",
            "Best and worst are found on these rows: a gap is never below 0, and above it by chance alone, the more so "
            "the more groups and the fewer speakers.",
        ]
    return "\n".join(lines).strip() + "\n"


def _cell(estimate: Mapping[str, float] | None) -> str:
    return "-" if estimate is None else interval_words(dict(estimate), unknown="")
