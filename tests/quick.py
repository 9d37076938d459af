"""Case tables of which a few rows are in the fast set, and all of them in `make test-all`."""

from collections.abc import Iterable, Mapping
from typing import Any

import pytest


def mostly_slow(cases: Mapping[str, Any] | Iterable[str], *quick: str) -> list[Any]:
    """The cases for `parametrize`, each under its name; those not named as quick are marked slow.

    A value that is a tuple fills several arguments. Of bare names, the name is the value.
    """
    values = cases if isinstance(cases, Mapping) else {name: name for name in cases}
    missing = set(quick) - set(values)
    if missing:
        raise ValueError(f"No case is called {', '.join(sorted(missing))}. Mend: one of {', '.join(values)}.")
    return [
        pytest.param(
            *(value if isinstance(value, tuple) else (value,)),
            id=name,
            marks=() if name in quick else pytest.mark.slow,
        )
        for name, value in values.items()
    ]
