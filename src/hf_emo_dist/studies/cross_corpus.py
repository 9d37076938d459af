"""Trained on one corpus, scored on another: every model on every test set, over the emotions that they share."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.intact import read_parquet
from ..data.label_map import common_emotions, label_matrix
from ..data.mixed_rows import refuse_mixed
from ..data.opened import OpenedDataset, open_dataset
from ..data.rows import column_of, rough_intervals, row_ids, speaker_groups
from ..emotions import canonical_emotion
from ..evaluation.checkpoint import open_model
from ..evaluation.resuming import (
    Cell,
    backbone_stamp,
    parse_recipe,
    predicted_by_training,
    read_predictions,
    resumable,
)
from ..evaluation.scoring import Bootstrap, interval_words
from ..scores.classes import accuracy, macro_f1, unweighted_average_recall
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence
from ..votes import rater_squares, vote_counts_matrix
from .study import GREY, Plot, Study, StudyTable, interval_plot, legend_below, panels, polished
from .vote_table import FloatArray, shares_of


@dataclass(frozen=True)
class TestSet:
    """Rows to score on: counts (N, K) and, where they are known, speakers (N,).

    Where nobody voted the counts are the intended label as one vote, which is good for the dominant class only.
    """

    __test__ = False  # not for pytest

    emotions: tuple[str, ...]
    counts: FloatArray
    speakers: NDArray[np.str_] | None
    voted: bool
    source: str
    notes: tuple[str, ...] = ()
    # of each row its votes, their weights and who gave them, where a rater may give several tags
    tags: tuple[Sequence[Any], Sequence[Any], Sequence[Any] | None] | None = None


@dataclass(frozen=True)
class CrossPrediction:
    """Predicted distributions (N, K) of the rows of a test set, over the model's own emotions."""

    emotions: tuple[str, ...]
    matrix: FloatArray


def cross_corpus(
    *recipe: str,
    test: Mapping[str, str],
    output: str | Path,
    model: Mapping[str, str] | None = None,
    train: Mapping[str, str] | None = None,
    label_map: Mapping[str, str | None] | None = None,
    batch_size: int = 8,
    device: str | None = None,
    overwrite: bool = False,
    num_resamples: int = 1000,
    seed: int = 0,
) -> Study:
    """Score models on other corpora than they were trained on; what has not been predicted is predicted first.

    Args:
        *recipe: How to train: any argument of `hf-emo-dist train`.
        test: NAME=DATA[:SPLIT], scored on (split default: test); may be repeated.
        output: Folder that receives the predictions.
        model: NAME=CHECKPOINT, a trained model; may be repeated.
        train: NAME=DATA, train a model on this, as the arguments after -- say; may be repeated.
        label_map: A=B,C=-: labels that count as others, or are left out.
        batch_size: Clips a forward pass.
        device: cpu, cuda, ... (default: a GPU where there is one).
        overwrite: Predict, and train, again.
        num_resamples: Bootstrap resamples.
        seed: Of subsets, halves and the bootstrap.

    Raises:
        ValueError: Before training, for whatever does not fit.
        KeyboardInterrupt: On Ctrl-C; the same call goes on.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    models, trained = dict(model or {}), dict(train or {})
    if not models and not trained:
        raise ValueError(
            "There is no model. Mend: --model NAME=CHECKPOINT, or --train NAME=DATA with -- and what hf-emo-dist "
            "train takes."
        )
    if set(models) & set(trained):
        raise ValueError(
            f"{', '.join(sorted(set(models) & set(trained)))} names two models. Mend: another name in --model or "
            "--train."
        )
    out, rows, tests, splits = Path(output), {}, {}, {}
    how = parse_recipe(recipe, out) if trained else None
    for name, text in test.items():
        source, sign, split = text.rpartition(":")
        if not sign or Path(text).exists():
            source, split = text, "test"
        opened, splits[name] = open_dataset(source), split
        rows[name] = opened.rows(split)
        tests[name] = read_test_set(name, opened, split)
    predictions: dict[str, dict[str, CrossPrediction]] = {}
    notes: list[str] = []
    with resumable(out):
        for name, checkpoint in models.items():
            predictions[name] = {
                part: _predicted(
                    checkpoint, out / "predictions" / f"{name}-on-{part}", rows[part], device, batch_size, overwrite
                )
                for part in rows
            }
        for name, source in trained.items():
            predictions[name], heard = _trained(name, open_dataset(source), rows, out, how, overwrite)
            for part, dataset in rows.items():
                shared = len(heard & set(column_of(dataset, "id") or ()))
                if shared:
                    notes.append(f"{name} was trained on {shared} of the {len(dataset)} rows of {part}")
    facts = {
        "data": "; ".join(f"{name}: {len(dataset)} rows" for name, dataset in rows.items()),
        "split": "; ".join(f"{name}: {split}" for name, split in splits.items()),
        "models": ", ".join(
            [*(f"{name} (checkpoint)" for name in models), *(f"{name} (trained here)" for name in trained)]
        ),
    }
    return compare_corpora(tests, predictions, label_map, bootstrap, facts, notes)


def compare_corpora(
    tests: Mapping[str, TestSet],
    predictions: Mapping[str, Mapping[str, CrossPrediction]],
    label_map: Mapping[str, str | None] | None,
    bootstrap: Bootstrap,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Score every model on every test set, over the emotions that all of them share after the map.

    Predictions and votes are merged by the map; what has no place among the shared emotions is left out and the rest
    divided by its sum. Rows without a vote left are not scored.
    """
    rules = {canonical_emotion(a): None if b is None else canonical_emotion(b) for a, b in (label_map or {}).items()}
    sets = [test.emotions for test in tests.values()]
    sets += [found.emotions for by in predictions.values() for found in by.values()]
    common = common_emotions(sets, rules)
    told = dict(facts or {})
    told["emotions"] = f"{', '.join(common)} (common to all)" + (
        "; map: " + ", ".join(f"{a} → {b or 'left out'}" for a, b in rules.items()) if rules else ""
    )
    told["protocol"] = (
        "models and votes are brought to the common emotions; skill is the share of JS divergence saved over the mean "
        "of the test set's own votes, which no model knows; 95 % bootstrap intervals over speakers where known"
    )
    told["seeds"] = f"seed {bootstrap.seed}; {bootstrap.num_resamples} resamples"
    every = [*notes, *(note for test in tests.values() for note in test.notes)]
    for name, test in tests.items():
        if test.speakers is not None:
            every += rough_intervals(len(set(test.speakers)), f"{name}: ")
    study = Study("cross_corpus", "Trained on one corpus, scored on another", told, list(dict.fromkeys(every)))
    results = [
        {"model": model, "test": name, **_score(tests[name], found, common, rules, bootstrap)}
        for model, by in predictions.items()
        for name, found in by.items()
    ]
    study.results = {"emotions": common, "pairs": results}
    study.tables = [_table(results)]
    study.findings = [
        f"{r['model']} on {r['test']}: "
        + (
            f"JS {interval_words(r['js_divergence'])}, skill {interval_words(r['skill'], '.2f')}, "
            if r["voted"]
            else ""
        )
        + f"UAR {interval_words(r['uar'], '.2f')}."
        for r in results
    ]
    study.plots = [
        Plot(
            "cross_corpus",
            _plot(results, study.notes),
            "Left: JS divergence to the votes (lower is better). Right: unweighted average recall of the dominant "
            "class. 95 % intervals; grey: chance.",
        )
    ]
    return study


def _score(
    test: TestSet,
    found: CrossPrediction,
    common: Sequence[str],
    rules: Mapping[str, str | None],
    bootstrap: Bootstrap,
) -> dict[str, Any]:
    counts = test.counts @ label_matrix(test.emotions, common, rules)
    p = found.matrix @ label_matrix(found.emotions, common, rules)
    mass = p.sum(axis=1)
    kept = np.flatnonzero((counts.sum(axis=1) > 0) & (mass > 1e-9))
    if len(kept) < 2:
        raise ValueError(
            f"{test.source}: fewer than 2 rows have a vote for any of {', '.join(common)}. Mend: give a label map "
            "such as excited=happy, or choose another split."
        )
    target, p = shares_of(counts[kept]), p[kept] / mass[kept, None]
    groups = None if test.speakers is None else test.speakers[kept]
    result: dict[str, Any] = {
        "voted": test.voted,
        "rows": len(kept),
        "left_out": len(counts) - len(kept),
        "mass_left_out": float(1 - mass.mean()),
        "accuracy": accuracy(p, target),
        "macro_f1": macro_f1(p, target),
    }
    result["uar"] = bootstrap.score(unweighted_average_recall, p, target, groups=groups, bounds="uar")
    result["uar_of_chance"] = 1.0 / len(np.unique(target.argmax(axis=1)))
    if not test.voted:
        return result
    js = jensen_shannon_divergence(p, target)
    mean = jensen_shannon_divergence(np.broadcast_to(target.mean(axis=0), target.shape), target)
    result["js_divergence"] = bootstrap.interval(js, groups, bounds="js_divergence")
    coefficient = bhattacharyya_coefficient(p, target)
    result["bhattacharyya_coefficient"] = bootstrap.interval(coefficient, groups, bounds=(0.0, 1.0))
    result["skill"] = bootstrap.ratio(mean - js, mean, groups, bounds=(-np.inf, 1.0))
    if (counts[kept].sum(axis=1) > 1).any():
        squares = None if test.tags is None else _squares(test, common, rules)[kept]
        result["js_divergence_floor"] = bootstrap.floor(counts[kept], groups, squares=squares)
    return result


def _squares(test: TestSet, common: Sequence[str], rules: Mapping[str, str | None]) -> FloatArray:
    """What must be known of raters who gave several tags, of the labels as they are counted."""
    assert test.tags is not None
    votes, weights, raters = test.tags
    mapped: list[list[list[Any]]] = [[], [], []]
    for row, labels in enumerate(votes):
        given = [canonical_emotion(label) for label in labels or ()]
        counted = [rules.get(name, name) for name in given]
        inside = [place for place, name in enumerate(counted) if name in common]
        mapped[0].append([counted[place] for place in inside])
        mapped[1].append([1.0 if weights[row] is None else weights[row][place] for place in inside])
        known = None if raters is None else raters[row]
        mapped[2].append([None if known is None else known[place] for place in inside])
    return rater_squares(mapped[0], common, mapped[1], mapped[2])


def _table(results: list[dict[str, Any]]) -> StudyTable:
    rows = []
    for found in results:
        voted = found["voted"]
        rows.append(
            [
                found["model"],
                found["test"] if voted else f"{found['test']} (intended labels)",
                f"{found['rows']}" + (f" (+{found['left_out']} left out)" if found["left_out"] else ""),
                interval_words(found["js_divergence"]) if voted else "-",
                interval_words(found["js_divergence_floor"]) if "js_divergence_floor" in found else "-",
                interval_words(found["skill"], ".2f") if voted else "-",
                interval_words(found["bhattacharyya_coefficient"]) if voted else "-",
                interval_words(found["uar"], ".2f"),
                f"{found['macro_f1']:.2f}",
                f"{100 * found['mass_left_out']:.1f} %",
            ]
        )
    return StudyTable(
        "Every model on every test set",
        [
            "trained on",
            "scored on",
            "rows",
            "JS divergence",
            "floor",
            "skill",
            "Bhattacharyya",
            "UAR",
            "macro F1",
            "predicted mass left out",
        ],
        rows,
        "JS divergences of corpora with different numbers of votes cannot be compared; their distances to the floor, "
        "and skills, can with care.",
    )


def _plot(results: list[dict[str, Any]], notes: list[str]) -> Any:
    tests = list(dict.fromkeys(found["test"] for found in results))
    nan = dict.fromkeys(("value", "low", "high"), math.nan)
    figure, axes = panels(1, ["js", "uar"], notes, "Trained on one corpus, scored on another", (4.2, 3.2))
    for axis, key, label in zip(
        axes[0], ("js_divergence", "uar"), ("JS divergence", "UAR of the dominant class"), strict=True
    ):
        series = {}
        for model in dict.fromkeys(found["model"] for found in results):
            by = {found["test"]: found.get(key, nan) for found in results if found["model"] == model}
            series[f"trained on {model}"] = [by.get(test, nan) for test in tests]
        interval_plot(axis, series, tests, label)
    chance = {found["test"]: found["uar_of_chance"] for found in results}
    for place, test in enumerate(tests):
        axes[0][1].plot([place - 0.35, place + 0.35], [chance[test]] * 2, color=GREY, linewidth=1)
    legend_below(figure, axes[0][0])
    return polished(figure)


def read_test_set(name: str, opened: OpenedDataset, split: str | None = None) -> TestSet:
    """Votes of a split; where it has none, its intended labels, which are good for the dominant class only."""
    rows = opened.rows(split)
    refuse_mixed(rows)
    groups, known = speaker_groups(rows)
    votes, intended = column_of(rows, "human_votes"), column_of(rows, "intended")
    notes, speakers = tuple(opened.notes(rows)), groups if known else None
    if votes is not None and any(votes):
        shares = next((value for value in column_of(rows, "human_distribution") or [] if value), None)
        names = tuple(shares) if shares else tuple(sorted({canonical_emotion(v) for row in votes for v in row or []}))
        counts = vote_counts_matrix(votes, names, column_of(rows, "human_vote_weights"), row_ids(rows), outside="drop")
        weights, tags = column_of(rows, "human_vote_weights"), None
        if not all(weight == 1 for row in weights or () for weight in row or ()):
            tags = (votes, weights or [], column_of(rows, "human_raters"))
        return TestSet(names, counts, speakers, True, name, notes, tags)
    if intended is None or not any(intended):
        raise ValueError(f"{name} has neither human votes nor intended labels. Mend: choose another split or data set.")
    labels = [None if label is None else canonical_emotion(label) for label in intended]
    names = tuple(sorted({label for label in labels if label is not None}))
    counts = np.array([[float(label == emotion) for emotion in names] for label in labels])
    note = f"{name}: intended labels, not votes; only the dominant class is scored"
    return TestSet(names, counts, speakers, False, name, (*notes, note))


def _predicted(
    checkpoint: str, folder: Path, rows: Any, device: str | None, batch_size: int, overwrite: bool
) -> CrossPrediction:
    from ..modeling.prediction import predict_distributions

    cell = Cell(folder / "predictions.parquet", folder / "cell.json")
    settings = {"model": backbone_stamp(checkpoint), "ids": row_ids(rows)}
    if not overwrite and cell.done(settings) is not None:
        return _read_back(cell.file, rows)
    network, processor = open_model(checkpoint, device)
    emotions = tuple(network.config.emotions)
    predicted = predict_distributions(network, processor, rows, batch_size=batch_size)
    cell.write(rows, emotions, predicted, settings)
    return CrossPrediction(emotions, np.asarray(predicted, dtype=np.float64))


def _read_back(file: Path, rows: Any) -> CrossPrediction:
    kind = read_parquet(file, "remove it, and the same command computes it again.").schema
    column = kind.field("predicted_distribution").type
    emotions = tuple(column.field(place).name for place in range(column.num_fields))
    return CrossPrediction(emotions, read_predictions(file, row_ids(rows), emotions))


def _trained(
    name: str, opened: OpenedDataset, rows: Mapping[str, Any], out: Path, how: Any, overwrite: bool
) -> tuple[dict[str, CrossPrediction], set[str]]:
    """Train on a corpus and predict all test sets at once; also give the ids that were trained on."""
    from datasets import concatenate_datasets

    recipe, training = copy.copy(how[0]), how[1]
    recipe.dataset = opened.name
    train, validation = opened.rows(recipe.train_split), opened.heard(recipe.validation_split)
    emotions = tuple(recipe.label_set or opened.emotions(training.target_column))
    everything = concatenate_datasets([_bare(dataset, test) for test, dataset in rows.items()])
    predicted, _ = predicted_by_training(
        recipe,
        training,
        out / "cells" / name,
        emotions,
        lambda: train,
        validation,
        everything,
        {"train_ids": row_ids(train), "test_ids": row_ids(everything)},
        overwrite=overwrite,
    )
    ends = np.cumsum([len(dataset) for dataset in rows.values()])
    parts = np.split(predicted, ends[:-1])
    found = {test: CrossPrediction(emotions, part) for test, part in zip(rows, parts, strict=True)}
    return found, set(row_ids(train))


def _bare(dataset: Any, name: str) -> Any:
    """What a model reads of a data set, with the same types whatever corpus it is; ids say which one."""
    from datasets import Audio, Value

    part = dataset.select_columns(["audio"]).cast_column("audio", Audio(sampling_rate=16000, decode=False))
    part = part.add_column("id", [f"{name}/{row}" for row in row_ids(dataset)], feature=Value("string"))
    for column in ("transcript", "speaker"):
        values = column_of(dataset, column) or [None] * len(dataset)
        part = part.add_column(
            column, [None if value is None else str(value) for value in values], feature=Value("string")
        )
    return part
