"""Scores a checkpoint on a split, next to predictors that hear nothing: `hf-emo-dist evaluate`.

python recipes/evaluate.py --model M --dataset D --split test --output scores.json
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["evaluate", *sys.argv[1:]]))
