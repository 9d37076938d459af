"""`load_emotion_model`: a checkpoint and its processor, whatever its layout."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from ..modeling.configuration import ADAPTER_CONFIG_NAME, Qwen2AudioEmotionConfig
from ..modeling.modeling import HUB_ARGUMENTS, Qwen2AudioForEmotionDistribution
from ..modeling.processing import EmotionDistributionProcessor


def load_emotion_model(
    name_or_path: str | os.PathLike[str], *, merge: bool = False, **kwargs: Any
) -> tuple[Any, EmotionDistributionProcessor]:
    """Loads a fine-tuned checkpoint, full or adapter-only, from a folder or the Hub.

    Args:
        name_or_path: Hub id or local folder.
        merge: fold an adapter's LoRA weights into the backbone; the model is then a `Qwen2AudioForEmotionDistribution`.
        kwargs: passed to `from_pretrained`: `dtype`, `device_map`, `revision`, `token`, `quantization_config`, …

    Returns:
        The model in evaluation mode (a `PeftModel` for an adapter that is not merged) and its processor.

    Raises:
        OSError: when there is no checkpoint there.
        ValueError: when an adapter lacks its `emotion_config.json`, so that the order of its emotions is not known, or its head.

    Example:
        >>> model, processor = load_emotion_model("you/checkpoint")  # doctest: +SKIP
    """
    hub = {key: kwargs[key] for key in HUB_ARGUMENTS if key in kwargs}
    if _file(name_or_path, "adapter_config.json", hub) is None:
        if Path(name_or_path).is_dir() and _file(name_or_path, "config.json", hub) is None:
            raise OSError(f"'{name_or_path}' holds neither config.json nor adapter_config.json: it is not a checkpoint")
        model = Qwen2AudioForEmotionDistribution.from_pretrained(name_or_path, **kwargs)
    else:
        model = _load_adapter(name_or_path, hub, merge, kwargs)
    processor = EmotionDistributionProcessor.from_pretrained(name_or_path, **hub)
    if tuple(processor.emotions) != model.config.emotions:
        raise ValueError(
            f"the model in '{name_or_path}' answers with {list(model.config.emotions)} and its processor asks for "
            f"{processor.emotions}: one of the two files was changed. Restore them from the original checkpoint."
        )
    return model.eval(), processor


def _load_adapter(
    name_or_path: str | os.PathLike[str], hub: dict[str, Any], merge: bool, kwargs: dict[str, Any]
) -> Any:
    from peft import PeftConfig, PeftModel

    file = _file(name_or_path, ADAPTER_CONFIG_NAME, hub)
    if file is None:
        raise ValueError(
            f"'{name_or_path}' is an adapter without {ADAPTER_CONFIG_NAME}, so the order of its emotions is not known. "
            "Adapters saved by EmotionDistributionTrainer have it; copy it from the training's output folder."
        )
    config = Qwen2AudioEmotionConfig.from_dict(json.loads(Path(file).read_text(encoding="utf-8")))
    adapter = PeftConfig.from_pretrained(name_or_path, **hub)
    without_head = (
        f"the adapter in '{name_or_path}' holds no head, which would stay random: it was not made by EmotionDistributionTrainer or "
        "emotion_lora_config, which always save it. Train it again with one of them."
    )
    if "head" not in (getattr(adapter, "modules_to_save", None) or []):
        raise ValueError(without_head)
    if _file(name_or_path, "adapter_model.safetensors", hub) is None:
        raise OSError(f"'{name_or_path}' has no adapter_model.safetensors; weights in other formats are not read")
    base = adapter.base_model_name_or_path
    own = {key: value for key, value in kwargs.items() if key not in ("revision", "subfolder")}
    backbone = Qwen2AudioForEmotionDistribution.from_pretrained(base, config=config, **own)
    try:
        model = PeftModel.from_pretrained(backbone, name_or_path, **hub)
    except KeyError as error:  # peft looks up every saved module's weights
        if ".head." not in str(error):
            raise
        raise ValueError(without_head) from error
    return model.merge_and_unload() if merge else model


def _file(name_or_path: str | os.PathLike[str], name: str, hub: dict[str, Any]) -> str | None:
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id
    from transformers.utils import cached_file

    if not os.path.isdir(name_or_path):
        try:
            validate_repo_id(str(name_or_path))
        except HFValidationError:
            return None  # a path with nothing at it
    return cached_file(
        name_or_path,
        name,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
        _raise_exceptions_for_gated_repo=False,
        **hub,
    )
