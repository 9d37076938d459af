"""Human, synthetic or combined votes, with and without DiME-Aug, over seeds: one command, resumable, one table with intervals."""

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

from ..scores import (
    bhattacharyya_coefficient,
    jensen_shannon_distance,
    jensen_shannon_divergence,
    js_divergence_floor,
    paired_permutation_test,
)
from ..votes import distributions_to_matrix, vote_counts_matrix
from .ablation_targets import SOURCES, Augment, augmenter_of, source_targets, with_targets
from .resuming import data_stamp
from .rows import column_of, notes_about, row_ids, scored_matrix, speaker_groups
from .strata_cut import cut_strata
from .study import Plot, Study, StudyTable
from .study_inputs import add_common_arguments, interval, interval_words
from .training_cells import parse_recipe, predicted_by_training, resumable

__all__ = ["ablation_study"]

logger = logging.getLogger(__name__)

FloatArray = NDArray[np.float64]


def ablation_study(
    recipe: Any,
    args: Any,
    *,
    sources: Sequence[str] = tuple(SOURCES),
    augment: Sequence[bool] = (False, True),
    seeds: Sequence[int] = (0, 1, 2),
    augmenter: Augment | None = None,
    augmentation_name: str = "DiME-Aug",
    data: Mapping[str, Any] | None = None,
    test_split: str = "test",
    num_resamples: int = 2000,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    vote_source: str | None = None,
    seed: int = 0,
) -> Study:
    """Train every cell of sources × augmentation × seeds and score all of them on the human votes of the same test rows.

    A cell that has been predicted is not trained again, so that a stopped run goes on where it was. Beside the honest table, marked, stands the
    protocol of arXiv 2601.14620, which scores each source against its own labels, so that sources are not comparable.

    Args:
        recipe: `RecipeArguments`, with backbone and dataset.
        args: Training arguments; `output_dir` receives a folder a cell.
        sources: Of the training target: ``human``, ``synthetic``, ``combined``.
        augment: Without, with, or both.
        seeds: Of weights, order and augmentation.
        augmenter: Function of (training rows, emotions, seed) that gives the augmented rows; default: the library's DiME-Aug.
        augmentation_name: Its name, for tables; also decides whether earlier cells count.
        data: Splits instead of those at `recipe.dataset`.
        test_split: Split that is scored.
        num_resamples: Bootstrap draws.
        overwrite: Train again what has been predicted.
        keep_checkpoints: Keep every cell's checkpoint.
        vote_source: Where the votes come from; default: what the data set's card says.
        seed: Of the bootstrap.

    Returns:
        The study; not yet saved.

    Raises:
        ValueError: Before training, for whatever does not fit.
        KeyboardInterrupt: On Ctrl-C; the same call goes on.
    """
    from ..corpora import emotions_of, load_emotion_dataset, read_vote_source

    if not sources or not augment or not seeds:
        raise ValueError("Nothing to compare: give at least one source, one setting of the augmentation and one seed.")
    for name in ("backbone", "dataset"):
        if getattr(recipe, name) is None and not (name == "dataset" and data is not None):
            raise ValueError(f"no {name}: add --{name}, a local folder or a Hub id")
    splits = data if data is not None else load_emotion_dataset(recipe.dataset, revision=recipe.dataset_revision)
    for split in (recipe.train_split, recipe.validation_split, test_split):
        if split not in splits:
            raise ValueError(f"There is no split {split!r} (there are {', '.join(splits)}).")
    train, validation, test = splits[recipe.train_split], splits[recipe.validation_split], splits[test_split]
    emotions = tuple(recipe.emotions.split(",")) if recipe.emotions else emotions_of(test)
    references = scored_matrix(test, emotions)
    targets = {source: source_targets(train, emotions, source) for source in sources}
    own_labels = {source: source_targets(test, emotions, source) for source in sources}
    make = augmenter or augmenter_of(None, "default", recipe.backbone)
    out = Path(str(args.output_dir))
    stamp = data_stamp(row_ids(test), emotions, [references], [])

    predictions: dict[tuple[str, bool], list[FloatArray]] = {}
    details = []
    with resumable(out):
        for source in sources:
            for augmented in augment:
                for training_seed in seeds:
                    name = f"{source}{'-augmented' if augmented else ''}-seed{training_seed}"
                    own = copy.copy(args)
                    own.seed = training_seed

                    def rows(source: str = source, augmented: bool = augmented, seed: int = training_seed) -> Any:
                        made = with_targets(train, targets[source], emotions, args.target_column)
                        return make(made, emotions, seed) if augmented else made

                    settings = {
                        **stamp,
                        "targets": _digest(targets[source]),
                        "source": source,
                        "augmentation": augmentation_name if augmented else None,
                    }
                    predicted, detail = predicted_by_training(
                        recipe,
                        own,
                        out / "cells" / name,
                        emotions,
                        rows,
                        validation,
                        test,
                        settings,
                        overwrite=overwrite,
                        keep_checkpoints=keep_checkpoints,
                    )
                    predictions.setdefault((source, augmented), []).append(predicted)
                    details.append({"source": source, "augmented": augmented, "seed": training_seed, **detail})

    speakers, known = speaker_groups(test)
    card = vote_source
    if card is None and recipe.dataset and Path(str(recipe.dataset)).is_dir():
        card = read_vote_source(str(recipe.dataset))
    notes = notes_about(test, card)
    shared = set(speakers) & set(speaker_groups(train)[0]) if known else set()
    if shared:
        notes.append(f"{len(shared)} of the test speakers are also trained on")
    study = Study("ablation", f"Human, synthetic and combined votes, with and without {augmentation_name}", {}, notes)
    study.facts = {
        "data": f"{Path(str(recipe.dataset)).name if recipe.dataset else 'given splits'}"
        + (f". Votes: {card}" if card else ""),
        "split": f"{recipe.train_split} ({len(train)} rows), {recipe.validation_split} ({len(validation)}), {test_split} ({len(test)} rows, "
        f"{len(set(speakers))} speakers)",
        "emotions": ", ".join(emotions),
        "backbone": Path(str(recipe.backbone)).name,
        "protocol": "every cell is scored on the human votes of the same test rows; figures are means over seeds; 95 % bootstrap intervals over speakers "
        "where known, of the mean over seeds; p-values flip the signs of whole speakers",
        "seeds": f"training {', '.join(map(str, seeds))}; bootstrap {seed}; {num_resamples} resamples",
    }
    cells = _score(predictions, references, speakers, num_resamples, seed)
    study.results = {"cells": cells, "runs": details}
    counts = vote_counts_matrix(
        column_of(test, "human_votes"), emotions, column_of(test, "human_vote_weights"), outside="drop"
    )
    floor = None
    if (counts == np.round(counts)).all() and (counts.sum(axis=1) >= 2).any():
        floor = float(np.nanmean(js_divergence_floor(counts)))
        study.results["js_divergence_floor"] = floor
    study.tables = [_table(cells, floor, augmentation_name), _paper_table(predictions, own_labels, emotions, study)]
    study.findings = _findings(cells)
    study.plots = [
        Plot(
            "ablation",
            _plot(cells, notes, augmentation_name),
            "JS divergence to the human votes, mean over seeds, with 95 % intervals over speakers; small marks: single seeds.",
        )
    ]
    return study


def _digest(targets: Sequence[dict[str, float] | None]) -> str:
    import hashlib
    import json

    return hashlib.sha256(json.dumps(targets, sort_keys=True).encode()).hexdigest()


def _score(
    predictions: Mapping[tuple[str, bool], list[FloatArray]],
    references: FloatArray,
    speakers: Any,
    num_resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    js = {
        cell: np.stack([jensen_shannon_divergence(p, references) for p in seeds]) for cell, seeds in predictions.items()
    }
    first = next(iter(js))
    cells = []
    for cell, values in js.items():
        rows = values.mean(axis=0)
        coefficient = np.mean([bhattacharyya_coefficient(p, references) for p in predictions[cell]], axis=0)
        found: dict[str, Any] = {
            "source": cell[0],
            "augmented": cell[1],
            "js_divergence": interval(rows, speakers, num_resamples, seed),
            "bhattacharyya_coefficient": interval(coefficient, speakers, num_resamples, seed),
            "by_seed": values.mean(axis=1).tolist(),
            "seed_deviation": float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None,
        }
        for name, other in (("minus_first", first), ("minus_plain", (cell[0], False))):
            if other != cell and other in js:
                difference = js[other].mean(axis=0)
                found[name] = {
                    **interval(rows - difference, speakers, num_resamples, seed),
                    "p_value": paired_permutation_test(rows, difference, speakers)["p_value"],
                }
        cells.append(found)
    return cells


def _cell_name(cell: dict[str, Any]) -> str:
    return cell["source"] + (", augmented" if cell["augmented"] else "")


def _table(cells: list[dict[str, Any]], floor: float | None, name: str) -> StudyTable:
    def difference(cell: dict[str, Any], key: str) -> str:
        return f"{interval_words(cell[key], '+.3f')} (p = {cell[key]['p_value']:.3f})" if key in cell else "-"

    rows = [
        [
            cell["source"],
            "on" if cell["augmented"] else "off",
            interval_words(cell["js_divergence"]),
            "-" if cell["seed_deviation"] is None else f"{cell['seed_deviation']:.4f}",
            interval_words(cell["bhattacharyya_coefficient"]),
            difference(cell, "minus_first"),
            difference(cell, "minus_plain"),
        ]
        for cell in cells
    ]
    least = (
        "" if floor is None else f" The true distributions would be expected to score {floor:.3f} against so few votes."
    )
    return StudyTable(
        "On human votes of the same test rows (base 2; JS lower, Bhattacharyya higher is better)",
        [
            "trained on",
            name,
            "JS divergence",
            "deviation over seeds",
            "Bhattacharyya",
            f"JS minus that of: {_cell_name(cells[0])}",
            "JS with minus without",
        ],
        rows,
        "Differences are of paired rows; below 0 is better." + least,
    )


def _paper_table(
    predictions: Mapping[tuple[str, bool], list[FloatArray]],
    own_labels: Mapping[str, list[dict[str, float] | None]],
    emotions: Sequence[str],
    study: Study,
) -> StudyTable:
    """Each source against its own labels, and JS distance (base e) by thirds of the normalised entropy of these labels."""
    rows, found = [], []
    names: tuple[str, ...] = ()
    for (source, augmented), seeds in predictions.items():
        kept = [place for place, target in enumerate(own_labels[source]) if target is not None]
        target = distributions_to_matrix([own_labels[source][place] for place in kept], emotions)
        strata = cut_strata(target, normalized=True)
        js = np.mean([jensen_shannon_divergence(p[kept], target) for p in seeds], axis=0)
        distance = np.mean([jensen_shannon_distance(p[kept], target, math.e) for p in seeds], axis=0)
        coefficient = np.mean([bhattacharyya_coefficient(p[kept], target) for p in seeds])
        by = {name: float(distance[strata.index == place].mean()) for place, name in enumerate(strata.names)}
        names = names or strata.names
        found.append(
            {
                "source": source,
                "augmented": augmented,
                "js_divergence": float(js.mean()),
                "bhattacharyya_coefficient": float(coefficient),
                "js_distance_nats": by,
            }
        )
        told = ", ".join(f"{name} {value:.3f}" for name, value in by.items())
        rows.append(
            [source, "on" if augmented else "off", f"{js.mean():.3f}", f"{coefficient:.3f}", told, str(len(kept))]
        )
    study.results["paper_protocol"] = found
    return StudyTable(
        "PAPER PROTOCOL (arXiv 2601.14620): each source against its OWN labels; rows are not comparable with one another",
        ["trained on", "augmented", "JS divergence", "Bhattacharyya", "JS distance (natural log) by ambiguity", "rows"],
        rows,
        "A source whose labels are easy to predict scores well here, whether or not they are what people hear. Strata: thirds by rank of entropy over the logarithm of the "
        "labels present, of the source's own labels (the values themselves where there are few).",
    )


def _findings(cells: list[dict[str, Any]]) -> list[str]:
    best = min(cells, key=lambda cell: cell["js_divergence"]["value"])
    lines = [f"Lowest JS to the human votes: {_cell_name(best)}, {interval_words(best['js_divergence'])}."]
    for cell in cells[1:]:
        if "minus_first" in cell:
            change = cell["minus_first"]
            told = "better than" if change["high"] < 0 else "worse than" if change["low"] > 0 else "not told apart from"
            lines.append(f"{_cell_name(cell)} is {told} {_cell_name(cells[0])} ({interval_words(change, '+.3f')}).")
    return lines


def _plot(cells: list[dict[str, Any]], notes: list[str], name: str) -> Any:
    from .study_plots import interval_plot, panels, polished

    sources = list(dict.fromkeys(cell["source"] for cell in cells))
    nan = dict.fromkeys(("value", "low", "high"), math.nan)
    series = {}
    for augmented in dict.fromkeys(cell["augmented"] for cell in cells):
        by = {cell["source"]: cell["js_divergence"] for cell in cells if cell["augmented"] == augmented}
        series[f"with {name}" if augmented else f"without {name}"] = [by.get(source, nan) for source in sources]
    figure, axes = panels(1, ["js"], notes, "Training targets on the same human votes", (5.2, 3.2))
    axis = axes[0][0]
    interval_plot(axis, series, sources, "JS divergence to human votes")
    width = 0.7 / len(series)
    for cell in cells:
        place = list(dict.fromkeys(c["augmented"] for c in cells)).index(cell["augmented"])
        x = sources.index(cell["source"]) + (place - (len(series) - 1) / 2) * width + 0.06
        axis.plot([x] * len(cell["by_seed"]), cell["by_seed"], "_", color="#8A8A8A", markersize=7)
    axis.legend(frameon=False, fontsize=7)
    return polished(figure)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hf-emo-dist report ablation`."""
    add_common_arguments(parser)
    parser.add_argument("--sources", default=",".join(SOURCES), help=f"training targets (default: {','.join(SOURCES)})")
    parser.add_argument("--augment", choices=("both", "on", "off"), default="both", help="DiME-Aug (default: both)")
    parser.add_argument("--augment_preset", default="default", help="preset of DiME-Aug: default or paper")
    parser.add_argument(
        "--augment_with", metavar="MODULE:FUNCTION", help="another augmentation: a function of (rows, emotions, seed)"
    )
    parser.add_argument("--seeds", default="0,1,2", help="training seeds (default: 0,1,2)")
    parser.add_argument("--test_split", default="test", help="split that is scored (default: test)")
    parser.add_argument("--vote_source", help="where the votes come from (default: what the data set's card says)")
    parser.add_argument("--overwrite", action="store_true", help="train again what has been predicted")
    parser.add_argument("--keep_checkpoints", action="store_true", help="keep every cell's checkpoint")
    parser.add_argument(
        "recipe", nargs=argparse.REMAINDER, metavar="-- ...", help="after --: any argument of recipes/train.py"
    )


def run(args: argparse.Namespace) -> Study:
    """Run the study that the arguments describe."""
    recipe, training = parse_recipe(args.recipe, args.output)
    name = args.augment_with or (
        "DiME-Aug" if args.augment_preset == "default" else f"DiME-Aug ({args.augment_preset})"
    )
    return ablation_study(
        recipe,
        training,
        sources=[source.strip() for source in args.sources.split(",") if source.strip()],
        augment={"both": (False, True), "on": (True,), "off": (False,)}[args.augment],
        seeds=[int(seed) for seed in args.seeds.split(",")],
        augmenter=augmenter_of(args.augment_with, args.augment_preset, recipe.backbone),
        augmentation_name=name,
        test_split=args.test_split,
        num_resamples=args.num_resamples or 2000,
        overwrite=args.overwrite,
        keep_checkpoints=args.keep_checkpoints,
        vote_source=args.vote_source,
        seed=args.seed,
    )
