"""Write the simulated corpus: synthetic speech with known emotion distributions and votes drawn from them.

python dataset_scripts/simulated.py my_simulated_corpus --num_utterances 800 --num_speakers 20
"""

from __future__ import annotations

import argparse
import logging
import sys

from hf_emo_dist.corpora.simulated import (
    SIMULATED_DESCRIPTION,
    SIMULATED_EMOTIONS,
    SIMULATED_VOTE_SOURCE,
    simulate_corpus,
)
from hf_emo_dist.data.summary import describe_dataset
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.emotions import PAPER_EMOTIONS


def parse_args(argv: list[str] | None = None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--num_utterances", type=int, default=800, help="rows (default: 800)")
    parser.add_argument("--num_speakers", type=int, default=20, help="speakers (default: 20)")
    parser.add_argument(
        "--emotions",
        default=",".join(PAPER_EMOTIONS),
        help=f"label set, among {','.join(SIMULATED_EMOTIONS)} (default: {','.join(PAPER_EMOTIONS)})",
    )
    parser.add_argument("--votes", type=int, nargs=2, default=(5, 9), metavar=("LEAST", "MOST"), help="votes a clip")
    parser.add_argument("--seed", type=int, default=0, help="of everything (default: 0)")
    parser.add_argument("--overwrite", action="store_true", help="replace a data set that is already in OUTPUT")
    return parser.parse_args(argv)


def main(argv: list[str] | None = None) -> int:
    """Simulate, write and report."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s: %(message)s")
    args = parse_args(argv)
    try:
        dataset = simulate_corpus(
            num_utterances=args.num_utterances,
            num_speakers=args.num_speakers,
            emotions=[name.strip() for name in args.emotions.split(",")],
            votes_per_utterance=tuple(args.votes),
            seed=args.seed,
        )
        folder = write_dataset(
            dataset,
            args.output,
            title="Simulated emotion distributions",
            description=SIMULATED_DESCRIPTION,
            vote_source=SIMULATED_VOTE_SOURCE,
            license="cc0-1.0",
            overwrite=args.overwrite,
        )
    except (ValueError, OSError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print(describe_dataset(dataset))
    print(f"Simulated speech and votes. Wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
