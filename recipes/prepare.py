"""Prepares a data set for training: checks the audio, has a model vote as extra annotators, combines the votes, writes Parquet.

With --augment default (or paper) the training split is balanced by DiME-Aug before it is written.

python recipes/prepare.py --config recipes/configs/prepare/gemini.yaml --dataset D --output O [--dry_run]
"""

import argparse
import sys

from hf_emo_dist.commands.annotate import add_arguments
from hf_emo_dist.commands.arguments import from_arguments
from hf_emo_dist.commands.preparing import prepare
from hf_emo_dist.commands.running import run_command, set_up_logging
from hf_emo_dist.preparation.settings import PrepareSettings


def main() -> None:
    """Parses the command line and prepares."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    add_arguments(parser)
    prepare(from_arguments(parser.parse_args(), PrepareSettings))


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
