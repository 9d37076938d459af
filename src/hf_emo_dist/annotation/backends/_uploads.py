"""Clips that are too large to be sent inside a request: uploaded once, used by all members, deleted in the end."""

from __future__ import annotations

import asyncio
import io
import logging
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from ..types import PreparedAudio
from ._google_genai import word
from ._remote import BrokenReply

logger = logging.getLogger(__name__)

# Google keeps a file for 48 hours; an hour less, so that none runs out while a request is under way.
_VALID_S = 47 * 3600.0
# A project may hold 20 GB. Files that nobody waits for are deleted from this sum on.
_MOST_BYTES = 2_000_000_000
_DELETE_TIMEOUT_S = 30.0


@dataclass
class _Upload:
    task: asyncio.Task[Any]
    size: int
    started: float
    users: int = 0


class Uploads:
    """The files of one client on one event loop; `failures` are the exceptions that the client raises."""

    def __init__(self, client: Any, failures: tuple[type[BaseException], ...]) -> None:
        self._client, self._failures, self._most_bytes = client, failures, _MOST_BYTES
        self._files: OrderedDict[str, _Upload] = OrderedDict()
        self._deletions: list[asyncio.Task[None]] = []

    @asynccontextmanager
    async def use(self, audio: PreparedAudio) -> AsyncIterator[Any]:
        """The file of a clip, for as long as the context lasts; requests for the same clip share one upload."""
        entry = self._files.get(audio.digest)
        if entry is not None and time.monotonic() - entry.started > _VALID_S:
            entry = None
        if entry is None:
            task = asyncio.get_running_loop().create_task(self._upload(audio))
            entry = self._files[audio.digest] = _Upload(task, len(audio.data), time.monotonic())
        self._files.move_to_end(audio.digest)
        entry.users += 1
        try:
            try:
                # One waiter that is cancelled does not take the upload from the others.
                file = await asyncio.shield(entry.task)
            except BaseException:
                if entry.task.done():
                    self.forget(audio.digest, entry)
                raise
            yield file
        finally:
            entry.users -= 1
            self._make_room()

    def forget(self, digest: str, entry: Any = None) -> None:
        """Upload the clip anew when it is needed next."""
        if entry is None or self._files.get(digest) is entry:
            self._files.pop(digest, None)

    async def _upload(self, audio: PreparedAudio) -> Any:
        files = self._client.aio.files
        file = await files.upload(file=io.BytesIO(audio.data), config={"mime_type": audio.mime})
        wait_s = 0.1
        while word(getattr(file, "state", None)) == "PROCESSING":
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, 5.0)
            file = await files.get(name=file.name)
        if word(getattr(file, "state", None)) == "FAILED":
            raise BrokenReply(f"the service could not process the file ({getattr(file, 'error', None)})")
        return file

    def _make_room(self) -> None:
        total = sum(entry.size for entry in self._files.values())
        for digest, entry in list(self._files.items()):
            if total <= self._most_bytes:
                return
            if entry.users == 0 and entry.task.done():
                total -= entry.size
                self.forget(digest, entry)
                # On the side: a reply that was paid for does not wait for it.
                self._deletions.append(asyncio.get_running_loop().create_task(self._delete(entry)))

    async def _delete(self, entry: _Upload) -> None:
        try:
            file = await entry.task
            async with asyncio.timeout(_DELETE_TIMEOUT_S):
                await self._client.aio.files.delete(name=file.name)
        except self._failures as error:
            # It is gone after 48 hours by itself.
            logger.info("An uploaded file was not deleted (%s).", type(error).__name__)

    async def close(self) -> None:
        """Delete what was uploaded."""
        entries = list(self._files.values())
        self._files.clear()
        for entry in entries:
            if not entry.task.done():
                entry.task.cancel()
                await asyncio.wait([entry.task])
        await asyncio.gather(
            *self._deletions, *(self._delete(entry) for entry in entries if not entry.task.cancelled())
        )
        self._deletions.clear()
