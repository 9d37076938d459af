"""How fast to send: fewer requests at once after an answer 429, slowly more again, and waiting times between tries."""

from __future__ import annotations

import random
import time
from collections.abc import Callable

__all__ = ["Pacing"]


class Pacing:
    """Additive increase, multiplicative decrease of the requests in flight (as in TCP), and exponential back-off with jitter.

    Args:
        concurrency: Requests in flight at most.
        first_backoff_s, last_backoff_s: Bounds of the waiting time between tries.
        clock: Monotonic time in seconds.

    Example:
        >>> pacing = Pacing(8)
        >>> pacing.refused(wait_s=2.0)
        >>> pacing.allowed, 1.5 < pacing.pause_left() <= 2.0
        (4.0, True)
    """

    def __init__(
        self,
        concurrency: int,
        first_backoff_s: float = 1.0,
        last_backoff_s: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.concurrency, self.first, self.last = concurrency, first_backoff_s, last_backoff_s
        self.allowed = float(concurrency)
        self.clock = clock
        self.last_reply = clock()
        self.given_up = 0
        self._resume_at = 0.0
        self._last_cut = -1e9
        self._random = random.Random()  # only of waiting times: no result depends on it

    def replied(self) -> None:
        """Notes a reply: one more request at once after as many replies as are allowed now."""
        self.last_reply, self.given_up = self.clock(), 0
        self.allowed = min(float(self.concurrency), self.allowed + 1.0 / self.allowed)

    def refused(self, wait_s: float) -> None:
        """Notes an answer 429: nobody sends for `wait_s`, then half as many at once."""
        now = self.clock()
        # Requests that were in flight together are refused together: that is one sign, not many.
        if now - self._last_cut > 1.0:
            self._last_cut, self.allowed = now, max(1.0, self.allowed / 2)
        self._resume_at = max(self._resume_at, now + wait_s)

    def pause_left(self) -> float:
        """Seconds until anybody may send; not above 0 where they may."""
        return self._resume_at - self.clock()

    def backoff(self, tries: int, asked_s: float | None = None) -> float:
        """Seconds to wait before try number `tries` + 1: what the server asks for, else doubling, between half and all of it."""
        if asked_s is not None:
            return asked_s
        return min(self.last, self.first * 2.0 ** (tries - 1)) * self._random.uniform(0.5, 1.0)

    def spread(self, wait_s: float) -> float:
        """A little more than `wait_s`, so that not all start at the same moment."""
        return wait_s + self._random.uniform(0.0, 0.1 * wait_s + 0.05)
