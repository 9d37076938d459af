"""What backends that ask a server share: connections, turns, secrets kept out of texts, failures told apart."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import importlib
import ipaddress
import json
import math
import re
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, get_args
from urllib.parse import urlsplit

from ...distributions import check_choice
from ..model_data import service_data
from ..types import Answer, TransientError, Usage
from ._audio import AnnotatorAudio


class BrokenReply(ValueError):
    """What a server sent is no reply of its protocol."""


class RemoteBackend:
    """A backend with a client for each event loop: a client cannot be used in another loop than the one it was made in.

    Neither the client that was given nor connections are pickled: they hold the key, and belong to this process.
    """

    name: str
    model: str
    endpoint: str
    row_columns: tuple[str, ...] = ()

    def __init__(self, client: Any, answers_as: str | Sequence[str], long_audio: AnnotatorAudio) -> None:
        self.answers_as = (answers_as,) if isinstance(answers_as, str) else tuple(answers_as)
        check_choice("long_audio", long_audio, get_args(AnnotatorAudio))
        self.long_audio = long_audio
        self._given = client is not None  # stays True in a worker process, which does not get the client
        self._client = client
        self._connections: dict[asyncio.AbstractEventLoop, Any] = {}

    def __repr__(self) -> str:
        return f"{type(self).__name__}(model={self.model!r}, endpoint={self.endpoint!r})"

    @property
    def _service(self) -> str | None:
        """Of `model_data.SERVICES`; None where another server answers."""
        raise NotImplementedError

    @property
    def destination(self) -> str | None:
        """Where audio is uploaded to; None for a server on this machine."""
        if is_loopback(self.endpoint):
            return None
        if self._service is not None:
            return service_data(self._service).destination
        return f"the server at {urlsplit(self.endpoint).hostname or self.endpoint}"

    @property
    def terms(self) -> str:
        """Under whose terms."""
        return "those of whoever runs that server" if self._service is None else service_data(self._service).terms

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in self.__dict__.items() if name not in ("_client", "_connections")}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._client, self._connections = None, {}

    def _open(self) -> Any:
        """A connection for the running event loop. Nothing is sent here."""
        raise NotImplementedError

    def _connect(self) -> Any:
        """The connection of the running event loop; opened on first use."""
        for loop in [loop for loop in self._connections if loop.is_closed()]:  # nobody called `close()` in them
            self._connections.pop(loop, None)
        loop = asyncio.get_running_loop()
        if loop not in self._connections:
            self._connections[loop] = self._open()
        return self._connections[loop]


async def send_in_turn(
    turn: asyncio.Lock, send: Callable[[], Coroutine[Any, Any, Any]], timeout_s: float
) -> tuple[Any, float]:
    """Run `send()`, whose first step builds a request, and wait up to `timeout_s` from the end of its turn.

    `turn` is one for all requests of an event loop. Returns what came, and the seconds from when the request left: the
    wait for its turn is ours, and says nothing of the service. Raises `TimeoutError`.
    """
    # Replies come in bunches, and so do the requests that follow them. Without turns every request of a bunch is built
    # (milliseconds each, with its audio in base64) before the first of them leaves. Here the loop gets to send and to
    # receive between two builds.
    async with turn:
        await asyncio.sleep(0)
        task = asyncio.get_running_loop().create_task(send())
        try:
            await asyncio.sleep(0)
        except BaseException:
            task.cancel()
            raise
    left = time.monotonic()
    try:
        async with asyncio.timeout(timeout_s) as limit:
            return await task, time.monotonic() - left
    except TimeoutError:
        if not limit.expired():
            raise
        # Not the client's own word for it: it was cancelled.
        raise TimeoutError(f"no reply in {timeout_s:.3g} s") from None


def scrub(text: str, secrets: Iterable[str], longest: int | None = 500) -> str:
    """Take secrets out of a text, and shorten it to `longest` characters."""
    # Shorter ones are no secrets, and would tear words apart.
    for secret in sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


_WAIT = re.compile(
    r"(?:retry|try again|wait)\s+(?:your request\s+)?(?:(?:in|after|for|at least)\s+)?(?=\d)"
    r"(?:(?P<h>\d+)\s*h(?:ours?)?)?\s*(?:(?P<m>\d+)\s*m(?!s)(?:in(?:ute)?s?)?)?"
    r"\s*(?:(?P<n>\d+(?:\.\d+)?)\s*(?P<unit>ms|milliseconds?|s|secs?|seconds?)\b)?",
    flags=re.IGNORECASE,
)


def wait_in_words(text: str) -> float | None:
    """Seconds that a message asks to wait, such as "Please retry in 47.1s" or "try again in 1m30s"."""
    for found in _WAIT.finditer(text):
        hours, minutes, number, unit = found["h"], found["m"], found["n"], found["unit"]
        if hours or minutes or number:
            seconds = float(number or 0) * (1e-3 if (unit or "").lower().startswith("m") else 1.0)
            return 3600.0 * int(hours or 0) + 60.0 * int(minutes or 0) + seconds
    return None


def retry_after(headers: Mapping[str, str] | None, text: str = "") -> float | None:
    """Seconds that a server asks to wait: by ``retry-after-ms`` or ``Retry-After`` (seconds or a date), or in words.

    A date is taken by the server's own clock, which the header ``Date`` tells.
    """
    lower = {str(name).lower(): value for name, value in (headers or {}).items()}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = lower.get(name)
        if value is None:
            continue
        try:
            seconds = float(value) * unit
            if math.isfinite(seconds):
                return max(0.0, seconds)
            continue
        except ValueError:
            pass
        until, now = _moment(value), _moment(lower.get("date"))
        if until is not None:
            return max(0.0, until - (time.time() if now is None else now))
    return wait_in_words(text)


def _moment(date: str | None) -> float | None:
    try:
        return None if date is None else email.utils.parsedate_to_datetime(date).timestamp()
    except (TypeError, ValueError):
        return None


def parsed(body: Any, secrets: Iterable[str]) -> Mapping[str, Any] | Answer:
    """The JSON object that a body holds; an `Answer` that says so where it is none."""
    try:
        found = json.loads(body)
    except (ValueError, TypeError, RecursionError) as error:
        text = body.decode(errors="replace") if isinstance(body, bytes) else str(body)
        return unreadable(f"{type(error).__name__}; it begins {text[:100]!r}", secrets)
    if not isinstance(found, dict):
        return unreadable(f"a JSON {type(found).__name__} and no object", secrets)
    return found


def unreadable(why: str, secrets: Iterable[str]) -> Answer:
    """What came is no reply of the protocol. It may have been paid for, and is not asked for again."""
    return Answer(None, "unreadable", scrub(f"the server sent what is not a reply: {why}", secrets))


def whole_number(value: Any) -> int | None:
    """A count as a service states it; None for what is no whole number, which is then not stated."""
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def with_total(usage: Usage, total: int | None) -> Usage:
    """The usage with all that its total has beyond what is named: output where none is told, else hidden reasoning."""
    if total is None or usage.prompt_tokens is None:
        return usage
    if usage.output_tokens is None:  # a zero is left out
        return replace(usage, output_tokens=total - usage.prompt_tokens - (usage.thinking_tokens or 0))
    if total > usage.total:
        return replace(usage, thinking_tokens=(usage.thinking_tokens or 0) + total - usage.total)
    return usage


def part_of(value: Any, name: str) -> Mapping[str, Any]:
    """An object within an object; empty where it is none."""
    found = value.get(name) if isinstance(value, Mapping) else None
    return found if isinstance(found, Mapping) else {}


def inner_status(error: Any) -> int:
    """The status that an error inside a reply stands for: its code, or 500 where that is no status."""
    for name in ("code", "status", "status_code"):
        value = error.get(name) if isinstance(error, Mapping) else None
        if str(value).isdigit() and 400 <= int(str(value)) < 600:
            return int(str(value))
        if str(value) in _STATUS_WORDS:
            return _STATUS_WORDS[str(value)]
    return 500


_STATUS_WORDS = {
    "rate_limit_exceeded": 429, "RESOURCE_EXHAUSTED": 429, "insufficient_quota": 429, "INVALID_ARGUMENT": 400,
    "invalid_request_error": 400, "PERMISSION_DENIED": 403, "NOT_FOUND": 404, "UNAUTHENTICATED": 401,
    "invalid_api_key": 401, "UNAVAILABLE": 503, "overloaded": 503, "DEADLINE_EXCEEDED": 504,
}  # fmt: skip


def transient_status(status: int, text: str, delay: float | None) -> TransientError | None:
    """What passes, by its status; None for the others."""
    if status in (425, 429):
        return TransientError("rate_limit", text, delay)
    if status in (503, 529):
        return TransientError("overloaded", text, delay)
    if status in (408, 504, 524):
        # A proxy has waited in vain for the server behind it, which may have generated the reply all the same.
        return TransientError("timeout", text, delay)
    if status >= 500 or status == 409 or status < 400:
        return TransientError("server", text, delay)
    return None


def lost_connection(error: BaseException, text: str) -> TransientError:
    """What passes, of a connection. Where there was none, nothing was sent, and nothing can be billed."""
    names = {cls.__name__ for entry in _causes(error) for cls in type(entry).__mro__}
    unsent = {"ConnectError", "ConnectTimeout", "PoolTimeout", "ClientConnectorError", "ConnectionRefusedError"}
    return TransientError(transport_kind(error), text, billed=not names & unsent)


def _causes(error: BaseException | None) -> Iterable[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def transport_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP libraries under the clients raise when a connection fails, time-outs included."""
    found: list[type[BaseException]] = [OSError, TimeoutError]
    for module, name in (("aiohttp", "ClientError"), ("httpx", "HTTPError"), ("httpx2", "HTTPError")):
        with contextlib.suppress(ModuleNotFoundError):
            found.append(getattr(importlib.import_module(module), name))
    return tuple(found)


def transport_kind(error: BaseException) -> str:
    """``"timeout"`` or ``"connection"``."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return "timeout" if names & {"TimeoutError", "TimeoutException", "APITimeoutError"} else "connection"


def endpoint_of(url: str) -> str:
    """Identity of a server: scheme, host, port and path, without user, password, query and the last slash."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    host = f"[{host}]" if ":" in host else host
    port = "" if parts.port is None else f":{parts.port}"
    return f"{parts.scheme or 'https'}://{host}{port}{parts.path.rstrip('/')}"


def url_secrets(url: str | None) -> tuple[str, ...]:
    """What must not be shown of an address: password and query."""
    if not url:
        return ()
    parts = urlsplit(url)
    return tuple(value for value in (parts.password, parts.query) if value)


def is_loopback(url: str) -> bool:
    """Whether the address is this machine."""
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
