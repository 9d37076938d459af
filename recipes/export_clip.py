"""Writes one clip of a data set as a WAV file, to listen to or to predict.

python recipes/export_clip.py DATASET --split test --row 0 --output clip.wav
"""

import argparse
import sys
from pathlib import Path

from hf_emo_dist.audio.clips import encode_wav, load_audio
from hf_emo_dist.commands.running import run_command
from hf_emo_dist.data.loading import load_emotion_dataset


def main() -> None:
    """Parses the command line and writes the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="local Parquet folder or Hub id")
    parser.add_argument("--split", default="test")
    parser.add_argument("--row", type=int, default=0, help="position in the split (default: 0)")
    parser.add_argument("--output", required=True, help="WAV file to write")
    args = parser.parse_args()
    dataset = load_emotion_dataset(args.dataset, args.split)
    if not 0 <= args.row < len(dataset):
        raise ValueError(f"--row {args.row}: the split has rows 0 to {len(dataset) - 1}")
    row = dataset[args.row]
    Path(args.output).write_bytes(encode_wav(load_audio(row["audio"], row_id=row.get("id"))))
    print(f"wrote {args.output} ({row.get('id', args.row)}); listeners' votes: {row.get('human_votes')}")


if __name__ == "__main__":
    sys.exit(run_command(main))
