"""How fast to send: requests in flight by what comes back, pauses, and the gate that every request passes."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable

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


class Pacing:
    """Lets in as many requests at once as come back fast.

    Every request, repeated ones too, passes `enter` before it is sent and calls `leave` after. In flight are at first
    `START`; twice as many after each round of replies that came as fast as before, up to `concurrency`. Replies that
    take longer bring it down to what the service works on, any other sign of overload to half; then it grows by a
    sixteenth a round, or one.
    """

    def __init__(
        self,
        settings: RunSettings,
        clock: Callable[[], float] = time.monotonic,
        pace: Pace | None = None,
        by_latency: bool = True,  # whether replies that take longer than before mean a queue
    ) -> None:
        self.by_latency = by_latency
        self.settings, self.clock, self.pace = settings, clock, pace or Pace()
        self.pace.allowed = min(float(settings.concurrency), self.pace.allowed or START)
        self.in_flight = 0
        self.last_reply = float("-inf")
        self._held = False
        self._full = False
        self._round: list[float] = []
        self._round_began = float("-inf")
        self._round_of = max(_LEAST_ROUND, int(self.pace.allowed))
        self._trouble_since: float | None = None
        self._refusals = 0
        self._resume_at = self._last_cut = float("-inf")
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
        if not self.pace.climbing and not self._full:
            self._set(self.allowed + max(1.0 / self.allowed, 1.0 / 16))
        if sent >= self._round_began:
            self._round.append(latency_s)
            if len(self._round) >= self._round_of:
                self._end_round(sum(self._round) / len(self._round))
        self._wake()

    def _end_round(self, mean_s: float) -> None:
        pace = self.pace
        if pace.fastest_s is None or mean_s < pace.fastest_s:
            pace.fastest_s = mean_s
        ratio = mean_s / max(pace.fastest_s, 1e-9) if self.by_latency else 1.0
        pace.fastest_s += _FORGETTING * (mean_s - pace.fastest_s)
        self._full = ratio >= _FULL
        if ratio >= _QUEUE:
            pace.climbing = False
            self._set(self.allowed * min(0.9, _ROOM / ratio))
        elif pace.climbing:
            self._set(2 * self.allowed)
        self._begin_round()

    def _begin_round(self) -> None:
        self._round, self._round_began = [], self.clock()
        self._round_of = max(_LEAST_ROUND, int(self.allowed))

    def _set(self, allowed: float) -> None:
        self.pace.allowed = min(float(self.settings.concurrency), max(1.0, allowed))

    def strained(self, asked_s: float | None, sent: float, pauses: bool = False) -> float:
        """Note a sign of overload: half as many at once from now on.

        Args:
            asked_s: Seconds that the server asks to wait.
            sent: When the request was sent. Those that were in flight together are one sign, not many.
            pauses: Whether nobody sends for a while, though the server does not ask for it.

        Returns:
            Seconds until this request may be sent again.
        """
        self.failed()
        if sent >= self._last_cut:
            self._last_cut, self._refusals = self.clock(), self._refusals + 1
            self.pace.climbing, self._full = False, False
            self._set(self.allowed / 2)
            self._begin_round()
        wait_s = self.backoff(max(1, self._refusals), asked_s)
        if asked_s or pauses or self._refusals > 1:  # nothing was answered since the last sign
            self._resume_at = max(self._resume_at, self.clock() + wait_s)
        return wait_s

    def failed(self) -> None:
        """Note that a request got no reply."""
        if self._trouble_since is None:
            self._trouble_since = self.clock()

    # --- what follows from it

    def trouble_s(self) -> float:
        """Seconds since the first request that failed or was refused after the last reply; 0 where none did."""
        return 0.0 if self._trouble_since is None else self.clock() - self._trouble_since

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

    async def enter(self) -> bool:
        """Wait until one more request may be in flight; False where nothing may be sent any more."""
        if self._closed:
            return False
        if not self._waiters and self._open():
            self.in_flight += 1
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
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
