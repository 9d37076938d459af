"""The columns of a table that are kept as they are: their values and types."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Sequence
from decimal import Decimal
from typing import Any

#: What is text by the data contract, whatever it holds.
TEXTS = ("intended", "consensus", "corpus", "language")


def infer_column(values: Sequence[Any], is_text: bool) -> tuple[list[Any], Any]:
    """Find the type of a column that is kept as it is: its values, converted, and their ``datasets`` feature."""
    from datasets import List, Value

    present = [value for value in values if value is not None]
    if not present:
        return list(values), Value("string")
    if is_text:  # a number only where every cell is one without losing anything: 007 stays text
        if all(_is_plain_int(value) for value in present):
            return [None if value is None else int(value) for value in values], Value("int64")
        if all(_is_plain_float(value) for value in present):
            return [None if value is None else float(value) for value in values], Value("float64")
        return list(values), Value("string")
    kind = _scalar([value for value in present])
    if kind is not None:
        if kind == "float64":
            values = [None if value is None else float(value) for value in values]
        return list(values), Value(kind)
    if all(isinstance(value, (list, tuple)) for value in present):
        kind = _scalar([item for value in present for item in value if item is not None])
        if kind is not None:
            return [None if value is None else list(value) for value in values], List(Value(kind))
    return [None if value is None else _as_text(value) for value in values], Value("string")


def _scalar(values: Sequence[Any]) -> str | None:
    """The type that all values have, or None."""
    if all(isinstance(value, bool) for value in values):
        return "bool" if values else None
    if any(isinstance(value, bool) for value in values):
        return None
    if all(isinstance(value, int) for value in values):
        return "int64" if all(-(2**63) <= value < 2**63 for value in values) else None
    if all(isinstance(value, (int, float)) and abs(value) < 2**53 for value in values):
        return "float64"
    if all(isinstance(value, float) for value in values):
        return "float64"
    return "string" if all(isinstance(value, str) for value in values) else None


def _as_text(value: Any) -> str:
    if isinstance(value, (datetime.date, datetime.time)):
        return value.isoformat()
    if isinstance(value, (dict, list, tuple)):
        return json.dumps(value, ensure_ascii=False, default=str)
    if isinstance(value, Decimal):
        return format(value, "f")
    return str(value)


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
