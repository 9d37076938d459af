"""Batch jobs of the Gemini API through google-genai: a file of requests goes up, a file of replies comes down.

Always as files: replies to requests that stand inside the call come back in another order and without our keys
(https://github.com/googleapis/python-genai/issues/1909 and 2008).
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import logging
import re
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Protocol, TypeVar

from ..batch.service import JobRefusedError, RemoteJob, StoredFile
from ..types import Answer, FatalError, PreparedAudio, TransientError
from ._google_genai import judge, read, word
from ._http import MOST_BYTES, TooLong
from ._remote import BrokenReply, part_of, scrub, unreadable

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: A file may have 2 GB, and a project 20 GB of them. Smaller ones are sooner up, and lose less where a job fails.
_MOST_FILE_BYTES, _MOST_REQUESTS = 500_000_000, 5_000
_CALL_S = 120.0
_UPLOAD_S, _SLOWEST = 600.0, 100_000  # bytes a second
_PAGE = 100
_ENDED = ("SUCCEEDED", "FAILED", "CANCELLED", "EXPIRED")
#: Lines of a file of replies have the codes of gRPC: https://grpc.io/docs/guides/status-codes
_GRPC = {
    1: 499, 2: 500, 3: 400, 4: 504, 5: 404, 6: 409, 7: 403, 8: 429, 9: 400, 10: 409, 11: 400, 12: 501, 13: 500, 14: 503,
    15: 500, 16: 401,
}  # fmt: skip
#: Of which the protocol's own names are not ours in the case of camels: labels are keys there.
_NAMES_WITHIN = ("properties",)


class Asker(Protocol):
    """What is used here of the backend whose jobs these are."""

    model: str

    def secrets(self) -> tuple[str, ...]:
        """What must never be shown."""

    def _connect(self) -> Any:
        """The connection of the running event loop."""

    def _judge(self, error: BaseException, sent_file: bool) -> Answer | TransientError | FatalError:
        """What an error of the client means."""

    def _fits_inline(self, audio: PreparedAudio) -> bool:
        """Whether a clip may go inside its request."""

    def _settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are stored with a reply."""


class GoogleBatches:
    """The batch jobs of one backend; see `annotation.batch.service.BatchService`."""

    most_bytes, most_requests = _MOST_FILE_BYTES, _MOST_REQUESTS

    def __init__(self, backend: Asker) -> None:
        self._backend = backend

    # --- requests as lines

    def fits(self, audio: PreparedAudio) -> bool:
        """Whether the clip may go inside its request."""
        return self._backend._fits_inline(audio)

    def settings(self, request: Mapping[str, Any]) -> dict[str, Any]:
        """The settings that are stored with a reply."""
        return self._backend._settings(request)

    def line(self, key: str, request: Mapping[str, Any], audio: PreparedAudio, stored: StoredFile | None) -> bytes:
        """One request as a line: what the client would send of it, with its key."""
        clip: dict[str, Any]
        if stored is None:
            clip = {"inlineData": {"mimeType": audio.mime, "data": base64.b64encode(audio.data).decode()}}
        else:
            clip = {"fileData": {"mimeType": audio.mime, "fileUri": stored.uri}}
        config = _camel(request["config"])
        safety = config.pop("safetySettings", None)
        body: dict[str, Any] = {
            "contents": [{"role": "user", "parts": [clip, {"text": request["text"]}]}],
            "generationConfig": config,
        }
        if request["system"]:
            body["systemInstruction"] = {"role": "user", "parts": [{"text": request["system"]}]}
        if safety:
            body["safetySettings"] = safety
        return json.dumps({"key": key, "request": body}).encode() + b"\n"

    # --- the service

    async def store_clip(self, audio: PreparedAudio) -> StoredFile:
        """Upload a clip, and wait until it can be referred to."""
        return await self._store(lambda: io.BytesIO(audio.data), len(audio.data), {"mime_type": audio.mime})

    async def store_requests(self, path: Path, name: str) -> StoredFile:
        """Upload a file of requests."""
        config = {"mime_type": "jsonl", "display_name": name}
        return await self._store(lambda: str(path), path.stat().st_size, config)

    async def create(self, name: str, requests: StoredFile) -> str:
        """Begin a job."""
        model = self._backend.model
        # A client that was given would send it a second time after a broken connection, and there would be two jobs.
        once = {"retry_options": {"attempts": 1}}

        def call(client: Any) -> Coroutine[Any, Any, Any]:
            config = {"display_name": name, "http_options": once}
            return client.aio.batches.create(model=model, src=requests.name, config=config)

        found = (await self._called(call)).name
        if not found:  # it may be there all the same
            raise TransientError("server", "the service gave a job without a name")
        return str(found)

    async def list(self, since: float) -> list[RemoteJob]:
        """The jobs since then."""

        async def look(client: Any) -> list[RemoteJob]:
            found = []
            async for job in await client.aio.batches.list(config={"page_size": _PAGE}):
                remote = _remote(job)
                if remote.created is not None and remote.created < since:
                    continue
                found.append(remote)
            return found

        return await self._called(look)

    async def look(self, job: str) -> RemoteJob | None:
        """A job as it is now."""
        try:
            return _remote(await self._called(lambda client: client.aio.batches.get(name=job)))
        except FatalError as error:
            if error.reason == "not_found":
                return None
            raise

    async def download(self, result: str, path: Path, most_bytes: int) -> None:
        """Write the file of replies to `path`."""
        limit = max(MOST_BYTES, most_bytes)
        with path.open("wb") as file:
            sink = _Bounded(file, limit)
            await self._called(
                lambda client: client.aio.files.download(file=result, destination=sink), _UPLOAD_S + limit / _SLOWEST
            )

    async def cancel(self, job: str) -> None:
        """Ask that nothing more of it be worked on."""
        await self._called(lambda client: client.aio.batches.cancel(name=job))

    async def delete(self, files: Sequence[str]) -> None:
        """Delete files; one that is gone is gone."""
        for name in files:

            def call(client: Any, name: str = name) -> Coroutine[Any, Any, Any]:
                return client.aio.files.delete(name=name)

            try:
                await self._called(call)
            except (TransientError, FatalError, JobRefusedError) as error:
                if isinstance(error, FatalError) and error.reason not in ("not_found", "permission"):
                    raise
                # It is gone after 48 hours by itself.
                logger.info("%s was not deleted (%s).", name, type(error).__name__)

    async def _store(self, file: Callable[[], Any], size: int, config: Mapping[str, Any]) -> StoredFile:
        async def upload(client: Any) -> Any:
            stored, wait_s = await client.aio.files.upload(file=file(), config=dict(config)), 0.1
            while word(getattr(stored, "state", None)) == "PROCESSING":
                await asyncio.sleep(wait_s)
                wait_s = min(2 * wait_s, 5.0)
                stored = await client.aio.files.get(name=stored.name)
            if word(getattr(stored, "state", None)) == "FAILED":
                raise BrokenReply("the service could not process the file")
            return stored

        stored = await self._called(upload, _UPLOAD_S + size / _SLOWEST)
        return StoredFile(str(stored.name), str(stored.uri))

    async def _called(self, call: Callable[[Any], Coroutine[Any, Any, T]], timeout_s: float = _CALL_S) -> T:
        connection = self._backend._connect()
        raised: Answer | TransientError | FatalError | JobRefusedError
        try:
            async with asyncio.timeout(timeout_s):
                return await call(connection.client)
        except (*connection.failures, KeyError, TypeError, AttributeError) as error:
            raised = self._judged(error)
        # Outside of the except block: the client's own error, whose text may hold secrets, is not chained to it.
        if isinstance(raised, Answer):
            raise JobRefusedError(raised.detail)
        raise raised

    def _judged(self, error: BaseException) -> Answer | TransientError | FatalError:
        if getattr(error, "code", None) == 404:
            text = scrub(f"404: {getattr(error, 'message', '')}", self._backend.secrets())
            return FatalError("not_found", f"It is not known there: {text}", "see whether the model has batch jobs.")
        outcome = self._backend._judge(error, sent_file=False)
        if isinstance(outcome, Answer) and outcome.failure == "unreadable":
            return TransientError("server", outcome.detail, billed=True)
        return outcome

    # --- replies as lines

    def key_of(self, line: Mapping[str, Any]) -> str | None:
        """The key of a line."""
        key = line.get("key", part_of(line, "metadata").get("key"))
        return key if isinstance(key, str) else None

    def outcome_of(self, line: Mapping[str, Any], settings: Mapping[str, Any]) -> Answer | TransientError | FatalError:
        """What came of the request of a line."""
        backend, secrets = self._backend, self._backend.secrets()
        error = line.get("error") or line.get("status")
        if error:
            error = error if isinstance(error, Mapping) else {"message": error}
            code = error.get("code")
            status = _GRPC.get(code, code) if isinstance(code, int) else 500
            told = {"code": status, "status": error.get("status") or "", "message": str(error.get("message") or "")}
            outcome = judge(
                SimpleNamespace(**told, details={"error": error}, response=None), backend.model, False, secrets
            )
            if isinstance(outcome, TransientError):
                outcome.billed = status == 504  # what failed is not charged; what took too long may be
            return outcome
        response = line.get("response")
        if not isinstance(response, Mapping):
            return unreadable("its line has neither a response nor an error", secrets)
        outcome = read(response, None, settings, secrets, backend.model)
        # Whatever tier it names: a job has one price.
        return replace(outcome, tier=None) if isinstance(outcome, Answer) else outcome


class _Bounded:
    """A file that takes so many bytes."""

    def __init__(self, file: Any, most: int) -> None:
        self._file, self._left = file, most

    def write(self, data: bytes) -> None:
        self._left -= len(data)
        if self._left < 0:
            raise TooLong
        self._file.write(data)


def _remote(job: Any) -> RemoteJob:
    state = word(getattr(job, "state", None))
    created = getattr(job, "create_time", None)
    return RemoteJob(
        name=str(job.name),
        display_name=str(job.display_name or ""),
        state=state,
        ended=state.endswith(_ENDED),  # PARTIALLY_SUCCEEDED, too
        result=getattr(getattr(job, "dest", None), "file_name", None),
        created=None if created is None else created.timestamp(),
    )


def _camel(value: Any) -> Any:
    """Names as the protocol has them."""
    if isinstance(value, Mapping):
        found = {}
        for name, entry in value.items():
            camel = re.sub(r"_([a-z])", lambda part: part[1].upper(), name)
            found[camel] = (
                {label: _camel(schema) for label, schema in entry.items()} if name in _NAMES_WITHIN else _camel(entry)
            )
        return found
    if isinstance(value, (list, tuple)):
        return [_camel(entry) for entry in value]
    return value
