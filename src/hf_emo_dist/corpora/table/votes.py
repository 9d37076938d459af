"""From rows to the votes of each clip: what every cell says, by whom, and what becomes of it. No vote gets lost here
without being counted."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from ...emotions import KNOWN_EMOTIONS
from .cells import CellError, Entry, read_cell, read_number
from .content import Table, TableError
from .labels import LabelBook, refusal_of_labels
from .options import TableSettings
from .shape import Shape

#: How far the sum of a row of shares may be from 1 for each of its numbers, which are rounded.
_ROUNDED = 0.0051


@dataclass(slots=True)
class ClipVotes:
    """The votes of one clip."""

    rows: list[int]  # of the table
    labels: list[str] = field(default_factory=list)
    weights: list[float] = field(default_factory=list)
    raters: list[str | None] = field(default_factory=list)

    @property
    def total(self) -> float:
        """How many votes these are."""
        return math.fsum(self.weights)


@dataclass
class VoteBalance:
    """Where the votes of a table went, in votes: what came in is what was kept, and what was left out by reason."""

    read: float = 0.0
    kept: float = 0.0
    left_out: dict[str, float] = field(default_factory=lambda: defaultdict(float))

    @property
    def adds_up(self) -> bool:
        """Whether no vote is missing."""
        return math.isclose(self.read, self.kept + math.fsum(self.left_out.values()), rel_tol=1e-5, abs_tol=1e-5)

    def summary(self) -> str:
        """In one line."""
        parts = [f"{amount:g} left out ({reason})" for reason, amount in self.left_out.items() if amount]
        return f"{self.read:g} in the table = " + " + ".join([f"{self.kept:g} kept", *parts])


@dataclass
class TableVotes:
    """The votes of a table, clip by clip."""

    clips: list[ClipVotes]  # in the order in which they first stand in the table; those without votes, too
    emotions: tuple[str, ...]  # the label set
    form: str  # which of the forms the table has, in words
    weighted: bool  # whether votes have weights other than 1
    named: bool  # whether votes name their raters
    balance: VoteBalance
    spelled: dict[str, tuple[str | None, float]]  # label as written → emotion and votes
    outside: Counter[str]  # labels outside the emotions, whose votes are left out or count for `other`
    empty: dict[int, str]  # clips (their place in `clips`) that nothing is left of, and why
    repeats: list[tuple[int, str]]  # rows whose answer was left out as a repeated one, and whose it was


class _Answer(NamedTuple):
    """What one person said in one row; or what all people of a row said, then the rater is None."""

    row: int
    rater: str | None
    votes: list[tuple[str, float]]  # label as written, weight


def read_votes(
    table: Table, shape: Shape, settings: TableSettings, book: LabelBook, clips: Sequence[Hashable] | None = None
) -> TableVotes:
    """Read the votes of a table, whichever form they have.

    Args:
        table: The rows.
        shape: Which column is what.
        settings: The options.
        book: The labels.
        clips: What each row is of; rows of one clip are put together. Default: every row is a clip of its own.

    Returns:
        The votes, with an account of those that were left out.

    Raises:
        TableError: A cell is no votes, or something must be asked; the message names the row.
    """
    keys = list(range(len(table.rows))) if clips is None else list(clips)
    rows_of: dict[Hashable, list[int]] = {}
    for row, key in enumerate(keys):
        rows_of.setdefault(key, []).append(row)
    answers, form, rows_are_ratings = _answers(table, shape, settings, book, rows_of)
    balance = VoteBalance()
    spelled: dict[str, float] = defaultdict(float)
    first: dict[str, int] = {}
    for answer in answers:
        for label, weight in answer.votes:
            balance.read += weight
            spelled[label] += weight
            first.setdefault(label, answer.row)
    for label in shape.counts.values():  # those without a vote are labels of the table, too
        book(label)
    strange = [label for label in spelled if book(label) is None]
    if strange and settings.outside == "error":
        places = {label: (spelled[label], table.place(first[label], shape.file)) for label in strange}
        columns = f", column {', '.join(map(repr, shape.votes))}" if shape.votes else ""
        raise TableError(refusal_of_labels(table.name, columns, places, book))
    kept, repeats = _without_repeats(answers, rows_of, table, shape, settings, rows_are_ratings, balance)
    votes = TableVotes(
        clips=[],
        emotions=(),
        form=form,
        weighted=False,
        named=any(answer.rater is not None for answer in kept),
        balance=balance,
        spelled={label: (book(label), amount) for label, amount in spelled.items()},
        outside=Counter(),
        empty={},
        repeats=repeats,
    )
    said: dict[int, list[_Answer]] = defaultdict(list)
    for answer in kept:
        said[answer.row].append(answer)
    for place, rows in enumerate(rows_of.values()):
        clip, why = _clip(rows, [answer for row in rows for answer in said.get(row, ())], settings, book, votes)
        votes.clips.append(clip)
        if why:
            votes.empty[place] = why
    votes.weighted = any(weight != 1.0 for clip in votes.clips for weight in clip.weights)
    votes.emotions = _label_set(table, shape, settings, book, votes)
    return votes


def _clip(
    rows: list[int], answers: list[_Answer], settings: TableSettings, book: LabelBook, votes: TableVotes
) -> tuple[ClipVotes, str]:
    """The votes of one clip among the emotions, and why there are none."""
    clip, strange = ClipVotes(rows), 0.0
    for answer in answers:
        for label, weight in answer.votes:
            name = book(label)
            if name is None:
                votes.outside[label] += 1
                strange += weight
                if settings.outside != "other":
                    votes.balance.left_out["outside the emotions"] += weight
                    continue
                name = "other"
            clip.labels.append(name)
            clip.weights.append(float(np.float32(weight)))
            clip.raters.append(answer.rater)
    if strange and settings.outside == "drop_utterance":
        votes.balance.left_out["a clip with a vote outside the emotions"] += clip.total
        return ClipVotes(rows), "a vote outside the emotions"
    votes.balance.kept += clip.total
    return clip, "" if clip.labels else "no vote for any of the emotions" if strange else "no votes"


def _label_set(
    table: Table, shape: Shape, settings: TableSettings, book: LabelBook, votes: TableVotes
) -> tuple[str, ...]:
    """The emotions: those that were named, else those of the count columns, else those that occur."""
    if settings.emotions is not None:
        names: tuple[str, ...] = settings.emotions
    elif shape.counts:
        found = [book(label) for label in shape.counts.values()]
        names = tuple(dict.fromkeys(name for name in found if name is not None))
    else:
        present = dict.fromkeys(label for clip in votes.clips for label in clip.labels if label != "other")
        names = tuple(name for name in KNOWN_EMOTIONS if name in present)
        names += tuple(name for name in present if name not in names)
        if any(book(label) == "other" for label in votes.spelled):
            names += ("other",)
        if len(names) < 2:
            raise TableError(
                f"{table.name}: {', '.join(map(repr, shape.votes))} names fewer than two emotions "
                f"({', '.join(names) or 'none'}). Mend: name all of the emotions, --emotions "
                f"{names[0] if names else 'A'},B."
            )
    if settings.outside == "other" and "other" not in names:
        names = (*names, "other")
    return names


# --- what each row says


def _answers(
    table: Table, shape: Shape, settings: TableSettings, book: LabelBook, rows_of: dict[Hashable, list[int]]
) -> tuple[list[_Answer], str, bool]:
    """All answers, the form in words, and whether a row without a rater's name is one rating (and may be repeated)."""
    if len(shape.votes) > 1:
        answers = []
        for row in range(len(table.rows)):
            for column in shape.votes:
                entries = _cell(table, row, column, shape, book)
                answers += _ratings(table, row, column, entries, settings, shape)
        return answers, f"one column a rater ({', '.join(shape.votes)})", False
    entries_of = [_row(table, row, shape, book) for row in range(len(table.rows))]
    columns = f"in column {shape.votes[0]!r}" if shape.votes else f"in {len(shape.counts)} columns of numbers"
    if shape.rater is not None:
        answers = []
        for row, entries in enumerate(entries_of):
            if any(entry.rater is not None for entry in entries):
                raise TableError(
                    f"{table.where(row, shape.file)}: the column {shape.rater!r} names a rater, and the cell names "
                    f"raters too. Mend: keep the column as it is, --keep {shape.rater}."
                )
            answers += _ratings(table, row, person(table.rows[row][shape.rater]), entries, settings, shape)
        return answers, f"one row a rating {columns}, by the rater in column {shape.rater!r}", True
    if any(entry.rater is not None for entries in entries_of for entry in entries):
        answers = []
        for row, entries in enumerate(entries_of):
            by_rater: dict[str | None, list[Entry]] = {}
            for entry in entries:
                by_rater.setdefault(entry.rater, []).append(entry)
            for rater, own in by_rater.items():
                parts = [own] if rater is not None else [[entry] for entry in own]
                for part in parts:
                    answers += _ratings(table, row, rater, part, settings, shape)
        return answers, f"one row a clip, its ratings with their raters {columns}", False
    if any(entry.amount is not None for entries in entries_of for entry in entries) or shape.counts:
        return _amounts(table, entries_of, shape, settings, columns)
    return _labels(table, entries_of, shape, settings, rows_of, columns)


def person(value: object) -> str | None:
    """The name of a person or an id as text: 30, 30.0 and "30.0" are one; what says that there is none is None.

    Example:
        >>> person(30.0), person("30.0"), person("nan"), person(" s1 ")
        ('30', '30', None, 's1')
    """
    if value is None:
        return None
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    text = str(value).strip()
    if text in ("nan", "NaN", "NAN", "None", "none", "null", "NULL", "<NA>", "NA", "N/A", "n/a", "#N/A", ""):
        return None
    whole, sign, rest = text.partition(".")
    return whole if sign and whole.isdigit() and rest and not rest.strip("0") else text


def _cell(table: Table, row: int, column: str, shape: Shape, book: LabelBook) -> list[Entry]:
    """The entries of one cell; numbers of a column of classes are their labels."""
    try:
        entries = read_cell(table.rows[row][column], book.is_label, table.decimal_comma)
    except CellError as error:
        raise TableError(
            f"{table.where(row, shape.file)}, column {column!r}: {error}. Mend: write labels with | between them "
            '(angry|angry|sad), a list of labels, or counts as a mapping ({"angry": 2, "sad": 1}).'
        ) from error
    classes = table.classes.get(column)
    if classes is None:
        return entries
    named = []
    for entry in entries:
        number = int(entry.label) if entry.label.lstrip("-").isdigit() else None
        if number == -1:  # datasets' sign for a label that is not known
            continue
        if number is not None and not 0 <= number < len(classes):
            raise TableError(
                f"{table.where(row, shape.file)}, column {column!r}: there is no class {number}, the column has "
                f"{len(classes)} ({', '.join(classes)}). Mend: correct the number."
            )
        named.append(entry if number is None else entry._replace(label=classes[number]))
    return named


def _row(table: Table, row: int, shape: Shape, book: LabelBook) -> list[Entry]:
    if shape.votes:
        return _cell(table, row, shape.votes[0], shape, book)
    found = []
    for column, label in shape.counts.items():
        value = table.rows[row][column]
        try:
            number, percent = read_number(value, table.decimal_comma)
        except ValueError as error:
            raise TableError(
                f"{table.where(row, shape.file)}, column {column!r}: {value!r} is not a count of votes. Mend: write a "
                f"number from 0 to 1000; if the column is no count, --keep {column}."
            ) from error
        if number:
            found.append(Entry(label, number, None, percent))
    return found


def _ratings(
    table: Table, row: int, rater: str | None, entries: list[Entry], settings: TableSettings, shape: Shape
) -> list[_Answer]:
    """What one rater said: m tags weigh 1/m each, and numbers must be tags (0 or 1) or shares of one vote."""
    if not entries:
        return []
    if all(entry.amount is None for entry in entries):
        tags = list(dict.fromkeys(entry.label for entry in entries)) if settings.several != "votes" else None
        labels = [entry.label for entry in entries] if tags is None else tags
        weight = 1.0 if tags is None else 1.0 / len(tags)
        return [_Answer(row, rater, [(label, weight) for label in labels])]
    amounts = [(entry.label, entry.amount or 0.0) for entry in entries]
    total = math.fsum(amount for _, amount in amounts)
    unit = 100.0 if total > 50 else 1.0
    is_tags = all(amount == 1.0 for _, amount in amounts)
    if not is_tags and abs(total / unit - 1.0) > _ROUNDED * len(amounts):
        raise TableError(
            f"{table.where(row, shape.file)}: {total:g} votes of one rater. Mend: a rater's row holds 1 for each of "
            f"the "
            f"rater's tags, or shares that sum to 1; if a row is of several people, --keep {shape.rater or 'rater'}."
        )
    return [_Answer(row, rater, [(label, amount / total) for label, amount in amounts])]


def _labels(
    table: Table,
    entries_of: list[list[Entry]],
    shape: Shape,
    settings: TableSettings,
    rows_of: dict[Hashable, list[int]],
    columns: str,
) -> tuple[list[_Answer], str, bool]:
    """Labels without a rater's name: a row is a rating where clips have several, else it is a clip."""
    several = [row for row, entries in enumerate(entries_of) if len(entries) > 1]
    repeated = [rows for rows in rows_of.values() if len(rows) > 1]
    if several and repeated and settings.several is None:
        rows = repeated[0][:2]
        raise table.fail(
            [*rows, several[0]] if several[0] not in rows else rows,
            f"{table.name}: some clips have several rows, and some cells several labels",
            "say what these are: --several tags (of one person, whose answer is the row) or --several votes (of as "
            "many "
            "people); or name the column of raters, --rater_column NAME.",
            shape.file,
        )
    as_tags = settings.several == "tags"
    answers = []
    for row, entries in enumerate(entries_of):
        if as_tags:
            answers += _ratings(table, row, None, entries, settings, shape)
        else:
            answers += [_Answer(row, None, [(entry.label, 1.0)]) for entry in entries]
    if repeated and (as_tags or not several):
        return answers, f"one row a rating {columns}, raters not named", True
    return answers, f"one row a clip, its votes {columns}", False


def _amounts(
    table: Table, entries_of: list[list[Entry]], shape: Shape, settings: TableSettings, columns: str
) -> tuple[list[_Answer], str, bool]:
    """Numbers of votes, or shares of the people of a row."""
    kind = _kind_of_amounts(table, entries_of, shape, settings)
    answers: list[_Answer] = []
    uneven = 0
    for row, entries in enumerate(entries_of):
        votes = [(entry.label, entry.amount if entry.amount is not None else 1.0) for entry in entries]
        if not votes:
            continue
        if kind != "counts":
            votes = _from_shares(table, row, votes, 100.0 if kind == "percent" else 1.0, shape, settings)
            uneven += settings.num_raters is not None and any(amount % 1 for _, amount in votes)
        answers.append(_Answer(row, None, [part for label, amount in votes for part in _whole(label, amount)]))
    words = {"counts": "counts", "shares": "shares", "percent": "percentages"}[kind]
    of = f" of {settings.num_raters} people" if isinstance(settings.num_raters, int) else ""
    of = f" of as many people as {shape.num_raters!r} says" if shape.num_raters else of
    told = f"; {uneven} rows are not of whole votes and keep fractions" if uneven else ""
    return answers, f"one row a clip, {words}{of} {columns}{told}", False


def _whole(label: str, amount: float) -> list[tuple[str, float]]:
    """One entry a whole vote, and one with the rest as its weight for a fraction."""
    whole = math.floor(amount + 1e-9)
    rest = amount - whole
    return [(label, 1.0)] * whole + ([(label, rest)] if rest > 1e-9 else [])


def _kind_of_amounts(table: Table, entries_of: list[list[Entry]], shape: Shape, settings: TableSettings) -> str:
    """Whether numbers are counts, shares or percent; what cannot be known is asked."""
    sums = [math.fsum(entry.amount or 0.0 for entry in entries) for entries in entries_of if entries]
    sizes = [len(entries) for entries in entries_of if entries]
    if settings.amounts is not None:
        return settings.amounts
    if any(entry.percent for entries in entries_of for entry in entries):
        return "percent"
    hundred = [abs(total - 100.0) <= 100 * _ROUNDED * size for total, size in zip(sums, sizes, strict=True)]
    one = [
        abs(total - 1.0) <= _ROUNDED * size and any((entry.amount or 0.0) % 1 for entry in entries)
        for total, size, entries in zip(sums, sizes, [e for e in entries_of if e], strict=True)
    ]
    if settings.num_raters is not None:
        near_one = [abs(total - 1.0) <= _ROUNDED * size for total, size in zip(sums, sizes, strict=True)]
        if all(near_one) or sum(one) > len(sums) / 2:
            return "shares"
        if sum(hundred) > len(sums) / 2:
            return "percent"
        raise TableError(
            f"{table.name}: --num_raters is for shares and percent, and most rows sum to neither 1 nor 100 (the first "
            f"to "
            f"{sums[0] if sums else 0:g}). Mend: leave it out if the numbers are counts, or say --amounts shares or "
            f"percent."
        )
    for rows, told, kind in ((hundred, "100", "percent"), (one, "1", "shares")):
        if rows and sum(rows) > len(rows) / 2:
            raise TableError(
                f"{table.name}: {sum(rows)} of {len(rows)} rows sum to {told}. Are these {kind}, or votes? Mend: say "
                f"how "
                f"many people stand behind a row, --num_raters 9 or --num_raters COLUMN; if that is not known, "
                f"--amounts "
                f"{kind}, which counts a row as one vote; if they are votes, --amounts counts."
            )
    return "counts"


def _from_shares(
    table: Table, row: int, votes: list[tuple[str, float]], unit: float, shape: Shape, settings: TableSettings
) -> list[tuple[str, float]]:
    """Shares of `unit` as votes of the people behind the row; whole ones where the shares were rounded from them."""
    where = table.where(row, shape.file)
    total = math.fsum(amount for _, amount in votes)
    if abs(total / unit - 1.0) > _ROUNDED * len(votes):
        raise TableError(
            f"{where}: the {'percentages' if unit > 1 else 'shares'} sum to {total:g}, not to {unit:g}. "
            "Mend: correct the row; if these are counts, --amounts counts."
        )
    number = 1.0 if settings.num_raters is None else float(settings.num_raters) if shape.num_raters is None else 0.0
    if shape.num_raters is not None:
        given = table.rows[row][shape.num_raters]
        try:
            number, percent = read_number(given, table.decimal_comma)
            if percent or number < 1:
                raise ValueError
        except ValueError as error:
            raise TableError(
                f"{where}, column {shape.num_raters!r}: {given!r} is no number of raters. Mend: write one from 1 to "
                f"1000."
            ) from error
    amounts = [amount / total * number for _, amount in votes]
    near = [round(amount) for amount in amounts]
    tolerance = min(0.3, number * 0.0051)
    if sum(near) == number and all(abs(a - b) <= tolerance for a, b in zip(amounts, near, strict=True)):
        amounts = [float(amount) for amount in near]
    return [(label, amount) for (label, _), amount in zip(votes, amounts, strict=True) if amount > 0]


# --- a rater's second answer, and a clip's second row


def _without_repeats(
    answers: list[_Answer],
    rows_of: dict[Hashable, list[int]],
    table: Table,
    shape: Shape,
    settings: TableSettings,
    rows_are_ratings: bool,
    balance: VoteBalance,
) -> tuple[list[_Answer], list[tuple[int, str]]]:
    """The answers that count, and the rows of those that do not."""
    clip_of = {row: place for place, rows in enumerate(rows_of.values()) for row in rows}
    groups: dict[tuple[int, str | None], dict[int, list[_Answer]]] = {}
    for answer in answers:
        if answer.rater is None and rows_are_ratings:
            continue  # nobody knows whether it is a second answer
        groups.setdefault((clip_of[answer.row], answer.rater), {}).setdefault(answer.row, []).append(answer)
    dropped: set[int] = set()
    repeats: list[tuple[int, str]] = []
    for (_, rater), by_row in groups.items():
        if len(by_row) < 2 or settings.repeated == "add":
            continue
        rows = sorted(by_row)
        if settings.repeated == "error":
            who = "The votes of one clip stand in several rows" if rater is None else f"Rater {rater!r} answered twice"
            mend = "delete one; or say which counts, --repeated first or last, or both, --repeated add."
            raise table.fail(rows, who, mend, shape.file)
        for row in rows[1:] if settings.repeated == "first" else rows[:-1]:
            repeats.append((row, rater or "the clip"))
            for answer in by_row[row]:
                dropped.add(id(answer))
                balance.left_out["a second answer"] += math.fsum(weight for _, weight in answer.votes)
    return [answer for answer in answers if id(answer) not in dropped], repeats
