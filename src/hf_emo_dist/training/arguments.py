"""`EmotionDistributionTrainingArguments`: transformers' TrainingArguments with this task's options and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field

from transformers import TrainingArguments
from transformers.trainer_utils import IntervalStrategy, SaveStrategy

from ..modeling.configuration import LOSSES


@dataclass
class EmotionDistributionTrainingArguments(TrainingArguments):
    """Arguments of `EmotionDistributionTrainer`: those of `TrainingArguments` and the ones below.

    Other defaults than transformers': evaluation and saving once an epoch, the best checkpoint by `eval_js_divergence` (base 2, lower is
    better) loaded at the end, and `remove_unused_columns=False`, since rows hold audio that the collator reads.

    Example:
        >>> EmotionDistributionTrainingArguments("out", use_cpu=True).metric_for_best_model
        'eval_js_divergence'
    """

    eval_strategy: IntervalStrategy | str = field(
        default="epoch", metadata={"help": "When to evaluate: no, steps or epoch."}
    )
    save_strategy: SaveStrategy | str = field(default="epoch", metadata={"help": "When to save: no, steps or epoch."})
    save_total_limit: int | None = field(
        default=2, metadata={"help": "Checkpoints to keep; the best one is always kept."}
    )
    load_best_model_at_end: bool = field(
        default=True, metadata={"help": "Load the checkpoint with the best metric when training ends."}
    )
    metric_for_best_model: str | None = field(
        default="eval_js_divergence",
        metadata={
            "help": "eval_js_divergence (base 2, against human votes), eval_loss (the paper's), or another score."
        },
    )
    greater_is_better: bool | None = field(
        default=False, metadata={"help": "Whether the metric is better when larger."}
    )
    remove_unused_columns: bool | None = field(
        default=False, metadata={"help": "Keep False: the collator reads audio, transcript and votes from the rows."}
    )
    target_column: str = field(
        default="emotion_distribution",
        metadata={"help": "Distribution column to train on (human and synthetic votes)."},
    )
    score_column: str = field(
        default="human_distribution", metadata={"help": "Distribution column to evaluate against (human votes)."}
    )
    loss_type: str | None = field(
        default=None, metadata={"help": f"One of {', '.join(LOSSES)}. Default: the model's own (js)."}
    )
    entropy_weight: float | None = field(
        default=None,
        metadata={
            "help": "Weight of the mean prediction entropy in the loss (paper: 0.08). Default: the model's own (0)."
        },
    )
    early_stopping_patience: int | None = field(
        default=8, metadata={"help": "Evaluations without improvement before training stops; 0 switches it off."}
    )
    balanced_sampling: bool = field(
        default=False, metadata={"help": "Draw training rows so that every emotion has the same expected mass."}
    )
    group_by_duration: bool = field(
        default=True,
        metadata={"help": "Put clips of like duration into a batch, by a seeded sampler that resumes exactly."},
    )
    check_audio: bool = field(
        default=True,
        metadata={"help": "Read every clip before training and stop with a list of those that cannot be used."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_type is not None and self.loss_type not in LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r} is not known; use one of {', '.join(LOSSES)}")
        if self.metric_for_best_model and not self.metric_for_best_model.startswith("eval_"):
            self.metric_for_best_model = f"eval_{self.metric_for_best_model}"
