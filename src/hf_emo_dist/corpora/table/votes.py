"""The votes of a table: from one column of counts an emotion, or from a column of labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np

from ...emotions import KNOWN_EMOTIONS, UnknownEmotionError, canonical_emotion, is_known_emotion, validate_emotions
from .file import RESERVED, Table, TableError

__all__ = ["read_votes"]

logger = logging.getLogger(__name__)

_MAX_VOTES = 1000


def _count_columns(table: Table, emotions: Sequence[str] | None) -> tuple[dict[str, str], tuple[str, ...]]:
    """Find the columns that hold counts: column name to emotion, and the label set in order."""
    candidates = [column for column in table.columns if column not in RESERVED]
    found: dict[str, str] = {}
    for column in candidates:
        name = canonical_emotion(column)
        if (name not in validate_emotions(emotions)) if emotions is not None else not is_known_emotion(column):
            continue
        if name in found.values():
            first = next(key for key, value in found.items() if value == name)
            raise TableError(
                f"{table.path.name}: columns {first!r} and {column!r} are both {name!r}. Mend: rename one of them."
            )
        found[column] = name
    spelled = [f"{column!r} as {name!r}" for column, name in found.items() if column != name]
    if spelled:
        logger.warning("%s: read column %s", table.path.name, ", ".join(spelled))
    if emotions is None:
        return found, tuple(found.values())
    names = validate_emotions(emotions)
    lacking = [name for name in names if name not in found.values()]
    if found and lacking:
        raise TableError(
            f"{table.path.name} has no count column for {', '.join(lacking)} (there are {', '.join(table.columns)}). "
            "Mend: correct `emotions`, or add the column."
        )
    ignored = [column for column in candidates if column not in found and is_known_emotion(column)]
    if found and ignored:
        logger.warning("%s: votes in %s are not counted: not in `emotions`", table.path.name, ", ".join(ignored))
    return found, names


def _number(value: Any, table: Table) -> float:
    """Read a cell of a count column; a blank one is no votes. Raises ValueError."""
    if value is None:
        return 0.0
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str):
        value = value.replace(",", ".") if table.decimal_comma else value
    number = float(value)
    if not math.isfinite(number) or number < 0 or number > _MAX_VOTES:
        raise ValueError
    return number


def _votes_from_counts(table: Table, columns: dict[str, str], names: Sequence[str]) -> tuple[list[Any], list[Any]]:
    """Turn counts into votes: one entry a whole vote, and one with the rest as its weight for a fraction."""
    ordered = {name: column for column, name in columns.items()}
    votes, weights = [], []
    for index, row in enumerate(table.rows):
        labels: list[str] = []
        amounts: list[float] = []
        for name in names:
            try:
                count = _number(row[ordered[name]], table)
            except (TypeError, ValueError) as error:
                raise TableError(
                    f"{table.where(index)}, column {ordered[name]!r}: {row[ordered[name]]!r} is not a count of votes. "
                    f"Mend: write a number from 0 to {_MAX_VOTES}; if the column is no count, name the emotions."
                ) from error
            whole = math.floor(count)
            rest = count - whole
            labels += [name] * whole
            amounts += [1.0] * whole
            if rest > 1e-9:
                labels.append(name)
                amounts.append(float(np.float32(rest)))
        votes.append(labels)
        weights.append(amounts)
    return votes, weights


def _votes_from_list(
    table: Table, emotions: Sequence[str] | None, outside: Literal["error", "drop"]
) -> tuple[list[list[str]], tuple[str, ...]]:
    """Read the `votes` column: labels with ``|`` between them, or a list of labels."""
    names = validate_emotions(emotions) if emotions is not None else None
    allowed = names or KNOWN_EMOTIONS
    known: dict[str, str | None] = {}
    votes = []
    for index, row in enumerate(table.rows):
        cell = row["votes"]
        labels = cell.split("|") if isinstance(cell, str) else list(cell) if isinstance(cell, (list, tuple)) else []
        if cell is not None and not isinstance(cell, (str, list, tuple)):
            raise TableError(f"{table.where(index)}, column 'votes': {cell!r} is no list of labels. Mend: write a|b|c.")
        kept = []
        for label in labels:
            if label is None or (isinstance(label, str) and not label.strip()):
                continue
            if label not in known:
                try:
                    known[label] = canonical_emotion(label, allowed)
                except UnknownEmotionError as error:
                    if outside == "error":
                        raise TableError(
                            f"{table.where(index)}, column 'votes': {error} "
                            "Mend: correct the label, or name all of the emotions."
                        ) from error
                    known[label] = None
            name = known[label]
            if name is not None:
                kept.append(name)
        votes.append(kept)
    if names is None:
        present = {vote for labels in votes for vote in labels}
        names = tuple(name for name in KNOWN_EMOTIONS if name in present)
        if len(names) < 2:
            raise TableError(
                f"{table.path.name}: the column 'votes' names fewer than two emotions ({', '.join(names) or 'none'}). "
                "Mend: name all of the emotions."
            )
    return votes, names


def read_votes(
    table: Table, emotions: Sequence[str] | None, outside: Literal["error", "drop"]
) -> tuple[list[list[str]], list[list[float]] | None, tuple[str, ...], set[str]]:
    """Return votes, weights where any is not 1, the label set, and the columns that were used up."""
    columns, names = _count_columns(table, emotions)
    has_list = "votes" in table.columns and not all(
        row["votes"] is None or _is_number(row["votes"]) for row in table.rows
    )
    if columns and has_list:
        raise TableError(
            f"{table.path.name} has both a 'votes' column and count columns ({', '.join(columns)}). "
            "Mend: rename or delete the one that is not to be read."
        )
    if has_list:
        votes, names = _votes_from_list(table, emotions, outside)
        return votes, None, names, {"votes"}
    if len(columns) < 2:
        raise TableError(
            f"{table.path.name} has no votes: found {len(columns)} count column(s) named like an emotion and no "
            f"'votes' column (there are {', '.join(table.columns)}). Mend: name the count columns in `emotions`, or add a "
            "'votes' column such as happy|happy|sad."
        )
    votes, weights = _votes_from_counts(table, columns, names)
    fractional = any(weight != 1.0 for amounts in weights for weight in amounts)
    totals = [sum(amounts) for amounts in weights]
    if fractional and all(abs(total - 1.0) < 1e-3 for total in totals):
        logger.warning("%s: every row sums to 1: these look like shares, and count as one vote a row", table.path.name)
    return votes, weights if fractional else None, names, set(columns)


def _is_number(value: Any) -> bool:
    if isinstance(value, (list, tuple)):
        return False
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
