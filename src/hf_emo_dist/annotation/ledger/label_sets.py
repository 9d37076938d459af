"""Whether a vote is one of those that its plan asked for: a stranger's ledger may hold any."""

from __future__ import annotations

import functools
import json
import sqlite3
from collections.abc import Collection, Iterable, Mapping


def label_sets(connection: sqlite3.Connection) -> dict[str, frozenset[str]]:
    """The emotions of each plan that a ledger knows; what is damaged is left out."""
    if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'plans'").fetchone():
        return {}
    rows = connection.execute("SELECT CAST(plan AS BLOB), CAST(emotions AS BLOB) FROM plans")
    found = {bytes(plan).decode("utf-8", "replace"): _parsed(bytes(emotions)) for plan, emotions in rows}
    return {plan: emotions for plan, emotions in found.items() if emotions}


@functools.lru_cache(maxsize=256)
def _parsed(text: bytes) -> frozenset[str]:
    try:
        found = json.loads(text)
        return frozenset(map(str, found)) if isinstance(found, list) else frozenset()
    except (ValueError, RecursionError):
        return frozenset()


def outside(
    emotions: Collection[str], label: str | None, shares: Mapping[str, float] | Iterable[str] | None
) -> tuple[str, str] | None:
    """The column of a vote that is not of a label set, and why; None where it is.

    >>> outside({"sad", "angry"}, "bored", None)
    ('label', "'bored' is not among angry, sad")
    """
    asked = ", ".join(sorted(emotions))
    if label is not None and label not in emotions:
        return "label", f"{label!r:.80} is not among {asked}"
    if shares is not None and set(shares) != set(emotions):
        return "distribution", f"its labels are {', '.join(map(str, shares))[:200]} and not {asked}"
    return None
