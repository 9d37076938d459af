"""`emotion_lora_config`: LoRA presets. The head is always trained in full and saved with the adapter."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from .._lazy import need
from ..modeling.lora_targets import AUDIO_LANGUAGE_TARGETS

TARGETS = AUDIO_LANGUAGE_TARGETS


def emotion_lora_config(
    preset: str = "language_model",
    *,
    model: Any = None,
    r: int = 8,
    lora_alpha: int = 16,
    lora_dropout: float = 0.2,
    modules_to_save: Sequence[str] = (),
    **others: Any,
) -> Any:
    """Make a `peft.LoraConfig` for an emotion-distribution model; rank, alpha and dropout are the paper's by default.

    Args:
        preset: `paper` (q, k, v, o by name, so also q, k, v of the audio tower), `language_model` (q, k, v, o of the
            language model only) or `all` (every linear layer of tower, projector and language model); with a speech
            encoder as `model` `attention` (not WavLM), `feed_forward` or `all` (both).
        model: The model that the adapter is for, whose family says what its layers are called. Default: an
            audio-language model.
        r: Rank.
        lora_alpha: Scale of the adapter, over `r`.
        lora_dropout: Dropout before the adapter.
        modules_to_save: Trained in full and saved beside the head, which always is.
        others: Further fields of `LoraConfig`, such as `target_modules` instead of the preset's.

    Raises:
        ValueError: The preset is not known, or not of the model's family.

    Example:
        >>> emotion_lora_config("paper").r, sorted(emotion_lora_config("paper").target_modules)
        (8, ['k_proj', 'o_proj', 'q_proj', 'v_proj'])
    """
    peft = need("peft", "emotion_lora_config")
    targets = TARGETS if model is None else model.lora_targets
    if preset not in targets:
        where = "" if model is None else f" for {model.family_name}"
        reason = getattr(model, "lora_lacks", {}).get(preset)
        told = f": {reason}" if reason else ""
        raise ValueError(f"LoRA preset {preset!r} is not known{where}{told}. Mend: use one of {', '.join(targets)}.")
    return peft.LoraConfig(
        r=r,
        lora_alpha=lora_alpha,
        lora_dropout=lora_dropout,
        # without it the head would reload random, with no error
        modules_to_save=list(dict.fromkeys(["head", *(modules_to_save or ())])),
        **{"target_modules": targets[preset], **others},
    )


def paper_lora_config(**overrides: Any) -> Any:
    """Make the paper's LoRA: r = 8, α = 16, dropout 0.2 on q, k, v and o projections (arXiv 2601.14620).

    Args:
        overrides: Arguments of `emotion_lora_config`.

    Example:
        >>> paper_lora_config().modules_to_save
        ['head']
    """
    return emotion_lora_config("paper", **overrides)
