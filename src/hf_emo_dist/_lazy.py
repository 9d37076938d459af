"""Names that are imported when they are first used, and the `pip install` to type when what they need is missing."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping
from typing import Any

# what a missing import belongs to; anything else is a bug and is raised as it is
EXTRA_OF = {
    "accelerate": "train",
    "peft": "train",
    "torch": "train",
    "bitsandbytes": "4bit",
    "transformers": "train",
    "trl": "train",
    "soundfile": "audio",
    "soxr": "audio",
    "matplotlib": "reports",
    "scipy": "reports",
    "sklearn": "reports",
    "faiss": "augment",
    "librosa": "augment",
    "threadpoolctl": "augment",
    "evaluate": "evaluate",
    "google": "annotate",  # google-genai; other packages share the name
    "aiohttp": "annotate",
    "openai": "openai",
    "openpyxl": "tables",
    "gradio": "demo",
    "ray": "ray",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
}


def missing_extra(name: str, error: ModuleNotFoundError) -> ModuleNotFoundError:
    """The error to raise when `name` needs a package that is not installed; names the extra to install.

    Example:
        >>> missing_extra("scores", ModuleNotFoundError("No module named 'torch'", name="torch")).args[0]
        "hf_emo_dist.scores needs torch, which is not installed: pip install 'hf-emo-dist[train]'"
    """
    package = (error.name or "").partition(".")[0]
    if package not in EXTRA_OF:
        return error
    return ModuleNotFoundError(
        f"hf_emo_dist.{name} needs {package}, which is not installed: pip install 'hf-emo-dist[{EXTRA_OF[package]}]'",
        name=error.name,
    )


def need(module: str, what: str) -> Any:
    """Import a module of an extra, for `what`; where it is not installed, the error names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        raise missing_extra(what, error) from error


def lazy_attributes(
    package: str, names: Mapping[str, str], moved: Mapping[str, str] | None = None
) -> Callable[[str], Any]:
    """A module `__getattr__` that imports `names` (public name → submodule of `package`) on first use.

    Names in `moved` (name → new address) raise an error that says where they are. It is an ImportError, since of an
    AttributeError `from package import name` does not show the message.
    """

    def __getattr__(name: str) -> Any:
        if name in (moved or {}):
            raise ImportError(f"{package}.{name} is now {(moved or {})[name]}.", name=name)
        if name not in names:
            raise AttributeError(f"module {package!r} has no attribute {name!r}")
        try:
            return getattr(importlib.import_module(f".{names[name]}", package), name)
        except ModuleNotFoundError as error:
            clear = missing_extra(name, error)
            if clear is error:
                raise
            raise clear from error

    return __getattr__
