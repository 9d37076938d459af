"""Turn Emozionalmente into a Parquet data set folder.

python dataset_scripts/emozionalmente.py emozionalmente_dataset my_emozionalmente --merge joy=happy
"""

from __future__ import annotations

import sys

from hf_emo_dist.commands.read import run_corpus_command


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    return run_corpus_command("emozionalmente", argv)


if __name__ == "__main__":
    sys.exit(main())
