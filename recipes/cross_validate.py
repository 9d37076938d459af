"""Scores a training recipe by speaker-disjoint cross-validation, next to simple predictors on the same folds.

python recipes/cross_validate.py --config recipes/configs/mini.yaml --backbone B --dataset D --output_dir O --fold_column fold

Any argument of recipes/train.py may be added. A stopped run goes on when the same command is given again.
"""

import argparse
import sys

import transformers

from hf_emo_dist.commands.running import run_command, set_up_logging
from hf_emo_dist.evaluation.cross_validation import cross_validate
from hf_emo_dist.training.fine_tuning import parse_config


def main() -> None:
    """Parses the command line, cross-validates, and prints the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, allow_abbrev=False
    )
    folds = parser.add_mutually_exclusive_group()
    folds.add_argument("--fold_column", help="column that names the folds")
    folds.add_argument("--num_folds", type=int, default=4, help="folds to make of whole speakers (default: 4)")
    parser.add_argument(
        "--validation_speakers", type=int, default=2, help="training speakers that choose the checkpoint (default: 2)"
    )
    parser.add_argument(
        "--ceiling_columns",
        default="",
        metavar="A,B",
        help="columns whose knowledge is the ceiling, such as intended,intensity",
    )
    parser.add_argument("--vote_source", help="where the votes come from (default: what the data set's card says)")
    parser.add_argument("--no_regression", action="store_true", help="leave out the regression on tower features")
    parser.add_argument("--overwrite", action="store_true", help="train again what has been predicted")
    parser.add_argument("--keep_checkpoints", action="store_true", help="keep every fold's checkpoint")
    own, rest = parser.parse_known_args()
    recipe, args = parse_config(rest)
    report = cross_validate(
        recipe,
        args,
        fold_column=own.fold_column,
        num_folds=own.num_folds,
        validation_speakers=own.validation_speakers,
        ceiling_columns=[name.strip() for name in own.ceiling_columns.split(",") if name.strip()],
        vote_source=own.vote_source,
        regression=not own.no_regression,
        overwrite=own.overwrite,
        keep_checkpoints=own.keep_checkpoints,
    )
    print(report.to_markdown())
    print(f"written to {args.output_dir}: cross_validation.json, cross_validation.md, predictions.parquet, two plots")


if __name__ == "__main__":
    set_up_logging()
    transformers.logging.set_verbosity_warning()
    sys.exit(run_command(main))
