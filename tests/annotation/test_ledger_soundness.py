"""What a ledger counts by is held against what can be: no lease, total or cost of another program moves a cap."""

import json
import math
import sqlite3
import time

import pytest
from annotation_setup import EMOTIONS, annotator, dataset
from ledger_records import Clock, key, record

from hf_emo_dist.annotation.ledger.accounts import assumed, spending_by_day
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits
from hf_emo_dist.annotation.ledger.looking import bill_of

LEASE = "INSERT INTO leases VALUES ('{key}', 'x', 'h', 1, 's', {expires}, {cost}, {tokens}, 's', {sent}, {about}, 1.0)"
GIVEN = {"expires": 1.7e9 + 600, "cost": 0.5, "tokens": 9, "sent": 1.0, "about": "'{bad'"}
#: What of a lease cannot be.
LEASES = {
    "for ever": {"expires": 1e18},
    "dear": {"cost": 1e9},
    "all of it": {"expires": 1e18, "cost": 1e9},
    "a cost that is text": {"cost": "'abc'"},
    "a cost without end": {"cost": "9e999"},
    "a cost below 0": {"cost": -5.0},
    "a time that is text": {"expires": "'soon'"},
    "tokens below 0": {"tokens": -7},
    "sent at no time": {"sent": "'x'"},
}
TOTALS = ["cost_usd = -1e6", "cost_usd = 'abc'", "cost_usd = 9e999", "cost_usd = 0.1", "tokens = -9", "replies = 'x'"]
#: What of a reply cannot be counted, and the column that is named.
ROWS = {
    "a cost without end": "cost_usd = 9e999",
    "a cost below 0": "cost_usd = -1e6",
    "a cost that is text": "cost_usd = 'abc'",
    "an assumed cost without end": "assumed_usd = 9e999",
    "tokens below 0": "prompt_tokens = -5",
    "tokens that are text": "output_tokens = 'many'",
    "a wait without end": "latency_s = 9e999",
}


def changed(path, statement):
    with Ledger(path, clock=Clock()) as ledger:
        ledger.store([record(0), record(1)])
    connection = sqlite3.connect(path)
    with connection:
        connection.execute(statement)
    connection.close()
    return path


@pytest.mark.parametrize("when", ["at opening", "when freeing"])
@pytest.mark.parametrize("case", LEASES)
def test_a_lease_that_cannot_be_is_dropped_and_named(tmp_path, caplog, case, when):
    statement = LEASE.format(key=key(5), **GIVEN | LEASES[case])
    path = changed(tmp_path / "v", statement if when == "at opening" else "SELECT 1")
    with Ledger(path, clock=Clock()) as ledger:
        if when == "when freeing":
            with ledger._database.transaction() as connection:
                connection.execute(statement)
        got = ledger.reserve([Claim(key(5), cost_usd=0.1), Claim(key(6), cost_usd=0.1)], Limits(max_cost_usd=0.8))
        assert got.granted == [key(5), key(6)] and ledger.spending().cost_usd == 0.5
    assert str(path) in caplog.text and "1 reservations in it cannot be so" in caplog.text and key(5) in caplog.text


def test_a_lease_that_can_be_is_waited_for_and_it_is_said_for_whom(tmp_path, caplog):
    path = changed(tmp_path / "v", LEASE.format(key=key(5), **GIVEN))
    with Ledger(path, clock=Clock()) as ledger:
        for claim, cap in ((Claim(key(5)), None), (Claim(key(6), cost_usd=0.1), 1.05)):
            got = ledger.reserve([claim], Limits(max_cost_usd=cap))
            assert got.waits_for == "process 1 on h (1 requests, $0.5000 reserved, until 2023-11-14 22:23:20 UTC at "\
                "the latest)" and not got.granted and got.wait_s > 0  # fmt: skip
    assert not caplog.text


@pytest.mark.parametrize("way", ["money", "key"])
def test_a_run_says_once_for_whom_it_waits(tmp_path, caplog, way):
    path, most = tmp_path / "v", 10**6 if way == "money" else None
    with Ledger(path) as ledger:
        rows = dataset(2).add_column("true_distribution", [dict.fromkeys(EMOTIONS, 0.25)] * 2)
        asker = annotator("simulated", ledger, num_annotations=1, emotions=EMOTIONS, max_tokens=most)
        name = key(5) if way == "money" else asker._keys(list(asker.utterances(rows)))[0].hex()
        lease = {"expires": time.time() + 1.0, "cost": 0.5, "tokens": 10**6, "sent": "NULL", "about": "NULL"}
        with ledger._database.transaction() as connection:
            connection.execute(LEASE.format(key=name, **lease))
        assert asker.annotate(rows).report.complete
    told = [line for line in caplog.messages if line.startswith("Waiting")]
    assert len(told) == 1 and f"reserved in {path}: process 1 on h (1 requests, $0.5000 reserved, until 20" in told[0]


@pytest.mark.parametrize("change", TOTALS)
def test_totals_that_are_not_the_sums_are_put_right_before_anything_is_granted(tmp_path, caplog, change):
    path = changed(tmp_path / "v", f"UPDATE totals SET {change}")
    with Ledger(path, clock=Clock()) as ledger:
        assert ledger.reserve([Claim(key(5), cost_usd=0.1)], Limits(max_cost_usd=0.55)).exhausted
        assert ledger.spending().cost_usd == 0.5 and ledger.spending().tokens == 220 and len(ledger) == 2
    assert f"The ledger {path} is damaged: its totals are" in caplog.text
    caplog.clear()
    Ledger(path).close()
    assert not caplog.text


@pytest.mark.parametrize("case", ROWS)
def test_a_number_that_cannot_be_is_named_and_counts_nothing(tmp_path, caplog, case):
    change = ROWS[case]
    path = changed(tmp_path / "v", f"UPDATE replies SET {change} WHERE key = '{key(0)}'")
    with Ledger(path, clock=Clock()) as ledger:
        found = ledger.lookup([key(0), key(1)])
        assert ledger.spending().cost_usd == (0.25 if change.startswith("cost") else 0.5)
        json.dumps([vars(one) for one in found.values()] + [vars(ledger.spending())], allow_nan=False)
        assert found[key(0)].label == "happy"
        sums = (sum(day.cost_usd for day in spending_by_day(path)), bill_of(path, [key(0), key(1)]).cost_usd)
        assert sums == (ledger.spending().cost_usd,) * 2 and math.isfinite(assumed(path).cost_usd)
    assert str(path) in caplog.text and key(0) in caplog.text and "is damaged" in caplog.text


@pytest.mark.parametrize("value", [math.inf, math.nan])
def test_a_cost_that_is_no_number_is_not_stored(tmp_path, caplog, value):
    with Ledger(tmp_path / "v") as ledger:
        ledger.store([record(0, cost_usd=value)])
        assert ledger.lookup([key(0)])[key(0)].cost_usd is None and ledger.spending().cost_usd == 0
