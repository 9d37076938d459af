"""Who may ask the demo's server: requests to a name and from a page that are its own, before anything reads them.

Any page in a browser can send requests to a server on this machine, and a name on the internet can be made to point to
it (DNS rebinding). So the ``Host`` of a request has to be one of this server's, and its ``Origin`` just that page:
scheme, name and port.
"""

from __future__ import annotations

import ipaddress
import logging
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
#: Names of this machine that no other can have (RFC 6761).
LOCAL = ("localhost", "127.0.0.1", "::1")
_SCHEMES = {"http": "http", "ws": "http", "https": "https", "wss": "https"}
_PORTS = {"http": 80, "https": 443}


class Guard:
    """ASGI middleware that answers requests of others with 403.

    Args:
        app: What answers the rest.
        bound: The address that is served at.
        named: Further names, such as that of a proxy before it.
    """

    def __init__(self, app: Callable[..., Awaitable[None]], bound: str, named: Iterable[str] = ()) -> None:
        self.app = app
        self.named = {name.lower().strip("[]") for name in named}
        self.known = {*LOCAL, bound.lower().strip("[]"), *self.named}
        # at all addresses: which one a request came to cannot be told beforehand, and no name can stand for it
        self.any_address = bound in ("0.0.0.0", "::", "")

    async def __call__(self, scope: Scope, receive: Any, send: Any) -> None:
        """Answer a request, or hand it on."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, send)
            return
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        refused = self.refusal(headers, scope.get("scheme", "http"), scope.get("method", "GET"))
        if refused is None:
            await self._answer(scope, receive, send)
            return
        logger.warning("a request was refused: %s", refused)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        await _plain(
            send, 403, f"{refused} Mend: hf-emo-dist demo --allowed_host NAME, if that is a name of this server.\n"
        )

    async def _answer(self, scope: Scope, receive: Any, send: Any) -> None:
        """Hand a request on; one that ends in an error is told in one line."""
        begun = False

        async def sent(message: Any) -> None:
            nonlocal begun
            begun = True
            await send(message)

        try:
            await self.app(scope, receive, sent)
        except Exception as error:
            told = _in_a_line(error)
            logger.warning("a request to %r could not be answered (%s)", scope.get("path", "")[:200], told)
            logger.debug("where it happened", exc_info=True)
            if scope["type"] == "http" and not begun:
                await _plain(send, 400, "The request could not be answered.\n")

    def refusal(self, headers: dict[str, list[str]], scheme: str = "http", method: str = "GET") -> str | None:
        """Why a request is refused; None where it is not.

        Example:
            >>> guard = Guard(None, "127.0.0.1")
            >>> guard.refusal({"host": ["127.0.0.1:7860"], "origin": ["http://127.0.0.1:7860"]})
            >>> guard.refusal({"host": ["evil.example:7860"]})
            "Host 'evil.example:7860' is no name of this page."
        """
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or len(origins) > 1:
            return "a request names one Host, and at most one Origin."
        scheme = _SCHEMES.get(scheme, scheme)
        host, port = _split(f"{scheme}://{hosts[0]}")[1:]
        if not self._is_ours(host):
            return f"Host {hosts[0][:100]!r} is no name of this page."
        for origin in origins:
            its_scheme, name, its_port = _split(origin)
            by_a_proxy = name in self.named and its_scheme in _PORTS
            if (its_scheme, name, its_port) != (scheme, host, port) and not by_a_proxy:
                return f"Origin {origin[:100]!r} is another page."
        # what a page of another server embeds or posts may carry no Origin; a link to this page may be followed
        site, mode, dest = (headers.get(f"sec-fetch-{name}", [""])[0] for name in ("site", "mode", "dest"))
        follows = method == "GET" and mode == "navigate" and dest in ("document", "")
        if site in ("cross-site", "same-site") and not follows:
            return "the request comes from another page."
        return None

    def _is_ours(self, name: str | None) -> bool:
        if not name:
            return False
        if name in self.known or name.endswith(".localhost"):
            return True
        return self.any_address and _is_address(name)


class Tracebacks:
    """In the place of the module `traceback` in gradio's, which print one at each request that asks for nonsense."""

    def print_exc(self, *_: Any, **__: Any) -> None:
        """Log the error that is being handled in one line."""
        logger.warning("a request could not be answered (%s)", _in_a_line(sys.exc_info()[1]))
        logger.debug("where it happened", exc_info=True)

    def __getattr__(self, name: str) -> Any:
        return getattr(traceback, name)


def _in_a_line(error: BaseException | None) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:200]


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _split(url: str) -> tuple[str | None, str | None, int | None]:
    """Scheme, name and port of an address; no name where there is anything beside them."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            return None, None, None
        return parts.scheme, (parts.hostname or "").rstrip("."), parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        return None, None, None


async def _plain(send: Any, status: int, text: str) -> None:
    about = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": status, "headers": about})
    await send({"type": "http.response.body", "body": text.encode("ascii", "backslashreplace")})
