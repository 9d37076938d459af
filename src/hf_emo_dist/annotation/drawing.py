"""`draw_votes`: votes drawn from read-outs that a data set has, at any number and temperature; nothing is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from ..emotions import MissingColumnError
from ..votes import is_batch
from .readout.probabilities import distribution_at, draw_labels

#: -ln of the least number above 0, and of a share that matters to no draw.
_UNDERFLOW, _MATTERS = 745.0, 20.0
_COLUMN = "synthetic_annotations"


def draw_votes(
    example_or_batch: Mapping[str, Any], num_votes: int = 10, temperature: float | None = None, seed: int = 42
) -> dict[str, Any]:
    """Draw votes from stored read-outs; a function for ``Dataset.map``.

    A read-out is the limit of ever more votes of its annotator. This draws the votes that such an annotator would have
    given by sampling: for studies of how many votes are worth having, and for what reads votes only. The members of a
    panel take turns, in their order; row and seed decide, so that the votes of a smaller `num_votes` are the first ones
    of a larger. Takes one example or a batch, and returns the one column ``synthetic_votes``: the labels that are among
    the annotations, then those that were drawn. These are never evidence beside their read-outs: `VoteCombiner` keeps
    to the read-outs, and `combine_votes` counts the votes and leaves the read-outs out.

    Args:
        example_or_batch: A row or a batch of rows with ``synthetic_annotations``, and ``id`` where there is one.
        num_votes: To draw for each row, from 0.
        temperature: Of whole answers, from 0; in place of those that the annotators had, at which votes are drawn by
            default.
        seed: Of the draws.

    Returns:
        ``{"synthetic_votes": …}``: a list of labels, or for a batch a list of lists. Rows that were not annotated, or
        mixed, have no drawn ones.

    Raises:
        MissingColumnError: There is no ``synthetic_annotations``.
        ValueError: A row has annotations and no read-out among them, or an argument is out of range.

    Example:
        >>> read = {"label": None, "distribution": {"happy": 0.2, "sad": 0.8}, "mode": "readout", "temperature": None}
        >>> draw_votes({"id": "a", "synthetic_annotations": [read]}, num_votes=5)
        {'synthetic_votes': ['sad', 'sad', 'sad', 'sad', 'sad']}
        >>> draw_votes({"id": "a", "synthetic_annotations": [read]}, num_votes=3, temperature=2)
        {'synthetic_votes': ['sad', 'happy', 'sad']}
    """
    if isinstance(num_votes, bool) or not isinstance(num_votes, int) or num_votes < 0:
        raise ValueError(f"`num_votes` is {num_votes!r}. Mend: a whole number from 0.")
    if temperature is not None and not (np.isfinite(temperature) and temperature >= 0):
        raise ValueError(f"`temperature` is {temperature!r}. Mend: a number from 0, or None for the annotators' own.")
    if _COLUMN not in example_or_batch:
        raise MissingColumnError(
            f"No column {_COLUMN!r} among {', '.join(example_or_batch)}. Mend: annotate in mode 'readout' first."
        )
    batched = is_batch(example_or_batch)
    column = example_or_batch[_COLUMN] if batched else [example_or_batch[_COLUMN]]
    ids = example_or_batch.get("id") if "id" in example_or_batch else None
    if ids is None and len(column):
        raise MissingColumnError("No column 'id', which the draws depend on. Mend: give each row one.")
    names = ids if batched else [ids]
    drawn = [
        _votes(str(row_id), entries or [], num_votes, temperature, seed)
        for row_id, entries in zip(names or [], column, strict=True)
    ]
    return {"synthetic_votes": drawn if batched else drawn[0]}


def _votes(row_id: str, entries: Any, number: int, temperature: float | None, seed: int) -> list[str]:
    labels = [entry["label"] for entry in entries if entry.get("label") is not None]
    read = [entry for entry in entries if entry.get("mode") == "readout" and entry.get("distribution")]
    if entries and not read:
        raise ValueError(
            f"Row {row_id!r} has {len(entries)} annotations and no read-out among them. Mend: annotate in mode "
            "'readout'."
        )
    if not read:
        return labels
    emotions = list(read[0]["distribution"])
    shares = [_at(row_id, entry, emotions, temperature) for entry in read]
    return labels + [emotions[place] for place in draw_labels(shares, number, seed, row_id)]


def _at(row_id: str, entry: Mapping[str, Any], emotions: list[str], temperature: float | None) -> Any:
    """A read-out's distribution at another temperature than its annotator's."""
    shares = np.array([entry["distribution"][name] for name in emotions], dtype=np.float64)
    own = entry.get("temperature")
    # The column has it in single precision.
    if temperature is None or (own is not None and math.isclose(temperature, own, rel_tol=1e-6)):
        return shares / shares.sum()
    if own == 0:
        raise ValueError(
            f"Row {row_id!r}: a read-out at temperature 0 says which label is most probable and nothing of the others. "
            "Mend: annotate again without temperature (nothing but time is spent), or leave `temperature` out here."
        )
    heat = 1.0 if own is None else float(own)
    # What is stored as 0 may have had exp(-745 T) of the largest share at 1, which is as much to 1/T' at T'.
    if not shares.all() and temperature > 0 and _UNDERFLOW * heat / temperature < _MATTERS:
        raise ValueError(
            f"Row {row_id!r}: at temperature {heat:.3g} the shares of some labels are too small for a number, and "
            f"those at {temperature:.3g} cannot be told from them. Mend: annotate again without temperature (nothing "
            "but time is spent), or leave `temperature` out here."
        )
    # p at T has the logarithms ln p1 / T, but for a constant: times T they are those at 1.
    with np.errstate(divide="ignore"):
        return distribution_at(np.log(shares) * heat, temperature)
