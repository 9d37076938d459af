"""Scores a checkpoint on a split, next to the uniform and the mean-of-training-targets predictors.

python recipes/evaluate.py --model M --dataset D --split test --output scores.json

Beside scores.json it writes the table (scores.md), predictions.parquet, reliability.png and predicted_against_target.png.
"""

import argparse
import sys

from hf_emo_dist.reports.commands import run_command, set_up_logging


def main() -> None:
    """Parses the command line, scores, and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True, help="checkpoint: local folder or Hub id")
    parser.add_argument("--dataset", required=True, help="local Parquet folder or Hub id")
    parser.add_argument("--split", default="test", help="what is scored (default: test)")
    parser.add_argument("--output", default="scores.json", help="JSON to write (default: scores.json)")
    parser.add_argument(
        "--train_split", default="train", help="whose targets give the mean predictor; '' leaves it out"
    )
    parser.add_argument("--batch_size", type=int, default=8, help="clips a forward pass (default: 8)")
    parser.add_argument("--device", help="cpu, cuda, ... (default: a GPU where there is one)")
    parser.add_argument("--long_audio", choices=("error", "truncate", "window"), help="clips over 30 s")
    parser.add_argument("--score_column", default="human_distribution", help="distribution column to score against")
    parser.add_argument("--limit", type=int, help="score only the first so many rows")
    parser.add_argument("--vote_source", help="where the votes come from (default: what the data set's card says)")
    parser.add_argument("--num_resamples", type=int, default=2000, help="bootstrap draws (default: 2000)")
    parser.add_argument("--seed", type=int, default=0, help="of the bootstrap")
    args = vars(parser.parse_args())

    from hf_emo_dist.reports.checkpoint import evaluate_checkpoint

    report = evaluate_checkpoint(**args)
    print(report.to_markdown())
    print(f"written: {args['output']}, and beside it the table, predictions.parquet and two plots")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
