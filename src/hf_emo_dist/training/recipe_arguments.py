"""What a training recipe says beside the training arguments; without torch, so that the command's help is quick."""

from __future__ import annotations

from dataclasses import dataclass

from .._fields import option
from .._name_list import name_list
from .lora import TARGETS


@dataclass
class RecipeArguments:
    """What is trained on what. Training arguments stand beside these, in the same YAML file and command line."""

    backbone: str | None = option(None, "Qwen2-Audio backbone or checkpoint: a Hub id or a local folder.")
    dataset: str | None = option(None, "Data set: a local Parquet folder or a Hub id.")
    dataset_revision: str | None = option(None, "Revision of a data set on the Hub.")
    train_split: str = option("train", "Split to train on.")
    validation_split: str = option("validation", "Split that chooses the checkpoint.")
    emotions: str | None = option(
        None, "Emotions in order, comma separated. Default: those of the data's distributions."
    )
    lora: str | None = option(None, f"LoRA preset: {', '.join(TARGETS)}. Default: train all weights.")
    lora_r: int = option(8, "LoRA rank.")
    lora_alpha: int = option(16, "LoRA alpha.")
    lora_dropout: float = option(0.2, "LoRA dropout.")
    freeze_audio_tower: bool = option(False, "Keep the audio tower as it is.")
    freeze_projector: bool = option(False, "Keep the audio projector as it is.")
    freeze_language_model: bool = option(False, "Keep the language model as it is.")
    load_in_4bit: bool = option(False, "4-bit backbone (needs bitsandbytes and a GPU).")
    model_dtype: str = option("auto", "auto, float32, bfloat16 or float16.")
    attn_implementation: str | None = option(None, "sdpa, eager or flash_attention_2.")
    head_dropout: float = option(0.15, "Dropout of the head's residual block.")
    head_projection_dropout: float = option(0.1, "Dropout of the head's projection.")
    num_threads: int | None = option(None, "CPU threads. Default: all, with one process.")
    use_transcript: bool = option(True, "Put transcripts into the prompt.")
    use_speaker: bool = option(False, "Put speakers' names into the prompt, as the paper does.")
    long_audio: str = option("error", "Clips over 30 s: error, truncate or window.")

    def __post_init__(self) -> None:
        if self.emotions is not None:  # a YAML file may give a list
            self.emotions = ",".join(name_list(self.emotions, "emotions"))
        if self.lora is not None and self.lora.lower() in ("none", ""):
            self.lora = None
        if self.lora is not None and self.lora not in TARGETS:
            raise ValueError(
                f"lora={self.lora!r} is not known. Mend: use one of {', '.join(TARGETS)}, or leave it out."
            )
        if self.load_in_4bit and self.lora is None:
            raise ValueError(
                f"load_in_4bit trains only through an adapter. Mend: set lora to one of {', '.join(TARGETS)}."
            )

    @property
    def label_set(self) -> list[str] | None:
        """The emotions that were given, in order; None for those of the data."""
        return self.emotions.split(",") if self.emotions else None


@dataclass
class TaskArguments:
    """The training arguments that transformers does not have."""

    target_column: str = option("emotion_distribution", "Distribution column to train on (human and synthetic votes).")
    score_column: str = option("human_distribution", "Distribution column to evaluate against (human votes).")
    loss_type: str | None = option(
        None, "js, kl, soft_cross_entropy or dirichlet_multinomial. Default: the model's own (js)."
    )
    entropy_weight: float | None = option(
        None, "Weight of the mean prediction entropy in the loss (paper: 0.08). Default: the model's own (0)."
    )
    count_synthetic_votes: bool = option(
        False,
        "dirichlet_multinomial counts synthetic votes like human ones, one for one (arXiv 2601.14620), where "
        "emotion_distribution is trained on.",
    )
    concentration_weight: float | None = option(
        None,
        "kappa: a row whose target is worth A votes (emotion_concentration) weighs A / (A + kappa) in the loss, over "
        "the mean weight. Default: all rows alike.",
    )
    early_stopping_patience: int | None = option(
        8, "Evaluations without improvement before training stops; 0 switches it off."
    )
    balanced_sampling: bool = option(False, "Draw training rows so that every emotion has the same expected mass.")
    group_by_duration: bool = option(
        True, "Put clips of like duration into a batch, by a seeded sampler that resumes exactly."
    )
    max_audio_tokens_per_batch: int | None = option(
        None,
        "Fill training batches with clips of like duration up to so many audio tokens (25 a second), "
        "padding counted, instead of per_device_train_batch_size clips; for each process and accumulation step.",
    )
    cache_audio_tower: bool = option(
        False,
        "Compute the outputs of a frozen audio tower once a clip, keep them on disk and read them back in "
        "later epochs and runs.",
    )
    tower_cache_dir: str | None = option(
        None, "Folder of cache_audio_tower. Default: hf_emo_dist/tower_cache in the Hugging Face cache."
    )
    tower_cache_max_gb: float = option(20.0, "Bound on that folder; beyond it clips are computed in every epoch.")
    perturb_waveforms: float = option(
        0.0,
        "Share of the training clips that get another pitch (up to a semitone) or tempo (0.95 to 1.05), "
        "drawn anew each epoch (paper: 0.3). Needs the extra augment.",
    )
    fit_temperature: bool = option(
        True,
        "Fit a temperature on the validation data's human votes at the end and keep it with the checkpoint. It is "
        "reported, and applied only where apply_temperature asks.",
    )
    check_audio: bool = option(
        True, "Read every clip before training and stop with a list of those that cannot be used."
    )
