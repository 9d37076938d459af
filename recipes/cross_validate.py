"""Scores a training recipe by speaker-disjoint cross-validation: `hf-emo-dist cross-validate`.

python recipes/cross_validate.py --config recipes/configs/mini.yaml --backbone B --dataset D --output_dir O --fold_column fold
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["cross-validate", *sys.argv[1:]]))
