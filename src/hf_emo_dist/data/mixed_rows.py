"""Rows that DiME-Aug mixed, when a data set is split: they go where both of their sources go, or nowhere."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = ["MixedRows", "find_mixed_rows"]

logger = logging.getLogger(__name__)

IndexArray = NDArray[np.int64]


@dataclass(frozen=True)
class MixedRows:
    """Which rows of a data set are mixed, and from which.

    Attributes:
        originals: Row numbers of the others.
        mixed: Row numbers of the mixed.
        sources: Row numbers of each mixed row's sources.
        ids: Of the mixed rows.
    """

    originals: IndexArray
    mixed: IndexArray
    sources: list[list[int]]
    ids: list[str]

    def parts(self, parts: IndexArray) -> IndexArray:
        """The part of every row, given those of the originals; -1 for mixed rows whose sources are in different parts, which are named in the log.

        >>> MixedRows(np.array([0, 1]), np.array([2]), [[0, 1]], ["m"]).parts(np.array([4, 4])).tolist()
        [4, 4, 4]
        """
        whole = np.full(len(self.originals) + len(self.mixed), -1, dtype=np.int64)
        whole[self.originals] = parts
        torn = []
        for row, sources, row_id in zip(self.mixed, self.sources, self.ids, strict=True):
            where = {int(whole[source]) for source in sources}
            if len(where) == 1:
                whole[row] = where.pop()
            else:
                torn.append(row_id)
        if torn:
            logger.warning(
                "%d mixed rows are dropped, since their sources are in different splits (%s). Split first and mix then to keep all.",
                len(torn),
                ", ".join(torn[:5]),
            )
        return whole

    def train(self, train: IndexArray) -> IndexArray:
        """Rows to train on, sorted: the originals given, and the mixed rows all of whose sources are among them."""
        inside = set(train.tolist())
        kept = [
            row for row, sources in zip(self.mixed.tolist(), self.sources, strict=True) if inside.issuperset(sources)
        ]
        return np.sort(np.concatenate([train, np.array(kept, dtype=np.int64)]))


def find_mixed_rows(dataset: Dataset) -> MixedRows:
    """Finds the mixed rows of a data set and their sources in it.

    Raises:
        ValueError: A mixed row has a source that is not in the data set, so that nobody can say where it belongs.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"id": ["a", "b", "m"], "mixed_from": [None, None, ["a", "b"]]})
        >>> find_mixed_rows(rows).sources
        [[0, 1]]
    """
    if "mixed_from" not in dataset.column_names or "id" not in dataset.column_names:
        return MixedRows(np.arange(len(dataset)), np.zeros(0, dtype=np.int64), [], [])
    mixed_from, ids = dataset["mixed_from"][:], dataset["id"][:]
    is_mixed = np.array([bool(sources) for sources in mixed_from], dtype=bool)
    place = {row_id: row for row, row_id in enumerate(ids)}
    mixed = np.flatnonzero(is_mixed)
    sources = []
    for row in mixed:
        for source in mixed_from[row]:
            if source not in place:
                raise ValueError(
                    f"Row {ids[row]!r} was mixed from {source!r}, which is not in the data set. Mend: split the original rows, then mix."
                )
        sources.append([place[source] for source in mixed_from[row]])
    return MixedRows(np.flatnonzero(~is_mixed), mixed, sources, [ids[row] for row in mixed])
