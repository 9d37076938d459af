"""Turn EMO-DB (intended emotions only) into a Parquet data set folder: `hf-emo-dist read emodb`.

python dataset_scripts/emodb.py emodb/wav my_emodb
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "emodb", *sys.argv[1:]]))
