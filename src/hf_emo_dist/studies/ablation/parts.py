"""What an ablation trains on, chooses by and is scored on: the splits of a data set, or its folds in turn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...data.rows import column_of
from ...evaluation.cross_validation import choose_validation_speakers, folds_with_speakers

__all__ = ["AblationData", "Part", "ablation_data"]


@dataclass(frozen=True)
class Part:
    """One division of the rows; cross-validation has one a fold.

    Attributes:
        suffix: Of the names of its cells.
        train, validation, test: Places of its rows in `AblationData.rows`.
    """

    suffix: str
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


@dataclass(frozen=True)
class AblationData:
    """The rows with their divisions.

    Attributes:
        rows: All rows that take part; every row that is scored is so once.
        parts: Their divisions.
        scored: Places of the rows that are scored, in order.
        told: The divisions in words.
    """

    rows: Any
    parts: list[Part]
    scored: np.ndarray
    told: str


def ablation_data(
    splits: Mapping[str, Any],
    split_names: tuple[str, str, str],
    *,
    fold_column: str | None = None,
    num_folds: int | None = None,
    validation_speakers: int = 2,
    seed: int = 0,
) -> AblationData:
    """Divide a data set by its own splits, or, put together, into folds of whole speakers.

    Rows that were mixed from others are left out: the ablation makes its own.

    Args:
        splits: The data set.
        split_names: Of training, validation and test, where there are no folds.
        fold_column: Column that names the folds.
        num_folds: Folds of whole speakers, where no column names them.
        validation_speakers: Speakers of a fold's training rows that choose its checkpoints, the same for every cell.
        seed: Of the folds and of these speakers.

    Raises:
        ValueError: There is no such split or column, the folds cannot be made, or too few speakers are left to train on.
    """
    from datasets import concatenate_datasets

    if fold_column is None and num_folds is None:
        for name in split_names:
            if name not in splits:
                raise ValueError(f"There is no split {name!r} (there are {', '.join(splits)}).")
        named = [_unmixed(splits[name]) for name in split_names]
        ends = np.cumsum([len(rows) for rows in named])
        train, validation, test = np.split(np.arange(ends[-1]), ends[:-1])
        told = ", ".join(f"{name} ({len(rows)} rows)" for name, rows in zip(split_names, named, strict=True))
        return AblationData(concatenate_datasets(named), [Part("", train, validation, test)], test, told)
    if fold_column is not None and num_folds is not None:
        raise ValueError("fold_column and num_folds: give one of them.")
    rows = _unmixed(concatenate_datasets(list(splits.values())))
    folds, speakers = folds_with_speakers(rows, fold_column, num_folds or 0, validation_speakers, seed)
    parts = []
    for index, (train, test) in enumerate(folds):
        chosen = choose_validation_speakers(speakers[train], validation_speakers, seed, index)
        chooses = np.isin(speakers[train], chosen)
        parts.append(Part(f"-fold{index}", train[~chooses], train[chooses], test))
    scored = np.sort(np.concatenate([part.test for part in parts]))
    told = f"{len(parts)}-fold cross-validation by speaker ({len(rows)} rows, each scored once; checkpoints chosen by {validation_speakers} training speakers)"
    return AblationData(rows, parts, scored, told)


def _unmixed(rows: Any) -> Any:
    mixed = column_of(rows, "mixed_from")
    if mixed is None or not any(mixed):
        return rows
    return rows.select([place for place, sources in enumerate(mixed) if not sources])
