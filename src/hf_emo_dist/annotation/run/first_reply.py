"""The first request of a run goes alone: who answers is known before the second one is paid for."""

from __future__ import annotations

import asyncio


class FirstReply:
    """A gate that one request at a time passes, and everybody once it is over.

    A deployment or a gateway may answer by a name of its own. Its replies are no votes until the user says that it may
    answer, so one of them is enough to learn that. Where the first is denied, the second tells whether all are.
    """

    def __init__(self, needed: bool) -> None:
        self._turn = asyncio.Semaphore(1)
        self._over = asyncio.Event()
        if not needed:
            self.over()

    async def wait(self) -> None:
        """Return when it is this request's turn, or when everybody may go."""
        if not self._over.is_set():
            await self._turn.acquire()
            if self._over.is_set():
                self._turn.release()

    def following(self) -> None:
        """Let one more in."""
        if not self._over.is_set():
            self._turn.release()

    def over(self) -> None:
        """Let everybody in."""
        if not self._over.is_set():
            self._over.set()
            self._turn.release()
