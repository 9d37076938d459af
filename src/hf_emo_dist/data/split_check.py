"""The check that nothing which is scored was trained on."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


class SplitError(ValueError):
    """A speaker, an utterance or a mixed clip's source is on both sides of a split."""


def check_splits(dataset: DatasetDict | Mapping[str, Dataset] | Dataset, fold_column: str | None = None) -> None:
    """Make sure that nothing which is scored was trained on: no speaker, utterance or mixed clip's source crosses.

    Every speaker and every id must be in one split only, and a row that was mixed from others (``mixed_from``) in the
    split of all of its sources, also of those that were mixed themselves. A mixed row's own ``speaker`` says nothing:
    who speaks in it is known by its sources.

    Args:
        dataset: The splits; or one data set whose `fold_column` names the folds, which are then held apart like splits.
        fold_column: The column of folds.

    Raises:
        SplitError: Something crosses. The message names up to ten cases, with both splits.
        ValueError: There is no such column.

    Example:
        >>> from datasets import Dataset
        >>> rows = {"id": ["a", "b"], "speaker": ["s1", "s2"]}
        >>> test = Dataset.from_dict({"id": ["c"], "speaker": ["s1"]})
        >>> check_splits({"train": Dataset.from_dict(rows), "test": test})
        Traceback (most recent call last):
        ...
        hf_emo_dist.data.split_check.SplitError: speaker 's1' is in 'train' and in 'test'. Mend: ...
    """
    parts = _parts(dataset, fold_column)
    place: dict[Any, str] = {}
    speakers: dict[Any, str] = {}
    found: list[str] = []
    unknown = 0
    for split, rows in parts.items():
        for row in rows:
            if place.setdefault(row["id"], split) != split:
                found.append(f"utterance {row['id']!r} is in {place[row['id']]!r} and in {split!r}")
        for speaker in dict.fromkeys(row.get("speaker") for row in rows if not row.get("mixed_from")):
            if speaker in (None, ""):
                unknown += 1
            elif speakers.setdefault(speaker, split) != split:
                found.append(f"speaker {speaker!r} is in {speakers[speaker]!r} and in {split!r}")
    lost: dict[str, None] = {}
    for split, rows in parts.items():
        for row in rows:
            for source in dict.fromkeys(row.get("mixed_from") or ()):
                if source not in place:
                    lost[str(row["id"])] = None
                elif place[source] != split:
                    found.append(f"{row['id']!r} in {split!r} was mixed from {source!r}, which is in {place[source]!r}")
    if unknown:
        logger.warning("rows without a speaker cannot be checked: somebody may speak in more than one split")
    if lost:
        logger.warning("%d mixed rows name sources that are in no split (%s ...)", len(lost), next(iter(lost)))
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise SplitError(
            f"{'; '.join(found[:10])}{more}. Mend: split by speakers first, then mix within the training split."
        )


def _parts(dataset: Any, fold_column: str | None) -> dict[str, list[dict[str, Any]]]:
    """The columns that matter, row by row, by split or by fold; audio is never touched."""
    splits = dict(dataset) if isinstance(dataset, Mapping) else {"all": dataset}
    if fold_column is None and not isinstance(dataset, Mapping):
        raise TypeError("check_splits takes splits, or one data set with fold_column=... Mend: name the column.")
    parts: dict[str, list[dict[str, Any]]] = {}
    for split, rows in splits.items():
        wanted = [name for name in ("id", "speaker", "mixed_from", fold_column) if name in rows.column_names]
        if fold_column is not None and fold_column not in wanted:
            raise ValueError(f"There is no column {fold_column!r} (there are {', '.join(rows.column_names)}).")
        columns = {name: rows[name][:] for name in wanted}
        for index in range(len(rows)):
            row: dict[str, Any] = {str(name): values[index] for name, values in columns.items()}
            row.setdefault("id", f"row {index}")
            name = f"fold {row[fold_column]}" if fold_column is not None else split
            parts.setdefault(name, []).append(row)
    return parts
