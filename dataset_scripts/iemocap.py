"""Turn IEMOCAP into a Parquet data set folder: `hf-emo-dist read iemocap`.

python dataset_scripts/iemocap.py IEMOCAP_full_release my_iemocap --emotions angry,happy,neutral,sad --merge_excited
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "iemocap", *sys.argv[1:]]))
