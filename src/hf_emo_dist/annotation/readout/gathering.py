"""Requests that are asked for at the same time, gathered into batches of whole clips for a model in this process."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

from ..types import Answer

#: Seconds without a new request after which a batch that is not full begins; between two looks.
_QUIET_S = 0.05
#: Looks at most: a run that keeps bringing requests one by one waits no longer.
_LOOKS = 20


@dataclass(frozen=True)
class Asked:
    """One request about one clip."""

    clip: str  # its hash
    request: Any
    audio: Any


#: Answers a batch: an answer or an exception each, in their order.
AnswerBatch = Callable[[Sequence[Asked]], Sequence[Answer | Exception]]


class Gathering:
    """Gathers requests within one event loop; a batch is answered in a thread, one after another.

    What was asked first comes first, and with it all that is asked about the same clip: the members of a panel share
    what is computed of it.
    """

    def __init__(self, answer: AnswerBatch, clips: int) -> None:
        self._answer, self._clips = answer, clips
        self._waiting: dict[str, list[tuple[Asked, asyncio.Future[Answer]]]] = {}  # by clip, in the order of the first
        self._came = 0
        self._task: asyncio.Task[None] | None = None
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hf_emo_dist-model")

    async def ask(self, asked: Asked) -> Answer:
        """The answer, once a batch with it has been computed."""
        done: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(asked.clip, []).append((asked, done))
        self._came += 1
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._work())
        return await done

    def close(self) -> None:
        """End the thread, when it has answered what it is at."""
        if self._task is not None:
            self._task.cancel()
        self._thread.shutdown(wait=False)

    async def _work(self) -> None:
        while self._waiting:
            await self._enough()
            batch = self._take()
            if not batch:  # who asked has gone
                continue
            try:
                found: Sequence[Answer | Exception] = await asyncio.get_running_loop().run_in_executor(
                    self._thread, self._answer, [asked for asked, _ in batch]
                )
            except Exception as error:  # noqa: BLE001 - it is told to whoever waits
                found = [error] * len(batch)
            for (_, done), answer in zip(batch, found, strict=True):
                if done.done():
                    continue
                if isinstance(answer, Answer):
                    done.set_result(answer)
                else:
                    done.set_exception(answer)

    async def _enough(self) -> None:
        """Wait while requests come in and a batch is not full: of the last clip some may be missing still."""
        for _ in range(_LOOKS):
            before = self._came
            if len(self._waiting) > self._clips:
                return
            await asyncio.sleep(_QUIET_S)
            if self._came == before:
                return

    def _take(self) -> list[tuple[Asked, asyncio.Future[Answer]]]:
        clips = list(self._waiting)[: self._clips]
        found = [pair for clip in clips for pair in self._waiting.pop(clip)]
        return [(asked, done) for asked, done in found if not done.done()]
