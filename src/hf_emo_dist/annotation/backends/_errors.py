"""What the backends share about going wrong: secrets kept out of texts, waiting times, and which failures are whose."""

from __future__ import annotations

import asyncio
import email.utils
import importlib
import ipaddress
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

__all__ = [
    "BrokenReply",
    "LoopConnections",
    "endpoint_of",
    "is_loopback",
    "optional_module",
    "need_client",
    "retry_after",
    "scrub",
    "transport_errors",
    "transport_kind",
    "url_secrets",
]


class BrokenReply(ValueError):
    """What a server sent is no reply of its protocol."""


class LoopConnections(dict[Any, Any]):
    """Event loop to what belongs to it. A client cannot be used in another loop than the one it was made in."""

    def of_running_loop(self) -> Any:
        """The running loop's entry, or None. Entries of loops that were closed without `close()` are dropped."""
        for loop in [loop for loop in list(self) if loop.is_closed()]:
            self.pop(loop, None)
        return self.get(asyncio.get_running_loop())


def scrub(text: str, secrets: Iterable[str], longest: int | None = 500) -> str:
    """Take secrets out of a text, and shorten it to `longest` characters.

    >>> scrub("key=abcdef is wrong", ["abcdef"])
    'key=[secret] is wrong'
    """
    # Shorter ones are no secrets, and would tear words apart.
    for secret in sorted((secret for secret in secrets if len(secret) > 3), key=len, reverse=True):
        text = text.replace(secret, "[secret]")
    return text if longest is None or len(text) <= longest else text[: longest - 1] + "…"


def retry_after(headers: Mapping[str, str] | None) -> float | None:
    """Seconds that a server asks to wait, by its headers ``retry-after-ms`` and ``Retry-After`` (seconds or a date).

    >>> retry_after({"Retry-After": "7"})
    7.0
    """
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


def optional_module(name: str) -> Any:
    """The module, or None where it is not installed."""
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError:
        return None


def need_client(module: str, package: str, extra: str) -> Any:
    """Import a service's client, or say what to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        top = module.partition(".")[0]
        if (error.name or "").partition(".")[0] != top:
            raise  # a package that the client itself needs
        raise ModuleNotFoundError(
            f"This backend needs {package}, which is not installed: pip install 'hf-emo-dist[{extra}]'", name=error.name
        ) from error


def transport_errors() -> tuple[type[BaseException], ...]:
    """What the HTTP libraries under the clients raise when a connection fails, time-outs included."""
    found: list[type[BaseException]] = [OSError, TimeoutError]
    for module, name in (("aiohttp", "ClientError"), ("httpx", "HTTPError"), ("httpx2", "HTTPError")):
        library = optional_module(module)
        if library is not None and hasattr(library, name):
            found.append(getattr(library, name))
    return tuple(found)


def transport_kind(error: BaseException) -> str:
    """``"timeout"`` or ``"connection"``."""
    names = {cls.__name__ for cls in type(error).__mro__}
    return "timeout" if names & {"TimeoutError", "TimeoutException", "APITimeoutError"} else "connection"


def endpoint_of(url: str) -> str:
    """Identity of a server: scheme, host, port and path, without user, password, query and the last slash.

    >>> endpoint_of("https://me:pass@Example.org/v1/?key=1")
    'https://example.org/v1'
    """
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
    """Whether the address is this machine.

    >>> is_loopback("http://localhost:8000/v1"), is_loopback("https://example.org")
    (True, False)
    """
    host = urlsplit(url).hostname or ""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
