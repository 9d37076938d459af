"""Votes: counting them, pooling human and synthetic ones, and turning them into distributions.

What only computes with counts and distributions is in :mod:`hf_emo_dist.distributions`, what converts struct columns
in :mod:`hf_emo_dist.columns`; both are offered from here too.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from .batches import columns_of, is_table, with_added
from .columns import distribution_feature, distributions_to_matrix, each, matrix_to_distributions, to_list
from .distributions import (
    Empty,
    FloatArray,
    ambiguity_strata,
    check_choice,
    counts_to_distribution,
    dominant,
    dominant_ties,
    entropy,
    posterior_mean,
)
from .emotions import MissingColumnError, canonical_emotion, validate_emotions

__all__ = [
    "ambiguity_strata",
    "combine_votes",
    "count_votes",
    "counts_to_distribution",
    "distribution_feature",
    "distributions_to_matrix",
    "dominant",
    "dominant_ties",
    "entropy",
    "matrix_to_distributions",
    "posterior_mean",
    "rater_squares",
    "vote_counts_matrix",
    "votes_to_distribution",
]

Outside = Literal["error", "drop"]


def _count(
    votes: Any, emotions: tuple[str, ...], weights: Any, outside: str, where: str, seen: dict[Any, int]
) -> FloatArray:
    """Count one row."""
    counts = np.zeros(len(emotions))
    for index, amount in zip(*_places(votes, emotions, weights, outside, where, seen), strict=True):
        if index >= 0:
            counts[index] += amount
    return counts


def _places(
    votes: Any, emotions: tuple[str, ...], weights: Any, outside: str, where: str, seen: dict[Any, int]
) -> tuple[list[int], FloatArray]:
    """The place of each vote of a row among the emotions (-1: outside), and its weight.

    `seen` remembers labels already looked up, so that long columns stay fast.
    """
    if isinstance(votes, (str, bytes)) or not hasattr(votes, "__iter__"):
        raise TypeError(f"{where}votes must be a list of labels, one a vote, got {votes!r}. Mend: split it first.")
    labels = list(votes)
    if weights is None:
        amounts = np.ones(len(labels))
    else:
        amounts = np.asarray(list(weights), dtype=np.float64)
        if amounts.shape != (len(labels),):
            raise ValueError(f"{where}{len(labels)} votes but {amounts.size} weights. Mend: give one weight a vote.")
        if not np.isfinite(amounts).all() or (amounts < 0).any():
            raise ValueError(f"{where}vote weights must be finite and not negative, got {amounts.tolist()}.")
    places = []
    for label in labels:
        index = seen.get(label) if isinstance(label, str) else None
        if index is None:
            try:
                index = emotions.index(canonical_emotion(label, emotions))
            except ValueError as error:
                if outside == "error" or not isinstance(label, str) or not label.strip():
                    mend = (
                        "Mend: correct the label, or add it to `emotions`, on the command line --emotions; in Python "
                        "outside='drop' leaves such votes out."
                    )
                    raise type(error)(f"{where}{error} {mend}") from None
                index = -1
            seen[label] = index
        places.append(index)
    return places, amounts


def count_votes(
    votes: Sequence[str],
    emotions: Sequence[str],
    weights: Sequence[float] | None = None,
    outside: Outside = "error",
) -> FloatArray:
    """Count the votes for each emotion.

    Args:
        votes: One label a vote; other spellings of an emotion count for it.
        emotions: The label set, K labels.
        weights: One weight a vote, finite and not negative (a rater who gives m tags gives each 1/m). Default: 1 each.
        outside: What becomes of a vote for something not among `emotions`: ``"error"``, or ``"drop"`` that vote.

    Returns:
        float64 array (K,), in the order of `emotions`, in votes. All zeros where there are no votes.

    Raises:
        UnknownEmotionError: A label is not among `emotions` (with ``outside="error"``), or is empty or no string.
        ValueError: The weights do not fit.

    Example:
        >>> count_votes(["angry", "Anger", "sad"], ["angry", "happy", "sad"])
        array([2., 0., 1.])
    """
    check_choice("outside", outside, ("error", "drop"))
    return _count(votes, validate_emotions(emotions), weights, outside, "", {})


def votes_to_distribution(
    votes: Sequence[str],
    emotions: Sequence[str],
    weights: Sequence[float] | None = None,
    empty: Empty = "error",
    outside: Outside = "error",
) -> FloatArray | None:
    """Turn the votes for one utterance into a distribution: :func:`count_votes`, divided by the sum.

    Returns:
        float64 array (K,) that sums to 1, or ``None`` for a row without votes and ``empty="drop"``.

    Example:
        >>> votes_to_distribution(["sad", "sad", "happy", "neutral"], ["happy", "neutral", "sad"])
        array([0.25, 0.25, 0.5 ])
    """
    return counts_to_distribution(count_votes(votes, emotions, weights, outside), empty)


def vote_counts_matrix(
    human_votes_column: Any,
    emotions: Sequence[str],
    weights_column: Any | None = None,
    ids: Sequence[Any] | None = None,
    outside: Outside = "error",
) -> FloatArray:
    """Count the votes of every row, for likelihood losses and for the log-likelihood a vote.

    Args:
        human_votes_column: N lists of labels, or null.
        emotions: The label set, K labels.
        weights_column: N lists of vote weights, or null for a row of weights 1.
        ids: The rows' ids, for messages. Default: row numbers.
        outside: As for :func:`count_votes`.

    Returns:
        float64 matrix (N, K), in votes; all zeros in a row without votes.

    Raises:
        UnknownEmotionError: A label is not among `emotions`; the message names the row.
        ValueError: The weights do not fit.

    Example:
        >>> vote_counts_matrix([["sad", "sad"], None], ["angry", "sad"])
        array([[0., 2.],
               [0., 0.]])
    """
    check_choice("outside", outside, ("error", "drop"))
    names = validate_emotions(emotions)
    rows, weights = _sized(human_votes_column), None if weights_column is None else _sized(weights_column)
    if weights is not None and len(weights) != len(rows):
        raise ValueError(f"{len(rows)} rows of votes but {len(weights)} rows of weights.")
    counts = np.zeros((len(rows), len(names)))
    seen: dict[Any, int] = {}
    for index, (votes, row_weights) in enumerate(zip(each(rows), _each_or_none(weights), strict=False)):
        if votes is not None:
            where = f"Row {index if ids is None else ids[index]!r}: "
            counts[index] = _count(votes, names, row_weights, outside, where, seen)
    return counts


def rater_squares(
    human_votes_column: Any,
    emotions: Sequence[str],
    weights_column: Any | None = None,
    raters_column: Any | None = None,
    ids: Sequence[Any] | None = None,
    outside: Outside = "error",
) -> FloatArray:
    """What must be known of each row's raters beside its counts, where a rater may give several tags.

    The noise of shares depends on who gave which part of them: two listeners with one tag each are less sure than two
    who both split their vote over the same two tags, and their counts are the same. See
    :func:`hf_emo_dist.scores.raters.share_noise`.

    Args:
        human_votes_column: N lists of labels, or null.
        emotions: The label set, K labels.
        weights_column: N lists of vote weights, or null for a row of weights 1.
        raters_column: N lists of who gave each vote, or null. Where that is not known, votes with weights under 1 are
            one rater's until they sum to 1. A vote with weight 1 is a rater's only one in any case.
        ids: The rows' ids, for messages. Default: row numbers.
        outside: As for :func:`count_votes`.

    Returns:
        float64 (N, 2): the sum over the raters of the square of what each gave in all, and of the squares of what each
        gave to each emotion. Of n raters with one tag each both are n.

    Raises:
        UnknownEmotionError: A label is not among `emotions`; the message names the row.
        ValueError: The weights or raters do not fit.

    Example:
        >>> votes = [["sad", "angry", "sad"], ["sad", "sad"]]
        >>> rater_squares(votes, ["angry", "sad"], [[0.5, 0.5, 1.0], None])
        array([[2. , 1.5],
               [2. , 2. ]])
    """
    check_choice("outside", outside, ("error", "drop"))
    names = validate_emotions(emotions)
    rows = _sized(human_votes_column)
    weights, raters = (None if column is None else _sized(column) for column in (weights_column, raters_column))
    wrong = [len(rows if column is None else column) for column in (weights, raters)]
    if wrong != [len(rows)] * 2:
        raise ValueError(f"{len(rows)} rows of votes, but {wrong[0]} of weights and {wrong[1]} of raters.")
    squares = np.zeros((len(rows), 2))
    seen: dict[Any, int] = {}
    columns = zip(each(rows), _each_or_none(weights), _each_or_none(raters), strict=False)
    for row, (votes, own_weights, own_raters) in enumerate(columns):
        if votes is None:
            continue
        where = f"Row {row if ids is None else ids[row]!r}: "
        places, amounts = _places(votes, names, own_weights, outside, where, seen)
        if own_raters is not None and len(own_raters) != len(places):
            raise ValueError(f"{where}{len(places)} votes but {len(own_raters)} raters. Mend: give one rater a vote.")
        given: dict[Any, dict[int, float]] = {}
        for place, amount, rater in zip(places, amounts.tolist(), _raters(amounts, own_raters), strict=True):
            if place >= 0:
                tags = given.setdefault(rater, {})
                tags[place] = tags.get(place, 0.0) + amount
        squares[row] = (
            sum(sum(tags.values()) ** 2 for tags in given.values()),
            sum(part**2 for tags in given.values() for part in tags.values()),
        )
    return squares


def _sized(column: Any) -> Any:
    """A column that says how many rows it has."""
    return column if hasattr(column, "__len__") else to_list(column)


def _each_or_none(column: Any | None) -> Iterator[Any]:
    """The entries of a column, or None for ever."""
    return itertools.repeat(None) if column is None else each(column)


def _raters(weights: FloatArray, names: Sequence[Any] | None) -> list[Any]:
    """Whose each vote of a row is."""
    found: list[Any] = []
    total, number = 0.0, 0
    for place, weight in enumerate(weights.tolist()):
        if weight >= 1 - 1e-3:
            found.append(("alone", place))
        elif names is not None and names[place] not in (None, ""):
            found.append(("named", names[place]))
        else:
            found.append(("run", number))
            total += weight
            if total >= 1 - 1e-3:
                total, number = 0.0, number + 1
    return found


#: The columns that combine_votes may read, beside the two that it writes.
_VOTE_COLUMNS = ("human_votes", "synthetic_votes", "human_vote_weights", "synthetic_annotations", "mixed_from")
_WRITTEN = ("human_distribution", "emotion_distribution")


def combine_votes(
    example_or_batch: Mapping[str, Any],
    emotions: Sequence[str] | None = None,
    empty: Empty = "error",
    outside: Outside = "error",
    human_weight: float = 1.0,
    synthetic_weight: float = 1.0,
    distribution_weight: float = 1.0,
) -> Any:
    """Count human and synthetic votes into the two distribution columns; a function for ``Dataset.map``.

    The defaults pool as arXiv 2601.14620 does: the two lists of labels are concatenated and counted, one vote each.
    Takes one example or a batch, so that ``ds.map(f)`` and ``ds.map(f, batched=True)`` agree, and returns only the
    columns it adds. Reads ``human_votes`` and, where they exist, ``human_vote_weights``, ``synthetic_votes``,
    ``synthetic_annotations``, ``mixed_from`` and ``id``.

    An entry of ``synthetic_annotations`` that states a distribution and no label adds that distribution, as
    `distribution_weight` votes, and so does a read-out, unless votes were drawn from it (`draw_votes`): these are among
    ``synthetic_votes`` then, and count in its place. One with a label counts once, as its label. Where there is no
    ``synthetic_votes``, the labels are taken from ``synthetic_annotations``.

    A row that came from mixing two others (``mixed_from`` is not empty) has no votes: its ``human_distribution`` is
    ``None`` and its ``emotion_distribution`` stays as it is.

    Args:
        example_or_batch: A row or a batch of rows.
        emotions: The label set. Default: the fields, in their order, of the ``human_distribution`` (else
            ``emotion_distribution``) that is already there.
        empty: What becomes of a distribution without votes behind it: ``"error"``; ``"drop"``, which writes ``None``
            so that the row can be filtered out; or ``"uniform"``. It holds for each of the two columns by itself: a
            row with synthetic votes only is empty in ``human_distribution`` and not in ``emotion_distribution``.
        outside: What becomes of a vote for something not among `emotions`: ``"error"``, or ``"drop"`` that vote.
        human_weight: Votes that a human vote counts for in ``emotion_distribution``.
        synthetic_weight: Votes that a synthetic label counts for.
        distribution_weight: Votes that a stated distribution, or a read-out, counts for.

    Returns:
        ``{"human_distribution": ..., "emotion_distribution": ...}``: a dict (emotion to float) or ``None`` each; for
        a batch, lists of these. A batch of Ray Data (``map_batches(…, batch_format="pyarrow")``) is a table, which
        comes back with both columns.

    Raises:
        KeyError: There is no ``human_votes`` column.
        UnknownEmotionError: A label is not among `emotions`; the message names the row.
        ValueError: A row is empty with ``empty="error"``, a weight is out of range, or `emotions` is needed.

    Example:
        >>> row = {"id": "a", "human_votes": ["sad", "sad", "happy"], "synthetic_votes": ["sad"]}
        >>> combine_votes(row, emotions=["happy", "sad"])["emotion_distribution"]
        {'happy': 0.25, 'sad': 0.75}
    """
    check_choice("empty", empty, ("error", "drop", "uniform"))
    check_choice("outside", outside, ("error", "drop"))
    weights = {"human": human_weight, "synthetic": synthetic_weight, "distribution": distribution_weight}
    for name, weight in weights.items():
        if not np.isfinite(weight) or weight < 0:
            raise ValueError(f"`{name}_weight` must be finite and not negative, got {weight}.")
    if is_table(example_or_batch):
        rest = (emotions, empty, outside, human_weight, synthetic_weight, distribution_weight)
        return with_added(example_or_batch, combine_votes(columns_of(example_or_batch), *rest))
    if "human_votes" not in example_or_batch:
        there = ", ".join(example_or_batch)
        raise MissingColumnError(
            f"No column 'human_votes' among {there}. Mend: name the column of votes so, with rename_column."
        )
    batched = is_batch(example_or_batch)
    columns = {
        name: example_or_batch[name] if batched else [example_or_batch[name]]
        for name in ("id", *_VOTE_COLUMNS, *_WRITTEN)
        if name in example_or_batch
    }
    names = _emotions_of(columns) if emotions is None else validate_emotions(emotions)
    written: dict[str, list[dict[str, float] | None]] = {name: [] for name in _WRITTEN}
    seen: dict[Any, int] = {}
    for index in range(len(columns["human_votes"])):
        row = {name: column[index] for name, column in columns.items()}
        where = f"Row {row['id']!r}: " if "id" in row else f"Row {index} of the batch: " if batched else ""
        mixed_from = row.get("mixed_from")
        if mixed_from is not None and len(mixed_from):  # an array has no truth value
            pair: tuple[Any, Any] = (None, row.get("emotion_distribution"))
        else:
            human, synthetic = _row_counts(row, names, outside, where, seen, synthetic_weight, distribution_weight)
            total = human_weight * human + synthetic
            pair = (
                _struct(human, names, empty, f"{where}no human vote for any of {', '.join(names)}"),
                _struct(total, names, empty, f"{where}no vote of any weight for any of {', '.join(names)}"),
            )
        for name, value in zip(_WRITTEN, pair, strict=True):
            written[name].append(value)
    return dict(written) if batched else {name: values[0] for name, values in written.items()}


def is_batch(row: Mapping[str, Any]) -> bool:
    """Say whether this is a batch. Only the columns that are needed are looked at: others may hold audio to decode."""
    if "id" in row:
        return not isinstance(row["id"], str) and hasattr(row["id"], "__len__")
    for name in _VOTE_COLUMNS:
        if name in row:
            if row[name] is None:  # A batch has a list in every column.
                return False
            entries = list(row[name])
            if entries:
                # A row has a list of labels, numbers or structs; a batch has a list of such lists, or of nulls.
                return all(entry is None or hasattr(entry, "__len__") for entry in entries) and not any(
                    isinstance(entry, (str, Mapping)) for entry in entries
                )
    return False


def _emotions_of(columns: Mapping[str, Any]) -> tuple[str, ...]:
    for name in _WRITTEN:
        for struct in columns.get(name, ()):
            if struct is not None:
                return validate_emotions(list(struct))
    raise ValueError("`emotions` is needed: there is no human_distribution to take it from. Mend: pass emotions=[...].")


def _row_counts(
    row: Mapping[str, Any],
    names: tuple[str, ...],
    outside: str,
    where: str,
    seen: dict[Any, int],
    synthetic_weight: float,
    distribution_weight: float,
) -> tuple[FloatArray, FloatArray]:
    """Return the counts of the human votes, and the weighted counts of everything synthetic."""
    votes = row["human_votes"]
    human = _count([] if votes is None else votes, names, row.get("human_vote_weights"), outside, where, seen)
    annotations = row.get("synthetic_annotations")
    annotations = [] if annotations is None else list(annotations)
    said = [entry["label"] for entry in annotations if entry.get("label") is not None]
    labels = row.get("synthetic_votes")
    if labels is None:
        labels = said
    # More votes than labels were drawn from read-outs (`annotation.draw_votes`), which are no evidence beside them.
    drawn = len(labels) > len(said)
    synthetic = synthetic_weight * _count(labels, names, None, outside, f"{where}synthetic vote: ", seen)
    stated = [
        entry["distribution"]
        for entry in annotations
        if entry.get("label") is None
        and not (drawn and entry.get("mode") == "readout")
        and entry.get("distribution") is not None
        and any(value is not None for value in entry["distribution"].values())
    ]
    if stated:
        ids = [f"{where}annotation {position}" for position in range(len(stated))]
        column = "distribution"
        synthetic += distribution_weight * distributions_to_matrix(stated, names, ids, column, atol=0.02).sum(axis=0)
    return human, synthetic


def _struct(counts: FloatArray, names: tuple[str, ...], empty: Empty, problem: str) -> dict[str, float] | None:
    if empty == "error" and counts.sum() == 0:
        raise ValueError(f"{problem}. Mend: leave the row out, or pass empty='drop' or empty='uniform'.")
    values = counts_to_distribution(counts, empty)
    return None if values is None else dict(zip(names, values.tolist(), strict=True))
