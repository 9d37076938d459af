"""Turn WHiSER into a Parquet data set folder: `hf-emo-dist read whiser`.

python dataset_scripts/whiser.py WHiSER my_whiser --emotions angry,happy,neutral,sad --outside other
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "whiser", *sys.argv[1:]]))
