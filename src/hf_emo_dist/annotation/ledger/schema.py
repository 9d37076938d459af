"""The ledger's tables, the mark by which its file is known, and what an error of SQLite means for its user."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Sequence
from dataclasses import fields

from ..types import Record

#: "HFED": the mark in the file's header by which a ledger is told from another program's SQLite file.
APPLICATION_ID = 0x48464544
#: Of the layout of the tables, in the file's header too.
VERSION = 2

#: The fields of a record, each a column of the same name.
FIELDS = tuple(field.name for field in fields(Record))
INTEGERS = frozenset(
    {"replicate", "wording", "prompt_tokens", "audio_tokens", "thinking_tokens", "output_tokens", "assumed_tokens",
     "tries", "attempt", "final"}
)  # fmt: skip
REALS = frozenset({"temperature", "cost_usd", "assumed_usd", "latency_s"})
#: US dollars that no single reply costs, and tokens that none takes: a sum of millions of them is a number still.
MOST_USD, MOST_TOKENS = 1_000.0, 2**40
#: What a column holds in rows that were written before there was such a column; None where that is NULL.
_BEFORE = {"final": "1"}


def _kind(name: str) -> str:
    return "INTEGER" if name in INTEGERS else "REAL" if name in REALS else "TEXT"


def _column(name: str) -> str:
    return f"{name} {_kind(name)}" + (f" DEFAULT {_BEFORE[name]}" if name in _BEFORE else "")


# reply_id names a reply wherever it is copied to: 16 hexadecimal digits of its time in microseconds, then 16 random
# ones. Its order is the order of storing. counts is 1 for the one reply of each key that counts. sent is when the
# request of a lease may have left, NULL before; about, the row that is written where nothing is ever heard of it;
# granted, the time by which it expires, by the clock of who holds it.
NEW_FILE = (
    f"""CREATE TABLE replies (
        id INTEGER PRIMARY KEY, reply_id TEXT NOT NULL, counts INTEGER NOT NULL DEFAULT 0,
        {", ".join(map(_column, FIELDS))})""",
    """CREATE TABLE leases (
        key TEXT PRIMARY KEY, owner TEXT NOT NULL, host TEXT NOT NULL, pid INTEGER NOT NULL, started TEXT NOT NULL,
        expires REAL NOT NULL, cost_usd REAL NOT NULL, tokens INTEGER NOT NULL, scope TEXT NOT NULL,
        sent REAL, about TEXT, granted REAL) WITHOUT ROWID""",
    """CREATE TABLE rates (
        scope TEXT PRIMARY KEY, requests REAL, tokens REAL,
        updated REAL NOT NULL, paused_until REAL NOT NULL) WITHOUT ROWID""",
    """CREATE TABLE totals (
        id INTEGER PRIMARY KEY CHECK (id = 0),
        cost_usd REAL NOT NULL, tokens INTEGER NOT NULL, replies INTEGER NOT NULL)""",
    # opening counts itself here: that the file can be read says nothing of whether it can be written
    "CREATE TABLE opened (id INTEGER PRIMARY KEY CHECK (id = 0), times INTEGER NOT NULL)",
    "CREATE UNIQUE INDEX replies_reply_id ON replies (reply_id)",
    "CREATE INDEX replies_key ON replies (key, counts)",
    "CREATE INDEX replies_failures ON replies (plan, key, attempt) WHERE counts = 1 AND outcome <> 'ok'",
    "INSERT INTO totals VALUES (0, 0, 0, 0)",
    "INSERT INTO opened VALUES (0, 0)",
    f"PRAGMA application_id = {APPLICATION_ID}",
    f"PRAGMA user_version = {VERSION}",
)


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
        f"keep the file; save what can be read with `sqlite3 {path} .recover | sqlite3 saved.sqlite`, or go back to a "
        "copy.",
    )


def new_id(microseconds: int) -> str:
    """A name for a reply that was stored at this time."""
    return f"{microseconds:016x}{os.urandom(8).hex()}"


def check_owner(connection: sqlite3.Connection, path: str | os.PathLike[str]) -> int:
    """How many tables and indices the file has; raises `LedgerError` if they are not a ledger's of this layout."""
    # The tables first: another process may be making the file, and what has tables has its mark.
    (tables,) = connection.execute("SELECT COUNT(*) FROM sqlite_master").fetchone()
    (application,) = connection.execute("PRAGMA application_id").fetchone()
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    if application != APPLICATION_ID and (application or tables):
        raise LedgerError(f"{path} is an SQLite file of another application.", "give another file as `ledger`.")
    if version > VERSION:
        raise LedgerError(
            f"The ledger {path} was written by a newer hf_emo_dist (layout {version}; this one knows up to {VERSION}).",
            "pip install -U hf-emo-dist, or give another `ledger`.",
        )
    if tables and not version:
        raise LedgerError(f"The ledger {path} has a layout that no release wrote.", "give another file as `ledger`.")
    return int(tables)


def missing_columns(connection: sqlite3.Connection) -> list[str]:
    """The fields of a record that the file has no column for, because an earlier release wrote it."""
    there = {row[1] for row in connection.execute("PRAGMA table_info(replies)")}
    return [name for name in FIELDS if name not in there]


def bring_up_to_date(connection: sqlite3.Connection) -> None:
    """Add what an earlier release did not have. To be called inside a write transaction; nothing is rewritten."""
    for name in missing_columns(connection):
        connection.execute(f"ALTER TABLE replies ADD COLUMN {_column(name)}")
    leases = {row[1] for row in connection.execute("PRAGMA table_info(leases)")}
    for name, kind in (("sent", "REAL"), ("about", "TEXT"), ("granted", "REAL")):
        if name not in leases:
            connection.execute(f"ALTER TABLE leases ADD COLUMN {name} {kind}")
    connection.execute(f"PRAGMA user_version = {VERSION}")


def columns_of(connection: sqlite3.Connection) -> str:
    """The fields of a record for a `SELECT`, also from a file of an earlier release that is only read."""
    missing = missing_columns(connection)
    return ", ".join(f"{_BEFORE.get(name, 'NULL')} AS {name}" if name in missing else name for name in FIELDS)
