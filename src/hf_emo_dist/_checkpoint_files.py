"""What the files of a checkpoint's folder are called, and what an adapter is known by; importing it loads nothing."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

CONFIG_NAME = "config.json"
# beside an adapter: a config.json would make transformers take its folder for a full model
ADAPTER_CONFIG_NAME = "emotion_config.json"
PEFT_CONFIG_NAME = "adapter_config.json"
PEFT_WEIGHTS_NAME = "adapter_model.safetensors"
WEIGHTS_NAME = "model.safetensors"
WEIGHTS_INDEX_NAME = "model.safetensors.index.json"
PROCESSOR_NAME = "processor_config.json"
#: Digests of the files as training wrote them.
FACTS_NAME = "checkpoint_facts.json"


def find_file(name_or_path: str | os.PathLike[str], name: str, hub: Mapping[str, Any]) -> str | None:
    """Find a file of a checkpoint, downloaded if need be; None where it is not there or cannot be reached."""
    from huggingface_hub.errors import HFValidationError
    from huggingface_hub.utils import validate_repo_id
    from transformers.utils import cached_file

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


def is_adapter(name_or_path: str | os.PathLike[str], hub: Mapping[str, Any] | None = None) -> bool:
    """Say whether an adapter lies there, and not a backbone with an adapter of its own (Granite Speech's).

    A full model of an earlier run may lie beside an adapter's files; an adapter is then what the trainer wrote last.

    Args:
        name_or_path: Folder, whose files alone are looked at, or Hub id.
        hub: Arguments for the Hub.

    Example:
        >>> import tempfile
        >>> folder = Path(tempfile.mkdtemp())
        >>> _ = (folder / "adapter_config.json").write_text("{}")
        >>> is_adapter(folder)
        True
        >>> _ = (folder / "config.json").write_text("{}")
        >>> is_adapter(folder)
        False
    """
    hub = hub or {}

    def has(name: str) -> bool:
        if os.path.isdir(name_or_path):
            return Path(name_or_path, hub.get("subfolder") or "", name).is_file()
        return find_file(name_or_path, name, hub) is not None

    return has(PEFT_CONFIG_NAME) and (has(ADAPTER_CONFIG_NAME) or not has(CONFIG_NAME))
