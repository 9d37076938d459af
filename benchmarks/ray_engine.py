"""The Ray engine on clips of RAVDESS's lengths: rows against `Dataset.map`, kills, and what the actor's ledger costs.

Clips are real ones of RAVDESS where HF_EMO_DIST_TEST_DATA has them, each cut elsewhere so that no two are alike, else
artificial. Votes are simulated, or those of a local server that speaks Gemini's protocol; nothing leaves this machine.
Parts: `ledger` (votes a second through the actor and direct), `simulated`, `mixing`, `predict` (equal to `Dataset.map`,
bit for bit, by one worker and by two), `gemini` (the same, and whole and once with a worker, then the driver, killed).
"""

import argparse
import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from common import speech

from hf_emo_dist.annotation import Annotator
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger
from hf_emo_dist.annotation.types import Record
from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.augmentation import DiMEAug
from hf_emo_dist.data.writing import build_dataset, row_features
from hf_emo_dist.engines import RayEngine, RayLedger

TESTS = Path(__file__).parents[1] / "tests"
EMOTIONS = ("angry", "happy", "neutral", "sad")
KEY = "AIzaNotARealKeyButASecret0123456789"


def clips(count: int, path: Path):
    """Rows of the data contract, with simulated votes of a known truth."""
    from datasets import Dataset

    if path.is_file():
        return Dataset.from_file(str(path))
    waves, about = speech(min(count, 200))
    print(f"{count} clips, made from {len(waves)} {about}", flush=True)
    rng = np.random.default_rng(0)

    def rows():
        for number in range(count):
            wave = waves[number % len(waves)][160 * (number // len(waves)) :]
            true = rng.dirichlet(np.ones(4))
            shares = dict(zip(EMOTIONS, true.tolist(), strict=True))
            yield {
                "id": f"clip{number:06d}",
                "audio": {"bytes": encode_flac(wave), "path": f"clip{number:06d}.flac"},
                "transcript": "Kids are talking by the door.",
                "speaker": f"speaker{number % 24}",
                "human_votes": [EMOTIONS[int(true.argmax())]],
                "human_distribution": shares,
                "emotion_distribution": shares,
                "true_distribution": shares,
            }

    return build_dataset(rows(), row_features(EMOTIONS, true_distribution=True), path)


# --- the ledger


def record(key: str) -> Record:
    """A reply of the usual size."""
    return Record(
        key, "ok", label="happy", text='{"emotion": "happy"}' + " " * 150, backend="b", endpoint="e", model="m",
        focus="voice", plan="p" * 32, audio=key, request=key, row_id="u", prompt_tokens=250, output_tokens=12,
        cost_usd=0.0002, latency_s=0.5, created="2026-01-01T00:00:00.000+00:00",
    )  # fmt: skip


def votes_a_second(ledger, start: int, votes: int, bunch: int) -> float:
    """Reserve, mark as sent and store, as a run does, `bunch` at a time."""
    keys = [hashlib.sha256(b"%d" % number).hexdigest() for number in range(start, start + votes)]
    began = time.perf_counter()
    for first in range(0, votes, bunch):
        granted = ledger.reserve([Claim(key, 0.001, 500) for key in keys[first : first + bunch]], None).granted
        ledger.sending({key: record(key) for key in granted})
        ledger.store([record(key) for key in granted])
    return votes / (time.perf_counter() - began)


def ledger_part(folder: Path, votes: int) -> None:
    """Votes a second through the actor and direct, by the size of the bunch."""
    with RayEngine(), Ledger(folder / "direct.sqlite") as direct:
        actor = RayLedger(folder / "actor.sqlite")
        actor.spending()
        start = 0
        print("votes a second (reserve, sending, store; synchronous=FULL), median of three")
        for bunch in (1, 8, 32, 128):
            found = {"direct": [], "actor": [], "actor, four at once": []}
            count = max(bunch, votes // (8 if bunch == 1 else 1) // bunch * bunch)
            for _ in range(3):
                found["direct"].append(votes_a_second(direct, start, count, bunch))
                found["actor"].append(votes_a_second(actor, start, count, bunch))
                start += count
                four = [(RayLedger(folder / "actor.sqlite"), start + i * count, count, bunch) for i in range(4)]
                began = time.perf_counter()
                with ThreadPoolExecutor(4) as pool:
                    list(pool.map(votes_a_second, *zip(*four, strict=True)))
                found["actor, four at once"].append(4 * count / (time.perf_counter() - began))
                start += 4 * count
            middle = {name: sorted(rates)[1] for name, rates in found.items()}
            told = ", ".join(f"{name} {rate:,.0f}" for name, rate in middle.items())
            print(f"  in bunches of {bunch:3}: {told}; actor at {middle['actor'] / middle['direct']:.2f} of direct")


# --- equal to Dataset.map


def timed(what: str, count: int, work):
    """The result, with clips a second printed."""
    began = time.perf_counter()
    found = work()
    seconds = time.perf_counter() - began
    print(f"  {what}: {seconds:.1f} s, {count / seconds:.0f} clips a second", flush=True)
    return found


def equal(expected, found) -> None:
    """Raise where a row differs."""
    wanted, got = expected.with_format("arrow")[:], found.with_format("arrow")[:]
    assert got.column_names == wanted.column_names and len(got) == len(wanted)
    assert got.equals(wanted), "the rows differ"
    print("  equal, row by row, bit for bit", flush=True)


def simulated_part(folder: Path, rows) -> None:
    """Simulated annotators."""
    options = {"emotions": EMOTIONS, "num_annotations": 5, "progress": False}
    print(f"annotate, simulated, {len(rows)} clips x 5", flush=True)
    run = Annotator("simulated", ledger=folder / "map.sqlite", **options)
    expected = timed("Dataset.map", len(rows), lambda: rows.map(run, batched=True, batch_size=256))
    for workers, batch in ((1, 256), (2, 100)):
        with RayEngine(workers=workers, rows=batch) as engine:
            one = engine.share_ledger(Annotator("simulated", ledger=folder / f"ray{workers}.sqlite", **options))
            found = timed(f"Ray, {workers} workers", len(rows), lambda e=engine, a=one: e.annotate(a, rows))
        equal(expected.select_columns(found.dataset.column_names), found.dataset)


def mixing_part(rows) -> None:
    """Mixing, half as many rows as there are."""
    plan = DiMEAug(seed=0, features="lexical", target=len(rows) // 2, neighbours="any").plan(rows)
    print(f"mix, {len(plan)} rows", flush=True)
    expected = timed("Dataset.map", len(plan), plan.map)
    for workers in (1, 2):
        for file in plan.made(plan.mixer).cache_files:  # else it would be read
            Path(file["filename"]).unlink(missing_ok=True)
        with RayEngine(workers=workers):
            found = timed(f"Ray, {workers} workers", len(plan), plan.map)
        equal(expected, found)


def predict_part(folder: Path, rows) -> None:
    """A mini model with random weights."""
    from datasets import Features

    from hf_emo_dist.evaluation import DistributionPredictor
    from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
    from hf_emo_dist.modeling.mini import build_mini_backbone
    from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
    from hf_emo_dist.votes import distribution_feature

    base = build_mini_backbone(folder / "mini", hidden_size=16, audio_layers=2, text_layers=1)
    Qwen2AudioForEmotionDistribution.from_pretrained(base, emotions=EMOTIONS).save_pretrained(folder / "model")
    EmotionDistributionProcessor.from_pretrained(base, emotions=EMOTIONS).save_pretrained(folder / "model")
    print(f"predict, a mini model, {len(rows)} clips", flush=True)
    predictor = DistributionPredictor(folder / "model")
    narrow = rows.select_columns(["id", "audio", "transcript", "speaker"])
    expected = timed("Dataset.map", len(rows), lambda: narrow.map(predictor, batched=True, batch_size=64))
    features = Features({"predicted_distribution": distribution_feature(EMOTIONS)})
    for workers, batch in ((1, 64), (2, 50)):
        with RayEngine(workers=workers) as engine:
            tables = timed(
                f"Ray, {workers} workers",
                len(rows),
                lambda e=engine, b=batch: list(e.map(narrow, predictor, features, b, "predicting")),
            )
        found = [row for table in tables for row in table["predicted_distribution"].to_pylist()]
        assert found == expected["predicted_distribution"][:], "the predictions differ"
        print("  equal, row by row, bit for bit", flush=True)


# --- a service, and kills


def driver(ledger: str, data: str, out: str, workers: int) -> None:
    """Annotate by Ray; what a process of its own does."""
    rows = clips(0, Path(data))
    with RayEngine(workers=workers, rows=100) as engine:
        found, report = engine.annotate(asking(ledger), rows)
    assert report.complete, report.summary()
    Path(out).write_text(json.dumps([row["synthetic_votes"] for row in found.select_columns(["synthetic_votes"])]))
    print(report.summary())


def asking(ledger) -> Annotator:
    """Two answers of the local server for each clip."""
    return Annotator(
        "gemini", emotions=EMOTIONS, num_annotations=2, ledger=ledger, progress=False, concurrency=16,
        first_backoff_s=0.05, last_backoff_s=0.5,
    )  # fmt: skip


def gemini_part(folder: Path, rows, data: Path) -> None:
    """A local server, whole, and with kills."""
    import psutil

    log = folder / "replies.jsonl"
    server = subprocess.Popen(
        [sys.executable, str(TESTS / "annotation" / "gemini_server.py"), "--latency", "0.05", "--log", str(log)],
        stdout=subprocess.PIPE,
        text=True,
    )
    os.environ |= {"GEMINI_API_KEY": KEY, "GOOGLE_GEMINI_BASE_URL": server.stdout.readline().strip()}
    wanted = 2 * len(rows)

    def sent() -> int:
        return log.read_bytes().count(b"\n") if log.exists() else 0

    def start(name: str) -> subprocess.Popen:
        words = ["driver", str(folder / "killed.sqlite"), str(data), str(folder / name), "2"]
        return subprocess.Popen([sys.executable, __file__, *words])

    print(f"annotate, the local Gemini server (50 ms a reply), {len(rows)} clips x 2", flush=True)
    run = asking(folder / "map.gemini.sqlite")
    expected = timed("Dataset.map", len(rows), lambda: rows.map(run, batched=True, batch_size=100))
    before = sent()
    try:
        process = start("first.json")
        while sent() < before + wanted // 4:
            time.sleep(0.1)
        workers = [
            child
            for child in psutil.Process(process.pid).children(recursive=True)
            if child.cmdline() and child.cmdline()[0].startswith("ray::MapWorker")
        ]
        workers[0].send_signal(signal.SIGKILL)
        at_first = sent() - before
        while sent() < before + wanted // 2:
            time.sleep(0.1)
        process.kill()
        process.wait()
        at_second = sent() - before
        print(f"  a worker of {len(workers)} killed after {at_first} replies, the driver after {at_second}", flush=True)
        assert timed("started again", len(rows), lambda: start("found.json").wait()) == 0
    finally:
        server.kill()
    found = json.loads((folder / "found.json").read_text())
    assert found == expected["synthetic_votes"][:], "the votes differ"
    replies = list(Ledger(folder / "killed.sqlite").records())
    there = [one for one in replies if one.text is not None]
    assert len(there) == len({one.key for one in there}) == wanted
    print(
        f"  equal; {wanted} votes, each stored once; {sent() - before} replies sent, {len(replies) - len(there)} that "
        "were in flight at a kill are charged"
    )


def main() -> None:
    """Run the parts."""
    if sys.argv[1:2] == ["driver"]:
        driver(*sys.argv[2:5], int(sys.argv[5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=["ledger", "simulated", "mixing", "predict", "gemini"])
    parser.add_argument("--clips", type=int, default=2000)
    parser.add_argument("--votes", type=int, default=1024, help="votes a measurement of the ledger")
    options = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["HF_DATASETS_CACHE"] = str(folder / "cache")
        if "ledger" in options.parts:
            ledger_part(folder, options.votes)
        data = folder / "clips.arrow"
        rows = clips(options.clips, data) if set(options.parts) - {"ledger"} else None
        if "simulated" in options.parts:
            simulated_part(folder, rows)
        if "mixing" in options.parts:
            mixing_part(rows)
        if "predict" in options.parts:
            predict_part(folder, rows)
        if "gemini" in options.parts:
            gemini_part(folder, rows, data)


if __name__ == "__main__":
    main()
