"""`hf-emo-dist backbone OUTPUT`: a small Qwen2-Audio backbone, or an encoder, that trains on a CPU."""

from __future__ import annotations

import sys

from ..modeling.mini import build_mini_backbone
from .arguments import Options, Values


def options() -> Options:
    """Those of `build_mini_backbone`."""
    return Options(build_mini_backbone)


def run(values: Values) -> None:
    """Write the backbone."""
    sys.stdout.write(f"wrote {values.call(build_mini_backbone)}\n")
