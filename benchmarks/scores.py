"""A million pairs of distributions over 8 classes: JS divergence against a loop over SciPy, and every other figure of
two distributions.

Baseline: `scipy.spatial.distance.jensenshannon(p, q, base=2) ** 2` row by row, timed on some rows and scaled. The floor
is the time to read the two inputs and write the result once at the memory bandwidth that is measured in the same run.
"""

import argparse
import time

import numpy as np
from scipy.spatial.distance import jensenshannon

from hf_emo_dist import scores

ROWS_OF_LOOP = 20_000


def best(function, repeats: int) -> float:
    """The quickest of several calls, after one to warm up."""
    times = []
    for _ in range(repeats + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    return min(times[1:])


def main() -> None:
    """Prints the ratio, the floor and the distance to it; exits with 1 where the values differ from SciPy's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--classes", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    args = parser.parse_args()
    rng = np.random.default_rng(0)
    p, q = (rng.dirichlet(np.ones(args.classes), args.rows) for _ in range(2))
    some = min(ROWS_OF_LOOP, args.rows)

    def loop() -> list[float]:
        return [jensenshannon(p[i], q[i], base=2) ** 2 for i in range(some)]

    difference = float(np.abs(np.array(loop()) - scores.jensen_shannon_divergence(p[:some], q[:some])).max())
    slow = best(loop, 2) * args.rows / some
    copied = np.empty_like(p)
    bandwidth = 2 * p.nbytes / best(lambda: np.copyto(copied, p), args.repeats)
    moved = p.nbytes + q.nbytes + 8 * args.rows
    floor = moved / bandwidth
    print(f"{args.rows:,} pairs x {args.classes} classes, float64, one thread")
    print(f"  loop over SciPy: {slow:.1f} s (from {some:,} rows); largest difference {difference:.1e}")
    print(f"  floor: {moved / 2**20:.0f} MiB through memory at {bandwidth / 2**30:.1f} GiB/s: {floor:.4f} s")
    quick = best(lambda: scores.jensen_shannon_divergence(p, q), args.repeats)
    ratio = slow / quick
    print(
        f"  JS divergence: {quick:.3f} s, {ratio:.0f} x (target 100 x: {'met' if ratio >= 100 else 'MISSED'}), "
        f"{quick / floor:.1f} x the floor"
    )
    narrow = p.astype(np.float32), q.astype(np.float32)
    took = best(lambda: scores.jensen_shannon_divergence(*narrow), args.repeats)
    print(f"  the same from float32: {took:.3f} s, {slow / took:.0f} x")
    for name in ("kl_divergence", "bhattacharyya_coefficient", "clark_distance", "cosine_similarity", "brier_score"):
        function = getattr(scores, name)
        took = best(lambda function=function: function(p, q), args.repeats)
        print(f"  {name}: {took:.3f} s, {took / floor:.1f} x the floor")
    if difference > 1e-9:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
