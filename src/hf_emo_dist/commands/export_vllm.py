"""`hf-emo-dist export-vllm CHECKPOINT OUTPUT`: a checkpoint in the layout that vLLM serves as a classifier."""

from __future__ import annotations

import sys

from ..hub import export_vllm
from .arguments import Options, Values


def options() -> Options:
    """Those of `export_vllm`."""
    return Options(export_vllm)


def run(values: Values) -> None:
    """Write it and say what to type next."""
    folder = values.call(export_vllm)
    sys.stdout.write(f"wrote {folder}\nserve it: vllm serve {folder} --runner pooling --convert classify\n")
