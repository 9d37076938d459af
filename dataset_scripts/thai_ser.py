"""Turn THAI-SER into a Parquet data set folder: `hf-emo-dist read thai_ser`.

python dataset_scripts/thai_ser.py thai-ser my_thai_ser --microphone clip --split speaker
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "thai_ser", *sys.argv[1:]]))
