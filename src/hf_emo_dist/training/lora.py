"""LoRA presets. The head is always trained in full and saved with the adapter."""

from __future__ import annotations

from typing import Any

from .._lazy import need

ATTENTION = ("q_proj", "k_proj", "v_proj", "o_proj")
TARGETS: dict[str, list[str] | str] = {
    # As in the paper's code: by name. In Qwen2-Audio this also reaches q, k and v of the audio tower.
    "paper": list(ATTENTION),
    "language_model": rf".*language_model\..*\.({'|'.join(ATTENTION)})",
    "all": (
        r".*(language_model|audio_tower|multi_modal_projector)\..*"
        r"(q_proj|k_proj|v_proj|o_proj|out_proj|gate_proj|up_proj|down_proj|fc1|fc2|linear)"
    ),
}


def emotion_lora_config(preset: str = "language_model", **overrides: Any) -> Any:
    """A `peft.LoraConfig` for `Qwen2AudioForEmotionDistribution`.

    Args:
        preset: `paper` (q, k, v, o by name, so also q, k, v of the audio tower), `language_model` (q, k, v, o of the language model only)
            or `all` (every linear layer of tower, projector and language model).
        overrides: fields of `LoraConfig`. `r=8`, `lora_alpha=16`, `lora_dropout=0.2` are the paper's; `modules_to_save` always keeps the
            head: without it the head would reload random, with no error.

    Raises:
        ValueError: for an unknown preset.

    Example:
        >>> emotion_lora_config("paper").r, sorted(emotion_lora_config("paper").target_modules)
        (8, ['k_proj', 'o_proj', 'q_proj', 'v_proj'])
    """
    peft = need("peft", "emotion_lora_config")
    if preset not in TARGETS:
        raise ValueError(f"LoRA preset {preset!r} is not known; use one of {', '.join(TARGETS)}")
    modules_to_save = list(dict.fromkeys(["head", *(overrides.pop("modules_to_save", None) or [])]))
    settings = {"r": 8, "lora_alpha": 16, "lora_dropout": 0.2, "target_modules": TARGETS[preset], **overrides}
    return peft.LoraConfig(**settings, modules_to_save=modules_to_save)


def paper_lora_config(**overrides: Any) -> Any:
    """The paper's LoRA: r = 8, α = 16, dropout 0.2 on q, k, v and o projections (arXiv 2601.14620).

    Example:
        >>> paper_lora_config().modules_to_save
        ['head']
    """
    return emotion_lora_config("paper", **overrides)
