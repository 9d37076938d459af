"""Turn MSP-IMPROV into a Parquet data set folder: `hf-emo-dist read msp_improv`.

python dataset_scripts/msp_improv.py MSP-IMPROV my_msp_improv --split session --test_fold 6
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "msp_improv", *sys.argv[1:]]))
