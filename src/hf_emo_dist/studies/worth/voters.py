"""Who voted about the rows: people, and the annotators beside them, of whatever form the sources are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...combining.evidence import Answers, Evidence
from ...combining.evidence_columns import UNNAMED, evidence_of_rows
from ...data.opened import OpenedDataset
from ...data.rows import row_ids
from ..vote_table import FloatArray, Labels, Sources, VoteTable, count_labels, first_of, shuffle_votes


@dataclass(frozen=True)
class Voters:
    """What is known about N rows, each of which some listener heard.

    Attributes:
        name: Whose votes people's are: the name of their source.
        ids: What the rows are called; one row a name.
        emotions: The label set, K labels.
        votes: Of people, (N, m).
        annotators: The answers of each annotator by name.
        speakers: (N,), or `None` where they are not known of every row.
    """

    name: str
    ids: list[str]
    emotions: tuple[str, ...]
    votes: Labels
    annotators: dict[str, Answers]
    speakers: NDArray[np.str_] | None

    @property
    def groups(self) -> NDArray[np.str_]:
        """What stays together in folds and in a bootstrap, (N,)."""
        return self.speakers if self.speakers is not None else np.array(self.ids)

    def in_random_order(self, seed: int) -> Labels:
        """Each row's human votes in an order that (seed, id) decides, (N, m)."""
        return shuffle_votes(self.votes, self.ids, seed)

    def evidence(self, human: FloatArray) -> Evidence:
        """With these human votes (N, K) in the place of all."""
        return Evidence(human, self.annotators, self.speakers)


def first_counts(order: Labels, number: int | NDArray[np.int64], size: int) -> FloatArray:
    """The first so many votes of each row, (N, K); a row that has fewer keeps all.

    >>> first_counts(np.array([[0, 1, 1], [1, -1, -1]]), 2, 2).tolist()
    [[1.0, 1.0], [0.0, 1.0]]
    """
    return count_labels(first_of(order, np.broadcast_to(np.asarray(number), len(order))), size)


def voters_of(data: Sources, human: str | None, annotators: Sequence[str] | None, predictions: Sequence[str]) -> Voters:
    """People and annotators of the sources.

    Annotators are those of a data set's own columns and, where there are several tables (sources, or values of the
    column `by`), all tables but people's: their rows with the id of one of people's rows are answers about it.

    Raises:
        ValueError: It is not known whose votes are people's, nobody else voted, or the rows do not belong together.
    """
    tables = _by_plain_name(data)
    if human is None and len(tables) > 1:
        raise ValueError(
            f"Whose votes are people's: {', '.join(tables)}? Mend: --human NAME; the others are the annotators."
        )
    name = next(iter(tables)) if human is None else human
    if name not in tables:
        raise ValueError(f"There are no votes of {name!r}. Mend: --human with one of {', '.join(tables)}.")
    people = tables[name]
    people = people.select(np.flatnonzero((people.votes >= 0).any(axis=1)))
    ids = _keys(people)
    if len(set(ids)) < len(ids):
        twice = Counter(ids).most_common(1)[0][0]
        raise ValueError(
            f"Several rows of {name!r} are about {twice!r}, so that annotators' votes cannot be told from people's. "
            "Mend: name the column that tells them apart, and whose votes are people's: --by modality --human voice."
        )
    found = _own_annotators(_source_of(data, name), people, data.split, predictions)
    for other, table in tables.items():
        if other != name:
            found[other] = _answers_about(ids, people.emotions, other, table)
    found = {key: answers for key, answers in found.items() if answers.number.any()}
    if annotators is not None:
        unknown = [key for key in annotators if key not in found]
        if unknown:
            raise ValueError(
                f"There is no annotator {unknown[0]!r}. Mend: name some of {', '.join(found) or 'none'} (--annotators)."
            )
        found = {key: found[key] for key in annotators}
    if not found:
        raise ValueError(
            f"Nobody but people voted in {name!r}. Mend: annotate the data set first (hf-emo-dist annotate); or, for "
            "tables of counts, give the annotators' as further sources, or name the column that tells them from "
            "people: --by modality --human voice."
        )
    speakers = people.speakers()
    names = None if speakers is None else np.array([str(speaker) for speaker in speakers])
    return Voters(name, ids, people.emotions, people.votes, found, names)


def _by_plain_name(data: Sources) -> dict[str, VoteTable]:
    """The tables; those of one source by the value of `by` alone."""
    names = list(data.opened)
    if data.by is None or len(names) != 1:
        return data.tables
    return {name.removeprefix(f"{names[0]}, "): table for name, table in data.tables.items()}


def _keys(table: VoteTable) -> list[str]:
    """What the rows are about: their ids as they stand in the data, where several tables may have the same."""
    return [str(name) for name in table.columns["id"]] if "id" in table.columns else table.ids


def _source_of(data: Sources, name: str) -> object:
    """The source that a table comes from: its own, or that of which it is a part."""
    if len(data.opened) == 1:
        return next(iter(data.opened.values()))
    return next(source for key, source in data.opened.items() if name == key or name.startswith(f"{key}, "))


def _own_annotators(
    source: object, people: VoteTable, split: str | None, predictions: Sequence[str]
) -> dict[str, Answers]:
    """Those that a data set's own columns name."""
    if isinstance(source, OpenedDataset):
        heard = source.heard(split)
        place = {key: row for row, key in enumerate(row_ids(heard))}
        rows = np.array([place[key] for key in people.ids])
        return dict(evidence_of_rows(heard, people.emotions, "drop", predictions).select(rows).annotators)
    if predictions:
        raise ValueError("A table of counts has no column of predictions. Mend: leave predictions out.")
    if people.synthetic is not None:
        return {UNNAMED: Answers.of_counts(people.counts("synthetic"))}
    return {}


def _answers_about(ids: Sequence[str], emotions: tuple[str, ...], name: str, table: VoteTable) -> Answers:
    """The human votes of another table as an annotator's answers, row by row of people's."""
    if set(table.emotions) != set(emotions):
        raise ValueError(
            f"{name!r} votes for {', '.join(table.emotions)}, and people for {', '.join(emotions)}. Mend: the same "
            "labels for all, --emotions."
        )
    place = {key: row for row, key in enumerate(ids)}
    row = np.array([place.get(key, -1) for key in _keys(table)])
    if not (row >= 0).any():
        raise ValueError(
            f"No row of {name!r} has the id of a row that people voted on (such as {ids[0]!r}). Mend: the same ids in "
            "both."
        )
    counts = np.zeros((len(ids), len(emotions)))
    order = [table.emotions.index(emotion) for emotion in emotions]
    np.add.at(counts, row[row >= 0], table.counts()[row >= 0][:, order])
    return Answers.of_counts(counts)
