"""Turn Emozionalmente into a Parquet data set folder: `hf-emo-dist read emozionalmente`.

python dataset_scripts/emozionalmente.py emozionalmente_dataset my_emozionalmente --merge joy=happy
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "emozionalmente", *sys.argv[1:]]))
