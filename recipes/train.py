"""Fine-tunes a Qwen2-Audio backbone to predict emotion distributions.

accelerate launch recipes/train.py --config recipes/configs/mini.yaml --backbone B --dataset D --output_dir O
"""

import sys

from hf_emo_dist.commands.running import run_command, set_up_logging
from hf_emo_dist.commands.train import train


def main() -> int:
    """Parses the command line, trains, and prints the scores on the validation data."""
    set_up_logging()
    return run_command(train)


if __name__ == "__main__":
    sys.exit(main())
