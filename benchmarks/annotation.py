"""Annotation against a local server that speaks Gemini's protocol, in a process of its own, through the real
google-genai client.

What to look at: the share of the ideal rate (concurrency, or the server's capacity, ÷ latency), over all and after the
climb, and the ratio to one call at a time; that nothing was asked twice; the CPU time of a request beside that of the
client alone (the floor); votes a second over a full ledger; what the ledger adds to a vote.

    python benchmarks/annotation.py --count 2000 --latency 1.0                  # the default settings
    python benchmarks/annotation.py --count 2000 --latency 1.0 --capacity 40    # a server that lets the others wait
    python benchmarks/annotation.py --count 2000 --concurrency 64 --latency 0.5
"""

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits
from hf_emo_dist.annotation.run.jobs import RunSettings
from hf_emo_dist.annotation.types import Record
from hf_emo_dist.audio.clips import encode_wav

SERVER = Path(__file__).parents[1] / "tests" / "annotation" / "gemini_server.py"
KEY = "benchmark-key"


def make_dataset(clips: int, clip_bytes: int) -> Any:
    """Clips of noise."""
    from datasets import Audio, Dataset

    rows = []
    for i in range(clips):
        wave = 0.1 * np.random.default_rng(i).standard_normal(clip_bytes // 2).astype(np.float32)
        rows.append({"id": f"clip-{i}", "audio": {"bytes": encode_wav(wave), "path": f"{i}.wav"}})
    return Dataset.from_list(rows).cast_column("audio", Audio(decode=False))


class ServerProcess:
    """The server, answering after `latency` seconds."""

    def __init__(self, latency: float, capacity: int | None = None) -> None:
        command = [sys.executable, str(SERVER), "--latency", str(latency), "--key", KEY]
        command += ["--capacity", str(capacity)] if capacity else []
        self.process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        self.url = self.process.stdout.readline().strip()

    def __enter__(self) -> "ServerProcess":
        return self

    def __exit__(self, *error: object) -> None:
        self.process.terminate()
        self.process.wait()


def backend_for(url: str) -> GeminiBackend:
    """The backend, pointed at the server by the environment."""
    os.environ.update(GEMINI_API_KEY=KEY, GOOGLE_GEMINI_BASE_URL=url)
    return GeminiBackend()


def annotator_for(backend: GeminiBackend, ledger: str, concurrency: int) -> Annotator:
    """Ten annotators."""
    return Annotator(backend, ledger=ledger, num_annotations=10, concurrency=concurrency, progress=False)


def one_at_a_time(backend: GeminiBackend, annotator: Annotator, dataset: Any, number: int) -> tuple[float, float]:
    """Seconds and CPU seconds of one request, one call after the other, without runner and ledger."""
    from hf_emo_dist.annotation.run.run_report import RunReport

    jobs = [job for row in annotator.utterances(dataset) for job in annotator.jobs(row, RunReport())][: number + 1]

    async def ask() -> tuple[float, float]:
        clip = jobs[0].clip.prepare()
        await backend.ask(jobs[0].request, clip, 60)  # connects
        began, cpu = time.perf_counter(), time.process_time()
        for job in jobs[1:]:
            await backend.ask(job.request, clip, 60)
        seconds = (time.perf_counter() - began) / number, (time.process_time() - cpu) / number
        await backend.close()
        return seconds

    return asyncio.run(ask())


def rate_after_climb(path: str) -> float:
    """Replies a second in the second half of a run, without the last tenth, in which fewer and fewer are in flight."""
    with Ledger(path) as ledger:
        times = sorted(datetime.fromisoformat(record.created).timestamp() for record in ledger.records())
    first, last = len(times) // 2, len(times) * 9 // 10
    return (last - first) / (times[last] - times[first])


def ledger_overhead(folder: str, number: int, bunch: int) -> float:
    """Seconds a vote for looking up, reserving and storing, in bunches as a run has them."""
    with Ledger(f"{folder}/overhead.sqlite") as ledger:
        keys = [f"{i:064x}" for i in range(number)]
        began = time.perf_counter()
        for start in range(0, number, bunch):
            some = keys[start : start + bunch]
            ledger.lookup(some)
            ledger.reserve([Claim(key, 0.01, 500) for key in some], Limits(max_cost_usd=1e9))
            ledger.store([Record(key, "ok", label="happy", text="happy", cost_usd=0.004) for key in some])
        return (time.perf_counter() - began) / number


def sync_seconds(folder: str, number: int) -> float:
    """Seconds until a page that was added to a file is on the disk: the floor of one transaction."""
    handle = os.open(f"{folder}/sync.bin", os.O_WRONLY | os.O_CREAT)
    began = time.perf_counter()
    for _ in range(number):
        os.write(handle, b"x" * 4096)
        os.fdatasync(handle)
    os.close(handle)
    return (time.perf_counter() - began) / number


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=2000, help="requests, ten a clip")
    parser.add_argument("--latency", type=float, default=0.5, help="seconds to a reply")
    parser.add_argument("--concurrency", type=int, default=RunSettings.concurrency, help="the ceiling")
    parser.add_argument("--capacity", type=int, help="requests that the server works on at once")
    parser.add_argument("--only_rate", action="store_true", help="leave out the ledger's figures")
    parser.add_argument("--clip_bytes", type=int, default=160_000)
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--stored", type=int, default=20_000, help="votes of the full ledger")
    arguments = parser.parse_args()
    dataset = make_dataset(arguments.count // 10, arguments.clip_bytes)
    ideal = min(arguments.concurrency, arguments.capacity or arguments.concurrency) / arguments.latency
    print(f"{arguments.count} requests, clips of {arguments.clip_bytes // 1000} kB, {arguments.latency} s latency")

    with ServerProcess(arguments.latency, arguments.capacity) as server, tempfile.TemporaryDirectory() as folder:
        backend = backend_for(server.url)
        serial, client_cpu = one_at_a_time(backend, annotator_for(backend, f"{folder}/none.sqlite", 1), dataset, 10)
        for repeat in range(arguments.repeats):
            path = f"{folder}/{repeat}.sqlite"
            annotator = annotator_for(backend, path, arguments.concurrency)
            cpu = time.process_time()
            result = annotator.annotate(dataset)
            cpu = (time.process_time() - cpu) / arguments.count
            assert result.report.votes == arguments.count, result.report.summary()
            rate = arguments.count / result.report.seconds
            assert result.report.requests == arguments.count, "something was asked twice"
            climbed = rate_after_climb(path)
            load = os.getloadavg()[0]
            print(
                f"concurrency {arguments.concurrency}: {rate:.1f} a second, {rate / ideal:.3f} of the ideal "
                f"{ideal:.0f}, after the climb {climbed:.1f} ({climbed / ideal:.3f}), {rate * serial:.1f} × one call "
                f"at a time ({1 / serial:.2f} a second); CPU {1e3 * cpu:.2f} ms a request, of which the client "
                f"{1e3 * client_cpu:.2f} ms (load of the machine {load:.1f})"
            )
            annotator.close()

    if arguments.only_rate:
        return
    with ServerProcess(0.0) as server, tempfile.TemporaryDirectory() as folder:
        clips = arguments.stored // 10
        small = make_dataset(clips, 2000)
        backend = backend_for(server.url)
        path = f"{folder}/full.sqlite"
        fill(annotator_for(backend, path, 1), small)
        for name in ("annotate", "map, batched"):
            annotator = annotator_for(backend, path, arguments.concurrency)
            began, cpu = time.perf_counter(), time.process_time()
            if name == "annotate":
                result = annotator.annotate(small)
                assert result.report.requests == 0
                data = result.dataset
            else:
                data = small.map(annotator, batched=True, batch_size=256, load_from_cache_file=False)
            seconds, cpu = time.perf_counter() - began, time.process_time() - cpu
            votes = sum(map(len, data["synthetic_votes"]))
            assert votes == arguments.stored
            print(
                f"full ledger, {name}: {votes / seconds:,.0f} votes a second, {votes / cpu:,.0f} a second of CPU time "
                f"({votes} votes, load of the machine {os.getloadavg()[0]:.1f})"
            )
        floor = sync_seconds(folder, 100)
        for bunch in (1, 16, 64):
            seconds = ledger_overhead(folder, min(3000, 200 * bunch), bunch)
            print(
                f"ledger, bunches of {bunch}: {1e3 * seconds:.3f} ms a vote with synchronous=FULL, "
                f"of which the disk {1e3 * floor / bunch:.3f} ms"
            )
            os.unlink(f"{folder}/overhead.sqlite")


def fill(annotator: Annotator, dataset: Any) -> None:
    """Puts a vote for each request into the ledger without asking anybody."""
    from hf_emo_dist.annotation.run.run_report import RunReport

    backend = annotator.backend
    reply = Record(
        "key", "ok", label="happy", text="happy", backend=backend.name, endpoint=backend.endpoint, model=backend.model,
        model_version=backend.model, plan=annotator.plan, settings={"t": 1.0}, prompt_tokens=196, audio_tokens=96,
        thinking_tokens=40, output_tokens=3, cost_usd=0.0002, latency_s=0.5, created="2026-01-01T00:00:00.000+00:00",
    )  # fmt: skip
    records = []
    for row in annotator.utterances(dataset):
        for job in annotator.jobs(row, RunReport(), sends=False):
            asked = {"audio": job.audio_hash, "request": job.request_hash, "prompt_version": job.prompt.version}
            records.append(replace(reply, key=job.key, row_id=job.clip.row_id, **asked, **asdict(job.member)))
    annotator.ledger.store(records)


if __name__ == "__main__":
    main()
