"""Turn Dusha into a Parquet data set folder: `hf-emo-dist read dusha`.

python dataset_scripts/dusha.py dusha my_dusha --parts crowd_train,crowd_test
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "dusha", *sys.argv[1:]]))
