"""`load_emotion_model`: a checkpoint and its processor, whatever its layout."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from .._checkpoint_files import is_adapter
from .._hub import check_hub_answers
from .._lazy import need
from .._own_code import without_trust
from ..modeling.adapters import adapter_settings, with_own_quantization
from ..modeling.base_content import check_base
from ..modeling.families import HUB_ARGUMENTS
from ..modeling.model import EmotionDistributionModel
from ..modeling.processing import EmotionDistributionProcessor
from ..modeling.quantization import four_bits
from ..modeling.whole_files import broken_files_named


def load_emotion_model(
    name_or_path: str | os.PathLike[str],
    *,
    merge: bool = False,
    revision: str | None = None,
    dtype: str | torch.dtype | None = None,
    load_in_4bit: bool = False,
    device: str | torch.device | None = None,
    trainable: bool = False,
    **kwargs: Any,
) -> tuple[Any, EmotionDistributionProcessor]:
    """Load a fine-tuned checkpoint, full, merged or adapter-only, from a folder or the Hub.

    Args:
        name_or_path: Hub id or local folder.
        merge: Fold an adapter's LoRA weights into the backbone; the model is then of its family's class, without peft.
        revision: Branch, tag or commit of the checkpoint. An adapter's backbone is loaded at the revision that the
            adapter names.
        dtype: `float32`, `bfloat16`, `float16`, `auto` or a torch dtype; the head always stays in float32. Default: as
            saved.
        load_in_4bit: The backbone in 4 bits (NF4), which needs bitsandbytes and a GPU.
        device: Such as `cuda` or `cpu`. Default: where `from_pretrained` leaves it, the CPU, or `device_map`'s.
        trainable: An adapter's weights are to be trained on; without it they are frozen.
        kwargs: Passed to transformers' `from_pretrained`: `device_map`, `token`, `quantization_config`,
            `attn_implementation`, … Python that comes with a checkpoint (`auto_map`) is never run.

    Returns:
        The model in evaluation mode (a `PeftModel` for an adapter that is not merged) and its processor.

    Raises:
        OSError: There is no checkpoint there, or it may not be read.
        ValueError: An adapter lacks its `emotion_config.json`, so that the order of its emotions is not known, or its
            head; its backbone holds other weights than those that it was trained on; the model's and its processor's
            emotions differ; an option does not go with another; or a file is damaged (`BrokenFileError` names it).

    Example:
        >>> model, processor = load_emotion_model("you/checkpoint", dtype="bfloat16", device="cuda")  # doctest: +SKIP
    """
    kwargs = without_trust(kwargs)
    if revision is not None:
        kwargs["revision"] = revision
    if dtype is not None:
        kwargs["dtype"] = dtype
    if load_in_4bit:
        if merge:
            raise ValueError("merge=True would round an adapter to 4 bits. Mend: merge it first, without load_in_4bit.")
        if "quantization_config" in kwargs:
            raise ValueError("load_in_4bit and quantization_config say the same thing twice. Mend: pass one of them.")
        kwargs["quantization_config"] = _four_bits()
        kwargs.setdefault("device_map", {"": str(device or "cuda")})
    hub = {key: kwargs[key] for key in HUB_ARGUMENTS if kwargs.get(key) is not None}
    check_hub_answers(name_or_path, token=kwargs.get("token"))
    with broken_files_named(name_or_path, hub):
        if is_adapter(name_or_path, hub):
            model = _load_adapter(name_or_path, hub, merge, trainable, kwargs)
        else:
            _check_config(name_or_path, hub)
            model = EmotionDistributionModel.from_pretrained(name_or_path, **kwargs)
        processor = EmotionDistributionProcessor.from_pretrained(name_or_path, **hub)
    if tuple(processor.emotions) != model.config.emotions:
        raise ValueError(
            f"The model in '{name_or_path}' answers with {list(model.config.emotions)} and its processor asks for "
            f"{processor.emotions}: one of the two files was changed. Mend: restore them from the original checkpoint."
        )
    if device is not None and "device_map" not in kwargs:
        model = model.to(device)
    return model.eval(), processor


def _load_adapter(
    name_or_path: str | os.PathLike[str], hub: dict[str, Any], merge: bool, trainable: bool, kwargs: dict[str, Any]
) -> Any:
    from peft import PeftModel

    config, adapter = adapter_settings(name_or_path, hub)
    base = adapter.base_model_name_or_path
    config = with_own_quantization(config, base, {"revision": adapter.revision})
    own = {key: value for key, value in kwargs.items() if key not in ("revision", "subfolder")}
    try:
        backbone = EmotionDistributionModel.from_pretrained(base, config=config, revision=adapter.revision, **own)
    except OSError as error:
        raise OSError(
            f"'{name_or_path}' is an adapter of the backbone '{base}', which could not be loaded: {error}"
        ) from error
    check_base(name_or_path, backbone, hub)
    with broken_files_named(name_or_path, hub):
        model = PeftModel.from_pretrained(backbone, str(name_or_path), is_trainable=trainable, **hub)
    # By it the pipeline finds the processor.
    backbone.loaded_from = (str(name_or_path), hub)
    return model.merge_and_unload() if merge else model


def _four_bits() -> Any:
    need("bitsandbytes", "load_emotion_model(load_in_4bit=True)")
    if not torch.cuda.is_available():
        raise ValueError("load_in_4bit needs a GPU, and this machine or this torch has no CUDA. Mend: leave it out.")
    return four_bits()


def _check_config(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> None:
    """Raise what tells a mistyped name from a private repository, a revision that is not there, or no connection."""
    from transformers.utils import cached_file

    name = f"'{name_or_path}'"
    if Path(name_or_path).is_dir():
        if (Path(name_or_path) / hub.get("subfolder", "") / "config.json").is_file():
            return
        raise OSError(
            f"{name} holds neither config.json nor adapter_config.json. Mend: name the folder of a checkpoint."
        )
    if os.path.isabs(name_or_path) or str(name_or_path).startswith(("./", "../", "~")):
        raise OSError(f"{name} is not there. Mend: check the path.")
    try:
        cached_file(name_or_path, "config.json", **hub)
    except (OSError, ValueError) as error:
        reason = next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise OSError(
            f"No model could be loaded from {name}: it is neither a local folder with a config.json nor a model on the "
            f"Hub that can be reached from here ({reason}). Mend: check the spelling, the connection, and for a "
            "private model the token."
        ) from error
