"""What stands between a client and the network: bodies are bounded, and nobody is sent on to another server."""

from __future__ import annotations

from typing import Any
from urllib.parse import urljoin, urlsplit

from ..types import FatalError

#: A reply is a word or a small JSON object, perhaps with a long error page around it.
MOST_BYTES = 8_000_000
#: Compressed, a body of a megabyte may stand for gigabytes.
PLAIN = {"Accept-Encoding": "identity"}
_REDIRECTS = (301, 302, 303, 307, 308)
#: What the address of a file ends with that is to be downloaded. Its server may send it on, within itself.
_DOWNLOAD = ":download"


class TooLong(Exception):
    """A body of more than `MOST_BYTES`; the rest was not read."""

    def __init__(self) -> None:
        super().__init__(f"the body is longer than {MOST_BYTES / 1e6:.0f} MB")


class Redirected(Exception):
    """A server that sends requests on to another address, which would get the audio, and perhaps the key."""

    def __init__(self, location: str | None) -> None:
        parts = urlsplit(location or "")
        # Without its query, which may hold a secret.
        self.to = f"{parts.scheme}://{parts.hostname or ''}{parts.path}" if parts.hostname else parts.path or "nowhere"
        super().__init__(f"the server sends requests on to {self.to}")

    def outcome(self, endpoint: str) -> FatalError:
        """What it means for a run."""
        return FatalError(
            "setup",
            f"The server at {endpoint} sends requests on to {self.to}, and key and audio would go there.",
            "if that is where they belong, give it as the server's address.",
        )


def found_in(error: BaseException | None) -> TooLong | Redirected | None:
    """The one of these that an exception is, or was raised from."""
    while error is not None:
        if isinstance(error, (TooLong, Redirected)):
            return error
        error = error.__cause__ or error.__context__
    return None


async def bounded_aiohttp(request: Any, handler: Any) -> Any:
    """Read what comes, up to the bound. A middleware of aiohttp's client."""
    response = await handler(request)
    download = request.url.path.endswith(_DOWNLOAD)
    if response.status in _REDIRECTS:
        location = response.headers.get("location")
        if download and location and _same_server(str(request.url), location):
            return response
        response.close()
        raise Redirected(location)
    if download and response.status == 200:  # who asks for it writes it to a file, piece by piece, up to a bound
        return response
    found = bytearray()
    async for chunk in response.content.iter_chunked(65_536):
        found += chunk
        if len(found) > MOST_BYTES:
            response.close()
            raise TooLong
    response._body = bytes(found)  # where `read`, `text` and `json` look first
    return response


def _same_server(url: str, location: str) -> bool:
    before, after = urlsplit(url), urlsplit(urljoin(url, location))
    return (before.scheme, before.netloc) == (after.scheme, after.netloc)


async def bounded_httpx(response: Any) -> None:
    """Read what comes, up to the bound. A hook of httpx's client, before anybody else reads."""
    if response.status_code in _REDIRECTS:
        await response.aclose()
        raise Redirected(response.headers.get("location"))
    found = bytearray()
    async for chunk in response.aiter_bytes():
        found += chunk
        if len(found) > MOST_BYTES:
            await response.aclose()
            raise TooLong
    response._content = bytes(found)  # where `aread`, `text` and `json` look first
