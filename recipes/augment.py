"""Balances the training split of a data set by DiME-Aug: `hf-emo-dist augment`.

python recipes/augment.py --dataset my_dataset --output_dir my_balanced_dataset --augment default --augment_backbone my_backbone
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["augment", *sys.argv[1:]]))
