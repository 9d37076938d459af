"""Turn a table of audio files and votes into a Parquet data set folder that every recipe reads.

python dataset_scripts/from_table.py votes.csv audio/ my_dataset --vote_source "Nine listeners a clip, 2024."
"""

from __future__ import annotations

import argparse
import logging
import sys

from datasets import concatenate_datasets

from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.commands.read import speaker_fractions
from hf_emo_dist.corpora.table.read import read_table
from hf_emo_dist.data.loading import emotions_of
from hf_emo_dist.data.splits import speaker_disjoint_split
from hf_emo_dist.data.summary import describe_dataset
from hf_emo_dist.data.writing import write_dataset


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "table",
        help="CSV, Parquet or JSONL with a column 'file', and one count column an emotion or a column 'votes' "
        "(a|b|c); optional speaker, transcript, split, id; others are kept",
    )
    parser.add_argument("audio_dir", help="folder of the audio files")
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--emotions", help="label set, such as angry,happy,neutral,sad (default: found in the table)")
    parser.add_argument("--vote_source", help="who gave the votes, for the first line of the data set's card")
    parser.add_argument("--description", default="Speech with votes on the perceived emotion.", help="for the card")
    parser.add_argument("--license", help="licence identifier for the card, such as cc-by-4.0")
    parser.add_argument(
        "--speaker_split",
        type=speaker_fractions,
        metavar="SHARES",
        help="split anew by speakers: shares of train,validation,test such as 0.8,0.1,0.1, or of train,test",
    )
    parser.add_argument("--seed", type=int, default=0, help="for --speaker_split (default: 0)")
    parser.add_argument("--on_missing", choices=("error", "skip"), default="error", help="rows without audio file")
    parser.add_argument("--on_empty", choices=("error", "skip"), default="error", help="rows without votes")
    parser.add_argument(
        "--outside", choices=("error", "drop"), default="error", help="votes for something that is not in --emotions"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is already in OUTPUT")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    args = parse_args(argv)
    emotions = [name.strip() for name in args.emotions.split(",")] if args.emotions else None
    try:
        dataset = read_table(
            args.table,
            args.audio_dir,
            emotions,
            on_missing=args.on_missing,
            on_empty=args.on_empty,
            outside=args.outside,
        )
        if args.speaker_split:
            dataset = speaker_disjoint_split(
                concatenate_datasets(list(dataset.values())), args.speaker_split, seed=args.seed
            )
        folder = write_dataset(
            dataset,
            args.output,
            description=args.description,
            vote_source=args.vote_source or "not stated by whoever made this data set.",
            emotions=emotions_of(dataset),
            license=args.license,
            overwrite=args.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(describe_dataset(dataset))
    # Problems are listed and nothing is dropped: what to do about a bad clip is the researcher's decision.
    print(check_audio(concatenate_datasets(list(dataset.values()))).summary())
    print(f"Wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
