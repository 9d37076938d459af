"""Runners of several models at once: each with its own speed and evidence, all with one ledger and its caps.

What stops one of them (its service is down, its key is refused) leaves the others running.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterator, Sequence

from .jobs import Job
from .runner import Runner

logger = logging.getLogger(__name__)


class SideBySide:
    """Runs several runners in one event loop, and stops them together at Ctrl-C."""

    def __init__(self, runners: Sequence[Runner]) -> None:
        self._runners = runners

    def request_stop(self) -> None:
        """Send nothing new and finish what is in flight (Ctrl-C). To be called in the event loop."""
        logger.warning("Stopping when the requests in flight are answered. Ctrl-C again drops them.")
        for runner in self._runners:
            runner.request_stop()

    async def run(self, groups: Sequence[Iterator[Sequence[Job]]]) -> None:
        """Go through the jobs of each, see `Runner.run`; the first error is raised when all have ended."""
        done = await asyncio.gather(
            *(self._one(runner, jobs) for runner, jobs in zip(self._runners, groups, strict=True)),
            return_exceptions=True,
        )
        for error in done:
            if isinstance(error, BaseException):
                raise error

    async def _one(self, runner: Runner, jobs: Iterator[Sequence[Job]]) -> None:
        try:
            await runner.run(jobs)
        except Exception:
            # The row that cannot be read, or the ledger that takes no reply, is the others' as well.
            for other in self._runners:
                other.request_stop("the run of another model ended with an error.")
            raise
