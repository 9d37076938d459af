"""Which checkpoint is the best one: by which score, in which direction, over which data; and when to stop looking."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import transformers

from ..scores.summary import SCORES, VOTE_SCORES, greater_is_better

logger = logging.getLogger(__name__)

LOSS = "loss"
_OF_AN_EMOTION = re.compile(r"(?:^|_)(r2_.+)$")


def score_of(metric: str) -> str | None:
    """The score that a metric such as `eval_accuracy` or `eval_german_accuracy` is of; None for one that nobody knows.

    Example:
        >>> score_of("eval_js_divergence"), score_of("eval_german_uar"), score_of("eval_loss"), score_of("eval_mine")
        ('js_divergence', 'uar', 'loss', None)
    """
    name = metric.removeprefix("eval_")
    known = [score for score in (LOSS, *SCORES, *VOTE_SCORES) if name == score or name.endswith(f"_{score}")]
    if known:
        return max(known, key=len)
    of_an_emotion = _OF_AN_EMOTION.search(name)
    return of_an_emotion[1] if of_an_emotion else None


def is_greater_better(metric: str, given: bool | None = None) -> bool:
    """In which direction a metric is better, by the scores' own table.

    Args:
        metric: With or without `eval_` and the name of one of several data sets.
        given: What was asked for; only a metric that is no score of `compute_scores` needs it.

    Raises:
        ValueError: The metric judges nobody, is not known, or was given the other direction.

    Example:
        >>> is_greater_better("eval_bhattacharyya_coefficient"), is_greater_better("eval_loss")
        (True, False)
    """
    score = score_of(metric)
    if score is None:
        if given is None:
            raise ValueError(
                f"metric_for_best_model={metric!r} is no score of hf_emo_dist, so that nobody knows whether more or "
                f"less of it is better. Mend: one of {', '.join([LOSS, *SCORES, *VOTE_SCORES])}; or, for a score of "
                "your own compute_metrics, say greater_is_better too."
            )
        return given
    better = False if score == LOSS else greater_is_better(score)
    if better is None:
        raise ValueError(
            f"metric_for_best_model={metric!r} describes distributions and judges no model. Mend: choose by one that "
            "does, such as js_divergence or log_likelihood_per_vote."
        )
    if given is not None and given != better:
        raise ValueError(
            f"greater_is_better={given} would keep the worst checkpoint by {metric!r}, of which "
            f"{'more' if better else 'less'} is better. Mend: leave greater_is_better out."
        )
    return better


def check_metric(args: Any, eval_dataset: Any, emotions: Sequence[str], own_metrics: bool) -> None:
    """Set the direction of `metric_for_best_model`, and refuse one that no evaluation will give, before training.

    Args:
        args: The training arguments.
        eval_dataset: A data set, or several by name.
        emotions: Those of the model.
        own_metrics: Whether a `compute_metrics` of the user's own gives the metrics: what it gives is not known here.
    """
    metric = args.metric_for_best_model
    if metric is None:
        return
    args.greater_is_better = is_greater_better(metric, args.greater_is_better)
    if own_metrics or eval_dataset is None:
        return
    name = metric.removeprefix("eval_")
    scores = {LOSS, *SCORES, *VOTE_SCORES, *(f"r2_{emotion}" for emotion in emotions)}
    sets = list(eval_dataset) if isinstance(eval_dataset, Mapping) else []
    if name in scores:
        if len(sets) > 1:
            logger.info("the checkpoint is chosen by the mean %s over %s", name, ", ".join(map(str, sets)))
        return
    if not any(name == f"{one}_{score}" for one in sets for score in scores):
        there = f" of one of the data sets {', '.join(map(str, sets))}" if sets else ""
        raise ValueError(
            f"metric_for_best_model={metric!r} is no score{there} that evaluation gives. Mend: one of "
            f"{', '.join([LOSS, *SCORES, *VOTE_SCORES])}"
            + (f"; or that of one data set, such as {sets[0]}_{score_of(metric)}." if sets else ".")
        )


def mean_over_sets(metrics: Mapping[str, float], sets: Sequence[str], prefix: str = "eval") -> dict[str, float]:
    """The mean of each score over several data sets, each set alike, under the name that one data set's has.

    Example:
        >>> mean_over_sets({"eval_a_uar": 0.5, "eval_b_uar": 0.7, "eval_a_runtime": 3.0}, ["a", "b"])
        {'eval_uar': 0.6}
    """
    found = {}
    start = f"{prefix}_{sets[0]}_" if sets else ""
    for name in [name.removeprefix(start) for name in metrics if sets and name.startswith(start)]:
        values = [metrics.get(f"{prefix}_{one}_{name}") for one in sets]
        if score_of(name) == name and all(value is not None for value in values):
            found[f"{prefix}_{name}"] = float(np.mean(values))  # type: ignore[arg-type]
    return found


# it keeps the name of transformers' own, under which checkpoints hold its state
class EarlyStoppingCallback(transformers.EarlyStoppingCallback):
    """transformers' early stopping, which passes over evaluations that do not give the metric: one of several sets'."""

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Nothing is asked for that the trainer has not checked."""

    def on_evaluate(self, args: Any, state: Any, control: Any, metrics: Any, **kwargs: Any) -> None:
        """Count the evaluations without improvement."""
        if args.metric_for_best_model in metrics:
            super().on_evaluate(args, state, control, metrics, **kwargs)
