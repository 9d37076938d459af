"""What a panel asks of a clip as one tree of tokens, and how clips share a batch: NumPy alone.

All members of a panel see the same clip and mostly the same words, so their prompts, each followed by every label, are
paths of one tree. What all paths have in common, the audio foremost, is the *prefix*: it goes through the language
model once. Behind it the rest of the tree goes through in one pass, or a few: a token attends to the prefix and to the
tokens on its own way back to it, and its position is the one that it has on that way. So every token sees what it would
see in a prompt of its own, no common part is computed twice, and no key or value is copied for a member.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

__all__ = ["Batch", "Member", "Row", "TokenTree", "halve", "make_row", "plan"]


class TokenTree:
    """Sequences of tokens, each common beginning once; parents come before their children.

    Attributes:
        tokens: Of the nodes.
        parents: Node that each node follows; -1 for the first of a sequence.
        depths: How many nodes lie before each on its way.

    Example:
        >>> tree = TokenTree()
        >>> tree.add([5, 6, 7]), tree.add([5, 8]), tree.add([9], after=1)
        ([0, 1, 2], [0, 3], [4])
        >>> tree.ancestors()[4].tolist()
        [True, True, False, False, True]
    """

    def __init__(self) -> None:
        self.tokens: list[int] = []
        self.parents: list[int] = []
        self.depths: list[int] = []
        self._known: dict[tuple[int, int], int] = {}

    def __len__(self) -> int:
        return len(self.tokens)

    def add(self, sequence: Sequence[int], after: int = -1) -> list[int]:
        """Add a sequence behind a node, or at the beginning, and return its nodes."""
        nodes = []
        for token in sequence:
            node = self._known.get((after, token))
            if node is None:
                node = self._known[after, token] = len(self.tokens)
                self.tokens.append(token)
                self.parents.append(after)
                self.depths.append(0 if after < 0 else self.depths[after] + 1)
            nodes.append(node)
            after = node
        return nodes

    def ancestors(self) -> NDArray[np.bool_]:
        """Return (nodes, nodes): whether the second lies on the way to the first, or is it."""
        seen = np.zeros((len(self), len(self)), dtype=bool)
        for node, parent in enumerate(self.parents):
            if parent >= 0:
                seen[node] = seen[parent]
            seen[node, node] = True
        return seen


@dataclass(frozen=True)
class Member:
    """One member's question about a row's clip: what follows the prefix, and the tokens of each label."""

    place: int  # of its request among those that were given
    suffix: tuple[int, ...]
    labels: tuple[tuple[int, ...], ...]

    def plant(self, tree: TokenTree) -> tuple[int, list[list[int]]]:
        """Add the question and its labels to a tree: the question's last node, and each label's nodes."""
        last = tree.add(self.suffix)[-1]
        return last, [tree.add(label, after=last) for label in self.labels]


@dataclass(frozen=True)
class Row:
    """A clip and the members whose prompts are the same up to its end."""

    clip: str
    prefix: tuple[int, ...]
    members: tuple[Member, ...]
    sizes: tuple[int, ...] = field(default=())  # nodes that each member adds to the tree of those before it

    @property
    def length(self) -> int:
        """Tokens of prefix and tree."""
        return len(self.prefix) + sum(self.sizes)


@dataclass(frozen=True)
class Batch:
    """Rows that go through the model together, and the members of each row that do so in one pass behind the prefix."""

    rows: tuple[Row, ...]
    passes: tuple[tuple[tuple[Member, ...], ...], ...]  # one a pass, in it one a row

    @property
    def tokens(self) -> int:
        """Tokens of the largest pass and its prefix, padding included."""
        prefix = max(len(row.prefix) for row in self.rows)
        largest = max(max(_nodes(members) for members in members_of) for members_of in self.passes)
        return len(self.rows) * (prefix + largest)


def make_row(clip: str, before: Sequence[int], questions: Sequence[Member]) -> Row:
    """Make a row of what stands up to the end of the clip and the questions behind it; what they share is the prefix.

    Example:
        >>> row = make_row("clip", [1, 2], [Member(0, (3, 4, 5), ((7,), (7, 8))), Member(1, (3, 4, 6), ((7,), (9,)))])
        >>> row.prefix, [member.suffix for member in row.members], row.sizes
        ((1, 2, 3, 4), [(5,), (6,)], (3, 3))
    """
    shortest = min(len(member.suffix) for member in questions) - 1  # the last token's state is read: it stays outside
    first = questions[0].suffix
    shared = 0
    while shared < shortest and all(member.suffix[shared] == first[shared] for member in questions):
        shared += 1
    members = tuple(Member(member.place, member.suffix[shared:], member.labels) for member in questions)
    tree = TokenTree()
    sizes = []
    for member in members:
        there = len(tree)
        member.plant(tree)
        sizes.append(len(tree) - there)
    return Row(clip, (*before, *first[:shared]), members, tuple(sizes))


def plan(rows: Sequence[Row], budget: int, at_once: int | None = None) -> list[Batch]:
    """Make batches of at most `budget` tokens, padding included.

    Rows of like length go together. A row that is longer than the budget goes alone and in as many passes as it takes;
    one member always goes, whatever its length.

    Args:
        rows: In any order.
        budget: Tokens of prefixes and one pass behind them.
        at_once: Nodes of a row's tree in one pass at most. Attention is computed between all of them, also between
            members, which see nothing of each other.

    Example:
        >>> row = make_row("clip", [1, 2], [Member(0, (3,), ((7,),)), Member(1, (4,), ((7,),))])
        >>> [len(batch.rows) for batch in plan([row, row, row], 12)], len(plan([row], 4)[0].passes)
        ([2, 1], 2)
    """
    batches: list[Batch] = []
    together: list[Row] = []
    for row in sorted(rows, key=lambda row: row.length):
        if row.length > budget:
            batches.append(_together([row], budget, at_once))
            continue
        if together:
            longest = max(len(other.prefix) for other in (*together, row))
            largest = max(sum(other.sizes) for other in (*together, row))
            if (len(together) + 1) * (longest + largest) > budget:
                batches.append(_together(together, budget, at_once))
                together = []
        together.append(row)
    if together:
        batches.append(_together(together, budget, at_once))
    return batches


def halve(batch: Batch) -> int | None:
    """Return the budget under which a batch falls into two or more, or None where it cannot."""
    if len(batch.rows) == 1 and all(len(members[0]) == 1 for members in batch.passes):
        return None
    return max(1, batch.tokens // 2)


def _together(rows: Sequence[Row], budget: int, at_once: int | None) -> Batch:
    parts = [_cut(row, budget, at_once) for row in rows]
    return Batch(tuple(rows), tuple(itertools.zip_longest(*parts, fillvalue=())))


def _cut(row: Row, budget: int, at_once: int | None) -> list[tuple[Member, ...]]:
    """The members of a row in as many parts as keep each pass within the budget, and within `at_once`."""
    most = budget - len(row.prefix)
    most = most if at_once is None else min(most, at_once)
    if sum(row.sizes) <= most:
        return [row.members]
    parts: list[list[Member]] = [[]]
    for member in row.members:
        if parts[-1] and _nodes([*parts[-1], member]) > most:
            parts.append([])
        parts[-1].append(member)
    return [tuple(part) for part in parts]


def _nodes(members: Sequence[Member]) -> int:
    tree = TokenTree()
    for member in members:
        member.plant(tree)
    return len(tree)
