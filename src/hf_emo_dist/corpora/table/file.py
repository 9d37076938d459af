"""Reading a table of utterances from CSV, Parquet or JSON Lines, with the line of every row for messages."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

#: Columns with a meaning of their own, recognised in any case ("File" is `file`).
RESERVED = ("file", "id", "speaker", "transcript", "split", "votes")


class TableError(ValueError):
    """A table that cannot be turned into a data set."""


@dataclass(frozen=True)
class Table:
    """A table as it was read."""

    path: Path
    columns: tuple[str, ...]  # in order
    rows: list[dict[str, Any]]  # CSV cells are strings, blank ones None
    lines: list[int]  # the place of each row in the file, from 1: a line of text, or a row of Parquet
    is_text: bool  # whether the cells are text whose types are not known (CSV)
    decimal_comma: bool = False  # whether numbers may be written with a comma

    def where(self, index: int) -> str:
        """Name row `index` for a message, such as ``votes.csv line 3 (a.wav)``."""
        unit = "row" if self.path.suffix.lower() == ".parquet" else "line"
        file = self.rows[index].get("file")
        return f"{self.path.name} {unit} {self.lines[index]}" + (f" ({file})" if file else "")

    def fail(self, indices: Sequence[int], problem: str, mend: str) -> TableError:
        """Make one error over several rows: up to ten by name, and how many there are."""
        more = f" and {len(indices) - 10} more" if len(indices) > 10 else ""
        return TableError(f"{problem}: {'; '.join(self.where(i) for i in indices[:10])}{more}. Mend: {mend}")


def _column_names(names: Sequence[Any], path: Path) -> tuple[str, ...]:
    cleaned = []
    for name in names:
        text = str(name).strip() if name is not None else ""
        cleaned.append(text.lower() if text.lower() in RESERVED else text)
    for position, name in enumerate(cleaned):
        if not name:
            raise TableError(f"{path.name}: column {position + 1} has no name. Mend: name it or delete it.")
        if name in cleaned[:position]:
            raise TableError(f"{path.name}: there are two columns {name!r}. Mend: rename one of them.")
    if "file" not in cleaned:
        raise TableError(
            f"{path.name} has no column 'file' (there are {', '.join(cleaned)}). "
            "Mend: name the column that holds the audio files 'file'."
        )
    return tuple(cleaned)


def _delimiter(header: str) -> str:
    """The delimiter that splits the header into the most columns, of those that leave a column `file`."""

    def score(delimiter: str) -> tuple[bool, int]:
        names = [name.strip().lower() for name in next(csv.reader([header], delimiter=delimiter), [])]
        return "file" in names, len(names)

    return max((",", ";", "\t"), key=score)


def _load_csv(path: Path) -> Table:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise TableError(
            f"{path.name} is not UTF-8 text (byte {error.start}). Mend: save it as 'CSV UTF-8'."
        ) from error
    header = text.splitlines()[0] if text.strip() else ""
    if not header.strip():
        raise TableError(f"{path.name} is empty or begins with an empty line. Mend: begin it with the column names.")
    delimiter = _delimiter(header)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    columns = _column_names(next(reader), path)
    rows, lines, line = [], [], reader.line_num
    for cells in reader:
        first, line = line + 1, reader.line_num
        if not any(cell.strip() for cell in cells):
            continue
        if len(cells) > len(columns):
            raise TableError(
                f"{path.name} line {first} has {len(cells)} cells, the header has {len(columns)}. "
                "Mend: put text that holds the delimiter in double quotes."
            )
        cells += [""] * (len(columns) - len(cells))
        rows.append({name: cell.strip() or None for name, cell in zip(columns, cells, strict=True)})
        lines.append(first)
    return Table(path, columns, rows, lines, is_text=True, decimal_comma=delimiter != ",")


def _load_jsonl(path: Path) -> Table:
    raw: list[dict[str, Any]] = []
    lines: list[int] = []
    names: dict[str, None] = {}
    with path.open(encoding="utf-8-sig") as file:
        for number, line in enumerate(file, start=1):
            if not line.strip():
                continue
            try:
                value = json.loads(line)
            except json.JSONDecodeError as error:
                raise TableError(f"{path.name} line {number} is not JSON ({error.msg}). Mend: correct it.") from error
            if not isinstance(value, dict):
                raise TableError(f"{path.name} line {number} is not an object. Mend: write one {{...}} a line.")
            raw.append(value)
            lines.append(number)
            names.update(dict.fromkeys(value))
    columns = _column_names(list(names), path)
    rows = [{new: row.get(old) for old, new in zip(names, columns, strict=True)} for row in raw]
    return Table(path, columns, rows, lines, is_text=False)


def _load_parquet(path: Path) -> Table:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        content = pq.read_table(path)
    except pa.ArrowInvalid as error:
        raise TableError(f"{path.name} is not a Parquet file ({error}). Mend: write it again.") from error
    columns = _column_names(content.column_names, path)
    rows = content.rename_columns(list(columns)).to_pylist()
    return Table(path, columns, rows, list(range(1, len(rows) + 1)), is_text=False)


def load_table(path: str | Path) -> Table:
    """Read a table by its extension; the delimiter of text (comma, semicolon or tab) is found from the header."""
    source = Path(path).expanduser()
    if not source.is_file():
        raise FileNotFoundError(f"There is no table at {source}. Mend: check the path.")
    suffix = source.suffix.lower()
    if suffix == ".parquet":
        table = _load_parquet(source)
    elif suffix in (".jsonl", ".ndjson"):
        table = _load_jsonl(source)
    elif suffix in (".csv", ".tsv", ".txt"):
        table = _load_csv(source)
    else:
        raise TableError(f"{source.name}: tables are .csv, .tsv, .parquet or .jsonl. Mend: export it as one of them.")
    if not table.rows:
        raise TableError(f"{source.name} has no rows. Mend: check that it is the right file.")
    return table


def infer_column(values: Sequence[Any], is_text: bool) -> tuple[list[Any], Any]:
    """Find the type of a column that is kept as it is: its values, converted, and their ``datasets`` feature."""
    import pyarrow as pa
    from datasets import Value
    from datasets.features.features import generate_from_arrow_type

    present = [value for value in values if value is not None]
    if not present:
        return list(values), Value("string")
    if is_text:  # a number only where every cell is one without losing anything: 007 stays text
        if all(_is_plain_int(value) for value in present):
            return [None if value is None else int(value) for value in values], Value("int64")
        if all(_is_plain_float(value) for value in present):
            return [None if value is None else float(value) for value in values], Value("float64")
        return list(values), Value("string")
    try:
        array = pa.array(list(values))
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        return [None if value is None else str(value) for value in values], Value("string")
    return list(values), generate_from_arrow_type(array.type)


def _is_plain_int(text: str) -> bool:
    digits = text.removeprefix("-")
    # 18 digits always fit an int64; longer ones are identifiers.
    return digits.isascii() and digits.isdigit() and len(digits) <= 18 and (digits == "0" or digits[0] != "0")


def _is_plain_float(text: str) -> bool:
    digits = text.removeprefix("-")
    if not digits.isascii() or (digits[:1] == "0" and digits[1:2].isdigit()):
        return False
    try:
        return math.isfinite(float(text)) and "_" not in text
    except ValueError:
        return False
