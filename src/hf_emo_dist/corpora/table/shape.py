"""Which column of a table is what: files, speakers, raters, labels, counts; and what must be asked."""

from __future__ import annotations

import difflib
import fnmatch
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from .cells import CellError, read_cell, read_number
from .content import Table, TableError, same_name
from .labels import LabelBook
from .options import TableSettings

#: Numbers beside count columns that are no votes, by their names; all other columns of numbers are asked about.
KNOWN_FIELDS = frozenset(
    [
        "actor",
        "arousal",
        "clip",
        "consensus",
        "corpus",
        "dominance",
        "duration",
        "end",
        "file",
        "fold",
        "gender",
        "id",
        "intended",
        "language",
        "rater",
        "restricted",
        "sampling_rate",
        "session",
        "speaker",
        "split",
        "start",
        "transcript",
        "valence",
        "votes",
    ]
)
_AUDIO = (".wav", ".flac", ".ogg", ".opus", ".mp3", ".m4a", ".aif", ".aiff", ".au", ".sph", ".webm", ".aac", ".wma")
_MARKED = re.compile(r"(?:counts?|votes?|n|num|shares?|percent|pct)\s*(::|[:_.\- ])\s*(.+)", re.IGNORECASE)
_MARKED_AFTER = re.compile(r"(.+?)[:_.\- ]+(?:counts?|votes?|shares?|percent|pct)", re.IGNORECASE)


_FILES = ("file", "file_name")


@dataclass(frozen=True)
class Shape:
    """What the columns of a table are; None or empty where it has no such column."""

    file: str | None = None
    id: str | None = None
    speaker: str | None = None
    transcript: str | None = None
    split: str | None = None
    rater: str | None = None
    votes: tuple[str, ...] = ()  # columns of labels, one or one a rater
    counts: dict[str, str] = field(default_factory=dict)  # column of numbers → the label that it is of, as written
    num_raters: str | None = None

    @property
    def voted(self) -> set[str]:
        """The columns that votes are read from."""
        return {*self.votes, *self.counts}

    @property
    def taken(self) -> set[str]:
        """The columns that have a meaning, all of which stand in the contract's own columns."""
        named = (self.file, self.id, self.speaker, self.transcript, self.split, self.rater)
        return {*self.voted, *(name for name in named if name is not None)}


def find_shape(table: Table, settings: TableSettings, book: LabelBook, need_file: bool = True) -> Shape:
    """Find out which column is what.

    Args:
        table: The rows.
        settings: The options; what they name must be there.
        book: The labels, by which count columns are known.
        need_file: Whether there must be a column of files.

    Returns:
        The columns.

    Raises:
        TableError: A column is missing, there are no votes, or something must be asked.
    """
    found: dict[str, Any] = {}
    for role, defaults in (
        ("file", _FILES),
        ("id", ("id",)),
        ("speaker", ("speaker",)),
        ("transcript", ("transcript",)),
        ("split", ("split",)),
        ("rater", ("rater",)),
    ):
        option = f"{role}_column"
        given = getattr(settings, option)
        if given is not None:
            found[role] = _column(table, given, f"--{option}")
        else:
            there = {same_name(column): column for column in table.columns}
            found[role] = next((there[name] for name in defaults if name in there), None)
            if role != "file" and found[role] is not None and is_kept(found[role], settings):
                found[role] = None
    if found["file"] is None and need_file:
        raise _no_file(table)
    found["num_raters"] = (
        _column(table, settings.num_raters, "--num_raters") if isinstance(settings.num_raters, str) else None
    )
    roles = {column for column in found.values() if column is not None}
    votes = tuple(_column(table, name, "--votes_column") for name in _spread(table, settings.votes_column))
    if not votes and "votes" in table.columns and not is_kept("votes", settings) and not _all_numbers(table, "votes"):
        votes = ("votes",)
    clash = sorted(roles & set(votes))
    if clash:
        raise TableError(
            f"{table.name}: the column {clash[0]!r} cannot be votes and something else. Mend: name another."
        )
    if len(votes) > 1 and found["rater"] is not None:
        raise TableError(
            f"{table.name}: {', '.join(votes)} are one column a rater, and {found['rater']!r} names raters too. Mend: "
            f"name one column of labels, or keep the other as it is, --keep {found['rater']}."
        )
    counts = _count_columns(table, {*roles, *votes}, settings, book)
    if votes and counts:
        raise TableError(
            f"{table.name} has both labels ({', '.join(votes)}) and count columns ({', '.join(counts)}). "
            f"Mend: say which are no votes, --keep {','.join(counts)} or --keep {','.join(votes)}."
        )
    if not votes:
        _check_counts(table, counts, {*roles, *counts}, settings, book)
    return Shape(votes=votes, counts=counts, **found)


def _column(table: Table, name: str, option: str) -> str:
    for column in table.columns:
        if same_name(column) == same_name(name):
            return column
    close = difflib.get_close_matches(name, table.columns, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise TableError(
        f"{table.name} has no column {name!r}, which {option} names (there are {', '.join(table.columns)}).{hint} "
        "Mend: name a column that is there."
    )


def _spread(table: Table, names: Sequence[str]) -> list[str]:
    """The columns that names with ``*`` stand for."""
    found: dict[str, None] = {}
    for name in names:
        matching = [column for column in table.columns if fnmatch.fnmatchcase(same_name(column), same_name(name))]
        found.update(dict.fromkeys(matching if "*" in name and matching else [name]))
    return list(found)


def is_kept(column: str, settings: TableSettings) -> bool:
    """Whether the user named a column among those that hold no votes."""
    return any(
        same_name(column) == same_name(name) or fnmatch.fnmatchcase(same_name(column), same_name(name))
        for name in settings.keep
    )


def _no_file(table: Table) -> TableError:
    likely = [
        column
        for column in table.columns
        if any(isinstance(row[column], str) for row in table.rows)
        and all(
            os.path.splitext(str(row[column]))[1].lower() in _AUDIO for row in table.rows if row[column] is not None
        )
    ]
    named = likely[0] if likely else "NAME"
    return TableError(
        f"{table.name} has no column 'file' (there are {', '.join(table.columns)}). "
        f"Mend: say which column holds the audio files, --file_column {named}."
    )


# --- count columns


def _count_columns(table: Table, used: set[str], settings: TableSettings, book: LabelBook) -> dict[str, str]:
    """The columns that hold numbers of votes: column → label, in the table's order."""
    found: dict[str, str] = {}
    for column in table.columns:
        if column in used or is_kept(column, settings):
            continue
        label = _label_of(column, book)
        if label is not None:
            found[column] = label
    by_name: dict[str, list[str]] = {}
    for column, label in found.items():
        by_name.setdefault(book.name(label) or "", []).append(column)
    for name, columns in by_name.items():
        spelled = {_unmerged(found[column]) for column in columns}
        if len(columns) > len(spelled):
            raise TableError(
                f"{table.name}: columns {' and '.join(map(repr, columns))} are both {name!r}. Mend: rename one of "
                f"them, "
                f"or say that it is no votes, --keep {columns[-1]}."
            )
    return found


def _unmerged(label: str) -> str:
    return LabelBook((), {}).name(label) or label


def _label_of(column: str, book: LabelBook) -> str | None:
    """The label whose votes a column holds by its name: ``angry``, ``count_angry``, ``count::Tired``; None else."""
    if book.is_label(column):
        return column
    marked = _MARKED.fullmatch(column)
    if marked and (marked[1] == "::" or book.is_label(marked[2])):
        return marked[2]
    after = _MARKED_AFTER.fullmatch(column)
    return after[1] if after and book.is_label(after[1]) else None


def _check_counts(
    table: Table, counts: dict[str, str], used: set[str], settings: TableSettings, book: LabelBook
) -> None:
    """Refuse a table without votes, and one in which votes may stand in columns that are not known for such."""
    unknown = [
        column
        for column in table.columns
        if column not in used
        and same_name(column) not in KNOWN_FIELDS
        and not is_kept(column, settings)
        and may_be_votes(table, column)
    ]
    names = {book.name(label) for label in counts.values()}
    if settings.emotions is not None:
        lacking = [name for name in settings.emotions if name not in names]
        if lacking:
            raise TableError(
                f"{table.name} has no count column for {', '.join(lacking)} (there are {', '.join(table.columns)}). "
                "Mend: correct --emotions, say what a column counts for with --merge, or name the column of labels, "
                "--votes_column NAME."
            )
    elif len(names) < 2:
        likely = _likely_labels(table, used, book)
        named = ",".join(likely) if likely and all(_is_labels(_first(table, name), book) for name in likely) else None
        mend = f"name the column of labels, --votes_column '{named or (likely or ['NAME'])[0]}'"
        mend += f" (it may also be {', '.join(likely[1:4])})" if named is None and len(likely) > 1 else ""
        more = [*counts.values(), *unknown]
        if len(more) > 1 and not likely:
            mend = f"name the count columns, --emotions '{','.join(more)}'; or {mend}"
        raise TableError(
            f"{table.name} has no votes: found {len(counts)} count column(s) named like an emotion and no 'votes' "
            f"column (there are {', '.join(table.columns)}). Mend: {mend}; several columns, as in A,B,C, are a rater "
            f"each."
        )
    if unknown:
        own = settings.emotions or tuple(counts.values())
        raise TableError(
            f"{table.name}: {_listed(unknown)} beside the counts of {', '.join(counts)}: are they votes? Mend: if so, "
            f"--emotions {','.join([*own, *unknown])}; if not, --keep {','.join(unknown)}."
        )


def _listed(columns: Sequence[str]) -> str:
    named = ", ".join(map(repr, columns[:8])) + (f" and {len(columns) - 8} more" if len(columns) > 8 else "")
    return f"the column {named} holds numbers" if len(columns) == 1 else f"the columns {named} hold numbers"


def may_be_votes(table: Table, column: str) -> bool:
    """Whether a column holds numbers, none of them below 0 or too large for a number of votes."""
    present = [row[column] for row in table.rows if row[column] is not None]
    if not present:
        return False
    for value in present:
        if table.is_text and len(value) > 1 and value[0] == "0" and value[1:].isdigit():  # 007 is a code
            return False
        try:
            read_number(value, table.decimal_comma)
        except ValueError:
            return False
    return True


def _all_numbers(table: Table, column: str) -> bool:
    return all(_is_number(row[column]) for row in table.rows if row[column] is not None)


def _is_labels(text: str, book: LabelBook) -> bool:
    try:
        entries = read_cell(text, book.is_label)
    except CellError:
        return False
    return bool(entries) and all(book.is_label(entry.label) for entry in entries)


def _first(table: Table, column: str) -> str:
    return next(row[column] for row in table.rows if row[column] is not None)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError, OverflowError):
        return False
    return True


def _likely_labels(table: Table, used: set[str], book: LabelBook) -> list[str]:
    """The columns whose text is labels; else those that may be, of a few different words, the likeliest first."""
    known, few = [], []
    for column in table.columns:
        present = [row[column] for row in table.rows if row[column] is not None]
        if column in used or not present or not all(isinstance(value, str) for value in present):
            continue
        values = {value.casefold() for value in present}
        share = sum(_is_labels(value, book) for value in values) / len(values)
        if share == 1.0:
            known.append(column)
        elif 2 <= len(values) <= 20 and len(values) < len(present) and not any(map(_is_number, values)):
            few.append((-share, column))
    return known or [column for _, column in sorted(few, key=lambda pair: pair[0])]
