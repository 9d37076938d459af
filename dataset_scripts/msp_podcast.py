"""Turn MSP-Podcast into a Parquet data set folder: `hf-emo-dist read msp_podcast`.

python dataset_scripts/msp_podcast.py MSP-PODCAST my_msp_podcast --emotions angry,happy,neutral,sad
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "msp_podcast", *sys.argv[1:]]))
