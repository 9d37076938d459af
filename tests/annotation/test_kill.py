"""`kill -9` and Ctrl-C at any moment: what was paid for is kept, and the data set is that of an unbroken run."""

import contextlib
import random
import signal
import sqlite3
import time

import pytest
from annotation_setup import annotator, dataset, gemini, votes
from gemini_server import GeminiServer
from processes import Annotating, replies, sent, serving, wait_for

from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger
from hf_emo_dist.annotation.types import IN_FLIGHT

ROWS, MEMBERS, CONCURRENCY, KILLS = 80, 4, 4, 10
# In flight at a kill at most, or answered and not stored yet: one a worker.
OPEN = CONCURRENCY + CONCURRENCY // 4


def asked(line):
    return line["audio"], line["text"]


@pytest.mark.slow
def test_ten_kills_lose_only_what_was_in_flight(tmp_path):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    rng = random.Random(4)
    options = {"num_annotations": MEMBERS, "concurrency": CONCURRENCY}
    killed, stored = 0, []
    with serving(log) as url:
        while killed < KILLS:
            process = Annotating(url, path, ROWS, **options)
            wait_for(log, sent(log) + rng.randint(1, 30))
            time.sleep(rng.uniform(0, 0.03))
            if not process.runs():
                break
            process.kill()
            killed += 1
            time.sleep(0.05)  # the server sends, and logs, what it was asked for before it sees that nobody listens
            with Ledger(path) as ledger:
                there = {record.key for record in ledger.records() if record.text is not None}
            assert set(stored) <= there
            stored = list(there)
            assert sent(log) - len(there) <= killed * CONCURRENCY
        outcome, _ = Annotating(url, path, ROWS, **options).outcome()
    assert killed == KILLS, "the run was over before: give it more rows"
    assert outcome["complete"]
    answered = replies(log)
    rows = list(Ledger(path).records())
    records = [record for record in rows if record.text is not None]
    # Every key once, and all of them.
    assert len(records) == ROWS * MEMBERS == len({record.key for record in records})
    # What was in flight at a kill may have been billed: whatever the server generated is charged.
    lost = [record for record in rows if record.text is None]
    assert len(answered) <= len(rows) <= len(records) + KILLS * OPEN
    assert {(record.outcome, record.final, record.detail) for record in lost} == {("connection", False, IN_FLIGHT)}
    assert all(record.cost_usd == record.assumed_usd > 0.01 for record in lost)
    assert Ledger(path).spending().cost_usd == pytest.approx(sum(record.cost_usd for record in rows))
    # The server sent each reply once, but for those that were in flight at a kill.
    assert len({asked(line) for line in answered}) == ROWS * MEMBERS
    assert len(answered) - len(records) <= KILLS * CONCURRENCY
    assert Ledger(path).spending().reserved_tokens == 0
    with GeminiServer() as server:
        server.keep = False
        unbroken = annotator(gemini(server), tmp_path / "other.sqlite", **options).annotate(dataset(ROWS))
    assert outcome["votes"] == votes(unbroken.dataset)


def test_a_key_is_not_asked_for_again_once_its_reply_is_stored(tmp_path):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.02) as url:
        first = Annotating(url, path, 40, concurrency=4)
        wait_for(log, 30)
        first.kill()
        time.sleep(0.05)
        stored, before = len(Ledger(path)), sent(log)
        outcome, _ = Annotating(url, path, 40, concurrency=4).outcome()
        after = sent(log) - before
        charged = [record for record in Ledger(path).records() if record.detail == IN_FLIGHT]
    assert len(charged) <= OPEN and before <= stored + len(charged)
    assert outcome["complete"] and stored >= 26
    assert after == 120 - stored == outcome["report"]["requests"] and outcome["report"]["stored_votes"] == stored


def test_what_the_service_refused_before_a_kill_costs_nothing(tmp_path):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, faults=[{"kind": "rate_limit", "retry_after": 60}]) as url:
        process = Annotating(url, path, 40, concurrency=4)
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline and not (path.exists() and pauses(path)):
            time.sleep(0.02)
        while time.monotonic() < deadline and (left := in_flight(path)):  # others that were refused with the first one
            time.sleep(0.02)
        assert not left
        process.kill()
        with Ledger(path) as ledger:
            assert ledger.reserve([Claim(key) for key in leased(path)]).granted
            assert ledger.spending().cost_usd == 0 and not list(ledger.records())


def pauses(path):
    with contextlib.closing(sqlite3.connect(path)) as connection, contextlib.suppress(sqlite3.OperationalError):
        return connection.execute("SELECT COUNT(*) FROM rates WHERE paused_until > updated").fetchone()[0]


def in_flight(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return connection.execute("SELECT COUNT(*) FROM leases WHERE sent IS NOT NULL").fetchone()[0]


def leased(path):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        return [key for (key,) in connection.execute("SELECT key FROM leases")]


def interrupted(url, path, log, waits, way="annotate"):
    process = Annotating(url, path, 60, way=way, concurrency=4)
    wait_for(log, 8)
    for wait in waits:
        time.sleep(wait)
        process.send(signal.SIGINT)
    return process.outcome()


@pytest.mark.parametrize("way", ["annotate", "map"])
def test_ctrl_c_finishes_what_is_in_flight(tmp_path, way):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=0.2) as url:
        outcome, err = interrupted(url, path, log, [0.05], way)
    assert "Ctrl-C again drops them" in err and "Traceback" not in err
    stored = Ledger(path)
    # Every reply that was sent is there.
    assert len(stored) == sent(log) and stored.spending().reserved_tokens == 0
    if way == "annotate":
        assert outcome["complete"] is False and "interrupted" in outcome["report"]["stop_reason"]
        assert sum(map(len, outcome["votes"].values())) == len(stored) < 180
    else:
        assert outcome["error"] == "AnnotationIncomplete" and "interrupted" in outcome["text"]


def test_a_second_ctrl_c_drops_what_is_in_flight(tmp_path):
    log, path = tmp_path / "replies.jsonl", tmp_path / "votes.sqlite"
    with serving(log, latency=2.0, faults=[{"kind": "slow", "when": list(range(1, 9)), "seconds": 0.1}]) as url:
        began = time.monotonic()
        outcome, err = interrupted(url, path, log, [0.2, 0.3])
        assert time.monotonic() - began < 10
        assert "Traceback" not in err, err
        stored = Ledger(path)
        assert outcome["error"] == "KeyboardInterrupt"
        rows = list(stored.records())
        assert sum(row.text is not None for row in rows) == sent(log) == 8 and stored.spending().reserved_tokens == 0
        # What was dropped may be billed all the same.
        assert [row.detail for row in rows if row.text is None] == [IN_FLIGHT] * 4
