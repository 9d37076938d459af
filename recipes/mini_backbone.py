"""Writes a small Qwen2-Audio backbone that trains on a CPU: `hf-emo-dist backbone`.

python recipes/mini_backbone.py OUTPUT [--whisper DIR_OR_ID]
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["backbone", *sys.argv[1:]]))
