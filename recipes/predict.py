"""Predicts the distribution of perceived emotions for audio files: `hf-emo-dist predict`.

python recipes/predict.py --model CHECKPOINT FILE [FILE ...]
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["predict", *sys.argv[1:]]))
