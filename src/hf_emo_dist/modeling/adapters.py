"""Adapter checkpoints: LoRA weights and the head, with the emotions and their order in a file of their own."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open
from transformers.utils import cached_file

from .configuration import ADAPTER_CONFIG_NAME, Qwen2AudioEmotionConfig

__all__ = ["adapter_settings", "check_safetensors", "find_file", "no_head", "save_adapter_config"]

PEFT_CONFIG_NAME = "adapter_config.json"
PEFT_WEIGHTS_NAME = "adapter_model.safetensors"


def find_file(name_or_path: str | os.PathLike[str], name: str, hub: dict[str, Any]) -> str | None:
    """Where a file of a checkpoint is, downloaded if need be; None where it is not there or cannot be reached."""
    if not os.path.isdir(name_or_path):
        try:
            validate_repo_id(str(name_or_path))
        except HFValidationError:
            return None  # a path with nothing at it
    found: str | None = cached_file(
        name_or_path,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **hub,
    )
    return found


def adapter_settings(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> tuple[Qwen2AudioEmotionConfig, Any]:
    """What lies beside an adapter's weights: the model's configuration and peft's.

    Raises:
        ValueError: the order of the emotions is not known, or the adapter holds no head.
        OSError: there are no weights in safetensors.
    """
    from peft import PeftConfig

    file = find_file(name_or_path, ADAPTER_CONFIG_NAME, hub)
    if file is None:
        raise ValueError(
            f"'{name_or_path}' is an adapter without {ADAPTER_CONFIG_NAME}, so the order of its emotions is not known. "
            "Adapters saved by EmotionDistributionTrainer have it; copy it from the training's output folder."
        )
    config = Qwen2AudioEmotionConfig.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))
    adapter = PeftConfig.from_pretrained(str(name_or_path), **hub)
    if "head" not in (getattr(adapter, "modules_to_save", None) or []):
        raise ValueError(no_head(name_or_path))
    weights = find_file(name_or_path, PEFT_WEIGHTS_NAME, hub)
    if weights is None:
        raise OSError(f"'{name_or_path}' has no {PEFT_WEIGHTS_NAME}; weights in other formats are not read")
    with safe_open(weights, framework="pt") as tensors:
        if not any(".head." in name for name in tensors.keys()):  # noqa: SIM118  it is no mapping
            raise ValueError(no_head(name_or_path))
    return config, adapter


def check_safetensors(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> None:
    """Refuses a full checkpoint without safetensors, before transformers asks a service on the Hub to convert its pickles.

    Raises:
        OSError: naming what is there instead.
    """
    if not any(find_file(name_or_path, name, hub) for name in ("model.safetensors", "model.safetensors.index.json")):
        raise OSError(
            f"'{name_or_path}' has no weights in safetensors (model.safetensors, or shards with their index); other formats are not read. "
            "Mend: load it where it was made, and save it again with save_pretrained."
        )


def no_head(name_or_path: str | os.PathLike[str]) -> str:
    """What to say of an adapter without the head."""
    return (
        f"the adapter in '{name_or_path}' holds no head, which would stay random: it was not made by EmotionDistributionTrainer or "
        "emotion_lora_config, which always save it. Train it again with one of them."
    )


def save_adapter_config(config: Any, folder: str | os.PathLike[str]) -> None:
    """Writes the emotions, the head's settings and the loss beside an adapter, which `adapter_config.json` does not hold."""
    values = json.loads(config.to_json_string(use_diff=False))
    for key in ("_name_or_path", "name_or_path"):
        values.pop(key, None)
    Path(folder, ADAPTER_CONFIG_NAME).write_text(json.dumps(values, indent=2, sort_keys=True) + "\n", encoding="utf-8")
