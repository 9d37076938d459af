"""Fetch a recording from an address: bounded in bytes and time, from public servers unless the user says otherwise.

An address may come from a table or a request of somebody else, and this machine may reach what they cannot: itself, its
network, a cloud's metadata service. So each host, also one that a redirect leads to, is resolved once, every address
that it has must be a public one, and the connection is made to just that address: a name that points elsewhere a
moment later changes nothing.
"""

from __future__ import annotations

import http.client
import io
import ipaddress
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from .decoding import AudioError, clip_error
from .files import MAX_BYTES

#: Seconds to find and reach the server, and without any byte from it.
URL_TIMEOUT = 20.0
#: Seconds until its answer begins, however slowly its headers come, and until the recording is there.
URL_HEAD_SECONDS, URL_SECONDS = 30.0, 180.0
#: Largest recording, in bytes.
URL_BYTES = MAX_BYTES
#: Most redirects.
URL_REDIRECTS = 5

_NAT64 = ipaddress.ip_network("64:ff9b::/96")


class PrivateAddressError(OSError):
    """An address leads to this machine or its network."""


def is_address_of_the_web(text: Any) -> bool:
    """Whether a value is an http(s) address.

    Example:
        >>> is_address_of_the_web("HTTPS://host/a.wav"), is_address_of_the_web("file:///etc/passwd")
        (True, False)
    """
    return isinstance(text, str) and text[:8].lower().startswith(("http://", "https://"))


def is_public(address: str) -> bool:
    """Whether an IP address is one of the internet: not of this machine, of a network of one's own, or reserved.

    Example:
        >>> [is_public(one) for one in ("93.184.216.34", "127.0.0.1", "169.254.169.254", "::ffff:10.0.0.1")]
        [True, False, False, False]
    """
    ip: Any = ipaddress.ip_address(address.partition("%")[0])
    inside = None  # the address of version 4 that one of version 6 stands for
    if ip.version == 6:
        inside = ip.ipv4_mapped or ip.sixtofour or (ip.teredo[1] if ip.teredo else None)
        if ip in _NAT64:
            inside = ipaddress.IPv4Address(int(ip) & 0xFFFF_FFFF)
    if inside is not None:
        return is_public(str(inside))
    return bool(ip.is_global and not ip.is_multicast and not getattr(ip, "is_site_local", False))


def fetch(url: str, name: str, allow_private_addresses: bool = False) -> bytes:
    """Fetch a recording.

    Args:
        url: http or https.
        name: What messages call it.
        allow_private_addresses: Whether it may lie on this machine or its network.

    Raises:
        AudioError: It cannot be fetched, or is too large, or takes too long.
    """
    clock = _Clock()
    try:
        _ = urlsplit(url).port  # of a number that no port has
        with clock.running(), _opener(clock, allow_private_addresses).open(url, timeout=URL_TIMEOUT) as response:
            clock.set(URL_SECONDS)
            data = _received(response, name)
            if not clock.over:  # its end may be what came of ending the connection
                return data
    except AudioError:
        if not clock.over:
            raise
    except urllib.error.HTTPError as error:
        error.close()
        if not clock.over:
            raise clip_error("missing", f"the server answered {error.code} ({error.reason})", name) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if isinstance(reason, PrivateAddressError):
            raise clip_error("missing", str(reason), name) from None
        if not clock.over:
            told = reason if isinstance(reason, str | OSError) else type(error).__name__
            raise clip_error("missing", f"nothing could be fetched ({told})", name) from None
    raise clip_error("missing", f"it has not come whole within {clock.seconds:g} s", name)


def _received(response: Any, name: str) -> bytes:
    said = response.headers.get("Content-Length") or ""
    length = int(said) if said.isascii() and said.isdigit() else None
    large = f"it is larger than {URL_BYTES >> 20} MiB; download it and give the file"
    if length is not None and length > URL_BYTES:
        raise clip_error("missing", large, name)
    data = io.BytesIO()
    while part := response.read1(1 << 16):
        data.write(part)
        if data.tell() > URL_BYTES:
            raise clip_error("missing", large, name)
    if length is not None and data.tell() < length:
        raise clip_error("corrupt", f"the server broke off after {data.tell()} of {length} bytes", name)
    return data.getvalue()


class _Clock:
    """Ends a connection when its time is over: a server that sends a byte now and then never times out by itself."""

    def __init__(self) -> None:
        self.seconds, self.over = URL_HEAD_SECONDS, False
        self._timer: threading.Timer | None = None
        self._sockets: list[socket.socket] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        self.set(URL_HEAD_SECONDS)
        try:
            yield
        finally:
            if self._timer is not None:
                self._timer.cancel()

    def set(self, seconds: float) -> None:
        """So many seconds from now."""
        if self._timer is not None:
            self._timer.cancel()
        self.seconds = seconds
        self._timer = threading.Timer(seconds, self._end)
        self._timer.daemon = True
        self._timer.start()

    def watch(self, connected: socket.socket) -> None:
        """End this one, too; at once where the time is over already."""
        self._sockets.append(connected)
        if self.over:
            self._end()

    def _end(self) -> None:
        self.over = True
        for connected in self._sockets:
            try:
                connected.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue


def _opener(clock: _Clock, allow_private: bool) -> Any:
    def check(url: str) -> None:
        # whoever fetches for us resolves the name by itself; what it says plainly is refused here
        host = urlsplit(url).hostname or ""
        if not allow_private:
            _refuse_private(host, _addresses(host, 443, must=False))

    def connect(host: str, port: int, timeout: float) -> socket.socket:
        found = _addresses(host, port)
        if not allow_private:
            _refuse_private(host, found)
        error: OSError = OSError(f"{host} has no address")
        for address in found:
            try:
                connected = socket.create_connection(address[:2], timeout)
            except OSError as failed:
                error = failed
                continue
            clock.watch(connected)
            return connected
        raise error

    def to_proxy(host: str, port: int, timeout: float) -> socket.socket:
        connected = socket.create_connection((host, port), timeout)
        clock.watch(connected)
        return connected

    class Plain(urllib.request.HTTPHandler):
        def http_open(self, req: Any) -> Any:
            return self.do_open(_connection(http.client.HTTPConnection, _way(req, check, connect, to_proxy)), req)

    class Secure(urllib.request.HTTPSHandler):
        def https_open(self, req: Any) -> Any:
            way = _way(req, check, connect, to_proxy)
            return self.do_open(
                _connection(http.client.HTTPSConnection, way), req, context=ssl.create_default_context()
            )

    class Redirects(urllib.request.HTTPRedirectHandler):
        max_redirections = URL_REDIRECTS
        max_repeats = 2

        def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
            if not is_address_of_the_web(newurl):
                raise urllib.error.URLError(f"the server leads to {urlsplit(newurl).scheme}, which is no http(s)")
            return super().redirect_request(req, fp, code, msg, headers, newurl)

    # no file:, ftp: or data:, which build_opener would bring
    opener = urllib.request.OpenerDirector()
    handlers = (urllib.request.ProxyHandler, Plain, Secure, Redirects, urllib.request.HTTPDefaultErrorHandler)
    for handler in (*handlers, urllib.request.HTTPErrorProcessor, urllib.request.UnknownHandler):
        opener.add_handler(handler())
    return opener


Way = Callable[[str, int, float], socket.socket]


def _way(request: Any, check: Callable[[str], None], connect: Way, to_proxy: Way) -> Way:
    """How the server of a request is reached: by itself, or through the proxy that the environment names."""
    if getattr(request, "_tunnel_host", None) or request.has_proxy():
        check(request.full_url)
        return to_proxy
    return connect


def _connection(kind: Any, way: Way) -> Any:
    def made(*args: Any, **kwargs: Any) -> Any:
        connection = kind(*args, **kwargs)
        # what it makes its socket by; what is around that, such as TLS, is its own
        connection._create_connection = reached
        return connection

    def reached(address: tuple[str, int], timeout: float, source_address: Any = None) -> socket.socket:
        return way(address[0], address[1], timeout)

    return made


def _addresses(host: str, port: int, must: bool = True) -> list[tuple[Any, ...]]:
    """The addresses of a host, found within `URL_TIMEOUT`; getaddrinfo itself may take minutes."""
    found: list[Any] = []

    def look() -> None:
        try:
            found.append(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
        except (OSError, UnicodeError) as error:
            found.append(error)

    thread = threading.Thread(target=look, daemon=True)
    thread.start()
    thread.join(URL_TIMEOUT)
    result = found[0] if found else TimeoutError(f"{host} was not found within {URL_TIMEOUT:g} s")
    if isinstance(result, Exception):
        if must:
            raise result if isinstance(result, OSError) else OSError(str(result))
        return []
    return [entry[4] for entry in result]


def _refuse_private(host: str, addresses: list[tuple[Any, ...]]) -> None:
    if not all(is_public(str(address[0])) for address in addresses):
        raise PrivateAddressError(
            f"{host!r} is an address of this machine or its network, which is asked only where you say so: "
            "allow_private_addresses=True (--allow_private_addresses)"
        )
