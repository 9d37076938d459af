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
    """Which rows of a data set are mixed, and from which, by row number."""

    originals: IndexArray  # the others
    mixed: IndexArray
    sources: list[list[int]]  # of each mixed row
    ids: list[str]  # of the mixed rows

    def train(self, train: IndexArray) -> IndexArray:
        """The rows to train on, sorted: the originals given, and the mixed rows with all sources among them."""
        inside = set(train.tolist())
        kept = [
            row for row, sources in zip(self.mixed.tolist(), self.sources, strict=True) if inside.issuperset(sources)
        ]
        return np.sort(np.concatenate([train, np.array(kept, dtype=np.int64)]))


def find_mixed_rows(dataset: Dataset) -> MixedRows:
    """Find the mixed rows of a data set and their sources in it."""
    mixed = is_mixed(dataset)
    if not mixed.any():
        return MixedRows(np.arange(len(dataset)), np.zeros(0, dtype=np.int64), [], [])
    mixed_from, ids = dataset["mixed_from"][:], row_ids(dataset)
    place = {row_id: row for row, row_id in enumerate(ids)}
    where = np.flatnonzero(mixed)
    # -1, which is no training row, for a source that is not in the data set: such a row is always dropped
    sources = [[place.get(source, -1) for source in mixed_from[row]] for row in where]
    return MixedRows(np.flatnonzero(~mixed), where, sources, [ids[row] for row in where])


def select_splits(dataset: Dataset, mixed: MixedRows, parts: Mapping[str, IndexArray | Sequence[int]]) -> DatasetDict:
    """Cut a data set into splits, given the originals of each; mixed rows go to `train` (or the first) or nowhere."""
    from datasets import DatasetDict

    home = "train" if "train" in parts else next(iter(parts))
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
