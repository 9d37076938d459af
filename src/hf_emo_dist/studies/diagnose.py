"""The signs of failure that arXiv 2601.14620 names, as checks with advice."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.opened import OpenedDataset, open_dataset
from ..data.rows import column_of
from ..data.targets import training_targets
from ..distributions import entropy
from ..evaluation.resuming import predictions_for
from ..evaluation.scoring import Bootstrap, interval_words
from ..scores.divergences import jensen_shannon_divergence
from .agreement import gain_from_synthetic
from .study import GREY, Plot, Study, StudyTable, interval_plot, panels, polished
from .vote_table import (
    FloatArray,
    Sources,
    VoteTable,
    count_labels,
    first_of,
    read_vote_table,
    shares_of,
    shuffle_votes,
)

#: Change of the class mass under which augmentation is redundant; divergence under which predictions are the same.
REDUNDANT, SAME = 0.02, 1e-4


@dataclass(frozen=True)
class Check:
    """One check: ``ok``, ``unclear`` (the interval holds the line between), ``failure``, or ``not run``."""

    name: str
    status: str
    measured: str
    advice: str
    estimate: dict[str, float] | None = None


def diagnose(
    data: Sources,
    *,
    predictions: str | FloatArray | None = None,
    swapped: str | FloatArray | None = None,
    model: str | None = None,
    training: str | OpenedDataset | None = None,
    training_split: str = "train",
    num_resamples: int = 1000,
    seed: int = 0,
) -> Study:
    """Run every check that the inputs allow; the others are listed with what they need.

    Args:
        data: Votes of one corpus, human and perhaps synthetic.
        predictions: The predictions.parquet of a model for these rows; from Python also (N, K) distributions.
        swapped: The same with the audio of other rows.
        model: Checkpoint: predicts with swapped audio where `swapped` is not given.
        training: Training data: its mixed rows, and its synthetic votes where the scored rows have none, as annotating
            the training split alone leaves them.
        training_split: Its split.
        num_resamples: Bootstrap resamples.
        seed: Of subsets, halves and the bootstrap.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    table = data.one("Checks")
    if isinstance(predictions, str):
        predictions = predictions_for(predictions, table.ids, table.emotions)
    if isinstance(swapped, str):
        swapped = predictions_for(swapped, table.ids, table.emotions)
    if model and swapped is None:
        (source,) = data.opened.values()
        if data.where or data.by or not data.split or not isinstance(source, OpenedDataset):
            raise ValueError(
                "--model predicts one whole split of a data set. Mend: add --split, without --where and --by."
            )
        swapped = swapped_predictions(model, source.heard(data.split), table.emotions, seed)
    training_rows, annotated, where = None, table, ""
    if training is not None:
        opened = open_dataset(training) if isinstance(training, str) else training
        training_rows = opened.rows(training_split)
        votes = read_vote_table(opened, split=training_split, emotions=table.emotions)
        if not _is_annotated(table) and _is_annotated(votes):
            annotated, where = votes, "training rows: "
    checks = [
        _synthetic_entropy(annotated, where, bootstrap),
        _complementarity(annotated, where, bootstrap),
        _redundancy(training_rows, table.emotions),
        _sharpness(table, predictions, bootstrap),
        _audio(table, predictions, swapped, bootstrap),
    ]
    told = data.facts()
    told["protocol"] = (
        "each check's interval is a 95 % bootstrap interval over speakers where known; human votes are what is "
        "compared with"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    study = Study("diagnose", "Signs of failure", told, data.notes())
    study.results = {"checks": [vars(check) for check in checks]}
    study.tables = [
        StudyTable(
            "Checks",
            ["check", "outcome", "measured", "advice"],
            [[check.name, check.status, check.measured, check.advice] for check in checks],
        )
    ]
    bad = [check for check in checks if check.status == "failure"]
    run = [check for check in checks if check.status != "not run"]
    study.findings = [f"{check.name}: {check.measured}. {check.advice}" for check in bad]
    study.findings.append(
        f"{len(run)} of {len(checks)} checks run: {len(bad)} failure(s), "
        f"{sum(check.status == 'unclear' for check in run)} unclear."
    )
    caption = "Estimates of the checks with 95 % intervals; the grey line is what separates a failure."
    study.plots = [Plot("diagnose", _plot(checks, study.notes), caption)]
    return study


def _is_annotated(table: VoteTable) -> bool:
    return table.synthetic is not None or table.annotations is not None


def _judged(low: float, high: float) -> str:
    """How the interval of what should be above 0 lies to it."""
    return "ok" if low > 0 else "failure" if high < 0 else "unclear"


def _synthetic_entropy(table: VoteTable, where: str, bootstrap: Bootstrap) -> Check:
    name = "entropy of synthetic votes"
    if table.synthetic is None:
        return Check(
            name, "not run", "-", "Needs synthetic votes (synthetic_votes or synthetic_annotations with labels)."
        )
    number = np.minimum((table.votes >= 0).sum(axis=1), (table.synthetic >= 0).sum(axis=1))
    rows = np.flatnonzero(number >= 2)
    if len(rows) < 2:
        return Check(name, "not run", "-", "Needs rows with 2 human and 2 synthetic votes.")
    size, ids = len(table.emotions), [table.ids[row] for row in rows]
    differences = []
    for subset in range(10):
        # as many votes of both: the entropy of few votes is too low
        two = [
            count_labels(first_of(shuffle_votes(labels[rows], ids, bootstrap.seed, subset), number[rows]), size)
            for labels in (table.synthetic, table.votes)
        ]
        synthetic, human = (entropy(shares_of(counts)) for counts in two)
        differences.append(synthetic - human)
    most = float(np.log2(size))
    estimate = bootstrap.interval(np.mean(differences, axis=0), table.groups()[rows], bounds=(-most, most))
    return Check(
        name,
        "failure" if estimate["high"] < 0 else "ok" if estimate["low"] >= 0 else "unclear",
        f"{where}synthetic minus human entropy {interval_words(estimate, '+.3f')} bits, at equal numbers of votes, "
        f"{len(rows)} rows",
        "Below 0 the annotators oversimplify: ask for distributions instead of labels, vary foci and wordings, or add "
        "another model.",
        estimate,
    )


def _complementarity(table: VoteTable, where: str, bootstrap: Bootstrap) -> Check:
    name = "complementarity where listeners disagree most"
    if not _is_annotated(table):
        return Check(name, "not run", "-", "Needs synthetic votes.")
    try:
        gains, strata, rows = gain_from_synthetic(table, bootstrap.seed)
    except ValueError as error:
        return Check(name, "not run", "-", str(error))
    inside = strata.index == len(strata.names) - 1
    estimate = bootstrap.interval(gains[inside], table.groups()[rows[inside]], bounds=(-1.0, 1.0))
    return Check(
        name,
        _judged(estimate["low"], estimate["high"]),
        f"{where}stratum '{strata.names[-1]}': JS to held-out human votes falls by {interval_words(estimate)} when "
        "synthetic votes are added",
        "Below 0 synthetic votes hurt on ambiguous speech: give them less weight (synthetic_weight), or use them for "
        "the clear utterances only.",
        estimate,
    )


def _redundancy(training: Any, emotions: tuple[str, ...]) -> Check:
    name = "redundant augmentation"
    mixed = None if training is None else column_of(training, "mixed_from")
    if mixed is None or not any(mixed):
        return Check(name, "not run", "-", "Needs training rows with mixed ones among them (column mixed_from).")
    made = np.array([bool(sources) for sources in mixed])
    targets = training_targets(training, emotions)
    if len(targets) != len(made):
        return Check(name, "not run", "-", "Some training rows have no target.")
    before, after = targets[~made].mean(axis=0), targets.mean(axis=0)
    change = float(np.abs(after - before).sum() / 2)
    balance = float(entropy(after) - entropy(before))
    sources = [source for pair in mixed if pair for source in pair]
    used = len(set(sources))
    pairs = len({frozenset(pair) for pair in mixed if pair})
    measured = (
        f"{int(made.sum())} mixed rows move {100 * change:.1f} % of the class mass (entropy {balance:+.3f} bits), from "
        f"{used} sources and {pairs} different pairs"
    )
    bad = change < REDUNDANT or pairs < 0.5 * made.sum()
    return Check(
        name,
        "failure" if bad else "ok",
        measured,
        "Rows that hardly move the balance, or repeat a few pairs, cost training time and can hurt: lower the target, "
        "or leave augmentation out.",
    )


def fitted_temperature(
    predictions: FloatArray, counts: FloatArray, groups: Any, bootstrap: Bootstrap
) -> dict[str, float]:
    """Temperature that makes the votes most likely under ``p ** (1 / T)``, with an interval: over 1 p is too sharp.

    The likelihood is right on average whatever the number of votes, which the entropy of few votes is not (Guo et al.
    2017, arXiv 1706.04599, with votes for labels).
    """
    grid = np.linspace(math.log(0.2), math.log(8.0), 121)
    logs = np.log(np.maximum(predictions, 1e-9))
    rows = np.empty((len(logs), len(grid)))
    for place, value in enumerate(grid):
        scaled = logs / math.exp(value)
        top = scaled.max(axis=1, keepdims=True)
        scaled -= np.log(np.exp(scaled - top).sum(axis=1, keepdims=True)) + top
        rows[:, place] = (counts * scaled).sum(axis=1)
    index = np.unique(np.array([str(group) for group in groups]), return_inverse=True)[1]
    sums = np.zeros((index.max() + 1, len(grid)))
    np.add.at(sums, index, rows)

    def best(total: FloatArray) -> float:
        top = int(np.clip(np.argmax(total), 1, len(grid) - 2))
        left, middle, right = total[top - 1 : top + 2]
        bend = left - 2 * middle + right
        shift = 0.5 * (left - right) / bend if bend < 0 else 0.0
        return math.exp(grid[top] + float(np.clip(shift, -1, 1)) * (grid[1] - grid[0]))

    value = best(sums.sum(axis=0))
    if len(sums) < 2:
        return {"value": value, "low": math.nan, "high": math.nan}
    rng = np.random.default_rng(bootstrap.seed)
    drawn = [best(sums[rng.integers(len(sums), size=len(sums))].sum(axis=0)) for _ in range(bootstrap.num_resamples)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return {"value": value, "low": float(low), "high": float(high)}


def _sharpness(table: VoteTable, predictions: FloatArray | None, bootstrap: Bootstrap) -> Check:
    name = "over-sharp predictions"
    if predictions is None:
        return Check(name, "not run", "-", "Needs predictions.")
    estimate = fitted_temperature(predictions, table.counts(), table.groups(), bootstrap)
    return Check(
        name,
        _judged(1.0 - estimate["high"], 1.0 - estimate["low"]),
        f"the votes are most likely at temperature {interval_words(estimate, '.2f')}; mean entropy "
        f"{entropy(predictions).mean():.2f} bits",
        "Over 1: JS against a few votes rewards sharp answers. Train with loss_type soft_cross_entropy or "
        "dirichlet_multinomial, without entropy penalty, or stop earlier.",
        estimate,
    )


def _audio(table: VoteTable, predictions: FloatArray | None, swapped: FloatArray | None, bootstrap: Bootstrap) -> Check:
    name = "a model that ignores its audio"
    if predictions is None or swapped is None:
        return Check(
            name, "not run", "-", "Needs predictions, and those with swapped audio: give --model, or --swapped."
        )
    counts = table.counts()
    rows = np.flatnonzero(counts.sum(axis=1) > 0)
    target = shares_of(counts[rows])
    moved = float(jensen_shannon_divergence(predictions, swapped).mean())
    harm = jensen_shannon_divergence(swapped[rows], target) - jensen_shannon_divergence(predictions[rows], target)
    estimate = bootstrap.interval(harm, table.groups()[rows], bounds=(-1.0, 1.0))
    status = "failure" if moved < SAME or estimate["high"] <= 0 else "ok" if estimate["low"] > 0 else "unclear"
    return Check(
        name,
        status,
        f"with another row's audio predictions move by JS {moved:.4f} and score {interval_words(estimate, '+.4f')} "
        "worse",
        "At 0 the answer comes from the text alone: check that input_features reach the model in training (the paper's "
        "released collator drops them), and train without transcripts.",
        estimate,
    )


def swapped_predictions(model: str | Path, dataset: Any, emotions: Sequence[str], seed: int = 0) -> FloatArray:
    """Predictions of every row with another row's audio and its own text; rows rotate in a seeded random order."""
    from ..evaluation.checkpoint import open_model
    from ..modeling.prediction import predict_distributions

    if len(dataset) < 2:
        raise ValueError("Audio cannot be swapped within one row. Mend: choose a split with more rows.")
    network, processor = open_model(model)
    if set(network.config.emotions) != set(emotions):
        raise ValueError(
            f"The model answers with {', '.join(network.config.emotions)}, the votes are for {', '.join(emotions)}. "
            "Mend: choose data with the model's emotions, or name them with --emotions."
        )
    order = np.random.default_rng(seed).permutation(len(dataset))
    source = np.empty(len(dataset), dtype=np.int64)
    source[order] = np.roll(order, 1)
    rows = [{**dataset[place], "audio": dataset[int(source[place])]["audio"]} for place in range(len(dataset))]
    predicted = predict_distributions(network, processor, rows)
    return np.asarray(predicted[:, [network.config.emotions.index(emotion) for emotion in emotions]], dtype=np.float64)


def _plot(checks: list[Check], notes: list[str]) -> Any:
    shown = [check for check in checks if check.estimate is not None]
    figure, axes = panels(1, [check.name for check in shown] or ["none"], notes, "Signs of failure", (2.6, 2.6))
    for axis, check in zip(axes[0], shown, strict=False):
        assert check.estimate is not None
        interval_plot(axis, {"": [check.estimate]}, [check.status], "")
        axis.axhline(1.0 if check.name == "over-sharp predictions" else 0.0, color=GREY, linewidth=1)
        axis.set_title(check.name.replace(" where", "\nwhere").replace(" that", "\nthat"))
    if not shown:
        axes[0][0].set_axis_off()
    return polished(figure)
