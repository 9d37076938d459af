"""Records as rows of the ledger's tables: reading, writing, and which reply of a key counts."""

from __future__ import annotations

import functools
import hashlib
import json
import logging
import math
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from pathlib import Path
from typing import Any

from ..types import OK, Record, canonical_json
from .label_sets import label_sets, outside
from .schema import FIELDS, INTEGERS, REALS, columns_of, new_id

logger = logging.getLogger(__name__)

#: The values of a record in the order of `FIELDS`, as SQLite takes them.
Row = tuple[Any, ...]

COLUMNS = ", ".join(FIELDS)
KEY, OUTCOME, _ATTEMPT = FIELDS.index("key"), FIELDS.index("outcome"), FIELDS.index("attempt")
_DISTRIBUTION, _SETTINGS = FIELDS.index("distribution"), FIELDS.index("settings")
_LABEL, _DETAIL, _ROW_ID = FIELDS.index("label"), FIELDS.index("detail"), FIELDS.index("row_id")
_COST, _FINAL = FIELDS.index("cost_usd"), FIELDS.index("final")
_TOKENS = tuple(FIELDS.index(name) for name in ("prompt_tokens", "thinking_tokens", "output_tokens", "assumed_tokens"))
_INSERT = f"INSERT INTO replies (reply_id, counts, {COLUMNS}) VALUES ({', '.join('?' * (len(FIELDS) + 2))})"


_DEFAULTS = vars(Record("", OK))
#: Where the numbers stand, their types, and from where on they are.
_NUMBERS = tuple(
    (place, int if name in INTEGERS else float, 0 if name.endswith(("_usd", "_tokens")) else -math.inf)
    for place, name in enumerate(FIELDS) if name in INTEGERS or name in REALS
)  # fmt: skip

#: The outcome as which a reply is read whose distribution is damaged.
_DAMAGED = "unparseable"
_TOLD: set[tuple[str, str, str]] = set()  # what was said to be damaged


def among(keys: Sequence[str]) -> tuple[str, str]:
    """A condition of SQL that holds for rows with these keys, and the value of its one parameter."""
    if len(keys) == 1:  # common, and faster without the detour
        return "key = ?", keys[0]
    return "key IN (SELECT value FROM json_each(?))", json.dumps(list(keys))  # however many, whatever SQLite's limit


def row_of(record: Record) -> Row:
    """The record as SQLite takes it. Never fails: a paid reply is not lost for an odd setting."""
    return tuple([_CAST[name](value) if (value := getattr(record, name)) is not None else None for name in FIELDS])


def _integer(value: Any) -> int:
    return max(-(2**53), min(int(value), 2**53))  # beyond that totals would leave what SQLite can hold


def _text(value: Any) -> str | bytes:
    value = value if type(value) is str else str(value)
    try:
        value.encode()
    except UnicodeEncodeError:  # lone surrogates: SQLite's text is UTF-8, so these become a blob
        return value.encode("utf-8", "surrogatepass")
    return value


def _settings(value: Mapping[str, Any]) -> str | bytes:
    try:
        return _text(canonical_json(dict(value)))
    except (TypeError, ValueError):
        return json.dumps({str(name): repr(setting) for name, setting in value.items()})


def _distribution(value: Mapping[str, float]) -> str | bytes:
    return _text(json.dumps({str(emotion): float(share) for emotion, share in value.items()}, ensure_ascii=False))


def _real(value: Any) -> float | None:
    value = float(value)
    return value if math.isfinite(value) else None  # sums and JSON hold no other


_CAST: dict[str, Callable[[Any], Any]] = {
    name: _integer if name in INTEGERS else _real if name in REALS else _text for name in FIELDS
} | {
    "settings": _settings,
    "distribution": _distribution,
}


def tokens_of(row: Row) -> int:
    """All tokens of a reply, those that were charged without being stated too."""
    return sum(row[place] or 0 for place in _TOKENS)


def cost_of(row: Row) -> float:
    """What a reply cost, as far as that is known."""
    return row[_COST] or 0.0


def is_vote(record: Record) -> bool:
    """Whether a model was asked and gave a vote; no text that was read again."""
    return record.outcome == OK and record.tries > 0


def sent_at(record: Record) -> float:
    """When the request of a reply left, in seconds since 1970; minus infinity where that is not told."""
    try:
        return datetime.fromisoformat(record.created).timestamp() - (record.latency_s or 0.0)
    except (ValueError, OverflowError):
        return float("-inf")


@functools.lru_cache(maxsize=1024)  # the settings of thousands of replies are the same
def _parsed(text: str) -> dict[str, Any]:
    found = json.loads(text)
    if not isinstance(found, dict):
        raise ValueError("it is no mapping")
    return found


def record_of(row: Row, source: sqlite3.Connection | Path | None = None) -> Record:
    """The record of a row that `SELECT {COLUMNS}` gave.

    What is damaged in it is told, with the name of the file (`source`, or the connection to it) and the reply, and the
    rest is read: without its settings, a vote is one still; a distribution that cannot be read is none.
    """
    values = list(row)
    if bytes in map(type, values):
        values = [_decoded(value) if type(value) is bytes else value for value in values]
    if values[_DISTRIBUTION] is not None:
        try:
            shares = json.loads(values[_DISTRIBUTION])
            values[_DISTRIBUTION] = {name: float(share) for name, share in shares.items()}
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            _tell_damage(source, values, "distribution", error)
            values[_DISTRIBUTION] = None
            if not values[_LABEL] and values[OUTCOME] == OK:
                values[OUTCOME] = _DAMAGED
                values[_DETAIL] = "the distribution in its row of the ledger is damaged"
    try:
        values[_SETTINGS] = dict(_parsed(values[_SETTINGS]))
    except (ValueError, TypeError, RecursionError) as error:
        _tell_damage(source, values, "settings", error)
        values[_SETTINGS] = {}
    for place, kind, least in _NUMBERS:
        value = values[place]
        if value is not None and not (type(value) is kind and least <= value < math.inf):
            _tell_damage(source, values, FIELDS[place], ValueError(f"it is {value!r}"))
            values[place] = _DEFAULTS[FIELDS[place]]
    values[_FINAL] = bool(values[_FINAL])
    # what Record() does but for its check: these were checked when they were stored, and a full ledger is read at twice
    # the pace
    record = object.__new__(Record)
    record.__dict__.update(zip(FIELDS, values, strict=True))
    return record


def _decoded(value: bytes) -> str:
    try:
        return value.decode("utf-8", "surrogatepass")  # text with lone surrogates
    except UnicodeDecodeError:
        return value.decode("utf-8", "backslashreplace")


_READ_WITHOUT = {
    "settings": "its vote is read without them",
    "distribution": "it is taken for a reply without a vote",
    "label": "it is taken for a reply without a vote",
}


def _tell_damage(
    source: sqlite3.Connection | Path | None, values: Sequence[Any], column: str, error: Exception
) -> None:
    """Say once of a reply that a column of it is damaged."""
    if isinstance(source, sqlite3.Connection):
        source = Path(source.execute("PRAGMA database_list").fetchone()[2])
    place = (str(source), values[KEY], column)
    if place in _TOLD:
        return
    _TOLD.add(place)
    left = _READ_WITHOUT.get(column, "it is not counted")
    logger.error(
        "The ledger %s is damaged: `%s` of the reply %s (row %r) cannot be read (%s); %s. Mend: put a copy of the file "
        "in its place, if there is one, or merge it: hf-emo-dist ledger merge %s COPY.",
        source, column, values[KEY], values[_ROW_ID], error, left, source,
    )  # fmt: skip


def fetched(connection: sqlite3.Connection, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query, those too of which a text is damaged so that it is no UTF-8."""
    try:
        return connection.execute(query, values).fetchall()
    except sqlite3.OperationalError as error:
        if "decode" not in str(error):
            raise
    connection.text_factory = _decoded
    try:
        return connection.execute(query, values).fetchall()
    finally:
        connection.text_factory = str


def content_id(record: Record) -> str:
    """A name for a reply without one: the same for the same content, whoever imports it, and ordered by `created`."""
    try:
        microseconds = max(0, int(datetime.fromisoformat(record.created).timestamp() * 1e6))
    except (ValueError, OverflowError):
        microseconds = 0
    # only what a reply had from the first release on: one that was imported then has the same name now
    late = {FIELDS.index(name) for name in ("assumed_usd", "assumed_tokens", "final")}
    row = row_of(record)
    content = repr([value for place, value in enumerate(row) if place != _ATTEMPT and place not in late])
    return f"{microseconds:016x}{hashlib.sha256(content.encode('utf-8', 'surrogatepass')).hexdigest()[:16]}"


def lookup(connection: sqlite3.Connection, keys: Sequence[str]) -> dict[str, Record]:
    """The record that counts, for each key that has one."""
    found: dict[str, Record] = {}
    for start in range(0, len(keys), 1000):
        condition, value = among(keys[start : start + 1000])
        for row in fetched(connection, f"SELECT {COLUMNS} FROM replies WHERE counts = 1 AND {condition}", (value,)):
            found[row[KEY]] = record_of(row, connection)
    sets: dict[str, frozenset[str]] | None = None
    for record in found.values():
        if record.outcome == OK:
            sets = label_sets(connection) if sets is None else sets
            wrong = outside(sets[record.plan], record.label, record.distribution) if record.plan in sets else None
            if wrong is not None:
                tell_outside(connection, record, wrong)
                # no vote, and to be asked for again
                no_vote = {"outcome": _DAMAGED, "final": False, "label": None, "distribution": None}
                record.__dict__.update(no_vote, detail=f"`{wrong[0]}`: {wrong[1]}")
    return found


def tell_outside(source: sqlite3.Connection | Path, record: Record, wrong: tuple[str, str]) -> None:
    """Say once of a vote that it is none of those that were asked for."""
    _tell_damage(source, row_of(record), wrong[0], ValueError(wrong[1]))


def without_copies(connection: sqlite3.Connection, rows: Sequence[tuple[str, Row]]) -> list[tuple[str, Row]]:
    """Of replies from elsewhere, those that are no copy, by another name, of a vote that is there."""
    votes = [row[KEY] for _, row in rows if row[OUTCOME] == OK]
    condition, value = among(votes)
    query = f"SELECT {COLUMNS} FROM replies WHERE outcome = 'ok' AND {condition}"
    there = {_content(row) for row in fetched(connection, query, (value,))} if votes else set()
    kept = []
    for reply_id, row in rows:
        if row[OUTCOME] == OK:
            content = _content(row)
            if content in there:
                continue
            there.add(content)
        kept.append((reply_id, row))
    return kept


def _content(row: Row) -> str:
    return repr([value for place, value in enumerate(row) if place not in (_ATTEMPT, _FINAL)])


def insert(connection: sqlite3.Connection, rows: Sequence[tuple[str, Row]], newest: bool = False) -> int:
    """Add replies, number the attempts of their keys anew, mark which one counts, and add to the totals.

    Attempts are numbered in the order of `reply_id`. A vote that counts goes on counting, whatever comes after it and
    whatever time that bears. Where there is none, the first one that is ok counts, and where none is, the last. To be
    called inside a write transaction.

    A reply that is there already is passed over; returns how many were new. `newest`: they were stored just now, and
    come after all others of their key, whatever the clocks say.
    """
    known: dict[str, list[list[Any]]] = {}
    sets: dict[str, frozenset[str]] | None = None
    condition, value = among(list({row[KEY] for _, row in rows}))
    for key, *entry in connection.execute(
        # a stated distribution that is damaged is no vote
        f"""SELECT key, reply_id, CASE WHEN label IS NULL AND distribution IS NOT NULL
                AND NOT json_valid(CAST(distribution AS TEXT)) THEN '{_DAMAGED}' ELSE outcome END, attempt, counts,
                CAST(plan AS BLOB), CAST(label AS BLOB), CAST(distribution AS BLOB)
            FROM replies WHERE {condition} ORDER BY reply_id""",
        (value,),
    ):
        if entry[1] == OK:  # nor is one that was not asked for
            sets = label_sets(connection) if sets is None else sets
            entry[1] = _outcome(sets, *entry[4:])
        del entry[4:]
        known.setdefault(key, []).append(entry)
    before = {entry[0]: tuple(entry) for entries in known.values() for entry in entries}
    new: dict[str, Row] = {}
    for reply_id, row in rows:
        entries = known.setdefault(row[KEY], [])
        if reply_id in before or reply_id in new:
            continue
        if newest and entries and entries[-1][0] >= reply_id:
            reply_id = new_id(int(entries[-1][0][:16], 16) + 1)
        new[reply_id] = row
        entries.append([reply_id, row[OUTCOME], 0, 0])
    moved = []
    for entries in known.values():
        entries.sort()
        votes = [entry for entry in entries if entry[1] == OK]
        voted = next((entry for entry in votes if entry[3]), votes[0] if votes else None)
        counting = voted or (entries[-1] if entries else None)
        for attempt, entry in enumerate(entries):
            entry[2:] = attempt, int(entry is counting)
            if entry[0] in new:
                row = new[entry[0]]
                connection.execute(_INSERT, (entry[0], entry[3], *row[:_ATTEMPT], attempt, *row[_ATTEMPT + 1 :]))
            elif tuple(entry) != before[entry[0]]:
                moved.append((attempt, entry[3], entry[0]))
    if moved:
        connection.executemany("UPDATE replies SET attempt = ?, counts = ? WHERE reply_id = ?", moved)
    if new:
        cost = sum(row[_COST] or 0.0 for row in new.values())
        tokens = sum(map(tokens_of, new.values()))
        connection.execute(
            "UPDATE totals SET cost_usd = cost_usd + ?, tokens = tokens + ?, replies = replies + ?",
            (cost, tokens, len(new)),
        )
    return len(new)


def _outcome(sets: Mapping[str, frozenset[str]], plan: bytes | None, label: bytes | None, shares: bytes | None) -> str:
    """The outcome as which a stored vote counts, by what its plan asked for."""
    emotions = sets.get((plan or b"").decode("utf-8", "replace"))
    if emotions is None:
        return OK
    try:
        names = None if shares is None else json.loads(shares)
    except (ValueError, RecursionError):
        names = None
    said = None if label is None else label.decode("utf-8", "replace")
    return OK if outside(emotions, said, names if isinstance(names, dict) else None) is None else _DAMAGED


def pages(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]], plan: str | None = None, size: int = 1000
) -> Iterator[list[tuple[Any, ...]]]:
    """All rows (id, reply_id, counts, values…) in the order of their ids, up to `size` at a time.

    The connection is free for others between two pages.
    """
    where, values = ("", ()) if plan is None else ("AND plan = ?", (plan,))
    after = -1
    while True:
        with reading() as connection:
            names = columns_of(connection)
            query = f"SELECT id, reply_id, counts, {names} FROM replies WHERE id > ? {where} ORDER BY id LIMIT ?"
            page = fetched(connection, query, (after, *values, size))
        if not page:
            return
        after = page[-1][0]
        yield page
