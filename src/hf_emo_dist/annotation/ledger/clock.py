"""Seconds since 1970 that go on evenly while a process runs, whoever sets the machine's clock meanwhile."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

logger = logging.getLogger(__name__)

#: Seconds by which the machine's clock must have been set for it to be told.
_TOLD_S = 60.0


def _running() -> float:
    """Seconds since some moment that no setting changes; also those for which a machine slept, where it tells them."""
    number = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if number is None else time.clock_gettime(number)


class SteadyClock:
    """The time of the machine's clock when this was made, and what has passed since.

    Leases, rates and pauses are durations: of a clock that is set back by an hour they would last an hour longer, and
    of one that is set forward they would be over, and what is in flight asked for twice. That the machine's clock was
    set is told once a time.

    Example:
        >>> wall, running = [1000.0], [5.0]
        >>> clock = SteadyClock(lambda: wall[0], lambda: running[0])
        >>> wall[0], running[0] = 1010.0 - 3600, 15.0  # ten seconds later, and set back by an hour
        >>> clock()
        1010.0
    """

    def __init__(self, wall: Callable[[], float] = time.time, running: Callable[[], float] = _running) -> None:
        self._wall, self._running = wall, running
        self._ahead = wall() - running()
        self._told = 0.0
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Seconds since 1970."""
        now = self._running() + self._ahead
        by = self._wall() - now
        if abs(by - self._told) > _TOLD_S:
            with self._lock:
                told, self._told = self._told, by
            if abs(by - told) > _TOLD_S:
                logger.warning(
                    "The clock of this machine was set %s by %.0f s. The ledger goes on by the seconds that have "
                    "passed: no wait, lease or rate changes by it.",
                    "back" if by < told else "forward",
                    abs(by - told),
                )
        return now


#: The one of this process: all of its ledgers agree.
steady = SteadyClock()
