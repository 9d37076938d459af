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
