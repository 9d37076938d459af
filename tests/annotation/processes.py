"""Starting the server and annotating as processes of their own."""

import atexit
import contextlib
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

HERE = Path(__file__).parent
_NUMBERS = itertools.count()


def environment():
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parents[1] / "src"), *sys.path])}


@contextlib.contextmanager
def serving(log=None, latency=0.03, faults=()):
    """The Gemini server; gives its address. It appends a line to `log` for each reply that it sent."""
    command = [sys.executable, str(HERE / "gemini_server.py"), "--latency", str(latency)]
    command += ["--log", str(log)] if log else []
    for fault in faults:
        command += ["--fault", json.dumps(fault)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment())
    try:
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


@functools.cache
def _forks():
    process = subprocess.Popen(
        [sys.executable, str(HERE / "annotating.py")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    atexit.register(process.kill)
    return process


class Annotating:
    """A process that annotates."""

    def __init__(self, url, ledger, rows, way="annotate", **options):
        name = Path(ledger).parent / f"outcome-{next(_NUMBERS)}"
        self._outcome, self._errors = name.with_suffix(".json"), name.with_suffix(".err")
        command = {"url": url, "ledger": str(ledger), "rows": rows, "way": way, "options": options}
        forks = _forks()
        forks.stdin.write(json.dumps({**command, "outcome": str(self._outcome), "errors": str(self._errors)}) + "\n")
        forks.stdin.flush()
        self.pid = int(forks.stdout.readline())

    def runs(self):
        """Whether it does."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    def send(self, number):
        """Sends a signal."""
        os.kill(self.pid, number)

    def kill(self):
        """`kill -9`; returns when it is gone."""
        self.send(signal.SIGKILL)
        self._wait()

    def outcome(self):
        """What it ended with, and what it wrote to stderr."""
        self._wait()
        assert self._outcome.exists(), self._errors.read_text()
        return json.loads(self._outcome.read_text()), self._errors.read_text()

    def _wait(self):
        deadline = time.monotonic() + 60
        while self.runs():
            assert time.monotonic() < deadline, "it hangs"
            time.sleep(0.005)


def replies(log):
    """The lines of a server's log of replies."""
    return [json.loads(line) for line in log.read_text().splitlines()]


def sent(log):
    """How many replies a server sent."""
    return log.read_bytes().count(b"\n") if log.exists() else 0


def wait_for(log, number):
    """Returns when so many replies were sent."""
    deadline = time.monotonic() + 60
    while sent(log) < number:
        assert time.monotonic() < deadline, "the replies do not come"
        time.sleep(0.004)
