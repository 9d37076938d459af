"""What is stored, what counts, and what is left for the next run."""

import contextlib
import os
import pickle
import threading
from dataclasses import replace

import numpy as np
import pytest
from ledger_records import Clock, key, record

from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, LedgerError, Limits
from hf_emo_dist.annotation.types import FAILURES


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "votes.sqlite", synchronous="NORMAL") as opened:
        yield opened


def test_a_record_comes_back_as_it_went(ledger):
    stored = [
        record(0),
        record(1, mode="distribution", label=None, distribution={"sad": 0.25, "happy": 0.75}),
        *(record(10 + number, failure, detail="why") for number, failure in enumerate(FAILURES)),
        record(2, text=None, temperature=None, cost_usd=None, persona="an old man", settings={}, prompt_tokens=None),
        record(3, text="\0 NUL, \ud800 a lone surrogate, 🙂 \u2028", detail="\udfff", row_id="\ud83d", label="\udc00"),
    ]
    ledger.store(stored)
    assert ledger.lookup([one.key for one in stored]) == {one.key: one for one in stored}
    assert list(ledger.records()) == stored
    assert list(ledger.records(plan="p" * 64)) == stored and list(ledger.records(plan="q")) == []
    assert list(ledger.lookup([stored[1].key])[stored[1].key].distribution) == ["sad", "happy"]
    assert len(ledger) == len(stored)


def test_numbers_of_other_kinds_and_odd_settings_are_no_reason_to_lose_a_reply(ledger):
    odd = record(
        0,
        temperature=1,
        prompt_tokens=np.int64(7),
        cost_usd=np.float32(0.5),
        distribution={"happy": np.float32(1)},
        output_tokens=2**70,
        settings={"a": np.float32(1.5), "b": float("nan"), "c": {1, 2}},
    )
    ledger.store([odd])
    (back,) = ledger.records()
    assert (back.temperature, back.prompt_tokens, back.cost_usd, back.distribution) == (1.0, 7, 0.5, {"happy": 1.0})
    assert "nan" in back.settings["b"] and back.output_tokens == 2**53


def test_the_first_ok_reply_counts_for_ever_and_without_one_the_last_attempt(ledger):
    counted, attempts = [], []
    for outcome, label in [("empty", None), ("server", None), ("ok", "sad"), ("ok", "happy"), ("empty", None)]:
        ledger.store([record(0, outcome, label=label)])
        found = ledger.lookup([key(0)])[key(0)]
        counted.append((found.outcome, found.label))
        attempts.append(found.attempt)
    assert counted == [("empty", None), ("server", None), ("ok", "sad"), ("ok", "sad"), ("ok", "sad")]
    assert attempts == [0, 1, 2, 2, 2]
    assert [one.attempt for one in ledger.records()] == [0, 1, 2, 3, 4]
    assert ledger.spending().replies == 5


def test_a_late_second_reply_does_not_count_whatever_its_clock_says(tmp_path):
    clock = Clock()
    with Ledger(tmp_path / "v", clock=clock) as one, Ledger(tmp_path / "v", clock=lambda: clock.now - 5000) as behind:
        one.store([record(0, label="sad")])
        behind.store([record(0, label="happy", created="2020-01-01T00:00:00+00:00")])
        assert one.lookup([key(0)])[key(0)].label == "sad"
        assert [(r.label, r.attempt) for r in one.records()] == [("sad", 0), ("happy", 1)]


def test_several_replies_to_one_key_in_one_call(ledger):
    ledger.store([record(0, "empty"), record(0), record(1, "empty"), record(1, "server")])
    assert {one.key: (one.outcome, one.attempt) for one in ledger.lookup([key(0), key(1)]).values()} == {
        key(0): ("ok", 1),
        key(1): ("server", 1),
    }


def test_reservations(ledger):
    ledger.store([record(0), record(1, "empty"), record(2, "blocked")])
    claims = [Claim(key(0), retry=True), Claim(key(1)), Claim(key(2), retry=True), Claim(key(3)), Claim(key(3))]
    first = ledger.reserve(claims)
    assert set(first.stored) == {key(0), key(1)} and first.granted == [key(2), key(3)]
    assert not (first.busy or first.deferred or first.over_budget or first.wait_s)
    again = ledger.reserve(claims)  # also what one holds oneself is not granted twice
    assert again.busy == [key(2), key(3)] and not again.granted and 0 < again.wait_s <= 1
    with Ledger(ledger.path) as other:
        assert other.reserve(claims).busy == [key(2), key(3)]
        other.release([key(3)])  # not its own
        assert other.reserve([Claim(key(3))]).busy
        ledger.release([key(3)])
        assert other.reserve([Claim(key(3))]).granted
    assert ledger.reserve([Claim(key(3))]).granted, "closing gives the leases back"
    ledger.store([record(2, "blocked"), record(3)])
    assert ledger.reserve(claims).granted == [key(2)], "a further retry only on a further request"
    assert ledger.spending().reserved_cost_usd == 0


def test_a_lease_that_ran_out_is_free_and_one_that_was_extended_is_not(tmp_path):
    clock = Clock()
    with Ledger(tmp_path / "v", clock=clock) as one, Ledger(tmp_path / "v", clock=clock) as two:
        assert one.reserve([Claim(key(0)), Claim(key(1))], lease_s=10).granted == [key(0), key(1)]
        clock.now += 9
        one.extend([key(1)], 10)
        clock.now += 2
        result = two.reserve([Claim(key(0)), Claim(key(1))], lease_s=10)
        assert result.granted == [key(0)] and result.busy == [key(1)]
        one.extend([key(0)], 1000)  # it is another's now
        one.store([record(0, label="late"), record(1)])
        assert two.spending().reserved_cost_usd == 0 and two.reserve([Claim(key(0))]).stored
        two.store([record(0, label="second")])
        assert one.lookup([key(0)])[key(0)].label == "late" and len(one) == 3


def test_caps_count_what_is_spent_and_what_is_reserved(ledger):
    limits = Limits(max_cost_usd=1.0)
    result = ledger.reserve([Claim(key(n), cost_usd=0.4) for n in range(4)], limits)
    assert result.granted == [key(0), key(1)] and result.over_budget and not result.exhausted and result.wait_s > 0
    assert ledger.spending().reserved_cost_usd == pytest.approx(0.8)
    ledger.store([record(0, cost_usd=0.1), record(1, cost_usd=0.1)])  # cheaper than was feared
    result = ledger.reserve([Claim(key(n), cost_usd=0.4) for n in range(2, 5)], limits)
    assert result.granted == [key(2), key(3)] and result.over_budget
    ledger.store([record(2, cost_usd=0.4), record(3, cost_usd=0.4)])
    with Ledger(ledger.path) as resumed:  # the cap goes on
        result = resumed.reserve(
            [Claim(key(0), cost_usd=0.4), Claim(key(9), cost_usd=0.4), Claim(key(8), cost_usd=0.0)], limits
        )
    assert result.stored and not result.granted and result.over_budget and result.exhausted and result.wait_s == 0
    ledger.store([record(20, "empty")])
    twice = ledger.reserve([Claim(key(20)), Claim(key(20), retry=True)])
    assert twice.stored and not twice.granted, "the first of two claims on one key decides"
    tokens = Limits(max_tokens=5 * 110 + 100)
    assert ledger.reserve([Claim(key(7), tokens=100), Claim(key(8), tokens=1)], tokens).granted == [key(7)]
    spending = ledger.spending()
    assert (spending.tokens, spending.replies, spending.reserved_tokens) == (550, 5, 100)
    assert spending.cost_usd == pytest.approx(1.25)


def test_failures_and_their_digest(tmp_path):
    path = tmp_path / "votes.sqlite"
    assert Ledger.failures_digest_of(path) == "" and not path.exists()
    digests = [""]
    with Ledger(path) as ledger:
        for step in (
            [record(0, "empty"), record(1)],
            [record(0, "empty")],  # failed, tried again, failed again
            [record(2, "blocked", plan="other")],
            [record(0)],
            [record(2, plan="other")],
        ):
            ledger.store(step)
            digests.append(Ledger.failures_digest_of(path))
            if len(digests) == 4:
                assert [one.attempt for one in ledger.failures("p" * 64)] == [1]
                assert [one.key for one in ledger.failures("other")] == [key(2)]
                of_plan = {plan: Ledger.failures_digest_of(path, plan) for plan in ("p" * 64, "other", "unknown")}
                assert of_plan["p" * 64] == digests[2] != of_plan["other"]
                assert of_plan["unknown"] == ""
    assert len(set(digests[:5])) == 5 and digests[5] == ""
    ok_again = digests[4]
    assert ok_again, "one failure was left"


def test_threads_share_a_ledger(ledger):
    def work(number):
        mine = [key(1000 * number + n) for n in range(25)]
        for one in mine:
            assert ledger.reserve([Claim(one)]).granted == [one]
            ledger.store([record(one)])
            assert ledger.lookup(mine)

    errors = []

    def guarded(number):
        try:
            work(number)
        except BaseException as error:  # noqa: BLE001 - shown below
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors and len(ledger) == 150


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_opens_a_connection_of_its_own(ledger):
    """Had the child kept the connection, what it stores after the parent closes would be gone: see `Database`."""
    assert ledger.reserve([Claim(key(0)), Claim(key(1))]).granted
    (opened, tell_opened), (closed, tell_closed) = os.pipe(), os.pipe()
    child = os.fork()
    if not child:
        code = 1
        with contextlib.suppress(BaseException):
            assert ledger.reserve([Claim(key(0)), Claim(key(1))]).busy == [key(0), key(1)]  # the parent's
            ledger.store([record(number) for number in range(10, 20)])
            os.write(tell_opened, b"x")
            os.read(closed, 1)
            for number in range(20, 30):
                ledger.store([record(number)])
            ledger.release([key(1)])
            code = 0
        os._exit(code)
    os.close(tell_opened)
    assert os.read(opened, 1)
    ledger.store([record(0)])
    ledger._database.disconnect()
    with Ledger(ledger.path) as other:
        other.store([record(2)])
    os.write(tell_closed, b"x")
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    for end in (opened, closed, tell_closed):
        os.close(end)
    assert ledger.reserve([Claim(key(1))]).busy, "the child cannot give back what is the parent's"
    assert len(ledger) == 22


def test_a_fork_that_python_does_not_know_of_is_refused(ledger, monkeypatch):
    monkeypatch.setattr(os, "getpid", lambda: -1)
    with pytest.raises(LedgerError, match=r"forked with the ledger .* Mend: start processes with multiprocessing"):
        ledger.reserve([Claim(key(0))])


def test_pickles_hold_the_path_alone(ledger):
    ledger.store([record(0)])
    data = pickle.dumps(ledger)
    assert data == pickle.dumps(ledger) and b"happy" not in data
    with pickle.loads(data) as copy:
        assert copy.path == ledger.path and copy.lookup([key(0)])
        assert ledger.reserve([Claim(key(1))]).granted and copy.reserve([Claim(key(1))]).busy


def test_a_closed_ledger_says_so(tmp_path):
    ledger = Ledger(tmp_path / "v")
    ledger.close()
    ledger.close()
    with pytest.raises(LedgerError, match="closed"):
        ledger.lookup(["k"])


def test_errors_travel_between_processes_whole(ledger):
    error = LedgerError("Why.", "what to do.", rescue_file="f", records=[record(0)])
    copy = pickle.loads(pickle.dumps(error))
    assert (str(copy), copy.mend, copy.rescue_file, copy.records) == (str(error), "what to do.", "f", (record(0),))


def test_bad_arguments(tmp_path):
    with pytest.raises(ValueError, match="synchronous"):
        Ledger(tmp_path / "v", synchronous="OFF")
    with pytest.raises(ValueError, match="max_cost_usd"):
        Limits(max_cost_usd=-1)
    with pytest.raises(ValueError, match="requests_per_minute"):
        Limits(requests_per_minute=0)
    with pytest.raises(ValueError, match="finite"):
        Claim("k", cost_usd=float("nan"))
    assert replace(Limits(), scope="s").scope == "s"
