"""Rows of any origin as a :class:`Table`: cells by column, and the place of every row for messages."""

from __future__ import annotations

import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

#: Columns with a meaning of their own, recognised in any case ("File" is `file`).
RESERVED = ("file", "id", "speaker", "transcript", "split", "votes", "rater")
_SURROGATE = re.compile("[\ud800-\udfff]")


class TableError(ValueError):
    """A table that cannot be turned into a data set."""


@dataclass(frozen=True)
class Table:
    """Rows of any origin: what a file held, or what a reader of an export made; see :func:`table_of`."""

    name: str  # for messages, such as votes.csv
    columns: tuple[str, ...]  # in order
    rows: list[dict[str, Any]]  # a blank cell, also NaN, is None
    places: Sequence[str]  # where each row stands, such as "line 3"
    is_text: bool = False  # whether the cells are text whose types are not known (CSV)
    decimal_comma: bool = False  # whether numbers may be written with a comma
    classes: Mapping[str, Sequence[str]] = field(default_factory=dict)  # column of numbers → the labels they stand for

    def where(self, index: int, named: str | None = "file") -> str:
        """Name row `index` for a message, such as ``votes.csv line 3 (a.wav)``, by its cell in the column `named`."""
        return f"{self.name} {self.place(index, named)}"

    def place(self, index: int, named: str | None = "file") -> str:
        """As `where`, without the table's name."""
        name = self.rows[index].get(named or "")
        return self.places[index] + (f" ({_short(name)})" if name not in (None, "") else "")

    def fail(self, indices: Sequence[int], problem: str, mend: str, named: str | None = "file") -> TableError:
        """Make one error over several rows: up to ten by name, and how many there are."""
        more = f" and {len(indices) - 10} more" if len(indices) > 10 else ""
        return TableError(f"{problem}: {'; '.join(self.where(i, named) for i in indices[:10])}{more}. Mend: {mend}")


def _short(value: Any) -> str:
    # a borrowed table may hold what a terminal would obey
    text = "".join(sign if sign.isprintable() else repr(sign)[1:-1] for sign in str(value)[:200])
    return text if len(text) <= 80 else f"{text[:77]}..."


def same_name(name: str) -> str:
    """What two spellings of a column's name have in common: case, spaces around it and the Unicode form do not count.

    Example:
        >>> same_name(" Ho\u0308rer") == same_name("H\u00f6rer")
        True
    """
    return unicodedata.normalize("NFC", name).strip().casefold()


def table_of(
    rows: Iterable[Mapping[Any, Any]],
    name: str,
    places: Sequence[str] | None = None,
    *,
    columns: Sequence[Any] | None = None,
    is_text: bool = False,
    decimal_comma: bool = False,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Make a table of rows of any origin.

    Args:
        rows: Column to cell. A missing key, NaN and blank text are None.
        name: Of the file, for messages.
        places: Where each row stands, for messages. Default: ``"row 1"`` and so on.
        columns: Their order. Default: as they occur.
        is_text: Whether all cells are text, of which numbers are to be read.
        decimal_comma: Whether numbers may be written with a comma.
        classes: Column whose numbers stand for labels (a ``ClassLabel``) to these labels.

    Returns:
        The table.

    Raises:
        TableError: There are no rows, or a column has no name, or two have the same.

    Example:
        >>> table_of([{"File": "a.wav", "votes": ["sad", "sad"]}], "export.json").columns
        ('file', 'votes')
    """
    given = list(rows)
    keys = list(columns) if columns is not None else list(dict.fromkeys(key for row in given for key in row))
    cells = [[row.get(key) for key in keys] for row in given]
    return cells_table(keys, cells, name, places, is_text=is_text, decimal_comma=decimal_comma, classes=classes)


def cells_table(
    columns: Sequence[Any],
    cells: Sequence[Sequence[Any]],
    name: str,
    places: Sequence[str] | None = None,
    *,
    is_text: bool = False,
    decimal_comma: bool = False,
    classes: Mapping[str, Sequence[str]] | None = None,
) -> Table:
    """Make a table of cells in the order of its `columns`; all else is as in :func:`table_of`.

    A column without a name is left out where it is blank, as spreadsheets leave them, or holds the row numbers that
    pandas writes.
    """
    names = [_column_name(column) for column in columns]
    for position, column in enumerate(names):
        if column and column in names[:position]:
            raise TableError(f"{name}: there are two columns {column!r}. Mend: rename one of them.")
    if not cells:
        raise TableError(f"{name} has no rows. Mend: check that it is the right file.")
    cleaned = [[_clean(cell) for cell in row] for row in cells]
    for position, column in enumerate(names):
        if column:
            continue
        values = [row[position] for row in cleaned]
        if any(value is not None for value in values) and list(map(str, values)) != list(map(str, range(len(values)))):
            raise TableError(f"{name}: column {position + 1} has no name. Mend: name it or delete it.")
    kept = [(position, column) for position, column in enumerate(names) if column]
    return Table(
        name,
        tuple(column for _, column in kept),
        [{column: row[position] for position, column in kept} for row in cleaned],
        [f"row {number}" for number in range(1, len(cells) + 1)] if places is None else places,
        is_text,
        decimal_comma,
        {column: tuple(classes[columns[at]]) for at, column in kept if classes and columns[at] in classes},
    )


def _column_name(name: Any) -> str:
    text = "" if name is None else unicodedata.normalize("NFC", _printable(str(name))).strip()
    return text.lower() if text.lower() in RESERVED else text


def _clean(value: Any) -> Any:
    """A cell as it is handed on: text without spaces around it, None for a blank one and for NaN."""
    if isinstance(value, str):
        return _printable(value).strip() or None
    if isinstance(value, float) and math.isnan(value):
        return None
    return value


def _printable(text: str) -> str:
    """Text that can be written as UTF-8: JSON may hold halves of characters."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") if _SURROGATE.search(text) else text


def class_labels(schema: Any) -> dict[str, Sequence[str]]:
    """The columns of an Arrow schema, or of ``datasets.Features``, whose numbers stand for labels, and these labels."""
    from datasets import ClassLabel, Features

    if isinstance(schema, Features):
        features = schema
    elif not (schema.metadata or {}).get(b"huggingface"):
        return {}
    else:
        try:
            features = Features.from_arrow_schema(schema)
        except (ValueError, TypeError, KeyError):  # metadata of another version: the numbers are then asked about
            return {}
    found: dict[str, Sequence[str]] = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
        if isinstance(inner, ClassLabel) and inner.names:
            found[column] = tuple(inner.names)
    return found
