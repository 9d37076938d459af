"""A data set that was opened once, and is handed on: rows by split, emotions, and what must be said about its votes."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..emotions import validate_emotions
from .label_map import refuse_unknown_labels
from .loading import DatasetLoadError, emotions_of, folder_card, load_emotion_dataset, rows_of
from .mixed_rows import MixedRows, find_mixed_rows, is_mixed
from .preparation_file import read_preparation
from .rows import column_of, notes_about, row_ids, says_restricted

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)

#: What a card says where nobody said who voted.
NOT_STATED = "not stated by whoever made this data set."


@dataclass(frozen=True)
class OpenedDataset:
    """A data set and all that is known of it beside its rows; nobody needs to ask its folder again."""

    name: str  # as the user named it: a folder, a file or a Hub id
    splits: Mapping[str, Dataset]  # audio as bytes; a data set without splits is one split `train`
    given_emotions: tuple[str, ...] | None = None  # that the user named; None for those of the data
    given_vote_source: str | None = None
    card: Mapping[str, Any] = field(default_factory=dict)  # the metadata of the folder's README
    preparation: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)  # the parts of its preparation.json

    def rows(self, split: str | None = None) -> Dataset:
        """The rows of one split, of a slice such as ``test[:100]``, or of all splits together.

        Raises:
            DatasetLoadError: There is no such split; the message lists those there are.
        """
        from datasets import concatenate_datasets

        if split is not None:
            return rows_of(self.splits, split, self.name)
        parts = list(self.splits.values())
        return parts[0] if len(parts) == 1 else concatenate_datasets(parts)

    def emotions(self, column: str = "human_distribution") -> tuple[str, ...]:
        """The label set: the one given, else the fields of a distribution column in their order.

        Raises:
            ValueError: None was given, and there is no such column.
        """
        return self.given_emotions or emotions_of(next(iter(self.splits.values())), column)

    @property
    def vote_source(self) -> str | None:
        """Where the votes come from: what the user said, else what the card says."""
        return self.given_vote_source or self.card.get("vote_source")

    def notes(self, rows: Any = None) -> list[str]:
        """What every table and plot on these rows (default: the first split) must show, such as ``simulated data``."""
        return notes_about(next(iter(self.splits.values())) if rows is None else rows, self.vote_source)

    @cached_property
    def restricted(self) -> bool:
        """Whether its terms forbid to pass the audio on, by its card, a column ``restricted`` or its corpus."""
        if self.card.get("restricted") or self.preparation.get("source", {}).get("restricted"):
            return True
        return any(
            says_restricted(column_of(rows, "restricted"), column_of(rows, "corpus")) for rows in self.splits.values()
        )

    def speakers(self, split: str | None = None) -> set[str]:
        """Who speaks in a split or in all of them, where that is known."""
        return {str(name) for name in column_of(self.rows(split), "speaker") or () if name not in (None, "")}

    @cached_property
    def mixed(self) -> MixedRows:
        """The mixed rows of all splits together, and their sources."""
        return find_mixed_rows(self.rows())

    def heard(self, split: str | None = None) -> Dataset:
        """The rows that somebody has listened to: those that were not mixed."""
        rows = self.rows(split)
        mixed = is_mixed(rows)
        return rows.select(np.flatnonzero(~mixed)) if mixed.any() else rows

    def chosen(self, names: Sequence[str], option: str) -> list[str]:
        """The splits that an option names; ``all`` is every split.

        Raises:
            DatasetLoadError: There is no such split.
        """
        if list(names) == ["all"]:
            return list(self.splits)
        unknown = [name for name in names if name not in self.splits]
        if unknown:
            raise DatasetLoadError(
                f"{option} names {', '.join(unknown)}, and {self.name!r} has no such split: there are "
                f"{', '.join(self.splits)}. Mend: ask for one of them."
            )
        return list(names)

    def trainable(self, split: str) -> Dataset:
        """The rows of a split that may be trained on: mixed rows only where all of their sources are in it."""
        rows = self.rows(split)
        mixed = is_mixed(rows)
        if not mixed.any():
            return rows
        ids = set(row_ids(rows))
        kept = ~mixed | np.array([ids.issuperset(sources or ()) for sources in rows["mixed_from"]])
        if not kept.all():
            logger.warning(
                "%d mixed rows of %r are left out of training: not all of their sources are in it", (~kept).sum(), split
            )
        return rows.select(np.flatnonzero(kept))

    def first(self, number: int | None) -> OpenedDataset:
        """The same data set with so many rows a split at most."""
        if number is None:
            return self
        return replace(self, splits={s: rows.select(range(min(number, len(rows)))) for s, rows in self.splits.items()})


def open_dataset(
    source: str | Path | DatasetDict | Dataset,
    *,
    revision: str | None = None,
    emotions: Sequence[str] | None = None,
    vote_source: str | None = None,
) -> OpenedDataset:
    """Open a data set once, with all that is known of it.

    Args:
        source: A Parquet folder, one Parquet file, a ``save_to_disk`` folder, a Hub id such as ``"owner/name"``, or
            rows in memory.
        revision: Branch, tag or commit, for a Hub id.
        emotions: The label set. Default: the fields of its distributions.
        vote_source: Where the votes come from. Default: what its card says.

    Raises:
        DatasetLoadError: There is nothing there, or there is no ``audio`` column.
        ValueError: The emotions are no label set, or ``preparation.json`` cannot be read.
    """
    from datasets import Dataset

    loaded: Any = source
    folder: Path | None = None
    if isinstance(source, str | Path):
        loaded = load_emotion_dataset(source, revision=revision)
        folder = Path(source).expanduser() if Path(source).expanduser().is_dir() else None
    name = str(source) if isinstance(source, str | Path) else "the data"
    splits = {"train": loaded} if isinstance(loaded, Dataset) else dict(loaded)
    labels = next(iter(splits.values())).features.get("human_distribution")
    if emotions is not None and isinstance(labels, Mapping):
        refuse_unknown_labels(validate_emotions(emotions), list(labels), name)
    return OpenedDataset(
        name=name,
        splits=splits,
        given_emotions=None if emotions is None else validate_emotions(emotions),
        given_vote_source=vote_source,
        card={} if folder is None else folder_card(folder),
        preparation={} if folder is None else read_preparation(folder),
    )
