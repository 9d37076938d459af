"""The votes of corpora as the studies need them: whole votes in their order, who spoke, who annotated."""

from __future__ import annotations

import hashlib
import re
import sys
from array import array
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property
from itertools import repeat
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..corpora.cremad import TABULATED_TWICE, holds_authors_counts, holds_responses, votes_only
from ..corpora.utterances import REASONS, CorpusReport
from ..data.label_map import refuse_unknown_labels
from ..data.loading import DatasetLoadError
from ..data.opened import OpenedDataset, open_dataset
from ..data.protocols import Kept
from ..data.rows import lazy_column, notes_about, row_ids
from ..emotions import canonical_emotion, validate_emotions
from ..markdown import hub_id, last_part

FloatArray = NDArray[np.float64]
_AT_A_TIME = 8192  # rows
Labels = NDArray[np.int64]  # (N, m) places of the emotions voted for, row by row, -1 where a row has fewer


@dataclass(frozen=True)
class Annotations:
    """Synthetic annotations in long form: M of them."""

    row: NDArray[np.int64]
    distribution: FloatArray  # (M, K): as stated, or the label as one-hot
    annotator: NDArray[np.object_]  # model, focus and mode: texts, of which there are few, each there once
    focus: NDArray[np.object_]


@dataclass(frozen=True)
class VoteTable:
    """N rows of votes for K emotions."""

    ids: list[str]
    emotions: tuple[str, ...]
    votes: Labels  # of listeners, in the order in which they stand
    columns: dict[str, list[Any]]  # others with one value a row, such as speaker
    synthetic: Labels | None = None
    annotations: Annotations | None = None  # who gave the synthetic ones, and what else they stated
    in_order: bool = False  # whether the order of the votes is that of the data, not that of the emotions
    source: str = ""  # what the data is, in words
    notes: list[str] = field(default_factory=list)  # what must be said with every figure
    place: NDArray[np.int64] | None = None  # (N,) rows of the data set that these are; None for all of them
    lines: list[str] | None = None  # where each row stands in a table, such as `votes.csv line 3`

    @property
    def places(self) -> NDArray[np.int64]:
        """The place of each row among those that somebody has listened to in the data set, (N,)."""
        return np.arange(len(self.ids)) if self.place is None else self.place

    def counts(self, kind: str = "human") -> FloatArray:
        """Votes an emotion, (N, K), of a kind: ``human`` or ``synthetic``."""
        return count_labels(self.labels(kind), len(self.emotions))

    def labels(self, kind: str = "human") -> Labels:
        """The votes of a kind, (N, m)."""
        if kind == "human":
            return self.votes
        if self.synthetic is None:
            raise ValueError(
                "There are no synthetic votes. Mend: annotate the data set first, or study the human votes "
                "(--votes human)."
            )
        return self.synthetic

    def speakers(self) -> list[Any] | None:
        """Who speaks in each row, or `None` where that is not known of every row."""
        found = self.columns.get("speaker")
        return found if found is not None and all(name not in (None, "") for name in found) else None

    def groups(self) -> NDArray[np.str_]:
        """What a bootstrap resamples as a whole, (N,): the speakers, or each row by itself where they are not known."""
        return np.array([str(name) for name in self.speakers() or self.ids])

    def halves(self, seed: int, half: int) -> tuple[FloatArray, FloatArray]:
        """Each row's human votes in two random halves, decided by (seed, id, half): counts (N, K) each."""
        shuffled = shuffle_votes(self.votes, self.ids, seed, half)
        first = count_labels(first_of(shuffled, (shuffled >= 0).sum(axis=1) // 2), len(self.emotions))
        return first, self.counts() - first

    def select(self, rows: NDArray[np.int64]) -> VoteTable:
        """The rows at these indices."""
        place = np.full(len(self.ids), -1)
        place[rows] = np.arange(len(rows))
        annotations = self.annotations
        if annotations is not None:
            inside = place[annotations.row] >= 0
            annotations = Annotations(
                place[annotations.row[inside]],
                annotations.distribution[inside],
                annotations.annotator[inside],
                annotations.focus[inside],
            )
        return replace(
            self,
            ids=[self.ids[row] for row in rows],
            votes=self.votes[rows],
            columns={name: [values[row] for row in rows] for name, values in self.columns.items()},
            place=self.places[rows],
            lines=None if self.lines is None else [self.lines[row] for row in rows],
            synthetic=None if self.synthetic is None else self.synthetic[rows],
            annotations=annotations,
        )

    def where(self, conditions: Mapping[str, str]) -> VoteTable:
        """The rows whose columns hold these values, as text."""
        kept = np.ones(len(self.ids), dtype=bool)
        for name, value in conditions.items():
            kept &= np.array([str(entry) == value for entry in self.column(name)])
        if not kept.any():
            told = ", ".join(f"{name}={value}" for name, value in conditions.items())
            raise ValueError(f"No row has {told}. Mend: check the spelling of the values.")
        return self.select(np.flatnonzero(kept))

    def refuse_repeats(self) -> None:
        """Raise a ValueError where a clip is in several rows, and would be scored several times."""
        first: dict[str, int] = {}
        again: list[tuple[int, int]] = []
        for row, name in enumerate(map(str, self.columns.get("id") or ())):
            if first.setdefault(name, row) != row:
                again.append((first[name], row))
        if again:
            told = "; ".join(
                f"{self.columns['id'][row]} ({self._line(one)} and {self._line(row)})" for one, row in again[:10]
            )
            more = f" and {len(again) - 10} more" if len(again) > 10 else ""
            raise ValueError(
                f"{len(again)} rows are of a clip that has a row already, and would be scored twice: {told}{more}. "
                "Mend: leave one row of each, or choose rows by a column in which they differ: --where COLUMN=VALUE."
            )

    def _line(self, row: int) -> str:
        return f"row {self.places[row]}" if self.lines is None else self.lines[row]

    def column(self, name: str) -> list[Any]:
        """A column by name."""
        if name not in self.columns:
            raise ValueError(f"There is no column {name!r}. Mend: name one of {', '.join(self.columns) or 'none'}.")
        return self.columns[name]


def count_labels(labels: Labels, size: int) -> FloatArray:
    """Votes an emotion, (N, K), of indices of emotions row by row, -1 being none."""
    return np.stack([(labels == k).sum(axis=1) for k in range(size)], axis=1).astype(np.float64)


def first_of(labels: Labels, number: NDArray[np.int64]) -> Labels:
    """The first so many votes of each row."""
    return np.where(np.arange(labels.shape[1]) < number[:, None], labels, -1)


def shares_of(counts: FloatArray) -> FloatArray:
    """Counts (N, K), none of whose rows is empty, as distributions."""
    return np.asarray(counts / counts.sum(axis=1, keepdims=True))


def shuffle_votes(labels: Labels, ids: Sequence[str], seed: int, subset: int = 0) -> Labels:
    """Each row's votes in an order that (seed, id, subset) decides, whatever other rows there are."""
    return _shuffled(labels, _row_keys(ids, seed), subset)


def shuffled_votes(labels: Labels, ids: Sequence[str], seed: int, number: int) -> Iterator[Labels]:
    """The same for so many subsets, one after the other."""
    rows = _row_keys(ids, seed)
    return (_shuffled(labels, rows, subset) for subset in range(number))


def row_pieces(rows: int) -> Iterator[slice]:
    """Rows some thousand at a time: what is computed on the way to a small figure a row need not be there of all."""
    return (slice(at, at + _AT_A_TIME) for at in range(0, rows, _AT_A_TIME))


def _row_keys(ids: Sequence[str], seed: int) -> NDArray[np.uint64]:
    keys = (hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest() for name in ids)
    return np.fromiter((int.from_bytes(key, "little") for key in keys), dtype=np.uint64, count=len(ids))


def _shuffled(labels: Labels, rows: NDArray[np.uint64], subset: int) -> Labels:
    found = np.empty_like(labels)
    for piece in row_pieces(len(labels)):
        found[piece] = _shuffled_piece(labels[piece], rows[piece], subset)
    return found


def _shuffled_piece(labels: Labels, rows: NDArray[np.uint64], subset: int) -> Labels:
    place = np.arange(1, labels.shape[1] + 1, dtype=np.uint64) + np.uint64(subset * labels.shape[1])
    # SplitMix64, by which counters become random bits (Steele, Lea and Flood 2014, doi:10.1145/2714064.2660195)
    keys = rows[:, None] + place * np.uint64(0x9E3779B97F4A7C15)
    keys = (keys ^ (keys >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    keys = (keys ^ (keys >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    keys ^= keys >> np.uint64(31)
    keys[labels < 0] = np.iinfo(np.uint64).max
    return np.take_along_axis(labels, np.argsort(keys, axis=1, kind="stable"), axis=1)


@dataclass(frozen=True)
class Sources:
    """Whose votes a study reads, and which of their rows.

    Args:
        sources: Data sets (Parquet folder or Hub id) or tables of counts (.csv), as SOURCE or NAME=SOURCE; several are
            shown side by side. From Python also a mapping of names to what was read or opened already.
        split: Split of a data set (default: all of them together).
        emotions: Label set (default: that of the data).
        by: Column each of whose values is shown by itself, such as modality.
        where: COLUMN=VALUE, only such rows; may be repeated.
        speaker_column: Who speaks (default: speaker, or actor).
        keep: Columns of a table of counts that hold numbers and no votes, such as age.

    Raises:
        ValueError: Two sources have one name.
    """

    sources: Sequence[str] | Mapping[str, VoteTable | OpenedDataset]
    split: str | None = None
    emotions: Sequence[str] | None = None
    by: str | None = None
    where: Mapping[str, str] | None = None
    speaker_column: str | None = None
    keep: Sequence[str] | None = None

    def __post_init__(self) -> None:
        names = [name for name, _ in self._named()]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"Two sources are named {name!r}. Mend: write NAME=SOURCE.")

    def _named(self) -> list[tuple[str, VoteTable | OpenedDataset | str]]:
        if isinstance(self.sources, Mapping):
            return list(self.sources.items())
        parts = [(source, *source.partition("=")) for source in self.sources]
        return [(name, path) if sign else (Path(source).stem or source, source) for source, name, sign, path in parts]

    @cached_property
    def opened(self) -> dict[str, VoteTable | OpenedDataset | Path]:
        """Each source by name, opened once."""
        return {name: _opened(source) if isinstance(source, str) else source for name, source in self._named()}

    @cached_property
    def tables(self) -> dict[str, VoteTable]:
        """The votes, by the names of their sources and, where they are asked for, of a column's values."""
        found: dict[str, VoteTable] = {}
        for name, source in self.opened.items():
            table = source if isinstance(source, VoteTable) else self.read(source, self.split)
            if self.where:
                table = table.where(self.where)
            if self.by is None:
                found[name] = table
                continue
            values = np.array([str(value) for value in table.column(self.by)])
            found |= {f"{name}, {value}": table.select(np.flatnonzero(values == value)) for value in np.unique(values)}
        return found

    def read(self, source: OpenedDataset | Path, split: str | None) -> VoteTable:
        """The votes of another split of a source."""
        kept = [*(self.keep or ()), *(self.where or ()), *([self.by] if self.by else [])]
        return read_vote_table(
            source, split=split, emotions=self.emotions, speaker_column=self.speaker_column, keep=kept
        )

    def one(self, what: str) -> VoteTable:
        """The only table, for a study that is not of several."""
        if len(self.tables) != 1:
            raise ValueError(f"{what} are of one corpus. Mend: run the study once for each.")
        return next(iter(self.tables.values()))

    def facts(self) -> dict[str, str]:
        """Facts on the data for a report."""
        found = {"data": "; ".join(dict.fromkeys(table.source for table in self.tables.values()))}
        if self.where:
            found["rows"] = "only " + ", ".join(f"{name}={value}" for name, value in self.where.items())
        found["split"] = self.split or "all rows: no model is trained, so nothing is held out"
        found["emotions"] = "; ".join(dict.fromkeys(", ".join(table.emotions) for table in self.tables.values()))
        return found

    def notes(self) -> list[str]:
        """What must be said with every figure."""
        return list(dict.fromkeys(note for table in self.tables.values() for note in table.notes))


def _opened(source: str | Path) -> OpenedDataset | Path:
    path = Path(source).expanduser()
    return path if path.suffix.lower() in (".csv", ".tsv", ".txt") else open_dataset(source)


def read_vote_table(
    source: str | OpenedDataset | Path,
    *,
    split: str | None = None,
    emotions: Sequence[str] | None = None,
    speaker_column: str | None = None,
    keep: Sequence[str] = (),
    late_responses: Kept | None = None,
) -> VoteTable:
    """Read votes from a data set, or from a table of counts (``.csv``, ``.tsv``), which needs no audio.

    In a table, columns of numbers that are no votes and no known fields must be named in `keep`. CREMA-D's own files of
    votes are tables, too; `late_responses` is for its responses, as `read_cremad` has it.

    A rater who gave several tags (weights under 1) counts with the first of them, so that every vote is a whole one; a
    note says so. Labels outside `emotions` are left out, and rows that were mixed from others, which have no votes.
    """
    if not isinstance(source, OpenedDataset):
        source = _opened(source)
    lines: list[str] | None = None
    if isinstance(source, Path):
        if split is not None:
            raise ValueError(
                f"{source.name} is a table of counts, without splits. Mend: leave the split ({split!r}) out; "
                "--where COLUMN=VALUE chooses rows."
            )
        if holds_responses(source) or holds_authors_counts(source):
            rows, names, in_order, notes = _from_cremad(source, emotions, late_responses)
        else:
            kept = [*keep, *([speaker_column] if speaker_column else [])]
            rows, names, in_order, lines = _from_text(source, emotions, kept)
            notes = []
        told, notes = f"{source.name}, {len(rows)} rows", [*notes_about(rows), *notes]
    else:
        rows, told, notes = _from_dataset(source, split)
        names, in_order = validate_emotions(emotions) if emotions else source.emotions(), True
    if emotions:
        voted = sorted({label for votes in lazy_column(rows, "human_votes") or () for label in votes or ()})
        refuse_unknown_labels(names, voted, source.name)
    columns = _plain_columns(rows)
    for wanted, given, others in (
        ("speaker", speaker_column, ("speaker", "actor")),
        ("id", None, ("id", "file", "clip")),
    ):
        if given is not None and given not in columns:
            raise ValueError(f"There is no column {given!r}. Mend: name one of {', '.join(columns)}.")
        found = given or next((name for name in others if name in columns), None)
        if found is not None:
            columns[wanted] = columns[found]
    ids = [str(name) for name in columns["id"]] if "id" in columns else row_ids(rows)
    if len(set(ids)) < len(ids):
        # one clip may be in several rows, such as heard and seen
        ids = [f"{name} ({place})" for place, name in enumerate(ids)]
    votes, several = _whole_votes(rows, names)
    if several:
        notes.append(f"{several} raters gave several tags: the first counts")
    if not (votes >= 0).any():
        raise ValueError(f"No row of {told} has a human vote for any of {', '.join(names)}. Mend: name the `emotions`.")
    synthetic, annotations = _synthetic(rows, names)
    return VoteTable(ids, names, votes, columns, synthetic, annotations, in_order, told, notes, lines=lines)


def _from_cremad(
    path: Path, emotions: Sequence[str] | None, late_responses: Kept | None
) -> tuple[list[dict[str, Any]], tuple[str, ...], bool, list[str]]:
    """CREMA-D's votes, a row for each clip and modality that has any, all clips; and what must be said of them."""
    report = CorpusReport()
    found = votes_only(path, report, late_responses=late_responses, marked_clips="keep")
    twice = [problem for problem in report.problems if problem.detail == TABULATED_TWICE]
    if twice:
        told = "; ".join(f"{problem.item} ({problem.where})" for problem in twice[:10])
        raise ValueError(
            f"{path.name}: {len(twice)} rows are of a clip that has a row already: {told}"
            f"{f' and {len(twice) - 10} more' if len(twice) > 10 else ''}. Mend: leave one row of each."
        )
    # late ones are told of by name, and marked clips are kept, as a protocol has them
    usual = ("distracted_rater", "wrong_recording", "no_response_times")
    notes = [
        f"{path.name}: {number} × {reason} ({REASONS[reason]})"
        for reason, number in report.counts().items()
        if reason not in usual
    ]
    names = validate_emotions(emotions) if emotions else found.emotions
    rows = []
    for modality, counts in found.counts.items():
        for place in np.flatnonzero(counts.sum(axis=1) > 0):
            votes = np.repeat(np.array(found.emotions), counts[place].astype(np.int64)).tolist()
            rows.append(
                {
                    "clip": found.ids[place],
                    "actor": found.speakers[place],
                    "sentence": found.sentences[place],
                    "intended": found.intended[place],
                    "level": found.levels[place],
                    "modality": modality,
                    "late_responses": found.late_responses,
                    "marked_clips": "keep",
                    "human_votes": [name for name in votes if name in names],
                    "human_vote_weights": None,
                }
            )
    return rows, names, False, notes


def _from_text(
    path: Path, emotions: Sequence[str] | None, keep: Sequence[str]
) -> tuple[list[dict[str, Any]], tuple[str, ...], bool, list[str]]:
    from ..corpora.table.content import TableError
    from ..corpora.table.file import load_table
    from ..corpora.table.labels import LabelBook
    from ..corpora.table.options import table_settings
    from ..corpora.table.shape import find_shape
    from ..corpora.table.votes import read_votes

    table = load_table(path)
    settings = table_settings({"emotions": emotions, "outside": "drop_vote", "keep": keep})
    book = LabelBook(settings.emotions, settings.merge)
    try:
        shape = find_shape(table, settings, book, need_file=False)
        if shape.rater is not None:
            raise ValueError(
                f"{path.name} has one row a rating (column {shape.rater!r}), and here a row is an utterance. Mend: "
                "make a data set of it, hf-emo-dist read table, or count the votes of each utterance first."
            )
        if any(name in table.columns for name in ("id", "file", "clip")):
            _refuse_copies(table)
        found = read_votes(table, shape, settings, book)
    except TableError as error:
        if not re.search("--(amounts|num_raters|several|merge|votes_column)", str(error)):
            raise
        told = "These are options of hf-emo-dist read table, which makes a data set of it."
        raise TableError(f"{error} {told}") from error
    kept: list[dict[str, Any]] = []
    for row, clip in zip(table.rows, found.clips, strict=True):
        texts = {name: None if value is None else str(value) for name, value in row.items() if name not in shape.voted}
        weights = clip.weights if found.weighted else None
        kept.append({**texts, "human_votes": clip.labels, "human_vote_weights": weights})
    return kept, found.emotions, bool(shape.votes), [table.where(row, None) for row in range(len(table.rows))]


def _refuse_copies(table: Any) -> None:
    first: dict[tuple[str, ...], int] = {}
    copies = [
        (one, row)
        for row, cells in enumerate(table.rows)
        if (one := first.setdefault(tuple(map(repr, cells.values())), row)) != row
    ]
    if copies:
        told = "; ".join(f"{table.where(row)} as {table.place(one, None)}" for one, row in copies[:10])
        more = f" and {len(copies) - 10} more" if len(copies) > 10 else ""
        raise ValueError(f"{len(copies)} rows stand twice: {told}{more}. Mend: leave one of each.")


def _from_dataset(opened: OpenedDataset, split: str | None) -> tuple[Any, str, list[str]]:
    rows = opened.heard(split)
    if "human_votes" not in rows.column_names:
        raise DatasetLoadError(
            f"{opened.name!r} has no column 'human_votes'. Mend: choose a data set of votes; this one has "
            f"{', '.join(rows.column_names)}."
        )
    notes = opened.notes(rows)
    rows = rows.remove_columns([name for name in ("audio",) if name in rows.column_names])
    where = f"split {split!r}" if split else "all splits"
    # the last part of a path is enough to know it by, and a report should not show the rest
    name = hub_id(opened.name) or last_part(opened.name)
    votes = f". Votes: {opened.vote_source}" if opened.vote_source else ""
    return rows, f"{name}, {where}, {len(rows)} rows{votes}", notes


def _plain_columns(rows: Any) -> dict[str, list[Any]]:
    names = rows.column_names if hasattr(rows, "column_names") else list(rows[0])
    found = {}
    for name in names:
        values = _plain(lazy_column(rows, name) or ())
        if any(value is not None for value in values):
            found[name] = values
    return found


def _plain(values: Iterable[Any]) -> list[Any]:
    """The values, of which a text that several rows share is one object; none where one of them is a list or struct."""
    texts: dict[str, str] = {}
    found = []
    for value in values:
        if value is not None and not isinstance(value, str | int | float):
            return []
        found.append(texts.setdefault(value, value) if isinstance(value, str) else value)
    return found


def _whole_votes(rows: Any, emotions: tuple[str, ...]) -> tuple[Labels, int]:
    """The votes as indices, and how many raters gave several tags."""
    names = ("human_votes", "human_vote_weights", "human_raters")
    columns = [repeat(None) if found is None else found for found in (lazy_column(rows, name) for name in names)]
    kept = _Padded()
    index, several = _index_of(emotions), 0
    # there is an entry for each row, of whatever column there is
    for _, votes, weights, raters in zip(range(len(rows)), *columns, strict=False):
        labels = list(votes or [])
        if weights is not None and any(weight != 1 for weight in weights):
            first, more = _first_tags(list(weights), raters)
            labels, several = [labels[tag] for tag in first], several + more
        kept.append(number for number in map(index, labels) if number >= 0)
    return kept.labels(), several


def _first_tags(weights: list[float], raters: Sequence[Any] | None) -> tuple[list[int], int]:
    """The place of each rater's first tag: raters by name, else runs of weights that sum to 1."""
    first, several, total, names = [], 0, 0.0, []
    for place, weight in enumerate(weights):
        if raters is not None:
            if raters[place] not in names:
                names.append(raters[place])
                first.append(place)
                several += weight < 1
        else:
            if total == 0.0:
                first.append(place)
                several += weight < 1
            total += weight
            if total >= 1 - 1e-3:
                total = 0.0
    return first, several


def _synthetic(rows: Any, emotions: tuple[str, ...]) -> tuple[Labels | None, Annotations | None]:
    given, labels = lazy_column(rows, "synthetic_annotations"), lazy_column(rows, "synthetic_votes")
    index = _index_of(emotions)
    if given is None and labels is None:
        return None, None
    kept = _Padded()
    if given is None or not any(given):
        for votes in labels or []:
            kept.append(number for number in map(index, votes or []) if number >= 0)
        return (kept.labels(), None) if kept.flat else (None, None)
    place, stated, annotator, focus = array("q"), array("d"), [], []
    for row, entries in enumerate(given):
        numbers = []
        for entry in entries or []:
            number = index(entry["label"]) if entry.get("label") is not None else -1
            shares = entry.get("distribution")
            if number >= 0:
                numbers.append(number)
                stated.extend(float(k == number) for k in range(len(emotions)))
            elif shares and all(shares.get(name) is not None for name in emotions) and sum(shares.values()) > 0:
                vector = np.array([shares[name] for name in emotions], dtype=np.float64)
                stated.extend(vector / vector.sum())
            else:
                continue
            place.append(row)
            # of the few texts that there are, one of each
            focus.append(sys.intern(str(entry.get("focus") or "no focus")))
            told = f"{entry.get('model') or 'unknown model'}, {focus[-1]}, {entry.get('mode') or 'label'}"
            annotator.append(sys.intern(told))
        kept.append(numbers)
    if not place:
        return None, None
    shares = np.array(stated).reshape(-1, len(emotions))
    return kept.labels(), Annotations(
        np.array(place), shares, np.array(annotator, dtype=object), np.array(focus, dtype=object)
    )


def _index_of(emotions: tuple[str, ...]) -> Callable[[str], int]:
    """From a label as it is spelled to its place among the emotions, -1 for what is none of them."""

    @cache
    def index(label: str) -> int:
        try:
            return emotions.index(canonical_emotion(label, emotions))
        except ValueError:
            return -1

    return index


class _Padded:
    """Rows of numbers as they come, some longer than others."""

    def __init__(self) -> None:
        self.flat, self.lengths = array("q"), array("q")

    def append(self, row: Iterable[int]) -> None:
        """Add a row."""
        before = len(self.flat)
        self.flat.extend(row)
        self.lengths.append(len(self.flat) - before)

    def labels(self) -> Labels:
        """The rows (N, m), -1 where one is shorter than others."""
        lengths = np.array(self.lengths, dtype=np.int64)
        labels = np.full((len(lengths), max(int(lengths.max(initial=0)), 1)), -1, dtype=np.int64)
        labels[np.arange(labels.shape[1]) < lengths[:, None]] = self.flat
        return labels
