"""One model's read-outs in one data set are of one set of weights: its revisions are no annotators of their own.

Entries have the model's name and nothing of its weights, which the ledger knows. Read-outs of two precisions of a model
are nearly the same numbers: pooled as two annotators they would count as evidence twice.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from .ledger.run_ledger import RunLedger
from .types import Record

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_COLUMN, _ROWS = "synthetic_annotations", 1000
_NAMES = ("revision", "dtype", "quantization")


def annotations_of(dataset: Dataset) -> Iterable[Sequence[Mapping[str, Any]]]:
    """What the rows of a data set have of annotations, row by row."""
    if _COLUMN in dataset.column_names:
        for batch in dataset.select_columns([_COLUMN]).iter(batch_size=_ROWS):
            yield from (row or () for row in batch[_COLUMN])


def check_same_weights(
    rows: Iterable[Sequence[Mapping[str, Any]]], model: str, asked: Callable[[], Mapping[str, Any]], ledger: RunLedger
) -> int:
    """Refuse rows that have read-outs of a model by other weights.

    Args:
        rows: The annotations of each.
        model: Its name.
        asked: Gives the weights by which it is asked now: revision, dtype, quantization. Called where it matters.
        ledger: That has the replies.

    Returns:
        How many read-outs of this model the ledger does not know.

    Raises:
        ValueError: There are some by other weights.
    """
    others: Counter[str] = Counter()
    unknown = 0
    keys: list[str] = []

    def look() -> None:
        nonlocal unknown
        there, weights = ledger.lookup(keys), asked()
        for key in keys:
            record = there.get(key)
            if record is None:
                unknown += 1
            elif told := _difference(record, weights):
                others[told] += 1
        keys.clear()

    for entries in rows:
        keys += [entry["key"] for entry in entries if entry["mode"] == "readout" and entry["model"] == model]
        if len(keys) >= _ROWS:
            look()
    if keys:
        look()
    if others:
        earlier = " and ".join(f"{number} read-outs of {model} by {told}" for told, number in others.most_common(3))
        now = ", ".join(f"{name} {asked()[name]}" for name in _NAMES if asked().get(name) is not None)
        raise ValueError(
            f"The data set has {earlier}, and is to get some by {now}: they would count as two listeners and are one. "
            "Mend: give the backend the earlier settings (--backend_options), or annotate the data set without them, "
            "the one that was annotated, into another folder."
        )
    return unknown


def _difference(record: Record, weights: Mapping[str, Any]) -> str:
    """By which other weights a reply is, in words; empty where it is by these, or nothing tells."""
    there = {name: record.settings.get(name) for name in _NAMES}
    if there["revision"] is None:
        return ""
    alike = (
        there[name] == weights.get(name) or (name == "dtype" and "auto" in (there[name] or "auto", weights.get(name)))
        for name in _NAMES
    )
    return "" if all(alike) else ", ".join(f"{name} {value}" for name, value in there.items() if value is not None)
