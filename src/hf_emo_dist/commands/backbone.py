"""`hf-emo-dist backbone OUTPUT`: a small Qwen2-Audio backbone that trains on a CPU."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from .arguments import Options, Values

if TYPE_CHECKING:
    import numpy as np

__all__ = ["options", "run"]


def options() -> Options:
    """Those of `build_mini_backbone`."""
    from ..modeling.mini import build_mini_backbone

    return Options(build_mini_backbone)


def run(values: Values) -> None:
    """Write the backbone."""
    from ..modeling.mini import build_mini_backbone

    calibration = calibration_speech() if values["whisper"] else ()
    sys.stdout.write(f"wrote {values.call(build_mini_backbone, calibration=calibration)}\n")


def calibration_speech() -> list[np.ndarray]:
    """A few minutes of synthetic speech: enough to see the scale of each of the tower's dimensions, and nothing to download."""
    from ..audio.clips import load_audio
    from ..corpora.simulated import simulate_corpus

    splits = simulate_corpus(num_utterances=120, num_speakers=12, seed=1)
    return [load_audio(row["audio"]) for split in splits.values() for row in split]
