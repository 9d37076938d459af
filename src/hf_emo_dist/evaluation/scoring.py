"""A model's distributions, scored on human votes next to predictors that hear nothing, with intervals over speakers."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.output import write_json, write_text
from ..data.rows import lazy_column, notes_about, rough_intervals, row_ids, speaker_groups
from ..data.targets import counted_votes, scored_matrix
from ..emotions import validate_emotions
from ..markdown import as_code, as_prose
from ..scores.bootstrap import UNBOUNDED, Bounds, bootstrap_interval, bootstrap_score, bounds_of_difference
from ..scores.divergences import jensen_shannon_divergence
from ..scores.floor import js_divergence_floor_interval
from ..scores.summary import compute_scores, score_bounds


@dataclass(frozen=True)
class Bootstrap:
    """The draws behind every interval of a report; an estimate is a dict of `value`, `low` and `high`.

    Every interval is of something that lies within bounds, and does not leave them: `bounds` is the name of a figure of
    `compute_scores`, or the least and the greatest value.

    Example:
        >>> Bootstrap(10).interval([1.0, 1.0], ["a", "b"], bounds="js_divergence")
        {'value': 1.0, 'low': 1.0, 'high': 1.0}
    """

    num_resamples: int = 2000
    seed: int = 0

    def __post_init__(self) -> None:
        if self.num_resamples < 1:
            raise ValueError(
                f"num_resamples={self.num_resamples} gives no interval. Mend: 1 or more; leave it out for the default."
            )

    def interval(self, values: ArrayLike, groups: Any = None, *, bounds: str | Bounds) -> dict[str, float]:
        """Mean of values (N,), whole groups (speakers) being resampled; NaN where there are no rows."""
        data = np.asarray(values, dtype=np.float64)
        if not len(data):
            return dict.fromkeys(("value", "low", "high"), math.nan)
        limits = _bounds(bounds)
        return _estimate(bootstrap_interval(data, groups, self.num_resamples, seed=self.seed, bounds=limits))

    def score(
        self, score: Callable[..., float], *arrays: ArrayLike, groups: Any = None, bounds: str | Bounds
    ) -> dict[str, float]:
        """A figure of all rows together, such as a kappa: see `scores.bootstrap.bootstrap_score`."""
        options: dict[str, Any] = {"num_resamples": self.num_resamples, "seed": self.seed, "bounds": _bounds(bounds)}
        return _estimate(bootstrap_score(score, *arrays, groups=groups, **options))

    def floor(
        self, counts: ArrayLike, groups: Any = None, *, squares: ArrayLike | None = None, rows: ArrayLike | None = None
    ) -> dict[str, float]:
        """The floor of the JS divergence (base 2): see `scores.floor.js_divergence_floor_interval`."""
        return _estimate(
            js_divergence_floor_interval(
                counts, groups, rater_squares=squares, rows=rows, num_resamples=self.num_resamples, seed=self.seed
            )
        )

    def ratio(
        self, numerator: ArrayLike, denominator: ArrayLike, groups: Any = None, *, bounds: Bounds = UNBOUNDED
    ) -> dict[str, float]:
        """Ratio of two paired means, all NaN where the denominator's mean is not above 0, since there is no gap then.

        The interval is that of the mean of `(numerator - ratio * denominator) / mean(denominator)`, the ratio's
        deviation to first order, so that it is as careful about few speakers as the other intervals are.
        """
        top, bottom = np.asarray(numerator, dtype=np.float64), np.asarray(denominator, dtype=np.float64)
        if not bottom.mean() > 0:
            return dict.fromkeys(("value", "low", "high"), math.nan)
        ratio = float(top.mean() / bottom.mean())
        around = (bounds[0] - ratio, bounds[1] - ratio)
        found = self.interval((top - ratio * bottom) / bottom.mean(), groups, bounds=around)
        return {"value": ratio, "low": ratio + found["low"], "high": ratio + found["high"]}

    def difference(self, a: np.ndarray, b: np.ndarray, groups: Any = None, *, bounds: str | Bounds) -> dict[str, float]:
        """Mean of the paired difference a - b, as `difference`, `low` and `high`; the bounds are those of a and b."""
        found = self.interval(a - b, groups, bounds=bounds_of_difference(_bounds(bounds)))
        return {"difference": found.pop("value"), **found}


def _bounds(bounds: str | Bounds) -> Bounds:
    return score_bounds(bounds) if isinstance(bounds, str) else bounds


def _estimate(found: tuple[float, float, float]) -> dict[str, float]:
    return dict(zip(("value", "low", "high"), map(float, found), strict=True))


@dataclass
class EvaluationReport:
    """Scores of a model and of the predictors beside it.

    Attributes:
        predictors: Name to its scores (`compute_scores`) and `js_interval` (low, high), JS base 2.
        differences: `model_minus_<predictor>` to the paired difference in JS: `difference`, `low`, `high`; below zero
            is better.
        truth: Where the true distributions are known: JS to the truth of each predictor, the JS of the truth to the
            human votes (`floor`), and `gap_closed`, the share of the way from the mean predictor to the truth.
        js_divergence: (N,) of each row, model against `score_column`, base 2.
        js_divergence_to_truth: (N,) model against the truth, where that is known.
        notes: What a reader must know before the figures.
        temperature: What the checkpoint's temperature does to the scores (`temperature_report`); None without one.
        by: Scores by group for each column that was asked for (`scores_by_group`).
        more_markdown: Further tables, shown after the others.
    """

    emotions: tuple[str, ...]
    score_column: str
    num_examples: int
    num_speakers: int
    predictors: dict[str, dict[str, Any]]
    differences: dict[str, dict[str, float]]
    truth: dict[str, Any] | None
    js_divergence: np.ndarray
    js_divergence_to_truth: np.ndarray | None = None
    split: str | None = None
    notes: list[str] = field(default_factory=list)
    vote_source: str | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    temperature: dict[str, Any] | None = None
    by: dict[str, Any] = field(default_factory=dict)
    more_markdown: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The model's scores at the top level, and everything else below; ready for JSON (NaN becomes null)."""
        flat = {key: value for key, value in self.predictors["model"].items() if key != "js_interval"}
        return jsonable(
            {
                **flat,
                "num_examples": self.num_examples,
                "num_speakers": self.num_speakers,
                "split": self.split,
                "score_column": self.score_column,
                "emotions": list(self.emotions),
                "notes": self.notes,
                "vote_source": self.vote_source,
                "predictors": self.predictors,
                "differences": self.differences,
                "truth": self.truth,
                "temperature": self.temperature,
                "by": self.by,
                "settings": self.settings,
            }
        )

    def to_markdown(self) -> str:
        """The notes and the tables, in Markdown."""
        where = f"split {as_code(self.split)}, " if self.split else ""
        speakers = f"{self.num_speakers} speakers" if self.num_speakers else "speakers unknown"
        lines = [f"**{as_prose('; '.join(self.notes))}**", ""] if self.notes else []
        if self.vote_source:
            lines += [f"Votes: {as_prose(self.vote_source)}", ""]
        lines += [
            f"Scored on {as_code(self.score_column)}: {where}{self.num_examples} utterances, {speakers}. JS divergence "
            "is base 2, lower is better; brackets are 95 % bootstrap intervals over "
            f"{'speakers' if self.num_speakers else 'utterances'}.",
            "",
            "| predictor | JS divergence | Bhattacharyya | log-lik. a vote (nats) | accuracy | macro F1 |",
            "|---|---|---|---|---|---|",
        ]
        for name, scores in self.predictors.items():
            js = _estimate((scores["js_divergence"], *scores["js_interval"]))
            lines.append(
                f"| {_title(name)} | {interval_words(js, unknown=' [-]')} | "
                f"{scores['bhattacharyya_coefficient']:.3f} | {_number(scores.get('log_likelihood_per_vote'))} | "
                f"{_number(scores.get('accuracy'))} | {_number(scores.get('macro_f1'))} |"
            )
        lines += ["", "| paired difference in JS (below 0: the model is better) | |", "|---|---|"]
        for name, interval in self.differences.items():
            other = name.removeprefix("model_minus_")
            lines.append(f"| model - {_title(other)} | {difference_words(interval)} |")
        if self.truth is not None:
            lines += ["", "| JS divergence to the known truth | |", "|---|---|"]
            estimates = {_title(name): found for name, found in self.truth["js_divergence"].items()}
            estimates["floor: the truth against the human votes"] = self.truth["floor"]
            lines += [f"| {name} | {interval_words(found, unknown=' [-]')} |" for name, found in estimates.items()]
            if self.truth["gap_closed"] is not None:
                share = share_words(self.truth["gap_closed"])
                lines.append(f"| **gap closed** from the mean predictor to the truth, on the human votes | {share} |")
        return "\n".join(["\n".join(lines) + "\n", *self.more_markdown])

    def save(self, folder: str | Path, name: str = "scores") -> Path:
        """Write `<name>.json` and `<name>.md` to a folder, made if needed, and return the path of the JSON."""
        write_text(Path(folder) / f"{name}.md", self.to_markdown())
        return write_json(Path(folder) / f"{name}.json", self.to_dict())


def evaluate_distributions(
    predictions: ArrayLike,
    dataset: Any,
    emotions: Sequence[str],
    *,
    train_targets: ArrayLike | None = None,
    score_column: str = "human_distribution",
    seed: int = 0,
    num_resamples: int = 2000,
    split: str | None = None,
    vote_source: str | None = None,
    notes: Iterable[str] = (),
) -> EvaluationReport:
    """Score predicted distributions against what listeners said, next to predictors that hear nothing.

    Args:
        predictions: (N, K) rows that sum to 1, columns in the order of `emotions`.
        dataset: N rows, a `Dataset` or a sequence of mappings with `score_column` and, where known, `id`,
            `human_votes`, `speaker` and `true_distribution`.
        emotions: The label set, K labels.
        train_targets: (M, K) targets of the training rows, whose mean is a predictor; `None` leaves it out, with a
            note.
        score_column: The distribution column that is scored against; anything but human votes is said in a note.
        seed: Of the bootstrap.
        num_resamples: Bootstrap resamples, at least 1.
        split: Name of the split, for tables and plots.
        vote_source: What the data set's card says about its votes.
        notes: Further notes to show.

    Returns:
        The report; `report.js_divergence` has one value a row.

    Raises:
        ValueError: Predictions are not finite distributions of shape (N, K), the score column is missing, null or over
            other labels, rows are mixtures, or `num_resamples` is under 1.

    Example:
        >>> rows = [{"id": "a", "speaker": "x", "human_distribution": {"angry": 1.0, "sad": 0.0}},
        ...         {"id": "b", "speaker": "y", "human_distribution": {"angry": 0.5, "sad": 0.5}}]
        >>> predicted, training = [[1.0, 0.0], [0.5, 0.5]], [[0.5, 0.5]]
        >>> report = evaluate_distributions(predicted, rows, ["angry", "sad"], train_targets=training)
        >>> report.to_dict()["js_divergence"], report.differences["model_minus_uniform"]["difference"] < 0
        (0.0, True)
    """
    bootstrap = Bootstrap(num_resamples, seed)
    names = validate_emotions(emotions)
    references = scored_matrix(dataset, names, score_column)
    predicted = check_predictions(predictions, references.shape, row_ids(dataset))
    members, known = speaker_groups(dataset)
    num_speakers = len(np.unique(members)) if known else 0
    told = notes_about(dataset, vote_source, notes)
    if score_column != "human_distribution":
        told.append(f"scored on {score_column}, not on human votes")
    told += rough_intervals(num_speakers)

    others = {"model": predicted}
    if train_targets is not None:
        targets = np.asarray(train_targets, dtype=np.float64)
        if targets.ndim != 2 or targets.shape[1] != len(names) or not np.isfinite(targets).all() or len(targets) == 0:
            raise ValueError(
                f"train_targets of shape {targets.shape} do not fit. Mend: finite rows, (M, {len(names)}) with M > 0."
            )
        others["mean_of_training_targets"] = np.broadcast_to(targets.mean(axis=0), references.shape)
    else:
        told.append("no training targets: the mean predictor is left out")
    others["uniform"] = np.full(references.shape, 1.0 / len(names))

    counts, squares = counted_votes(dataset, names)
    if counts is not None and not (counts.sum(axis=1) > 0).all():
        counts, squares = None, None
    js = {name: jensen_shannon_divergence(p, references, base=2) for name, p in others.items()}
    predictors: dict[str, dict[str, Any]] = {}
    for name, p in others.items():
        scores = compute_scores(p, references, emotions=names, counts=counts, rater_squares=squares)
        found = bootstrap.interval(js[name], members, bounds="js_divergence")
        predictors[name] = {**scores, "js_interval": [found["low"], found["high"]]}
    differences = {
        f"model_minus_{name}": bootstrap.difference(js["model"], js[name], members, bounds="js_divergence")
        for name in others
        if name != "model"
    }

    truth, to_truth = None, None
    if lazy_column(dataset, "true_distribution") is not None:
        true = scored_matrix(dataset, names, "true_distribution")
        js_truth = {name: jensen_shannon_divergence(p, true, base=2) for name, p in others.items()}
        floor = jensen_shannon_divergence(true, references, base=2)
        to_truth = js_truth["model"]
        gap = None
        if "mean_of_training_targets" in js:
            mean = js["mean_of_training_targets"]
            gap = bootstrap.ratio(mean - js["model"], mean - floor, members)
        truth = {
            "js_divergence": {
                name: bootstrap.interval(values, members, bounds="js_divergence") for name, values in js_truth.items()
            },
            "floor": bootstrap.interval(floor, members, bounds="js_divergence"),
            "gap_closed": gap,
        }
    return EvaluationReport(
        emotions=names,
        score_column=score_column,
        num_examples=len(references),
        num_speakers=num_speakers,
        predictors=predictors,
        differences=differences,
        truth=truth,
        js_divergence=js["model"],
        js_divergence_to_truth=to_truth,
        split=split,
        notes=list(dict.fromkeys(told)),
        vote_source=vote_source,
        settings={"seed": seed, "num_resamples": num_resamples, "level": 0.95},
    )


def check_predictions(predictions: ArrayLike, shape: tuple[int, ...], ids: Sequence[str]) -> np.ndarray:
    """Predictions as float64 rows that sum to 1; a `ValueError` names the rows that are no distributions."""
    values = np.asarray(predictions, dtype=np.float64)
    if values.shape != shape:
        raise ValueError(
            f"predictions have shape {values.shape}. Mend: {shape}, one row an utterance, one column an emotion."
        )
    sums = values.sum(axis=1)
    bad = ~(np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (np.abs(sums - 1) <= 1e-3))
    if bad.any():
        names = ", ".join(str(ids[i]) for i in np.flatnonzero(bad)[:5])
        raise ValueError(
            f"{int(bad.sum())} predictions are not distributions (NaN, negative, or not summing to 1): rows {names}. "
            "Mend: a model that gives NaN was trained with too high a learning rate or in fp16; train it again."
        )
    return np.asarray(values / sums[:, None])


def interval_words(estimate: dict[str, float], spec: str = ".3f", unknown: str = "") -> str:
    """An estimate with its interval, as text; `unknown` stands for the interval of a single speaker, who gives none.

    Example:
        >>> interval_words({"value": 0.25, "low": 0.2, "high": 0.3})
        '0.250 [0.200, 0.300]'
        >>> interval_words({"value": 0.25, "low": float("nan"), "high": float("nan")}, unknown=" [-]")
        '0.250 [-]'
    """
    if not math.isfinite(estimate["value"]):
        return "-"
    if not (math.isfinite(estimate["low"]) and math.isfinite(estimate["high"])):
        return f"{estimate['value']:{spec}}{unknown}"
    return f"{estimate['value']:{spec}} [{estimate['low']:{spec}}, {estimate['high']:{spec}}]"


def difference_words(found: dict[str, float]) -> str:
    """A paired difference with its interval, as text."""
    return interval_words({"value": found["difference"], **found}, "+.3f", " [-]")


def share_words(gap: dict[str, float]) -> str:
    """A share and its interval as text, or why there is none.

    >>> share_words({"value": 0.5, "low": 0.4, "high": 0.625})
    '50.0 % [40.0, 62.5]'
    """
    if not math.isfinite(gap["value"]):
        return "no gap to close"
    percent = {key: 100 * value for key, value in gap.items()}
    return interval_words(percent, ".1f", " [-]").replace(" [", " % [")


def p_words(p_value: float) -> str:
    """A p-value as text; none is 0."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"


def _title(predictor: str) -> str:
    return as_prose(predictor.replace("_", " ")).replace("|", "\\|")


def _number(value: float | None) -> str:
    return "-" if value is None or not math.isfinite(value) else f"{value:.3f}"


def jsonable(value: Any) -> Any:
    """NumPy numbers as Python's and NaN as null, however deep, for JSON."""
    if isinstance(value, dict):
        return {str(key): jsonable(entry) for key, entry in value.items()}
    if isinstance(value, list | tuple):
        return [jsonable(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
