"""`hf-emo-dist evaluate`: a checkpoint's scores on a split, next to predictors that hear nothing."""

from __future__ import annotations

import argparse
import sys
from dataclasses import asdict, dataclass, field, fields
from typing import Any

__all__ = ["EvaluateArguments", "add_arguments", "evaluate", "run"]


@dataclass
class EvaluateArguments:
    """What is scored on what."""

    model: str | None = field(default=None, metadata={"help": "Checkpoint: local folder or Hub id."})
    dataset: str | None = field(default=None, metadata={"help": "Local Parquet folder or Hub id."})
    split: str = field(default="test", metadata={"help": "What is scored."})
    output: str = field(default="scores.json", metadata={"help": "JSON file to write; the other files lie beside it."})
    train_split: str = field(
        default="train", metadata={"help": "Whose targets give the mean predictor; '' leaves it out."}
    )
    batch_size: int = field(default=8, metadata={"help": "Clips a forward pass."})
    device: str | None = field(default=None, metadata={"help": "cpu, cuda, ... Default: a GPU where there is one."})
    long_audio: str | None = field(default=None, metadata={"help": "Clips over 30 s: error, truncate or window."})
    score_column: str = field(default="human_distribution", metadata={"help": "Distribution column to score against."})
    limit: int | None = field(default=None, metadata={"help": "Score only the first so many rows."})
    vote_source: str | None = field(
        default=None, metadata={"help": "Where the votes come from. Default: what the data set's card says."}
    )
    num_resamples: int = field(default=2000, metadata={"help": "Bootstrap draws."})
    seed: int = field(default=0, metadata={"help": "Of the bootstrap."})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand."""
    for entry in fields(EvaluateArguments):
        kind = int if "int" in str(entry.type) else str
        default = "" if entry.default is None else f" Default: {entry.default}."
        parser.add_argument(
            f"--{entry.name}",
            type=kind,
            default=entry.default,
            required=entry.name in ("model", "dataset"),
            help=entry.metadata["help"].replace("%", "%%") + default,
        )


def run(args: argparse.Namespace) -> None:
    """Scores, and prints the table."""
    evaluate(EvaluateArguments(**{entry.name: getattr(args, entry.name) for entry in fields(EvaluateArguments)}))


def evaluate(args: EvaluateArguments) -> None:
    """Scores, and prints the table.

    Raises:
        ValueError, OSError: what a user can mend.
    """
    for name in ("model", "dataset"):
        if getattr(args, name) is None:
            raise ValueError(f"--{name} is missing: a local folder or a Hub id")

    from ..evaluation.checkpoint import evaluate_checkpoint

    options: dict[str, Any] = asdict(args)
    report = evaluate_checkpoint(**options)
    sys.stdout.write(
        f"{report.to_markdown()}\nwritten: {args.output}, and beside it the table, predictions.parquet and two plots\n"
    )
