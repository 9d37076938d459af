"""How fast files are searched for keys before a push: MB a second of one core. Floor: reading and hashing the file.

The Hub's client hashes (SHA-256) every file that it uploads; a search that is as fast does not double the wait.
"""

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from hf_emo_dist.audio.clips import encode_flac, encode_wav
from hf_emo_dist.hub.contents import places
from hf_emo_dist.hub.secrets import Secrets

#: As many as a user may have, none of them anybody's.
KEYS = [(f"key {i}", f"AIzaSyB{i}-k9QpZ_x7LmT2vW8cRdN4fGhJ1uYe5s") for i in range(4)]


def recordings(clips: int, encode: Callable[[np.ndarray, int], bytes]) -> pa.Table:
    """Rows with audio inside, as this library writes them."""
    rng = np.random.default_rng(0)
    time_ = np.arange(48000) / 16000
    made = []
    for _ in range(40):
        wave = 0.3 * np.sin(2 * np.pi * rng.uniform(100, 400) * time_) * rng.uniform(0.2, 1) ** (1 + time_)
        made.append(encode((wave + 0.003 * rng.standard_normal(len(time_))).astype(np.float32), 16000))
    rows = [{"bytes": made[i % len(made)], "path": f"{i}.flac"} for i in range(clips)]
    return pa.table({"id": [str(i) for i in range(clips)], "audio": rows, "human_votes": [["sad", "happy"]] * clips})


def main() -> None:
    """Prints MB/s of the search and of hashing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=100)
    args = parser.parse_args()
    size = args.megabytes * 1_000_000
    words = "Kids are talking by the door, and the task-oriented one says https://host/a?b=c to them.\n"
    with tempfile.TemporaryDirectory() as folder:
        root, secrets = Path(folder), Secrets(KEYS)
        weights = np.random.default_rng(0).standard_normal(size // 4, dtype=np.float32)
        (root / "weights in float32").write_bytes(weights.tobytes())
        (root / "weights in bfloat16").write_bytes((weights.view(np.uint32) >> 16).astype(np.uint16).tobytes())
        (root / "text.md").write_text(words * (size // 10 // len(words)))
        for name, encode, clip in (("FLAC", encode_flac, 50_000), ("WAV", encode_wav, 96_000)):
            pq.write_table(recordings(size // clip, encode), root / f"Parquet with {name}")
        for file in sorted(root.iterdir()):
            seconds = []
            for action in (
                lambda file=file: list(places(file.name, file, secrets)),
                lambda file=file: hashlib.sha256(file.read_bytes()),
            ):
                best = []
                for _ in range(3):
                    start = time.process_time()
                    action()
                    best.append(time.process_time() - start)
                seconds.append(min(best))
            rates = [file.stat().st_size / 1e6 / one for one in seconds]
            told = f"searched {rates[0]:5.0f} MB/s, hashed {rates[1]:5.0f} MB/s"
            print(f"{file.name:20} {file.stat().st_size / 1e6:6.0f} MB: {told}")


if __name__ == "__main__":
    main()
