"""A small HTTP server for tests: quick, on 127.0.0.1, and able to misbehave on purpose.

It runs in a thread of its own (`with Server() as server`) or as a process (gemini_server.py and openai_server.py).
"""

import abc
import argparse
import asyncio
import collections
import contextlib
import hashlib
import json
import os
import socket
import struct
import threading
import time

EMOTIONS = ("angry", "happy", "neutral", "sad")


class Reply:
    """What is sent: `body` (an object for JSON, or bytes), and how: ``send``, ``abort``, ``half`` or ``never``."""

    def __init__(self, status=200, body=None, headers=(), how="send", delay=None):
        self.status, self.headers, self.how, self.delay = status, dict(headers), how, delay
        self.body = body if isinstance(body, bytes) else json.dumps(body).encode()


class Request:
    """One request. Neither the key nor any header that may hold one is kept: `key_ok` says whether it was right."""

    def __init__(self, number, method, path, headers, key):
        given = headers.pop("x-goog-api-key", None) or headers.pop("authorization", "").removeprefix("Bearer ")
        self.number, self.method, self.path, self.headers = number, method, path, headers
        self.key_ok, self.at = key is None or given == key, time.monotonic()
        self.body = b""
        # filled in by the server that knows the protocol
        self.audio = self.mime = self.text = self.system = self.config = None


def fingerprint(*parts):
    """A number that follows from the parts alone."""
    return int.from_bytes(hashlib.sha256("\0".join(map(str, parts)).encode()).digest()[:8], "big")


def label_for(audio, text, emotions):
    """The label that the servers give to a clip (its SHA-256) and a prompt."""
    return emotions[fingerprint(audio, text) % len(emotions)]


def shares_for(audio, text, emotions):
    """The distribution that the servers give; its shares have three decimals and sum to 1."""
    raw = [1 + fingerprint(audio, text, name) % 97 for name in emotions]
    shares = [round(value / sum(raw), 3) for value in raw]
    shares[-1] = round(1 - sum(shares[:-1]), 3)
    return dict(zip(emotions, shares, strict=True))


class _Connection(asyncio.Protocol):
    def __init__(self, server):
        self.server, self.chunks, self.size, self.need, self.request = server, [], 0, None, None

    def connection_made(self, transport):
        self.transport = transport
        self.server.connections += 1
        self.server.opened += 1

    def connection_lost(self, error):
        self.server.connections -= 1

    def data_received(self, data):
        self.chunks.append(data)
        self.size += len(data)
        while self.need is None or self.size >= self.need:
            if self.need is None and not self._head():
                return
            if self.size < self.need:
                return
            whole = b"".join(self.chunks)
            body, rest = whole[: self.need], whole[self.need :]
            self.chunks, self.size, self.need = [rest] if rest else [], len(rest), None
            self._answer(body)
            if not rest:
                return

    def _head(self):
        whole = b"".join(self.chunks)
        end = whole.find(b"\r\n\r\n")
        if end < 0:
            self.chunks = [whole]
            return False
        lines = whole[:end].decode("latin-1").split("\r\n")
        method, path, _ = lines[0].split(" ", 2)
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
        rest = whole[end + 4 :]
        self.chunks, self.size = [rest], len(rest)
        self.need = int(headers.get("content-length", 0))
        self.server.count += 1
        self.request = Request(self.server.count, method, path, headers, self.server.key)
        if self.server.resets_early(self.request):
            self._abort()
            return False
        return True

    def _abort(self):
        # RST, not FIN: what a broken connection looks like
        with contextlib.suppress(OSError):
            sock = self.transport.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.transport.abort()

    def _answer(self, body):
        request, server = self.request, self.server
        request.body = body
        reply = server.reply(request)
        request.body = b""
        if server.keep:
            server.requests.append(request)
        if server.gate:
            server.held.append((self, request, reply))
            if len(server.held) == server.gate:
                held, server.held = server.held, []
                for connection, *rest in held:
                    connection._send(*rest)
            return
        delay = server.latency if reply.delay is None else reply.delay
        if server.capacity:
            now = time.monotonic()
            server.ends = sorted(end for end in server.ends if end > now)
            starts = now if len(server.ends) < server.capacity else server.ends[-server.capacity]
            server.ends.append(starts + delay)
            delay = starts + delay - now
        if delay > 0:
            server.loop.call_later(delay, self._send, request, reply)
        else:
            self._send(request, reply)

    def _send(self, request, reply):
        server = self.server
        if reply.how == "never":
            return
        if reply.how == "abort" or self.transport.is_closing():
            self._abort()
            return
        head = {"content-type": "application/json", **reply.headers, "content-length": str(len(reply.body))}
        lines = [f"HTTP/1.1 {reply.status} Status", *(f"{name}: {value}" for name, value in head.items())]
        body = reply.body[: len(reply.body) // 2] if reply.how == "half" else reply.body
        self.transport.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        if reply.how == "half":
            self.transport.close()
            return
        server.sent += 1
        if server.keep:
            server.replies.append((request.number, reply.status))
        if server.log:
            # who is killed right now has this line all the same: it is in the kernel
            entry = {
                "number": request.number,
                "status": reply.status,
                "audio": request.audio,
                "prompt": hashlib.sha256((request.text or "").encode()).hexdigest(),
                "text": request.text,
            }
            os.write(server.log, json.dumps(entry).encode() + b"\n")


class Server(abc.ABC):
    """Serves in a thread. Subclasses give `respond(request) -> Reply` and may read the body in `understand(request)`.

    Args:
        latency: Seconds from a request's last byte to its reply.
        key: What clients must send; None takes anything.
        log: A file to which a line is appended for each reply that was sent.
        keep: Whether `requests` and `replies` are kept.
    """

    def __init__(self, latency=0.0, key=None, log=None, keep=True, port=0):
        self.latency, self.key, self.keep, self.port = latency, key, keep, port
        self.log = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND) if log else None
        self.requests, self.replies, self.script = [], [], []
        self.count = self.sent = self.connections = self.opened = 0
        self.loop = None
        # How many requests must have come before any is answered; proves that so many can be under way at once.
        self.gate, self.held = 0, []
        # How many requests are worked on at once, each for `latency` seconds; the others wait. None: as many as come.
        self.capacity, self.ends = None, []

    # -- faults ------------------------------------------------------------------------------------------------------

    def fault(self, kind, when=None, times=None, **options):
        """Misbehave: `kind` is a method ``fault_<kind>`` or a key of `OUTCOMES`.

        `when` is None (always), a request number from 1, a container of numbers, or a function of the request. The
        first entry that fits is taken, at most `times` times.
        """
        self.script.append([kind, when, times, options])
        return self

    def _taken(self, request, kinds=None):
        for entry in self.script:
            kind, when, times, options = entry
            if (kinds and kind not in kinds) or times == 0:
                continue
            if callable(when):
                fits = when(request)
            else:
                fits = when is None or (request.number == when if isinstance(when, int) else request.number in when)
            if fits:
                if times is not None:
                    entry[2] -= 1
                return kind, options
        return None

    def resets_early(self, request):
        """Whether to break the connection before the body is read."""
        if not any(entry[0] == "reset_before" for entry in self.script):
            return False
        return self._taken(request, ("reset_before",)) is not None

    def reply(self, request):
        """The reply to a request, with the faults of the script."""
        self.understand(request)
        taken = self._taken(request)
        if taken is None or taken[0] == "reset_before":
            return self.respond(request)
        kind, options = taken
        return getattr(self, f"fault_{kind}")(request, **options)

    def fault_status(self, request, code=500, body=None, headers=()):
        return Reply(
            code,
            {"error": {"code": code, "message": f"status {code}", "status": "X"}} if body is None else body,
            headers,
        )

    def fault_reset_after(self, request):
        return Reply(how="abort")

    def fault_reset_middle(self, request):
        reply = self.respond(request)
        reply.how = "half"
        return reply

    def fault_never(self, request):
        return Reply(how="never")

    def fault_slow(self, request, seconds=1.0):
        reply = self.respond(request)
        reply.delay = seconds
        return reply

    def fault_truncated_json(self, request):
        reply = self.respond(request)
        reply.body = reply.body[: len(reply.body) * 2 // 3]
        return reply

    def fault_body(self, request, body, code=200, headers=()):
        return Reply(code, body, headers)

    # -- for subclasses ----------------------------------------------------------------------------------------------

    @abc.abstractmethod
    def understand(self, request):
        """Fill in `audio`, `text`, … of a request."""

    @abc.abstractmethod
    def respond(self, request):
        """The reply when all is well."""

    # -- running -----------------------------------------------------------------------------------------------------

    async def _serve(self, ready):
        self.loop = asyncio.get_running_loop()
        # Python's default backlog stalls clients that open many connections at once.
        server = await self.loop.create_server(lambda: _Connection(self), "127.0.0.1", self.port, backlog=4096)
        self.port = server.sockets[0].getsockname()[1]
        self._stop = asyncio.Event()
        ready()
        async with server:
            await self._stop.wait()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self):
        ready = threading.Event()
        self._thread = threading.Thread(target=asyncio.run, args=(self._serve(ready.set),), daemon=True)
        self._thread.start()
        assert ready.wait(10)
        return self

    def __exit__(self, *exception):
        self.loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(10)
        if self.log:
            os.close(self.log)

    @property
    def statuses(self):
        """Status to how many replies had it."""
        return collections.Counter(status for _, status in self.replies)


def main(server_class):
    """Serve as a process until the parent is gone. Prints the address as its first line."""
    parser = argparse.ArgumentParser(description=server_class.__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--capacity", type=int)
    parser.add_argument("--key")
    parser.add_argument("--log")
    parser.add_argument("--fault", action="append", default=[], help='JSON: {"kind": ..., "when": [...], ...}')
    arguments = parser.parse_args()
    server = server_class(arguments.latency, arguments.key, arguments.log, keep=False, port=arguments.port)
    server.capacity = arguments.capacity
    for text in arguments.fault:
        server.fault(**json.loads(text))
    parent = os.getppid()

    async def serve():
        async def watch():
            while os.getppid() == parent:
                await asyncio.sleep(0.2)
            server._stop.set()

        await asyncio.gather(server._serve(lambda: os.write(1, f"{server.url}\n".encode())), watch())

    asyncio.run(serve())
