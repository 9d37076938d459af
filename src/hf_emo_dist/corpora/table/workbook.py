"""Excel workbooks (.xlsx), by openpyxl: cells whose value the file does not hold are errors, not blanks."""

from __future__ import annotations

import re
import zipfile
from pathlib import Path
from typing import Any

from ..._lazy import need
from .content import Table, TableError, cells_table

# A workbook is a compressed archive; what a few kilobytes unfold to must not fill the memory.
_MOST_BYTES = 300_000_000
_MOST_BYTES_WITH_MERGED = 30_000_000
_ERROR = re.compile(r"#(REF!|N/A|VALUE!|NAME\?|DIV/0!|NUM!|NULL!)")


def load_workbook(path: Path, sheet: str | None = None) -> Table:
    """Read one sheet of a workbook; its first row that is not empty holds the names of the columns.

    Args:
        path: The workbook.
        sheet: Its name. Default: the only one that is not empty.

    Returns:
        The rows.

    Raises:
        TableError: It is no workbook, several sheets hold something, or a cell's value is not known: a formula that
            was never computed, an error such as ``#REF!``, or merged cells.
        ModuleNotFoundError: The extra ``tables`` is not installed.
    """
    openpyxl = need("openpyxl", "read_table")
    merged = _check_archive(path)
    sheets = _open(openpyxl, path, data_only=False, read_only=not merged)
    names = list(sheets)
    if sheet is not None and sheet not in names:
        raise TableError(f"{path.name} has no sheet {sheet!r} (there are {', '.join(names)}). Mend: name one of them.")
    filled = [name for name, rows in sheets.items() if any(value is not None for _, row in rows for value, _ in row)]
    if sheet is None and len(filled) > 1:
        raise TableError(
            f"{path.name} has {len(filled)} sheets that are not empty ({', '.join(filled)}). Mend: name the one to "
            f"read, --sheet {filled[0]!r}."
        )
    chosen = sheet or (filled or names)[0]
    rows = sheets[chosen]
    if any(kind == "f" for _, row in rows for _, kind in row):
        values = _open(openpyxl, path, data_only=True, read_only=not merged)[chosen]
        rows = [
            (number, [value if kind != "f" else (value[0], "f") for value, (_, kind) in zip(known, row, strict=False)])
            for (number, row), (_, known) in zip(rows, values, strict=False)
        ]
    if chosen in merged:
        raise TableError(
            f"{path.name}, sheet {chosen!r}: cells are merged ({', '.join(merged[chosen][:5])}), so that all but the "
            "first are blank. Mend: unmerge them and fill each in."
        )
    return _table(path, chosen, rows, several=len(names) > 1)


_Rows = list[tuple[int, list[tuple[Any, str]]]]


def _check_archive(path: Path) -> dict[str, list[str]]:
    """Refuse what is no workbook or too large; a non-empty answer means that cells are merged somewhere."""
    try:
        with zipfile.ZipFile(path) as archive:
            size = sum(member.file_size for member in archive.infolist())
            if size > _MOST_BYTES:
                raise TableError(
                    f"{path.name} unfolds to {size / 1e6:.0f} MB. Mend: export the sheet as 'CSV UTF-8' and read that."
                )
            merges = any(
                b"<mergeCell " in archive.read(member)
                for member in archive.infolist()
                if re.match(r"xl/worksheets/[^/]+\.xml", member.filename)
            )
    except TableError:
        raise
    except Exception as error:
        raise TableError(f"{path.name} is not an Excel workbook ({error}). Mend: save it as .xlsx again.") from error
    if not merges:
        return {}
    if size > _MOST_BYTES_WITH_MERGED:
        raise TableError(f"{path.name} has merged cells. Mend: unmerge them and fill each in.")
    return _merged(path)


def _merged(path: Path) -> dict[str, list[str]]:
    openpyxl = need("openpyxl", "read_table")
    book = _guarded(path, lambda: openpyxl.load_workbook(path))
    return {sheet.title: [str(area) for area in sheet.merged_cells.ranges] for sheet in book.worksheets if
            sheet.merged_cells.ranges}  # fmt: skip


def _open(openpyxl: Any, path: Path, data_only: bool, read_only: bool) -> dict[str, _Rows]:
    """Every sheet's rows that are not empty: number of the row, and value and kind of each cell."""

    def read() -> dict[str, _Rows]:
        book = openpyxl.load_workbook(path, read_only=read_only, data_only=data_only)
        try:
            return {
                sheet.title: [
                    (number, [(cell.value, getattr(cell, "data_type", "n")) for cell in row])
                    for number, row in enumerate(sheet.iter_rows(), start=1)
                ]
                for sheet in book.worksheets
            }
        finally:
            book.close()

    return _guarded(path, read)  # type: ignore[no-any-return]


def _guarded(path: Path, read: Any) -> Any:
    try:
        return read()
    except Exception as error:
        raise TableError(
            f"{path.name} is not an Excel workbook that can be read ({type(error).__name__}: {error}). "
            "Mend: open it and save it as .xlsx again, or as 'CSV UTF-8'."
        ) from error


def _table(path: Path, sheet: str, rows: _Rows, several: bool) -> Table:
    filled = [(number, row) for number, row in rows if any(value is not None for value, _ in row)]
    if not filled:
        raise TableError(f"{path.name}, sheet {sheet!r}, is empty. Mend: check that it is the right sheet.")
    (_, header), *body = filled
    width = max(len(row) for _, row in filled)
    columns = [value for value, _ in header] + [None] * (width - len(header))
    cells = []
    for number, row in body:
        for place, (value, kind) in enumerate(row):
            cell = f"{path.name} row {number}, column {str(columns[place])!r}"
            if kind == "f" and value is None:
                raise TableError(
                    f"{cell}: a formula whose value the file does not hold. Mend: open it in Excel or LibreOffice and "
                    "save it, or put values in place of formulas."
                )
            if kind == "e" or (isinstance(value, str) and _ERROR.fullmatch(value)):
                raise TableError(f"{cell} holds the error {value}. Mend: correct the formula, or empty the cell.")
        cells.append([value for value, _ in row] + [None] * (width - len(row)))
    name = f"{path.name} [{sheet}]" if several else path.name
    return cells_table(columns, cells, name, [f"row {number}" for number, _ in body])
