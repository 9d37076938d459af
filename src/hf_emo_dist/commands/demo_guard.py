"""Who may ask the demo's server: requests to a name and from a page that are its own, before anything reads them.

Any page in a browser can send requests to a server on this machine, and a name on the internet can be made to point to
it (DNS rebinding). So the ``Host`` of a request has to be one of this server's, and its ``Origin`` a page of it.
"""

from __future__ import annotations

import ipaddress
import logging
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any
from urllib.parse import urlsplit

logger = logging.getLogger(__name__)

Scope = MutableMapping[str, Any]
#: Names of this machine that no other can have (RFC 6761).
LOCAL = ("localhost", "127.0.0.1", "::1")


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
        refused = self.refusal(headers)
        if refused is None:
            await self.app(scope, receive, send)
            return
        logger.warning("a request was refused: %s", refused)
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        text = f"{refused} Mend: hf-emo-dist demo --allowed_host NAME, if that is a name of this server.\n"
        about = [(b"content-type", b"text/plain; charset=utf-8"), (b"connection", b"close")]
        await send({"type": "http.response.start", "status": 403, "headers": about})
        await send({"type": "http.response.body", "body": text.encode("ascii", "backslashreplace")})

    def refusal(self, headers: dict[str, list[str]]) -> str | None:
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
        host, port = _split(f"//{hosts[0]}")
        if not self._is_ours(host):
            return f"Host {hosts[0][:100]!r} is no name of this page."
        for origin in origins:
            name, its_port = _split(origin)
            if not self._is_ours(name) or (its_port != port and name not in self.named):
                return f"Origin {origin[:100]!r} is another page."
        # what a page of another server embeds carries no Origin; a link to this page may be followed from anywhere
        site, mode = headers.get("sec-fetch-site", [""])[0], headers.get("sec-fetch-mode", [""])[0]
        if not origins and site in ("cross-site", "same-site") and mode != "navigate":
            return "the request comes from another page."
        return None

    def _is_ours(self, name: str | None) -> bool:
        if not name:
            return False
        if name in self.known or name.endswith(".localhost"):
            return True
        return self.any_address and _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _split(url: str) -> tuple[str | None, int | None]:
    """Name and port of an address; no name where there is anything beside them."""
    try:
        parts = urlsplit(url)
        if parts.username is not None or parts.path not in ("", "/") or parts.query or parts.fragment:
            return None, None
        port = parts.port or {"http": 80, "https": 443}.get(parts.scheme)
        return (parts.hostname or "").rstrip("."), port
    except ValueError:
        return None, None
