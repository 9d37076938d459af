"""Servers that can only work on so much at once, and that keep a bill of what they generated."""

import heapq
import time


class Capacity:
    """Makes a server work on `number` requests at once; the others wait, or are refused with `code`.

    With `gives_up_s` they wait behind a proxy that says `code` after that time, and are worked on all the same.

    `worked` counts what it has worked on, whether or not anybody still listened.
    """

    def __init__(self, server, number, seconds, code=None, gives_up_s=None):
        self.gives_up_s = gives_up_s
        self.number, self.seconds, self.code = number, seconds, code
        self.ends, self.worked, self.refused = [], 0, 0
        self.respond = server.respond
        server.respond = self
        self.server = server

    def __call__(self, request):
        now = time.monotonic()
        while self.ends and self.ends[0] <= now:
            heapq.heappop(self.ends)
        if self.code is not None and self.gives_up_s is None and len(self.ends) >= self.number:
            self.refused += 1
            return self.server.fault_status(request, code=self.code)
        starts = now
        if len(self.ends) >= self.number:  # one after another, in the order in which they came
            starts = sorted(self.ends)[-self.number]
        heapq.heappush(self.ends, starts + self.seconds)
        self.worked += 1
        reply, delay = self.respond(request), starts + self.seconds - now
        if self.gives_up_s is not None and delay > self.gives_up_s:
            reply, delay = self.server.fault_status(request, code=self.code), self.gives_up_s
        reply.delay = delay
        return reply

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.server.respond = self.respond
