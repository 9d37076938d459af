"""Turn MSP-Podcast into a Parquet data set folder.

python dataset_scripts/msp_podcast.py MSP-PODCAST my_msp_podcast --emotions angry,happy,neutral,sad
"""

from __future__ import annotations

import sys

from hf_emo_dist.commands.read import run_corpus_command


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    return run_corpus_command("msp_podcast", argv)


if __name__ == "__main__":
    sys.exit(main())
