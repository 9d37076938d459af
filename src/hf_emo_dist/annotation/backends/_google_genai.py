"""What is google-genai's own: which server is asked, connections, uploads, and what replies and errors mean."""

from __future__ import annotations

import asyncio
import copy
import io
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any
from urllib.request import getproxies

from ..._lazy import need
from ..types import Answer, FatalError, PreparedAudio, TransientError, Usage
from ._http import PLAIN, bounded_aiohttp
from ._remote import (
    BrokenReply,
    endpoint_of,
    inner_status,
    part_of,
    retry_after,
    scrub,
    transient_status,
    unreadable,
    whole_number,
)

logger = logging.getLogger(__name__)

_HOST = "https://generativelanguage.googleapis.com"
_ENDED = ("STOP", "FINISH_REASON_UNSPECIFIED", "None")
_CUT = ("MAX_TOKENS", "CONTINUATION")
# What a safety filter gives as its reason; all others are something else.
_SAFETY = ("SAFETY", "BLOCKLIST", "PROHIBITED_CONTENT", "SPII", "IMAGE_SAFETY", "JAILBREAK", "MODEL_ARMOR")
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
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), trust_env=looks, headers=PLAIN, middlewares=(bounded_aiohttp,)
    )


def guarded(client: Any) -> Any:
    """A given client with connections of our own, which read no endless bodies and follow no redirects.

    The client itself stays as it is. One that has connections of its user's own keeps them, and so does Vertex AI's,
    which carries credentials.
    """
    inner = getattr(client, "_api_client", None)
    options = getattr(inner, "_http_options", None)
    if inner is None or options is None or getattr(inner, "vertexai", False):
        return client
    if any(getattr(options, name, None) for name in ("aiohttp_client", "httpx_async_client", "async_client_args")):
        return client
    from google.genai.client import AsyncClient

    twin = copy.copy(inner)
    twin._http_options = options.model_copy(update={"aiohttp_client": session()})
    return SimpleNamespace(_api_client=twin, aio=AsyncClient(twin))


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


def read(
    found: Mapping[str, Any],
    headers: Mapping[str, str] | None,
    settings: Mapping[str, Any],
    secrets: Iterable[str],
    model: str,
    latency_s: float | None = None,
) -> Answer | TransientError | FatalError:
    """What a reply of generateContent says, however odd it is."""
    if found.get("error"):  # gateways say so with status 200
        error = found["error"] if isinstance(found["error"], Mapping) else {"message": found["error"]}
        status = inner_status(error)
        response = SimpleNamespace(headers=headers or {})
        told = {"code": status, "status": str(error.get("status") or ""), "message": str(error.get("message") or error)}
        outcome = judge(SimpleNamespace(**told, details={"error": error}, response=response), model, False, secrets)
        if isinstance(outcome, TransientError) and outcome.kind == "server":
            outcome.billed = True  # it had begun to answer
        return outcome
    version, usage = found.get("modelVersion"), part_of(found, "usageMetadata")
    facts: dict[str, Any] = {
        "model_version": version if isinstance(version, str) else None,
        "usage": _usage(usage),
        "tier": _tier(headers, usage),
        "settings": settings,
        "latency_s": latency_s,
    }
    candidates = found.get("candidates")
    if not isinstance(candidates, list) or not candidates or not isinstance(candidates[0], Mapping):
        feedback = part_of(found, "promptFeedback")
        reason = feedback.get("blockReason")
        if reason is None and facts["usage"] == Usage() and facts["model_version"] is None:
            return unreadable("it has no candidates, no usage and no model version", secrets)
        if reason is None:
            return Answer(None, "empty", "the reply has no candidates", **facts)
        message = feedback.get("blockReasonMessage") or ""
        return Answer(
            None, _withheld(str(reason)), scrub(f"prompt blocked: {reason} {message}".strip(), secrets), **facts
        )
    candidate = candidates[0]
    parts = part_of(candidate, "content").get("parts")
    parts = [part for part in parts if isinstance(part, Mapping)] if isinstance(parts, list) else []
    texts = [part.get("text") for part in parts if not part.get("thought")]
    text = scrub("".join(entry for entry in texts if isinstance(entry, str)), secrets, longest=None)
    reason = str(candidate.get("finishReason"))
    if reason in _CUT:
        thought = facts["usage"].thinking_tokens
        spent = f", {thought} tokens of thinking" if thought else ""
        return Answer(text or None, "truncated", f"finish reason {reason}{spent}", **facts)
    if reason not in _ENDED:
        failure = "empty" if reason.startswith("MALFORMED") else _withheld(reason)
        message = candidate.get("finishMessage") or ""
        return Answer(text or None, failure, scrub(f"finish reason {reason} {message}".strip(), secrets), **facts)
    if not text.strip():
        return Answer(None, "empty", "the reply has no text", **facts)
    return Answer(text, **facts)


def _withheld(reason: str) -> str:
    return "blocked" if reason in _SAFETY else "withheld"


def _tier(headers: Mapping[str, str] | None, usage: Mapping[str, Any]) -> str | None:
    """The tier at which a reply says it was served; None where it names none that is known here."""
    # Of the Gemini API a header, and a field of the usage; of Vertex AI the traffic's type, such as ON_DEMAND_FLEX.
    said = next((value for name, value in (headers or {}).items() if name.lower() == "x-gemini-service-tier"), None)
    for value in (said, usage.get("serviceTier"), usage.get("trafficType")):
        found = str(value or "").lower().removeprefix("on_demand").strip("_") or ("standard" if value else "")
        if found in ("standard", "flex", "priority"):
            return found
    return None


def _usage(found: Mapping[str, Any]) -> Usage:
    details = found.get("promptTokensDetails")
    audio = None
    if isinstance(details, list) and details:
        counts = [entry for entry in details if isinstance(entry, Mapping) and entry.get("modality") == "AUDIO"]
        audio = sum(whole_number(entry.get("tokenCount")) or 0 for entry in counts)
    prompt, thinking = whole_number(found.get("promptTokenCount")), whole_number(found.get("thoughtsTokenCount"))
    output, total = whole_number(found.get("candidatesTokenCount")), whole_number(found.get("totalTokenCount"))
    if output is None and total is not None and prompt is not None:  # a zero is left out
        output = total - prompt - (thinking or 0)
    return Usage(prompt_tokens=prompt, audio_tokens=audio, thinking_tokens=thinking, output_tokens=output)


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
    message = error.message if isinstance(error.message, str) else ""
    return retry_after(getattr(getattr(error, "response", None), "headers", None), message)


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
    if code == 402:
        return FatalError("payment", f"Google wants to be paid: {text}", "add credit, and run again.")
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
    return transient_status(code, text, _delay(error, entries)) or Answer(None, "rejected", text)


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
