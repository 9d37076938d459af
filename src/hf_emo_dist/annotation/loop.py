"""An event loop in a thread of its own (the same in a script, a notebook and a worker process), and what its tasks pass jobs through."""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

__all__ = ["Channel", "LoopThread"]

T = TypeVar("T")


class Channel(Generic[T]):
    """A queue of at most `size` items that can be closed: what is inside is still taken, then None.

    `asyncio.Queue` has no closing before Python 3.13, and a `get` under a time-out may lose an item.
    """

    def __init__(self, size: int) -> None:
        self.size, self.closed = size, False
        self._items: deque[T] = deque()
        self._some, self._room = asyncio.Event(), asyncio.Event()

    def __len__(self) -> int:
        return len(self._items)

    @property
    def over(self) -> bool:
        """Whether nothing will come any more."""
        return self.closed and not self._items

    async def put(self, item: T) -> bool:
        """Waits for room and adds an item; False where the channel is closed."""
        while len(self._items) >= self.size and not self.closed:
            self._room.clear()
            await self._room.wait()
        if self.closed:
            return False
        self._items.append(item)
        self._some.set()
        return True

    async def get(self) -> T | None:
        """Waits for an item and takes it; None where the channel is closed and empty."""
        while not self._items:
            if self.closed:
                return None
            self._some.clear()
            await self._some.wait()
        self._room.set()
        return self._items.popleft()

    def close(self) -> None:
        """Lets nothing in any more."""
        self.closed = True
        self._some.set()
        self._room.set()


class LoopThread:
    """Runs coroutines on a background event loop that lives as long as the process needs it.

    After a fork the child has no such thread; the first use there makes its own.
    """

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = -1
        self._lock = threading.Lock()

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None or self._pid != os.getpid() or self._loop.is_closed():
                loop = asyncio.new_event_loop()
                threading.Thread(target=loop.run_forever, name="hf_emo_dist-annotation", daemon=True).start()
                self._loop, self._pid = loop, os.getpid()
            return self._loop

    def run(self, coroutine: Coroutine[Any, Any, T], on_interrupt: Callable[[], None] | None = None) -> T:
        """Runs a coroutine to its end and returns its result.

        The first Ctrl-C calls `on_interrupt` and goes on waiting; the second one cancels.
        """
        future = asyncio.run_coroutine_threadsafe(coroutine, self.loop())
        while True:
            try:
                # A wait without time-out could not be interrupted on every platform.
                return future.result(timeout=0.2)
            except concurrent.futures.TimeoutError:
                if future.done():
                    return future.result()
            except KeyboardInterrupt:
                if on_interrupt is None:
                    future.cancel()
                    raise
                self.loop().call_soon_threadsafe(on_interrupt)
                on_interrupt = None

    def close(self, *coroutines: Coroutine[Any, Any, Any]) -> None:
        """Runs `coroutines` and stops the loop; the next use starts another."""
        with self._lock:
            loop, mine = self._loop, self._pid == os.getpid()
            self._loop = None
        if loop is None or not mine or loop.is_closed():
            for coroutine in coroutines:
                coroutine.close()
            return
        for coroutine in coroutines:
            asyncio.run_coroutine_threadsafe(coroutine, loop).result(timeout=10)
        loop.call_soon_threadsafe(loop.stop)
