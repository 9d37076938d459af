"""Turn EMO-DB (intended emotions only) into a Parquet data set folder.

python dataset_scripts/emodb.py emodb/wav my_emodb
"""

from __future__ import annotations

import sys

from hf_emo_dist.commands.read import run_corpus_command


def main(argv: list[str] | None = None) -> int:
    """Read, write and report."""
    return run_corpus_command("emodb", argv)


if __name__ == "__main__":
    sys.exit(main())
