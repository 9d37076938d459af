"""`EmotionDistributionTrainingArguments`: transformers' TrainingArguments with this task's options and defaults."""

from __future__ import annotations

import inspect
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from .._fields import option
from ..modeling.configuration import LOSSES
from .choosing import is_greater_better
from .recipe_arguments import TaskArguments

#: Options of an earlier version, as arguments or as keys of a YAML file, and what to do instead.
REMOVED_OPTIONS = {
    "mix_embeddings": (
        "mixing in the embedding space was no better than mixing waveforms. Mend: leave it out, and mix waveforms with "
        "`augment: default` when the data is prepared, or with DiMEAug(...).augment(dataset)"
    ),
}


def refuse_removed(names: Iterable[str]) -> None:
    """Refuse options of an earlier version: arguments, keys of a YAML file or words of a command line."""
    for word in names:
        name = word.removeprefix("--").partition("=")[0].replace("-", "_")
        if name in REMOVED_OPTIONS:
            raise ValueError(f"{name} was removed: {REMOVED_OPTIONS[name]}.")


@dataclass
class EmotionDistributionTrainingArguments(TaskArguments, TrainingArguments):
    """Arguments of `EmotionDistributionTrainer`: those of `TrainingArguments`, `TaskArguments` and the ones
    below.

    Other defaults than transformers': evaluation and saving once an epoch (where one of the two is chosen, the other
    follows), the best checkpoint by `eval_js_divergence` (base 2, lower is better) loaded at the end, and
    `remove_unused_columns=False`, since rows hold audio that the collator reads. In which direction a score is better
    is known (`scores.greater_is_better`).

    Raises:
        ValueError: A value is out of range, two options exclude each other, or an option was removed.

    Example:
        >>> EmotionDistributionTrainingArguments("out", use_cpu=True).metric_for_best_model
        'eval_js_divergence'
    """

    # None: not said. Each of these then follows the others, see `_settle_strategies`.
    eval_strategy: IntervalStrategy | str | None = option(  # type: ignore[assignment]  # noqa: RUF009
        None, "When to evaluate: no, steps or epoch. Default: when it is saved, else epoch."
    )
    save_strategy: SaveStrategy | str | None = option(  # type: ignore[assignment]  # noqa: RUF009
        None, "When to save: no, steps, epoch or best. Default: when it is evaluated, else epoch."
    )
    save_steps: float | None = option(  # type: ignore[assignment]
        None, "Steps between checkpoints, with save_strategy=steps. Default: eval_steps, else 500."
    )
    save_total_limit: int | None = option(2, "Checkpoints to keep; the best one is always kept.")
    load_best_model_at_end: bool | None = option(  # type: ignore[assignment]
        None, "Load the checkpoint with the best metric when training ends. Default: where it is evaluated and saved."
    )
    metric_for_best_model: str | None = option(
        "eval_js_divergence",
        "eval_js_divergence (base 2, against human votes), eval_loss (the paper's), or another score.",
    )
    greater_is_better: bool | None = option(
        None, "Whether more of the metric is better. Default: as the score's own table says; for a score of your own."
    )
    remove_unused_columns: bool | None = option(
        False, "Keep False: the collator reads audio, transcript and votes from the rows."
    )

    def __new__(cls, *args: Any, **kwargs: Any) -> EmotionDistributionTrainingArguments:
        """Refuse removed options."""
        # before the dataclass's own __init__, which would only say "unexpected keyword argument"
        refuse_removed(kwargs)
        return super().__new__(cls)

    def _settle_strategies(self) -> None:
        """Let what was not said of evaluating and saving follow what was, and refuse what does not go together."""
        asked = self.eval_strategy, self.save_strategy
        evaluate, save = (None if value is None else str(getattr(value, "value", value)) for value in asked)
        eval_steps: float | None = self.__dict__["eval_steps"]
        if evaluate is None:
            evaluate = save if save in ("steps", "epoch") else "epoch"
            if evaluate == "steps" and eval_steps is None:
                eval_steps = self.eval_steps = self.save_steps
        elif save is None:
            save = evaluate if evaluate in ("steps", "epoch") else "epoch"
        save = save or "epoch"
        self.eval_strategy, self.save_strategy = IntervalStrategy(evaluate), SaveStrategy(save)  # known ones only
        every = eval_steps or self.logging_steps  # as in transformers, also 500
        if self.save_steps is None:
            self.save_steps = every if evaluate == save == "steps" else 500
        if self.load_best_model_at_end is None:
            self.load_best_model_at_end = "no" not in (evaluate, save)
        if not self.load_best_model_at_end or save == "best":
            return
        if evaluate != save:
            raise ValueError(
                f"load_best_model_at_end needs a checkpoint for each evaluation, and eval_strategy={evaluate} and "
                f"save_strategy={save} differ. Mend: give one of them only, which the other follows, or both alike; or "
                "load_best_model_at_end=False."
            )
        if evaluate == "steps" and every >= 1 and self.save_steps >= 1 and self.save_steps % every:
            raise ValueError(
                f"load_best_model_at_end needs an evaluation for each checkpoint, and save_steps={self.save_steps:g} "
                f"is no multiple of eval_steps={every:g}. Mend: give both alike; or load_best_model_at_end=False."
            )

    def __post_init__(self) -> None:
        if self.metric_for_best_model is not None:
            self.greater_is_better = is_greater_better(self.metric_for_best_model, self.greater_is_better)
        self._settle_strategies()
        super().__post_init__()
        if self.loss_type is not None and self.loss_type not in LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r} is not known. Mend: use one of {', '.join(LOSSES)}.")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)} is too small. Mend: at least 1.")
        tokens = self.max_audio_tokens_per_batch
        if tokens is not None:
            if tokens < 1:
                raise ValueError(
                    f"max_audio_tokens_per_batch={tokens} must be at least 1. Mend: count 25 tokens a second of audio."
                )
            if self.auto_find_batch_size:
                raise ValueError(
                    "auto_find_batch_size lowers per_device_train_batch_size, which max_audio_tokens_per_batch "
                    "replaces. Mend: choose one."
                )
            if not self.check_audio:
                raise ValueError(
                    "max_audio_tokens_per_batch needs check_audio, which measures durations. Mend: leave check_audio "
                    "on."
                )
        kappa = self.concentration_weight
        if kappa is not None and not (math.isfinite(kappa) and kappa > 0):
            raise ValueError(
                f"concentration_weight={kappa} is no number of votes. Mend: a number above 0, say 5; without it all "
                "rows weigh alike."
            )
        if not 0 <= self.perturb_waveforms <= 1:
            raise ValueError(
                f"perturb_waveforms={self.perturb_waveforms} is no share of the clips. Mend: give a number from 0 to 1."
            )
        if self.perturb_waveforms and self.cache_audio_tower:
            raise ValueError(
                "perturb_waveforms changes clips in every epoch, and cache_audio_tower keeps one output a clip. "
                "Mend: choose one."
            )
        for name in ("head_learning_rate", "layer_decay"):
            value = getattr(self, name)
            if value is not None and not (math.isfinite(value) and value > 0):
                raise ValueError(f"{name}={value} is no rate. Mend: give a number above 0, or leave it out.")
        if self.layer_decay is not None and self.layer_decay > 1:
            raise ValueError(
                f"layer_decay={self.layer_decay} would train lower layers faster. Mend: give a number up to 1, say 0.9."
            )
        if not self.tower_cache_max_gb > 0:
            raise ValueError(f"tower_cache_max_gb={self.tower_cache_max_gb} is no size. Mend: give a number above 0.")
        if self.metric_for_best_model and not self.metric_for_best_model.startswith("eval_"):
            self.metric_for_best_model = f"eval_{self.metric_for_best_model}"


# `__new__` would hide every argument from completion
_parameters = inspect.signature(EmotionDistributionTrainingArguments.__init__).parameters
EmotionDistributionTrainingArguments.__signature__ = inspect.Signature(  # type: ignore[attr-defined]
    [parameter for name, parameter in _parameters.items() if name != "self"]
)
