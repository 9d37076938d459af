"""`hf-emo-dist export CHECKPOINT OUTPUT --format torch|onnx`: a speech encoder as one program."""

from __future__ import annotations

import sys

from ..hub import export_model
from .arguments import Options, Values


def options() -> Options:
    """Those of `export_model`."""
    return Options(export_model)


def run(values: Values) -> None:
    """Write it and say where the names of its inputs are."""
    folder = values.call(export_model)
    sys.stdout.write(f"wrote {folder}; its README.md names the inputs\n")
