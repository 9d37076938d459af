"""What is google-genai's own: which server is asked, connections, uploads, and what replies and errors mean."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any
from urllib.request import getproxies

from ..._lazy import need
from ..types import Answer, FatalError, PreparedAudio, TransientError, Usage
from ._remote import BrokenReply, endpoint_of, retry_after, scrub

logger = logging.getLogger(__name__)

_HOST = "https://generativelanguage.googleapis.com"
_ENDED = ("STOP", "FINISH_REASON_UNSPECIFIED", "None")
_CUT = ("MAX_TOKENS", "CONTINUATION")
# Google keeps a file for 48 hours; an hour less, so that none runs out while a request is under way.
_VALID_S = 47 * 3600.0
# A project may hold 20 GB. Files that nobody waits for are deleted from this sum on.
_MOST_BYTES = 2_000_000_000
_DELETE_TIMEOUT_S = 30.0


def session() -> Any:
    """The connections of the running event loop, as many as requests are in flight."""
    aiohttp = need("aiohttp", "GeminiBackend")
    # The client's own session looks for proxies and for a netrc file before every request, a twentieth of its time.
    looks = bool(getproxies()) or "NETRC" in os.environ
    return aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0), trust_env=looks)


def base_url(client: Any) -> str | None:
    """The address that a client is set to; None for what is no google-genai client."""
    options = getattr(getattr(client, "_api_client", None), "_http_options", None)
    url = getattr(options, "base_url", None)
    return url if isinstance(url, str) else None


def identity(client: Any) -> tuple[str, bool]:
    """Endpoint of a client, and whether it is Vertex AI's."""
    url = base_url(client)
    if url is None:
        return f"client:{type(client).__module__}.{type(client).__qualname__}", False
    inner = client._api_client
    vertex = bool(getattr(inner, "vertexai", False))
    project = getattr(inner, "project", None) if vertex else None
    return _with_project(url, project, getattr(inner, "location", None)), vertex


def environment_identity() -> tuple[str, bool]:
    """The same for the client that google-genai would make from the environment, without importing it."""
    flag = os.environ.get("GOOGLE_GENAI_USE_ENTERPRISE", os.environ.get("GOOGLE_GENAI_USE_VERTEXAI", ""))
    if flag.lower() not in ("true", "1"):
        return endpoint_of(os.environ.get("GOOGLE_GEMINI_BASE_URL") or _HOST), False
    project, location = os.environ.get("GOOGLE_CLOUD_PROJECT"), os.environ.get("GOOGLE_CLOUD_LOCATION")
    key = os.environ.get("GOOGLE_API_KEY") or os.environ.get("GEMINI_API_KEY")
    if not (project or location) and key:
        return endpoint_of(os.environ.get("GOOGLE_VERTEX_BASE_URL") or "https://aiplatform.googleapis.com"), True
    if not project:
        raise FatalError(
            "setup",
            "Vertex AI is asked for without a project; replies are kept under it.",
            "set GOOGLE_CLOUD_PROJECT and GOOGLE_CLOUD_LOCATION.",
        )
    location = location or "global"
    hosts = {"global": "https://aiplatform.googleapis.com"}
    hosts |= {name: f"https://aiplatform.{name}.rep.googleapis.com" for name in ("us", "eu")}
    url = os.environ.get("GOOGLE_VERTEX_BASE_URL") or hosts.get(
        location, f"https://{location}-aiplatform.googleapis.com"
    )
    return _with_project(url, project, location), True


def _with_project(url: str, project: str | None, location: str | None) -> str:
    endpoint = endpoint_of(url)
    return endpoint if project is None else f"{endpoint}/projects/{project}/locations/{location}"


def word(value: Any) -> str:
    """The name of an enum's member, which a newer service may have sent as a bare string."""
    return str(getattr(value, "value", value))


def read(response: Any, settings: Mapping[str, Any], secrets: Iterable[str]) -> Answer:
    """The answer in a `GenerateContentResponse`. Raises `BrokenReply` where it is none."""
    facts: dict[str, Any] = {
        "model_version": getattr(response, "model_version", None),
        "usage": _usage(getattr(response, "usage_metadata", None)),
        "settings": settings,
    }
    candidates = getattr(response, "candidates", None) or []
    if not candidates:
        feedback = getattr(response, "prompt_feedback", None)
        reason = getattr(feedback, "block_reason", None)
        if reason is None and facts["usage"] == Usage() and facts["model_version"] is None:
            raise BrokenReply("it has no candidates, no usage and no model version")
        if reason is None:
            return Answer(None, "empty", "the reply has no candidates", **facts)
        message = getattr(feedback, "block_reason_message", None) or ""
        return Answer(None, "blocked", scrub(f"prompt blocked: {word(reason)} {message}".strip(), secrets), **facts)
    candidate = candidates[0]
    parts = getattr(getattr(candidate, "content", None), "parts", None) or []
    text = "".join(part.text for part in parts if getattr(part, "text", None) and not getattr(part, "thought", None))
    text = scrub(text, secrets, longest=None)
    reason = word(getattr(candidate, "finish_reason", None))
    if reason in _CUT:
        thought = facts["usage"].thinking_tokens
        spent = f", {thought} tokens of thinking" if thought else ""
        return Answer(text or None, "truncated", f"finish reason {reason}{spent}", **facts)
    if reason not in _ENDED:
        failure = "empty" if reason.startswith("MALFORMED") else "blocked"
        message = getattr(candidate, "finish_message", None) or ""
        return Answer(text or None, failure, scrub(f"finish reason {reason} {message}".strip(), secrets), **facts)
    if not text.strip():
        return Answer(None, "empty", "the reply has no text", **facts)
    return Answer(text, **facts)


def _usage(found: Any) -> Usage:
    if found is None:
        return Usage()
    details = getattr(found, "prompt_tokens_details", None)
    audio = None
    if details:
        audio = sum(entry.token_count or 0 for entry in details if word(entry.modality) == "AUDIO")
    return Usage(
        prompt_tokens=getattr(found, "prompt_token_count", None),
        audio_tokens=audio,
        thinking_tokens=getattr(found, "thoughts_token_count", None),
        output_tokens=getattr(found, "candidates_token_count", None),
    )


def _details(error: Any) -> list[Mapping[str, Any]]:
    body = error.details
    if isinstance(body, list) and body:
        body = body[0]
    inner = body.get("error", body) if isinstance(body, Mapping) else {}
    entries = inner.get("details") if isinstance(inner, Mapping) else None
    return [entry for entry in entries or [] if isinstance(entry, Mapping)]


def _of_type(entries: Iterable[Mapping[str, Any]], name: str) -> list[Mapping[str, Any]]:
    return [entry for entry in entries if str(entry.get("@type", "")).endswith("." + name)]


def _delay(error: Any, entries: list[Mapping[str, Any]]) -> float | None:
    for entry in _of_type(entries, "RetryInfo"):
        try:
            return max(0.0, float(str(entry.get("retryDelay")).removesuffix("s")))
        except ValueError:
            pass
    return retry_after(getattr(getattr(error, "response", None), "headers", None))


def judge(error: Any, model: str, sent_file: bool, secrets: Iterable[str]) -> Answer | TransientError | FatalError:
    """What an `APIError` means: for this clip alone, for later, or for the whole run."""
    entries = _details(error)
    reasons = {str(entry.get("reason")) for entry in _of_type(entries, "ErrorInfo")}
    status, code = str(error.status), int(error.code or 0)
    message = error.message if isinstance(error.message, str) else json.dumps(error.details, default=str)
    text = scrub(f"{code} {status}: {message}", secrets)
    if code == 401 or "API_KEY_INVALID" in reasons or (code == 400 and "API key" in message):
        return FatalError(
            "authentication",
            f"Google refused the key: {text}",
            "set GEMINI_API_KEY to a valid key (https://aistudio.google.com/apikey).",
        )
    if sent_file and code in (403, 404) and "file" in message.lower():
        return TransientError("server", f"the uploaded file is gone: {text}")
    if code == 403 or (code == 400 and status == "FAILED_PRECONDITION"):
        return FatalError(
            "permission",
            f"Google refused the request: {text}",
            "let the key's project use this API and model: billing, region, restrictions of the key.",
        )
    if code == 404:
        return FatalError(
            "not_found",
            f"There is no model {model!r} here: {text}",
            "pass model= with a current name (https://ai.google.dev/gemini-api/docs/models).",
        )
    if code == 429:
        violations = [v for entry in _of_type(entries, "QuotaFailure") for v in entry.get("violations") or []]
        quotas = {str(v.get("quotaId", "")) for v in violations}
        if any("PerDay" in quota for quota in quotas) or any(str(v.get("quotaValue")) == "0" for v in violations):
            return FatalError(
                "quota",
                f"The quota is used up ({', '.join(sorted(quotas))}): {text}",
                "go on tomorrow with the same ledger, or raise the quota.",
            )
        return TransientError("rate_limit", text, _delay(error, entries))
    if code in (408, 504):
        return TransientError("timeout" if code == 408 else "server", text, _delay(error, entries))
    if code >= 500 or code < 400:
        return TransientError("server", text, _delay(error, entries))
    return Answer(None, "rejected", text)


@dataclass
class _Upload:
    task: asyncio.Task[Any]
    size: int
    started: float
    users: int = 0


class Uploads:
    """The files of one client on one event loop, for clips that are too large to be sent inside a request.

    Each is uploaded once, used by all members, and deleted in the end. `failures` are what the client raises.
    """

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
