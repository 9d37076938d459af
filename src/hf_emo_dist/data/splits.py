"""Speaker-disjoint splits and folds: what is scored was spoken by nobody who was trained on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .mixed_rows import MixedRows, find_mixed_rows, select_splits

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

IndexArray = NDArray[np.int64]
Fold = tuple[IndexArray, IndexArray]

DEFAULT_FRACTIONS: Mapping[str, float] = {"train": 0.8, "validation": 0.1, "test": 0.1}


def _column(dataset: Dataset, column: str) -> list[Any]:
    if column not in dataset.column_names:
        raise ValueError(
            f"There is no column {column!r} (there are {', '.join(dataset.column_names)}). "
            "Mend: add it, or name the right one."
        )
    values = list(dataset[column])
    blank = [index for index, value in enumerate(values) if value is None or value == ""]
    if blank:
        ids = dataset["id"] if "id" in dataset.column_names else range(len(values))
        named = ", ".join(repr(ids[index]) for index in blank[:5])
        raise ValueError(
            f"Column {column!r} is blank in {len(blank)} rows ({named}). Mend: fill it in, or leave the rows out."
        )
    return values


def _without_mixed(dataset: Dataset) -> tuple[MixedRows, Dataset]:
    mixed = find_mixed_rows(dataset)
    return mixed, dataset.select(mixed.originals) if len(mixed.mixed) else dataset


def _folds(mixed: MixedRows, parts: IndexArray, number: int) -> list[Fold]:
    """Rows to train on and to test on of each part, given the parts of the originals."""
    rows = mixed.originals
    return [(mixed.train(rows[parts != part]), rows[parts == part]) for part in range(number)]


def _masses(dataset: Dataset, speakers: list[Any], distribution_column: str) -> tuple[list[Any], NDArray[np.float64]]:
    """Sum up rows and expected class mass by speaker: (S, 1 + K), rows first."""
    names = sorted(set(speakers), key=str)
    position = {name: index for index, name in enumerate(names)}
    rows = np.array([position[speaker] for speaker in speakers])
    parts = [np.ones((len(speakers), 1))]
    feature = dataset.features.get(distribution_column)
    if isinstance(feature, Mapping):
        nothing = dict.fromkeys(feature, 0.0)
        structs = [row or nothing for row in dataset[distribution_column]]
        parts.append(np.array([[row[name] or 0.0 for name in feature] for row in structs], dtype=np.float64))
    values = np.concatenate(parts, axis=1)
    masses = np.zeros((len(names), values.shape[1]))
    np.add.at(masses, rows, values)
    return names, masses


def _assign(masses: NDArray[np.float64], shares: NDArray[np.float64], seed: int) -> IndexArray:
    """Give each speaker to a part, keeping rows and every emotion's mass near the parts' shares.

    Large speakers go first, each to the part where the chi-square distance from the wanted masses ends up smallest.
    The last speakers are kept for parts that would stay empty.
    """
    present = masses[:, masses.sum(axis=0) > 0]
    relative = present / present.sum(axis=0)
    order = np.random.default_rng(seed).permutation(len(masses))
    order = order[np.argsort(-relative[order, 0], kind="stable")]
    filled = np.zeros((len(shares), relative.shape[1]))
    taken = np.zeros(len(shares), dtype=bool)
    parts = np.empty(len(masses), dtype=np.int64)
    for done, speaker in enumerate(order):
        added = relative[speaker]
        wanted = shares[:, None]
        change = (((filled + added - wanted) ** 2 - (filled - wanted) ** 2) / wanted).sum(axis=1)
        if (~taken).sum() >= len(order) - done:
            change[taken] = np.inf
        part = int(np.argmin(change))
        filled[part] += added
        taken[part] = True
        parts[speaker] = part
    return parts


def speaker_disjoint_split(
    dataset: Dataset,
    fractions: Mapping[str, float] | None = None,
    seed: int = 0,
    speaker_column: str = "speaker",
    distribution_column: str = "human_distribution",
) -> DatasetDict:
    """Split a data set by whole speakers, with like shares of every emotion.

    Args:
        dataset: Rows with a speaker. Rows made by mixing stay where all of their sources are training rows; the others
            are dropped and named in the log. To lose none, split first and mix then.
        fractions: Split name to its share of the rows; they sum to 1. Default: 0.8 ``train``, 0.1 ``validation``,
            0.1 ``test``. Speakers are whole, so the shares are met as nearly as they allow.
        seed: Which speakers go where, among equals. Same data and seed, same splits.
        speaker_column: The column of speakers.
        distribution_column: Whose expected class mass is balanced; without that column only rows are.

    Returns:
        One data set a split, rows in their order. No split is empty.

    Raises:
        ValueError: The fractions do not fit, a speaker is missing, there are fewer speakers than splits, or a mixed
            row's source is missing.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"id": list("abcd"), "speaker": ["s1", "s1", "s2", "s3"]})
        >>> parts = speaker_disjoint_split(rows, {"train": 0.5, "test": 0.5})
        >>> set(parts["train"]["speaker"]) & set(parts["test"]["speaker"])
        set()
    """
    wanted = dict(DEFAULT_FRACTIONS if fractions is None else fractions)
    shares = np.array(list(wanted.values()), dtype=np.float64)
    if not len(shares) or not (shares > 0).all() or abs(shares.sum() - 1.0) > 1e-6:
        raise ValueError(f"Fractions must be over 0 and sum to 1, got {wanted}. Mend: for example {DEFAULT_FRACTIONS}.")
    mixed, originals = _without_mixed(dataset)
    speakers = _column(originals, speaker_column)
    names, masses = _masses(originals, speakers, distribution_column)
    if len(names) < len(wanted):
        raise ValueError(
            f"{len(names)} speakers cannot fill {len(wanted)} speaker-disjoint splits ({', '.join(wanted)}). "
            "Mend: ask for fewer splits, or add speakers."
        )
    part_of = dict(zip(names, _assign(masses, shares, seed), strict=True))
    parts = np.array([part_of[speaker] for speaker in speakers])
    result = select_splits(
        dataset, mixed, {split: mixed.originals[parts == index] for index, split in enumerate(wanted)}
    )
    return result


def speaker_folds(
    dataset: Dataset,
    k: int,
    seed: int = 0,
    speaker_column: str = "speaker",
    distribution_column: str = "human_distribution",
) -> list[Fold]:
    """Cut a data set into `k` folds of whole speakers, of like size and like emotions, for cross-validation.

    Args:
        dataset: Rows with a speaker. Rows made by mixing are never tested on, and trained on where both of their
            sources are.
        k: Number of folds, at least 2 and at most the number of speakers.
        seed: Which speakers go where, among equals.
        speaker_column: The column of speakers.
        distribution_column: Whose expected class mass is balanced; without that column only rows are.

    Returns:
        `k` pairs (rows to train on, rows to test on), sorted int64 indices. Every original row is tested on once.

    Raises:
        ValueError: `k` does not fit, or a speaker is missing.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"speaker": ["s1", "s1", "s2", "s3"]})
        >>> sorted(test.tolist() for _, test in speaker_folds(rows, 3))
        [[0, 1], [2], [3]]
    """
    mixed, originals = _without_mixed(dataset)
    speakers = _column(originals, speaker_column)
    names, masses = _masses(originals, speakers, distribution_column)
    if not 2 <= k <= len(names):
        raise ValueError(f"k must be from 2 to the number of speakers, {len(names)}, got {k}.")
    part_of = dict(zip(names, _assign(masses, np.full(k, 1.0 / k), seed), strict=True))
    return _folds(mixed, np.array([part_of[speaker] for speaker in speakers]), k)


def folds_from_column(dataset: Dataset, column: str = "fold", speaker_column: str = "speaker") -> list[Fold]:
    """Return the folds that a column of the data set names.

    Args:
        dataset: Rows with a fold and a speaker. Rows made by mixing are never tested on, and trained on where both of
            their sources are.
        column: The column of folds.
        speaker_column: The column of speakers, to check that none is in two folds.

    Returns:
        One pair (rows to train on, rows to test on) a fold, in the order of the folds' names.

    Raises:
        ValueError: A column is missing or blank, there is one fold only, or a speaker is in two folds.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"speaker": ["a", "b", "b"], "fold": [0, 1, 1]})
        >>> [test.tolist() for _, test in folds_from_column(rows)]
        [[0], [1, 2]]
    """
    mixed, originals = _without_mixed(dataset)
    folds = _column(originals, column)
    names = sorted(set(folds))
    if len(names) < 2:
        raise ValueError(f"Column {column!r} names one fold only ({names[0]!r}). Mend: use speaker_folds.")
    place: dict[Any, Any] = {}
    for speaker, fold in zip(_column(originals, speaker_column), folds, strict=True):
        if place.setdefault(speaker, fold) != fold:
            raise ValueError(
                f"Speaker {speaker!r} is in the folds {place[speaker]!r} and {fold!r} of column {column!r}. "
                "Mend: use speaker_folds."
            )
    return _folds(mixed, np.array([names.index(fold) for fold in folds]), len(names))
