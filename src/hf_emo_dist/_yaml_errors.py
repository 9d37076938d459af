"""What is wrong with a YAML text, in one line of a message."""

from __future__ import annotations


def in_one_line(error: Exception) -> str:
    """Where a text is no YAML, and why; without the drawing that the parser makes of it.

    Example:
        >>> import yaml
        >>> try:
        ...     yaml.safe_load("a: [1")
        ... except yaml.YAMLError as error:
        ...     in_one_line(error)
        "line 1, column 6: expected ',' or ']', but got '<stream end>'"
    """
    mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", None)
    if mark is not None and problem:
        return f"line {mark.line + 1}, column {mark.column + 1}: {problem}"
    return " ".join(str(error).split())
