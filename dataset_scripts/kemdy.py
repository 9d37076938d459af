"""Turn KEMDy19 or KEMDy20 into a Parquet data set folder: `hf-emo-dist read kemdy`.

python dataset_scripts/kemdy.py KEMDy20_v1_1 my_kemdy20 --split folds
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "kemdy", *sys.argv[1:]]))
