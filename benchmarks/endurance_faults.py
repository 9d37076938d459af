"""What goes wrong in a run of `endurance.py`: it runs a command in a process of its own, and lets something happen.

Moments are counted, not timed, so that a cell of the table is the same on a busy machine: each file that Python opens
for writing, renames or removes in the job's folder is an event, and so is each call of a function that the job names
(a step of training, a vote that is stored). A fault happens just before an event.
"""

import datetime
import io
import os
import resource
import shutil
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from pathlib import Path

#: Audited events that change files; the paths are among their first two arguments.
CHANGES = ("os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.link", "os.truncate", "sqlite3.connect")
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT
HOUR = 3600


@dataclass
class Ended:
    """How a process ended, and what it wrote to the terminal."""

    status: int  # below 0: killed by that signal
    out: str
    err: str
    events: list[str] = field(default_factory=list)

    @property
    def said(self) -> str:
        """The last thing that it said: an error's whole text, or its last line."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        for place, line in enumerate(lines):
            if line.startswith(("error: ", "stopped")):
                return " ".join(lines[place:])
        return lines[-1].strip() if lines else ""

    @property
    def has_traceback(self) -> bool:
        """Whether it was an error that nobody had thought of."""
        return "Traceback (most recent call last)" in self.err


class Process:
    """A command of `hf-emo-dist` in a fork of this process, which has imported everything already.

    Args:
        words: The command.
        work: The job's folder, whose files are watched; caches and the terminal's text lie in it, hidden.
        seams: `module:Name` or `module:Class.name`, whose calls are events too.
        act: What is done just before event number `at`, in the process.
        at: The event, from 1.
        setup: Called in the process before the command.
    """

    def __init__(
        self,
        words: Sequence[str],
        work: Path,
        logs: Path,
        seams: Sequence[str] = (),
        act: Callable[[], None] | None = None,
        at: int = 0,
        setup: Callable[[], None] | None = None,
    ) -> None:
        self.logs = logs
        logs.mkdir(parents=True, exist_ok=True)
        for name in ("out", "err", "events"):
            (logs / name).unlink(missing_ok=True)
        sys.stdout.flush()
        sys.stderr.flush()
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                status = self._run(words, work, seams, act, at, setup)
            except SystemExit as stop:
                status = stop.code if isinstance(stop.code, int) else 1
            except KeyboardInterrupt:
                traceback.print_exc()
                status = 130
            except BaseException:  # noqa: BLE001 - the fork must end here, whatever it was
                traceback.print_exc()
                status = 1
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)

    def _run(
        self,
        words: Sequence[str],
        work: Path,
        seams: Sequence[str],
        act: Callable[[], None] | None,
        at: int,
        setup: Callable[[], None] | None,
    ) -> int:
        for name, number in (("out", 1), ("err", 2)):
            file = os.open(self.logs / name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.dup2(file, number)
        sys.stdout = io.TextIOWrapper(io.FileIO(1, "w", closefd=False), line_buffering=True)
        sys.stderr = io.TextIOWrapper(io.FileIO(2, "w", closefd=False), line_buffering=True)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        import datasets.config

        datasets.config.HF_DATASETS_CACHE = self.logs / "cache"
        _watch(str(work.resolve()), os.open(self.logs / "events", os.O_WRONLY | os.O_CREAT, 0o600), seams, act, at)
        from hf_emo_dist.commands.main import main

        if setup is not None:
            setup()
        return main(list(words))

    def wait(self, stopped: bool = False) -> bool:
        """Wait until it has ended, or has stopped itself; says whether it is stopped."""
        _, self._state = os.waitpid(self.pid, os.WUNTRACED if stopped else 0)
        return os.WIFSTOPPED(self._state)

    def end(self) -> Ended:
        """How it ended, after `wait`."""
        texts = [
            (self.logs / name).read_text(errors="replace") if (self.logs / name).is_file() else ""
            for name in ("out", "err", "events")
        ]
        return Ended(os.waitstatus_to_exitcode(self._state), texts[0], texts[1], texts[2].splitlines())


def run(words: Sequence[str], work: Path, logs: Path, **settings: object) -> Ended:
    """Run a command to its end; `settings` are those of `Process`."""
    process = Process(words, work, logs, **settings)  # type: ignore[arg-type]
    process.wait()
    return process.end()


def _watch(root: str, log: int, seams: Sequence[str], act: Callable[[], None] | None, at: int) -> None:
    own, count = os.getpid(), 0

    def event(name: str) -> None:
        nonlocal count
        if os.getpid() != own:
            return
        count += 1
        os.write(log, f"{name}\n".encode(errors="replace"))
        if act is not None and count == at:
            act()

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        if name == "open":
            path, _, flags = arguments
            if isinstance(flags, int) and flags & WRITES and _below(path, root):
                event(f"open {path}")
        elif name in CHANGES and any(_below(path, root) for path in arguments[:2]):
            event(f"{name} {arguments[0]}")

    for seam in seams:
        _count_calls(seam, event)
    sys.addaudithook(hook)


def _below(path: object, root: str) -> bool:
    if isinstance(path, bytes):
        path = os.fsdecode(path)
    if not isinstance(path, str | os.PathLike):
        return False
    # relative ones are those of directory descriptors, as rmtree uses them: the folder's own removal counts
    return os.path.abspath(path).startswith(root + os.sep)


def _count_calls(seam: str, event: Callable[[str], None]) -> None:
    module, _, name = seam.partition(":")
    owner: object = import_module(module)
    *parents, last = name.split(".")
    for parent in parents:
        owner = getattr(owner, parent)
    function = getattr(owner, last)

    def counted(*args: object, **kwargs: object) -> object:
        event(f"call {name}")
        return function(*args, **kwargs)

    setattr(owner, last, counted)


# --- what may happen at an event


def kill() -> None:
    """As `kill -9`, the out-of-memory killer or a power cut of a process do."""
    os.kill(os.getpid(), signal.SIGKILL)


def interrupt() -> None:
    """As Ctrl-C does: to the process, not to the thread that the event is in."""
    os.kill(os.getpid(), signal.SIGINT)


def stop() -> None:
    """Wait, until the process is told to go on."""
    os.kill(os.getpid(), signal.SIGSTOP)


def set_clock_back() -> None:
    """From now on it is an hour earlier, for whoever asks Python's clock of the day; monotonic clocks go on."""
    now, now_ns, day = time.time, time.time_ns, datetime.datetime
    time.time = lambda: now() - HOUR
    time.time_ns = lambda: now_ns() - HOUR * 10**9

    class Earlier(day):
        @classmethod
        def now(cls, tz: datetime.tzinfo | None = None) -> datetime.datetime:
            return day.now(tz) - datetime.timedelta(seconds=HOUR)

    for module in list(sys.modules.values()):
        if getattr(module, "__name__", "").startswith("hf_emo_dist") and getattr(module, "datetime", None) is day:
            module.datetime = Earlier  # type: ignore[attr-defined]


# --- disks


class Disk:
    """A folder on a disk of its own: a tmpfs of a size, which may be full or read-only.

    Where mounting is not permitted, a limit on the size of a file stands for a full disk (`RLIMIT_FSIZE`; the system
    then says "File too large" where a disk would say "No space left on device"), and permissions for a read-only disk.
    """

    def __init__(self, folder: Path, size: int) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.size = folder, size
        done = subprocess.run(
            ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)], capture_output=True, check=False
        )
        self.mounted = done.returncode == 0
        self.how = "a tmpfs" if self.mounted else "RLIMIT_FSIZE"

    def limit(self) -> None:
        """Called in the process, where there is no disk of its own."""
        if not self.mounted:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.size, self.size))

    def change(self, options: str) -> None:
        """Remount it, such as with `ro` or `size=…`."""
        if self.mounted:
            subprocess.run(["mount", "-o", f"remount,{options}", str(self.folder)], check=True)
        elif options in ("ro", "rw"):
            self.folder.chmod(0o555 if options == "ro" else 0o755)

    def close(self) -> None:
        """Unmount it."""
        if self.mounted:
            subprocess.run(["umount", str(self.folder)], check=True)
        shutil.rmtree(self.folder, ignore_errors=True)


def truncate(file: Path) -> None:
    """Cut a file to half of its length, as a full disk or a copy that was broken off leaves it."""
    with file.open("r+b") as content:
        content.truncate(file.stat().st_size // 2)


def flip(file: Path) -> None:
    """Change one bit in the middle of a file."""
    with file.open("r+b") as content:
        place = file.stat().st_size // 2
        content.seek(place)
        (byte,) = content.read(1)
        content.seek(place)
        content.write(bytes([byte ^ 0x04]))
