"""A folder or repository that holds an encoder alone: `encoder_config.json` and its weights, without a config.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from safetensors.torch import load_file
from torch import Tensor
from transformers import CONFIG_MAPPING

from .._checkpoint_files import find_file
from ..data.intact import read_json
from .whole_files import MEND, broken_files_named

BARE_CONFIG_NAME = "encoder_config.json"
# of a repository; a folder may name its one file as it likes
BARE_WEIGHTS_NAMES = ("encoder.safetensors", "encoder_fp16.safetensors", "model.safetensors")
WHISPER_FIELDS = ("d_model", "encoder_layers", "encoder_attention_heads", "encoder_ffn_dim", "num_mel_bins")


def bare_encoder_config(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> Any:
    """Return the configuration of a bare encoder; None where there is none.

    Raises:
        ValueError: It cannot be told which model it is.
    """
    if find_file(name_or_path, "config.json", hub) is not None:
        return None
    file = find_file(name_or_path, BARE_CONFIG_NAME, hub)
    if file is None:
        return None
    settings = read_json(file, MEND)
    kind = settings.pop("model_type", None)
    if kind is None and all(name in settings for name in WHISPER_FIELDS):
        kind = "whisper"
    if kind not in CONFIG_MAPPING:
        raise ValueError(
            f"{BARE_CONFIG_NAME} of '{name_or_path}' names no model_type that is known ({kind}) and has not the fields "
            f"of a Whisper encoder ({', '.join(WHISPER_FIELDS)}). Mend: add its model_type."
        )
    return CONFIG_MAPPING[kind](**settings)


def bare_encoder_weights(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> dict[str, Tensor] | None:
    """Return the float32 weights of a bare encoder, under its own names; None where there is none.

    Raises:
        OSError: There is a configuration and no weights.
    """
    if bare_encoder_config(name_or_path, hub) is None:
        return None
    files = bare_encoder_files(name_or_path, hub)
    if not files:
        raise OSError(
            f"'{name_or_path}' has an {BARE_CONFIG_NAME} but no .safetensors file. Mend: put the encoder's weights "
            "beside it."
        )
    with broken_files_named(name_or_path, hub):
        return {key: value.float() for file in files for key, value in load_file(file).items()}


def bare_encoder_files(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> list[str]:
    """Find the files with a bare encoder's weights."""
    if os.path.isdir(name_or_path):
        return sorted(map(str, Path(name_or_path, hub.get("subfolder") or "").glob("*.safetensors")))
    return [found for name in BARE_WEIGHTS_NAMES if (found := find_file(name_or_path, name, hub))][:1]
