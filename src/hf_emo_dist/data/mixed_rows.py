"""The one rule for rows that DiME-Aug mixed from two others.

They are trained on where all of their sources are training rows, and else dropped. They are never scored and never a
fold's test row, since nobody has listened to them; only where somebody asks to score them are they refused.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .rows import column_of, row_ids

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)

IndexArray = NDArray[np.int64]


def is_mixed(rows: Any) -> NDArray[np.bool_]:
    """Which rows of a `Dataset` or of a sequence of mappings were mixed, (N,).

    Example:
        >>> is_mixed([{"mixed_from": ["a", "b"]}, {"mixed_from": None}]).tolist()
        [True, False]
    """
    sources = column_of(rows, "mixed_from")
    return np.zeros(len(rows), dtype=bool) if sources is None else np.array([bool(names) for names in sources], bool)


def without_mixed(rows: Dataset) -> Dataset:
    """Leave the mixed rows out: what may be scored, and what nothing was made up for."""
    mixed = is_mixed(rows)
    return rows.select(np.flatnonzero(~mixed)) if mixed.any() else rows


def refuse_mixed(rows: Any) -> None:
    """Refuse mixed rows where somebody asks to score them.

    Raises:
        ValueError: Naming the rows by id, and the mend.
    """
    found = np.flatnonzero(is_mixed(rows))
    if len(found):
        ids = row_ids(rows)
        more = f" and {len(found) - 5} more" if len(found) > 5 else ""
        raise ValueError(
            f"{len(found)} rows were made by mixing two others (column 'mixed_from'): "
            f"{', '.join(ids[i] for i in found[:5])}{more}. No human has heard them, so they cannot be scored. Mend: "
            "score another split, or leave them out: dataset.filter(lambda row: not row['mixed_from'])."
        )


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

    def train(self, train: IndexArray) -> IndexArray:
        """Give the rows to train on, sorted: the originals given, and the mixed rows all of whose sources are among
        them.
        """
        inside = set(train.tolist())
        kept = [
            row for row, sources in zip(self.mixed.tolist(), self.sources, strict=True) if inside.issuperset(sources)
        ]
        return np.sort(np.concatenate([train, np.array(kept, dtype=np.int64)]))


def find_mixed_rows(dataset: Dataset) -> MixedRows:
    """Find the mixed rows of a data set and their sources in it.

    Raises:
        ValueError: A mixed row has a source that is not in the data set, so that nobody can say where it belongs.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"id": ["a", "b", "m"], "mixed_from": [None, None, ["a", "b"]]})
        >>> find_mixed_rows(rows).sources
        [[0, 1]]
    """
    mixed = is_mixed(dataset)
    if not mixed.any():
        return MixedRows(np.arange(len(dataset)), np.zeros(0, dtype=np.int64), [], [])
    mixed_from, ids = dataset["mixed_from"][:], row_ids(dataset)
    place = {row_id: row for row, row_id in enumerate(ids)}
    sources = []
    for row in np.flatnonzero(mixed):
        for source in mixed_from[row]:
            if source not in place:
                raise ValueError(
                    f"Row {ids[row]!r} was mixed from {source!r}, which is not in the data set. Mend: split the "
                    "original rows, then mix."
                )
        sources.append([place[source] for source in mixed_from[row]])
    return MixedRows(
        np.flatnonzero(~mixed), np.flatnonzero(mixed), sources, [ids[row] for row in np.flatnonzero(mixed)]
    )


def select_splits(
    dataset: Dataset, mixed: MixedRows, parts: Mapping[str, IndexArray | Sequence[int]], training: str = "train"
) -> DatasetDict:
    """Cut a data set into splits, with the mixed rows where they may be.

    Args:
        dataset: All rows.
        mixed: Of `find_mixed_rows`.
        parts: Split name to row numbers, originals alone.
        training: The split that is trained on; the first where there is none of this name.

    Returns:
        Rows in their order. Mixed rows are in the training split if all of their sources are, and else in none, which
        the log says.
    """
    from datasets import DatasetDict

    home = training if training in parts else next(iter(parts))
    chosen = {split: np.sort(np.asarray(rows, dtype=np.int64)) for split, rows in parts.items()}
    chosen[home] = mixed.train(chosen[home])
    lost = sorted(set(mixed.mixed.tolist()) - set(chosen[home].tolist()))
    if lost:
        names = dict(zip(mixed.mixed.tolist(), mixed.ids, strict=True))
        logger.warning(
            "%d mixed rows are dropped, since not all of their sources are in %r (%s). Split first and mix then "
            "to keep all.",
            len(lost),
            home,
            ", ".join(names[row] for row in lost[:5]),
        )
    return DatasetDict({split: dataset.select(rows) for split, rows in chosen.items()})
