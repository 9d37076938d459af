"""Looking into a ledger without writing: all that came of a key, what it cost, which keys have no vote."""

import shutil
from pathlib import Path

import pytest
from ledger_records import key, record

from hf_emo_dist.annotation.ledger.ledger import Ledger, LedgerError
from hf_emo_dist.annotation.ledger.looking import attempts, bill_of, failed


@pytest.fixture
def path(tmp_path):
    with Ledger(tmp_path / "votes.sqlite") as ledger:
        ledger.store([record(1, "timeout", text=None, cost_usd=0.3, assumed_usd=0.2, final=False)])
        ledger.store(
            [record(1), record(2, "rejected", text=None, cost_usd=None, plan="q", audio="a2", detail="no\ud800")]
        )
        ledger.store([record(3, cost_usd=None)])
    return tmp_path / "votes.sqlite"


def test_every_attempt_of_a_key_in_its_order(path):
    found = attempts(path, [key(1), key(2), key(9)])
    assert set(found) == {key(1), key(2)}
    assert [(one.counts, one.record.outcome, one.record.final) for one in found[key(1)]] == [
        (False, "timeout", False),
        (True, "ok", True),
    ]


def test_the_bill_has_all_attempts(path):
    bill = bill_of(path, [key(number) for number in (1, 2, 3, 9)])
    assert bill.keys == {key(1), key(2), key(3)} and bill.plans == {"p" * 64, "q"}
    assert (bill.cost_usd, bill.assumed_usd, bill.unpriced) == (pytest.approx(0.55), pytest.approx(0.2), 1)
    assert bill_of(path, []).keys == frozenset()


def test_failures_of_some_plans_or_of_all(path):
    (one,) = failed(path)
    assert (one.key, one.audio, one.outcome) == (key(2), "a2", "rejected") and one.detail == "no\ud800"
    assert failed(path, ["q"]) == [one] and not failed(path, ["p" * 64, "'; DROP TABLE replies; --"])


def test_a_ledger_of_0_1(tmp_path):
    """It has no columns for what was assumed, and gets none by being looked at."""
    old = shutil.copy(Path(__file__).parent / "data" / "ledger_0_1_0.db", tmp_path / "votes.sqlite")
    before = Path(old).read_bytes()
    without = failed(old)
    found = attempts(old, [one.key for one in without])
    assert without and all(any(a.counts and a.record.outcome == f.outcome for a in found[f.key]) for f in without)
    assert all(a.record.assumed_usd is None and a.record.final for tries in found.values() for a in tries)
    assert bill_of(old, list(found)).assumed_usd == 0 and Path(old).read_bytes() == before


def test_no_ledger(tmp_path):
    for look in (lambda p: attempts(p, ["k"]), lambda p: bill_of(p, ["k"]), failed):
        with pytest.raises(LedgerError, match="There is no ledger"):
            look(tmp_path / "none.sqlite")
    assert not list(tmp_path.iterdir())
