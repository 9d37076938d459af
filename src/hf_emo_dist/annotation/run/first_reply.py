"""The first request of a run goes alone: who answers is known before the second one is paid for."""

from __future__ import annotations

import asyncio
from collections import deque


class FirstReply:
    """A gate that one request at a time passes, and everybody once it is over.

    A deployment or a gateway may answer by a name of its own. Its replies are no votes until the user says that it may
    answer, so one of them is enough to learn that. Where the first is denied, the second tells whether all are.
    """

    def __init__(self, needed: bool) -> None:
        self._over = not needed
        self._free = 1  # so many may pass
        self._waiters: deque[asyncio.Future[None]] = deque()

    async def wait(self) -> None:
        """Return when it is this request's turn, or when everybody may go, in the order in which they came."""
        if self._over:
            return
        if self._free:
            self._free -= 1
            return
        self._waiters.append(asyncio.get_running_loop().create_future())
        await self._waiters[-1]

    def following(self) -> None:
        """Let one more in."""
        if not self._wake():
            self._free += 1

    def over(self) -> None:
        """Let everybody in."""
        self._over = True
        # All of them in one go: a request that comes now must not overtake those that wait.
        while self._wake():
            pass

    def _wake(self) -> bool:
        """Let in the one that waits longest; False where none does."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(None)
                return True
        return False
