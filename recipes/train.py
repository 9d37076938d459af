"""Fine-tunes a backbone to predict emotion distributions: `hf-emo-dist train`, for `accelerate launch`.

accelerate launch recipes/train.py --config recipes/configs/mini.yaml --backbone B --dataset D --output_dir O
"""

import sys

from hf_emo_dist.commands.main import main

if __name__ == "__main__":
    sys.exit(main(["train", *sys.argv[1:]]))
