"""Predictors side by side on the same rows: scores with standard errors over speakers, and paired differences."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..scores.bootstrap import bootstrap_interval
from ..scores.divergences import bhattacharyya_coefficient, jensen_shannon_divergence
from ..scores.summary import compute_scores
from .scoring import bootstrap_ratio, check_predictions, interval_text, jsonable, share_text

__all__ = ["CrossValidationReport", "compare_predictors", "standard_error"]

TITLES = {
    "uniform": "uniform",
    "mean_of_training_targets": "mean of training targets (1)",
    "regression": "regression on frozen tower features (1)",
    "model": "**trained model** (2)",
    "ceiling": "ceiling",
}
ORDER = tuple(TITLES)


def standard_error(values: np.ndarray, groups: np.ndarray) -> float:
    """Standard error of a mean over groups (speakers): deviation of the groups' means over the root of their number.

    Example:
        >>> standard_error(np.array([1.0, 1.0, 3.0]), np.array(["a", "a", "b"]))
        1.0
    """
    _, member = np.unique(groups, return_inverse=True)
    sizes = np.bincount(member)
    if len(sizes) < 2:
        return float("nan")
    means = np.bincount(member, weights=values) / sizes
    return float(means.std(ddof=1) / np.sqrt(len(means)))


@dataclass
class CrossValidationReport:
    """Every predictor's scores over all folds.

    Attributes:
        predictors: name to `compute_scores` and `js_standard_error`, `bc_standard_error` (over speakers).
        differences: `<a>_minus_<b>` to the paired difference in JS (base 2) with its interval over speakers; below zero a is better.
        gap_closed: share of the way from the mean predictor to the ceiling, for the model and the regression; empty without a ceiling.
        js_divergence: name to (N,) of each row.
        folds: rows and speakers of each fold.
        notes: what a reader must know before the figures.
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
            }
        )

    def to_markdown(self) -> str:
        """The notes and one table, in Markdown."""
        lines = [f"**{'; '.join(self.notes)}**", ""] if self.notes else []
        if self.vote_source:
            lines += [f"Votes: {self.vote_source}", ""]
        lines += [
            f"{len(self.folds)}-fold cross-validation over {self.num_speakers} speakers, {self.num_examples} utterances; nobody is "
            "scored by a model that heard them. JS divergence is base 2, lower is better; +/- is the standard error over speakers, "
            "brackets are 95 % bootstrap intervals over speakers.",
            "",
            "| predictor | JS divergence | Bhattacharyya | JS minus the mean predictor's | gap closed |",
            "|---|---|---|---|---|",
        ]
        for name in [name for name in ORDER if name in self.predictors]:
            scores = self.predictors[name]
            title = self.ceiling_title if name == "ceiling" and self.ceiling_title else TITLES[name]
            difference = self.differences.get(f"{name}_minus_mean_of_training_targets")
            lines.append(
                f"| {title} | {scores['js_divergence']:.3f} +/- {scores['js_standard_error']:.3f} | "
                f"{scores['bhattacharyya_coefficient']:.3f} +/- {scores['bc_standard_error']:.3f} | "
                f"{'-' if difference is None else interval_text(difference, 'difference', '+.3f')} | "
                f"{share_text(self.gap_closed[name]) if name in self.gap_closed else '-'} |"
            )
        lines += ["", "(1) uses all rows of the other folds, the validation speakers' too."]
        if "model" in self.predictors:
            lines.append("(2) trains on the other folds without the validation speakers, who choose its checkpoint.")
        if "model_minus_regression" in self.differences:
            text = interval_text(self.differences["model_minus_regression"], "difference", "+.3f")
            lines += ["", f"Trained model minus regression, JS: {text}."]
        if self.gap_closed:
            lines += ["", f"Gap closed: from the mean predictor to {self.ceiling_title}."]
        return "\n".join(lines) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Writes `cross_validation.json` and `cross_validation.md`, and returns the path of the JSON."""
        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        (target / "cross_validation.md").write_text(self.to_markdown(), encoding="utf-8")
        path = target / "cross_validation.json"
        path.write_text(json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return path


def compare_predictors(
    predictions: Mapping[str, np.ndarray],
    references: np.ndarray,
    speakers: np.ndarray,
    emotions: Sequence[str],
    *,
    notes: Sequence[str] = (),
    vote_source: str | None = None,
    ceiling_title: str | None = None,
    folds: Sequence[dict[str, Any]] = (),
    seed: int = 0,
    num_resamples: int = 2000,
) -> CrossValidationReport:
    """Scores predictors of the same rows.

    Args:
        predictions: (N, K) each, under the names `uniform`, `mean_of_training_targets`, `regression`, `model`, `ceiling`.
        references: (N, K) human distributions.
        speakers: (N,), resampled as a whole.
        emotions: K labels.
        notes: shown above the table.
        vote_source: where the votes come from, shown above the table.
        ceiling_title: what the ceiling knows.
        folds: details of the folds, kept in the report.
        seed: of the bootstrap.
        num_resamples: bootstrap draws.

    Raises:
        ValueError: a prediction is not finite distributions of the references' shape.

    Example:
        >>> q = np.array([[1.0, 0.0], [0.0, 1.0]])
        >>> report = compare_predictors({"uniform": np.full((2, 2), 0.5), "model": q}, q, np.array(["a", "b"]), ["angry", "sad"])
        >>> report.differences["model_minus_uniform"]["difference"] < 0
        True
    """
    resample: dict[str, Any] = {"groups": speakers, "num_resamples": num_resamples, "seed": seed}
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
    differences = {}
    for a, b in (
        ("model", "uniform"),
        ("model", "mean_of_training_targets"),
        ("model", "regression"),
        ("regression", "mean_of_training_targets"),
        ("ceiling", "mean_of_training_targets"),
    ):
        if a in js and b in js:
            mean, low, high = bootstrap_interval(js[a] - js[b], **resample)
            differences[f"{a}_minus_{b}"] = {"difference": float(mean), "low": float(low), "high": float(high)}
    gap_closed = {}
    if "ceiling" in js and "mean_of_training_targets" in js:
        mean_js = js["mean_of_training_targets"]
        for name in ("model", "regression"):
            if name in js:
                gap_closed[name] = bootstrap_ratio(mean_js - js[name], mean_js - js["ceiling"], **resample)
    return CrossValidationReport(
        emotions=tuple(emotions),
        num_examples=len(references),
        num_speakers=len(np.unique(speakers)),
        predictors=predictors,
        differences=differences,
        gap_closed=gap_closed,
        js_divergence=js,
        ceiling_title=ceiling_title,
        folds=list(folds),
        notes=list(notes),
        vote_source=vote_source,
    )
