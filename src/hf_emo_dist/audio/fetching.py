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
import re
import socket
import ssl
import threading
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, urlsplit

from .decoding import AudioError, clip_error
from .faults import MENDS
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


_DOWNLOAD = "download it and give the file"
_LATER = f"try again later, or {_DOWNLOAD}"
_CORRECT = f"correct the address, or {_DOWNLOAD}"
_ALLOW = "where you trust it, allow it with allow_private_addresses=True (--allow_private_addresses), or " + _DOWNLOAD


class PrivateAddressError(OSError):
    """An address leads to this machine or its network."""


class _OddAddressError(ValueError):
    """An address that is not asked; the message says why, and shows nothing of it that may be secret."""


def is_address_of_the_web(text: Any) -> bool:
    """Whether a value is an http(s) address.

    Example:
        >>> is_address_of_the_web("HTTPS://host/a.wav"), is_address_of_the_web("file:///etc/passwd")
        (True, False)
    """
    return isinstance(text, str) and text[:8].lower().startswith(("http://", "https://"))


def shown_address(url: str) -> str:
    """An address as messages show it: without query and fragment, user name and password.

    Example:
        >>> shown_address("https://me:pw@host:80/a.wav?sig=x#y")
        'https://host:80/a.wav'
    """
    begin, slashes, rest = re.split(r"[?#]", url, maxsplit=1)[0].partition("//")
    host, slash, path = re.sub(r"\\", "/", rest).partition("/")
    return f"{begin}{slashes}{host.rpartition('@')[2]}{slash}{path}"


def _asked_address(url: str) -> str:
    """An address with what is not ASCII encoded, as servers are asked for it."""
    parts = urlsplit(url)
    _ = parts.port  # of a number that no port has
    if "@" in parts.netloc:
        raise _OddAddressError("addresses with a user name or password are not asked")
    if not parts.netloc.isascii():
        try:
            host = (parts.hostname or "").encode("idna").decode("ascii")
        except UnicodeError:
            raise _OddAddressError(f"{parts.hostname!r} can be no name of a server") from None
        parts = parts._replace(netloc=host if parts.port is None else f"{host}:{parts.port}")
    if not parts.hostname:
        raise _OddAddressError("the address names no server")
    url = parts.geturl()
    return url if url.isascii() else quote(url, safe="".join(map(chr, range(33, 127))))


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
        asked = _asked_address(url)
        with clock.running(), _opener(clock, allow_private_addresses).open(asked, timeout=URL_TIMEOUT) as response:
            if not clock.over:  # else its headers end where the connection was ended
                clock.set(URL_SECONDS)
                clock.begun = True
                data = _received(response, name)
            if not clock.over:  # its end may be what came of ending the connection
                return data
    except AudioError:
        if not clock.over:
            raise
    except urllib.error.HTTPError as error:
        error.close()
        if not clock.over:
            mend = _mend_of_status(error.code)
            raise clip_error("missing", f"the server answered {error.code} ({error.reason})", name, mend) from None
    except (urllib.error.URLError, http.client.HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", None) or error
        if not clock.over or isinstance(reason, PrivateAddressError):
            what, mend = _told(reason)
            raise clip_error("missing", what, name, mend) from None
    if clock.begun:
        late = f"it has not come whole within {clock.seconds:g} s"
    else:
        late = f"the server's answer has not begun within {clock.seconds:g} s"
    raise clip_error("missing", late, name, _LATER)


def _mend_of_status(code: int) -> str:
    if code in (401, 402, 403, 407):
        return "download it with what the server asks for, such as your account there, and give the file"
    if 300 <= code < 400:
        return f"give the address that it leads to, or {_DOWNLOAD}"
    return _LATER if code == 429 or code >= 500 else _CORRECT


def _told(reason: Any) -> tuple[str, str]:
    """Why nothing was fetched, and the mend."""
    if isinstance(reason, PrivateAddressError):
        return str(reason), _ALLOW
    if isinstance(reason, _OddAddressError):
        return str(reason), _CORRECT
    told = reason if isinstance(reason, str | OSError) else type(reason).__name__
    what = f"nothing could be fetched ({told})"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return what, f"correct the server's certificate or this machine's clock and certificates, or {_DOWNLOAD}"
    if isinstance(reason, socket.gaierror):
        return what, f"correct the address or this machine's network, or {_DOWNLOAD}"
    if isinstance(reason, ValueError | http.client.InvalidURL):
        return what, _CORRECT
    return what, _CORRECT if isinstance(reason, str) else _LATER


def _received(response: Any, name: str) -> bytes:
    said = response.headers.get("Content-Length") or ""
    length = int(said) if said.isascii() and said.isdigit() else None
    large = f"it is larger than {URL_BYTES >> 20} MiB"
    mend = f"download it, {MENDS['too_large'].partition(', or leave')[0]}, and give the file"
    if length is not None and length > URL_BYTES:
        raise clip_error("missing", large, name, mend)
    data = io.BytesIO()
    while part := response.read1(1 << 16):
        data.write(part)
        if data.tell() > URL_BYTES:
            raise clip_error("missing", large, name, mend)
    if length is not None and data.tell() < length:
        raise clip_error("corrupt", f"the server broke off after {data.tell()} of {length} bytes", name, _LATER)
    return data.getvalue()


class _Clock:
    """Ends a connection when its time is over: a server that sends a byte now and then never times out by itself."""

    def __init__(self) -> None:
        self.seconds, self.over, self.begun = URL_HEAD_SECONDS, False, False
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
            if "@" in urlsplit(newurl).netloc:
                raise urllib.error.URLError("the server leads to an address with a user name or password")
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
            f"{host!r} is an address of this machine or its network, which is asked only where you say so"
        )
