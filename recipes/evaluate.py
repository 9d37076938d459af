"""Scores a checkpoint on a split, next to the uniform and the mean-of-training-targets predictors.

python recipes/evaluate.py --model M --dataset D --split test --output scores.json

Beside scores.json it writes the table (scores.md), predictions.parquet, reliability.png and predicted_against_target.png. All arguments may
stand in a YAML file that --config names; the command line goes first.
"""

import sys
from dataclasses import asdict, dataclass, field

from hf_emo_dist.reports.commands import run_command, set_up_logging


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


def main() -> None:
    """Parses the arguments, scores, and prints the table."""
    from trl import TrlParser

    parser = TrlParser(EvaluateArguments, description=__doc__.partition("\n")[0], allow_abbrev=False)
    (args,) = parser.parse_args_and_config()
    for name in ("model", "dataset"):
        if getattr(args, name) is None:
            raise ValueError(f"--{name} is missing: a local folder or a Hub id")

    from hf_emo_dist.reports.checkpoint import evaluate_checkpoint

    report = evaluate_checkpoint(**asdict(args))
    print(report.to_markdown())
    print(f"written: {args.output}, and beside it the table, predictions.parquet and two plots")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
