"""Turn Dusha into a Parquet data set folder.

python dataset_scripts/dusha.py dusha my_dusha --parts crowd_train,crowd_test
"""

from __future__ import annotations

import sys

from hf_emo_dist.commands.read import run_corpus_command


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    return run_corpus_command("dusha", argv)


if __name__ == "__main__":
    sys.exit(main())
