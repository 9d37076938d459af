"""What the ledger adds to a vote, and how fast a full one answers.

Baseline and floor of writing: one row of the same bytes inserted and committed with the same durability, by plain
sqlite3 into a table without an index, in turns with the ledger. A vote needs two transactions (reserve, store), so
nothing that leases keys can be at the floor; only one of the two waits for the disk. Baseline of reading: fetching the
same rows' columns as tuples. Everything here is synthetic.
"""

import argparse
import hashlib
import sqlite3
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits
from hf_emo_dist.annotation.ledger.replies import COLUMNS, row_of
from hf_emo_dist.annotation.types import Record

LIMITS = Limits(max_cost_usd=1e6, max_tokens=10**12, requests_per_minute=1e9, tokens_per_minute=1e12, scope="a|b|c")
OVERHEAD_MS, VOTES_A_SECOND = 0.5, 5000


def record(name: str, outcome: str = "ok") -> Record:
    """A reply of the usual size."""
    return Record(
        name,
        outcome,
        label="happy",
        text='{"emotion": "happy", "why": "' + "rising pitch, fast " * 10 + '"}',
        backend="gemini",
        endpoint="https://generativelanguage.example/v1",
        model="model",
        model_version="model-001",
        focus="prosody",
        temperature=0.5,
        prompt_version="1",
        plan="p" * 64,
        audio=name,
        request=name,
        row_id="utterance",
        settings={"temperature": 0.5, "tokens": 64},
        prompt_tokens=250,
        audio_tokens=110,
        thinking_tokens=0,
        output_tokens=12,
        cost_usd=0.0002,
        latency_s=0.5,
        created="2025-05-01T10:00:00.000000+00:00",
    )


def keys(count: int, start: int = 0) -> list[str]:
    """Keys as they are: SHA-256 in hexadecimal."""
    return [hashlib.sha256(b"%d" % number).hexdigest() for number in range(start, start + count)]


def in_turns(
    writers: dict[str, Callable[[list[str]], None]], votes: int, group: int, rounds: int = 8
) -> dict[str, float]:
    """Median over the rounds of the milliseconds a vote; the writers take turns, so that a slow moment of the disk hits
    all.
    """
    times: dict[str, list[float]] = {name: [] for name in writers}
    start = group * 10**9  # keys of its own: what the ledger has already is not written again
    for turn in range(rounds + 1):
        for name, write in writers.items():
            batches = [keys(group, start + offset) for offset in range(0, votes // rounds, group)]
            start += votes
            began = time.perf_counter()
            for batch in batches:
                write(batch)
            if turn:  # the first warms up
                times[name].append((time.perf_counter() - began) / sum(map(len, batches)) * 1e3)
    return {name: statistics.median(values) for name, values in times.items()}


def plain(path: Path, synchronous: str, mode: str) -> Callable[[list[str]], None]:
    """Bare inserts: one transaction a group."""
    connection = sqlite3.connect(path, isolation_level=None, cached_statements=256)
    connection.execute(f"PRAGMA journal_mode = {mode}")
    connection.execute(f"PRAGMA synchronous = {synchronous}")
    connection.execute(f"CREATE TABLE replies ({COLUMNS})")
    row = row_of(record("k" * 64))
    insert = f"INSERT INTO replies VALUES ({', '.join('?' * len(row))})"

    def write(names: list[str]) -> None:
        connection.execute("BEGIN IMMEDIATE")
        connection.executemany(insert, [(name, *row[1:]) for name in names])
        connection.execute("COMMIT")

    return write


def full(ledger: Ledger) -> Callable[[list[str]], None]:
    """Reserve and store, one transaction each a group."""

    def write(names: list[str]) -> None:
        granted = ledger.reserve([Claim(name, 0.001, 500) for name in names], LIMITS).granted
        ledger.store([record(name) for name in granted])

    return write


def writing(folder: Path, votes: int) -> None:
    """Reserve and store, against bare inserts."""
    print(f"reserve + store, ms a vote (target: at most {OVERHEAD_MS} with FULL)")
    for synchronous in ("FULL", "NORMAL"):
        with Ledger(folder / f"{synchronous}.sqlite", synchronous=synchronous) as ledger:
            mode = ledger._database.mode
            writers = {
                "floor": plain(folder / f"plain {synchronous}.sqlite", synchronous, mode),
                "ledger": full(ledger),
            }
            for group in (1, 8, 64):
                count = max(votes if group > 1 else votes // 4, 8 * group)
                found = in_turns(writers, count, group)
                met = "met" if found["ledger"] <= OVERHEAD_MS else "MISSED"
                if found["floor"] > OVERHEAD_MS:
                    met = "MISSED, as by the floor: this disk is slow or busy"
                print(
                    f"  {synchronous:6} ({mode}) in groups of {group:2}: {found['ledger']:.3f} "
                    f"ms{f' ({met})' if synchronous == 'FULL' else ''}; floor {found['floor']:.3f} ms, "
                    f"{found['ledger'] / found['floor']:.1f} x it, {found['ledger'] - found['floor']:.3f} ms above it"
                )


def reading(folder: Path, replies: int) -> None:
    """A full ledger, asked again."""
    with Ledger(folder / "full.sqlite", synchronous="NORMAL") as ledger:
        names = keys(replies)
        began = time.perf_counter()
        for start in range(0, replies, 5000):
            ledger.store([record(name) for name in names[start : start + 5000]])
        print(
            f"\nstored {replies:,} replies in {time.perf_counter() - began:.1f} s; the file has "
            f"{ledger.path.stat().st_size / 1e6:.0f} MB"
        )
        connection = ledger._database.connect()

        def rows(batch: list[str]) -> int:
            marks = ", ".join("?" * len(batch))
            return len(
                connection.execute(
                    f"SELECT {COLUMNS} FROM replies WHERE counts = 1 AND key IN ({marks})", batch
                ).fetchall()
            )

        def claims(batch: list[str]) -> int:
            return len(ledger.reserve([Claim(name, 0.001, 500) for name in batch], LIMITS).stored)

        for group in (10, 640):
            ways = {"bare rows": rows, "lookup": lambda batch: len(ledger.lookup(batch)), "reserve": claims}
            rates: dict[str, list[float]] = {name: [] for name in ways}
            for _ in range(3):
                for name, ask in ways.items():
                    began = time.perf_counter()
                    answered = sum(ask(names[start : start + group]) for start in range(0, replies, group))
                    rates[name].append(answered / (time.perf_counter() - began))
                    assert answered == replies
            best = {name: statistics.median(values) for name, values in rates.items()}
            print(f"  votes a second in groups of {group} (target {VOTES_A_SECOND:,}):")
            for name in ("lookup", "reserve"):
                met = "met" if best[name] >= VOTES_A_SECOND else "MISSED"
                print(
                    f"    {name:8} {best[name]:9,.0f} ({met}); bare rows {best['bare rows']:,.0f}, "
                    f"{best[name] / best['bare rows']:.2f} of it"
                )


def digest(folder: Path, replies: int) -> None:
    """The digest of failures of a ledger of `replies`, one in fifty of them failed."""
    with Ledger(folder / "digest.sqlite", synchronous="NORMAL") as ledger:
        for start in range(0, replies, 5000):
            names = keys(5000, start)
            ledger.store([record(name, "empty" if number % 50 == 0 else "ok") for number, name in enumerate(names)])
        for plan in (None, "p" * 64):
            began = time.perf_counter()
            Ledger.failures_digest_of(ledger.path, plan)
            seconds = time.perf_counter() - began
            print(
                f"failures_digest_of(plan={'…' if plan else None}) of {replies:,} replies, 2 % failed: "
                f"{seconds * 1e3:.1f} ms"
            )


def main() -> None:
    """Runs the parts."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--votes", type=int, default=4000, help="votes a measurement of writing")
    parser.add_argument("--replies", type=int, default=100_000, help="replies in the full ledger")
    parser.add_argument(
        "--digest", type=int, default=0, metavar="N", help="also time failures_digest_of on N replies (say 1000000)"
    )
    parser.add_argument("--folder", help="where the ledgers are made; default: the temporary folder")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        writing(Path(folder), options.votes)
        reading(Path(folder), options.replies)
        if options.digest:
            digest(Path(folder), options.digest)


if __name__ == "__main__":
    main()
