"""What a checkpoint says of itself: digests of its files as they were written, and of its training rows."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..data.output import write_json
from ..data.rows import row_ids

FACTS_NAME = "checkpoint_facts.json"
_PLACES = 128  # of a file that are read: of 16 GB as of 16 KB
_BYTES = 1024


def write_facts(folder: str | os.PathLike[str], rows: dict[str, Any] | None) -> None:
    """Write digests of a checkpoint's weights and of its optimizer beside them, and what `facts_of_rows` gave.

    Args:
        folder: The checkpoint's, with its files.
        rows: Facts of the training rows; None for a stream.
    """
    files = sorted([*Path(folder).glob("*.safetensors"), *Path(folder).glob("optimizer.pt")])
    write_json(Path(folder, FACTS_NAME), {"files": {file.name: digest_of(file) for file in files}, "rows": rows})


def read_facts(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """What was written beside a checkpoint; nothing beside those of 0.1.

    Raises:
        ValueError: The file breaks off.
    """
    path = Path(folder, FACTS_NAME)
    facts: dict[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}
    return facts


def digest_of(file: str | os.PathLike[str]) -> str:
    """A digest of a file's length and of pieces from all over it, to its end.

    It tells a file whose end never reached the disk (zeros, after a power cut) from one that is whole, in milliseconds;
    not one in which single values were changed.
    """
    size = os.path.getsize(file)
    digest = hashlib.sha256(str(size).encode())
    with open(file, "rb") as content:
        for place in np.linspace(0, max(size - _BYTES, 0), _PLACES).astype(np.int64):
            content.seek(int(place))
            digest.update(content.read(_BYTES))
    return digest.hexdigest()[:32]


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
