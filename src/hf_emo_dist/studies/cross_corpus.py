"""Trained on one corpus, scored on another: every model on every test set, over the emotions that they share."""

from __future__ import annotations

import argparse
import copy
import logging
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.label_maps import common_emotions, label_matrix, parse_label_map
from ..data.rows import column_of, rough_intervals, row_ids
from ..evaluation.resuming import backbone_stamp, is_done, read_predictions, write_json
from ..evaluation.scoring import bootstrap_ratio
from ..evaluation.training_cells import parse_recipe, predicted_by_training, resumable
from ..scores.bootstrap import bootstrap_score
from ..scores.classes import accuracy, macro_f1, unweighted_average_recall
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence
from ..scores.floor import js_divergence_floor
from .inputs import add_common_arguments, interval, interval_words
from .scored_sets import CrossPrediction, TestSet, read_test_set
from .study import Plot, Study, StudyTable

__all__ = ["cross_corpus_study"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]


def cross_corpus_study(
    tests: Mapping[str, TestSet],
    predictions: Mapping[str, Mapping[str, CrossPrediction]],
    mapping: Mapping[str, str | None] | None = None,
    *,
    num_resamples: int = 1000,
    seed: int = 0,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Score every model on every test set, over the emotions that all of them share after the map.

    Predictions and votes are merged by the map; what has no place among the shared emotions is left out and the rest divided by its sum. Rows without a vote left
    are not scored.

    Args:
        tests: Name to test set.
        predictions: Model to test set to its predictions.
        mapping: Label to what it counts as, `None` to leave it out.
        num_resamples: Bootstrap draws.
        seed: Of the bootstrap.
        facts: Facts for the report.
        notes: Notes to show.
    """
    rules = dict(mapping or {})
    sets = [test.emotions for test in tests.values()]
    sets += [found.emotions for by in predictions.values() for found in by.values()]
    common = common_emotions(sets, rules)
    told = dict(facts or {})
    told["emotions"] = f"{', '.join(common)} (common to all)" + (
        "; map: " + ", ".join(f"{a} → {b or 'left out'}" for a, b in rules.items()) if rules else ""
    )
    told["protocol"] = (
        "models and votes are brought to the common emotions; skill is the share of JS divergence saved over the mean of the test set's own votes, which no "
        "model knows; 95 % bootstrap intervals over speakers where known"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    every = [*notes, *(note for test in tests.values() for note in test.notes)]
    for name, test in tests.items():
        if test.speakers is not None:
            every += rough_intervals(len(set(test.speakers)), f"{name}: ")
    study = Study("cross_corpus", "Trained on one corpus, scored on another", told, list(dict.fromkeys(every)))
    results = []
    for model, by in predictions.items():
        for name, found in by.items():
            results.append(
                {"model": model, "test": name, **_score(tests[name], found, common, rules, num_resamples, seed)}
            )
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
            "Left: JS divergence to the votes (lower is better). Right: unweighted average recall of the dominant class. 95 % intervals; grey: chance.",
        )
    ]
    return study


def _score(
    test: TestSet,
    found: CrossPrediction,
    common: Sequence[str],
    rules: Mapping[str, str | None],
    num_resamples: int,
    seed: int,
) -> dict[str, Any]:
    counts = test.counts @ label_matrix(test.emotions, common, rules)
    p = found.matrix @ label_matrix(found.emotions, common, rules)
    mass = p.sum(axis=1)
    kept = np.flatnonzero((counts.sum(axis=1) > 0) & (mass > 1e-9))
    if len(kept) < 2:
        raise ValueError(f"{test.source}: fewer than 2 rows have a vote for any of {', '.join(common)}.")
    target, p = counts[kept] / counts[kept].sum(axis=1, keepdims=True), p[kept] / mass[kept, None]
    groups = None if test.speakers is None else test.speakers[kept]
    result: dict[str, Any] = {
        "voted": test.voted,
        "rows": len(kept),
        "left_out": len(counts) - len(kept),
        "mass_left_out": float(1 - mass.mean()),
        "accuracy": accuracy(p, target),
        "macro_f1": macro_f1(p, target),
    }
    value, low, high = bootstrap_score(
        unweighted_average_recall, p, target, groups=groups, num_resamples=num_resamples, seed=seed
    )
    result["uar"] = {"value": value, "low": low, "high": high}
    result["uar_of_chance"] = 1.0 / len(np.unique(target.argmax(axis=1)))
    if not test.voted:
        return result
    js = jensen_shannon_divergence(p, target)
    mean = jensen_shannon_divergence(np.broadcast_to(target.mean(axis=0), target.shape), target)
    result["js_divergence"] = interval(js, groups, num_resamples, seed)
    result["bhattacharyya_coefficient"] = interval(bhattacharyya_coefficient(p, target), groups, num_resamples, seed)
    result["skill"] = bootstrap_ratio(mean - js, mean, groups, num_resamples, seed=seed)
    whole = counts[kept]
    if (whole == np.round(whole)).all() and (whole.sum(axis=1) >= 2).any():
        result["js_divergence_floor"] = float(js_divergence_floor(whole).mean())
    return result


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
                f"{found['js_divergence_floor']:.3f}" if "js_divergence_floor" in found else "-",
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
        "JS divergences of corpora with different numbers of votes cannot be compared; their distances to the floor, and skills, can with care.",
    )


def _plot(results: list[dict[str, Any]], notes: list[str]) -> Any:
    from ..evaluation.study_plots import interval_plot, legend_below, panels, polished

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
        axes[0][1].plot([place - 0.35, place + 0.35], [chance[test]] * 2, color="#8A8A8A", linewidth=1)
    legend_below(figure, axes[0][0])
    return polished(figure)


def _named(words: Sequence[str], what: str) -> dict[str, tuple[str, str | None]]:
    """Read NAME=SOURCE or NAME=SOURCE:SPLIT."""
    found: dict[str, tuple[str, str | None]] = {}
    for word in words:
        name, sign, rest = word.partition("=")
        if not sign or not name or not rest:
            raise ValueError(f"{what} {word!r} is not NAME=SOURCE.")
        source, sign, split = rest.rpartition(":")
        found[name] = (source, split) if sign and not Path(rest).exists() else (rest, None)
    return found


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hf-emo-dist report cross-corpus`."""
    add_common_arguments(parser)
    parser.add_argument(
        "--test",
        action="append",
        required=True,
        metavar="NAME=DATA[:SPLIT]",
        help="scored on (split default: test); may be repeated",
    )
    parser.add_argument(
        "--model", action="append", default=[], metavar="NAME=CHECKPOINT", help="a trained model; may be repeated"
    )
    parser.add_argument(
        "--train",
        action="append",
        default=[],
        metavar="NAME=DATA",
        help="train a model on this, as -- says; may be repeated",
    )
    parser.add_argument(
        "--label_map", default="", metavar="A=B,C=-", help="labels that count as others, or are left out"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="clips a forward pass (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    parser.add_argument("--overwrite", action="store_true", help="predict, and train, again")
    parser.add_argument(
        "recipe", nargs=argparse.REMAINDER, metavar="-- ...", help="after --: any argument of recipes/train.py"
    )


def run(args: argparse.Namespace) -> Study:
    """Predict what has not been predicted, and score."""
    from ..data.loading import load_emotion_dataset, read_vote_source

    out = Path(args.output)
    rows, tests = {}, {}
    for name, (source, split) in _named(args.test, "--test").items():
        rows[name] = load_emotion_dataset(source, split or "test")
        card = read_vote_source(source) if Path(source).is_dir() else None
        tests[name] = read_test_set(name, rows[name], card)
    models, trained = _named(args.model, "--model"), _named(args.train, "--train")
    if not models and not trained:
        raise ValueError(
            "No model. Mend: --model NAME=CHECKPOINT, or --train NAME=DATA with -- and what recipes/train.py takes."
        )
    if set(models) & set(trained):
        raise ValueError("A model of --model and one of --train have the same name.")
    predictions: dict[str, dict[str, CrossPrediction]] = {}
    notes: list[str] = []
    with resumable(out):
        for name, (checkpoint, split) in models.items():
            where = checkpoint if split is None else f"{checkpoint}:{split}"
            predictions[name] = {test: _predicted(where, name, test, rows[test], out, args) for test in rows}
        for name, (source, _) in trained.items():
            predictions[name], heard = _trained(name, source, rows, out, args)
            for test, dataset in rows.items():
                shared = len(heard & set(column_of(dataset, "id") or ()))
                if shared:
                    notes.append(f"{name} was trained on {shared} of the {len(dataset)} rows of {test}")
    facts = {
        "data": "; ".join(f"{name}: {len(dataset)} rows" for name, dataset in rows.items()),
        "split": "; ".join(f"{name}: {split or 'test'}" for name, (_, split) in _named(args.test, "--test").items()),
        "models": ", ".join(
            [*(f"{name} (checkpoint)" for name in models), *(f"{name} (trained here)" for name in trained)]
        ),
    }
    return cross_corpus_study(
        tests,
        predictions,
        parse_label_map(args.label_map),
        num_resamples=args.num_resamples or 1000,
        seed=args.seed,
        facts=facts,
        notes=notes,
    )


def _predicted(
    checkpoint: str, name: str, test: str, rows: Any, out: Path, args: argparse.Namespace
) -> CrossPrediction:
    from ..evaluation.checkpoint import open_model, write_predictions
    from ..modeling.prediction import predict_distributions

    folder = out / "predictions" / f"{name}-on-{test}"
    file, about = folder / "predictions.parquet", folder / "cell.json"
    settings = {"model": backbone_stamp(checkpoint), "ids": row_ids(rows)}
    if not args.overwrite and is_done(file, about, settings):
        return _read(file, rows)
    network, processor = open_model(checkpoint, args.device)
    emotions = tuple(network.config.emotions)
    predicted = predict_distributions(network, processor, rows, batch_size=args.batch_size)
    write_json(about, {"settings": settings})
    write_predictions(file, rows, emotions, {"predicted_distribution": predicted})
    return CrossPrediction(emotions, np.asarray(predicted, dtype=np.float64))


def _read(file: Path, rows: Any) -> CrossPrediction:
    import pyarrow.parquet as pq

    kind = pq.read_schema(file).field("predicted_distribution").type
    emotions = tuple(kind.field(place).name for place in range(kind.num_fields))
    return CrossPrediction(emotions, read_predictions(file, row_ids(rows), emotions))


def _trained(
    name: str, source: str, rows: Mapping[str, Any], out: Path, args: argparse.Namespace
) -> tuple[dict[str, CrossPrediction], set[str]]:
    """Train on a corpus and predict all test sets at once, one below the other; also return the ids that were trained on."""
    from datasets import concatenate_datasets

    from ..data.loading import emotions_of, load_emotion_dataset

    recipe, training = parse_recipe(args.recipe, out)
    recipe = copy.copy(recipe)
    recipe.dataset = source
    data = load_emotion_dataset(source)
    for split in (recipe.train_split, recipe.validation_split):
        if split not in data:
            raise ValueError(f"{name}: there is no split {split!r} (there are {', '.join(data)}).")
    train = data[recipe.train_split]
    emotions = tuple(recipe.emotions.split(",")) if recipe.emotions else emotions_of(train, training.target_column)
    everything = concatenate_datasets([_bare(dataset, test) for test, dataset in rows.items()])
    predicted, _ = predicted_by_training(
        recipe,
        training,
        out / "cells" / name,
        emotions,
        lambda: train,
        data[recipe.validation_split],
        everything,
        {"train_ids": row_ids(train), "test_ids": row_ids(everything)},
        overwrite=args.overwrite,
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
