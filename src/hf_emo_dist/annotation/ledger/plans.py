"""What the plans of a ledger asked for: the emotions, and how replies are read. Without it a stored text is only words.

A table of its own, made when it is first needed: versions that do not know it pass it over.
"""

from __future__ import annotations

import json
import logging
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass

from ...emotions import validate_emotions
from .replies import fetched

logger = logging.getLogger(__name__)

_TABLE = "CREATE TABLE IF NOT EXISTS plans (plan TEXT PRIMARY KEY, emotions TEXT NOT NULL, lenient INTEGER NOT NULL)"


@dataclass(frozen=True)
class Plan:
    """What an annotator asks for, as far as reading its replies needs it."""

    emotions: tuple[str, ...]
    lenient: bool = False  # whether replies are read as arXiv 2601.14620 does


def remember(connection: sqlite3.Connection, plans: dict[str, Plan], own: bool = False) -> None:
    """Write plans; to be called inside a write transaction. `own`: whose asks knows best, others do not replace."""
    connection.execute(_TABLE)
    connection.executemany(
        f"INSERT OR {'REPLACE' if own else 'IGNORE'} INTO plans VALUES (?, ?, ?)",
        [(name, json.dumps(plan.emotions), int(plan.lenient)) for name, plan in plans.items()],
    )


def known(connection: sqlite3.Connection, names: Sequence[str] | None = None) -> dict[str, Plan]:
    """The plans that a ledger knows, all or these; none in a ledger of 0.1."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'plans'").fetchone():
        return {}
    found = {}
    for name, emotions, lenient in fetched(connection, "SELECT plan, emotions, lenient FROM plans"):
        if names is not None and name not in names:
            continue
        try:
            found[str(name)] = Plan(validate_emotions(json.loads(emotions)), bool(lenient))
        except (ValueError, TypeError) as error:  # damaged, or a stranger's
            logger.warning("What the plan %s asks for cannot be read and is left out (%s).", name, error)
    return found
