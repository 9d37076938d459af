"""Splits that name their protocol: by speaker, by session, by folds, and the paper's random one."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .mixed_rows import find_mixed_rows, select_splits
from .splits import Fold, folds_from_column, speaker_folds

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


def draw_order(ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Positions of `ids` in an order that depends on the seed and each id alone, not on the order they come in.

    >>> ids = ["a", "b", "c"]
    >>> [ids[i] for i in draw_order(ids, 0)] == [ids[::-1][i] for i in draw_order(ids[::-1], 0)]
    True
    """
    keys = [hashlib.sha256(f"{seed}\0{row_id}".encode()).digest() for row_id in ids]
    return np.array(sorted(range(len(keys)), key=keys.__getitem__), dtype=np.int64)


def random_utterance_split(
    dataset: Dataset, seed: int = 42, test: float = 0.2, validation: float = 0.1, speaker_column: str = "speaker"
) -> DatasetDict:
    """Split by utterances at random, as arXiv 2601.14620 does; speakers end up on both sides.

    Scores on such a test split are not those of unseen speakers, which a warning says. Which rows go where depends on
    the seed and their ids; the paper's own rows are not published, so its shares are kept and not its rows.

    Args:
        dataset: Rows with an ``id``. Rows made by mixing stay where all of their sources are training rows.
        seed: The paper's is 42.
        test: Share of all rows, rounded up.
        validation: Share of the remaining rows, rounded up.
        speaker_column: Whose values are counted for the warning.

    Returns:
        ``train``, ``validation`` and ``test``, rows in their order.

    Raises:
        ValueError: A share is out of range, or there are too few rows.

    Example:
        >>> from datasets import Dataset
        >>> parts = random_utterance_split(Dataset.from_dict({"id": [str(i) for i in range(100)]}))
        >>> {split: len(rows) for split, rows in parts.items()}
        {'train': 72, 'validation': 8, 'test': 20}
    """
    if not 0 < test < 1 or not 0 < validation < 1:
        raise ValueError(f"The shares must lie between 0 and 1, got test={test}, validation={validation}.")
    mixed = find_mixed_rows(dataset)
    ids = dataset["id"][:]
    order = mixed.originals[draw_order([ids[row] for row in mixed.originals], seed)]
    tested = math.ceil(test * len(order))
    chosen = math.ceil(validation * (len(order) - tested))
    if tested + chosen >= len(order):
        raise ValueError(f"{len(order)} rows are too few for three splits. Mend: add rows.")
    parts = {
        "train": order[tested + chosen :],
        "validation": order[tested : tested + chosen],
        "test": order[:tested],
    }
    result = select_splits(dataset, mixed, parts)
    if speaker_column in dataset.column_names:
        trained = set(result["train"][speaker_column][:])
        tested_speakers = set(result["test"][speaker_column][:]) - {None}
        logger.warning(
            "a random split by utterance: %d of %d test speakers are in the training split too, so scores are not "
            "those of unseen speakers",
            len(trained & tested_speakers),
            len(tested_speakers),
        )
    return result


def session_folds(dataset: Dataset, session_column: str = "session", speaker_column: str = "speaker") -> list[Fold]:
    """Return the folds of leave-one-session-out cross-validation, one a session.

    Args:
        dataset: Rows with a session and a speaker.
        session_column: The column of sessions.
        speaker_column: To check that no speaker is in two sessions.

    Returns:
        One pair (rows to train on, rows to test on) a session, in the order of the sessions.

    Raises:
        ValueError: A column is missing or blank, there is one session only, or a speaker is in two sessions.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"speaker": ["a", "b", "c"], "session": [1, 1, 2]})
        >>> [test.tolist() for _, test in session_folds(rows)]
        [[0, 1], [2]]
    """
    return folds_from_column(dataset, session_column, speaker_column)


def add_fold_column(dataset: Dataset, num_folds: int, seed: int = 0, column: str = "fold") -> Dataset:
    """Number the folds of speaker-disjoint cross-validation in a column, as ``cross_validate --fold_column`` reads it.

    Args:
        dataset: Rows with a speaker. Folds have like shares of every emotion's expected mass, where there is a
            ``human_distribution``.
        num_folds: Number of folds.
        seed: Which speakers go where, among equals.
        column: Name of the new column; int64, from 0.

    Returns:
        The data set with the column; null in rows made by mixing, which are no fold's test rows.

    Raises:
        ValueError: There are fewer speakers than folds, or the column exists.

    Example:
        >>> from datasets import Dataset
        >>> add_fold_column(Dataset.from_dict({"speaker": ["a", "a", "b"]}), 2)["fold"][:]
        [0, 0, 1]
    """
    if column in dataset.column_names:
        raise ValueError(f"There is a column {column!r} already. Mend: remove it, or name another.")
    folds: list[int | None] = [None] * len(dataset)
    for fold, (_, test) in enumerate(speaker_folds(dataset, num_folds, seed=seed)):
        for row in test.tolist():
            folds[row] = fold
    return dataset.add_column(column, folds)


def splits_from_folds(
    dataset: Dataset, test_fold: Any, validation_fold: Any = None, column: str = "fold"
) -> DatasetDict:
    """Make splits of a column of folds: one fold to test on, another to choose by, the rest to train on.

    Args:
        dataset: Rows with a fold.
        test_fold: Its value in the column.
        validation_fold: Its value. Default: the one after `test_fold`, in a circle; with two folds there is none.
        column: The column of folds, or of sessions.

    Returns:
        ``train``, ``validation`` (with three folds or more) and ``test``.

    Raises:
        ValueError: There is no such fold, or it is asked for twice.

    Example:
        >>> from datasets import Dataset
        >>> parts = splits_from_folds(Dataset.from_dict({"fold": [1, 1, 2, 3]}), test_fold=3)
        >>> {split: rows["fold"][:] for split, rows in parts.items()}
        {'train': [2], 'validation': [1, 1], 'test': [3]}
    """
    mixed = find_mixed_rows(dataset)
    values = dataset[column][:]
    names = sorted({values[row] for row in mixed.originals})
    if test_fold not in names:
        raise ValueError(
            f"There is no fold {test_fold!r} in {column!r} (there are {', '.join(map(str, names))}). "
            "Mend: name one of them."
        )
    if validation_fold is None and len(names) > 2:
        validation_fold = names[(names.index(test_fold) + 1) % len(names)]
    if validation_fold is not None and (validation_fold not in names or validation_fold == test_fold):
        raise ValueError(
            f"The validation fold {validation_fold!r} must be another of the folds {', '.join(map(str, names))}."
        )
    place = {test_fold: "test", validation_fold: "validation"}
    parts: dict[str, list[int]] = {"train": [], "validation": [], "test": []}
    for row in mixed.originals.tolist():
        parts[place.get(values[row], "train")].append(row)
    if not parts["train"]:
        raise ValueError("No fold is left to train on. Mend: make more folds, or leave the validation fold out.")
    return select_splits(dataset, mixed, {split: rows for split, rows in parts.items() if rows})
