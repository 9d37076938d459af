"""The gate that every request passes, and what signs of overload do to it."""

import asyncio
import heapq
import random

import pytest

from hf_emo_dist.annotation.run.evidence import Pace
from hf_emo_dist.annotation.run.first_reply import FirstReply
from hf_emo_dist.annotation.run.jobs import RunSettings
from hf_emo_dist.annotation.run.loop import Channel, LoopThread
from hf_emo_dist.annotation.run.pacing import Pacing


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


def pacing_of(concurrency, clock=None, allowed=None, **settings):
    """Past its climb where `allowed` is given."""
    pace = Pace() if allowed is None else Pace(allowed, climbing=False, fastest_s=1.0)
    return Pacing(RunSettings(concurrency, **settings), clock or Clock(), pace)


def rounds(pacing, number, latency):
    """So many rounds of replies, of requests as many as are allowed; what is allowed after each."""
    found = []
    for _ in range(number):
        together = int(pacing.allowed)
        sent, seconds = pacing.clock.now, latency(together)
        pacing.clock.now += seconds
        for _ in range(together):
            pacing.replied(sent, seconds)
        found.append(pacing.allowed)
    return found


def test_what_was_in_flight_together_halves_once():
    clock = Clock()
    pacing = pacing_of(16, clock)
    sent = clock()
    clock.now += 5.0  # however long the replies take
    for _ in range(16):
        clock.now += 0.1
        pacing.strained(1.0, sent)
    assert pacing.allowed == 8
    pacing.strained(1.0, sent=clock())
    assert pacing.allowed == 4
    for _ in range(20):
        pacing.strained(1.0, sent=clock())
    assert pacing.allowed == 1


def test_it_climbs_while_replies_come_as_fast_as_before():
    assert rounds(pacing_of(128), 4, lambda n: 1.0) == [32, 64, 128, 128]
    # one that works on 40 at once, and lets the others wait
    found = rounds(pacing_of(128), 30, lambda n: max(1.0, n / 40))
    assert max(found[6:]) <= 64 and min(found[6:]) >= 36
    # one that a reply of 8 s is slow for is not one that has a queue
    assert rounds(pacing_of(128), 3, lambda n: 8.0) == [32, 64, 128]


def test_replies_let_one_more_in_for_each_round():
    pacing = pacing_of(8, allowed=4)
    assert 4.9 < rounds(pacing, 1, lambda n: 1.0)[-1] < 5.1
    assert rounds(pacing, 20, lambda n: 1.0)[-1] == 8
    # the larger the number, the larger the step
    assert 67 < rounds(pacing_of(128, allowed=64), 1, lambda n: 1.0)[-1] < 69


def test_waiting_times():
    clock = Clock()
    pacing = pacing_of(4, clock, first_backoff_s=1.0, last_backoff_s=10.0)
    assert pacing.strained(7.5, clock()) == 7.5 and pacing.pause_left() == 7.5
    assert pacing.strained(2.0, clock()) == 2.0 and pacing.pause_left() == 7.5  # the longer one holds
    waits = [pacing.backoff(tries) for tries in range(1, 2000)]
    for tries, wait in enumerate(waits, start=1):
        assert 0.5 * min(10, 2.0 ** min(tries - 1, 9)) <= wait <= 10
    assert pacing.backoff(1, asked_s=0.0) >= 0.5  # a server that asks for no wait is not flooded
    # without a delay of the server's, each round of refusals doubles the pause
    fresh = pacing_of(64, clock, first_backoff_s=1.0, last_backoff_s=100.0)
    for number in range(1, 6):
        assert 2.0 ** (number - 1) / 2 <= fresh.strained(None, clock(), pauses=True) <= 2.0 ** (number - 1)
        clock.now += 0.1
    fresh.replied(clock(), 1.0)
    assert fresh.strained(None, clock(), pauses=True) <= 1.0


def test_an_overload_pauses_nobody_until_it_repeats_itself():
    clock = Clock()
    pacing = pacing_of(64, clock)
    pacing.strained(None, clock())
    assert pacing.pause_left() <= 0 and pacing.allowed == 8
    clock.now += 1
    pacing.strained(None, clock())
    assert pacing.pause_left() > 0 and pacing.allowed == 4


class Served:
    """So many replies of a service of our own making, without a network: seconds it took, and what was sent."""

    def __init__(self, service, wanted=2000, concurrency=128, sheds=False):
        clock = Clock()
        pacing = self.pacing = Pacing(RunSettings(concurrency), clock, sheds=sheds)
        pacing._random = random.Random(5)
        todo, again, events, got = [0] * wanted, [], [], 0
        self.sent, began = 0, clock.now
        while got < wanted:
            while again and again[0][0] <= clock.now:
                todo.append(heapq.heappop(again)[1])
            free = pacing.in_flight + 1 <= pacing.allowed and pacing.pause_left() <= 0
            if todo and free:
                pacing.in_flight += 1
                self.sent += 1
                kind, seconds = service(clock.now)
                heapq.heappush(events, (clock.now + seconds, self.sent, kind, seconds, clock.now, todo.pop()))
                continue
            soonest = [found[0][0] for found in (events, again) if found]
            if todo and pacing.pause_left() > 0:
                soonest.append(clock.now + pacing.pause_left() + 1e-6)
            clock.now = min(soonest)
            while events and events[0][0] <= clock.now:
                _, _, kind, seconds, sent, failures = heapq.heappop(events)
                if kind == "reply":
                    pacing.replied(sent, seconds)
                    got += 1
                else:
                    pacing.strained(None, sent, late=kind == "late")
                    wait_s = pacing.backoff(min(failures, 2) + 1)
                    heapq.heappush(again, (clock.now + wait_s, failures + 1))
                pacing.leave()
        self.seconds = clock.now - began


def refuses_some(share):
    """Whatever is in flight: the refusals of somebody else's load."""
    drawn = random.Random(3)
    return lambda now: ("refused", 0.01) if drawn.random() < share else ("reply", 0.5)


def works_on(number, gives_up_s=None, seconds=0.5):
    """At once; the others are refused, or wait and are given up by a proxy while they are worked on all the same."""
    ends = []

    def service(now):
        while ends and ends[0] <= now:
            heapq.heappop(ends)
        if len(ends) >= number and gives_up_s is None:
            return "refused", 0.01
        starts = now if len(ends) < number else sorted(ends)[-number]
        heapq.heappush(ends, starts + seconds)
        took = starts + seconds - now
        return ("late", gives_up_s) if gives_up_s is not None and took > gives_up_s else ("reply", took)

    return service


SERVICES = {  # least share of the rate of so many at once; most requests for a reply
    "works on all": (lambda: refuses_some(0.0), 128, 0.8, 1.0),
    "works on 1": (lambda: works_on(1), 1, 0.5, 1.5),
    "works on 8": (lambda: works_on(8), 8, 0.8, 1.1),
    "works on 40": (lambda: works_on(40), 40, 0.8, 1.1),
    "8, behind a proxy": (lambda: works_on(8, gives_up_s=1.25), 8, 0.7, 1.2),
    "40, behind a proxy": (lambda: works_on(40, gives_up_s=1.25), 40, 0.7, 1.2),
}


@pytest.mark.parametrize("service, at_once, least, most", SERVICES.values(), ids=SERVICES)
def test_the_rate_is_what_the_service_takes(service, at_once, least, most):
    wanted = 2000 if at_once > 1 else 200
    found = Served(service(), wanted)
    rate = (wanted * 0.5 / at_once) / found.seconds
    assert rate >= least and found.sent <= most * wanted, (rate, found.sent / wanted)


@pytest.mark.parametrize("share, sheds, least", [(0.05, False, 0.7), (0.2, False, 0.4), (0.5, True, 0.3)])
def test_refusals_that_are_not_for_our_number_hardly_slow(share, sheds, least):
    """Of the rate without them, waits before what was refused is sent again included; a tier may shed half."""
    without, found = Served(refuses_some(0.0), 8000, sheds=sheds), Served(refuses_some(share), 8000, sheds=sheds)
    assert without.seconds >= least * found.seconds
    assert found.sent < 1.1 * 8000 / (1 - share)


def test_it_climbs_again_after_a_while_without_a_sign():
    pacing = pacing_of(128)
    rounds(pacing, 3, lambda n: 1.0)
    sent = pacing.clock.now
    pacing.clock.now += 0.5
    for _ in range(128):
        pacing.strained(None, sent)
    assert pacing.allowed == 64 and not pacing.pace.climbing
    for _ in range(5):  # a hiccup that goes on for a while
        pacing.clock.now += 1
        pacing.strained(None, pacing.clock.now)
    assert pacing.allowed == 2
    assert rounds(pacing, 20, lambda n: 1.0)[-1] == 128


def test_the_first_reply_lets_them_go_in_their_order():
    async def main():
        gate, went = FirstReply(needed=True), []

        async def go(number):
            await gate.wait()
            went.append(number)
            if number == 0:
                await asyncio.sleep(0.01)
                gate.following()  # it was denied
            if number == 1:
                await asyncio.sleep(0.01)
                assert went == [0, 1]
                gate.over()
                late.append(asyncio.create_task(go(99)))

        late = []
        await asyncio.gather(*map(go, range(40)))
        await asyncio.gather(*late)
        assert went == [*range(40), 99]

    asyncio.run(main())


def test_what_is_repeated_goes_first():
    async def main():
        pacing, went = Pacing(RunSettings(1)), []

        async def go(name, repeated=False):
            assert await pacing.enter(repeated)
            went.append(name)
            await asyncio.sleep(0)
            pacing.leave()

        await asyncio.gather(go("first"), go("second"), go("third"), go("again", True))
        assert went == ["first", "again", "second", "third"]

    asyncio.run(main())


def test_trouble_is_counted_from_the_first_failure_after_a_reply():
    clock = Clock()
    pacing = pacing_of(4, clock)
    clock.now += 10_000  # nothing was sent for hours, such as for want of money
    assert pacing.trouble_s() == 0
    pacing.strained(1.0, clock())
    clock.now += 5
    pacing.failed()
    assert pacing.trouble_s() == 5
    pacing.replied(clock(), 1.0)
    assert pacing.trouble_s() == 0


def test_the_gate_lets_in_as_many_as_are_allowed_and_nobody_in_a_pause():
    async def main():
        pacing = Pacing(RunSettings(4))
        most = 0

        async def request():
            nonlocal most
            assert await pacing.enter()
            most = max(most, pacing.in_flight)
            await asyncio.sleep(0.001)
            pacing.leave()

        await asyncio.gather(*(request() for _ in range(50)))
        assert most == 4 and pacing.in_flight == 0
        began = pacing.clock()
        pacing.strained(0.1, began)
        most = 0
        await asyncio.gather(*(request() for _ in range(10)))
        assert pacing.clock() - began >= 0.1 and most == 2 and pacing.in_flight == 0
        # Nobody is let in while it is unclear whether anybody is answered.
        pacing.hold(True)
        held = asyncio.create_task(pacing.enter())
        await asyncio.sleep(0.01)
        assert not held.done()
        pacing.hold(False)
        assert await held
        pacing.leave()
        # One who is cancelled while being let in gives the place back.
        pacing.strained(0.05, pacing.clock())
        waiters = [asyncio.create_task(pacing.enter()) for _ in range(3)]
        await asyncio.sleep(0)
        waiters[0].cancel()
        assert (await asyncio.gather(*waiters[:2], return_exceptions=True))[1] is True
        pacing.close()
        assert await waiters[2] is False and await pacing.enter() is False
        assert pacing.in_flight == 1

    asyncio.run(main())


def test_a_channel_gives_what_is_in_it_and_then_ends():
    async def main():
        channel = Channel(2)
        got = []

        async def take():
            while (item := await channel.get()) is not None:
                got.append(item)

        takers = [asyncio.create_task(take()) for _ in range(3)]
        for number in range(20):
            assert await channel.put(number)
        assert await channel.room(2) == 2
        await channel.put("last")
        channel.close()
        await asyncio.gather(*takers)
        assert got == [*range(20), "last"] and channel.over
        assert not await channel.put("more") and await channel.room(1) == 0

    asyncio.run(main())


def test_the_background_loop_raises_returns_and_starts_again():
    thread = LoopThread()

    async def value(x):
        await asyncio.sleep(0)
        if isinstance(x, BaseException):
            raise x
        return x

    def run(x):
        return thread.run(value(x), on_interrupt=pytest.fail)

    assert run(3) == 3
    with pytest.raises(TimeoutError, match="mine"):
        run(TimeoutError("mine"))
    first = thread.loop()
    thread.close(lambda: value(1))
    with pytest.raises(KeyError):
        run(2)
        thread.close(lambda: value(KeyError("in closing")))
    assert run(4) == 4 and thread.loop() is not first
    thread.close(lambda: value(6))

    async def inside():
        return run(5)  # as in a notebook, where a loop is running

    assert asyncio.run(inside()) == 5
