"""Human, synthetic or combined votes, with and without DiME-Aug, over seeds: one command, resumable, one table with intervals."""

from __future__ import annotations

import argparse
import copy
import hashlib
import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...data.rows import column_of, notes_about, rough_intervals, row_ids, speaker_groups
from ...data.targets import scored_matrix
from ...evaluation.resuming import data_stamp
from ...evaluation.training_cells import parse_recipe, predicted_by_training, resumable
from ...scores.floor import js_divergence_floor
from ...votes import vote_counts_matrix
from ..inputs import add_common_arguments
from ..study import Plot, Study
from .parts import AblationData, ablation_data
from .tables import ablation_plot, cell_scores, findings, honest_table, paper_table
from .targets import SOURCES, Augment, augmenter_of, source_targets, with_targets

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
    fold_column: str | None = None,
    num_folds: int | None = None,
    validation_speakers: int = 2,
    num_resamples: int = 2000,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    vote_source: str | None = None,
    seed: int = 0,
) -> Study:
    """Train every cell of sources × augmentation × seeds and score all of them on the human votes of the same test rows.

    A cell that has been predicted is not trained again, so that a stopped run goes on where it was. Beside the honest table, marked, stands the
    protocol of arXiv 2601.14620, which scores each source against its own labels, so that sources are not comparable. Rows that were
    mixed from others are left out: the augmented cells make their own, from training rows alone.

    Args:
        recipe: `RecipeArguments`, with backbone and dataset.
        args: Training arguments; `output_dir` receives a folder a cell.
        sources: Of the training target: ``human``, ``synthetic``, ``combined``.
        augment: Without, with, or both.
        seeds: Of weights, order and augmentation.
        augmenter: Function of (training rows, emotions, seed) that gives the augmented rows; default: the library's DiME-Aug.
        augmentation_name: Its name, for tables; also decides whether earlier cells count.
        data: Splits instead of those at `recipe.dataset`.
        test_split: Split that is scored, where there are no folds.
        fold_column: Column that names folds of whole speakers: every cell is trained once a fold, and all rows are scored.
        num_folds: Folds of whole speakers, where no column names them.
        validation_speakers: Training speakers of a fold that choose its checkpoints.
        num_resamples: Bootstrap draws.
        overwrite: Train again what has been predicted.
        keep_checkpoints: Keep every cell's checkpoint.
        vote_source: Where the votes come from; default: what the data set's card says.
        seed: Of the bootstrap, the folds and their validation speakers.

    Returns:
        The study; not yet saved.

    Raises:
        ValueError: Before training, for whatever does not fit.
        KeyboardInterrupt: On Ctrl-C; the same call goes on.
    """
    from datasets import Dataset

    from ...data.loading import emotions_of, load_emotion_dataset, read_vote_source

    if not sources or not augment or not seeds:
        raise ValueError("Nothing to compare: give at least one source, one setting of the augmentation and one seed.")
    for name in ("backbone", "dataset"):
        if getattr(recipe, name) is None and not (name == "dataset" and data is not None):
            raise ValueError(f"no {name}: add --{name}, a local folder or a Hub id")
    if args.target_column != "emotion_distribution":
        raise ValueError("The ablation makes its own training targets. Mend: leave --target_column out.")
    splits = data if data is not None else load_emotion_dataset(recipe.dataset, revision=recipe.dataset_revision)
    if isinstance(splits, Dataset):
        splits = {"train": splits}
    cut = ablation_data(
        splits,
        (recipe.train_split, recipe.validation_split, test_split),
        fold_column=fold_column,
        num_folds=num_folds,
        validation_speakers=validation_speakers,
        seed=seed,
    )
    test = cut.rows.select(cut.scored)
    emotions = tuple(recipe.emotions.split(",")) if recipe.emotions else emotions_of(test)
    references = scored_matrix(test, emotions)
    targets = {source: source_targets(cut.rows, emotions, source) for source in sources}
    for source, part in ((source, part) for source in sources for part in cut.parts):
        if all(targets[source][place] is None for place in part.train):
            raise ValueError(
                f"No training row has votes for {source!r}. Mend: annotate the training split, or leave {source} out."
            )
    make = augmenter or (augmenter_of(None, "default", recipe.backbone) if True in augment else _nothing_added)
    out = Path(str(args.output_dir))

    predictions: dict[tuple[str, bool], list[FloatArray]] = {}
    details: list[dict[str, Any]] = []
    with resumable(out):
        for source in sources:
            for augmented in augment:
                for training_seed in seeds:
                    predicted, found = _train_cell(
                        recipe,
                        args,
                        cut,
                        emotions,
                        references,
                        (source, augmented, training_seed),
                        targets[source],
                        make,
                        augmentation_name,
                        out,
                        overwrite=overwrite,
                        keep_checkpoints=keep_checkpoints,
                    )
                    predictions.setdefault((source, augmented), []).append(predicted)
                    details += found

    speakers, known = speaker_groups(test)
    card = vote_source
    if card is None and recipe.dataset and Path(str(recipe.dataset)).is_dir():
        card = read_vote_source(str(recipe.dataset))
    notes = notes_about(test, card) + _doubts(cut, speakers if known else None, sources)
    study = Study("ablation", f"Human, synthetic and combined votes, with and without {augmentation_name}", {}, notes)
    study.facts = {
        "data": f"{Path(str(recipe.dataset)).name if recipe.dataset else 'given splits'}"
        + (f". Votes: {card}" if card else ""),
        "split": f"{cut.told}; {len(set(speakers))} speakers are scored",
        "emotions": ", ".join(emotions),
        "backbone": Path(str(recipe.backbone)).name,
        "protocol": "every cell is scored on the human votes of the same test rows; figures are means over seeds; 95 % bootstrap intervals over speakers "
        "where known, of the mean over seeds; p-values flip the signs of whole speakers",
        "seeds": f"training {', '.join(map(str, seeds))}; bootstrap {seed}; {num_resamples} resamples",
    }
    cells = cell_scores(predictions, references, speakers, num_resamples, seed)
    study.results = {"cells": cells, "runs": details}
    counts = vote_counts_matrix(
        column_of(test, "human_votes"), emotions, column_of(test, "human_vote_weights"), outside="drop"
    )
    floor = None
    if (counts == np.round(counts)).all() and (counts.sum(axis=1) >= 2).any():
        floor = float(np.nanmean(js_divergence_floor(counts)))
        study.results["js_divergence_floor"] = floor
    own_labels = {source: [targets[source][place] for place in cut.scored] for source in sources}
    told, study.results["paper_protocol"] = paper_table(predictions, own_labels, emotions)
    study.tables = [honest_table(cells, floor, augmentation_name), told]
    study.findings = findings(cells)
    study.plots = [
        Plot(
            "ablation",
            ablation_plot(cells, notes, augmentation_name),
            "JS divergence to the human votes, mean over seeds, with 95 % intervals over speakers; small marks: single seeds.",
        )
    ]
    return study


def _train_cell(
    recipe: Any,
    args: Any,
    cut: AblationData,
    emotions: tuple[str, ...],
    references: FloatArray,
    cell: tuple[str, bool, int],
    targets: Sequence[dict[str, float] | None],
    make: Augment,
    augmentation_name: str,
    out: Path,
    **options: bool,
) -> tuple[FloatArray, list[dict[str, Any]]]:
    """Predictions (N, K) of all scored rows by one cell, which is trained once for each part of the data."""
    source, augmented, seed = cell
    own = copy.copy(args)
    own.seed = seed
    predicted = np.empty_like(references)
    details = []
    for part in cut.parts:
        name = f"{source}{'-augmented' if augmented else ''}-seed{seed}{part.suffix}"
        test, train = cut.rows.select(part.test), cut.rows.select(part.train)
        here = np.searchsorted(cut.scored, part.test)
        learnt = [targets[place] for place in part.train]

        def rows(train: Any = train, learnt: Any = learnt) -> Any:
            made = with_targets(train, learnt, emotions)
            return make(made, emotions, seed) if augmented else made

        settings = {
            **data_stamp(row_ids(test), emotions, [references[here]], [part.train, part.validation]),
            "targets": hashlib.sha256(json.dumps(learnt, sort_keys=True).encode()).hexdigest(),
            "source": source,
            "augmentation": augmentation_name if augmented else None,
        }
        validation = cut.rows.select(part.validation)
        folder = out / "cells" / name
        predicted[here], detail = predicted_by_training(
            recipe, own, folder, emotions, rows, validation, test, settings, **options
        )
        details.append({"source": source, "augmented": augmented, "seed": seed, "part": part.suffix[1:], **detail})
    return predicted, details


def _nothing_added(rows: Any, emotions: Sequence[str], seed: int) -> Any:
    return rows


def _doubts(cut: AblationData, speakers: Any, sources: Sequence[str]) -> list[str]:
    """What makes the figures mean less than they seem to."""
    found = rough_intervals(len(set(speakers))) if speakers is not None else []
    train = np.unique(np.concatenate([part.train for part in cut.parts]))
    if len(cut.parts) == 1 and speakers is not None:
        shared = set(speakers) & set(speaker_groups(cut.rows.select(train))[0])
        if shared:
            found.append(f"{len(shared)} of the test speakers are also trained on")
    made = [column_of(cut.rows, name) for name in ("synthetic_votes", "synthetic_annotations")]
    if set(sources) - {"human"}:
        bare = sum(not any(values[place] for values in made if values) for place in train)
        if bare:
            found.append(f"{bare} of {len(train)} training rows have no synthetic votes")
    return found


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
    parser.add_argument("--fold_column", help="column of folds: every cell is trained once a fold, all rows are scored")
    parser.add_argument("--num_folds", type=int, help="folds of whole speakers, where no column names them")
    parser.add_argument(
        "--validation_speakers",
        type=int,
        default=2,
        help="training speakers of a fold that choose checkpoints (default: 2)",
    )
    parser.add_argument("--vote_source", help="where the votes come from (default: what the data set's card says)")
    parser.add_argument("--overwrite", action="store_true", help="train again what has been predicted")
    parser.add_argument("--keep_checkpoints", action="store_true", help="keep every cell's checkpoint")
    parser.add_argument(
        "recipe", nargs=argparse.REMAINDER, metavar="-- ...", help="after --: any argument of recipes/train.py"
    )


def _seeds(text: str) -> list[int]:
    try:
        return [int(seed) for seed in text.split(",")]
    except ValueError:
        raise ValueError(f"--seeds {text!r} is not a list of whole numbers, such as 0,1,2.") from None


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
        seeds=_seeds(args.seeds),
        augmenter=augmenter_of(args.augment_with, args.augment_preset, recipe.backbone)
        if args.augment != "off"
        else None,
        augmentation_name=name,
        test_split=args.test_split,
        fold_column=args.fold_column,
        num_folds=args.num_folds,
        validation_speakers=args.validation_speakers,
        num_resamples=args.num_resamples or 2000,
        overwrite=args.overwrite,
        keep_checkpoints=args.keep_checkpoints,
        vote_source=args.vote_source,
        seed=args.seed,
    )
