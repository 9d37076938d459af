"""What every reader of rows takes (the user's table, a data set with a column of labels, an export of a tool)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypedDict, get_args

from ..._name_list import name_list
from ...distributions import check_choice
from ...emotions import canonical_emotion, validate_emotions

Missing = Literal["error", "skip"]
Outside = Literal["error", "drop_vote", "drop_utterance", "other"]
Amounts = Literal["counts", "shares", "percent"]
Several = Literal["votes", "tags"]
Repeated = Literal["error", "first", "last", "add"]


class TableOptions(TypedDict, total=False):
    """What every reader of rows takes.

    Attributes:
        emotions: The label set. Default: the count columns that are named like a known emotion, in the table's order;
            else the known emotions that were voted for.
        file_column: The column of audio files. Default: ``file``, or AudioFolder's ``file_name``. Rows of one file are
            one clip.
        votes_column: The column of labels; or several, one a rater. Default: ``votes``, or one column of numbers an
            emotion, which need not be named here: ``angry``, ``count_angry`` and ``count::Angry`` are known as such.
        rater_column: Who voted in a row, where a clip has a row for each rating. Default: ``rater``.
        speaker_column: Who speaks. Default: ``speaker``.
        transcript_column: What is said. Default: ``transcript``.
        split_column: ``train``, ``validation`` or ``test``. Default: ``split``.
        id_column: Ids. Default: ``id``, else the file's name without its extension.
        merge: Label of the table to the emotion that it counts for, such as ``{"Wut": "angry", "joy": "happy"}``.
        outside: What becomes of a vote for something that is not among the emotions: ``"error"`` lists all such labels;
            ``"drop_vote"`` drops the vote; ``"drop_utterance"`` leaves the clip out; ``"other"`` counts it for
            ``other``, which is added to the label set.
        keep: Columns that hold no votes, whatever they look like; ``*`` stands for any characters. A column of numbers
            beside count columns must be named here or in `emotions`.
        amounts: What numbers are: ``"counts"``, ``"shares"`` that sum to 1, or ``"percent"``. Default: counts, unless
            the rows sum to 1 or to 100, which is asked.
        num_raters: How many people stand behind a row of shares or percent: a number, or a column's name. Default: such
            a row weighs one vote.
        several: What several labels in one cell are: ``"votes"`` of as many people, or ``"tags"`` of one, which count
            1/m each. Default: tags where a row is a rater's or a column is, votes where a row is a clip.
        repeated: What becomes of a rater's second answer for a clip, and of a clip whose votes stand in several rows
            without a rater: ``"error"``, ``"first"``, ``"last"``, or ``"add"`` them.
        on_missing: What becomes of clips whose audio file is missing, or is no audio (a Git LFS pointer, a web page, an
            M4A): ``"error"``, or ``"skip"``.
        on_empty: What becomes of clips without votes: ``"error"``, or ``"skip"``.
        allow_outside: Read audio files outside of the folder, too, by ``../``, by an absolute path or through a link.
            Only for a table that you trust: the files' bytes become part of the data set.
    """

    emotions: Sequence[str] | None
    file_column: str | None
    votes_column: Sequence[str] | None
    rater_column: str | None
    speaker_column: str | None
    transcript_column: str | None
    split_column: str | None
    id_column: str | None
    merge: Mapping[str, str] | None
    outside: Outside
    keep: Sequence[str] | None
    amounts: Amounts | None
    num_raters: int | str | None
    several: Several | None
    repeated: Repeated
    on_missing: Missing
    on_empty: Missing
    allow_outside: bool


DEFAULTS: TableOptions = {
    "emotions": None,
    "file_column": None,
    "votes_column": None,
    "rater_column": None,
    "speaker_column": None,
    "transcript_column": None,
    "split_column": None,
    "id_column": None,
    "merge": None,
    "outside": "error",
    "keep": None,
    "amounts": None,
    "num_raters": None,
    "several": None,
    "repeated": "error",
    "on_missing": "error",
    "on_empty": "error",
    "allow_outside": False,
}


@dataclass(frozen=True)
class TableSettings:
    """:class:`TableOptions`, checked, with every default in its place."""

    emotions: tuple[str, ...] | None
    file_column: str | None
    votes_column: tuple[str, ...]
    rater_column: str | None
    speaker_column: str | None
    transcript_column: str | None
    split_column: str | None
    id_column: str | None
    merge: Mapping[str, str]  # canonical names
    outside: Outside
    keep: tuple[str, ...]
    amounts: Amounts | None
    num_raters: int | str | None
    several: Several | None
    repeated: Repeated
    on_missing: Missing
    on_empty: Missing
    allow_outside: bool


def table_settings(options: TableOptions) -> TableSettings:
    """Check the options of a reader of rows, before any file is read.

    Args:
        options: Those that were given.

    Returns:
        All of them.

    Raises:
        TypeError: An option does not exist.
        ValueError: An option has a value that it cannot have.

    Example:
        >>> table_settings({"merge": {"Freude": "Happiness"}}).merge
        {'freude': 'happy'}
    """
    unknown = sorted(set(options) - set(DEFAULTS))
    if unknown:
        raise TypeError(f"Unknown option {', '.join(unknown)}. Mend: choose among {', '.join(DEFAULTS)}.")
    given: dict[str, Any] = {**DEFAULTS, **options}
    for name, choices in (("outside", Outside), ("repeated", Repeated), ("on_missing", Missing), ("on_empty", Missing)):
        check_choice(name, given[name], get_args(choices))
    for name, choices in (("amounts", Amounts), ("several", Several)):
        if given[name] is not None:
            check_choice(name, given[name], get_args(choices))
    number = given["num_raters"]
    if isinstance(number, int) and (isinstance(number, bool) or number < 1):
        raise ValueError(f"`num_raters` must be at least 1, or a column's name, got {number}.")
    if number is not None and given["amounts"] == "counts":
        raise ValueError("`num_raters` is for shares and percent, and `amounts` says counts. Mend: leave one out.")
    return TableSettings(
        **{
            **given,
            "emotions": None if given["emotions"] is None else validate_emotions(given["emotions"]),
            "votes_column": tuple(name_list(given["votes_column"] or [], "votes_column")),
            "keep": tuple(name_list(given["keep"] or [], "keep")),
            "merge": {canonical_emotion(old): canonical_emotion(new) for old, new in (given["merge"] or {}).items()},
        }
    )
