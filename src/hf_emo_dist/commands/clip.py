"""`hf-emo-dist clip DATASET --output FILE`: one clip of a data set as a WAV file, to listen to or to predict."""

from __future__ import annotations

import sys


def clip(dataset: str, *, output: str, split: str = "test", row: int = 0, overwrite: bool = False) -> None:
    """Write one clip of a data set as a WAV file.

    Args:
        dataset: Local Parquet folder or Hub id.
        output: WAV file to write.
        split: Split of the data set.
        row: Position in the split.
        overwrite: Replace a file that is there.
    """
    from ..audio.clips import encode_wav, load_audio
    from ..data.loading import load_emotion_dataset
    from ..data.output import claimed_file, output_file

    with claimed_file(output, overwrite) as file:
        rows = load_emotion_dataset(dataset, split)
        if not 0 <= row < len(rows):
            raise ValueError(f"--row {row}: there is no such row. Mend: the split has rows 0 to {len(rows) - 1}.")
        found = rows[row]
        with output_file(file) as part:
            part.write_bytes(encode_wav(load_audio(found["audio"], row_id=found.get("id"))))
    sys.stdout.write(f"wrote {output} ({found.get('id', row)}); listeners' votes: {found.get('human_votes')}\n")
