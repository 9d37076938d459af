"""What backends that ask a server share: connections, turns, secrets kept out of texts, failures told apart."""

from __future__ import annotations

import asyncio
import contextlib
import email.utils
import importlib
import ipaddress
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from typing import Any, get_args
from urllib.parse import urlsplit

from ...distributions import check_choice
from ..model_data import service_data
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


async def send_in_turn(turn: asyncio.Lock, send: Callable[[], Coroutine[Any, Any, Any]], timeout_s: float) -> Any:
    """Run `send()`, whose first step builds a request, and wait up to `timeout_s` from the end of its turn.

    `turn` is one for all requests of an event loop. Raises `TimeoutError`.
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
    async with asyncio.timeout(timeout_s):
        return await task


def scrub(text: str, secrets: Iterable[str], longest: int | None = 500) -> str:
    """Take secrets out of a text, and shorten it to `longest` characters."""
    # Shorter ones are no secrets, and would tear words apart.
    for secret in sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that a server asks to wait, by its headers ``retry-after-ms`` and ``Retry-After`` (seconds or a date)."""
    lower = {str(name).lower(): value for name, value in (headers or {}).items()}
    for name, unit in (("retry-after-ms", 1e-3), ("retry-after", 1.0)):
        value = lower.get(name)
        if value is None:
            continue
        try:
            return max(0.0, float(value) * unit)
        except ValueError:
            pass
        try:
            return max(0.0, email.utils.parsedate_to_datetime(value).timestamp() - time.time())
        except (TypeError, ValueError):
            pass
    return None


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
