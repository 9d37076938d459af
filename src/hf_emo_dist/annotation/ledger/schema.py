"""The ledger's tables, their versions, and what an error of SQLite means for its user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from types import MappingProxyType

from ..types import Record

__all__ = ["APPLICATION_ID", "FIELDS", "VERSION", "LedgerError", "explain", "install", "new_id"]

APPLICATION_ID = (
    0x48464544  # "HFED": the mark in the file's header by which a ledger is told from another program's SQLite file
)
VERSION = 1

#: The fields of a record, each a column of the same name.
FIELDS = tuple(field.name for field in fields(Record))
INTEGERS = frozenset(
    {"replicate", "wording", "prompt_tokens", "audio_tokens", "thinking_tokens", "output_tokens", "tries", "attempt"}
)
REALS = frozenset({"temperature", "cost_usd", "latency_s"})


def _kind(name: str) -> str:
    return "INTEGER" if name in INTEGERS else "REAL" if name in REALS else "TEXT"


# reply_id names a reply wherever it is copied to: 16 hexadecimal digits of its time in microseconds, then 16 random ones. Its order is the
# order of storing. counts is 1 for the one reply of each key that counts.
_TABLES = (
    f"""CREATE TABLE IF NOT EXISTS replies (
        id INTEGER PRIMARY KEY, reply_id TEXT NOT NULL, counts INTEGER NOT NULL DEFAULT 0,
        {", ".join(f"{name} {_kind(name)}" for name in FIELDS)})""",
    """CREATE TABLE IF NOT EXISTS leases (
        key TEXT PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
        expires REAL NOT NULL, cost_usd REAL NOT NULL, tokens INTEGER NOT NULL, scope TEXT NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS rates (
        scope TEXT PRIMARY KEY, requests REAL, tokens REAL, updated REAL NOT NULL, paused_until REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS totals (
        id INTEGER PRIMARY KEY CHECK (id = 0), cost_usd REAL NOT NULL, tokens INTEGER NOT NULL, replies INTEGER NOT NULL)""",
    # the probe of opening writes here: that the file can be read says nothing of whether it can be written
    "CREATE TABLE IF NOT EXISTS opened (id INTEGER PRIMARY KEY CHECK (id = 0), times INTEGER NOT NULL)",
)
_INDICES = (
    "CREATE UNIQUE INDEX IF NOT EXISTS replies_reply_id ON replies (reply_id)",
    "CREATE INDEX IF NOT EXISTS replies_key ON replies (key, counts)",
    "CREATE INDEX IF NOT EXISTS replies_failures ON replies (plan, key, attempt) WHERE counts = 1 AND outcome <> 'ok'",
)
_TOTALS = """INSERT OR REPLACE INTO totals
    SELECT 0, COALESCE(SUM(cost_usd), 0),
           COALESCE(SUM(COALESCE(prompt_tokens, 0) + COALESCE(thinking_tokens, 0) + COALESCE(output_tokens, 0)), 0), COUNT(*)
    FROM replies"""


class LedgerError(OSError):
    """The ledger cannot be opened, read or written. The message says why and what mends it.

    Attributes:
        mend: What the user can do.
        rescue_file: Where replies were written that the ledger did not take, or None.
        records: Replies that could be written nowhere; the caller has their only copy.
    """

    def __init__(
        self,
        message: str,
        mend: str = "",
        rescue_file: str | os.PathLike[str] | None = None,
        records: Sequence[Record] = (),
    ) -> None:
        super().__init__(f"{message} Mend: {mend}" if mend else message)
        self.mend, self.rescue_file, self.records = mend, rescue_file, tuple(records)


def explain(error: sqlite3.Error, path: str | os.PathLike[str]) -> LedgerError:
    """What an error of SQLite means, and what mends it."""
    text = str(error)
    if "full" in text:
        return LedgerError(
            f"The disk of the ledger {path} is full.", "free some space, then run again: what is stored stays."
        )
    if "locked" in text or "busy" in text:
        return LedgerError(
            f"The ledger {path} was held by another process for longer than the time-out ({text}).",
            "wait until that process has ended, or raise `busy_timeout_s`.",
        )
    if "readonly" in text or "read-only" in text:
        return LedgerError(
            f"The ledger {path} is read-only.", "make it and its folder writable, or give another `ledger`."
        )
    if isinstance(error, sqlite3.DatabaseError) and ("malformed" in text or "not a database" in text):
        return damaged(path, text)
    return LedgerError(
        f"The ledger {path} cannot be used: {text}.", "see that its folder exists, is writable and has space."
    )


def damaged(path: str | os.PathLike[str], reason: str) -> LedgerError:
    """The error for a file whose content is broken."""
    return LedgerError(
        f"The ledger {path} is damaged ({reason}).",
        f"keep the file; save what can be read with `sqlite3 {path} .recover | sqlite3 saved.sqlite`, or go back to a copy.",
    )


def new_id(microseconds: int) -> str:
    """A name for a reply that was stored at this time.

    >>> new_id(255)[:16], len(new_id(255))
    ('00000000000000ff', 32)
    """
    return f"{microseconds:016x}{os.urandom(8).hex()}"


def install(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> None:
    """Makes the tables of a new file, and brings those of an older version to this one. To be called inside a write transaction."""
    version, tables = check_owner(connection, path)
    if not tables:
        for statement in (*_TABLES, *_INDICES, _TOTALS, "INSERT INTO opened VALUES (0, 0)"):
            connection.execute(statement)
    else:
        for old in range(version, VERSION):
            MIGRATIONS[old](connection)
    if version != VERSION or not tables:
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute(f"PRAGMA user_version = {VERSION}")


def check_owner(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> tuple[int, int]:
    """The file's version, and how many tables and indices it has.

    Raises:
        LedgerError: if the file belongs to another application, or to a newer version of this package.
    """
    # The tables first: another process may be making the file, and what has tables has its mark.
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise LedgerError(f"{path} is an SQLite file of another application.", "give another file as `ledger`.")
    if version > VERSION:
        raise newer(path, version)
    return version, tables


def newer(path: str | os.PathLike[str], version: int) -> LedgerError:
    """The error for a file that a newer release wrote."""
    return LedgerError(
        f"The ledger {path} was written by a newer hf_emo_dist (layout {version}; this one knows up to {VERSION}).",
        "pip install -U hf-emo-dist, or give another `ledger`.",
    )


def _from_0(connection: sqlite3.Connection) -> None:
    # before the first release: replies may lack columns, and there were no marks of what counts
    present = {row[1] for row in connection.execute("PRAGMA table_info(replies)")}
    for statement in _TABLES:
        connection.execute(statement)
    columns = {"reply_id": "TEXT", "counts": "INTEGER NOT NULL DEFAULT 0"} | {name: _kind(name) for name in FIELDS}
    for name, kind in columns.items():
        if present and name not in present:
            connection.execute(f"ALTER TABLE replies ADD COLUMN {name} {kind}")
            default = "{}" if name == "settings" else getattr(Record, name, None)
            if default is not None:
                connection.execute(f"UPDATE replies SET {name} = ?", (default,))
    connection.execute(
        "UPDATE replies SET reply_id = printf('%016x', id) || lower(hex(randomblob(8))) WHERE reply_id IS NULL"
    )
    connection.execute(
        """UPDATE replies SET attempt =
           (SELECT COUNT(*) FROM replies AS other WHERE other.key = replies.key AND other.reply_id < replies.reply_id)"""
    )
    connection.execute(
        """UPDATE replies SET counts = reply_id = COALESCE(
           (SELECT MIN(reply_id) FROM replies AS other WHERE other.key = replies.key AND other.outcome = 'ok'),
           (SELECT MAX(reply_id) FROM replies AS other WHERE other.key = replies.key))"""
    )
    for statement in (*_INDICES, _TOTALS, "INSERT OR IGNORE INTO opened VALUES (0, 0)"):
        connection.execute(statement)


#: Version → what brings a file of it to the next one.
MIGRATIONS: Mapping[int, Callable[[sqlite3.Connection], None]] = MappingProxyType({0: _from_0})
