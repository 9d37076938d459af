"""Scores a checkpoint on a split, next to the uniform and the mean-of-training-targets predictors.

python recipes/evaluate.py --model M --dataset D --split test --output scores.json

Beside scores.json it writes the table (scores.md), predictions.parquet, reliability.png and predicted_against_target.png. All arguments may
stand in a YAML file that --config names; the command line goes first.
"""

import sys

from hf_emo_dist.commands.evaluate import EvaluateArguments, evaluate
from hf_emo_dist.commands.running import run_command, set_up_logging


def main() -> None:
    """Parses the arguments, scores, and prints the table."""
    from trl import TrlParser

    parser = TrlParser(EvaluateArguments, description=__doc__.partition("\n")[0], allow_abbrev=False)
    (args,) = parser.parse_args_and_config()
    evaluate(args)


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
