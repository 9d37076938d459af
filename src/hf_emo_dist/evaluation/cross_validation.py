"""Speaker-disjoint cross-validation of a training recipe, next to simple predictors on the same folds; resumable."""

from __future__ import annotations

import gc
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.output import output_files, write_json, write_text
from ..data.protocols import Protocol, protocol_of
from ..data.rows import column_of
from ..data.targets import counted_votes, scored_matrix
from ..markdown import as_prose
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence
from ..scores.summary import compute_scores
from .baselines import SoftLogisticRegression, tower_features
from .checkpoint import write_predictions
from .fold_figures import FLOOR, KNOWN, MEAN, UNIFORM, FoldedVotes, cell_means, constant_predictions, fold_figures
from .fold_figures import folds_markdown as fold_rows
from .fold_plan import FoldPlan
from .plots import write_plots
from .refitted_targets import (
    TARGET,
)
from .resuming import (
    Cell,
    backbone_stamp,
    predicted_by_training,
    read_predictions,
    resumable,
)
from .scoring import Bootstrap, check_predictions, difference_words, jsonable, share_words

if TYPE_CHECKING:
    pass

logger = logging.getLogger(__name__)

TITLES = {
    "uniform": "uniform",
    "mean_of_training_targets": "mean of training targets (1)",
    "regression": "regression on frozen tower features (1)",
    "model": "**trained model** (2)",
    "ceiling": "ceiling",
}


@dataclass
class CrossValidationReport:
    """Every predictor's scores over all folds.

    Attributes:
        predictors: Name to `compute_scores` and `js_standard_error`, `bc_standard_error` (over speakers).
        differences: `<a>_minus_<b>` to the paired difference in JS (base 2) with its interval over speakers; below zero
            a is better.
        gap_closed: Share of the way from the mean predictor to the ceiling, for the model and the regression; empty
            without a ceiling.
        js_divergence: Name to (N,) of each row.
        folds: Rows and speakers of each fold.
        protocol: With a protocol of the field its name and `fold_figures`, of the model too; else empty.
        notes: What a reader must know before the figures.
    """

    emotions: tuple[str, ...]
    num_examples: int
    num_speakers: int
    predictors: dict[str, dict[str, float]]
    differences: dict[str, dict[str, float]]
    gap_closed: dict[str, dict[str, float]]
    js_divergence: dict[str, np.ndarray]
    ceiling_title: str | None = None
    folds: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    protocol: dict[str, Any] = field(default_factory=dict)
    vote_source: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON; the model's scores are at the top level."""
        return jsonable(
            {
                **self.predictors.get("model", {}),
                "num_examples": self.num_examples,
                "num_speakers": self.num_speakers,
                "emotions": list(self.emotions),
                "notes": self.notes,
                "vote_source": self.vote_source,
                "predictors": self.predictors,
                "differences": self.differences,
                "ceiling": self.ceiling_title,
                "gap_closed": self.gap_closed,
                "folds": self.folds,
                "protocol": self.protocol,
            }
        )

    def to_markdown(self) -> str:
        """The notes and one table, in Markdown."""
        lines = [f"**{as_prose('; '.join(self.notes))}**", ""] if self.notes else []
        if self.vote_source:
            lines += [f"Votes: {as_prose(self.vote_source)}", ""]
        lines += [
            f"{len(self.folds)}-fold cross-validation over {self.num_speakers} speakers, {self.num_examples} "
            "utterances; nobody is scored by a model that heard them. JS divergence is base 2, lower is better; +/- is "
            "the standard error over speakers, brackets are 95 % bootstrap intervals over speakers.",
            "",
            "| predictor | JS divergence | Bhattacharyya | JS minus the mean predictor's | gap closed |",
            "|---|---|---|---|---|",
        ]
        for name in [name for name in TITLES if name in self.predictors]:
            scores = self.predictors[name]
            title = self.ceiling_title if name == "ceiling" and self.ceiling_title else TITLES[name]
            difference = self.differences.get(f"{name}_minus_mean_of_training_targets")
            lines.append(
                f"| {title} | {scores['js_divergence']:.3f} +/- {scores['js_standard_error']:.3f} | "
                f"{scores['bhattacharyya_coefficient']:.3f} +/- {scores['bc_standard_error']:.3f} | "
                f"{'-' if difference is None else difference_words(difference)} | "
                f"{share_words(self.gap_closed[name]) if name in self.gap_closed else '-'} |"
            )
        lines += ["", "(1) uses all rows of the other folds, the validation speakers' too."]
        layers = [str(fold["regression_layer"]) for fold in self.folds if "regression_layer" in fold]
        if layers:
            told = ", ".join(layers)
            lines[-1] += f" The regression is on the mean states of one layer, chosen among those speakers: {told}."
        if "model" in self.predictors:
            lines.append("(2) trains on the other folds without the validation speakers, who choose its checkpoint.")
        if "model_minus_regression" in self.differences:
            text = difference_words(self.differences["model_minus_regression"])
            lines += ["", f"Trained model minus regression, JS: {text}."]
        if self.gap_closed:
            lines += ["", f"Gap closed: from the mean predictor to {self.ceiling_title}."]
        if self.protocol:
            titles = {UNIFORM: "uniform", MEAN: "mean of the other folds", KNOWN: str(self.ceiling_title), **TITLES}
            titles |= {FLOOR: "floor: the true distributions"}
            columns, rows = fold_rows(self.protocol["figures"], titles)
            lines += ["", f"By the protocol {self.protocol['name']} (95 % intervals over speakers):", ""]
            lines += [f"| {' | '.join(columns)} |", "|---" * len(columns) + "|"]
            lines += [f"| {' | '.join(row)} |" for row in rows]
        return "\n".join(lines) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Write `cross_validation.json` and `cross_validation.md`, and return the path of the JSON."""
        write_text(Path(folder) / "cross_validation.md", self.to_markdown())
        return write_json(Path(folder) / "cross_validation.json", self.to_dict())


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a mean over groups (speakers): deviation of the groups' means over the root of their number."""
    _, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member)
    if len(sizes) < 2:
        return float("nan")
    means = np.bincount(member, weights=values) / sizes
    return float(means.std(ddof=1) / np.sqrt(len(means)))


def compare_predictors(
    predictions: Mapping[str, np.ndarray],
    references: np.ndarray,
    speakers: np.ndarray,
    emotions: Sequence[str],
    bootstrap: Bootstrap,
    *,
    ceiling_title: str | None = None,
    folds: Sequence[dict[str, Any]] = (),
    notes: Sequence[str] = (),
    vote_source: str | None = None,
) -> CrossValidationReport:
    """Score predictors of the same rows, each (N, K) under one of the names of `TITLES`; speakers are resampled."""
    rows = [str(i) for i in range(len(references))]
    checked = {name: check_predictions(p, references.shape, rows) for name, p in predictions.items()}
    js = {name: jensen_shannon_divergence(p, references, base=2) for name, p in checked.items()}
    predictors = {}
    for name, p in checked.items():
        predictors[name] = {
            **compute_scores(p, references, emotions=emotions),
            "js_standard_error": standard_error(js[name], speakers),
            "bc_standard_error": standard_error(bhattacharyya_coefficient(p, references), speakers),
        }
    pairs = (
        ("model", "uniform"),
        ("model", "mean_of_training_targets"),
        ("model", "regression"),
        ("regression", "mean_of_training_targets"),
        ("ceiling", "mean_of_training_targets"),
    )
    gap_closed = {}
    if "ceiling" in js and "mean_of_training_targets" in js:
        mean = js["mean_of_training_targets"]
        for name in ("model", "regression"):
            if name in js:
                gap_closed[name] = bootstrap.ratio(mean - js[name], mean - js["ceiling"], speakers)
    return CrossValidationReport(
        emotions=tuple(emotions),
        num_examples=len(references),
        num_speakers=len(np.unique(speakers)),
        predictors=predictors,
        differences={
            f"{a}_minus_{b}": bootstrap.difference(js[a], js[b], speakers, bounds="js_divergence")
            for a, b in pairs
            if a in js and b in js
        },
        gap_closed=gap_closed,
        js_divergence=js,
        ceiling_title=ceiling_title,
        folds=list(folds),
        notes=list(notes),
        vote_source=vote_source,
    )


def cross_validate(
    recipe: Any,
    args: Any,
    *,
    protocol: str | None = None,
    fold_column: str | None = None,
    num_folds: int = 4,
    validation_speakers: int = 2,
    smooth_targets: bool = False,
    ceiling_columns: Sequence[str] | None = None,
    vote_source: str | None = None,
    regression: bool = True,
    refit: bool = True,
    overwrite: bool = False,
    keep_checkpoints: bool = False,
    num_resamples: int = 2000,
) -> CrossValidationReport:
    """Train a recipe on every fold's other speakers and score it on the fold's own.

    All splits of the data set are put together. In each fold the model trains on the other folds without
    `validation_speakers` speakers, who choose its checkpoint; the simple predictors, which choose nothing by them, use
    all rows of the other folds. Rows that were mixed from others are trained on by the model where all of their sources
    are, and never scored. Targets that a combiner was fitted for are made anew in every fold, by one that is fitted on
    the fold's training rows alone, so that no vote of a scored speaker, or of one who chooses checkpoints, has shaped
    them; mixed rows get theirs from their sources' new ones. A fold that has been predicted is not trained again, so
    that a stopped run goes on where it was.

    Args:
        recipe: `hf_emo_dist.training.fine_tuning.RecipeArguments`, with backbone and dataset.
        args: Training arguments; `output_dir` receives the folds and the report, `seed` draws folds, validation
            speakers and the bootstrap.
        protocol: Folds of a protocol of the field: `emo_superb`, CREMA-D's voice votes in five ranges of actors, of
            which the next range chooses the checkpoint (arXiv 2402.13018). Its figures are reported, too, beside those
            of predictors that hear nothing, as `hf-emo-dist report folds` has them.
        fold_column: Column that names the folds; the default makes `num_folds` folds of whole speakers.
        num_folds: Folds, where no column names them.
        validation_speakers: Speakers of the training folds that choose the checkpoint; a protocol has its own.
        smooth_targets: Train on targets smoothed as the protocol's labels are. What is scored against is not smoothed,
            but for macro-F1 at a threshold of 1/K.
        ceiling_columns: Columns such as `intended`; the mean of the training targets in each of their cells is
            "knowing" them, and the share of the gap from the mean predictor to it is reported. Without them a
            `true_distribution` is the ceiling.
        vote_source: Where the votes come from; the default is what the data set's card says.
        regression: Also fit the regression on the frozen tower's features; of a speech encoder on the layer that is
            best within the speakers it is fitted on.
        refit: Fit targets that were fitted on votes anew in every fold. Without it the targets have seen the votes that
            a fold is scored against, which the report then says.
        overwrite: Train again what has been predicted.
        keep_checkpoints: Do not delete a fold's checkpoint once it has predicted.
        num_resamples: Bootstrap resamples, at least 1.

    Returns:
        The report; `cross_validation.json`, `cross_validation.md`, `predictions.parquet` and two plots are in
        `args.output_dir`.

    Raises:
        ValueError: Before training, for whatever does not fit: columns, targets, folds, settings of an earlier run in
            the same folder.
        KeyboardInterrupt: On Ctrl-C; the same command goes on.

    Example:
        >>> recipe, args = parse_config(["--config", "mini.yaml"])  # doctest: +SKIP
        >>> print(cross_validate(recipe, args, fold_column="fold").to_markdown())  # doctest: +SKIP
    """
    bootstrap = Bootstrap(num_resamples, args.seed)
    rules = None if protocol is None else protocol_of(protocol)
    if rules is not None and fold_column is not None:
        raise ValueError(f"{protocol} has folds of its own. Mend: leave fold_column out, or the protocol.")
    if rules is None and smooth_targets:
        raise ValueError("smooth_targets smooths as a protocol does. Mend: name the protocol, or leave it out.")
    if smooth_targets and args.target_column != TARGET:
        raise ValueError(
            f"smooth_targets smooths {TARGET!r}, and {args.target_column!r} is trained on. Mend: one of them."
        )
    plan = FoldPlan(
        *(recipe, args, fold_column, num_folds, validation_speakers, vote_source, overwrite, refit),
        protocol=rules,
        smooth_targets=smooth_targets,
    )
    ceiling_title, ceiling = _ceiling(plan, ceiling_columns or ())
    predictions: dict[str, np.ndarray] = {
        "uniform": np.full(plan.references.shape, 1.0 / len(plan.emotions)),
        "mean_of_training_targets": plan.by_fold(lambda targets, train, test: targets[train].mean(axis=0)),
    }
    model = np.empty_like(plan.references)
    fold_of = np.empty(len(plan.rows), dtype=np.int64)
    details: list[dict[str, Any]] = []
    layers: list[int] = []
    with resumable(plan.out):
        if regression:
            predictions["regression"], layers = _regression(plan)
        for index, fold in enumerate(plan.folds):
            model[fold.test], detail = _fold(plan, index, keep_checkpoints)
            fold_of[fold.test] = index
            details.append({**detail, **({"regression_layer": layers[index]} if layers else {})})
        predictions["model"] = model
    if ceiling is not None:
        predictions["ceiling"] = ceiling

    notes = plan.opened.notes(plan.rows)
    if rules is not None:
        told = ((name, column_of(plan.rows, name)) for name in ("late_responses", "marked_clips"))
        notes += [*rules.differs(plan.emotions), *rules.read_otherwise(dict(told))]
    if args.score_column != "human_distribution":
        notes.append(f"scored on {args.score_column}, not on human votes")
    if plan.mixed_stamp:
        notes.append(
            f"{len(plan.opened.mixed.mixed)} mixed rows are trained on where their sources are, and not scored"
        )
    if plan.fitted is not None and plan.refit:
        notes.append(f"targets ({plan.fitted['method']}) fitted anew in every fold, on its training rows alone")
    elif plan.fitted is not None:
        notes.append(
            f"the targets ({plan.fitted['method']}) were fitted on votes of all folds, also on those scored against"
        )
    report = compare_predictors(
        predictions,
        plan.references,
        plan.speakers,
        plan.emotions,
        bootstrap,
        ceiling_title=ceiling_title,
        folds=details,
        notes=notes,
        vote_source=plan.opened.vote_source,
    )
    if rules is not None:
        report.protocol = _protocol_figures(plan, rules, predictions, ceiling_columns or (), bootstrap)
    columns: dict[str, Any] = {"fold": fold_of, "predicted_distribution": model, args.score_column: plan.references}
    columns["js_divergence"] = report.js_divergence["model"]
    for name in ("regression", "ceiling"):
        if name in predictions:
            columns[f"{name}_distribution"] = predictions[name]
    split = f"{len(plan.folds)}-fold cross-validation"
    with output_files(plan.out / "cross_validation.json", overwrite=True) as part:
        report.save(part)
        write_predictions(part / "predictions.parquet", plan.rows, plan.emotions, columns)
        write_plots(model, plan.references, plan.emotions, part, split, notes)
    return report


def _protocol_figures(
    plan: FoldPlan, rules: Protocol, predictions: Mapping[str, np.ndarray], known: Sequence[str], bootstrap: Bootstrap
) -> dict[str, Any]:
    """What the protocol's report has of the model and the regression, and of predictors that hear nothing."""
    fold = rules.fold_of(plan.rows["speaker"])
    counts, squares = counted_votes(plan.rows, plan.emotions)
    speakers = np.array([str(rules.number(name)) for name in plan.speakers])  # as the study of folds has them
    votes = FoldedVotes(plan.references, counts, fold, speakers, rules.labels(plan.references), squares)
    cells = None if not known else list(zip(*(column_of(plan.rows, name) or () for name in known), strict=True))
    found, _ = constant_predictions(plan.references, fold, cells)
    trained = {name: predictions[name] for name in ("regression", "model") if name in predictions}
    return {
        "name": rules.name,
        "source": rules.source,
        "known": list(known),
        "smoothed_targets": plan.smooth_targets,
        "notes": rules.differs(plan.emotions),
        "figures": fold_figures({**found, **trained}, votes, bootstrap),
    }


def _ceiling(plan: FoldPlan, columns: Sequence[str]) -> tuple[str | None, np.ndarray | None]:
    """What the ceiling knows, and its predictions."""
    if not columns:
        if column_of(plan.rows, "true_distribution") is None:
            return None, None
        return "knowing the truth", scored_matrix(plan.rows, plan.emotions, "true_distribution")
    values = []
    for name in columns:
        column = column_of(plan.rows, name)
        if column is None:
            raise ValueError(
                f"There is no column {name!r} to know. Mend: name one of {', '.join(plan.rows.column_names)}."
            )
        values.append(column)
    cells = list(zip(*values, strict=True))
    unseen: set[Any] = set()

    def predict(targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        means, new = cell_means(targets, cells, train, test)
        unseen.update(new)
        return means

    predicted = plan.by_fold(predict)
    if unseen:
        logger.warning(
            "cells that no training fold has: %s; they get the mean of all training targets", sorted(unseen, key=str)
        )
    return f"knowing {' and '.join(columns)}", predicted


def _regression(plan: FoldPlan) -> tuple[np.ndarray, list[int]]:
    """Its predictions, and the layer of each fold where the features are of several."""
    from ..training.fine_tuning import load_model

    recipe, args = plan.recipe, plan.args
    settings = {
        "backbone": backbone_stamp(recipe.backbone),
        "long_audio": recipe.long_audio,
        "seed": args.seed,
        **plan.stamp,
    }
    cell = Cell(plan.out / "regression.parquet", plan.out / "regression.json")
    known = None if plan.overwrite else cell.done(settings)
    if known is not None:
        logger.info("the regression has been predicted already")
        return read_predictions(cell.file, plan.ids, plan.emotions), known.get("layer", [])
    model, processor = load_model(recipe, plan.emotions)
    features = tower_features(model.to(args.device), processor, plan.rows, args.per_device_eval_batch_size)
    # the first fold's model must find the memory free
    del model
    gc.collect()
    chosen: list[float | None] = []
    layers: list[int] = []

    def predict(targets: np.ndarray, train: np.ndarray, test: np.ndarray) -> np.ndarray:
        fitted = SoftLogisticRegression(seed=args.seed).fit(features[train], targets[train], plan.speakers[train])
        chosen.append(fitted.chosen_l2)
        if fitted.chosen_layer is not None:
            layers.append(fitted.chosen_layer)
        return fitted.predict(features[test])

    predicted = plan.by_fold(predict)
    cell.write(plan.rows, plan.emotions, predicted, settings, l2=chosen, **({"layer": layers} if layers else {}))
    # read back, so that a first run and a resumed one agree to the last digit
    return read_predictions(cell.file, plan.ids, plan.emotions), layers


def _fold(plan: FoldPlan, index: int, keep_checkpoints: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Predictions of one fold's rows: read where they are there, else trained for."""
    fold = plan.folds[index]
    told = ", ".join(fold.validation_speakers)
    logger.info("fold %d of %d: %d rows to choose by (%s)", index + 1, len(plan.folds), len(fold.choosing), told)
    predicted, detail = predicted_by_training(
        plan.recipe,
        plan.args,
        plan.out / f"fold-{index}",
        plan.emotions,
        lambda: plan.training_rows(fold),
        plan.rows.select(fold.choosing),
        plan.rows.select(fold.test),
        {
            **plan.stamp,
            **plan.mixed_stamp,
            "validation_speakers": fold.validation_speakers,
            "smooth_targets": plan.smooth_targets,
        },
        overwrite=plan.overwrite,
        keep_checkpoints=keep_checkpoints,
    )
    return predicted, {
        "fold": index,
        **detail,
        "validation_speakers": fold.validation_speakers,
        "test_speakers": sorted(set(plan.speakers[fold.test].tolist())),
        "test_rows": len(fold.test),
    }
