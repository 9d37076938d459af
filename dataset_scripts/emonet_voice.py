"""Turn EmoNet-Voice Bench into a Parquet data set folder: `hf-emo-dist read emonet_voice`.

python dataset_scripts/emonet_voice.py emonet-voice-bench my_emonet_anger --asked anger
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["read", "emonet_voice", *sys.argv[1:]]))
