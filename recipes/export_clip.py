"""Writes one clip of a data set as a WAV file: `hf-emo-dist clip`.

python recipes/export_clip.py DATASET --split test --row 0 --output clip.wav
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["clip", *sys.argv[1:]]))
