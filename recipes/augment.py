"""Balances the training split of a data set by mixing neighbouring utterances (DiME-Aug), and writes the whole data set anew.

python recipes/augment.py --dataset my_dataset --output_dir my_balanced_dataset --augment default --augment_backbone my_backbone

Beside the data set, in OUTPUT_DIR_report, lie the class mass before and after (table and plot), the plan, and a page to listen to.
"""

import sys
from dataclasses import dataclass, field
from pathlib import Path

from trl import TrlParser

from hf_emo_dist.augmentation.augment_splits import AugmentationArguments, augment_splits
from hf_emo_dist.commands.running import run_command, set_up_logging
from hf_emo_dist.data.loading import load_emotion_dataset, read_vote_source
from hf_emo_dist.data.rows import notes_about
from hf_emo_dist.data.writing import write_dataset


@dataclass
class Arguments:
    """What is augmented."""

    dataset: str = field(metadata={"help": "Data set with splits: a local Parquet folder or a Hub id."})
    output_dir: str = field(metadata={"help": "Folder of the augmented data set."})
    train_split: str = field(default="train", metadata={"help": "Split to augment."})
    vote_source: str | None = field(default=None, metadata={"help": "Who gave the votes. Default: what the card says."})
    overwrite: bool = field(default=False, metadata={"help": "Replace a data set in output_dir."})


def main() -> None:
    """Parses the command line, augments, writes, and prints the table."""
    parser = TrlParser((Arguments, AugmentationArguments), allow_abbrev=False)
    parser.set_defaults(augment="default")
    args, settings = parser.parse_args_and_config()
    if settings.augment == "none":
        raise ValueError("augment=none would copy the data. Mend: use --augment default or --augment paper.")
    local = Path(args.dataset).expanduser()
    source = args.vote_source or (read_vote_source(local) if local.is_dir() else None)
    splits = load_emotion_dataset(args.dataset)
    if not isinstance(splits, dict):
        splits = {args.train_split: splits}
    notes = notes_about(splits[args.train_split], source) if args.train_split in splits else []
    report_dir = f"{str(args.output_dir).rstrip('/')}_report"
    augmented, report = augment_splits(splits, settings, report_dir, train_split=args.train_split, notes=notes)
    write_dataset(
        augmented,
        args.output_dir,
        description=f"{args.dataset} with a training split that DiME-Aug (preset {settings.augment}) balanced: rows with `mixed_from` were "
        "mixed from two others and have no votes.",
        vote_source=source or "Not stated.",
        overwrite=args.overwrite,
    )
    print(report)
    print(f"wrote {args.output_dir}; table, plot, plan and a page to listen to are in {report_dir}")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
