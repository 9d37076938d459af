"""Files of rows: CSV, TSV, JSON, JSON Lines, Parquet and Excel as a :class:`Table`, with the place of every row."""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..csv_text import csv_records

#: Columns with a meaning of their own, recognised in any case ("File" is `file`).
RESERVED = ("file", "id", "speaker", "transcript", "split", "votes", "rater")
_TEXT = (".csv", ".tsv", ".txt")
_SURROGATE = re.compile("[\ud800-\udfff]")
_LINE_END = re.compile("\r\n|\r|\n")


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
        name = self.rows[index].get(named or "")
        return f"{self.name} {self.places[index]}" + (f" ({_short(name)})" if name not in (None, "") else "")

    def fail(self, indices: Sequence[int], problem: str, mend: str, named: str | None = "file") -> TableError:
        """Make one error over several rows: up to ten by name, and how many there are."""
        more = f" and {len(indices) - 10} more" if len(indices) > 10 else ""
        return TableError(f"{problem}: {'; '.join(self.where(i, named) for i in indices[:10])}{more}. Mend: {mend}")


def _short(value: Any) -> str:
    text = str(value)
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


# --- text


def _read_text(path: Path) -> str:
    data = path.read_bytes()
    encoding = "utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig"
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path.name} is not UTF-8 text (byte {error.start}). Mend: save it as 'CSV UTF-8'."
        ) from error


def _delimiter(header: str, file_names: Sequence[str]) -> str:
    """The delimiter that splits the header into the most columns, of those that leave a column of files."""

    def score(delimiter: str) -> tuple[bool, int]:
        record = next(csv_records([header], delimiter))
        return any(same_name(name) in file_names for name in record.cells), len(record.cells)

    return max((",", ";", "\t"), key=score)


def _load_csv(path: Path, file_names: Sequence[str]) -> Table:
    lines = _LINE_END.split(_read_text(path))
    start = 0
    told = re.fullmatch(r'"?sep=(.)"?', lines[0].strip(), re.IGNORECASE) if lines else None  # as Excel writes it
    if told:
        start = 1
    header = lines[start] if len(lines) > start else ""
    if not header.strip():
        raise TableError(f"{path.name} is empty or begins with an empty line. Mend: begin it with the column names.")
    delimiter = told[1] if told else _delimiter(header, file_names)
    columns = next(csv_records([header], delimiter)).cells
    file_column = next((place for place, name in enumerate(columns) if same_name(name) in file_names), 0)
    names: list[str] = []
    rows, places = [], []
    for record in csv_records(lines[start:], delimiter, file_column=file_column):
        line, cells = record.line + start, record.cells
        if record.problem:
            raise TableError(
                f"{path.name} line {line}: {record.problem}. Mend: close the quote, or write \"\" for a quote in a text."
            )
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            names = cells
            continue
        while len(cells) > len(names) and not cells[-1].strip():
            cells.pop()
        if len(cells) != len(names):
            mend = "put text that holds the delimiter in double quotes."
            if len(cells) < len(names):
                mend = "complete the line; if the file was cut off, export it again."
            raise TableError(f"{path.name} line {line} has {len(cells)} cells, the header has {len(names)}. Mend: {mend}")
        rows.append(cells)
        places.append(f"line {line}")
    return cells_table(names, rows, path.name, places, is_text=True, decimal_comma=delimiter != ",")


# --- JSON


class _Twice(ValueError):
    pass


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        raise _Twice(f"the key {next(name for name in names if names.count(name) > 1)!r} stands twice in one object")
    return found


def parse_json(text: str) -> Any:
    """Read JSON; a key that stands twice in an object, of which Python would keep the last, is an error.

    Raises:
        ValueError: It is not JSON; the message says why.
    """
    try:
        return json.loads(text, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        raise ValueError(error.msg + (f" in line {error.lineno}" if error.lineno > 1 else "")) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error


def _load_jsonl(path: Path) -> Table:
    rows: list[Mapping[str, Any]] = []
    places: list[str] = []
    for number, line in enumerate(_read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        try:
            value = parse_json(line)
        except ValueError as error:
            mend = "if the file was cut off, export it again; else correct the line."
            raise TableError(f"{path.name} line {number} is not JSON ({error}). Mend: {mend}") from error
        if not isinstance(value, dict):
            raise TableError(f"{path.name} line {number} is not an object. Mend: write one {{...}} a line.")
        rows.append(value)
        places.append(f"line {number}")
    return table_of(rows, path.name, places)


def _load_json(path: Path) -> Table:
    text = _read_text(path)
    try:
        content = parse_json(text)
    except ValueError as error:
        if len(text.strip().splitlines()) > 1 and text.lstrip().startswith("{") and "Extra data" in str(error):
            return _load_jsonl(path)
        raise TableError(
            f"{path.name} is not JSON ({error}). Mend: if the file was cut off, export it again."
        ) from error
    if isinstance(content, dict) and content and all(isinstance(value, list) for value in content.values()):
        if len({len(value) for value in content.values()}) > 1:
            sizes = ", ".join(f"{name} {len(value)}" for name, value in list(content.items())[:5])
            raise TableError(f"{path.name}: its columns are not of one length ({sizes}). Mend: export it again.")
        content = [dict(zip(content, cells, strict=True)) for cells in zip(*content.values(), strict=True)]
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise TableError(
            f"{path.name} is no list of rows. Mend: write [{{\"file\": ..., \"votes\": [...]}}, ...], as "
            "`to_json(orient='records')` does, or a JSON Lines file."
        )
    return table_of(content, path.name, [f"entry {number}" for number in range(1, len(content) + 1)])


# --- Parquet


def _load_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(path)
        columns = [column.to_pylist() for column in content.columns]
    except (pa.ArrowException, OSError, OverflowError) as error:
        raise TableError(f"{path.name} cannot be read as Parquet ({_first(error)}). Mend: write it again.") from error
    except UnicodeDecodeError as error:
        raise TableError(f"{path.name} holds text that is not UTF-8. Mend: write it again.") from error
    rows = list(zip(*columns, strict=True))
    return cells_table(content.column_names, rows, path.name, classes=class_labels(content.schema))


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
    found = {}
    for column, feature in features.items():
        inner = feature[0] if isinstance(feature, list) and feature else getattr(feature, "feature", feature)
        if isinstance(inner, ClassLabel) and inner.names:
            found[column] = tuple(inner.names)
    return found


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]


# --- all of them


def load_table(path: str | Path, file_column: str | None = None, sheet: str | None = None) -> Table:
    """Read a table by its extension.

    Args:
        path: ``.csv``, ``.tsv``, ``.txt`` (comma, semicolon or tab, found from the header), ``.jsonl``, ``.ndjson``,
            ``.json``, ``.parquet`` or ``.xlsx``.
        file_column: The column that names the files, by which the delimiter and swallowed rows are known.
        sheet: Of a workbook. Default: the only one that is not empty.

    Returns:
        The rows.

    Raises:
        TableError: The file does not hold rows; the message names the line.
        FileNotFoundError: There is no such file.
    """
    source = Path(path).expanduser()
    if not source.is_file():
        raise FileNotFoundError(f"There is no table at {source}. Mend: check the path.")
    suffix = source.suffix.lower()
    if sheet is not None and suffix not in (".xlsx", ".xlsm"):
        raise TableError(f"{source.name} has no sheets. Mend: leave `sheet` out.")
    if suffix == ".parquet":
        return _load_parquet(source)
    if suffix in (".jsonl", ".ndjson"):
        return _load_jsonl(source)
    if suffix == ".json":
        return _load_json(source)
    if suffix in (".xlsx", ".xlsm"):
        from .workbook import load_workbook

        return load_workbook(source, sheet)
    if suffix in _TEXT:
        return _load_csv(source, [same_name(name) for name in (file_column, "file", "file_name") if name])
    raise TableError(
        f"{source.name}: tables are .csv, .tsv, .xlsx, .parquet, .jsonl or .json. Mend: export it as one of them."
    )
