"""Turn RAVDESS (intended emotions only) into a Parquet data set folder: `hf-emo-dist read ravdess`.

python dataset_scripts/ravdess.py ravdess my_ravdess --merge calm=neutral
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "ravdess", *sys.argv[1:]]))
