"""Turn a table of audio files and votes into a Parquet data set folder: `hf-emo-dist read table`.

python dataset_scripts/from_table.py votes.csv audio/ my_dataset --vote_source \"Nine listeners a clip, 2024.\"
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "table", *sys.argv[1:]]))
