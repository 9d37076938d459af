"""Several processes on one ledger, and processes that are killed."""

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from ledger_records import key
from ledger_worker import CAP

import hf_emo_dist
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits


def worker(mode, path, first, last) -> subprocess.Popen:
    places = [str(Path(hf_emo_dist.__file__).parents[1]), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("ledger_worker.py")), mode, str(path), str(first), str(last)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,  # what `readline` read ahead would be lost to `communicate`
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
    )


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="the state of a process is read from /proc")
def test_leases_of_a_process_that_was_killed_are_free_at_once(tmp_path):
    process = worker("lease", tmp_path / "v", 0, 5)
    try:
        assert process.stdout.readline().split() == [key(n).encode() for n in range(5)]
        limits = Limits(max_cost_usd=0.65)
        claims = [Claim(key(n), cost_usd=0.1) for n in range(8)]
        with Ledger(tmp_path / "v") as ledger:
            first = ledger.reserve(claims, limits)
            assert len(first.busy) == 5 and first.granted == [key(5)] and first.over_budget
            process.send_signal(signal.SIGKILL)
            deadline = time.monotonic() + 5
            # nobody waits for it, so it stays as a zombie: dead all the same
            while not (second := ledger.reserve(claims, limits)).granted and time.monotonic() < deadline:
                time.sleep(0.01)
            assert second.granted == [key(n) for n in range(5)] and second.busy == [key(5)] and second.over_budget
    finally:
        process.kill()
        process.communicate()


def test_after_kill_9_every_acknowledged_reply_is_there(tmp_path):
    draw = random.Random(0)
    acknowledged: list[str] = []
    for _ in range(4):
        process = worker("store", tmp_path / "v", 0, 100_000)
        acknowledged.append(process.stdout.readline().decode().strip())
        time.sleep(draw.uniform(0.01, 0.3))
        process.kill()
        acknowledged += process.communicate()[0].decode().split()
        with Ledger(tmp_path / "v") as ledger:
            assert set(ledger.lookup(acknowledged)) == set(acknowledged)
            assert len(ledger) <= len(acknowledged) + 4, "at most one a kill was stored and not yet acknowledged"
            spending = ledger.spending()
            assert spending.cost_usd == pytest.approx(0.25 * spending.replies)
    assert len(acknowledged) == len(set(acknowledged)) > 20, "nothing that is stored was asked for again"


def test_two_processes_on_one_cap_spend_at_most_the_cap(tmp_path):
    processes = [worker("spend", tmp_path / "v", 0, 400) for _ in range(2)]
    assert [process.stdout.readline() for process in processes] == [b"ready\n"] * 2
    for process in processes:
        process.stdin.write(b"go\n")
        process.stdin.flush()
    granted = [process.communicate(timeout=60)[0].decode().split() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert all(granted), "both had a part in it"
    assert len(set(granted[0] + granted[1])) == len(granted[0]) + len(granted[1])
    with Ledger(tmp_path / "v") as ledger:
        spending = ledger.spending()
        assert CAP - 0.1 < spending.cost_usd <= CAP
        assert spending.replies == len(granted[0] + granted[1]) and spending.reserved_cost_usd == 0


def test_processes_that_make_the_ledger_at_the_same_time(tmp_path):
    processes = [worker("store", tmp_path / "new" / "v", 10 * n, 10 * n + 10) for n in range(4)]
    assert [len(process.communicate()[0].split()) for process in processes] == [10] * 4
    with Ledger(tmp_path / "new" / "v") as ledger:
        assert len(ledger) == 40
