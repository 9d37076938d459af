"""The votes of a table: from one column of counts an emotion, or from a column of labels."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from ...emotions import KNOWN_EMOTIONS, UnknownEmotionError, canonical_emotion, is_known_emotion, validate_emotions
from ...votes import Outside
from .file import RESERVED, Table, TableError

logger = logging.getLogger(__name__)

_MAX_VOTES = 1000


class TableVotes(NamedTuple):
    """The votes of a table, row by row."""

    labels: list[list[str]]
    weights: list[list[float]] | None  # None where every vote counts 1
    emotions: tuple[str, ...]  # the label set
    columns: set[str]  # the columns that they were read from


def read_votes(table: Table, emotions: Sequence[str] | None, outside: Outside) -> TableVotes:
    """Read the votes of a table, whichever of the two forms they have; arguments as for `read_table`."""
    names = None if emotions is None else validate_emotions(emotions)
    columns = _count_columns(table, names)
    has_list = "votes" in table.columns and not all(
        row["votes"] is None or _is_number(row["votes"]) for row in table.rows
    )
    if columns and has_list:
        raise TableError(
            f"{table.path.name} has both a 'votes' column and count columns ({', '.join(columns.values())}). "
            "Mend: rename or delete the one that is not to be read."
        )
    if has_list:
        votes = _votes_from_list(table, names or KNOWN_EMOTIONS, outside)
        return TableVotes(votes, None, names or _present(table, votes), {"votes"})
    if len(columns) < 2:
        raise TableError(
            f"{table.path.name} has no votes: found {len(columns)} count column(s) named like an emotion and no "
            f"'votes' column (there are {', '.join(table.columns)}). Mend: name the count columns in `emotions`, or "
            "add a 'votes' column such as happy|happy|sad."
        )
    names = names or tuple(columns)
    votes, weights = _votes_from_counts(table, {name: columns[name] for name in names})
    fractional = any(weight != 1.0 for amounts in weights for weight in amounts)
    if fractional and all(abs(sum(amounts) - 1.0) < 1e-3 for amounts in weights):
        logger.warning("%s: every row sums to 1: these look like shares, and count as one vote a row", table.path.name)
    return TableVotes(votes, weights if fractional else None, names, set(columns.values()))


def _count_columns(table: Table, names: tuple[str, ...] | None) -> dict[str, str]:
    """Find the columns that hold counts: emotion to column name, in the table's order."""
    candidates = [column for column in table.columns if column not in RESERVED]
    found: dict[str, str] = {}
    for column in candidates:
        name = canonical_emotion(column)
        if not (is_known_emotion(column) if names is None else name in names):
            continue
        if name in found:
            raise TableError(
                f"{table.path.name}: columns {found[name]!r} and {column!r} are both {name!r}. "
                "Mend: rename one of them."
            )
        found[name] = column
    spelled = [f"{column!r} as {name!r}" for name, column in found.items() if column != name]
    if spelled:
        logger.warning("%s: read column %s", table.path.name, ", ".join(spelled))
    if found and names is not None:
        lacking = [name for name in names if name not in found]
        if lacking:
            raise TableError(
                f"{table.path.name} has no count column for {', '.join(lacking)} (there are "
                f"{', '.join(table.columns)}). Mend: correct `emotions`, or add the column."
            )
        ignored = [column for column in candidates if column not in found.values() and is_known_emotion(column)]
        if ignored:
            logger.warning("%s: votes in %s are not counted: not in `emotions`", table.path.name, ", ".join(ignored))
    return found


def _votes_from_counts(table: Table, columns: dict[str, str]) -> tuple[list[list[str]], list[list[float]]]:
    """Turn counts into votes: one entry a whole vote, and one with the rest as its weight for a fraction."""
    votes, weights = [], []
    for index, row in enumerate(table.rows):
        labels: list[str] = []
        amounts: list[float] = []
        for name, column in columns.items():
            try:
                count = _number(row[column], table)
            except (TypeError, ValueError) as error:
                raise TableError(
                    f"{table.where(index)}, column {column!r}: {row[column]!r} is not a count of votes. "
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


def _number(value: Any, table: Table) -> float:
    """Read a cell of a count column; a blank one is no votes. Raises ValueError."""
    if value is None:
        return 0.0
    if isinstance(value, bool):
        raise ValueError
    if isinstance(value, str) and table.decimal_comma:
        value = value.replace(",", ".")
    number = float(value)
    if not math.isfinite(number) or number < 0 or number > _MAX_VOTES:
        raise ValueError
    return number


def _votes_from_list(table: Table, allowed: tuple[str, ...], outside: Outside) -> list[list[str]]:
    """Read the `votes` column: labels with ``|`` between them, or a list of labels."""
    known: dict[str, str | None] = {}
    votes = []
    for index, row in enumerate(table.rows):
        cell = row["votes"]
        labels = cell.split("|") if isinstance(cell, str) else [] if cell is None else cell
        if not isinstance(labels, (list, tuple)):
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
    return votes


def _present(table: Table, votes: list[list[str]]) -> tuple[str, ...]:
    """The label set of a `votes` column: the emotions that occur."""
    present = {vote for labels in votes for vote in labels}
    names = tuple(name for name in KNOWN_EMOTIONS if name in present)
    if len(names) < 2:
        raise TableError(
            f"{table.path.name}: the column 'votes' names fewer than two emotions ({', '.join(names) or 'none'}). "
            "Mend: name all of the emotions."
        )
    return names


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True
