"""Reading a corpus of many small files: files a second against bare reads of the same files, and memory as it grows.

Baseline and floor: opening and reading every file once, in the same run. The corpus has MSP-Podcast's layout, with five
ratings a clip; its audio is noise. Seconds are those of the processor, in user and kernel mode, as others may be at
work on the machine; wall clock stands beside them. Memory is the peak of a process of its own, without pages of mapped
files, which the kernel takes back when it needs them: for a tenth of the files and for all, and with longer clips.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

EMOTIONS = ("Angry", "Sad", "Happy", "Neutral", "Other-tired")


def make_corpus(root: Path, files: int, bytes_each: int) -> None:
    """Writes labels and audio files."""
    rng = np.random.default_rng(0)
    (root / "Labels").mkdir(parents=True)
    (root / "Audios").mkdir()
    # Readers look at the first bytes of each file.
    header, noise = b"RIFF" + (bytes_each + 8).to_bytes(4, "little") + b"WAVE", rng.bytes(bytes_each)
    votes = rng.integers(len(EMOTIONS), size=(files, 5))
    with (
        (root / "Labels" / "labels_detailed.csv").open("w") as details,
        (root / "Labels" / "labels_consensus.csv").open("w") as consensus,
    ):
        details.write("FileName,EmoDetail\n")
        consensus.write("FileName,EmoClass,EmoAct,EmoVal,EmoDom,SpkrID,Gender,Split_Set\n")
        for index in range(files):
            name = f"MSP-PODCAST_{index // 1000:04d}_{index % 1000:04d}.wav"
            (root / "Audios" / name).write_bytes(header + index.to_bytes(4, "big") + noise)
            part = ("Train", "Development", "Test1")[index % 10 % 3]
            consensus.write(f"{name},X,4.0,4.0,4.0,{index % 1000},Female,{part}\n")
            for rater, vote in enumerate(votes[index]):
                worker = f"WORKER{index * 7 % 9000 + rater:08d}"
                details.write(f'{name},"{worker}; {EMOTIONS[vote]}; Neutral; A:4.0; V:4.0; D:4.0;"\n')


def bare_reads(root: Path) -> tuple[int, float, float]:
    """Files, and processor and wall seconds of reading every audio file once."""
    start, wall = time.process_time(), time.perf_counter()
    count = 0
    with os.scandir(root / "Audios") as entries:
        for entry in entries:
            with open(entry.path, "rb") as file:
                count += bool(file.read())
    return count, time.process_time() - start, time.perf_counter() - wall


def anonymous_memory() -> float:
    """Memory of this process in MiB that no file backs."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


class Peak:
    """The largest of `anonymous_memory`, looked at a hundred times a second."""

    def __enter__(self) -> "Peak":
        """Starts to look."""
        self.before = self.largest = anonymous_memory()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look)
        self._thread.start()
        return self

    def _look(self) -> None:
        while not self._done.wait(0.01):
            self.largest = max(self.largest, anonymous_memory())

    def __exit__(self, *error: object) -> None:
        """Stops."""
        self._done.set()
        self._thread.join()


def read_once(root: Path, output: Path, num_proc: int) -> dict[str, float]:
    """Seconds and peak memory of reading and writing, in this process."""
    import datasets  # noqa: F401 - counted before, like every import

    from hf_emo_dist.corpora.msp_podcast import read_msp_podcast
    from hf_emo_dist.data.writing import write_dataset

    with Peak() as peak:
        start, wall = time.process_time(), time.perf_counter()
        dataset = read_msp_podcast(root, cache_dir=output / "cache", num_proc=num_proc, progress=False)
        reading = time.process_time() - start
        write_dataset(dataset, output / "data", description="Noise.", vote_source="SIMULATED.")
        writing = time.process_time() - start - reading
    return {
        "rows": sum(len(rows) for rows in dataset.values()),
        "reading": reading,
        "writing": writing,
        "wall": time.perf_counter() - wall,
        "base": peak.before,
        "peak": peak.largest,
        "shards": len(list((output / "data" / "data").glob("*.parquet"))),
    }


def in_a_process(root: Path, num_proc: int) -> dict[str, float]:
    """The same in a process of its own, whose peak memory nobody else has raised."""
    with tempfile.TemporaryDirectory(dir=root.parent) as output:
        words = [sys.executable, __file__, "--child", str(root), output, "--num_proc", str(num_proc)]
        return json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout.splitlines()[-1])


def main() -> None:
    """Prints files a second, the distance to bare reads, and peak memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=100_000)
    parser.add_argument("--bytes", type=int, default=2_000, help="of each file")
    parser.add_argument("--num_proc", type=int, default=2)
    parser.add_argument("--child", nargs=2, type=Path, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(read_once(*args.child, args.num_proc)))
        return
    with tempfile.TemporaryDirectory() as folder:
        peaks = {}
        cases = {
            "a tenth": (args.files // 10, args.bytes),
            "all": (args.files, args.bytes),
            "a tenth, 50 x longer": (args.files // 10, 50 * args.bytes),
        }
        for name, (files, size) in cases.items():
            root = Path(folder) / name.replace(" ", "_").replace(",", "")
            make_corpus(root, files, size)
            bare_reads(root)  # so that both find the files in the page cache
            count, floor, wall = bare_reads(root)
            found = in_a_process(root, args.num_proc)
            assert found["rows"] == count == files
            peaks[name] = found["peak"]
            total = found["reading"] + found["writing"]
            print(f"{name}: {files} files of {size / 1000:g} kB, {5 * files} ratings, {found['shards']:g} shards")
            print(f"  bare reads {files / floor:,.0f} files/s (floor; wall {wall:.1f} s)")
            print(
                f"  read_msp_podcast {files / found['reading']:,.0f} files/s: {found['reading'] / floor:.1f} x the "
                "floor"
            )
            print(
                f"  with Parquet {files / total:,.0f} files/s: {total / floor:.1f} x the floor (wall "
                f"{found['wall']:.1f} s)"
            )
            print(f"  peak memory {found['peak']:.0f} MiB, {found['base']:.0f} MiB of it before reading")
        rows = 0.9 * args.files
        print(f"memory a row: {(peaks['all'] - peaks['a tenth']) * 1024 / rows:.2f} KiB (labels and votes, no audio)")
        audio = args.files / 10 * 49 * args.bytes / 2**20
        print(
            f"of {audio:.0f} MiB more audio, memory grew by {peaks['a tenth, 50 x longer'] - peaks['a tenth']:.0f} MiB"
        )


if __name__ == "__main__":
    main()
