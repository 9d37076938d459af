"""How fast to send: fewer requests at once after an answer 429, slowly more again, and waiting times between tries."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Callable

from .jobs import RunSettings


class Pacing:
    """Additive increase, multiplicative decrease of the requests in flight (as in TCP), and exponential back-off.

    Every request, repeated ones too, passes `enter` before it is sent and calls `leave` after.
    """

    def __init__(self, settings: RunSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self.clock = settings, clock
        self.allowed = float(settings.concurrency)
        self.in_flight = 0
        self.last_reply = float("-inf")
        #: Clips that were given up since the last reply.
        self.given_up: set[str] = set()
        self._trouble_since: float | None = None
        self._refusals = 0
        self._resume_at = self._last_cut = float("-inf")
        self._random = random.Random()  # only of waiting times: no result depends on it
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # --- what happened

    def replied(self) -> None:
        """Note a reply."""
        self.last_reply, self._trouble_since, self._refusals = self.clock(), None, 0
        self.given_up.clear()
        # one more request at once after as many replies as are allowed now
        self.allowed = min(float(self.settings.concurrency), self.allowed + 1.0 / self.allowed)
        self._wake()

    def refused(self, asked_s: float | None, sent: float) -> float:
        """Note an answer 429 to a request of `sent`; for so many seconds nobody sends, then half as many at once."""
        self.failed()
        # Requests that were in flight together are refused together: that is one sign, not many.
        if sent >= self._last_cut:
            self._last_cut, self._refusals = self.clock(), self._refusals + 1
            self.allowed = max(1.0, self.allowed / 2)
        wait_s = self.backoff(max(1, self._refusals), asked_s)
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

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._wake()

    def _open(self) -> bool:
        return self.in_flight + 1 <= self.allowed and self.pause_left() <= 0

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
