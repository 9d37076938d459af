"""What a ledger counts by, its totals and leases, held against what can be: another program, or a bit, changed it."""

from __future__ import annotations

import logging
import math
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

from .schema import FIELDS, MOST_TOKENS, MOST_USD, missing_columns

logger = logging.getLogger(__name__)

#: Seconds beyond which no lease is granted: to a process, and to a batch job (`journal` gives ten years).
_LONGEST_S, _LONGEST_JOB_S = 30 * 86400.0, 20 * 366 * 86400.0
_TOKENS = ("prompt_tokens", "thinking_tokens", "output_tokens", "assumed_tokens")
_NAMED = 5

#: Of leases that nobody can have been granted; parameters: the time, twice.
_IMPOSSIBLE = f"""(
    typeof(expires) NOT IN ('real', 'integer') OR typeof(cost_usd) NOT IN ('real', 'integer')
    OR typeof(tokens) <> 'integer' OR typeof(pid) <> 'integer'
    OR typeof(sent) NOT IN ('real', 'integer', 'null') OR typeof(granted) NOT IN ('real', 'integer', 'null')
    OR NOT cost_usd BETWEEN 0 AND {MOST_USD!r} OR NOT tokens BETWEEN 0 AND {MOST_TOKENS}
    OR NOT COALESCE(sent, 0) BETWEEN -9e15 AND 9e15
    OR expires > ? + CASE host WHEN 'batch job' THEN {_LONGEST_JOB_S!r} ELSE {_LONGEST_S!r} END
        + MAX(0, COALESCE(granted, 0) - ?))"""


def usd(column: str) -> str:
    """An expression of SQL: a cost, and 0 where it is unknown or can be none."""
    return (
        f"CASE WHEN typeof({column}) IN ('real', 'integer') AND {column} BETWEEN 0 AND 1e300 THEN {column} ELSE 0 END"
    )


def tokens(column: str) -> str:
    """The same of a number of tokens."""
    return f"CASE WHEN typeof({column}) = 'integer' AND {column} BETWEEN 0 AND {2**53} THEN {column} ELSE 0 END"


def drop_impossible_leases(connection: sqlite3.Connection, now: float) -> None:
    """Drop the leases that cannot be, and say so: they would be waited for for ever, and charged in the end.

    To be called inside a write transaction.
    """
    found = connection.execute(
        f"SELECT key, host, pid, cost_usd, expires FROM leases WHERE {_IMPOSSIBLE}", (now, now)
    ).fetchall()
    if not found:
        return
    connection.execute(f"DELETE FROM leases WHERE {_IMPOSSIBLE}", (now, now))
    named = "; ".join(
        f"{key} of process {pid} on {host}, {cost!r} USD until {expires!r}"
        for key, host, pid, cost, expires in found[:_NAMED]
    )
    logger.warning(
        "The ledger %s is damaged: %d reservations in it cannot be so (%s%s). They are dropped, and cost nothing.",
        file_of(connection),
        len(found),
        named,
        f"; and {len(found) - _NAMED} others" if len(found) > _NAMED else "",
    )


def file_of(connection: sqlite3.Connection) -> str:
    """The file that a connection has open."""
    return str(connection.execute("PRAGMA database_list").fetchone()[2])


def check_counts(
    reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
    transaction: Callable[..., AbstractContextManager[sqlite3.Connection]],
    now: float,
) -> None:
    """Hold what caps are counted by against the rows, when a ledger is opened, and put it right with a warning.

    Rows whose cost or tokens can be none are named and count 0. A cap is never held by a total that was not looked at.

    Args:
        reading: Of the ledger.
        transaction: Of the ledger, to write.
        now: Seconds since 1970.
    """
    with _as_bytes(reading) as connection:
        totals, sums = _totals(connection), _sums(connection)
        bad_leases = connection.execute(f"SELECT 1 FROM leases WHERE {_IMPOSSIBLE} LIMIT 1", (now, now)).fetchone()
        bad_rates = connection.execute(f"SELECT 1 FROM rates WHERE {_BAD_RATES} LIMIT 1").fetchone()
        _tell_bad_rows(connection)
    if bad_leases or bad_rates:
        with transaction(durable=True) as connection:
            drop_impossible_leases(connection, now)
            if connection.execute(f"DELETE FROM rates WHERE {_BAD_RATES}").rowcount:
                logger.warning(
                    "The ledger %s is damaged: the state of a rate in it is no number. It begins anew.",
                    file_of(connection),
                )
    if _agree(totals, sums):
        return
    with transaction(durable=True) as connection:  # others may have written meanwhile
        totals, sums = _totals(connection), _sums(connection)
        if _agree(totals, sums):
            return
        connection.execute("DELETE FROM totals")
        connection.execute("INSERT INTO totals VALUES (0, ?, ?, ?)", sums)
        said = "nothing" if totals is None else f"{totals[0]!r} USD, {totals[1]!r} tokens and {totals[2]!r} replies"
        logger.warning(
            "The ledger %s is damaged: its totals are %s, and its replies are %.4f USD, %d tokens and %d replies. The "
            "sums of the replies count from now on.",
            file_of(connection),
            said,
            *sums,
        )


_BAD_RATES = """typeof(updated) NOT IN ('real', 'integer') OR typeof(paused_until) NOT IN ('real', 'integer')
    OR typeof(requests) NOT IN ('real', 'integer', 'null') OR typeof(tokens) NOT IN ('real', 'integer', 'null')
    OR NOT updated BETWEEN -9e15 AND 9e15 OR NOT paused_until BETWEEN -9e15 AND 9e15
    OR NOT COALESCE(requests, 0) BETWEEN -9e15 AND 9e15 OR NOT COALESCE(tokens, 0) BETWEEN -9e15 AND 9e15"""


@contextmanager
def _as_bytes(reading: Callable[[], AbstractContextManager[sqlite3.Connection]]) -> Iterator[sqlite3.Connection]:
    """Reading whereby texts that are no UTF-8 do not end it."""
    with reading() as connection:
        connection.text_factory = lambda value: value.decode("utf-8", "backslashreplace")
        try:
            connection.execute("BEGIN")  # all of one moment
            yield connection
        finally:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            connection.text_factory = str


def _totals(connection: sqlite3.Connection) -> tuple[object, ...] | None:
    found: tuple[object, ...] | None = connection.execute("SELECT cost_usd, tokens, replies FROM totals").fetchone()
    return found


def _sums(connection: sqlite3.Connection) -> tuple[float, int, int]:
    there = [name for name in _TOKENS if name not in missing_columns(connection)]
    cost, used, number = connection.execute(
        f"""SELECT COALESCE(SUM({usd("cost_usd")}), 0.0), COALESCE(SUM({" + ".join(map(tokens, there))}), 0), COUNT(*)
            FROM replies"""
    ).fetchone()
    return float(cost), int(used), int(number)


def _agree(totals: tuple[object, ...] | None, sums: tuple[float, int, int]) -> bool:
    if totals is None:
        return False
    cost, used, number = totals
    if not isinstance(cost, int | float) or not isinstance(used, int) or not isinstance(number, int):
        return False
    return math.isclose(cost, sums[0], rel_tol=1e-6, abs_tol=1e-6) and (used, number) == sums[1:]


def _tell_bad_rows(connection: sqlite3.Connection) -> None:
    """Name the replies whose cost or tokens can be none."""
    bad = []
    for name in ("cost_usd", "assumed_usd", *_TOKENS):
        if name in FIELDS and name not in missing_columns(connection):
            sound = usd(name) if name.endswith("_usd") else tokens(name)
            bad.append(f"({name} IS NOT NULL AND {sound} IS NOT {name})")
    condition = " OR ".join(bad)
    found = connection.execute(
        f"SELECT key, row_id, cost_usd FROM replies WHERE {condition} LIMIT {_NAMED + 1}"
    ).fetchall()
    if not found:
        return
    named = "; ".join(f"{key} (row {row_id!r}, {cost!r} USD)" for key, row_id, cost in found[:_NAMED])
    logger.warning(
        "The ledger %s is damaged: what replies cost, or their tokens, cannot be so: %s%s. They count 0. Mend: put a "
        "copy of the file in its place, if there is one.",
        file_of(connection),
        named,
        "; and others" if len(found) > _NAMED else "",
    )
