"""Fields of dataclasses that are options of a command as well."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import field
from typing import Any, TypeVar

_T = TypeVar("_T")


def option(default: _T, about: str) -> _T:
    """A field with its default, and what the help says about it."""
    return field(default=default, metadata={"help": about})


def mirrored(source: Callable[..., Any], name: str) -> Any:
    """A field with the default of an argument elsewhere; the command line takes its help from there, too."""
    return field(default=default_of(source, name), metadata={"mirrors": source})


def default_of(source: Callable[..., Any], name: str) -> Any:
    """The default of an argument."""
    return inspect.signature(source).parameters[name].default
