"""Arguments that had another name in 0.1."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def renamed(**names: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Make a function answer an argument's old name with the new one, given as `old="new"`, and not accept it."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @functools.wraps(function)
        def checked(*args: P.args, **kwargs: P.kwargs) -> R:
            for old, new in names.items():
                if old in kwargs:
                    raise TypeError(f"{function.__name__} has no argument {old!r} any more. Mend: write {new}=.")
            return function(*args, **kwargs)

        return checked

    return decorate
