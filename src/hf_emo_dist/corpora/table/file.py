"""Files of rows: CSV, TSV, JSON, JSON Lines, Parquet and Excel as a :class:`Table`, with the line of every row."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ..._files import is_ordinary
from ..csv_text import csv_records
from .content import RESERVED, Table, TableError, cells_table, class_labels, same_name, table_of
from .disguises import disguise
from .workbook import load_workbook

__all__ = ["RESERVED", "Table", "TableError", "load_table", "parse_json"]

_TEXT = (".csv", ".tsv", ".txt")
_LINE_END = re.compile("\r\n|\r|\n")


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
                f'{path.name} line {line}: {record.problem}. Mend: close the quote, or write "" for a quote in a text.'
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
            raise TableError(
                f"{path.name} line {line} has {len(cells)} cells, the header has {len(names)}. Mend: {mend}"
            )
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
            f'{path.name} is no list of rows. Mend: write [{{"file": ..., "votes": [...]}}, ...], as '
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
    if not is_ordinary(source):
        raise FileNotFoundError(f"There is no table at {source}. Mend: check the path.")
    suffix = source.suffix.lower()
    other = disguise(source)
    if other is not None:
        raise TableError(f"{source.name} {other[0]}. Mend: {other[1]}.")
    if sheet is not None and suffix not in (".xlsx", ".xlsm"):
        raise TableError(f"{source.name} has no sheets. Mend: leave `sheet` out.")
    if suffix == ".parquet":
        return _load_parquet(source)
    if suffix in (".jsonl", ".ndjson"):
        return _load_jsonl(source)
    if suffix == ".json":
        return _load_json(source)
    if suffix in (".xlsx", ".xlsm"):
        return load_workbook(source, sheet)
    if suffix in _TEXT:
        return _load_csv(source, [same_name(name) for name in (file_column, "file", "file_name") if name])
    raise TableError(
        f"{source.name}: tables are .csv, .tsv, .xlsx, .parquet, .jsonl or .json. Mend: export it as one of them."
    )
