"""Rates, leases of the dead, and that no order of events passes the cap or grants a key twice."""

import os
import tempfile

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from ledger_records import Clock, key, record

from hf_emo_dist.annotation.ledger import exchange
from hf_emo_dist.annotation.ledger import limits as ledger_limits
from hf_emo_dist.annotation.ledger.clock import SteadyClock
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger, Limits
from hf_emo_dist.annotation.ledger.schema import new_id
from hf_emo_dist.annotation.types import IN_FLIGHT


@pytest.mark.parametrize("per_minute", [0.5, 1, 7, 60, 90, 1000])
def test_no_minute_has_more_requests_than_the_limit_and_few_less(tmp_path, per_minute):
    clock = Clock()
    limits = Limits(requests_per_minute=per_minute, scope="s")
    sent: list[float] = []
    with Ledger(tmp_path / "v", clock=clock) as one, Ledger(tmp_path / "v", clock=clock) as two:
        number = 0
        while clock.now < 1.7e9 + (200 if per_minute < 1000 else 100):
            ledger = (one, two)[number % 2]  # the rate is that of both together
            result = ledger.reserve([Claim(key(n)) for n in range(number, number + 20)], limits)
            sent += [clock.now] * len(result.granted)
            number += len(result.granted)
            assert len(result.granted) + len(result.deferred) == 20
            assert (result.wait_s > 0) == bool(result.deferred)
            clock.now += result.wait_s + 1e-6
    for start in sent:
        assert sum(start <= time < start + 60 for time in sent) <= max(1, per_minute)
    assert len(sent) >= 0.95 * per_minute * (clock.now - 1.7e9) / 60


def test_tokens_a_minute_and_what_was_reserved_in_excess(tmp_path):
    clock = Clock()
    limits = Limits(tokens_per_minute=6000, scope="s")
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        first = ledger.reserve([Claim(key(n), tokens=1000) for n in range(3)], limits)
        assert first.granted == [key(0)] and first.deferred == [key(1), key(2)]  # 100 tokens a second
        assert 8 < first.wait_s < 11
        ledger.store([record(0, prompt_tokens=90, output_tokens=10)])  # it took 100 of the 1000
        clock.now += ledger.reserve([Claim(key(1), tokens=1000)], limits).wait_s
        assert clock.now < 1.7e9 + 1.1
        assert ledger.reserve([Claim(key(1), tokens=1000)], limits).granted
        assert ledger.reserve([Claim(key(2), tokens=1)], Limits(tokens_per_minute=6000, scope="another")).granted
        assert ledger.reserve([Claim(key(3), tokens=10**6)]).granted, "without limits the rates do not hold"


def test_a_pause_holds_for_its_scope_and_for_everybody(tmp_path):
    clock = Clock()
    with Ledger(tmp_path / "v", clock=clock) as one, Ledger(tmp_path / "v", clock=clock) as two:
        one.store([record(9)])
        one.pause("s", 30)
        two.pause("s", 5)  # a shorter one does not cut it
        result = two.reserve([Claim(key(9)), Claim(key(0))], Limits(scope="s"))
        assert result.stored and result.deferred == [key(0)] and result.wait_s == pytest.approx(30)
        assert one.reserve([Claim(key(1))], Limits(scope="t")).granted
        assert two.admit(Limits(scope="s")) == pytest.approx(30)
        clock.now += 30
        assert two.reserve([Claim(key(0))], Limits(scope="s")).granted


def test_repetitions_count_towards_the_rate(tmp_path):
    clock = Clock()
    limits = Limits(requests_per_minute=60, scope="s")
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        assert ledger.reserve([Claim(key(0))], limits).granted
        assert ledger.admit(limits) == pytest.approx(1)
        clock.now += 1
        assert ledger.admit(limits) == 0
        assert ledger.reserve([Claim(key(1))], limits).deferred


def test_a_clock_that_is_set_back_gives_nothing_and_does_not_block(tmp_path):
    clock = Clock()
    limits = Limits(requests_per_minute=60, scope="s")
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        assert ledger.reserve([Claim(key(0))], limits).granted
        clock.now -= 86400
        assert ledger.reserve([Claim(key(1))], limits).deferred
        assert ledger.admit(limits) <= 1
        ledger.store([record(1)])
        assert ledger.lookup([key(1)])


SET = {"back": -3600.0, "by a day": -86400.0, "forward": 3600.0}


@pytest.mark.parametrize("by", SET.values(), ids=SET)
def test_a_clock_that_is_set_in_a_run_changes_no_rate_no_pause_and_no_lease(tmp_path, caplog, by):
    """As it is in a process: both clocks go on, and the machine's is set after 30 s."""
    wall, running = Clock(), Clock(100.0)
    limits = Limits(requests_per_minute=60, scope="s")

    def second():
        wall.now, running.now = wall.now + 1, running.now + 1

    def asks(ledger, seconds, first):
        granted = 0
        for _ in range(seconds):
            second()
            granted += len(ledger.reserve([Claim(key(first + granted))], limits).granted)
        return granted

    with Ledger(tmp_path / "v", clock=SteadyClock(wall, running)) as one:
        assert asks(one, 30, 0) >= 29
        assert one.reserve([Claim(key(999))]).granted
        wall.now += by
        assert one.reserve([Claim(key(999))]).busy
        assert asks(one, 30, 100) >= 29
        one.pause("s", 20)
        assert not asks(one, 19, 200) and asks(one, 3, 200)
        with Ledger(tmp_path / "v", clock=SteadyClock(wall, running)) as two:  # that starts with the clock as it is set
            assert asks(two, 3, 300)
    (told,) = [entry.getMessage() for entry in caplog.records if "clock of this machine" in entry.getMessage()]
    assert f"set {'back' if by < 0 else 'forward'} by {abs(by):.0f} s" in told


def test_what_another_host_held_when_its_clock_was_ahead_is_waited_for_as_long_as_was_meant(
    tmp_path, monkeypatch, caplog
):
    clock = Clock()
    with monkeypatch.context() as elsewhere:
        elsewhere.setattr(ledger_limits, "this_host", lambda: "another")
        gone = Ledger(tmp_path / "v", clock=clock)
        assert gone.reserve([Claim(key(0), cost_usd=0.5)], lease_s=600).granted
    clock.now -= 3600
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        assert ledger.reserve([Claim(key(0))]).busy and "ahead of this one by 3600 s" in caplog.text
        clock.now += 601
        assert ledger.reserve([Claim(key(0))]).granted


def test_leases_of_another_host_run_out_and_those_of_the_dead_here_do_not_wait(tmp_path, monkeypatch):
    clock = Clock()
    limits = Limits(max_cost_usd=1)
    with monkeypatch.context() as there:
        there.setattr(ledger_limits, "this_host", lambda: "elsewhere")
        abroad = Ledger(tmp_path / "v", clock=clock)
    with monkeypatch.context() as dead:
        dead.setattr(ledger_limits, "process_start", lambda pid: "a process that had this number before")
        gone = Ledger(tmp_path / "v", clock=clock)
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        assert abroad.reserve([Claim(key(0), cost_usd=0.5)], limits, lease_s=100).granted
        assert gone.reserve([Claim(key(1), cost_usd=0.5)], limits, lease_s=100).granted
        result = ledger.reserve([Claim(key(n), cost_usd=0.5) for n in range(3)], limits)
        assert result.busy == [key(0)] and result.granted == [key(1)] and result.over_budget
        clock.now += 100
        assert ledger.reserve([Claim(key(0), cost_usd=0.5)], limits).granted
    abroad.close()
    gone.close()


def test_leases_of_another_living_process_do_not_run_out_where_the_clock_was_set_forward(tmp_path):
    """A process that began before prolongs them by a clock that knows nothing of it."""
    clock, before = Clock(), Clock()
    parent = os.getppid()
    with Ledger(tmp_path / "v", clock=before) as old, Ledger(tmp_path / "v", clock=clock) as new:
        assert old.reserve([Claim(key(n), cost_usd=0.5) for n in range(2)], lease_s=100).granted
        with new._database.transaction() as connection:
            its = (parent, ledger_limits.process_start(parent))
            connection.execute("UPDATE leases SET pid = ?, started = ?", its)
        clock.now += 3600
        result = new.reserve([Claim(key(0), cost_usd=0.5)], Limits(max_cost_usd=1))
        assert result.busy == [key(0)] and result.wait_s == 1 and new.spending().reserved_cost_usd == 1
        old.extend([key(0)], 100)
        clock.now += 3600
        assert new.reserve([Claim(key(0))]).busy
        with new._database.transaction() as connection:
            connection.execute("UPDATE leases SET started = 'before that' WHERE key = ?", (key(0),))
        assert new.reserve([Claim(key(0)), Claim(key(1))]).granted == [key(0)]  # that process is no more


def lost(number, cost=0.5):
    """What is written of a request of which nothing is heard any more."""
    fields = {"text": None, "prompt_tokens": None, "output_tokens": None, "model_version": None, "detail": IN_FLIGHT}
    return record(number, "connection", cost_usd=cost, assumed_usd=cost, assumed_tokens=900, final=False, **fields)


ENDS = {
    # what its process did with the lease before it ended, and what is spent then
    "granted": ([], 0.0),
    "sent": (["send"], 0.5),
    "sent, and known to cost nothing": (["send", "refused"], 0.0),
    "refused, and sent again": (["send", "refused", "send"], 0.5),
    "a try was charged": (["send", "charge"], 0.5),
    "a try was charged, and it was sent again": (["send", "charge", "send"], 1.0),
    "stored": (["send", "store"], 0.25),
    "stored beside the ledger": (["send", "rescue"], 0.25),
    "given back": (["send", "refused", "release"], 0.0),
    "given up": (["send", "forfeit"], 0.5),
}


@pytest.mark.parametrize("there", ["here", "elsewhere"])
@pytest.mark.parametrize("steps, spent", ENDS.values(), ids=ENDS)
def test_what_a_process_had_in_flight_when_it_ended_is_spent(tmp_path, monkeypatch, caplog, steps, spent, there):
    clock = Clock()
    limits = Limits(max_cost_usd=1.6)
    with monkeypatch.context() as its:
        if there == "elsewhere":
            its.setattr(ledger_limits, "this_host", lambda: "elsewhere")
        else:
            its.setattr(ledger_limits, "process_start", lambda pid: "a process that had this number before")
        gone = Ledger(tmp_path / "v", clock=clock)
    ways = {
        "send": lambda: gone.sending({key(0): lost(0)}),
        "refused": lambda: gone.sending({key(0): None}),
        "charge": lambda: gone.charge([lost(0)], limits),
        "store": lambda: gone.store([record(0)]),
        "rescue": lambda: exchange.append_lines(
            tmp_path / "v.host-1-ab.part.jsonl", [(new_id(int(clock.now * 1e6)), record(0))]
        ),
        "release": lambda: gone.release([key(0)]),
        "forfeit": lambda: gone.forfeit([key(0)]),
    }
    assert gone.reserve([Claim(key(n), cost_usd=0.5) for n in range(2)], limits, lease_s=100).granted
    for step in steps:
        clock.now += 1
        ways[step]()
    clock.now += 1
    with Ledger(tmp_path / "v", clock=clock) as ledger:
        if there == "elsewhere":  # which may go on: nobody else asks, and what was sent stays reserved, until then
            assert ledger.reserve([Claim(key(1), cost_usd=0.5)], limits).busy
            clock.now += 200
        ledger.reserve([Claim(key(1), cost_usd=0.5)], limits)
        assert ledger.spending().cost_usd == spent and ledger.spending().reserved_cost_usd == 0.5
        rows = [row for row in ledger.records() if row.detail == IN_FLIGHT]
        assert sum(row.cost_usd for row in rows) == spent - 0.25 * bool(ledger.lookup([key(0)]) and not rows)
        assert ("in flight" in caplog.text) == (steps[-1:] in (["send"], ["forfeit"]))
        if rows:  # it is asked again
            assert not rows[-1].final and rows[-1].assumed_tokens == 900
            assert ledger.reserve([Claim(key(0), cost_usd=0.5)]).granted == [key(0)]
            assert ledger.unanswered(rows[-1]) == set()
    gone.close()


def test_what_ran_out_is_reserved_until_it_is_charged_and_a_living_process_is_waited_for(tmp_path, monkeypatch):
    clock = Clock()
    with Ledger(tmp_path / "v", clock=clock) as one, Ledger(tmp_path / "v", clock=clock) as two:
        assert one.reserve([Claim(key(0), cost_usd=0.5), Claim(key(1), cost_usd=0.5)], lease_s=100).granted
        one.sending({key(0): lost(0)})
        clock.now += 200
        assert two.spending().reserved_cost_usd == 0.5  # what was not sent costs nothing
        assert two.reserve([Claim(key(0), cost_usd=0.5)]).granted and two.spending().cost_usd == 0
        one.store([record(0)])
        assert two.spending().cost_usd == 0.25


def test_a_ledger_whose_leases_say_nothing_of_sending_is_brought_up_to_date(tmp_path):
    with Ledger(tmp_path / "v") as ledger, ledger._database.transaction() as connection:
        for name in ("sent", "about"):
            connection.execute(f"ALTER TABLE leases DROP COLUMN {name}")
    with Ledger(tmp_path / "v") as ledger:
        assert ledger.reserve([Claim(key(0), cost_usd=0.5)]).granted
        ledger.sending({key(0): lost(0)})
        ledger.forfeit([key(0)])
        assert ledger.spending().cost_usd == 0.5


KEYS = st.lists(st.integers(0, 5), min_size=1, max_size=4)
EVENTS = st.lists(
    st.tuples(st.integers(0, 1), st.sampled_from(["reserve", "reserve", "store", "release", "extend", "wait"]), KEYS),
    max_size=25,
)


@settings(max_examples=60, deadline=None, derandomize=True)
@given(EVENTS, st.integers(1, 6))
def test_no_order_of_events_passes_the_cap_or_grants_a_key_twice(events, cap):
    """Each request costs 1. Replies that come after their lease ran out are spent beyond the cap, and only they."""
    clock = Clock()
    with (
        tempfile.TemporaryDirectory() as folder,
        Ledger(folder + "/v", synchronous="NORMAL", clock=clock) as one,
        Ledger(folder + "/v", synchronous="NORMAL", clock=clock) as two,
    ):
        owners = (one, two)
        leases: dict[str, tuple[int, float]] = {}  # of what runs, by our own book-keeping
        sent: list[set[str]] = [set(), set()]  # granted and neither stored nor released
        stored: set[str] = set()
        spent = late = 0
        for who, event, numbers in events:
            names = [key(number) for number in dict.fromkeys(numbers)]
            running = {name: lease for name, lease in leases.items() if lease[1] > clock.now}
            if event == "reserve":
                result = owners[who].reserve(
                    [Claim(name, cost_usd=1.0) for name in names], Limits(max_cost_usd=cap), 10
                )
                assert not set(result.granted) & (set(running) | stored)
                assert set(result.busy) <= set(running) and set(result.stored) == stored & set(names)
                if result.granted:
                    assert spent + len(running) + len(result.granted) <= cap
                else:
                    left_out = set(names) - set(result.busy) - stored
                    assert not left_out or spent + len(running) + 1 > cap
                leases |= {name: (who, clock.now + 10) for name in result.granted}
                sent[who] |= set(result.granted)
            elif event == "store":
                mine = [name for name in names if name in sent[who]]
                for name in mine:
                    late += running.get(name, (None,))[0] != who
                    if leases[name][0] == who:
                        del leases[name]
                owners[who].store([record(name, cost_usd=1.0) for name in mine])
                spent, stored, sent[who] = spent + len(mine), stored | set(mine), sent[who] - set(mine)
            elif event == "release":
                owners[who].release(names)
                for name in names:
                    if running.get(name, (None,))[0] == who:
                        del leases[name]
                        sent[who].discard(name)
            elif event == "extend":
                owners[who].extend(names, 10)
                leases |= {name: (who, clock.now + 10) for name in names if running.get(name, (None,))[0] == who}
            else:
                clock.now += 4
            assert spent <= cap + late
            live = sum(lease[1] > clock.now for lease in leases.values())
            assert (one.spending().cost_usd, two.spending().reserved_cost_usd) == (spent, live)
