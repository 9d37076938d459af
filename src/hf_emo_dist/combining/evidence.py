"""What annotators said about each row, in one form: labels, stated distributions, read-outs and predictions alike."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from .likelihood import MOST_ONE_BY_ONE

FloatArray = NDArray[np.float64]
IndexArray = NDArray[np.int64]
#: Places in other arrays, which are no longer than four bytes each where there is one an answer.
Places = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Each:
    """M single answers, (M, K) as an array, of which those that are alike are kept once: most answers are labels.

    Attributes:
        place: Of each answer, its place among the kinds (M,).
        kinds: The different answers (D, K), sorted by the last emotion first, as `numpy.lexsort` sorts columns.
    """

    place: Places
    kinds: FloatArray

    @classmethod
    def of(cls, answers: ArrayLike | Each) -> Each:
        """From an array (M, K)."""
        if isinstance(answers, Each):
            return answers
        values = np.asarray(answers, dtype=np.float64)
        return cls.of_kinds(np.arange(len(values), dtype=np.int32), values)

    @classmethod
    def of_labels(cls, label: Places, size: int) -> Each:
        """From places of labels among so many emotions."""
        return cls(label.astype(np.int32), np.eye(size))

    @classmethod
    def of_kinds(cls, place: Places, kinds: FloatArray) -> Each:
        """From places among answers that are neither sorted nor all different."""
        used, place = np.unique(place, return_inverse=True)
        found, which = np.unique(kinds[used][:, ::-1] + 0.0, axis=0, return_inverse=True)  # 0 for -0, which it equals
        return cls(which.reshape(-1).astype(np.int32)[place.reshape(-1)], np.ascontiguousarray(found[:, ::-1]))

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, index: Any) -> Each:
        return Each(self.place[index], self.kinds)

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> FloatArray:
        return np.asarray(self.kinds[self.place], dtype=dtype)

    def of_emotion(self, k: int) -> FloatArray:
        """The share of one emotion in each answer, (M,)."""
        return np.asarray(self.kinds[:, k][self.place])


@dataclass(frozen=True)
class Answers:
    """The answers of one annotator about N rows, M of them, each a distribution over the emotions (a label: one-hot).

    Attributes:
        number: Answers a row, (N,); 0 where the annotator said nothing. Only `mean` is known where they are not whole.
        mean: Mean answer (N, K); zeros where there is none.
        row, answer, focus: Of each single answer: its row (M,), the answer (M, K), and the number of its focus (M,);
            `None` where only sums are known.
        foci: Names of the foci.
        versions: The versions of the annotator that answered, where they are known.
    """

    number: FloatArray
    mean: FloatArray
    row: Places | None = None
    answer: Each | None = None
    focus: Places | None = None
    foci: tuple[str, ...] = ()
    versions: tuple[str, ...] = ()

    @classmethod
    def of_counts(cls, counts: ArrayLike) -> Answers:
        """From counts (N, K): zeros where the annotator did not vote."""
        values = np.asarray(counts, dtype=np.float64)
        number = values.sum(axis=1)
        mean = values / np.where(number > 0, number, 1.0)[:, None]
        if (values != np.round(values)).any() or values.max(initial=0.0) > MOST_ONE_BY_ONE:
            return cls(number, mean)
        row, label = np.nonzero(values)
        times = values[row, label].astype(np.int64)
        row, label = np.repeat(row, times), np.repeat(label, times)
        each = Each.of_labels(label, values.shape[1])
        return cls(number, mean, row.astype(np.int32), each, np.zeros(len(row), dtype=np.int32), ("",))

    @classmethod
    def of_answers(
        cls,
        rows: int,
        row: Places,
        answer: ArrayLike | Each,
        focus: Places | None = None,
        foci: tuple[str, ...] = ("",),
        versions: tuple[str, ...] = (),
    ) -> Answers:
        """From single answers."""
        each = Each.of(answer)
        number = np.bincount(row, minlength=rows).astype(np.float64)
        sums = np.stack([np.bincount(row, each.of_emotion(k), rows) for k in range(each.kinds.shape[1])], axis=1)
        mean = sums / np.where(number > 0, number, 1.0)[:, None]
        focus = np.zeros(len(row), dtype=np.int32) if focus is None else focus
        return cls(number, mean, row, each, focus, foci, versions)

    @property
    def singly(self) -> bool:
        """Whether some row has several answers that are known one by one."""
        return self.row is not None and bool((self.number >= 2).any())

    def select(self, rows: IndexArray) -> Answers:
        """These rows, in this order."""
        number, mean = self.number[rows], self.mean[rows]
        if self.row is None:
            return Answers(number, mean, foci=self.foci, versions=self.versions)
        assert self.answer is not None and self.focus is not None
        place = np.full(len(self.number), -1, dtype=np.int32)
        place[rows] = np.arange(len(rows))
        where = place[self.row]
        kept = np.flatnonzero(where >= 0)
        # Sorted within a row, too: nothing may depend on the order in which answers came. By focus last, so that
        # samples of answers do not depend on how these are divided into foci.
        kept = kept[np.lexsort((self.focus[kept], self.answer.place[kept], where[kept]))]
        return Answers(number, mean, where[kept], self.answer[kept], self.focus[kept], self.foci, self.versions)

    def first(self, number: IndexArray, rng: np.random.Generator) -> Answers:
        """So many answers of each row (N,), drawn without replacement; a row that has fewer keeps all."""
        if self.row is None:
            assert ((number <= 0) | (number >= self.number)).all(), "single answers are not known"
            kept_rows = number > 0
            return Answers(self.number * kept_rows, self.mean * kept_rows[:, None])
        assert self.answer is not None and self.focus is not None
        order = np.lexsort((rng.random(len(self.row)), self.row))
        rows = self.row[order]
        starts = np.searchsorted(rows, np.arange(len(self.number)))
        kept = order[np.arange(len(rows)) - starts[rows] < number[rows]]
        return Answers.of_answers(len(self.number), self.row[kept], self.answer[kept], self.focus[kept], self.foci)

    def by_focus(self) -> FloatArray:
        """Mean answers split by focus, (N, F, K): their sum over foci is `mean`."""
        size = self.mean.shape[1]
        if self.row is None or self.focus is None or self.answer is None or len(self.foci) < 2:
            return self.mean[:, None, :]
        cell = self.row.astype(np.int64) * len(self.foci) + self.focus
        cells = len(self.number) * len(self.foci)
        sums = np.stack([np.bincount(cell, self.answer.of_emotion(k), cells) for k in range(size)], axis=1)
        shares = sums.reshape(len(self.number), len(self.foci), size)
        return np.asarray(shares / np.where(self.number > 0, self.number, 1.0)[:, None, None])


@dataclass(frozen=True)
class Evidence:
    """What is known about N rows: human votes (N, K), the answers of each annotator by name, and who speaks.

    `groups` (N,) are the speakers, or `None` where they are not known: then every row is a group of its own, told from
    others by what annotators said about it.
    """

    human: FloatArray
    annotators: Mapping[str, Answers] = field(default_factory=dict)
    groups: NDArray[np.str_] | None = None

    def __len__(self) -> int:
        return len(self.human)

    def select(self, rows: IndexArray) -> Evidence:
        """These rows, in this order."""
        annotators = {name: answers.select(rows) for name, answers in self.annotators.items()}
        return Evidence(self.human[rows], annotators, None if self.groups is None else self.groups[rows])

    def only(self, names: Sequence[str]) -> Evidence:
        """These annotators, in this order; one that is not there said nothing."""
        nothing = Answers(np.zeros(len(self)), np.zeros(self.human.shape))
        return Evidence(self.human, {name: self.annotators.get(name, nothing) for name in names}, self.groups)

    def in_order(self) -> Evidence:
        """The rows in an order that their contents decide, so that a fit does not depend on the order they came in."""
        names = sorted(self.annotators)
        # the last key counts most; how answers are divided into foci only parts rows that are otherwise alike
        keys = [
            shares
            for name in names
            for focus in self.annotators[name].by_focus().transpose(1, 2, 0)
            for shares in focus
        ]
        if self.groups is not None:
            keys.append(np.unique(self.groups, return_inverse=True)[1].astype(np.float64))
        keys += [*self.human.T]
        for name in names:
            keys += [self.annotators[name].number, *self.annotators[name].mean.T]
        return self.select(np.lexsort(keys))

    def with_whole_votes(self, seed: int) -> Evidence:
        """The same with whole human votes, as many in expectation: for a likelihood of votes.

        A rater who gives two tags, each of weight 1/2, has not agreed with anybody by that: as fractions, votes look
        like averages of many, and listeners as if they were all alike. Each row's votes are drawn by systematic
        sampling, which leaves whole ones as they are.
        """
        if (self.human == np.round(self.human)).all():
            return self
        start = np.random.default_rng([seed, 5]).random((len(self), 1))
        steps = np.floor(np.cumsum(self.human, axis=1) + start + 1e-9)
        return Evidence(np.diff(steps, axis=1, prepend=0.0), self.annotators, self.groups)

    def row_hashes(self) -> NDArray[np.uint64]:
        """A number for each row, (N,): that of its group, or of what annotators said where groups are not known."""
        if self.groups is not None:
            names, place = np.unique(self.groups, return_inverse=True)
            return np.array([hash_of(str(name)) for name in names], dtype=np.uint64)[place]
        said = [np.round(self.annotators[name].mean * 1e6) for name in sorted(self.annotators)]
        table = np.concatenate(said or [self.human], axis=1)
        kinds, place = np.unique(table, axis=0, return_inverse=True)
        return np.array([hash_of(kind.tobytes()) for kind in kinds], dtype=np.uint64)[place.reshape(-1)]


def hash_of(text: str | bytes) -> int:
    """A 64-bit number that is the same on every machine."""
    data = text.encode() if isinstance(text, str) else text
    return int.from_bytes(hashlib.blake2b(data, digest_size=8).digest(), "little")
