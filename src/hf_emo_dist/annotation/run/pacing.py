"""How fast to send: requests in flight by what comes back, pauses, and the gate that every request passes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from .evidence import Pace
from .jobs import RunSettings

#: Requests in flight at the start; from there they double for as long as replies come as fast as before.
START = 16
# A round of replies that took so much longer than the fastest one means a queue: fewer are sent (as in TCP Vegas).
_QUEUE = 1.5
# From here on no more are sent.
_FULL = 1.25
# By which the fastest round is brought nearer to the present ones: a service has slow hours.
_FORGETTING = 0.02
# Beyond what the queue leaves room for, so that the service never waits for us.
_ROOM = 1.2
_LEAST_ROUND = 8
# A share of refusals that is no sign of anything.
_STRAY = 0.02
# So much more than what was refused is taken off: then fewer are in flight than the service took, and a refusal among
# those is not for their number. Never more than half at once.
_BELOW = 1.25
_LEAST_LEFT = 0.5
# The most that is put down to the service and not to us: at the worst, four requests are sent for three replies.
_MOST_USUAL = 0.25
_FORGETTING_USUAL = 0.125
# Chance or not: with more refused than this, three requests would be sent for two replies.
_MOST_TOLERATED = 0.3
# At a tier that sheds requests when others need the room, whoever sends them.
_USUAL_SHED = 0.5
# Beyond this share the climb is over; after so many rounds without a sign of overload it begins anew.
_CLIMB_ENDS = 0.2
_CLIMBS_AGAIN = 8


@dataclass
class _Round:
    """What came of the requests that were sent under one bound, before and after which others count."""

    began: float
    bound: float
    before: float = 0.0  # the share that was refused of those before, where these should be few enough for none
    latencies: list[float] = field(default_factory=list)
    refused: int = 0
    waited: bool = False  # whether a rate limit or a time-out is among them
    strained: bool = False  # whether more were refused than usual
    lowered_at: float | None = None
    left: float = 1.0  # of the bound
    share: float = 0.0  # refused, when it was lowered

    @property
    def outcomes(self) -> int:
        return len(self.latencies) + self.refused


class Pacing:
    """Lets in as many requests at once as come back fast.

    Every request, repeated ones too, passes `enter` before it is sent and calls `leave` after. In flight are at first
    `START`; twice as many after each round of replies that came as fast as before, up to `concurrency`. Replies that
    take longer bring it down to what the service works on. So do refusals, time-outs and failures of the server, by the
    share of them, once a round: to a little less than what was answered, and to half at the least. Then it grows by a
    sixteenth a round, or one, and climbs anew after a while without a sign. A share that stays when fewer are in flight
    is not the doing of their number, and slows nothing, up to a quarter.
    """

    def __init__(
        self,
        settings: RunSettings,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        sheds: bool = False,  # a tier that fills idle hours, where slow replies and refusals say little of a queue
        steady: bool = False,  # who answers gathers requests into batches: `concurrency` of them, however fast
    ) -> None:
        self.sheds, self.steady = sheds, steady
        self.settings, self.clock, self.pace = settings, clock, pace or Pace()
        started = self.pace.allowed or (settings.concurrency if steady else START)
        self.pace.allowed = min(float(settings.concurrency), started)
        self.in_flight = 0
        self.last_reply = float("-inf")
        self._held = False
        self._full = False
        self._round = _Round(float("-inf"), self.allowed)
        self._clean = 0  # rounds without a sign of overload
        self._trouble_since: float | None = None
        self._refusals = 0  # rounds since the last reply in which there were some
        self._resume_at = float("-inf")
        self._random = random.Random()  # only of waiting times: no result depends on it
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    @property
    def allowed(self) -> float:
        """Requests that may be in flight now."""
        return self.pace.allowed

    # --- what happened

    def replied(self, sent: float, latency_s: float) -> None:
        """Note a reply to a request of `sent`."""
        self.last_reply, self._trouble_since, self._refusals = self.clock(), None, 0
        if (now := self._round_of(sent)) is not None:
            now.latencies.append(latency_s)
            if not (self.pace.climbing or self._full or now.before or now.lowered_at is not None):
                self._set(self.allowed + max(1.0 / self.allowed, 1.0 / 16))
            self._end_round()
        self._wake()

    def strained(self, asked_s: float | None, sent: float, pauses: bool = False, late: bool = False) -> float:
        """Note a sign of overload: fewer at once from now on, by how many of those sent together met one.

        Args:
            asked_s: Seconds that the server asks to wait.
            sent: When the request was sent. Those that were in flight together are one round.
            pauses: Whether nobody sends for a while, though the server does not ask for it.
            late: Whether the service may be at work on it still.

        Returns:
            Seconds until this request may be sent again.
        """
        self.failed()
        excess = 0.0
        if (now := self._round_of(sent)) is not None:
            now.refused += 1
            now.waited |= pauses or late
            excess = self._excess()
            if excess > 0:
                self._refusals += not now.strained
                now.strained = True
                self._lower(excess)
            self._end_round()
        wait_s = self.backoff(max(1, self._refusals), asked_s)
        # Nobody sends where the server asks for it and means all, or nothing was answered since the last sign.
        if pauses or (excess > 0 and (asked_s or self._refusals > 1)):
            self._resume_at = max(self._resume_at, self.clock() + wait_s)
        return wait_s

    def failed(self) -> None:
        """Note that a request got no reply."""
        if self._trouble_since is None:
            self._trouble_since = self.clock()

    def _round_of(self, sent: float) -> _Round | None:
        """The present round where a request belongs to it. The first that was sent after a cut begins another."""
        now = self._round
        if now.lowered_at is not None and sent >= now.lowered_at:
            self._begin_round()
        return self._round if sent >= self._round.began else None

    def _begin_round(self) -> None:
        last, began, before = self._round, self.clock(), 0.0
        if last.lowered_at is not None:
            began, self._clean = last.lowered_at, 0
            # After a larger cut it may still be more than the service takes.
            before = last.share if last.left > _LEAST_LEFT and not last.waited else 0.0
        self._round = _Round(began, self.allowed, before)

    def _sent(self) -> int:
        """Requests of this round. Refusals come before replies do: those in flight count until they are refused."""
        return max(1, self._round.outcomes + max(0, self.in_flight - 1))

    def _excess(self) -> float:
        """The share that is refused, beyond what would be refused of fewer, too."""
        now, usual, number = self._round, self.pace.usual, self._sent()
        if not now.waited:
            usual = max(usual, now.before, _USUAL_SHED * self.sheds)
        # Of as many as usual there are by chance sometimes more: twice the standard deviation of a Poisson number.
        tolerated = _STRAY * number + usual * number + 2 * (usual * number) ** 0.5
        if not self.sheds:
            tolerated = min(tolerated, max(1.0, _MOST_TOLERATED * number))
        return max(0.0, now.refused - tolerated) / number

    def _lower(self, excess: float) -> None:
        now = self._round
        now.left = min(now.left, max(_LEAST_LEFT, 1.0 - _BELOW * (excess + _STRAY)))
        now.share = now.refused / self._sent()
        if now.left * now.bound < self.allowed:
            now.lowered_at = self.clock()
            self._set(now.left * now.bound)
        self._full = False
        if now.waited or excess >= _CLIMB_ENDS:
            self.pace.climbing = False
        if now.left == _LEAST_LEFT:
            self.pace.usual = 0.0

    def _end_round(self) -> None:
        now, pace = self._round, self.pace
        size = max(_LEAST_ROUND, int(now.bound))
        if now.outcomes < size or 2 * len(now.latencies) < size:
            return
        share = now.refused / self._sent()
        if now.before and not now.waited and now.refused > 1 and share >= now.before / 2:
            pace.usual = max(pace.usual, min(_MOST_USUAL, share))
            pace.climbing = True  # what ended the climb was not for our number
        elif share < pace.usual:
            pace.usual += _FORGETTING_USUAL * (share - pace.usual)
        ratio = self._slowness()
        if ratio >= _QUEUE:
            pace.climbing = False
            self._set(self.allowed * min(0.9, _ROOM / ratio))
        elif pace.climbing and now.lowered_at is None:
            self._set(2 * self.allowed)
        self._clean = 0 if self._full else self._clean + 1
        pace.climbing |= self._clean >= _CLIMBS_AGAIN
        self._begin_round()

    def _slowness(self) -> float:
        """How much longer replies took than in the fastest round."""
        pace, mean_s = self.pace, sum(self._round.latencies) / len(self._round.latencies)
        if pace.fastest_s is None or mean_s < pace.fastest_s:
            pace.fastest_s = mean_s
        ratio = 1.0 if self.sheds else mean_s / max(pace.fastest_s, 1e-9)
        pace.fastest_s += _FORGETTING * (mean_s - pace.fastest_s)
        self._full = ratio >= _FULL
        return ratio

    def _set(self, allowed: float) -> None:
        if self.steady:
            return
        self.pace.allowed = min(float(self.settings.concurrency), max(1.0, allowed))

    # --- what follows from it

    def trouble_s(self) -> float:
        """Seconds since the first request that failed or was refused after the last reply; 0 where none did."""
        return 0.0 if self._trouble_since is None else self.clock() - self._trouble_since

    def shed(self) -> bool:
        """Whether a refusal now is the shedding of a tier that answers others: waiting longer would not help it."""
        return self.sheds and self._refusals <= 1

    def pause_left(self) -> float:
        """Seconds until anybody may send; not above 0 where they may."""
        return self._resume_at - self.clock()

    def backoff(self, tries: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many tries: what the server asks for, else doubling, between half and all of it."""
        if asked_s:  # a server that asks for no wait at all would be flooded
            return asked_s
        longest = self.settings.first_backoff_s * 2.0 ** min(tries - 1, 30)
        return min(self.settings.last_backoff_s, longest) * self._random.uniform(0.5, 1.0)

    # --- the gate

    async def enter(self, repeated: bool = False) -> bool:
        """Wait until one more request may be in flight; False where nothing may be sent any more.

        One that is `repeated` goes before those that wait: what was asked for first is to come first.
        """
        if self._closed:
            return False
        if not self._waiters and self._open():
            self.in_flight += 1
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.appendleft(waiter) if repeated else self._waiters.append(waiter)
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.leave()
            raise

    def leave(self) -> None:
        """Note that a request is not in flight any more."""
        self.in_flight -= 1
        self._wake()

    def hold(self, held: bool) -> None:
        """Let nobody in while it is unclear whether anybody is answered, or let them in again."""
        self._held = held
        self._wake()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._wake()

    def _open(self) -> bool:
        return not self._held and self.in_flight + 1 <= self.allowed and self.pause_left() <= 0

    def _wake(self) -> None:
        while self._waiters and (self._closed or self._open()):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(not self._closed)
                self.in_flight += not self._closed
        left = self.pause_left()
        if self._waiters and left > 0 and self._timer is None:
            # A little later than may be: several processes that pause together are not to start at the same moment.
            late = self._random.uniform(0.0, min(0.1 * left, 1.0))
            self._timer = asyncio.get_running_loop().call_later(left + late, self._pause_ends)
        if self._closed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause_ends(self) -> None:
        self._timer = None
        self._wake()
