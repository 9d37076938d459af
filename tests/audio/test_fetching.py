"""Recordings by their addresses: bounded in bytes, time and redirects; from this machine's network only where asked."""

import contextlib
import io
import socket
import threading
import time

import numpy as np
import pytest

from hf_emo_dist.audio import fetching
from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.audio.fetching import fetch, is_public
from hf_emo_dist.audio.inputs import open_clip

PUBLIC, OTHER = "93.184.216.34", "93.184.216.35"
NOT_PUBLIC = [
    "127.0.0.1", "127.9.9.9", "0.0.0.0", "10.0.0.1", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1",
    "224.0.0.1", "255.255.255.255", "240.0.0.1", "198.18.0.1", "192.0.2.1", "::1", "::", "fe80::1%eth0", "fd00::1",
    "fec0::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1", "2002:7f00:1::", "64:ff9b::7f00:1",
    "64:ff9b::a9fe:a9fe", "2001:db8::1", "2001:0:4136:e378:8000:63bf:80ff:fffe",
]  # fmt: skip


@pytest.mark.parametrize("address", NOT_PUBLIC)
def test_addresses_of_ones_own(address):
    assert not is_public(address)


@pytest.mark.parametrize("address", [PUBLIC, "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses(address):
    assert is_public(address)


def headers(status="200 OK", *lines):
    return "\r\n".join([f"HTTP/1.1 {status}", *lines, "Connection: close", "", ""]).encode()


def drip(send, data, pause=0.02):
    for byte in data:
        send(bytes([byte]))
        time.sleep(pause)


def endless(send, part, *lines):
    send(headers("200 OK", *lines))
    while True:
        send(part)


ANSWERS = {
    "whole": lambda send: send(headers("200 OK", "Content-Length: 4") + b"clip"),
    "unsized": lambda send: send(headers() + b"clip"),
    "broken": lambda send: send(headers("200 OK", "Content-Length: 10") + b"clip"),
    "odd length": lambda send: send(headers("200 OK", "Content-Length: \u00b2").replace(b"\xc2", b"") + b"clip"),
    "negative length": lambda send: send(headers("200 OK", "Content-Length: -5") + b"clip"),
    "said to be huge": lambda send: send(headers("200 OK", "Content-Length: 999999999999")),
    "endless": lambda send: endless(send, bytes(1 << 16)),
    "endless chunks": lambda send: endless(send, b"1\r\na\r\n", "Transfer-Encoding: chunked"),
    "slow headers": lambda send: drip(send, b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 900),
    "slow status": lambda send: drip(send, b"HTTP/1.1 200 " + b"O" * 900),
    "slow body": lambda send: (send(headers()), drip(send, bytes(900))),
    "silence": lambda send: time.sleep(1.5),
    "no HTTP": lambda send: send(b"SSH-2.0-OpenSSH_9\r\n"),
    "many headers": lambda send: send(headers("200 OK", *("X: y" for _ in range(5000)))),
    "a long header": lambda send: send(headers("200 OK", "X: " + "y" * 100_000)),
    "an error": lambda send: send(headers("503 Busy\x1b[2J")),
    "round and round": lambda send: send(headers("302 Found", "Location: /round and round")),
    "to a file": lambda send: send(headers("302 Found", "Location: file:///etc/passwd")),
    "to ftp": lambda send: send(headers("302 Found", "Location: ftp://127.0.0.1/a")),
    "to nowhere": lambda send: send(headers("302 Found", "Location: http://[::1")),
    "to this machine": lambda send: send(headers("302 Found", "Location: http://127.0.0.1:1/a")),
    "to a private name": lambda send: send(headers("301 Moved", "Location: http://inside.example/a")),
    "to the metadata": lambda send: send(headers("307 Moved", "Location: http://169.254.169.254/latest/meta-data/")),
    "to another": lambda send: send(headers("302 Found", "Location: http://other.example/whole")),
    "to a password": lambda send: send(headers("302 Found", "Location: http://me:geheim99@public.example/whole")),
    "not for all": lambda send: send(headers("403 Forbidden")),
    "not there": lambda send: send(headers("404 Not Found")),
    "without a place": lambda send: send(headers("302 Found")),
}  # fmt: skip


@pytest.fixture(scope="module")
def port():
    """A server that answers as its paths say."""
    server = socket.create_server(("127.0.0.1", 0), backlog=50)

    def answer(connection):
        with connection, contextlib.suppress(OSError):
            asked = connection.recv(1 << 16).split(b" ")[1].decode().strip("/").replace("%20", " ")
            ANSWERS[asked](connection.sendall)

    def serve():
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=answer, args=[server.accept()[0]], daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture
def net(port, monkeypatch):
    """Names on the internet, whose servers are that one; the list is of the addresses that connections were made to."""
    names = {
        "public.example": [PUBLIC],
        "other.example": [OTHER],
        "inside.example": ["10.0.0.7"],
        "both.example": [PUBLIC, "::1"],
    }
    reached, connect, look = [], socket.create_connection, socket.getaddrinfo

    def found(host, port, *args, **kwargs):
        if host in names:
            return [(0, 0, 0, "", (address, port)) for address in names[host]]
        if host.endswith(".example"):
            raise socket.gaierror(-2, "Name or service not known")
        return look(host, port, *args, **kwargs)

    def connected(address, *args, **kwargs):
        reached.append(address[0])
        return connect(("127.0.0.1", port) if address[0] in (PUBLIC, OTHER) else address, *args, **kwargs)

    monkeypatch.setattr(fetching.socket, "getaddrinfo", found)
    monkeypatch.setattr(fetching.socket, "create_connection", connected)
    monkeypatch.setattr(fetching, "URL_TIMEOUT", 0.5)
    monkeypatch.setattr(fetching, "URL_HEAD_SECONDS", 0.3)
    monkeypatch.setattr(fetching, "URL_SECONDS", 0.4)
    monkeypatch.setattr(fetching, "URL_BYTES", 1 << 20)
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    return reached


LATE, SLOW, NONE, OURS = (
    r"not come whole within 0\.4 s",
    "answer has not begun within 0.3 s",
    "nothing could be fetched",
    "address of this machine or its network",
)
ALLOW = "Mend: where you trust it, allow it with allow_private_addresses=True"
LATER, CORRECT, GIVE = "Mend: try again later, or download", "Mend: correct the address", "and give the file"
# what is told, and the mend
REFUSED = {
    "broken": ("broke off after 4 of 10", LATER), "said to be huge": ("larger than 1 MiB", "cut it, or convert it"),
    "endless": ("larger than 1 MiB|" + LATE, GIVE), "endless chunks": (LATE + "|larger", GIVE),
    "slow headers": (SLOW, LATER), "slow status": (SLOW, LATER), "slow body": (LATE, LATER),
    "silence": (SLOW + "|" + NONE, LATER), "no HTTP": (NONE, GIVE), "many headers": (NONE, GIVE),
    "a long header": (NONE, GIVE), "an error": ("answered 503", LATER), "not there": ("answered 404", CORRECT),
    "not for all": ("answered 403", "your account there, and give the file"),
    "round and round": ("answered 302", "give the address that it leads to"),
    "to a file": ("leads to file|not allowed", GIVE), "to ftp": ("leads to ftp", CORRECT),
    "to a password": ("leads to an address with a user name or password", CORRECT), "to nowhere": (NONE, CORRECT),
    "to this machine": (OURS, ALLOW), "to a private name": (OURS, ALLOW), "to the metadata": (OURS, ALLOW),
    "without a place": ("answered 302", "give the address that it leads to"),
}  # fmt: skip


@pytest.mark.parametrize("kind", ANSWERS)
def test_servers(kind, net):
    start = time.monotonic()
    url = f"http://public.example/{kind.replace(' ', '%20')}"
    if kind not in REFUSED:
        assert fetch(url, "clip") == b"clip"
    else:
        with pytest.raises(AudioError, match=REFUSED[kind][0]) as caught:
            fetch(url, "clip")
        assert "'clip'" in str(caught.value) and REFUSED[kind][1] in str(caught.value)
        assert "geheim99" not in str(caught.value)
        assert net == [PUBLIC] * len(net)
    assert time.monotonic() - start < 3


ADDRESSES = {
    "http://127.0.0.1:{port}/whole": OURS,
    "http://localhost:{port}/whole": OURS,
    "http://127.1:{port}/whole": OURS,
    "http://2130706433:{port}/whole": OURS,
    "http://0x7f000001:{port}/whole": OURS,
    "http://0:{port}/whole": OURS,
    "http://[::1]:{port}/whole": OURS,
    "http://[::ffff:127.0.0.1]:{port}/whole": OURS,
    "http://inside.example/whole": OURS,
    "http://both.example/whole": OURS,  # one of its addresses is enough
    "http://public.example@127.0.0.1:{port}/whole": "with a user name or password are not asked",
    "http://me:geheim99@public.example/whole": "with a user name or password are not asked",
    "http://me:geheim99@/whole": "with a user name or password are not asked",
    "http://\uff11\uff12\uff17.0.0.1:{port}/whole": OURS,
    "http://inside\u3002example/whole": OURS,
    "http://b\u00fccher.example/a": NONE,
    "http://\ufffd.example/a": "can be no name of a server",
    "http://" + "\u00fc" * 70 + ".example/a": "can be no name of a server",
    "HTTP://LOCALHOST:{port}/whole": OURS,
    "http://nowhere.example/a": NONE,
    "http://[::1": NONE,
    "http://": "names no server",
    "http://a b/c": NONE,
    "http://" + "a" * 300 + ".example": NONE,
    "http://public.example:99999/a": NONE,
    "http://public.example/\r\nX: y": NONE,
}


@pytest.mark.parametrize("url", ADDRESSES)
def test_private_addresses(url, net, port):
    with pytest.raises(AudioError, match=ADDRESSES[url]) as caught:
        fetch(url.format(port=port), "clip")
    told = str(caught.value)
    assert net == [] and "geheim99" not in told and "ordinal" not in told
    assert (ALLOW if ADDRESSES[url] == OURS else CORRECT) in told


def test_letters_that_are_not_ascii(net, monkeypatch):
    monkeypatch.setitem(ANSWERS, "%C3%A4", ANSWERS["whole"])
    assert fetch("http://\uff50ublic.example/\u00e4", "clip") == b"clip" and net == [PUBLIC]


def test_where_the_user_says_so(net, port):
    assert fetch(f"http://127.0.0.1:{port}/whole", "clip", allow_private_addresses=True) == b"clip"


def test_a_name_that_changes_its_mind(net, monkeypatch, port):
    answers, look = iter([PUBLIC, "127.0.0.1"]), socket.getaddrinfo

    def found(host, port, *more, **others):
        return [(0, 0, 0, "", (next(answers), port))] if host == "public.example" else look(host, port, *more, **others)

    monkeypatch.setattr(fetching.socket, "getaddrinfo", found)
    assert fetch("http://public.example/whole", "clip") == b"clip" and net == [PUBLIC]


def test_a_resolver_that_hangs(net, monkeypatch):
    monkeypatch.setattr(fetching, "URL_TIMEOUT", 0.2)
    monkeypatch.setattr(fetching.socket, "getaddrinfo", lambda *args, **_: time.sleep(3))
    start = time.monotonic()
    with pytest.raises(AudioError, match=r"not found within 0\.2 s"):
        fetch("http://public.example/whole", "clip")
    assert time.monotonic() - start < 2


def test_through_a_proxy(net, monkeypatch, port):
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{port}")
    monkeypatch.setitem(ANSWERS, "http://nowhere.example/whole", ANSWERS["whole"])
    monkeypatch.setitem(ANSWERS, "http://10.0.0.7/whole", ANSWERS["whole"])
    assert fetch("http://nowhere.example/whole", "clip") == b"clip"  # a name that only the proxy knows
    assert net == ["127.0.0.1"]
    with pytest.raises(AudioError, match=OURS):
        fetch("http://10.0.0.7/whole", "clip")


def test_a_clip_of_an_address(net, monkeypatch):
    import soundfile

    out = io.BytesIO()
    soundfile.write(out, np.sin(np.arange(8000) / 9).astype(np.float32), 16000, format="WAV")
    data = out.getvalue()
    monkeypatch.setitem(ANSWERS, "a.wav", lambda send: send(headers("200 OK", f"Content-Length: {len(data)}") + data))
    assert len(open_clip("http://public.example/a.wav", "clip").windows[0]) == 8000
    with pytest.raises(AudioError, match=OURS):
        open_clip({"audio": "http://127.0.0.1/a.wav"}, "clip")
