"""What a checkpoint says of the rows that it was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from ..data.rows import row_ids


def facts_of_rows(dataset: Any, targets: np.ndarray) -> dict[str, Any]:
    """How many rows there are, and digests of their ids and targets in their order.

    Args:
        dataset: The training rows.
        targets: (N, K) Their targets.
    """
    ids = "\n".join(row_ids(dataset))
    return {
        "number": len(dataset),
        "ids": hashlib.sha256(ids.encode()).hexdigest()[:32],
        "targets": hashlib.sha256(np.round(targets, 6).astype("<f8").tobytes()).hexdigest()[:32],
    }


def differing_rows(there: dict[str, Any], now: dict[str, Any]) -> Sequence[str]:
    """Say in which way the rows of now are not those of a checkpoint; empty where they are, or nobody knows.

    Example:
        >>> differing_rows({"number": 2, "ids": "a", "targets": "x"}, {"number": 3, "ids": "b", "targets": "y"})
        ['2 rows there, 3 now']
        >>> differing_rows({"number": 2, "ids": "a", "targets": "x"}, {"number": 2, "ids": "a", "targets": "y"})
        ['the same ids with other targets']
    """
    if there["number"] != now["number"]:
        return [f"{there['number']} rows there, {now['number']} now"]
    if there["ids"] != now["ids"]:
        return [f"{now['number']} rows as there, with other ids or in another order"]
    return ["the same ids with other targets"] if there["targets"] != now["targets"] else []
