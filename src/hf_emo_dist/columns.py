"""Distribution columns: structs with one float field an emotion, to and from matrices.

A vector over emotions exists only inside NumPy, in the order of the ``emotions`` that were given. In a data set a
distribution is a struct with one float field an emotion, so that labels and numbers cannot be mixed up.
:mod:`hf_emo_dist.votes` offers all of it too.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from .distributions import FloatArray
from .emotions import validate_emotions

_AT_A_TIME = 500


def distribution_feature(emotions: Sequence[str]) -> dict[str, Any]:
    """Return the `datasets` feature of a distribution column: a struct with one float64 field an emotion.

    float64, because that is what NumPy computes in and what `datasets` infers from Python floats: a column keeps its
    exact values and its type whether or not features were declared.

    Example:
        >>> distribution_feature(["angry", "sad"])
        {'angry': Value('float64'), 'sad': Value('float64')}
    """
    from datasets import Value

    return {emotion: Value("float64") for emotion in validate_emotions(emotions)}


def matrix_to_distributions(matrix: ArrayLike, emotions: Sequence[str]) -> list[dict[str, float]]:
    """Turn rows of a matrix into structs, the form of a distribution column.

    Args:
        matrix: (N, K), in the order of `emotions`.
        emotions: The label set, K labels.

    Returns:
        N dicts, emotion to float, in the order of `emotions`.

    Raises:
        ValueError: The matrix has not one column an emotion.

    Example:
        >>> matrix_to_distributions([[0.25, 0.75]], ["angry", "sad"])
        [{'angry': 0.25, 'sad': 0.75}]
    """
    names = validate_emotions(emotions)
    values = np.asarray(matrix, dtype=np.float64)
    if values.ndim != 2 or values.shape[1] != len(names):
        raise ValueError(f"Expected a matrix of shape (N, {len(names)}) for {', '.join(names)}, got {values.shape}.")
    return [dict(zip(names, row, strict=True)) for row in values.tolist()]


def distributions_to_matrix(
    column: Any,
    emotions: Sequence[str],
    ids: Sequence[Any] | None = None,
    column_name: str = "emotion_distribution",
    atol: float = 1e-3,
) -> FloatArray:
    """Turn a distribution column into a matrix, refusing whatever is not a distribution over just these emotions.

    Args:
        column: N structs: a list of dicts, a column of a `datasets.Dataset`, or a pyarrow array. The order of a
            struct's fields does not matter.
        emotions: The label set, K labels; decides the order of the matrix's columns.
        ids: The rows' ids, for messages. Default: row numbers.
        column_name: For messages.
        atol: How far a row's sum may be from 1. Rows are then divided by their sum.

    Returns:
        float64 matrix (N, K) whose rows sum to 1.

    Raises:
        TypeError: The column holds something other than structs, such as bare vectors.
        ValueError: A row is null, has other labels, has a missing, NaN, infinite or negative number, or does not sum
            to 1. The message names the row, the column and the mend.

    Example:
        >>> distributions_to_matrix([{"sad": 0.25, "angry": 0.75}], ["angry", "sad"])
        array([[0.75, 0.25]])
    """
    names = validate_emotions(emotions)
    wanted = set(names)

    def row_name(index: int) -> str:
        return f"{column_name!r} of row {index if ids is None else ids[index]!r}"

    flat = array("d")
    for index, row in enumerate(each(column)):
        if row is not None and not isinstance(row, Mapping):
            raise TypeError(
                f"{row_name(index)} is {type(row).__name__}, not a struct with one number an emotion. "
                f"Mend: convert it with matrix_to_distributions(matrix, emotions)."
            )
        # Some versions of datasets read a null struct back as a struct of nulls.
        if row is None or (row and all(value is None for value in row.values())):
            raise ValueError(
                f"{row_name(index)} is null: the row has no labels. "
                f"Mend: leave such rows out, dataset.filter(lambda row: row[{column_name!r}] is not None)."
            )
        if row.keys() != wanted:
            extra, lacking = sorted(row.keys() - wanted), [name for name in names if name not in row]
            detail = "; ".join(
                f"{word} {', '.join(labels)}" for word, labels in (("without", lacking), ("with", extra)) if labels
            )
            raise ValueError(
                f"{row_name(index)} has the labels {', '.join(row)}, but the emotions are {', '.join(names)} "
                f"({detail}). Mend: pass emotions={list(row)!r}, or combine the votes anew with combine_votes."
            )
        flat.extend(np.nan if row[name] is None else float(row[name]) for name in names)
    values = np.array(flat).reshape(-1, len(names))
    sums = values.sum(axis=1)
    # Written so that NaN counts as bad.
    bad = ~(np.isfinite(values).all(axis=1) & (values >= 0).all(axis=1) & (np.abs(sums - 1.0) <= atol))
    if bad.any():
        first = int(np.flatnonzero(bad)[0])
        if np.isfinite(values[first]).all() and (values[first] >= 0).all():
            why = f"sums to {sums[first]:.6g}, not 1. Mend: divide by the sum, or count the votes with combine_votes"
        else:
            why = "has a missing, NaN, infinite or negative number. Mend: correct the row or leave it out"
        given = ", ".join(f"{name}={value:g}" for name, value in zip(names, values[first], strict=True))
        more = f" ({int(bad.sum())} such rows in all)" if bad.sum() > 1 else ""
        raise ValueError(f"{row_name(first)} {why}. It holds {given}{more}.")
    return np.asarray(values / sums[:, None])


def each(column: Any) -> Iterator[Any]:
    """The entries of a column one after the other, of which no more than some hundred are in memory at a time: of a
    list, a `datasets` column, a pyarrow array, or an iterator.
    """
    if hasattr(column, "to_pylist"):
        return (entry for at in range(0, len(column), _AT_A_TIME) for entry in column[at : at + _AT_A_TIME].to_pylist())
    if isinstance(column, (str, bytes, Mapping)) or not hasattr(column, "__iter__"):
        raise TypeError(f"Expected a column (a list with one entry a row), got {type(column).__name__}.")
    return iter(column)


def to_list(column: Any) -> list[Any]:
    """Return a column as a plain list: a list, a `datasets` column, or a pyarrow array."""
    return list(each(column))
