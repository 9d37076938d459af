"""`hf-emo-dist temperature MODEL DATASET`: fit a checkpoint's temperature on the human votes of one split."""

from __future__ import annotations

import sys

from ..evaluation.calibrate import calibrate_checkpoint
from .arguments import Options, Values


def options() -> Options:
    """Those of `calibrate_checkpoint`."""
    return Options(calibrate_checkpoint, without=("progress",))


def run(values: Values) -> None:
    """Fit, keep, and say what it does to the votes that it was fitted on."""
    from ..modeling.calibration import notes_words

    found = values.call(calibrate_checkpoint)
    speakers = f", {found['speakers']} speakers" if found["speakers"] else ""
    likelihood, error = found["log_likelihood_per_vote"], found["expected_calibration_error"]
    lines = [
        f"temperature {found['temperature']:.3f}{notes_words(found)}, fitted on {found['votes']:g} human votes of "
        f"{found['rows']} rows{speakers}, and kept in {values['model']}",
        f"on these votes, before and after: log-likelihood a vote {likelihood['before']:.4f}, "
        f"{likelihood['after']:.4f}; calibration error {error['before']:.4f}, {error['after']:.4f}",
        "It is not applied unless asked for: hf-emo-dist predict or evaluate with --apply_temperature. On unseen "
        "speakers hf-emo-dist evaluate reports both.",
    ]
    sys.stdout.write("\n".join(lines) + "\n")
