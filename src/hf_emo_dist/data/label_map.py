"""Scoring across corpora: labels that are merged or left out, one corpus's in the classes of another or of a model."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..columns import distributions_to_matrix
from ..distributions import FloatArray, dominant
from ..emotions import canonical_emotion, is_known_emotion, validate_emotions
from .rows import row_ids


class NoVotesError(ValueError):
    """A corpus without listeners' votes, asked for a distribution."""


def refuse_without_votes(columns: Sequence[str], column: str) -> None:
    """Refuse a data set that has intended labels instead of the distribution column that is wanted."""
    if column not in columns and "intended" in columns and "human_votes" not in columns:
        raise NoVotesError(
            f"There is no column {column!r}: this corpus has intended labels only (column 'intended'). Nobody voted on "
            "it, so it has no distribution to train on or to score against. Mend: use a corpus with votes, add votes "
            "with annotation, or score the dominant class alone with dominant_classes."
        )


def refuse_unknown_labels(emotions: Sequence[str], labels: Sequence[str], name: str) -> None:
    """Refuse a label set with a name that is neither a known emotion nor one of the data's labels: a misspelling."""
    unknown = [emotion for emotion in emotions if emotion not in labels and not is_known_emotion(emotion)]
    if unknown:
        raise ValueError(
            f"emotions names {', '.join(unknown)}, which is no known emotion and no label of {name!r} (it has "
            f"{', '.join(labels)}). Mend: correct the spelling."
        )


def _targets(labels: Sequence[str], names: tuple[str, ...], label_map: Mapping[str, str | None] | None) -> list[int]:
    """The class of each label, -1 for none. A label that the map does not name stands for itself."""
    given = {canonical_emotion(old): new for old, new in (label_map or {}).items()}
    targets = []
    for label in labels:
        name = canonical_emotion(label)
        new = given.get(name, name)
        if new is None:
            targets.append(-1)
            continue
        new = canonical_emotion(new)
        if name in given and new not in names:
            raise ValueError(f"The label map sends {name!r} to {new!r}, which is none of {', '.join(names)}.")
        targets.append(names.index(new) if new in names else -1)
    return targets


def map_distributions(
    column: Any, emotions: Sequence[str], label_map: Mapping[str, str | None] | None = None, ids: Any = None
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Express distributions over one label set in another: mass is added up by class, the rest left out.

    Args:
        column: N structs over the corpus's labels.
        emotions: The classes wanted, K of them.
        label_map: Label to class, or to None where its mass counts for nothing. A label that is not named stands for
            itself if it is a class, else for nothing.
        ids: The rows' ids, for messages.

    Returns:
        float64 matrix (N, K) whose rows sum to 1, all zeros where no mass is left; and which rows have any, (N,) bool.

    Raises:
        ValueError: The map names a class that does not exist, or a row is no distribution.

    Example:
        >>> rows = [{"joy": 0.5, "sad": 0.25, "bored": 0.25}, {"joy": 0.0, "sad": 0.0, "bored": 1.0}]
        >>> matrix, kept = map_distributions(rows, ["happy", "sad"], {"joy": "happy"})
        >>> matrix.round(3).tolist(), kept.tolist()
        ([[0.667, 0.333], [0.0, 0.0]], [True, False])
    """
    names = validate_emotions(emotions)
    rows = list(column)
    if not rows:
        return np.zeros((0, len(names))), np.zeros(0, dtype=bool)
    labels = tuple(next((row for row in rows if row is not None), {}))
    values = distributions_to_matrix(rows, labels, ids=ids, column_name="human_distribution")
    matrix = np.zeros((len(rows), len(names)))
    for source, target in enumerate(_targets(labels, names, label_map)):
        if target >= 0:
            matrix[:, target] += values[:, source]
    sums = matrix.sum(axis=1)
    kept = sums > 0
    matrix[kept] /= sums[kept, None]
    return matrix, kept


def dominant_classes(
    dataset: Any, emotions: Sequence[str], label_map: Mapping[str, str | None] | None = None
) -> NDArray[np.int64]:
    """Return the class of every row: that of most votes, or the intended one where nobody voted.

    Args:
        dataset: A ``datasets.Dataset`` with ``human_distribution``, or else with ``intended``.
        emotions: The classes, in the order of the model.
        label_map: As for :func:`map_distributions`.

    Returns:
        int64 array (N,) of positions in `emotions`; -1 where a row belongs to none of them.

    Raises:
        ValueError: There is neither column, or the map names a class that does not exist.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_dict({"intended": ["calm", "sad", "fear"]})
        >>> dominant_classes(rows, ["neutral", "sad"], {"calm": "neutral"})
        array([ 0,  1, -1])
    """
    names = validate_emotions(emotions)
    if "human_distribution" in dataset.column_names:
        matrix, kept = map_distributions(dataset["human_distribution"][:], names, label_map, row_ids(dataset))
        classes = np.full(len(matrix), -1, dtype=np.int64)
        if kept.any():
            classes[kept] = dominant(matrix[kept])
        return classes
    if "intended" not in dataset.column_names:
        raise ValueError(
            f"There is neither 'human_distribution' nor 'intended' (there are {', '.join(dataset.column_names)}). "
            "Mend: name the column that holds the classes so."
        )
    labels = dataset["intended"][:]
    found = [label for label in dict.fromkeys(labels) if label]
    target = dict(zip(found, _targets(found, names, label_map), strict=True))
    return np.array([target.get(label, -1) for label in labels], dtype=np.int64)


def common_emotions(label_sets: Sequence[Sequence[str]], mapping: Mapping[str, str | None]) -> tuple[str, ...]:
    """The emotions, two at least, that all label sets have after the map, in the order of the first."""
    mapped = [[mapping.get(name, name) for name in names] for names in label_sets]
    kept = tuple(
        dict.fromkeys(name for name in mapped[0] if name is not None and all(name in names for names in mapped))
    )
    if len(kept) < 2:
        told = "; ".join(", ".join(names) for names in label_sets)
        raise ValueError(f"Fewer than two emotions are common to {told}. Mend: give a label map such as excited=happy.")
    return kept


def label_matrix(emotions: Sequence[str], common: Sequence[str], mapping: Mapping[str, str | None]) -> FloatArray:
    """Zeros and ones (K, C): which of the common emotions each emotion counts as, none where it is left out."""
    matrix = np.zeros((len(emotions), len(common)))
    for place, name in enumerate(emotions):
        target = mapping.get(name, name)
        if target is not None and target in common:
            matrix[place, list(common).index(target)] = 1.0
    return matrix
