"""Delimited text, record by record, where a quote that nobody closed costs its own line and no other."""

from __future__ import annotations

import csv
import os
from collections import deque
from collections.abc import Iterable, Iterator
from typing import NamedTuple

# Text in quotes over more than this is no cell of a table: the quote was never closed.
_MOST_LINES = 1000
_MOST_CHARACTERS = 131_072


class CsvRecord(NamedTuple):
    """One record, or what is wrong with it."""

    line: int  # where it begins, from 1
    cells: list[str]
    problem: str = ""  # then there are no cells, and the next record begins in the next line


def csv_records(
    lines: Iterable[str], delimiter: str, *, plain_quotes: bool = False, file_column: int = 0
) -> Iterator[CsvRecord]:
    r"""Cut text into records, blank lines too; the first record is the header.

    ``csv.reader`` takes all that follows a quote without an end for one cell, in silence. Here such a line is a record
    with a `problem`, and reading goes on in the next line. A cell may be of several lines, unless each of them reads
    as a row of the table by itself: as many cells as the header has, and a file of the same kind in `file_column`.

    Args:
        lines: The lines, without their ends.
        delimiter: Between cells.
        plain_quotes: Whether a quote is a character like any other.
        file_column: Place of the column that names files, by which a line is known for a row.

    Yields:
        The records.

    Example:
        >>> text = 'file,note,sad\na.wav,"long,1\nb.wav,short,2\n'
        >>> [(record.line, record.cells) for record in csv_records(text.splitlines(), ",")]
        [(1, ['file', 'note', 'sad']), (2, []), (3, ['b.wav', 'short', '2'])]
    """
    numbered = enumerate(lines, start=1)
    waiting: deque[tuple[int, str]] = deque()
    width = 0
    while True:
        first = waiting.popleft() if waiting else next(numbered, None)
        if first is None:
            return
        number, text = first
        if plain_quotes or '"' not in text:
            record = CsvRecord(number, text.split(delimiter))
        else:
            taken = [first]
            cells, problem = _quoted([text], delimiter)
            size = len(text)
            while cells is None and not problem:  # a quote is open
                following = waiting.popleft() if waiting else next(numbered, None)
                if following is None or len(taken) >= _MOST_LINES or size > _MOST_CHARACTERS:
                    waiting.extendleft([following] if following else [])
                    problem = "a quote is opened and never closed"
                    break
                taken.append(following)
                size += len(following[1])
                if '"' in following[1]:
                    cells, problem = _quoted([line for _, line in taken], delimiter)
            if len(taken) > 1:
                are_rows = width and all(_is_row(line, delimiter, width, text, file_column) for _, line in taken)
                if not problem and are_rows:
                    problem = (
                        f"a quote is opened and closed only in line {taken[-1][0]}, and the lines between are rows"
                    )
                if problem:
                    waiting.extendleft(reversed(taken[1:]))
            record = CsvRecord(number, [] if problem else cells or [], problem)
        width = width or len(record.cells)
        yield record


def _quoted(lines: list[str], delimiter: str) -> tuple[list[str] | None, str]:
    """The cells, or None where a quote is still open; and what is wrong."""
    text = [line + "\n" for line in lines]
    text[-1] = lines[-1]
    try:
        return next(csv.reader(text, delimiter=delimiter, strict=True, skipinitialspace=True)), ""
    except csv.Error as error:
        if "unexpected end" in str(error):
            return None, ""
        if "field larger" in str(error):
            return None, f"a cell of over {_MOST_CHARACTERS:,} characters"
        return None, "text follows a closing quote"


def _is_row(line: str, delimiter: str, width: int, first: str, file_column: int) -> bool:
    """Whether a line reads as a row like `first` when its quotes are characters like any other."""
    cells, model = line.split(delimiter), first.split(delimiter)
    if len(cells) != width or len(model) <= file_column:
        return False
    name, like = cells[file_column].strip(), model[file_column].strip()
    return bool(name) and os.path.splitext(name)[1].lower() == os.path.splitext(like)[1].lower()
