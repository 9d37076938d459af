"""An event loop in a thread of its own, and what the tasks of a run pass jobs through and end by.

In a thread, so that it is the same in a script, a notebook (whose own loop is running) and a worker process.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import os
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

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
        """Wait for room and add an item; False where the channel is closed."""
        while len(self._items) >= self.size and not self.closed:
            self._room.clear()
            await self._room.wait()
        if self.closed:
            return False
        self._items.append(item)
        self._some.set()
        return True

    async def room(self, places: int) -> int:
        """Wait until there are so many places free, and tell how many are; 0 where the channel is closed."""
        while self.size - len(self._items) < places and not self.closed:
            self._room.clear()
            await self._room.wait()
        return 0 if self.closed else self.size - len(self._items)

    async def get(self) -> T | None:
        """Wait for an item and take it; None where the channel is closed and empty."""
        while not self._items:
            if self.closed:
                return None
            self._some.clear()
            await self._some.wait()
        self._room.set()
        return self._items.popleft()

    def close(self) -> None:
        """Let nothing in any more."""
        self.closed = True
        self._some.set()
        self._room.set()


class Stop:
    """The end of a run before its time: who waits by `sleep` wakes up, and all `closes` are called, once."""

    def __init__(self, *closes: Callable[[], None]) -> None:
        self.reason: str | None = None
        self.mend = ""
        self.closes = list(closes)
        self._event = asyncio.Event()

    def __call__(self, reason: str, mend: str = "") -> None:
        """Stop the run. The first reason counts."""
        if self.reason is not None:
            return
        self.reason, self.mend = reason, mend
        self._event.set()
        for close in self.closes:
            close()

    def __bool__(self) -> bool:
        return self.reason is not None

    async def sleep(self, seconds: float) -> None:
        """Sleep, but not longer than until the run stops."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._event.wait(), seconds)


class LoopThread:
    """Runs coroutines on a background event loop, from the first use until `close`."""

    def __init__(self) -> None:
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._pid = -1
        self._lock = threading.Lock()

    def loop(self) -> asyncio.AbstractEventLoop:
        """The running loop."""
        with self._lock:
            if self._loop is None or self._pid != os.getpid():  # after a fork the child has no such thread
                loop = asyncio.new_event_loop()
                thread = threading.Thread(target=_serve, args=(loop,), name="hf_emo_dist-annotation", daemon=True)
                thread.start()
                self._loop, self._thread, self._pid = loop, thread, os.getpid()
            return self._loop

    def run(self, coroutine: Coroutine[Any, Any, T], on_interrupt: Callable[[], None]) -> T:
        """Run a coroutine to its end and return its result.

        The first Ctrl-C calls `on_interrupt` and goes on waiting; the second one cancels, waits until that is done and
        raises KeyboardInterrupt; a third one waits no longer.
        """
        # Not that of `run_coroutine_threadsafe`, which when cancelled does not wait for the task to clean up.
        outcome: concurrent.futures.Future[T] = concurrent.futures.Future()
        task: asyncio.Task[T] | None = None

        def start() -> None:
            nonlocal task
            task = loop.create_task(coroutine)
            task.add_done_callback(lambda done: _pass_on(done, outcome))

        loop = self.loop()
        loop.call_soon_threadsafe(start)
        interrupts = 0
        while True:
            try:
                # A wait without time-out could not be interrupted on every platform.
                concurrent.futures.wait([outcome], timeout=0.2)
                if outcome.done():
                    break
            except KeyboardInterrupt:
                interrupts += 1
                if interrupts == 1:
                    loop.call_soon_threadsafe(on_interrupt)
                elif interrupts == 2:
                    loop.call_soon_threadsafe(lambda: task is not None and task.cancel())
                else:
                    raise
        try:
            return outcome.result()
        except concurrent.futures.CancelledError:
            raise KeyboardInterrupt from None

    def close(self, last: Callable[[], Coroutine[Any, Any, Any]], timeout_s: float = 10.0) -> None:
        """Run a last coroutine and end the loop, where there is one; the next use starts another."""
        with self._lock:
            loop, thread = (self._loop, self._thread) if self._pid == os.getpid() else (None, None)
            self._loop = self._thread = None
        if loop is None or thread is None or not thread.is_alive():
            return
        done = asyncio.run_coroutine_threadsafe(last(), loop)
        if threading.current_thread() is thread:  # garbage is collected wherever it is noticed
            done.add_done_callback(lambda _: loop.stop())
            return
        try:
            done.result(timeout_s)
        finally:
            loop.call_soon_threadsafe(loop.stop)
            thread.join(timeout_s)


def _serve(loop: asyncio.AbstractEventLoop) -> None:
    loop.run_forever()
    loop.close()


def _pass_on(task: asyncio.Task[T], outcome: concurrent.futures.Future[T]) -> None:
    if task.cancelled():
        outcome.set_exception(concurrent.futures.CancelledError())
    elif (error := task.exception()) is not None:
        outcome.set_exception(error)
    else:
        outcome.set_result(task.result())
