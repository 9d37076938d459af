"""One cell as votes: labels with signs between them, lists, counts as dicts, and what JSON or Python wrote of these."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, NamedTuple, TypeGuard

from .file import parse_json

#: Votes or tags in one cell stand between these; the first that gives labels alone is taken.
SEPARATORS = ("|", ";", ",", "/", "\n")
#: More votes than this for one emotion in one cell are a number of something else.
MAX_VOTES = 1000

_LABEL = ("label", "emotion", "vote", "tag", "value")
_RATER = ("rater", "annotator", "user", "worker", "listener", "user_id", "rater_id", "annotator_id", "worker_id")
_AMOUNT = ("count", "n", "votes", "number", "weight", "share")
_KEYS = frozenset((*_LABEL, *_RATER, *_AMOUNT))
# [1 2] as NumPy prints it, which Python would read as one string
_NO_COMMA = re.compile(r"""(['"])\s+(['"])""")


class CellError(ValueError):
    """A cell that is no votes; the message is the end of a sentence that begins with its place."""


class Entry(NamedTuple):
    """One label of a cell."""

    label: str
    amount: float | None = None  # None where the cell names the label and no number
    rater: str | None = None
    percent: bool = False  # whether the number had a percent sign


def read_cell(cell: Any, is_label: Callable[[str], bool], decimal_comma: bool = False) -> list[Entry]:
    """Read the votes of one cell, whatever form they have.

    Args:
        cell: A label; labels with ``|``, ``;``, ``,`` or ``/`` between them; a list of labels; counts as a mapping or
            as pairs; a list of mappings, one a rating or one an emotion; or text of any of these, as JSON or Python
            writes it. Whole numbers are labels, too (a class's number).
        is_label: Whether text is a label as it stands; such text is never cut.
        decimal_comma: Whether numbers may be written with a comma.

    Returns:
        The entries, none for a blank cell.

    Raises:
        CellError: It is none of these.

    Example:
        >>> [entry.label for entry in read_cell("['angry', 'sad']", {"angry", "sad"}.__contains__)]
        ['angry', 'sad']
        >>> read_cell({"angry": 2, "sad": None}, str.isalpha)
        [Entry(label='angry', amount=2.0, rater=None, percent=False)]
    """
    if cell is None:
        return []
    if isinstance(cell, str):
        return _of_text(cell.strip(), is_label, decimal_comma)
    if isinstance(cell, Mapping):
        return _of_mapping(cell, decimal_comma)
    if hasattr(cell, "tolist"):
        cell = cell.tolist()
    if isinstance(cell, (list, tuple)):
        return _of_list(cell, decimal_comma)
    if _is_whole(cell):
        return [Entry(str(int(cell)))]
    raise CellError(f"{_short(cell)} is no label and no list of labels")


def _of_text(text: str, is_label: Callable[[str], bool], decimal_comma: bool) -> list[Entry]:
    if not text:
        return []
    if text[0] + text[-1] in ("[]", "{}"):
        return read_cell(_literal(text), is_label, decimal_comma)
    if is_label(text):
        return [Entry(text)]
    present = [sign for sign in SEPARATORS if sign in text]
    for sign in present:
        parts = [part.strip() for part in text.split(sign)]
        if all(not part or is_label(part) for part in parts):
            return [Entry(part) for part in parts if part]
    # What is no label is asked about by name, so the coarsest cut is kept.
    parts = text.split(present[0]) if present else [text]
    return [Entry(part.strip()) for part in parts if part.strip()]


def _literal(text: str) -> Any:
    try:
        return parse_json(text)
    except ValueError as error:
        if "twice" in str(error):
            raise CellError(f"{text!r}: {error}") from error
    try:
        return ast.literal_eval(_NO_COMMA.sub(r"\1, \2", text))
    except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError) as error:
        raise CellError(f"{_short(text)} begins like a list or a mapping and is none") from error


def _of_list(cells: Any, decimal_comma: bool) -> list[Entry]:
    found = []
    for item in cells:
        if (
            item is None
            or (isinstance(item, float) and math.isnan(item))
            or (isinstance(item, str) and not item.strip())
        ):
            continue
        if isinstance(item, str):
            found.append(Entry(item.strip()))
        elif _is_whole(item):
            found.append(Entry(str(int(item))))
        elif isinstance(item, Mapping):
            found += _of_mapping(item, decimal_comma)
        elif isinstance(item, (list, tuple)) and len(item) == 2 and isinstance(item[0], str):
            found += _of_counts([(item[0], item[1])], decimal_comma)
        else:
            raise CellError(f"{_short(item)} in the list is no label")
    if len({entry.amount is None for entry in found}) > 1:
        raise CellError("some entries of the list have a number and others have none")
    return found


def _of_mapping(item: Mapping[Any, Any], decimal_comma: bool) -> list[Entry]:
    """One rating, such as ``{"label": "sad", "rater": "r1"}``, or counts, ``{"sad": 2}``."""
    key = _key(item, _LABEL)
    label = None if key is None else item[key]
    only_ours = all(isinstance(name, str) and name.lower() in _KEYS for name in item)
    if key is None or not (only_ours or isinstance(label, (str, list, tuple))):
        return _of_counts(item.items(), decimal_comma)
    known = {name: value for name, value in item.items() if value is not None}  # Parquet fills up with nulls
    rater, amount = _key(known, _RATER), _key(known, _AMOUNT)
    who = None if rater is None else str(known[rater]).strip() or None
    tags: list[Any] = list(label) if isinstance(label, (list, tuple)) else [label]  # several tags are one rating
    tags = [tag for tag in tags if tag is not None and str(tag).strip()]
    if not all(isinstance(tag, str) or _is_whole(tag) for tag in tags):
        raise CellError(f"{_short(item)} is no rating")
    names = [tag.strip() if isinstance(tag, str) else str(int(tag)) for tag in tags]
    if amount is None:
        return [Entry(name, None, who) for name in names]
    if len(names) > 1:
        raise CellError(f"{_short(item)} has one number for several labels")
    return [entry._replace(rater=who) for name in names for entry in _of_counts([(name, item[amount])], decimal_comma)]


def _is_whole(value: Any) -> TypeGuard[int | float]:
    """Whether a value is a whole number, such as a class's; NaN and what no float can hold are none."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return False
    return abs(value) < 1e15 and float(value).is_integer()


def _key(item: Mapping[Any, Any], names: tuple[str, ...]) -> Any:
    keys = {key.lower(): key for key in reversed(item) if isinstance(key, str)}
    return next((keys[name] for name in names if name in keys), None)


def _of_counts(pairs: Any, decimal_comma: bool) -> list[Entry]:
    found = []
    for name, value in pairs:
        if not isinstance(name, str) or not name.strip():
            raise CellError(f"{_short(name)} is no label")
        try:
            number, percent = read_number(value, decimal_comma)
        except ValueError as error:
            raise CellError(f"{_short(value)} for {name!r} is not a count of votes") from error
        if number:
            found.append(Entry(name.strip(), number, None, percent))
    return found


def read_number(value: Any, decimal_comma: bool = False) -> tuple[float, bool]:
    """Read a number of votes; a blank cell is none. Also says whether it had a percent sign.

    Raises:
        ValueError: It is no number from 0 to :data:`MAX_VOTES`.

    Example:
        >>> read_number("12,5 %", decimal_comma=True)
        (12.5, True)
    """
    percent = False
    if value is None:
        return 0.0, False
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return 0.0, False
        percent = value.endswith("%")
        value = value.removesuffix("%").strip()
        value = value.replace(",", ".") if decimal_comma else value
        if "_" in value:  # Python reads 1_0 as 10
            raise ValueError
    elif isinstance(value, bool) or not isinstance(value, (int, float, Decimal)):
        raise ValueError
    try:
        number = float(value)
    except OverflowError as error:
        raise ValueError from error
    if not math.isfinite(number) or not 0 <= number <= MAX_VOTES:
        raise ValueError
    return number, percent


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}..."
