"""Peak memory of the long jobs at n, 2n and 4n rows: what grows with n, and by how much.

Each job runs in a process of its own, on a data set that lies on the disk. Two figures: the peak of the process's own
memory (RssAnon, looked at every 20 ms), and the peak of all of it (RSS), which has the pages of mapped files too: the
system takes these back as soon as anybody needs the room. What must not grow is the first. The data is made up: short
tones, votes drawn by chance, and the simulated annotator.
"""

import argparse
import json
import re
import resource
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
SPEAKERS, VOTES, MEMBERS = 50, 9, 10
_LOOK_S = 0.02


def rows(number: int) -> Iterator[dict[str, Any]]:
    """Made-up utterances: 0.1 s of a tone each, a true distribution, votes drawn from it, and a predicted one."""
    from hf_emo_dist.audio.clips import encode_wav

    rng = np.random.default_rng(0)
    times = np.arange(1600) / 16000
    for place in range(number):
        true, predicted = rng.dirichlet(np.full(len(EMOTIONS), 0.6), size=2)
        votes = rng.choice(EMOTIONS, size=VOTES, p=true)
        shares = {emotion: float((votes == emotion).mean()) for emotion in EMOTIONS}
        tone = 0.1 * np.sin(2 * np.pi * (100 + place % 4000 + place / number) * times)
        yield {
            "id": f"utterance-{place:08d}",
            "audio": {"bytes": encode_wav(tone.astype(np.float32)), "path": f"{place}.wav"},
            "speaker": f"speaker-{place % SPEAKERS}",
            "human_votes": votes.tolist(),
            "human_distribution": shares,
            "emotion_distribution": shares,
            "true_distribution": dict(zip(EMOTIONS, true.tolist(), strict=True)),
            "predicted": dict(zip(EMOTIONS, predicted.tolist(), strict=True)),
        }


def make(folder: Path, number: int) -> None:
    """Write a data set of so many rows."""
    from hf_emo_dist.columns import distribution_feature
    from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

    features = row_features(EMOTIONS, {"predicted": distribution_feature(EMOTIONS)}, true_distribution=True)
    data = build_dataset(rows(number), features, folder.with_suffix(".arrow"))
    write_dataset(data, folder, description="Made up.", vote_source="Simulated votes.")
    folder.with_suffix(".arrow").unlink()


def annotate(folder: Path) -> None:
    """Simulated annotators vote, and the result is written; no combining beyond counting."""
    _prepare(folder, folder.with_name("annotated"), backend="simulated", combine="pool")


def combine(folder: Path) -> None:
    """The votes of people and annotators become targets by the posterior, fitted on all rows."""
    _prepare(folder.with_name("annotated"), folder.with_name("combined"), backend="none", combine="posterior")


def _prepare(source: Path, output: Path, **settings: Any) -> None:
    from hf_emo_dist.preparation.prepare import PrepareSettings, prepare_dataset

    prepare_dataset(
        PrepareSettings(
            dataset=str(source),
            output=str(output),
            ledger=str(source.with_name("votes.sqlite")),
            num_annotations=MEMBERS,
            overwrite=True,
            **settings,
        )
    )


def evaluate(folder: Path) -> None:
    """Stored predictions are scored, with intervals, and written."""
    from hf_emo_dist.data.opened import open_dataset
    from hf_emo_dist.evaluation.checkpoint import write_predictions
    from hf_emo_dist.evaluation.scoring import evaluate_distributions
    from hf_emo_dist.votes import distributions_to_matrix

    data = open_dataset(folder).rows()
    predicted = distributions_to_matrix(data["predicted"], EMOTIONS)
    report = evaluate_distributions(predicted, data, EMOTIONS, train_targets=predicted)
    report.save(folder.with_name("scores"))
    columns = {"predicted_distribution": predicted, "js_divergence": report.js_divergence}
    write_predictions(folder.with_name("predictions.parquet"), data, EMOTIONS, columns)


def saturation(folder: Path) -> None:
    """``report saturation`` on the votes of people."""
    from hf_emo_dist.commands.main import main

    assert main(["report", "saturation", f"made_up={folder}", "--output", str(folder.with_name("saturation"))]) == 0


def export(folder: Path) -> None:
    """All replies of the ledger, as a table."""
    from hf_emo_dist.commands.main import main

    output = folder.with_name("replies.parquet")
    assert main(["ledger", "export", str(folder.with_name("votes.sqlite")), str(output), "--overwrite"]) == 0


#: In their order: each may read what the one before it has written.
JOBS = {"annotate": annotate, "combine": combine, "evaluate": evaluate, "saturation": saturation, "export": export}


def own_kilobytes() -> int:
    """Memory of this process that is no file's."""
    found = re.search(r"RssAnon:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found is not None
    return int(found[1])


def one(job: str, folder: Path) -> None:
    """Run one job and print what it took as JSON."""
    peak, over = [own_kilobytes()], threading.Event()

    def look() -> None:
        while not over.wait(_LOOK_S):
            peak[0] = max(peak[0], own_kilobytes())

    watcher = threading.Thread(target=look, daemon=True)
    watcher.start()
    began = time.monotonic()
    JOBS[job](folder)
    over.set()
    watcher.join()
    found = {
        "seconds": time.monotonic() - began,
        "own_mb": max(peak[0], own_kilobytes()) / 1000,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1000,
    }
    sys.stdout.write(f"\n{json.dumps(found)}\n")


def measure(job: str, folder: Path) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--one", job, "--folder", str(folder)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"{job} failed:\n{done.stderr[-2000:]}")
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def measured(numbers: list[int], jobs: list[str], place: Path) -> dict[str, list[dict[str, float]]]:
    """Each job at each number of rows."""
    found: dict[str, list[dict[str, float]]] = {job: [] for job in jobs}
    for number in numbers:
        folder = place / str(number) / "data"
        folder.parent.mkdir(parents=True)
        made = subprocess.run([sys.executable, __file__, "--make", str(number), "--folder", str(folder)])
        if made.returncode:
            raise SystemExit("The data set could not be made.")
        for job in jobs:
            found[job].append(measure(job, folder))
            sys.stderr.write(f"{number} rows, {job}: {found[job][-1]['own_mb']:.0f} MB\n")
        shutil.rmtree(folder.parent)
    return found


def main() -> None:
    """Measure, and print the table; status 1 where a job grows by more than it may."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=20_000, help="n; 2n and 4n are measured too")
    parser.add_argument("--jobs", default=",".join(JOBS), help="comma separated")
    parser.add_argument("--bound", type=float, default=100.0, help="MB by which a job may grow from n to 4n")
    parser.add_argument("--folder", type=Path, default=None, help="where the data is made; default: a temporary one")
    parser.add_argument("--one", choices=list(JOBS), help=argparse.SUPPRESS)
    parser.add_argument("--make", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.make is not None:
        make(args.folder, args.make)
        return
    if args.one is not None:
        one(args.one, args.folder)
        return
    numbers, jobs = [args.rows, 2 * args.rows, 4 * args.rows], args.jobs.split(",")
    with tempfile.TemporaryDirectory(dir=args.folder) as place:
        found = measured(numbers, jobs, Path(place))
    sys.stdout.write(f"Made-up data, simulated annotators, {MEMBERS} answers a clip\n")
    sys.stdout.write(f"own memory in MB (all of it, with mapped files), seconds, at {numbers} rows\n")
    grown = []
    for job, at in found.items():
        cells = "; ".join(f"{one['own_mb']:.0f} ({one['rss_mb']:.0f}), {one['seconds']:.0f} s" for one in at)
        growth = at[-1]["own_mb"] - at[0]["own_mb"]
        sys.stdout.write(f"  {job}: {cells}; grows by {growth:+.0f} MB\n")
        grown += [job] * (growth > args.bound)
    if grown:
        raise SystemExit(f"Grows by more than {args.bound:g} MB: {', '.join(grown)}.")


if __name__ == "__main__":
    main()
