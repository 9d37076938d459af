"""What lies in a checkpoint's folder or repository, above all an adapter's: LoRA weights, head, emotions in order."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from huggingface_hub.errors import HFValidationError
from huggingface_hub.utils import validate_repo_id
from safetensors import safe_open
from safetensors.torch import load_file

from .._checkpoint_files import (
    ADAPTER_CONFIG_NAME,
    CONFIG_NAME,
    PEFT_CONFIG_NAME,
    PEFT_WEIGHTS_NAME,
    WEIGHTS_INDEX_NAME,
    WEIGHTS_NAME,
    find_file,
)
from ..data.intact import read_json
from ..data.output import write_text
from .configuration import emotion_config
from .whole_files import MEND, broken_files_named

#: What a configuration in memory says of this machine: where the backbone lay, how its weights were held, how it ran.
MACHINE_SETTINGS = ("_name_or_path", "name_or_path", "_commit_hash", "quantization_config", "use_cache")
#: Kinds of adapters of peft that are made of several ones, which lie elsewhere.
_KINDS_OF_MANY = ("XLORA",)
#: What an adapter's file says beside the configuration: which weights it is for, as `base_content` hashes them.
BASE_CONTENT = "base_content"


def adapter_settings(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> tuple[Any, Any]:
    """Read what lies beside an adapter's weights: the model's configuration and peft's.

    Raises:
        ValueError: The order of the emotions or the backbone is not known, or the adapter holds no head.
        OSError: There are no weights in safetensors.
    """
    from peft import PeftConfig

    file = find_file(name_or_path, ADAPTER_CONFIG_NAME, hub)
    if file is None:
        raise ValueError(
            f"'{name_or_path}' is an adapter without {ADAPTER_CONFIG_NAME}, so the order of its emotions is not known. "
            "Adapters saved by EmotionDistributionTrainer have it. Mend: copy it from the training's output folder."
        )
    values = read_json(file, MEND)
    for key in (*MACHINE_SETTINGS, BASE_CONTENT):  # 0.1 wrote the quantisation of the training machine, too
        values.pop(key, None)
    config = emotion_config(values, name_or_path)
    _check_peft_file(name_or_path, hub)
    with broken_files_named(name_or_path, hub):
        adapter = PeftConfig.from_pretrained(str(name_or_path), **hub)
    if "head" not in (getattr(adapter, "modules_to_save", None) or []):
        raise ValueError(_no_head(name_or_path))
    if not adapter.base_model_name_or_path:
        raise ValueError(
            f"the adapter in '{name_or_path}' does not say which backbone it is for (base_model_name_or_path in its "
            f"{PEFT_CONFIG_NAME}): it was trained on weights in memory only. Mend: if you have the backbone's files, "
            "write their folder or Hub id there."
        )
    weights = find_file(name_or_path, PEFT_WEIGHTS_NAME, hub)
    if weights is None:
        raise OSError(
            f"'{name_or_path}' has no {PEFT_WEIGHTS_NAME}; weights in other formats are not read. "
            "Mend: save the adapter again with save_pretrained."
        )
    with broken_files_named(name_or_path, hub), safe_open(weights, framework="pt") as tensors:
        if not any(".head." in name for name in tensors.keys()):  # noqa: SIM118  it is no mapping
            raise ValueError(_no_head(name_or_path))
    return config, adapter


def _check_peft_file(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> None:
    """Refuse an adapter whose file sends peft elsewhere: to a module, other adapters, a folder of this machine."""
    file = find_file(name_or_path, PEFT_CONFIG_NAME, hub)
    values = read_json(file, MEND) if file is not None else {}
    where = f"the {PEFT_CONFIG_NAME} of '{name_or_path}'"
    if not isinstance(values, dict):
        raise ValueError(f"{where} is no JSON object. Mend: copy or download the adapter again.")
    if values.get("megatron_config"):
        raise ValueError(
            f"{where} names a Python module to import (megatron_core={values.get('megatron_core')!r}). Mend: take "
            "megatron_config out of it, if you know who made it."
        )
    if str(values.get("peft_type", "LORA")).upper() in _KINDS_OF_MANY:
        raise ValueError(
            f"{where} is a {values['peft_type']}, which loads further adapters from where it says. Mend: name one "
            "adapter by itself."
        )
    base = values.get("base_model_name_or_path")
    if not isinstance(base, str | None):
        raise ValueError(f"{where} names {base!r} as its backbone. Mend: write its Hub id there.")
    # from the Hub, a path is one of the machine that it was made on, and means something else or nothing here; a share
    # of another machine would be asked with this user's name, also of a local folder
    if base and (base.startswith(("\\\\", "//")) or not (os.path.isdir(name_or_path) or _can_be_on_the_hub(base))):
        raise ValueError(
            f"{where} names {base!r} as its backbone, which is no name on the Hub. Mend: download the adapter into a "
            "folder and write there, as base_model_name_or_path, where the backbone is."
        )


def _can_be_on_the_hub(name: str) -> bool:
    try:
        validate_repo_id(name)
    except HFValidationError:
        return False
    return True


def check_safetensors(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> None:
    """Refuse a full checkpoint without safetensors."""
    # before transformers asks a service on the Hub to convert its pickles
    if not any(find_file(name_or_path, name, hub) for name in (WEIGHTS_NAME, WEIGHTS_INDEX_NAME)):
        raise OSError(
            f"'{name_or_path}' has no weights in safetensors (model.safetensors, or shards with their index); other "
            "formats are not read. Mend: load it where it was made, and save it again with save_pretrained; a backbone "
            "whose source you trust by transformers' AutoModel.from_pretrained(name).save_pretrained(folder)."
        )


def load_all(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> dict[str, Any]:
    """Load all weights of a full checkpoint, in one file or in shards, under the names that they have there."""
    from safetensors.torch import load_file

    index = find_file(name_or_path, WEIGHTS_INDEX_NAME, hub)
    files = [WEIGHTS_NAME]
    if index is not None:
        files = shards_of(index)
    weights: dict[str, Any] = {}
    for name in files:
        file = find_file(name_or_path, name, hub)
        if file is None:
            raise OSError(f"'{name_or_path}' has no {name}. Mend: copy or download the checkpoint again.")
        with broken_files_named(name_or_path, hub):
            weights.update(load_file(file))
    return weights


def shards_of(index: str | os.PathLike[str]) -> list[str]:
    """Names of the weight files that an index lists."""
    return sorted(set(read_json(index, MEND, needs={"weight_map": dict})["weight_map"].values()))


def _no_head(name_or_path: str | os.PathLike[str]) -> str:
    return (
        f"the adapter in '{name_or_path}' holds no head, which would stay random: it was not made by "
        "EmotionDistributionTrainer or emotion_lora_config, which always save it. Mend: train it again with one of "
        "them."
    )


def save_adapter_config(config: Any, folder: str | os.PathLike[str], content: str | None = None) -> None:
    """Write what peft's own file does not hold beside an adapter: emotions, head, loss, and which weights it is for.

    Nothing of the machine that it was trained on goes in: neither paths nor how the backbone's weights were held there.

    Args:
        config: The model's configuration.
        folder: Where the adapter was saved.
        content: What `base_content` says of the model.
    """
    values = json.loads(config.to_json_string(use_diff=False))
    for part in (values, *(value for value in values.values() if isinstance(value, dict))):
        for key in MACHINE_SETTINGS:
            part.pop(key, None)
    if content is not None:
        values[BASE_CONTENT] = content
    write_text(Path(folder, ADAPTER_CONFIG_NAME), json.dumps(values, indent=2, sort_keys=True) + "\n")


def with_own_quantization(config: Any, name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> Any:
    """An adapter's configuration with the quantisation that its backbone's own files are in, where they are."""
    file = find_file(name_or_path, CONFIG_NAME, hub)
    stored = read_json(file, MEND) if file is not None else {}
    if stored.get("quantization_config"):
        config.quantization_config = stored["quantization_config"]
    return config


def load_adapter_weights(model: Any, name_or_path: str | os.PathLike[str], adapter: Any, hub: dict[str, Any]) -> Any:
    """Put an adapter into a model, and return what transformers says about its weights."""
    if not getattr(adapter, "use_dora", False):
        with broken_files_named(name_or_path, hub):
            return model.load_adapter(str(name_or_path), adapter_kwargs=hub)
    # transformers looks for DoRA's magnitudes under the modules' names, of which peft's files leave out the end
    file = find_file(name_or_path, PEFT_WEIGHTS_NAME, hub)
    assert file is not None  # `adapter_settings` has seen it
    weights = {
        f"{name}.weight" if name.endswith(".lora_magnitude_vector") else name: value
        for name, value in load_file(file).items()
    }
    return model.load_adapter(peft_config=adapter, adapter_state_dict=weights)
