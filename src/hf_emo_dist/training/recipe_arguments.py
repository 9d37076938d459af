"""What a training recipe says beside the training arguments; without torch, so that the command's help is quick."""

from __future__ import annotations

import os
from dataclasses import dataclass

from .._checkpoint_files import is_adapter
from .._fields import option
from .._name_list import name_list
from ..modeling.lora_targets import AUDIO_LANGUAGE_TARGETS, PRESETS

LORA_DEFAULTS = {"lora_r": 8, "lora_alpha": 16, "lora_dropout": 0.2}
NEEDS_AN_ADAPTER = f"load_in_4bit trains only through an adapter. Mend: set lora to one of {', '.join(PRESETS)}."


@dataclass
class RecipeArguments:
    """What is trained on what. Training arguments stand beside these, in the same YAML file and command line."""

    backbone: str | None = option(
        None, "Speech encoder, audio-language model or checkpoint: a Hub id or a local folder."
    )
    dataset: str | None = option(None, "Data set: a local Parquet folder or a Hub id.")
    dataset_revision: str | None = option(None, "Revision of a data set on the Hub.")
    train_split: str = option("train", "Split to train on.")
    validation_split: str = option("validation", "Split that chooses the checkpoint.")
    emotions: str | None = option(
        None, "Emotions in order, comma separated. Default: those of the data's distributions."
    )
    lora: str | None = option(
        None,
        f"LoRA preset. Of an audio-language model: {', '.join(AUDIO_LANGUAGE_TARGETS)}; of a speech encoder: attention "
        "(not WavLM), feed_forward, all. Default: train all weights.",
    )
    lora_r: int = option(8, "LoRA rank.")
    lora_alpha: int = option(16, "LoRA alpha.")
    lora_dropout: float = option(0.2, "LoRA dropout.")
    freeze: str | None = option(
        None,
        "Parts of the backbone to keep as they are, comma separated, or none. Of a speech encoder: encoder, "
        "feature_encoder (its convolutions), text_encoder; of an audio-language model: audio_tower, projector, "
        "language_model. Default: feature_encoder and text_encoder.",
    )
    freeze_audio_tower: bool = option(False, "Keep the audio tower as it is.")
    freeze_projector: bool = option(False, "Keep the audio projector as it is.")
    freeze_language_model: bool = option(False, "Keep the language model as it is.")
    load_in_4bit: bool = option(False, "4-bit backbone (needs bitsandbytes and a GPU).")
    model_dtype: str = option("auto", "auto, float32, bfloat16 or float16.")
    attn_implementation: str | None = option(None, "sdpa, eager or flash_attention_2.")
    head: str | None = option(
        None,
        "Of an audio-language model: paper (attention pooling, residual block, projection), small (pooled in few "
        "dimensions) or last_token (one matrix, which vLLM serves). Default: the checkpoint's own; paper in a new one.",
    )
    pooling: str | None = option(
        None,
        "How a speech encoder's states are pooled: statistics (learned attention, mean and deviation) or mean (as in "
        "transformers). Default: the checkpoint's own; statistics in a new head.",
    )
    use_weighted_layer_sum: bool | None = option(
        None, "Learn weights over a speech encoder's layers. Default: the checkpoint's own; true in a new head."
    )
    average_frames: int | None = option(
        None, "Frames of a speech encoder (20 ms) that are averaged to one. Default: the checkpoint's own; 4 if new."
    )
    head_hidden_size: int | None = option(
        None, "Width of the head's hidden layer. Default: the checkpoint's own; the family's in a new head."
    )
    text_encoder: str | None = option(
        None, "Text encoder for the transcripts beside a speech encoder: a Hub id or a local folder."
    )
    head_dropout: float | None = option(
        None, "Dropout of the head's residual block. Default: the checkpoint's own; 0.15 in a new head."
    )
    head_projection_dropout: float | None = option(
        None, "Dropout of the head's projection. Default: the checkpoint's own; 0.1 in a new head."
    )
    num_threads: int | None = option(None, "CPU threads. Default: all, with one process.")
    use_transcript: bool | None = option(
        None, "Put transcripts into the prompt. Default: as the checkpoint does; a backbone's prompts have them."
    )
    use_speaker: bool | None = option(
        None, "Put speakers' names into the prompt, as the paper does. Default: as the checkpoint does, else not."
    )
    long_audio: str | None = option(
        None, "Clips over 30 s: error, truncate or window. Default: as the checkpoint does, else error."
    )

    def __post_init__(self) -> None:
        if self.emotions is not None:  # a YAML file may give a list
            self.emotions = ",".join(name_list(self.emotions, "emotions"))
        if self.freeze is not None:
            self.freeze = ",".join(name_list(self.freeze, "freeze"))
        if self.lora is not None and self.lora.lower() in ("none", ""):
            self.lora = None
        if self.lora is not None and self.lora not in PRESETS:
            raise ValueError(
                f"lora={self.lora!r} is not known. Mend: use one of {', '.join(PRESETS)}, or leave it out."
            )
        # a Hub id may be an adapter's, which goes on being trained
        if self.load_in_4bit and self.lora is None and not may_be_adapter(self.backbone):
            raise ValueError(NEEDS_AN_ADAPTER)
        if self.lora is None:
            changed = [name for name, value in LORA_DEFAULTS.items() if getattr(self, name) != value]
            if changed:
                raise ValueError(
                    f"{', '.join(changed)} would have no effect without lora. Mend: set lora to one of "
                    f"{', '.join(PRESETS)}, or leave them out."
                )

    @property
    def label_set(self) -> list[str] | None:
        """The emotions that were given, in order; None for those of the data."""
        return self.emotions.split(",") if self.emotions else None


def may_be_adapter(backbone: str | None) -> bool:
    """Whether a backbone may be an adapter, as far as can be told without the Hub."""
    if backbone is None:
        return False
    if not os.path.isdir(backbone):
        return True
    return is_adapter(backbone)


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
    head_learning_rate: float | None = option(
        None, "Learning rate of the head. Default: learning_rate, which is that of LoRA or of the backbone."
    )
    layer_decay: float | None = option(
        None,
        "Each layer below the last is trained at the rate of the one above times this, say 0.9; the head at its own. "
        "For training all weights. Default: all layers alike.",
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
