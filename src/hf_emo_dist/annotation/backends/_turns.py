"""Requests of one event loop are built one after the other, and leave in between."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

__all__ = ["send_in_turn"]


async def send_in_turn(turn: asyncio.Lock, send: Callable[[], Coroutine[Any, Any, Any]], timeout_s: float) -> Any:
    """Run `send()`, whose first step builds a request, and wait for its result.

    Replies come in bunches, and so do the requests that follow them. Without turns every request of a bunch is built
    (milliseconds each, with its audio in base64) before the first of them leaves. Here the loop gets to send and to
    receive between two builds.

    Args:
        turn: One for all requests of an event loop.
        send: Makes the coroutine that builds, sends and receives.
        timeout_s: Seconds from the end of the turn; then the request is cancelled.

    Raises:
        TimeoutError: There was no result in time.
    """
    async with turn:
        await asyncio.sleep(0)
        task = asyncio.get_running_loop().create_task(send())
        try:
            await asyncio.sleep(0)
        except BaseException:
            task.cancel()
            raise
    async with asyncio.timeout(timeout_s):
        return await task
