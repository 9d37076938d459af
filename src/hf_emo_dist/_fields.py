"""Fields of dataclasses that are options of a command as well."""

from __future__ import annotations

from dataclasses import field
from typing import TypeVar

_T = TypeVar("_T")


def option(default: _T, about: str) -> _T:
    """A field with its default, and what the help says about it."""
    return field(default=default, metadata={"help": about})
