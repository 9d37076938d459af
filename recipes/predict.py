"""Predicts the distribution of perceived emotions for audio files.

python recipes/predict.py --model CHECKPOINT FILE [FILE ...]
"""

import argparse
import sys

from hf_emo_dist.reports.commands import run_command, set_up_logging

BAR_WIDTH = 40


def main() -> None:
    """Parses the command line and prints a bar chart a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", help="audio files: WAV, FLAC, OGG, MP3")
    parser.add_argument("--model", required=True, help="checkpoint: local folder or Hub id")
    parser.add_argument(
        "--long_audio", choices=("error", "truncate", "window"), default="window", help="clips over 30 s"
    )
    args = parser.parse_args()

    from hf_emo_dist.hub.load import load_emotion_model
    from hf_emo_dist.modeling.prediction import predict_distributions

    model, processor = load_emotion_model(args.model)
    processor.long_audio = args.long_audio
    rows = [{"id": file, "audio": file} for file in args.files]
    distributions = predict_distributions(model, processor, rows, batch_size=1, progress=False)
    for file, distribution in zip(args.files, distributions, strict=True):
        print(file)
        for emotion, share in zip(model.config.emotions, distribution, strict=True):
            print(f"  {emotion:<12} {share:6.1%}  {'█' * round(share * BAR_WIDTH)}")


if __name__ == "__main__":
    set_up_logging()
    sys.exit(run_command(main))
