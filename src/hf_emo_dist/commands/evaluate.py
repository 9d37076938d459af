"""`hf-emo-dist evaluate MODEL DATASET`: a checkpoint's scores on a split, next to predictors that hear nothing."""

from __future__ import annotations

import sys

from ..evaluation.checkpoint import evaluate_checkpoint
from .arguments import Options, Values


def options() -> Options:
    """Those of `evaluate_checkpoint`; the command always writes."""
    return Options(evaluate_checkpoint, without=("progress",), defaults={"output": "scores.json"})


def run(values: Values) -> None:
    """Score, and print the table."""
    report = values.call(evaluate_checkpoint)
    sys.stdout.write(
        f"{report.to_markdown()}\nwritten: {values['output']}, and beside it the table, predictions.parquet and the "
        "plots\n"
    )
