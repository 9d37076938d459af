"""What a ledger says when it is asked about itself: spending by model and day, and failures with their reasons.

Read without writing, so that a run may go on meanwhile, and a file in a folder that is read-only can be looked at.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..types import IN_FLIGHT
from .journal import BatchJob, read_jobs
from .opening import open_to_read, ordinary
from .schema import missing_columns
from .soundness import usd

_ROWS_SHOWN = 5


@dataclass(frozen=True)
class Account:
    """What one model has cost on one day (UTC)."""

    day: str
    backend: str
    model: str
    replies: int  # rows that a request was sent for
    votes: int  # those that count, read again ones too
    failures: int  # keys without a vote
    prompt_tokens: int
    thinking_tokens: int
    output_tokens: int
    cost_usd: float
    unpriced: int  # replies whose cost is not known


@dataclass
class FailureKind:
    """One way in which keys have no vote, for one model."""

    outcome: str
    model: str
    count: int = 0
    reasons: dict[str, int] = field(default_factory=dict)  # most frequent first
    row_ids: list[str] = field(default_factory=list)  # the first few


def existing(path: str | Path) -> Path:
    """The path of a ledger that is there. Raises `LedgerError`; opening it would make one."""
    return ordinary(path, f"There is no ledger {path}.")


def spending_by_day(path: str | Path) -> list[Account]:
    """What each model has cost on each day, in their order. Raises `LedgerError` where there is no ledger."""
    query = f"""
        SELECT substr(created, 1, 10), backend, model, SUM(tries > 0), SUM(counts = 1 AND outcome = 'ok'),
            SUM(counts = 1 AND outcome <> 'ok'), SUM(COALESCE(prompt_tokens, 0)), SUM(COALESCE(thinking_tokens, 0)),
            SUM(COALESCE(output_tokens, 0)), SUM({usd("cost_usd")}),
            SUM(cost_usd IS NULL AND text IS NOT NULL AND tries > 0)
        FROM replies GROUP BY 1, 2, 3 ORDER BY 1, 2, 3"""
    with contextlib.closing(open_to_read(existing(path))) as connection:
        return [Account(*map(_text, row)) for row in connection.execute(query)]


@dataclass(frozen=True)
class Assumed:
    """What no service has stated, and is counted as what requests can cost at most."""

    cost_usd: float  # of what was spent
    lost: int  # requests among that which were in flight when their process ended, or their run was cut short
    reserved_usd: float  # for requests in flight now, or of processes that ended and were not noticed yet; not spent
    reserved: int


def assumed(path: str | Path) -> Assumed:
    """What is assumed of a ledger's spending. Raises `LedgerError` where there is no ledger."""
    with contextlib.closing(open_to_read(existing(path))) as connection:
        cost, lost = 0.0, 0
        if "assumed_usd" not in missing_columns(connection):  # of 0.1
            cost, lost = connection.execute(
                f"SELECT COALESCE(SUM({usd('assumed_usd')}), 0.0), COUNT(CASE WHEN detail = ? THEN 1 END) FROM replies",
                (IN_FLIGHT,),
            ).fetchone()
        reserved = connection.execute(f"SELECT COALESCE(SUM({usd('cost_usd')}), 0.0), COUNT(*) FROM leases").fetchone()
        return Assumed(cost, lost, *reserved)


def batch_jobs(path: str | Path) -> list[BatchJob]:
    """The batch jobs of a ledger, the first one first. Raises `LedgerError` where there is no ledger."""
    with contextlib.closing(open_to_read(existing(path))) as connection:
        return list(read_jobs(connection))


def failures_by_reason(path: str | Path, plan: str | None = None) -> list[FailureKind]:
    """The keys that have no vote, by outcome and model, with the services' own reasons; most frequent first.

    Args:
        path: Of a ledger.
        plan: Of one plan; None for all.

    Raises:
        LedgerError: There is no ledger.
    """
    where, values = ("", ()) if plan is None else ("AND plan = ?", (plan,))
    query = f"""SELECT outcome, model, detail, row_id, COUNT(*) FROM replies
                WHERE counts = 1 AND outcome <> 'ok' {where} GROUP BY 1, 2, 3, 4 ORDER BY MIN(id)"""
    kinds: dict[tuple[str, str], FailureKind] = {}
    with contextlib.closing(open_to_read(existing(path))) as connection:
        for outcome, model, detail, row_id, count in (map(_text, row) for row in connection.execute(query, values)):
            kind = kinds.setdefault((outcome, model), FailureKind(outcome, model))
            kind.count += count
            reason = " ".join(str(detail).split())
            kind.reasons[reason] = kind.reasons.get(reason, 0) + count
            if row_id not in kind.row_ids and len(kind.row_ids) < _ROWS_SHOWN:
                kind.row_ids.append(row_id)
    for kind in kinds.values():
        kind.reasons = dict(sorted(kind.reasons.items(), key=lambda item: -item[1]))
    return sorted(kinds.values(), key=lambda kind: -kind.count)


def _text(value: Any) -> Any:
    return (
        value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    )  # lone surrogates are stored as bytes
