"""Turn IEMOCAP into a Parquet data set folder.

python dataset_scripts/iemocap.py IEMOCAP_full_release my_iemocap --emotions angry,happy,neutral,sad --merge_excited
"""

from __future__ import annotations

import sys

from hf_emo_dist.commands.read import run_corpus_command


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    return run_corpus_command("iemocap", argv)


if __name__ == "__main__":
    sys.exit(main())
