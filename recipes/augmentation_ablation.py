"""Compares ways to balance training data that was made unbalanced on purpose: the same head, the same steps, several seeds.

python recipes/augmentation_ablation.py --backbone my_backbone --output_dir my_ablation
python recipes/augmentation_ablation.py --backbone my_backbone --dataset my_dataset --rare happy,fear --output_dir my_ablation

Without --dataset a simulated corpus is used, whose truth is known. A stopped run goes on when the same command is given again.
"""

import sys

from trl import TrlParser

from hf_emo_dist.commands.running import run_command, set_up_logging
from hf_emo_dist.studies.augmentation_ablation import AblationArguments, run_ablation, to_markdown


def main() -> None:
    """Parses the command line, runs what is not done yet, and prints the table."""
    (args,) = TrlParser(AblationArguments, allow_abbrev=False).parse_args_and_config()
    print(to_markdown(run_ablation(args)))
    print(f"written to {args.output_dir}: ablation.md, ablation.json")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
