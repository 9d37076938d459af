"""Planning DiME-Aug over many utterances: seconds, memory, recall, against the paper's way.

The paper's way is a neighbour query a mixed sample (scikit-learn, k = 3, within the class), timed on some samples in
the same run. The floor is the multiply-adds of an exact search at the rate of a large matrix product, measured in the
same run. Each plan is made in a process of its own, so that its peak of memory is known. The data is made up:
utterances are points in 12 dimensions around speakers, seen through 256 noisy features.
"""

import argparse
import json
import re
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
SHARES = (0.45, 0.3, 0.17, 0.08)
PLANS = {
    "unrestricted": {"neighbours": "any"},
    "compatible distributions (default)": {},
    "within classes": {"neighbours": "dominant", "target": "dominant", "target_ratio": 1.0},
    "preset paper": {"preset": "paper"},
}


def kilobytes(kind: str) -> int:
    """Memory of this process: VmRSS now, VmHWM at most since `clear_refs`, RssAnon without mapped files."""
    return int(re.search(kind + r":\s+(\d+)", Path("/proc/self/status").read_text())[1])


def features(rows: int, dimensions: int) -> np.ndarray:
    """Made-up features (rows, dimensions) float32."""
    rng = np.random.default_rng(0)
    speakers = rng.standard_normal((rows // 100 + 1, 12))
    through = 0.5 * rng.standard_normal((12, dimensions))
    result = np.empty((rows, dimensions), dtype=np.float32)
    for start in range(0, rows, 50_000):
        part = result[start : start + 50_000]
        place = speakers[rng.integers(len(speakers), size=len(part))] + rng.standard_normal((len(part), 12))
        part[:] = np.tanh(place @ through) + 0.3 * rng.standard_normal(part.shape)
    return result


def dataset(rows: int, dimensions: int):
    """A data set of the data contract without sound: planning touches none."""
    import pyarrow as pa
    from datasets import Audio, Dataset

    rng = np.random.default_rng(1)
    classes = rng.choice(len(EMOTIONS), size=rows, p=SHARES)
    concentration = np.full((rows, len(EMOTIONS)), 0.4)
    concentration[np.arange(rows), classes] = 4.0
    drawn = rng.gamma(concentration)
    p = drawn / drawn.sum(1, keepdims=True)
    values = features(rows, dimensions)
    table = pa.table(
        {
            "id": pa.array([f"utterance-{i:08d}" for i in range(rows)]),
            "audio": pa.array([None] * rows, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
            "speaker": pa.array([f"speaker-{i % (rows // 100 + 1)}" for i in range(rows)]),
            "emotion_distribution": pa.StructArray.from_arrays(list(p.T.copy()), list(EMOTIONS)),
            "x": pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1)), dimensions),
        }
    )
    return Dataset(table).cast_column("audio", Audio(sampling_rate=16000, decode=False))


def one_plan(name: str, rows: int, dimensions: int, threads: int) -> None:
    """Makes one plan and prints what it took as JSON."""
    import faiss

    from hf_emo_dist import DiMEAug

    faiss.omp_set_num_threads(threads)
    data = dataset(rows, dimensions)
    before = kilobytes("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
    start, processor = time.perf_counter(), time.process_time()
    plan = DiMEAug(features="x", seed=0, **PLANS[name]).plan(data)
    seconds, busy = time.perf_counter() - start, time.process_time() - processor
    report = plan.report
    print(
        json.dumps(
            {
                "seconds": seconds,
                "cpu_seconds": busy,
                "rows_added": len(plan),
                "index": report.index,
                "recall": report.recall,
                "data_gb": before / 1e6,
                "peak_gb": kilobytes("VmHWM") / 1e6,
                "shares": [round(m / sum(report.mass_after), 3) for m in report.mass_after],
            }
        )
    )


def papers_way(rows: int, dimensions: int, samples: int) -> float:
    """Seconds for each mixed sample: one neighbour query within the class."""
    from sklearn.neighbors import NearestNeighbors

    values = features(rows, dimensions)[: int(rows * SHARES[-1])]
    index = NearestNeighbors(n_neighbors=3).fit(values)
    start = time.perf_counter()
    for i in range(samples):
        index.kneighbors(values[i : i + 1])
    return (time.perf_counter() - start) / samples


def gemm_rate(dimensions: int) -> float:
    """Multiply-adds a second of a large product with this inner dimension."""
    a, b = np.ones((4096, dimensions), np.float32), np.ones((dimensions, 4096), np.float32)
    best = min(_timed(a, b) for _ in range(5))
    return 4096 * 4096 * dimensions / best


def _timed(a: np.ndarray, b: np.ndarray) -> float:
    start = time.perf_counter()
    a @ b
    return time.perf_counter() - start


def main() -> None:
    """Runs every plan and prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=100_000)
    parser.add_argument("--dimensions", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--plans", default=",".join(PLANS), help="comma separated")
    parser.add_argument("--samples", type=int, default=100, help="samples of the paper's way")
    parser.add_argument("--one", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        one_plan(args.one, args.rows, args.dimensions, args.threads)
        return
    slow = papers_way(args.rows, args.dimensions, args.samples)
    rate = gemm_rate(args.dimensions)
    exact = args.rows**2 * args.dimensions / rate
    print(f"{args.rows} made-up utterances × {args.dimensions} features, {args.threads} threads")
    print(
        f"  floor of an exact search of all pairs: {exact:.1f} s ({rate / 1e9:.0f} G multiply-adds a second, measured)"
    )
    print(f"  the paper's way: {1e3 * slow:.2f} ms a mixed sample within its smallest class")
    for name in args.plans.split(","):
        command = [sys.executable, __file__, "--one", name, "--rows", str(args.rows)]
        command += ["--dimensions", str(args.dimensions), "--threads", str(args.threads)]
        found = json.loads(
            subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1]
        )
        recall = "exact" if found["recall"] is None else f"{found['index']}, recall at k {found['recall']:.3f}"
        ratio = slow * found["rows_added"] / found["seconds"]
        print(
            f"  {name}: {found['seconds']:.1f} s ({found['cpu_seconds']:.1f} CPU seconds) for "
            f"{found['rows_added']} rows ({recall}); {ratio:.1f} × the paper's way; memory "
            f"{found['peak_gb']:.2f} GB at most, {found['data_gb']:.2f} GB of it the data set before planning; "
            f"{found['seconds'] / exact:.2f} × the floor"
        )


if __name__ == "__main__":
    main()
