"""Speaker-disjoint cross-validation of a training recipe, next to simple predictors on the same folds; resumable."""

from __future__ import annotations

import gc
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ..data.loading import emotions_of, load_emotion_dataset, read_vote_source
from ..data.rows import column_of, notes_about, row_ids
from ..data.splits import folds_from_column, speaker_folds
from ..data.targets import scored_matrix
from ..votes import distributions_to_matrix
from .baselines import SoftLogisticRegression, tower_features
from .checkpoint import write_predictions
from .comparison import CrossValidationReport, compare_predictors
from .plots import predicted_against_target_plot, reliability_plot
from .resuming import backbone_stamp, data_stamp, is_done, read_predictions, write_json
from .training_cells import predicted_by_training, resumable

__all__ = ["CrossValidationReport", "cell_means", "choose_validation_speakers", "cross_validate", "folds_with_speakers"]

logger = logging.getLogger(__name__)


@dataclass
class _Plan:
    """The rows, what they are scored against, and the folds."""

    rows: Any
    emotions: tuple[str, ...]
    targets: np.ndarray
    references: np.ndarray
    speakers: np.ndarray
    folds: list[tuple[np.ndarray, np.ndarray]]
    ids: list[str]
    stamp: dict[str, str]


def cross_validate(
    recipe: Any,
    args: Any,
    *,
    fold_column: str | None = None,
    num_folds: int = 4,
    validation_speakers: int = 2,
    ceiling_columns: Sequence[str] = (),
    vote_source: str | None = None,
    regression: bool = True,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    num_resamples: int = 2000,
) -> CrossValidationReport:
    """Trains a recipe on every fold's other speakers and scores it on the fold's own.

    All splits of the data set are put together. In each fold the model trains on the other folds without `validation_speakers` speakers,
    who choose its checkpoint; the simple predictors, which choose nothing by them, use all rows of the other folds. A fold that has been
    predicted is not trained again, so that a stopped run goes on where it was.

    Args:
        recipe: `hf_emo_dist.training.fine_tuning.RecipeArguments`, with backbone and dataset.
        args: training arguments; `output_dir` receives the folds and the report, `seed` draws folds and validation speakers.
        fold_column: column that names the folds; the default makes `num_folds` folds of whole speakers.
        num_folds: folds, where no column names them.
        validation_speakers: speakers of the training folds that choose the checkpoint.
        ceiling_columns: columns such as `intended`; the mean of the training targets in each of their cells is "knowing" them, and the
            share of the gap from the mean predictor to it is reported. Without them a `true_distribution` is the ceiling.
        vote_source: where the votes come from; the default is what the data set's card says.
        regression: also fit the regression on the frozen tower's features.
        overwrite: train again what has been predicted.
        keep_checkpoints: do not delete a fold's checkpoint once it has predicted.
        num_resamples: bootstrap draws.

    Returns:
        The report; `cross_validation.json`, `cross_validation.md`, `predictions.parquet` and two plots are in `args.output_dir`.

    Raises:
        ValueError: before training, for whatever does not fit: columns, targets, folds, settings of an earlier run in the same folder.
        KeyboardInterrupt: on Ctrl-C; the same command goes on.

    Example:
        >>> recipe, args = parse_config(["--config", "recipes/configs/mini.yaml"])  # doctest: +SKIP
        >>> print(cross_validate(recipe, args, fold_column="fold").to_markdown())  # doctest: +SKIP
    """
    plan = _plan(recipe, args, fold_column, num_folds, validation_speakers)
    out = Path(str(args.output_dir))
    ceiling = _ceiling(plan, ceiling_columns)
    predictions: dict[str, np.ndarray] = {
        "uniform": np.full(plan.targets.shape, 1.0 / len(plan.emotions)),
        "mean_of_training_targets": _by_fold(plan, lambda train, test: plan.targets[train].mean(axis=0)),
    }
    details: list[dict[str, Any]] = []
    with resumable(out):
        if regression:
            predictions["regression"] = _regression(recipe, args, plan, out, overwrite)
        model = np.empty_like(plan.targets)
        for index, (train, test) in enumerate(plan.folds):
            chosen = choose_validation_speakers(plan.speakers[train], validation_speakers, args.seed, index)
            model[test], detail = _fold(recipe, args, plan, index, chosen, out, overwrite, keep_checkpoints)
            details.append(detail)
        predictions["model"] = model
    if ceiling is not None:
        predictions["ceiling"] = ceiling[1]

    source = vote_source
    if source is None and Path(str(recipe.dataset)).is_dir():
        source = read_vote_source(str(recipe.dataset))
    notes = notes_about(plan.rows, source)
    if args.score_column != "human_distribution":
        notes.append(f"scored on {args.score_column}, not on human votes")
    report = compare_predictors(
        predictions,
        plan.references,
        plan.speakers,
        plan.emotions,
        notes=notes,
        vote_source=source,
        ceiling_title=None if ceiling is None else ceiling[0],
        folds=details,
        seed=args.seed,
        num_resamples=num_resamples,
    )
    report.save(out)
    fold_of = np.empty(len(plan.rows), dtype=np.int64)
    for index, (_, test) in enumerate(plan.folds):
        fold_of[test] = index
    columns: dict[str, Any] = {"fold": fold_of, "predicted_distribution": model, args.score_column: plan.references}
    columns["js_divergence"] = report.js_divergence["model"]
    for name, title in (("regression", "regression_distribution"), ("ceiling", "ceiling_distribution")):
        if name in predictions:
            columns[title] = predictions[name]
    write_predictions(out / "predictions.parquet", plan.rows, plan.emotions, columns)
    told: dict[str, Any] = {"split": f"{len(plan.folds)}-fold cross-validation", "notes": notes}
    reliability_plot(model, plan.references, plan.emotions, out / "reliability.png", **told)
    predicted_against_target_plot(model, plan.references, plan.emotions, out / "predicted_against_target.png", **told)
    return report


def choose_validation_speakers(speakers: Sequence[Any] | np.ndarray, count: int, seed: int, fold: int) -> list[str]:
    """The speakers of a fold's training rows that choose the checkpoint, drawn by (seed, fold).

    Example:
        >>> len(choose_validation_speakers(["a", "a", "b", "c"], 2, seed=0, fold=1))
        2
    """
    names = np.unique(np.asarray(speakers, dtype=str))
    return sorted(np.random.default_rng([seed, fold]).choice(names, size=count, replace=False).tolist())


def cell_means(
    targets: np.ndarray, cells: Sequence[Any], train: np.ndarray, test: np.ndarray
) -> tuple[np.ndarray, list[Any]]:
    """For each test row the mean of the training targets in its cell, and the cells that training has not seen.

    Args:
        targets: (N, K) distributions of all rows.
        cells: N hashable values, such as the intended emotion.
        train: indices of the rows to average.
        test: indices of the rows to predict; an unseen cell gets the mean of all training rows.

    Example:
        >>> cell_means(np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5]]), ["x", "y", "x"], np.array([0, 1]), np.array([2]))
        (array([[1., 0.]]), [])
    """
    members: dict[Any, list[int]] = {}
    for i in train:
        members.setdefault(cells[i], []).append(int(i))
    means = {cell: targets[rows].mean(axis=0) for cell, rows in members.items()}
    overall = targets[train].mean(axis=0)
    unseen = sorted({cells[i] for i in test} - set(means), key=str)
    return np.stack([means.get(cells[i], overall) for i in test]), unseen


def _plan(recipe: Any, args: Any, fold_column: str | None, num_folds: int, validation_speakers: int) -> _Plan:
    from datasets import Dataset, concatenate_datasets

    for name in ("backbone", "dataset"):
        if getattr(recipe, name) is None:
            raise ValueError(f"no {name}: add --{name}, a local folder or a Hub id")
    loaded = load_emotion_dataset(recipe.dataset, revision=recipe.dataset_revision)
    rows = loaded if isinstance(loaded, Dataset) else concatenate_datasets(list(loaded.values()))
    emotions = tuple(recipe.emotions.split(",")) if recipe.emotions else emotions_of(rows, args.target_column)
    references = scored_matrix(rows, emotions, args.score_column)
    target_column = column_of(rows, args.target_column)
    if target_column is None:
        raise ValueError(f"There is no column {args.target_column!r} to train on. Mend: write it with combine_votes.")
    targets = distributions_to_matrix(target_column, emotions, ids=row_ids(rows), column_name=args.target_column)
    folds, speakers = folds_with_speakers(rows, fold_column, num_folds, validation_speakers, args.seed)
    ids = row_ids(rows)
    stamp = data_stamp(ids, emotions, [targets, references], [test for _, test in folds])
    return _Plan(rows, emotions, targets, references, speakers, folds, ids, stamp)


def folds_with_speakers(
    rows: Any, fold_column: str | None, num_folds: int, validation_speakers: int, seed: int
) -> tuple[list[tuple[np.ndarray, np.ndarray]], np.ndarray]:
    """Folds of whole speakers, as (rows to train on, rows to test on), and who speaks in each row.

    Raises:
        ValueError: The folds cannot be made, or no speaker would be left to train on beside those who choose the checkpoint.
    """
    folds = folds_from_column(rows, fold_column) if fold_column else speaker_folds(rows, num_folds, seed=seed)
    speakers = np.array([str(speaker) for speaker in rows["speaker"]])
    fewest = min(len(np.unique(speakers[train])) for train, _ in folds)
    if not 1 <= validation_speakers < fewest:
        raise ValueError(
            f"validation_speakers={validation_speakers} must be from 1 to {fewest - 1}: the other folds have {fewest} speakers, and "
            "at least one must be left to train on."
        )
    return folds, speakers


def _by_fold(plan: _Plan, predict: Any) -> np.ndarray:
    result = np.empty_like(plan.targets)
    for train, test in plan.folds:
        result[test] = predict(train, test)
    return result


def _ceiling(plan: _Plan, columns: Sequence[str]) -> tuple[str, np.ndarray] | None:
    if not columns:
        if column_of(plan.rows, "true_distribution") is None:
            return None
        return "knowing the truth", scored_matrix(plan.rows, plan.emotions, "true_distribution")
    values = []
    for name in columns:
        column = column_of(plan.rows, name)
        if column is None:
            raise ValueError(f"There is no column {name!r} to know (there are {', '.join(plan.rows.column_names)}).")
        values.append(column)
    cells = list(zip(*values, strict=True))
    unseen: set[Any] = set()

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        means, new = cell_means(plan.targets, cells, train, test)
        unseen.update(new)
        return means

    predicted = _by_fold(plan, predict)
    if unseen:
        logger.warning(
            "cells that no training fold has: %s; they get the mean of all training targets", sorted(unseen, key=str)
        )
    return f"knowing {' and '.join(columns)}", predicted


def _regression(recipe: Any, args: Any, plan: _Plan, out: Path, overwrite: bool) -> np.ndarray:
    from ..training.fine_tuning import load_model

    settings = {
        "backbone": backbone_stamp(recipe.backbone),
        "long_audio": recipe.long_audio,
        "seed": args.seed,
        **plan.stamp,
    }
    file, about = out / "regression.parquet", out / "regression.json"
    if not overwrite and is_done(file, about, settings):
        logger.info("the regression has been predicted already")
        return read_predictions(file, plan.ids, plan.emotions)
    model, processor = load_model(recipe, plan.emotions)
    features = tower_features(model.to(args.device), processor, plan.rows, [-1], args.per_device_eval_batch_size)[:, 0]
    del model
    gc.collect()
    chosen: list[float | None] = []

    def predict(train: np.ndarray, test: np.ndarray) -> np.ndarray:
        fitted = SoftLogisticRegression(seed=args.seed).fit(features[train], plan.targets[train], plan.speakers[train])
        chosen.append(fitted.chosen_l2)
        return fitted.predict(features[test])

    predicted = _by_fold(plan, predict)
    write_predictions(file, plan.rows, plan.emotions, {"predicted_distribution": predicted})
    write_json(about, {"settings": settings, "l2": chosen})
    # read back, so that a first run and a resumed one agree to the last digit
    return read_predictions(file, plan.ids, plan.emotions)


def _fold(
    recipe: Any,
    args: Any,
    plan: _Plan,
    index: int,
    validation: list[str],
    out: Path,
    overwrite: bool,
    keep_checkpoints: bool,
) -> tuple[np.ndarray, dict[str, Any]]:
    """Predictions of one fold's rows: read where they are there, else trained for."""
    train, test = plan.folds[index]
    held_out = np.isin(plan.speakers[train], validation)
    learnt, choosing = train[~held_out], train[held_out]
    logger.info(
        "fold %d of %d: %d rows to choose by (%s)", index + 1, len(plan.folds), len(choosing), ", ".join(validation)
    )
    predicted, detail = predicted_by_training(
        recipe,
        args,
        out / f"fold-{index}",
        plan.emotions,
        lambda: plan.rows.select(learnt),
        plan.rows.select(choosing),
        plan.rows.select(test),
        {**plan.stamp, "validation_speakers": validation},
        overwrite=overwrite,
        keep_checkpoints=keep_checkpoints,
    )
    return predicted, {
        "fold": index,
        **detail,
        "validation_speakers": validation,
        "test_speakers": sorted(set(plan.speakers[test].tolist())),
        "test_rows": len(test),
    }
