"""Prepares a data set for training: `hf-emo-dist annotate`.

python recipes/prepare.py --config recipes/configs/prepare/gemini.yaml --dataset D --output O [--dry_run]
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["annotate", *sys.argv[1:]]))
