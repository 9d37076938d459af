"""Looking into a ledger without writing to it: all that came of some keys, what they cost, and which keys have no vote.

A run may go on meanwhile, and a file in a folder that is read-only can be looked at.
"""

from __future__ import annotations

import contextlib
import sqlite3
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from ..types import Record
from .accounts import existing
from .opening import open_to_read
from .replies import among, fetched, record_of
from .schema import columns_of, explain
from .soundness import usd

_KEYS = 1000


class Attempt(NamedTuple):
    """One reply, or one try that got none, and whether it is the one of its key that counts."""

    counts: bool
    record: Record


class Failed(NamedTuple):
    """A key without a vote."""

    key: str
    audio: str  # `audio_hash` of its clip
    row_id: str  # of the first row that it was asked for
    outcome: str
    model: str
    detail: str


@dataclass(frozen=True)
class Bill:
    """What some keys have cost, all of their attempts together."""

    keys: frozenset[str]  # those that the ledger has
    plans: frozenset[str]
    cost_usd: float
    assumed_usd: float  # what of that the service did not state
    unpriced: int  # replies whose cost is not known


def attempts(path: str | Path, keys: Sequence[str]) -> dict[str, list[Attempt]]:
    """All that came of each key, in the order in which it came; keys that the ledger does not have are left out.

    Args:
        path: Of a ledger.
        keys: Of replies.

    Raises:
        LedgerError: There is no ledger, or it cannot be read.
    """
    found: dict[str, list[Attempt]] = {}
    with _reading(path) as connection:
        columns = columns_of(connection)
        for condition, value in _parts(keys):
            query = f"SELECT counts, {columns} FROM replies WHERE {condition} ORDER BY key, attempt"
            for counts, *row in fetched(connection, query, (value,)):
                attempt = Attempt(bool(counts), record_of(tuple(row), connection))
                found.setdefault(attempt.record.key, []).append(attempt)
    return found


def bill_of(path: str | Path, keys: Sequence[str]) -> Bill:
    """What these keys have cost; arguments and errors as for `attempts`."""
    there: set[str] = set()
    plans: set[str] = set()
    cost = assumed = 0.0
    unpriced = 0
    with _reading(path) as connection:
        assumed_usd = usd("assumed_usd") if "assumed_usd" in _columns(connection) else "NULL"
        for condition, value in _parts(keys):
            query = f"""SELECT key, plan, CASE WHEN cost_usd IS NOT NULL THEN {usd("cost_usd")} END, {assumed_usd},
                            text IS NOT NULL AND tries > 0 FROM replies WHERE {condition}"""
            for key, plan, dollars, guessed, paid in connection.execute(query, (value,)):
                there.add(key)
                plans.add(plan)
                cost += dollars or 0.0
                assumed += guessed or 0.0
                unpriced += dollars is None and paid
    return Bill(frozenset(there), frozenset(plans), cost, assumed, unpriced)


def failed(path: str | Path, plans: Collection[str] = ()) -> list[Failed]:
    """The keys that have no vote, of these plans or, where none is named, of all; errors as for `attempts`."""
    where = f"AND plan IN ({', '.join('?' * len(plans))})" if plans else ""
    query = f"""SELECT key, audio, row_id, outcome, model, detail FROM replies
                WHERE counts = 1 AND outcome <> 'ok' {where} ORDER BY id"""
    with _reading(path) as connection:
        return [Failed(*map(_text, row)) for row in connection.execute(query, tuple(sorted(plans)))]


@contextlib.contextmanager
def _reading(path: str | Path) -> Iterator[sqlite3.Connection]:
    file = existing(path)
    with contextlib.closing(open_to_read(file)) as connection:
        try:
            yield connection
        except sqlite3.Error as error:
            raise explain(error, path) from error


def _columns(connection: sqlite3.Connection) -> set[str]:
    return {row[1] for row in connection.execute("PRAGMA table_info(replies)")}


def _parts(keys: Sequence[str]) -> Iterator[tuple[str, str]]:
    for start in range(0, len(keys), _KEYS):
        yield among(keys[start : start + _KEYS])


def _text(value: str | bytes | None) -> str:
    # lone surrogates are stored as bytes
    return value.decode("utf-8", "surrogatepass") if isinstance(value, bytes) else value or ""
