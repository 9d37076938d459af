"""What a backbone holds, as a short hash: an adapter is of use with the weights that it was trained on, and no others.

A path or a name on the Hub says where weights were; it does not say which. The hash is of a few values of every weight
but the head's, as the files have them, so that it takes seconds for a model of 7 billion parameters, and is the same
whatever dtype or quantisation the model is loaded in.
"""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from .._checkpoint_files import (
    ADAPTER_CONFIG_NAME,
    PEFT_CONFIG_NAME,
    PEFT_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    find_file,
    is_adapter,
)
from ..data.intact import read_json
from .adapters import BASE_CONTENT, shards_of
from .bare_encoder import bare_encoder_files
from .whole_files import MEND, broken_files_named

logger = logging.getLogger(__name__)

_VERSION = "1"
_VALUES = 32  # of the first and of the middle row of each weight
_SAVE_FIRST = "save model and processor with save_pretrained into a folder, and load the model from there."
_PLAIN = (torch.float32, torch.float16, torch.bfloat16, torch.float64)


class OtherBaseError(ValueError):
    """An adapter's backbone does not hold the weights that the adapter was trained on."""


def base_content(model: Any) -> str | None:
    """Hash the files that a model's backbone was loaded from; None where there are none (a model made from a
    configuration).

    Args:
        model: A model of this library, also with an adapter in it, or a `PeftModel` around one.

    Example:
        >>> base_content(model)  # doctest: +SKIP
        '1:8e3f09c3a4f2f8a7d1b6c05ce0b1d2f4'
    """
    network = _network(model)
    known: str | None = getattr(network, "_base_content", None)
    if known is None:
        digest = hashlib.sha256()
        found = 0
        for name, part in (*_stored(network, lambda name: True), *_own_adapter(network)):
            digest.update(f"{name}:{tuple(part.shape)}:".encode())
            digest.update(part.to(torch.bfloat16).contiguous().view(torch.uint8).numpy())
            found += 1
        if found:
            known = network._base_content = f"{_VERSION}:{digest.hexdigest()[:32]}"
    return known


def differing_weights(model: Any) -> list[str]:
    """Names of the backbone's weights that are not, in memory, what the files hold that it was loaded from.

    Weights that are quantised, offloaded, or held by other processes are not compared, nor are biases that an adapter
    trains and saves itself.

    Args:
        model: As for `base_content`.
    """
    network = _network(model)
    weights = _weights(network)
    adapters = (getattr(network, "peft_config", {}) or {}).values()
    own_biases = any(getattr(adapter, "bias", "none") != "none" for adapter in adapters)
    comparable = {
        name
        for name, value in weights.items()
        if value.dtype in _PLAIN and value.numel() and not value.is_meta and not (own_biases and name.endswith("bias"))
    }
    if any(_own_adapter(network)):  # in memory it is in the weights
        rename = _renaming(network, weights)
        merged = {rename(key): value for key, value in (network.bare_weights(*network.base_from) or {}).items()}
        return [
            name
            for name in sorted(merged.keys() & comparable)
            if merged[name].dim() and not _close(_slice(weights[name].detach()).cpu(), _slice(merged[name]))
        ]
    return [
        name
        for name, part in _stored(network, comparable.__contains__)
        if not torch.equal(_slice(weights[name].detach()).cpu(), part.to(weights[name].dtype))
    ]


def check_base(adapter: str | os.PathLike[str], model: Any, hub: dict[str, Any]) -> None:
    """Refuse a backbone that is not the one an adapter was trained on. Adapters that do not say are let pass.

    Args:
        adapter: Folder or Hub id of the adapter.
        model: Its backbone, loaded.
        hub: Arguments for the Hub.

    Raises:
        OtherBaseError: The backbone holds other weights.
    """
    file = find_file(adapter, ADAPTER_CONFIG_NAME, hub)
    wanted = read_json(file, MEND).get(BASE_CONTENT) if file else None
    if wanted is None:
        logger.info("'%s' does not say which weights it was trained on (written by hf_emo_dist 0.1)", adapter)
        return
    found = base_content(model)
    if found is None or wanted.partition(":")[0] != _VERSION:
        logger.warning("whether the backbone of '%s' is the one that it was trained on could not be checked", adapter)
    elif found != wanted or differing_weights(model):
        name = (getattr(_network(model), "base_from", None) or ("",))[0]
        raise OtherBaseError(
            f"'{adapter}' was trained on a backbone with other weights than those in '{name}' (content {wanted}, found "
            f"{found if found != wanted else 'others in memory, as after merging'}): its answers would be wrong. Mend: "
            "put back the files it was trained on, or set base_model_name_or_path (and revision) in its "
            "adapter_config.json to where they are."
        )


def check_base_is_on_disk(model: Any) -> None:
    """Refuse to train an adapter on weights that exist in memory only: nobody could load it again.

    Raises:
        OtherBaseError: Weights differ from the files, as after merging another adapter or after training; or there are
            no files.
    """
    if getattr(_network(model), "base_from", None) is None:
        raise OtherBaseError(
            "the weights of this model are in memory only, as from_config makes them, and an adapter is of use with "
            f"its backbone alone: nothing could load it. Mend: {_SAVE_FIRST}"
        )
    changed = differing_weights(model)
    if changed:
        name = (getattr(_network(model), "base_from", None) or ("",))[0]
        raise OtherBaseError(
            f"{len(changed)} weights of the backbone in memory are not those in '{name}' (first: {changed[0]}), as "
            "after merging an adapter: an adapter that is trained on them would name a backbone it does not fit. Mend: "
            f"{_SAVE_FIRST}"
        )


def _network(model: Any) -> Any:
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def _weights(network: Any) -> dict[str, Tensor]:
    """The backbone's own weights by the names they have without an adapter."""
    adapters = tuple(getattr(network, "peft_config", {}) or ())
    found = {}
    for name, value in network.named_parameters():
        parts = name.split(".")
        if parts[0] == "head" or any(part.startswith("lora_") or part in adapters for part in parts):
            continue
        found[".".join(part for part in parts if part not in ("base_layer", "original_module"))] = value
    return found


def _stored(network: Any, wanted: Callable[[str], bool]) -> Iterator[tuple[str, Tensor]]:
    """A few values of each weight that the files hold, by its name in the model, in the order of the names."""
    source = getattr(network, "base_from", None)
    if source is None:
        return
    weights = _weights(network)
    rename = _renaming(network, weights)
    with broken_files_named(*source), ExitStack() as stack:
        places: dict[str, tuple[Any, str]] = {}
        for file in _files(*source):
            tensors = stack.enter_context(safe_open(file, framework="pt"))
            places |= {rename(key): (tensors, key) for key in tensors.keys()}  # noqa: SIM118  it is no mapping
        for name in sorted(places.keys() & weights.keys()):
            if wanted(name):
                tensors, key = places[name]
                part = tensors.get_slice(key)
                if part.get_shape():  # a single number has no slices
                    yield name, _slice(part)


def _own_adapter(network: Any) -> Iterator[tuple[str, Tensor]]:
    """The same of an adapter that lies beside a backbone's weights and is merged into them (Granite Speech's)."""
    source = getattr(network, "base_from", None)
    if source is None or find_file(source[0], PEFT_CONFIG_NAME, source[1]) is None or is_adapter(*source):
        return
    file = find_file(source[0], PEFT_WEIGHTS_NAME, source[1])
    if file is not None:
        with broken_files_named(*source), safe_open(file, framework="pt") as tensors:
            for name in sorted(tensors.keys()):
                yield name, _slice(tensors.get_slice(name))


def _close(value: Tensor, stored: Tensor) -> bool:
    # a product of matrices, whose last bit depends on how many threads shared it
    error = 4 * torch.finfo(stored.dtype).eps
    return torch.allclose(value.float(), stored.to(value.dtype).float(), rtol=error, atol=error * 1e-2)


def _slice(tensor: Any) -> Tensor:
    shape = tuple(tensor.get_shape() if hasattr(tensor, "get_shape") else tensor.shape)
    if len(shape) == 1:
        return tensor[:_VALUES].reshape(-1)
    rest = [slice(0, 1)] * (len(shape) - 2)
    rows = [tensor[(slice(row, row + 1), *rest, slice(0, _VALUES))].reshape(-1) for row in (0, shape[0] // 2)]
    return torch.cat(rows)


def _files(name_or_path: str, hub: dict[str, Any]) -> list[str]:
    single = find_file(name_or_path, WEIGHTS_NAME, hub)
    if single is not None:
        return [single]
    index = find_file(name_or_path, WEIGHTS_INDEX_NAME, hub)
    if index is None:
        return bare_encoder_files(name_or_path, hub)
    return [file for shard in shards_of(index) if (file := find_file(name_or_path, shard, hub)) is not None]


def _renaming(network: Any, weights: dict[str, Tensor]) -> Callable[[str], str]:
    """How transformers names a weight of a file in the model, whatever layout the file has."""
    from transformers.conversion_mapping import get_model_conversion_mapping
    from transformers.core_model_loading import WeightRenaming, rename_source_key

    mapping = get_model_conversion_mapping(network)
    renamings = [entry for entry in mapping if isinstance(entry, WeightRenaming)]
    converters: Any = [entry for entry in mapping if not isinstance(entry, WeightRenaming)]
    prefix, known = network.base_model_prefix, dict(weights)

    def rename(key: str) -> str:
        name: str
        name, _ = rename_source_key(key, renamings, converters, prefix, known)
        return name

    return rename
