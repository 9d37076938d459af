"""The one reader of lists that are written with commas between their names."""

from __future__ import annotations

from typing import Any


def name_list(value: Any, where: str) -> list[str]:
    """Read names with commas between them, or a list of names; `where` they were given is for errors.

    Example:
        >>> name_list("angry, happy", "--emotions")
        ['angry', 'happy']
    """
    if isinstance(value, str) and not value.strip():
        return []
    if not isinstance(value, (str, list, tuple)):
        raise ValueError(f"{where} must be names with commas between them, got {value!r}.")
    if not isinstance(value, str) and any(name is None or isinstance(name, bool) for name in value):
        raise ValueError(
            f"{where} {list(value)!r}: a name is no text, as YAML reads no, yes, on, off and null. Mend: write it in "
            "quotes."
        )
    names = [str(name).strip() for name in (value.split(",") if isinstance(value, str) else value)]
    if not all(names):
        raise ValueError(f"{where} {value!r} has an empty name. Mend: one comma between two names, none at the end.")
    return names
