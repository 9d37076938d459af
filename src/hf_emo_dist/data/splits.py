"""Splits and folds that name their protocol, and the check that nothing which is scored was trained on."""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..audio.clips import audio_hash
from ..audio.decoding import AudioError
from .mixed_rows import MixedRows, find_mixed_rows, is_mixed, select_splits
from .rows import is_blank, row_ids

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)

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
    blank = [index for index, value in enumerate(values) if is_blank(value)]
    if blank:
        ids = row_ids(dataset)
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
    return select_splits(dataset, mixed, {split: mixed.originals[parts == index] for index, split in enumerate(wanted)})


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


def draw_order(ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Positions of `ids` in an order that depends on the seed and each id alone, not on the order they come in."""
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


class SplitError(ValueError):
    """A speaker, an utterance or a mixed clip's source is on both sides of a split."""


def check_splits(
    dataset: DatasetDict | Mapping[str, Dataset] | Dataset,
    fold_column: str | None = None,
    audio_column: str | None = "audio",
) -> None:
    """Make sure that nothing which is scored was trained on: no speaker, utterance, recording or mixed clip's source
    crosses.

    Every speaker, every id and every recording must be in one split only, and a row that was mixed from others
    (``mixed_from``) in the split of all of its sources, also of those that were mixed themselves. A mixed row's own
    ``speaker`` says nothing: who speaks in it is known by its sources. Two recordings are one where their audio is the
    same to the byte, whatever their ids, or where they are the same file.

    Args:
        dataset: The splits; or one data set whose `fold_column` names the folds, which are then held apart like splits.
        fold_column: The column of folds.
        audio_column: The column of the audio, which is read for its hash; None does not look at it.

    Raises:
        SplitError: Something crosses. The message names up to ten cases, with both splits.
        ValueError: There is no such column of folds.

    Example:
        >>> from datasets import Dataset
        >>> rows = {"id": ["a", "b"], "speaker": ["s1", "s2"]}
        >>> test = Dataset.from_dict({"id": ["c"], "speaker": ["s1"]})
        >>> check_splits({"train": Dataset.from_dict(rows), "test": test})
        Traceback (most recent call last):
        ...
        hf_emo_dist.data.splits.SplitError: speaker 's1' is in 'train' and in 'test'. Mend: ...
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
            if is_blank(speaker):
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
    found += _shared_recordings(dataset, fold_column, audio_column)
    if unknown:
        logger.warning("rows without a speaker cannot be checked: somebody may speak in more than one split")
    if lost:
        logger.warning("%d mixed rows name sources that are in no split (%s ...)", len(lost), next(iter(lost)))
    if found:
        more = f"; and {len(found) - 10} more" if len(found) > 10 else ""
        raise SplitError(
            f"{'; '.join(found[:10])}{more}. Mend: split by speakers first, then mix within the training split; of "
            "clips with the same audio keep one, with the votes of all."
        )


def _shared_recordings(dataset: Any, fold_column: str | None, audio_column: str | None) -> list[str]:
    """What is said of recordings in two splits or folds; mixed rows, whose audio is others', are passed over."""
    splits = dict(dataset) if isinstance(dataset, Mapping) else {"all": dataset}
    first: dict[str, tuple[str, str]] = {}
    found = []
    for split, rows in splits.items():
        if audio_column is None or audio_column not in rows.column_names or len(splits) + bool(fold_column) < 2:
            continue
        ids = row_ids(rows)
        folds = rows[fold_column][:] if fold_column is not None else None
        mixed = is_mixed(rows)
        for row, digest in enumerate(_recordings(rows, audio_column)):
            if digest is None or mixed[row]:
                continue
            part = split if folds is None else f"fold {folds[row]}"
            name, place = first.setdefault(digest, (ids[row], part))
            if place != part and name != ids[row]:  # one id in two splits is told of already
                found.append(f"utterance {name!r} in {place!r} and {ids[row]!r} in {part!r} are the same recording")
    return found


def _recordings(rows: Dataset, column: str) -> Iterator[str | None]:
    """The hash of each row's audio, or its file's path where it cannot be read; None where there is none."""
    from datasets import Audio

    feature = rows.features[column]
    rows = rows.select_columns([column])
    if isinstance(feature, Audio) and feature.decode:
        rows = rows.cast_column(column, Audio(sampling_rate=feature.sampling_rate, decode=False))
    for row in rows:
        try:
            yield None if row[column] is None else audio_hash(row[column])
        except (AudioError, ModuleNotFoundError):  # what cannot be heard is `check_audio`'s to tell
            path = row[column].get("path") if isinstance(row[column], Mapping) else None
            yield f"file {path}" if path else None


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
