"""Turn CREMA-D into a Parquet data set folder: `hf-emo-dist read cremad`.

python dataset_scripts/cremad.py CREMA-D my_cremad --modality voice --split folds
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "cremad", *sys.argv[1:]]))
