"""Writes a small Qwen2-Audio backbone that trains on a CPU.

python recipes/mini_backbone.py OUTPUT [--whisper DIR_OR_ID]
"""

import argparse
import sys

from hf_emo_dist.modeling.mini import build_mini_backbone


def main() -> int:
    """Parses the command line and writes the backbone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", help="folder to write")
    parser.add_argument("--whisper", help="Whisper model or encoder for the audio tower: local folder or Hub id")
    parser.add_argument("--hidden_size", type=int, default=128, help="width, where no Whisper gives it")
    parser.add_argument(
        "--audio_layers", type=int, help="layers of the audio tower (default: 2; with Whisper all but one)"
    )
    parser.add_argument("--text_layers", type=int, default=2, help="layers of the language model")
    parser.add_argument("--seed", type=int, default=0, help="of the random weights")
    args = parser.parse_args()
    try:
        folder = build_mini_backbone(
            args.output,
            args.whisper,
            hidden_size=args.hidden_size,
            audio_layers=args.audio_layers,
            text_layers=args.text_layers,
            seed=args.seed,
        )
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    print(f"wrote {folder}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
