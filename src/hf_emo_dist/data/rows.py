"""What the reports need to know of a data set: its columns, who speaks, and what must be said about its votes."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import Any

import numpy as np

#: With fewer speakers than this, intervals over them are rough, which every table says.
FEW_SPEAKERS = 8
#: Who gave simulated synthetic votes, as a data set's card says it: then it is not the data that is simulated.
SIMULATED_ANNOTATORS = "a stated rater model, SIMULATED"

# Corpora whose licences do not let their audio be passed on; a column `restricted`, or a card, says it of any other.
_RESTRICTED_CORPORA = frozenset({"iemocap", "msp_podcast", "msp-podcast"})


def says_restricted(restricted: Iterable[Any] | None, corpora: Iterable[Any] | None = None) -> bool:
    """Whether any value of the columns `restricted` and `corpus` says that the data may not be passed on.

    Example:
        >>> says_restricted([None, False], ["IEMOCAP"]), says_restricted([True]), says_restricted(None)
        (True, True, False)
    """
    return any(restricted or ()) or any(str(name or "").lower() in _RESTRICTED_CORPORA for name in corpora or ())


def column_of(rows: Any, name: str) -> list[Any] | None:
    """One column of a `Dataset` or of a sequence of mappings as a list; `None` where there is no such column.

    Example:
        >>> column_of([{"id": "a"}, {"id": "b"}], "id"), column_of([{"id": "a"}], "speaker")
        (['a', 'b'], None)
    """
    if hasattr(rows, "column_names"):
        return list(rows[name]) if name in rows.column_names else None
    if not any(name in row for row in rows):
        return None
    return [row.get(name) for row in rows]


def lazy_column(rows: Any, name: str) -> Any | None:
    """One column as `column_of` gives it, to go through entry by entry: of a `Dataset` only some rows are in memory at
    a time. For lists and structs, which are a hundred times as large as Python's objects as they are in Arrow.

    Example:
        >>> list(lazy_column([{"votes": ["sad"]}, {"votes": None}], "votes")), lazy_column([{"id": "a"}], "votes")
        ([['sad'], None], None)
    """
    if hasattr(rows, "column_names"):
        return rows[name] if name in rows.column_names else None
    return column_of(rows, name)


def row_ids(rows: Any) -> list[str]:
    """The rows' ids, or their numbers where they have none.

    Example:
        >>> row_ids([{"id": "a"}, {"id": None}])
        ['a', '1']
    """
    ids = lazy_column(rows, "id")
    return [str(i) if name is None else str(name) for i, name in enumerate([None] * len(rows) if ids is None else ids)]


def is_blank(value: Any) -> bool:
    """Whether a cell says nothing: null, empty text, or the NaN that pandas makes of a blank.

    Example:
        >>> is_blank(None), is_blank(float("nan")), is_blank(0)
        (True, True, False)
    """
    return value is None or value == "" or value != value


def speaker_groups(rows: Any, column: str = "speaker") -> tuple[np.ndarray, bool]:
    """Who speaks in each row, (N,) strings, and whether that is known; a row without a speaker is a group of its own.

    Example:
        >>> speaker_groups([{"speaker": "a"}, {"speaker": "b"}])
        (array(['a', 'b'], dtype='<U1'), True)
    """
    speakers = lazy_column(rows, column)
    known, groups = speakers is not None, []
    for i, name in enumerate([None] * len(rows) if speakers is None else speakers):
        blank = is_blank(name)
        known &= not blank
        groups.append(f"row {i}" if blank else sys.intern(str(name)))
    return np.array(groups), known


def notes_about(rows: Any, vote_source: str | None = None, extra: Iterable[str] = ()) -> list[str]:
    """Short notes that every table and plot on these rows must show, such as `simulated data` and `borrowed votes`.

    Looks at the description, the column `corpus` and the `vote_source` of a card; `extra` notes come first.

    Example:
        >>> notes_about([{"corpus": "simulated"}])
        ['simulated data']
        >>> notes_about([{"id": "a"}], vote_source="Votes borrowed from CREMA-D.")
        ['borrowed votes']
        >>> notes_about([{"id": "a"}], vote_source=f"Raters. Beside them, synthetic votes by {SIMULATED_ANNOTATORS}.")
        ['simulated annotators']
    """
    description = str(getattr(getattr(rows, "info", None), "description", "") or "")
    text = f"{description} {vote_source or ''}".lower()
    rest = text.replace(SIMULATED_ANNOTATORS.lower(), "")
    notes = list(extra)
    if "simulated" in rest or "simulated" in (column_of(rows, "corpus") or ()):
        notes.append("simulated data")
    if rest != text:
        notes.append("simulated annotators")
    if "borrowed" in text:
        notes.append("borrowed votes")
    return list(dict.fromkeys(notes))


def rough_intervals(num_speakers: int, of: str = "") -> list[str]:
    """The note on intervals over few speakers; none where there are enough, or none is known.

    Example:
        >>> rough_intervals(2), rough_intervals(1, "test: "), rough_intervals(0)
        (['only 2 speakers: the intervals are rough'], ['test: only one speaker: no intervals'], [])
    """
    if num_speakers == 1:
        return [f"{of}only one speaker: no intervals"]
    return [f"{of}only {num_speakers} speakers: the intervals are rough"] if 0 < num_speakers < FEW_SPEAKERS else []
