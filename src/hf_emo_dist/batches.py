"""What is handed to a map function and what it gives back: columns as lists, or a table where Ray Data asks.

``Dataset.map`` keeps the columns that a function does not return; ``map_batches`` of Ray Data keeps nothing but what is
returned. A function that adds columns therefore answers a table with the whole table.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pyarrow as pa


def is_table(batch: Any) -> bool:
    """Whether a batch is Ray Data's: an Arrow table, or a plain dict whose columns all are NumPy arrays.

    Example:
        >>> is_table({"id": np.array(["a"])}), is_table({"id": ["a"]}), is_table({"id": "a"})
        (True, False, False)
    """
    if hasattr(batch, "to_pydict") and hasattr(batch, "column_names"):
        return True
    return type(batch) is dict and bool(batch) and all(type(column) is np.ndarray for column in batch.values())


class _Columns(Mapping[str, list[Any]]):
    """The columns of a table, each read when it is asked for."""

    def __init__(self, batch: Any) -> None:
        self._batch = batch
        self._names = list(getattr(batch, "column_names", batch))

    def __getitem__(self, name: str) -> list[Any]:
        if name not in self._names:
            raise KeyError(name)
        column = self._batch[name]
        return column.to_pylist() if hasattr(column, "to_pylist") else [_plain(value) for value in column]

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def columns_of(batch: Any) -> Mapping[str, list[Any]]:
    """The columns of a table as lists.

    Args:
        batch: What :func:`is_table` holds of.

    Returns:
        Name to values; a column is made when it is asked for.
    """
    return _Columns(batch)


def with_added(batch: Any, added: Mapping[str, Any]) -> pa.Table:
    """The table with columns added to it, or put in the place of those of the same names.

    Args:
        batch: What :func:`is_table` holds of. Arrow's keeps its types; those of NumPy arrays are told from values.
        added: Name to values, one a row; a list that has an Arrow type of its own keeps it.

    Returns:
        An Arrow table.
    """
    import pyarrow as pa

    columns = _Columns(batch)
    table = batch if hasattr(batch, "append_column") else pa.table({name: pa.array(columns[name]) for name in columns})
    for name, values in added.items():
        values = pa.array(values)
        place = table.schema.get_field_index(name)
        table = table.append_column(name, values) if place < 0 else table.set_column(place, name, values)
    return table


def _plain(value: Any) -> Any:
    """A value without NumPy's types, in structs and lists too."""
    if isinstance(value, np.ndarray):
        return [_plain(part) for part in value]
    if isinstance(value, np.generic):
        return value.item()
    return {name: _plain(part) for name, part in value.items()} if isinstance(value, dict) else value
