"""What a checkpoint's files may ask to be run, and is never run: its own Python, and kernels from the Hub.

A configuration may name Python files in ``auto_map``, its own or another repository's. transformers runs them when it
is told to, and asks on the terminal when it is told nothing; here it is told not to, whoever made the checkpoint.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from ._checkpoint_files import find_file

logger = logging.getLogger(__name__)

#: Keys of a configuration that name code.
CODE_KEYS = ("auto_map", "custom_pipelines")
#: What transformers writes into the error about a checkpoint that it may not run.
_REFUSAL = "trust_remote_code"


class OwnCodeError(ValueError):
    """A checkpoint can only be loaded by running code that comes with it."""


def load_part(auto: Any, name_or_path: str | os.PathLike[str], **kwargs: Any) -> Any:
    """Call an Auto class's `from_pretrained`, and run nothing that comes with the checkpoint.

    Args:
        auto: Such as `AutoTokenizer`.
        name_or_path: Hub id or local folder.
        kwargs: Of `from_pretrained`.

    Raises:
        OwnCodeError: (A ValueError.) It could only be loaded by running code of its own.
    """
    try:
        return auto.from_pretrained(name_or_path, **{**kwargs, "trust_remote_code": False})
    except ValueError as error:
        if _REFUSAL not in str(error):
            raise
        raise _refused(name_or_path, f"{auto.__name__} finds it named in auto_map") from error


def check_own_code(name_or_path: str | os.PathLike[str], hub: dict[str, Any]) -> None:
    """Refuse a checkpoint whose configuration can only be used by running code of its own.

    Raises:
        OwnCodeError: Its model type is not known here and `auto_map` names a file, or it names a kernel to download.
    """
    from transformers import CONFIG_MAPPING

    file = find_file(name_or_path, "config.json", hub)
    if file is None:
        return
    try:
        values = json.loads(Path(file).read_text(encoding="utf-8"))
    except (ValueError, RecursionError):
        return  # transformers says what is wrong with it
    if not isinstance(values, dict):
        return
    kind = values.get("model_type")
    if values.get("auto_map") and (not isinstance(kind, str) or kind not in CONFIG_MAPPING):
        raise _refused(name_or_path, f"its config.json names {kind!r}, a model type of its own, in auto_map")
    for part, inner in values.items():
        if isinstance(inner, dict) and inner.get("auto_map"):
            kind = inner.get("model_type")
            if not isinstance(kind, str) or kind not in CONFIG_MAPPING:
                why = f"the {part} of its config.json names {kind!r}, a model type of its own, in auto_map"
                raise _refused(name_or_path, why)
    for key, value in _walk(values):
        if "attn_implementation" in key and isinstance(value, str) and "/" in value:
            raise _refused(name_or_path, f"its config.json asks for the kernel {value!r} from the Hub ({key})")


def forget_code(config: Any) -> Any:
    """Take what names code out of a configuration or a processor and its parts, so that what is saved with it asks
    nobody to run that.
    """
    for part in (config, *vars(config).values()):
        for key in CODE_KEYS:
            if key in getattr(part, "__dict__", {}):
                delattr(part, key)
            if isinstance(read := getattr(part, "init_kwargs", None), dict):  # a tokenizer writes it as it was read
                read.pop(key, None)
    return config


def without_trust(kwargs: dict[str, Any]) -> dict[str, Any]:
    """The same arguments without `trust_remote_code`, which changes nothing here; True is answered by a warning."""
    if kwargs.get("trust_remote_code"):
        logger.warning("trust_remote_code=True changes nothing: hf_emo_dist never runs code that comes with a model")
    return {key: value for key, value in kwargs.items() if key != "trust_remote_code"}


def _refused(name_or_path: object, why: str) -> OwnCodeError:
    return OwnCodeError(
        f"'{name_or_path}' is only usable by running Python code that comes with it ({why}), and hf_emo_dist never "
        "runs a checkpoint's own code (trust_remote_code=False). Mend: name a checkpoint whose model transformers "
        "itself has; code that you have read and trust you can make a family of your own: family='module:Name'."
    )


def _walk(values: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in values.items():
        if isinstance(value, dict):
            # {"attn_implementation": {"text_config": "…"}}
            yield from ((f"{key}.{inner}", entry) for inner, entry in _walk(value))
        else:
            yield key, value
