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
    max_audio_tokens_per_batch: int | None = field(
        default=None,
        metadata={
            "help": "Fill training batches with clips of like duration up to so many audio tokens (25 a second), padding counted, instead "
            "of per_device_train_batch_size clips; for each process and accumulation step."
        },
    )
    cache_audio_tower: bool = field(
        default=False,
        metadata={
            "help": "Compute the outputs of a frozen audio tower once a clip, keep them on disk and read them back in later epochs and runs."
        },
    )
    tower_cache_dir: str | None = field(
        default=None,
        metadata={"help": "Folder of cache_audio_tower. Default: hf_emo_dist/tower_cache in the Hugging Face cache."},
    )
    tower_cache_max_gb: float = field(
        default=20.0, metadata={"help": "Bound on that folder; beyond it clips are computed in every epoch."}
    )
    mix_embeddings: bool = field(
        default=False,
        metadata={
            "help": "Mix the two clips of rows made by DiMEAug with space='embedding' behind the audio tower, instead of as waveforms."
        },
    )
    perturb_waveforms: float = field(
        default=0.0,
        metadata={
            "help": "Share of the training clips that get another pitch (up to a semitone) or tempo (0.95 to 1.05), drawn anew each epoch "
            "(paper: 0.3). Needs the extra augment."
        },
    )
    check_audio: bool = field(
        default=True,
        metadata={"help": "Read every clip before training and stop with a list of those that cannot be used."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss_type is not None and self.loss_type not in LOSSES:
            raise ValueError(f"loss_type={self.loss_type!r} is not known; use one of {', '.join(LOSSES)}")
        if self.max_audio_tokens_per_batch is not None:
            if self.max_audio_tokens_per_batch < 1:
                raise ValueError(
                    f"max_audio_tokens_per_batch={self.max_audio_tokens_per_batch} must be at least 1; a clip has 25 tokens a second"
                )
            if self.auto_find_batch_size:
                raise ValueError(
                    "auto_find_batch_size lowers per_device_train_batch_size, which max_audio_tokens_per_batch replaces: choose one"
                )
            if not self.check_audio:
                raise ValueError("max_audio_tokens_per_batch needs check_audio, which measures durations")
        if not 0 <= self.perturb_waveforms <= 1:
            raise ValueError(f"perturb_waveforms={self.perturb_waveforms} must be from 0 to 1, a share of the clips")
        for other in ("cache_audio_tower", "mix_embeddings"):
            if self.perturb_waveforms and getattr(self, other):
                reason = (
                    "keeps one output a clip"
                    if other == "cache_audio_tower"
                    else "mixes two clips, of which one would change"
                )
                raise ValueError(f"perturb_waveforms changes clips in every epoch, and {other} {reason}: choose one")
        if not self.tower_cache_max_gb > 0:
            raise ValueError(f"tower_cache_max_gb={self.tower_cache_max_gb} must be above 0")
        if self.metric_for_best_model and not self.metric_for_best_model.startswith("eval_"):
            self.metric_for_best_model = f"eval_{self.metric_for_best_model}"
