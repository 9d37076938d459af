"""Opening the ledger's file on whatever disk it lies, and one connection a process to it."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import tempfile
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from ..._files import refuse_special
from .schema import NEW_FILE, LedgerError, bring_up_to_date, check_owner, damaged, explain

try:
    import fcntl
except ImportError:  # Windows, whose SQLite locks by other means
    fcntl = None  # type: ignore[assignment]

#: How the file is shared: by a write-ahead log, or a rollback journal where that does not work.
Mode = Literal["wal", "delete"]

CHECK_SECONDS = 2.0
#: Seconds after which replies are moved from the write-ahead log into the file itself, so that this is nearly all there
#: is, whoever copies it or ends the process.
CHECKPOINT_S = 1.0
FREE_BYTES = 32 * 2**20
FREE_BYTES_TO_GRANT = 8 * 2**20  # for what is in flight in all processes when the disk runs full

MOUNTS = "/proc/self/mounts"
# their locks or their shared memory do not reach from one machine to the next, which a write-ahead log needs
NETWORK_FILE_SYSTEMS = (
    "nfs", "lustre", "gpfs", "cifs", "smb", "beegfs", "ceph", "afs", "fuse.", "9p", "glusterfs", "virtiofs",
)  # fmt: skip


# ---- what the place can do
def check_place(path: Path, least_free: int | None = None) -> None:
    """Raise `LedgerError` if a ledger cannot live at `path`; make its folder if that is missing."""
    folder = path.parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise LedgerError(
            f"The folder of the ledger {path} cannot be made ({error.strerror}).",
            "give a `ledger` in a folder that you may write.",
        ) from error
    if path.is_dir():
        raise LedgerError(f"The ledger {path} is a folder.", "give a file, such as votes.sqlite in it.")
    for place, what in ((folder, "folder"), (path, "file")):
        if place.exists() and not os.access(place, os.R_OK | os.W_OK):
            raise LedgerError(
                f"The {what} of the ledger {path} is read-only.", "make it writable, or give another `ledger`."
            )
    check_space(path, FREE_BYTES if least_free is None else least_free)
    _check_header(path)
    if not _locks_work(folder):
        # without them two processes would pay for the same reply, and could damage the file
        raise LedgerError(
            f"Files in {folder}, the folder of the ledger {path.name}, cannot be locked.",
            "give a `ledger` on a local disk. Where several machines annotate, each has its own, and "
            "Ledger(path).merge(other) puts them together afterwards.",
        )


def check_space(
    path: Path,
    least: int,
    what: str = "the ledger",
    purpose: str = "to keep what is paid for",
    mend: str = "",
) -> None:
    """Raise `LedgerError` if the disk has less than so many bytes left."""
    free = shutil.disk_usage(path.parent).free
    if free < least:
        raise LedgerError(
            f"The disk of {what} {path} has {_mib(free)} MiB left, which is too little {purpose}.",
            mend or f"free at least {FREE_BYTES // 2**20} MiB, or give a `ledger` on another disk.",
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:.1f}".removesuffix(".0")


def ordinary(path: str | os.PathLike[str], absent: str) -> Path:
    """The whole path of a file. Raises `LedgerError` where there is none, or no ordinary one."""
    file = whole_path(path)
    if not file.is_file():
        raise LedgerError(absent, "check the path.")
    return file


def whole_path(path: str | os.PathLike[str]) -> Path:
    """The path with links followed. Raises `LedgerError` for a pipe or a device, by the name that the user gave."""
    file = Path(path).expanduser()
    if not file.is_dir():
        _refuse_special(file)
    return file.resolve()


def _refuse_special(path: Path) -> None:
    try:
        refuse_special(path)
    except OSError as error:
        what, _, mend = str(error).partition(" Mend: ")
        raise LedgerError(what, mend) from None


def _check_header(path: Path) -> None:
    # before SQLite sees it, to which any other file is a damaged database
    _refuse_special(path)
    try:
        with open(path, "rb") as file:
            start = file.read(16)
    except FileNotFoundError:
        return
    except OSError as error:
        raise LedgerError(f"The ledger {path} cannot be read ({error.strerror}).", "see to its permissions.") from error
    if start and start != b"SQLite format 3\0":
        raise LedgerError(f"{path} is not an SQLite file.", "give another file as `ledger`; that one stays as it is.")


def _locks_work(folder: Path) -> bool:
    if fcntl is None:
        return True
    # on a file of its own: closing any handle of a file drops all locks that the process has on it
    handle, name = tempfile.mkstemp(dir=folder, prefix=".lock-", suffix=".probe")
    try:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        fcntl.lockf(handle, fcntl.LOCK_UN)
    except OSError:
        return False
    finally:
        os.close(handle)
        os.unlink(name)
    return True


def on_network(path: Path) -> bool:
    """Whether the file system is one that several machines share; False where the system does not say."""
    best, kind = "", ""
    try:
        with open(MOUNTS, encoding="utf-8", errors="replace") as file:
            for line in file:
                mount, name = line.split()[1:3]
                mount = mount.encode().decode("unicode_escape")
                if len(mount) >= len(best) and (mount == "/" or f"{path}/".startswith(mount.rstrip("/") + "/")):
                    best, kind = mount, name
    except (OSError, ValueError):
        return False
    return kind.startswith(NETWORK_FILE_SYSTEMS)


# ---- connections
def open_to_read(path: Path) -> sqlite3.Connection:
    """A read-only connection to a ledger, also in a folder that is read-only; `LedgerError` if there is none."""
    _check_header(path)
    tried: sqlite3.Error | None = None
    # a write-ahead log cannot be read without its shared memory; a file that nobody can write can be read as it is
    for query in ("mode=ro", "mode=ro&immutable=1"):
        connection = None
        if tried is not None and _log_bytes(path):
            raise LedgerError(
                f"The last replies of the ledger {path} are in {path.name}-wal, which cannot be read in a folder that "
                "is read-only.",
                "make the folder writable, or copy both files to one that is.",
            ) from tried
        try:
            connection = sqlite3.connect(
                f"file:{quote(str(path))}?{query}",
                uri=True,
                isolation_level=None,
                timeout=30.0,
                check_same_thread=False,
            )
            if check_owner(connection, path):
                return connection
            raise LedgerError(f"{path} is not a ledger.", "give the SQLite file that annotation wrote.")
        except BaseException as error:
            if connection is not None:
                connection.close()
            if not isinstance(error, sqlite3.Error):
                raise
            tried = tried or error
    assert tried is not None
    raise explain(tried, path) from tried


class Database:
    """One connection of this process to the ledger's file, for one thread at a time.

    It is opened when it is first needed, closed before a fork and opened anew on both sides: SQLite's locks do not
    survive a fork, and a connection that was taken along makes even a fresh one of the child believe that it holds
    locks which it has not. (Without this ten acknowledged replies of a child were gone in a test, when the parent had
    closed the file before the child.)

    `synchronous` is the durability of `transaction(durable=True)`; `on_open` is called whenever a connection was made.
    """

    def __init__(self, path: Path, synchronous: str, busy_timeout_s: float, on_open: Callable[[], None]) -> None:
        self.path, self.synchronous, self.busy_timeout_s, self.on_open = path, synchronous, busy_timeout_s, on_open
        self.mode: Mode = "wal"
        self.least_free: int | None = None  # bytes that the disk must have, where not as many as for a run
        self.checked = False
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._file = (0, 0)
        self._checkpointed = 0.0
        _DATABASES.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, outside of a transaction. Errors of SQLite become `LedgerError`."""
        with self._lock, self._explained():
            yield self.connect()

    @contextlib.contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it is kept or nothing.

        One that is not durable survives the death of the process, though not a loss of power: leases and rates need no
        more, and so no wait for the disk. A rollback journal needs the wait to stay whole, so there every transaction
        has it.
        """
        with self._lock, self._explained():
            connection = self.connect()
            self._check_file()
            wanted = self.synchronous if durable or self.mode == "delete" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {wanted}")
            with _transaction(connection):
                yield connection
            if durable and time.monotonic() - self._checkpointed > CHECKPOINT_S:
                self._checkpoint(connection)

    def _checkpoint(self, connection: sqlite3.Connection) -> None:
        """Move what is in the write-ahead log into the file, as far as nobody is reading it."""
        self._checkpointed = time.monotonic()
        if self.mode == "wal":
            with contextlib.suppress(sqlite3.Error):  # nothing is lost, and the next one may succeed
                connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()

    def connect(self) -> sqlite3.Connection:
        """The connection of this process."""
        if self._connection is not None:
            if self._process == os.getpid():
                return self._connection
            # neither using nor closing it is safe, and what another connection wrote could be gone when the parent ends
            raise LedgerError(
                f"This process was forked with the ledger {self.path} open, by other means than Python's.",
                "start processes with multiprocessing or os.fork, or by `spawn`.",
            )
        check_place(self.path, self.least_free)
        left = _log_bytes(self.path)
        self._connection = self._open()
        self._process = os.getpid()
        if left:  # by a process that was killed, or by one that writes
            self._checkpoint(self._connection)
        try:
            self.on_open()
        except BaseException:
            self.disconnect()
            raise
        return self._connection

    def disconnect(self) -> None:
        """Close the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                self._checkpoint(connection)  # the last one to close does it in any case
                connection.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def _check_file(self) -> None:
        # what is written to a file that was deleted or replaced meanwhile is lost with it
        try:
            if _identity(self.path) == self._file:
                return
        except OSError:
            pass
        self.disconnect()
        raise LedgerError(
            f"The ledger {self.path} was deleted or replaced while it was in use.", "put it back, or run again."
        )

    def _open(self) -> sqlite3.Connection:
        with contextlib.suppress(FileExistsError):  # by ourselves, since SQLite would make it readable to others
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        modes: tuple[Mode, ...] = ("delete",) if on_network(self.path) else ("wal", "delete")
        error: sqlite3.Error | None = None
        for mode in modes:
            connection = sqlite3.connect(
                str(self.path),
                timeout=self.busy_timeout_s,
                isolation_level=None,
                check_same_thread=False,
                cached_statements=256,
            )
            try:
                self._set_journal(connection, mode)
                self._check(connection)
                connection.execute("PRAGMA synchronous = FULL")
                with _transaction(connection):
                    if not check_owner(connection, self.path):
                        for statement in NEW_FILE:
                            connection.execute(statement)
                    else:
                        bring_up_to_date(connection)
                    connection.execute("UPDATE opened SET times = times + 1")
            except sqlite3.Error as problem:
                connection.close()
                error = error or problem
                if any(word in str(problem) for word in ("malformed", "not a database", "locked")):
                    break  # no journal mends these
            except BaseException:
                connection.close()
                raise
            else:
                self._file = _identity(self.path)
                return connection
        assert error is not None
        raise explain(error, self.path) from error

    def _set_journal(self, connection: sqlite3.Connection, mode: Mode) -> None:
        if mode == "delete":
            # the only way out of a write-ahead log where shared memory does not work
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        check_owner(connection, self.path)  # before anything is changed in it
        deadline = time.monotonic() + self.busy_timeout_s
        while True:
            try:
                (found,) = connection.execute(f"PRAGMA journal_mode = {mode}").fetchone()
                break
            except sqlite3.OperationalError as error:
                # another process is at the same change; SQLite does not wait here
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
        if mode == "delete":
            connection.execute("PRAGMA locking_mode = NORMAL")
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()  # the change of mode needs an access
        self.mode = "wal" if found == "wal" else "delete"

    def _check(self, connection: sqlite3.Connection) -> None:
        if self.checked:
            return
        deadline = time.monotonic() + CHECK_SECONDS  # a ledger of gigabytes is checked as far as that gets
        connection.set_progress_handler(lambda: time.monotonic() > deadline, 20_000)
        try:
            (result,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if "interrupt" not in str(error):
                raise
            result = "ok"
        finally:
            connection.set_progress_handler(None, 0)
        if result != "ok":
            raise damaged(self.path, result)
        self.checked = True


def _log_bytes(path: Path) -> int:
    """How much the write-ahead log of a ledger holds."""
    try:
        return path.with_name(f"{path.name}-wal").stat().st_size
    except OSError:
        return 0


def _identity(path: Path) -> tuple[int, int]:
    status = os.stat(path)
    return status.st_dev, status.st_ino


@contextlib.contextmanager
def _transaction(connection: sqlite3.Connection) -> Iterator[None]:
    try:
        connection.execute("BEGIN IMMEDIATE")
        yield
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("ROLLBACK")
        raise


# the hooks of a fork cannot be taken back, so there is one set of them for all ledgers of the process
_DATABASES: weakref.WeakSet[Database] = weakref.WeakSet()
_FORKING: list[Database] = []
_FORK_LOCK = threading.Lock()


def _before_fork() -> None:
    _FORK_LOCK.acquire()
    for database in list(_DATABASES):
        database._lock.acquire()
        _FORKING.append(database)
        database.disconnect()


def _after_fork() -> None:
    while _FORKING:
        _FORKING.pop()._lock.release()
    _FORK_LOCK.release()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork, after_in_child=_after_fork)
