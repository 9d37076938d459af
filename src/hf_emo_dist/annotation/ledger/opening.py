"""Opening the ledger's file on whatever disk it lies, and one connection a process to it."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from . import place as ledger_place
from .schema import APPLICATION_ID, VERSION, LedgerError, check_owner, damaged, explain, install, newer

__all__ = ["Database", "Mode", "open_to_read"]

#: How the file is shared: a write-ahead log, a rollback journal, or not at all (each process keeps its replies in a file of its own).
Mode = Literal["wal", "delete", "parts"]

_JOURNALS: tuple[Literal["wal"], Literal["delete"]] = ("wal", "delete")
CHECK_SECONDS = 2.0


def address(path: Path, **options: str) -> str:
    """The file as an SQLite URI."""
    query = "&".join(f"{name}={value}" for name, value in options.items())
    return f"file:{quote(str(path))}?{query}"


def open_to_read(path: Path, busy_timeout_s: float = 30.0, locks: bool = True) -> sqlite3.Connection:
    """A read-only connection to a ledger of this version, also in a folder that is read-only.

    Args:
        locks: False for a file that cannot be locked, and so is written by nobody.

    Raises:
        LedgerError: if there is no such ledger.
    """
    ledger_place.check_header(path)
    # a write-ahead log cannot be read without its shared memory; a file that nobody writes can be read as it is
    ways = [{"mode": "ro"}, {"mode": "ro", "immutable": "1"}]
    if not locks and not Path(f"{path}-wal").exists():
        ways.reverse()
    tried: sqlite3.Error | None = None
    for options in ways:
        connection = None
        try:
            connection = sqlite3.connect(
                address(path, **options),
                uri=True,
                isolation_level=None,
                timeout=busy_timeout_s,
                check_same_thread=False,
            )
            (application,) = connection.execute("PRAGMA application_id").fetchone()
            (version,) = connection.execute("PRAGMA user_version").fetchone()
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
        except sqlite3.Error as error:
            if connection is not None:
                connection.close()
            tried = tried or error
            continue
        if application == APPLICATION_ID and version == VERSION:
            return connection
        connection.close()
        if application != APPLICATION_ID:
            raise LedgerError(f"{path} is not a ledger.", "give the SQLite file that annotation wrote.")
        if version > VERSION:
            raise newer(path, version)
        raise LedgerError(
            f"The ledger {path} has an older layout ({version}).", f"open it once: Ledger({str(path)!r}).close()"
        )
    assert tried is not None
    raise explain(tried, path) from tried


class Database:
    """One connection of this process to the ledger's file, for one thread at a time.

    It is opened when it is first needed, closed before a fork and opened anew on both sides: SQLite's locks do not survive a fork, and a
    connection that was taken along makes even a fresh one of the child believe that it holds locks which it has not. (Without this
    ten acknowledged replies of a child were gone in a test, when the parent had closed the file before the child.)

    Args:
        path: of the file.
        synchronous: durability of `transaction(durable=True)`, as SQLite names it.
        busy_timeout_s: how long to wait for another process.
        on_open: is called with the connection whenever a new one was made.
    """

    def __init__(
        self, path: Path, synchronous: str, busy_timeout_s: float, on_open: Callable[[sqlite3.Connection], None]
    ) -> None:
        self.path, self.synchronous, self.busy_timeout_s, self.on_open = path, synchronous, busy_timeout_s, on_open
        self.mode: Mode = "wal"
        self.checked = False
        self._lock = threading.RLock()
        self._connection: sqlite3.Connection | None = None
        self._process = 0
        self._file: tuple[int, int] | None = None
        _DATABASES.add(self)

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The connection, outside of a transaction. Errors of SQLite become `LedgerError`."""
        with self._lock, self._explained():
            yield self.connect()

    @contextlib.contextmanager
    def transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        """One write transaction: all of it is kept or nothing.

        One that is not durable survives the death of the process, though not a loss of power: leases and rates need no more, and
        so no wait for the disk. A rollback journal needs the wait to stay whole, so there every transaction has it.
        """
        with self._lock, self._explained():
            connection = self.connect()
            self._check_file()
            wanted = self.synchronous if durable or self.mode == "delete" else "NORMAL"
            connection.execute(f"PRAGMA synchronous = {wanted if self.mode != 'parts' else 'OFF'}")
            with _transaction(connection):
                yield connection

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
        ledger_place.check_place(self.path)
        connection = self._open()
        self._process = os.getpid()
        try:
            self._connection = connection
            self.on_open(connection)
        except BaseException:
            self.disconnect()
            raise
        return connection

    def disconnect(self) -> None:
        """Closes the connection; the next use opens another."""
        with self._lock:
            connection, self._connection = self._connection, None
            if connection is not None and self._process == os.getpid():
                connection.close()

    @contextlib.contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise explain(error, self.path) from error

    def _check_file(self) -> None:
        # what is written to a file that was deleted or replaced meanwhile is lost with it
        if self._file is None:
            return
        try:
            status = os.stat(self.path)
            if (status.st_dev, status.st_ino) == self._file:
                return
        except OSError:
            pass
        self.disconnect()
        raise LedgerError(
            f"The ledger {self.path} was deleted or replaced while it was in use.", "put it back, or run again."
        )

    def _open(self) -> sqlite3.Connection:
        if not ledger_place.locks_work(self.path.parent):
            self.mode = "parts"
            self._file = None
            connection = self._connected("")
            self._install(connection)
            return connection
        with contextlib.suppress(FileExistsError):
            os.close(os.open(self.path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
        error: sqlite3.Error | None = None
        for mode in _JOURNALS[1:] if ledger_place.on_network(self.path) else _JOURNALS:
            connection = self._connected(str(self.path))
            try:
                self._set_journal(connection, mode)
                self._check(connection)
                self._install(connection)
            except sqlite3.Error as problem:
                connection.close()
                error = error or problem
                if any(word in str(problem) for word in ("malformed", "not a database", "locked")):
                    break
                continue
            except BaseException:
                connection.close()
                raise
            status = os.stat(self.path)
            self._file = (status.st_dev, status.st_ino)
            return connection
        assert error is not None
        raise explain(error, self.path) from error

    def _connected(self, file: str) -> sqlite3.Connection:
        return sqlite3.connect(
            file, timeout=self.busy_timeout_s, isolation_level=None, check_same_thread=False, cached_statements=256
        )

    def _set_journal(self, connection: sqlite3.Connection, mode: Literal["wal", "delete"]) -> None:
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
            connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
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

    def _install(self, connection: sqlite3.Connection) -> None:
        connection.execute("PRAGMA synchronous = FULL")
        with _transaction(connection):
            install(connection, self.path)
            connection.execute("UPDATE opened SET times = times + 1")


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
