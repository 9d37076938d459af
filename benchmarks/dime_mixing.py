"""Mixing DiME-Aug: × real time on one core, and memory against the number of rows, against the paper's way.

The paper's way is a neighbour query, two librosa loads, a linear mix and a written file a sample, in the same run. The
floor is decoding both clips and encoding one, with nothing in between. Real time counts the seconds of mixed audio.
Memory is that of processes of their own, without mapped files, on a data set on disk.
"""

import argparse
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

EMOTIONS = ("angry", "sad")


def kilobytes(kind: str) -> int:
    """Memory of this process: VmRSS now, VmHWM at most since `clear_refs`, RssAnon without mapped files."""
    return int(re.search(kind + r":\s+(\d+)", Path("/proc/self/status").read_text())[1])


def write_data(folder: str, rows: int) -> None:
    """A data set of real or artificial clips, repeated, on disk."""
    from common import speech

    from hf_emo_dist.audio.clips import encode_flac
    from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

    clips, _ = speech(64)
    data = [encode_flac(clip) for clip in clips]
    rng = np.random.default_rng(0)

    def made():
        for i in range(rows):
            p = float(rng.uniform(0.6, 1.0) if i % 10 else rng.uniform(0, 0.4))
            struct = {"angry": p, "sad": 1 - p}
            yield {
                "id": f"row-{i:06d}",
                "audio": {"bytes": data[i % len(data)], "path": None},
                "human_votes": ["angry"],
                "human_distribution": struct,
                "emotion_distribution": struct,
                "x": rng.standard_normal(8).tolist(),
            }

    from datasets import List, Value

    features = row_features(EMOTIONS, {"x": List(Value("float32"))})
    write_dataset(build_dataset(made(), features), folder, description="benchmark", vote_source="made up")


def mix(folder: str, number: int, mixing: str) -> None:
    """Mixes `number` rows in this process and prints what it took as JSON."""
    from hf_emo_dist import DiMEAug, load_emotion_dataset
    from hf_emo_dist.audio.clips import load_audio

    data = load_emotion_dataset(folder, "train")
    plan = DiMEAug(features="x", target=number, neighbours="any", mixing=mixing).plan(data)
    before = kilobytes("RssAnon")
    peak = [before]
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.02):
            peak.append(max(peak.pop(), kilobytes("RssAnon")))

    threading.Thread(target=watch, daemon=True).start()
    start = time.process_time()
    mixed = plan.map()
    seconds = time.process_time() - start
    done.set()
    some = mixed.select(range(0, len(mixed), max(1, len(mixed) // 200)))
    audio = len(mixed) * float(np.mean([len(load_audio(row["audio"])) for row in some])) / 16000
    print(json.dumps({"seconds": seconds, "audio": audio, "before": before / 1e3, "peak": peak[0] / 1e3}))


def papers_way(clips: list[np.ndarray], folder: str, samples: int) -> tuple[float, float]:
    """CPU seconds and seconds of audio of the paper's way."""
    import librosa
    import soundfile
    from sklearn.neighbors import NearestNeighbors

    paths = []
    for i, clip in enumerate(clips):
        paths.append(os.path.join(folder, f"{i}.wav"))
        soundfile.write(paths[-1], clip, 16000)
    rng = np.random.default_rng(0)
    values = rng.standard_normal((500, 82))
    index = NearestNeighbors(n_neighbors=3).fit(values)
    librosa.load(paths[0], sr=16000)  # its first call imports
    audio, start = 0.0, time.process_time()
    for i in range(samples):
        index.kneighbors(values[i % 500 : i % 500 + 1])
        a, b = (librosa.load(paths[j], sr=16000)[0] for j in (i % len(paths), (i * 7 + 3) % len(paths)))
        length, ratio = min(len(a), len(b)), rng.random()
        soundfile.write(os.path.join(folder, "mixed.wav"), ratio * a[:length] + (1 - ratio) * b[:length], 16000)
        audio += length / 16000
    return time.process_time() - start, audio


def floor(clips: list[np.ndarray]) -> float:
    """× real time of decoding two clips and encoding one."""
    import soundfile

    from hf_emo_dist.audio.clips import encode_flac

    data = [encode_flac(clip) for clip in clips]
    start = time.process_time()
    for i, clip in enumerate(clips):
        for j in (i, (i * 7 + 3) % len(clips)):
            soundfile.read(io.BytesIO(data[j]), dtype="float32")
        encode_flac(clip)
    return sum(len(clip) for clip in clips) / 16000 / (time.process_time() - start)


def main() -> None:
    """Prints × real time and memory."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=2000, help="utterances of the data set")
    parser.add_argument("--mixed", default="500,2000,8000", help="mixed rows, comma separated")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        mix(args.one[0], int(args.one[1]), args.one[2])
        return
    from common import speech

    clips, kind = speech(64)
    with tempfile.TemporaryDirectory() as folder:
        data = str(Path(folder) / "data")
        write_data(data, args.rows)
        seconds, audio = papers_way(clips, folder, 200)
        paper, best = audio / seconds, floor(clips)
        print(f"{kind}; one core, CPU seconds")
        print(f"  floor (decode two, encode one): {best:.0f} × real time; the paper's way: {paper:.0f} × real time")
        environment = {**os.environ, "OMP_NUM_THREADS": "1", "HF_DATASETS_CACHE": str(Path(folder) / "cache")}
        for mixing in ("between_class", "paper"):
            for number in map(int, args.mixed.split(",")):
                command = [sys.executable, __file__, "--one", data, str(number), mixing]
                run = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
                found = json.loads(run.stdout.splitlines()[-1])
                speed = found["audio"] / found["seconds"]
                print(
                    f"  {mixing}, {number} rows: {speed:.0f} × real time "
                    f"(target 400: {'met' if speed >= 400 else 'MISSED'}), {speed / paper:.1f} × the paper's way, "
                    f"{100 * speed / best:.0f} % of the floor; memory {found['peak']:.0f} MB, "
                    f"{found['before']:.0f} MB before"
                )


if __name__ == "__main__":
    main()
