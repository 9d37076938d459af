"""The first request of a run goes alone: who answers is known before the second one is paid for."""

from __future__ import annotations

import asyncio


class FirstReply:
    """A gate that one request passes, and all others once it is over, whatever became of it.

    A deployment or a gateway may answer by a name of its own. Its replies are no votes until the user says that it may
    answer, so one of them is enough to learn that.
    """

    def __init__(self, needed: bool) -> None:
        self._taken = False
        self._over = asyncio.Event()
        if not needed:
            self.over()

    async def wait(self) -> None:
        """Return at once for the first request, for others when that is over."""
        if not self._taken and not self._over.is_set():
            self._taken = True
            return
        await self._over.wait()

    def over(self) -> None:
        """Let everybody in."""
        self._over.set()
