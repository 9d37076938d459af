"""Quantised backbones: the head stays as it is, and how a training machine held its weights is nobody else's matter."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch

HEAD = "head"
#: Where the kinds of quantisation list the modules that they leave alone.
SKIPPED = (
    "llm_int8_skip_modules",
    "modules_to_not_convert",
    "skip_modules",
    "linear_weights_not_to_quantize",
    "ignore",
)


def keep_head_whole(quantization_config: Any) -> Any:
    """A quantisation that leaves the head alone, whatever else it leaves alone.

    Args:
        quantization_config: Of transformers, an object such as `BitsAndBytesConfig` or a mapping. It is not changed.

    Example:
        >>> from transformers import BitsAndBytesConfig
        >>> keep_head_whole(BitsAndBytesConfig(load_in_8bit=True)).llm_int8_skip_modules
        ['head']
    """
    if quantization_config is None:
        return None
    config = copy.deepcopy(quantization_config)
    if isinstance(config, Mapping):
        config = dict(config)
        method = str(config.get("quant_method", ""))
        bits = method == "bitsandbytes" or config.get("load_in_4bit") or config.get("load_in_8bit")
        name = next((name for name in SKIPPED if name in config), SKIPPED[0] if bits else SKIPPED[1])
        config[name] = _with_head(config.get(name))
        return config
    for name in SKIPPED:
        if hasattr(config, name):
            setattr(config, name, _with_head(getattr(config, name)))
            break
    return config


def check_head_is_whole(model: Any) -> None:
    """Refuse a model whose head was quantised all the same: it is trained in full, and says the answer.

    Raises:
        ValueError: A weight of the head is no floating-point number.
    """
    head = getattr(model, HEAD, None)
    whole = (torch.float32, torch.float16, torch.bfloat16, torch.float64)
    bad = [name for name, value in head.named_parameters() if value.dtype not in whole] if head is not None else []
    if bad:
        raise ValueError(
            f"{len(bad)} weights of the head were quantised (first: {HEAD}.{bad[0]}). Mend: list 'head' among the "
            "modules that the quantization_config leaves alone."
        )


def four_bits() -> Any:
    """The quantisation of `load_in_4bit`: NF4, computed in bfloat16."""
    from transformers import BitsAndBytesConfig

    return BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_compute_dtype=torch.bfloat16,
        llm_int8_skip_modules=[HEAD],  # every other Linear is quantised, and the head would be too
    )


def _with_head(skipped: Any) -> list[str]:
    return list(dict.fromkeys([*(skipped or ()), HEAD]))
