"""Rows of any origin, understood: which clips there are, what was voted on each, what is left out; then written."""

from __future__ import annotations

import hashlib
import logging
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from ...audio.faults import BadClip, told_by_reason
from ...data.loading import tell_of_copy
from ...data.writing import SPLIT_ORDER, build_dataset, row_features
from ...votes import counts_to_distribution, matrix_to_distributions, vote_counts_matrix
from ..building import reason_of, warn_shared_speakers
from ..label_files import split_name
from ..options import cache_folder
from ..utterances import CorpusReport
from .content import Table, TableError
from .labels import LabelBook
from .options import TableSettings
from .own_columns import TEXTS, infer_column
from .shape import Shape, find_shape, is_kept
from .votes import TableVotes, person, read_votes

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

logger = logging.getLogger(__name__)


class Clip(NamedTuple):
    """The audio of one row."""

    key: str  # equal for rows of one clip
    name: str  # of the file, from which the id is made
    read: Callable[[], Mapping[str, Any]] | None  # gives {"bytes", "path"}; None where there is no audio
    check: Callable[[], object] | None = None  # raises `BadClip` for what is no audio, by its first bytes


@dataclass
class TableReading:
    """A table that was understood, before any of its audio is read; see :func:`understand_rows`."""

    table: Table
    shape: Shape
    votes: TableVotes
    source: str  # where the audio is, in words
    used: list[int]  # places in `votes.clips`, in the order of the table
    clips: list[Clip]  # of each place
    ids: dict[int, str]  # of those used
    splits: dict[int, str]
    single: dict[str, list[Any]]  # speaker and transcript of each place
    own: dict[str, tuple[list[Any], Any]]  # column → values of each place, and feature
    varying: list[str]  # columns that differ within a clip and are not kept
    report: CorpusReport
    key: str  # what the cache folder is named by
    respelled: int = 0  # files that were found under another spelling
    shared_audio: list[tuple[str, str]] = field(default_factory=list)  # ids of clips with the same bytes, once read

    def summary(self) -> str:
        """What was understood, in one screen: form, columns, labels, the account of votes, the first clip."""
        shape, votes = self.shape, self.votes
        rows, clips = len(self.table.rows), len(votes.clips)
        columns = [f"{role} {getattr(shape, role)!r}" for role in _ROLES if getattr(shape, role) is not None]
        columns += [f"votes {name!r}" for name in shape.votes] + (
            [f"counts {_some(list(shape.counts), 12)}"] * bool(shape.counts)
        )
        labels = [
            f"{label} {amount:g}" if emotion == label else f"{label} {amount:g} -> {emotion or 'left out'}"
            for label, (emotion, amount) in sorted(votes.spelled.items(), key=lambda item: -item[1][1])
        ]
        parts = Counter(self.splits[place] for place in self.used)
        raters = {rater for clip in votes.clips for rater in clip.raters if rater is not None}
        per_clip = [votes.clips[place].total for place in self.used]
        speakers = {name for place in self.used if (name := self.single["speaker"][place]) is not None}
        left = self.report.counts(skipped=True)
        lines = [
            f"{self.table.name}: {rows} rows, {clips} clips",
            f"Form: {votes.form}",
            f"Columns: {', '.join(columns)}",
            f"Audio: {self.source}" + (f"; {self.respelled} found under another spelling" if self.respelled else ""),
            f"Emotions: {', '.join(votes.emotions)}",
            f"Labels: {_some(labels, 16)}",
            f"Votes: {votes.balance.summary()}",
            f"A clip: {min(per_clip):g} to {max(per_clip):g} votes"
            + (f" of {len(raters)} raters by name" if raters else ", raters not named"),
            f"Splits: {', '.join(f'{split} {number}' for split, number in parts.items())}; "
            + (f"{len(speakers)} speakers" if speakers else "speakers not known"),
            f"Kept as they are: {_some(list(self.own), 16) or 'no other columns'}",
        ]
        if self.varying:
            lines.append(
                f"Left out, for they differ within a clip: {_some(self.varying, 16)} (--keep makes lists of them)"
            )
        if left:
            told = ", ".join(f"{number} ({reason})" for reason, number in left.items())
            lines.append(f"Clips left out: {told}")
        first = votes.clips[self.used[0]]
        heard: dict[str, float] = {}
        for label, weight in zip(first.labels, first.weights, strict=True):
            heard[label] = heard.get(label, 0.0) + weight
        heard_as = ", ".join(f"{label} {number:g}" for label, number in heard.items())
        lines.append(f"The first: {self.ids[self.used[0]]}, {self.table.where(first.rows[0], shape.file)}: {heard_as}")
        return "\n".join(lines)

    def read(self, cache_dir: str | Path | None = None, progress: bool = True, told: bool = False) -> DatasetDict:
        """As `build`; what is left out is logged, unless somebody has been `told` of it already."""
        if not told:
            self.warn()
        return self.build(cache_dir, progress)

    def warn(self) -> None:
        """Log what is left out, in a line each."""
        if self.report.problems or self.report.outside:
            logger.warning("%s: %s", self.table.name, self.report.summary(10))
        if self.varying:
            logger.warning("%s: left out, for they differ within a clip: %s", self.table.name, ", ".join(self.varying))

    def build(self, cache_dir: str | Path | None = None, progress: bool = True) -> DatasetDict:
        """Read the audio and make the data set.

        Args:
            cache_dir: Where the rows are kept while the data set is used (memory mapped, one file a split). Default: a
                folder of the ``datasets`` cache that belongs to this table and is rewritten each time.
            progress: Whether to show a progress bar.

        Returns:
            One ``Dataset`` a split, rows in the order of the table.

        Raises:
            TableError: An audio file cannot be read any more, or is empty.
        """
        from datasets import DatasetDict
        from datasets.utils.tqdm import tqdm

        votes = self.votes
        of = self._distributions()
        features = self.features()
        digests: dict[bytes, str] = {}

        def rows(places: Sequence[int], bar: Any) -> Iterator[dict[str, Any]]:
            for place in places:
                clip = votes.clips[place]
                bar.update()
                yield {
                    **{column: values[place] for column, (values, _) in self.own.items()},
                    "id": self.ids[place],
                    "audio": self._audio(place, digests),
                    "transcript": self.single["transcript"][place],
                    "speaker": self.single["speaker"][place],
                    "human_votes": clip.labels,
                    "human_vote_weights": clip.weights,
                    "human_raters": clip.raters,
                    "human_distribution": of[place],
                    "emotion_distribution": of[place],
                }

        parts: dict[str, list[int]] = {split: [] for split in SPLIT_ORDER}
        for place in self.used:
            parts.setdefault(self.splits[place], []).append(place)
        parts = {split: places for split, places in parts.items() if places}
        speakers = self.single["speaker"]
        known = {split: [s for p in places if (s := speakers[p]) is not None] for split, places in parts.items()}
        warn_shared_speakers(known)
        cache = (
            cache_folder(Path(self.table.name).stem, self.key) if cache_dir is None else Path(cache_dir).expanduser()
        )
        hide = None if progress else True
        with tqdm(total=len(self.used), desc="Reading audio files", unit="file", disable=hide) as bar:
            built = DatasetDict(
                {s: build_dataset(rows(part, bar), features, cache / f"{s}.arrow") for s, part in parts.items()}
            )
        if cache_dir is None:
            tell_of_copy(self.table.name, built.values())
        if self.shared_audio:
            pairs = "; ".join(f"{one!r} and {other!r}" for one, other in self.shared_audio[:5])
            logger.warning(
                "%d clips have the same audio as another (%s): if they are one clip, give them one file and put their "
                "votes together; `check_splits` refuses them in different splits",
                len(self.shared_audio),
                pairs,
            )
        return built

    def without_audio(self) -> Dataset:
        """Of each row what splits are drawn from: ``id``, ``speaker`` and ``human_distribution``."""
        from datasets import Dataset

        of = self._distributions()
        return Dataset.from_dict(
            {
                "id": [self.ids[place] for place in self.used],
                "speaker": [self.single["speaker"][place] for place in self.used],
                "human_distribution": [of[place] for place in self.used],
            }
        )

    def _distributions(self) -> dict[int, dict[str, float]]:
        votes = self.votes
        labels = [votes.clips[place].labels for place in self.used]
        weights = [votes.clips[place].weights for place in self.used] if votes.weighted else None
        counts = vote_counts_matrix(labels, votes.emotions, weights)
        shares = matrix_to_distributions(counts_to_distribution(counts), votes.emotions)  # type: ignore[arg-type]
        return dict(zip(self.used, shares, strict=True))

    def _audio(self, place: int, digests: dict[bytes, str]) -> Mapping[str, Any]:
        clip = self.clips[place]
        where = self.table.where(self.votes.clips[place].rows[0], self.shape.file)
        assert clip.read is not None  # those without audio are not used
        try:
            audio = clip.read()
        except BadClip as bad:  # it could be read a moment ago
            raise TableError(f"{where}: {bad.detail}. Mend: {bad.mend}.") from bad
        digest = hashlib.sha256(audio["bytes"]).digest()
        first = digests.setdefault(digest, self.ids[place])
        if first != self.ids[place]:
            self.shared_audio.append((first, self.ids[place]))
        return audio

    def features(self) -> Any:
        """The types of the columns that `build` writes.

        Raises:
            TableError: A column of the table has the name of one that is written.
        """
        from datasets import List, Value

        extra = {column: feature for column, (_, feature) in self.own.items()}
        taken = [column for column in extra if column in _WRITTEN]
        if taken:
            rater = " (--rater_column human_raters, if it names the rater of a row)" if "human_raters" in taken else ""
            raise TableError(
                f"{self.table.name}: {_some([repr(column) for column in taken], 8)} "
                f"{'is' if len(taken) == 1 else 'are'} part of the data contract: columns of that name are made here. "
                f"Mend: give {'it another name' if len(taken) == 1 else 'them other names'} in the table{rater}."
            )
        if self.votes.named:
            extra["human_raters"] = List(Value("string"))
        return row_features(self.votes.emotions, extra, vote_weights=self.votes.weighted)


#: The data contract's columns that readers write, or that later steps make; the table's own cannot be called so.
_WRITTEN = frozenset(
    [
        "audio",
        "emotion_concentration",
        "emotion_distribution",
        "human_distribution",
        "human_raters",
        "human_vote_weights",
        "human_votes",
        "id",
        "mix_ratio",
        "mixed_from",
        "speaker",
        "synthetic_annotations",
        "synthetic_votes",
        "transcript",
        "true_distribution",
    ]
)
_ROLES = ("file", "num_raters", "rater", "speaker", "transcript", "split", "id")


def _some(names: Sequence[str], most: int) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def understand_rows(
    table: Table,
    clip_of: Callable[[int, str | None], Clip],
    settings: TableSettings,
    report: CorpusReport | None = None,
    *,
    source: str = "",
    key: str = "",
    missing: Callable[[Sequence[int], str | None], TableError] | None = None,
    need_file: bool = True,
) -> TableReading:
    """Understand rows of any origin: whose votes they are, of which clips.

    Args:
        table: The rows.
        clip_of: The audio of a row, given its number and its cell in the column of files.
        settings: The options.
        report: Receives what is left out, by reason and row.
        source: Where the audio is, in words, for the summary.
        key: What the rows in the cache belong to.
        missing: Makes the error over rows whose audio is missing, given them and the column of files.
        need_file: Whether there must be a column of files.

    Returns:
        What was understood; its method ``build`` makes the data set.

    Raises:
        TableError: Something in the rows does not fit, or must be asked; the message names the row and the mend.
    """
    report = CorpusReport() if report is None else report
    book = LabelBook(settings.emotions, settings.merge)
    shape = find_shape(table, settings, book, need_file)
    if shape.file is not None and need_file:
        _refuse_blanks(table, shape.file, "fill it in, or delete the rows.", shape)
    audio = [clip_of(row, None if shape.file is None else _file_text(cells[shape.file])) for row, cells in
             enumerate(table.rows)]  # fmt: skip
    votes = read_votes(table, shape, settings, book, [clip.key for clip in audio])
    clips = [audio[clip.rows[0]] for clip in votes.clips]
    report.outside.update(votes.outside)
    names = _ids(table, shape, votes, clips)
    for row, rater in votes.repeats:
        report.note("duplicate_rater", audio[row].name, table.where(row, None), rater)
    gone = _without_votes(table, shape, settings, votes, names, report)
    gone |= _without_audio(table, shape, settings, votes, clips, names, report, missing, gone)
    gone |= _without_sound(table, shape, settings, votes, clips, names, report, gone)
    used = [place for place in range(len(clips)) if place not in gone]
    if not used:
        raise TableError(f"{table.name}: no clip has both votes and an audio file. Mend: check both.")
    report.kept = len(used)
    _refuse_shared_ids(table, shape, votes, names, used)
    others = [name for name in table.columns if name not in shape.taken]
    own, varying = _own_columns(table, votes, others, settings)
    reading = TableReading(
        table=table,
        shape=shape,
        votes=votes,
        source=source,
        used=used,
        clips=clips,
        ids={place: names[place] for place in used},
        splits=_splits(table, shape, votes),
        single={
            "speaker": _single(table, shape, votes, shape.speaker, person, used),
            "transcript": _single(table, shape, votes, shape.transcript, _text, used),
        },
        own=own,
        varying=varying,
        report=report,
        key=key,
    )
    reading.features()  # what cannot be written is said before any audio is read
    return reading


def _file_text(cell: Any) -> str | None:
    return None if cell is None else str(cell).strip()


def _text(value: Any) -> str | None:
    return None if value is None else str(value).strip() or None


def _refuse_blanks(table: Table, column: str, mend: str, shape: Shape) -> None:
    blank = [row for row, cells in enumerate(table.rows) if _text(cells[column]) is None]
    if blank:
        raise table.fail(blank, f"{table.name}: the column {column!r} is blank", mend, shape.file)


def _ids(table: Table, shape: Shape, votes: TableVotes, clips: Sequence[Clip]) -> list[str]:
    """The id of each clip: that of its rows, else the stem of its file."""
    if shape.id is None:
        return [unicodedata.normalize("NFC", Path(clip.name).stem) for clip in clips]
    _refuse_blanks(table, shape.id, "fill it in, or delete the column.", shape)
    found = _single(table, shape, votes, shape.id, person, range(len(votes.clips)))
    return [name if name is not None else str(table.rows[clip.rows[0]][shape.id or ""]) for name, clip in
            zip(found, votes.clips, strict=True)]  # fmt: skip


def _refuse_shared_ids(
    table: Table, shape: Shape, votes: TableVotes, names: Sequence[str], used: Sequence[int]
) -> None:
    places: dict[str, int] = {}
    for place in used:
        first = places.setdefault(names[place], place)
        if first != place:
            mend = "make ids unique." if shape.id else "add a column 'id' with unique ids, or name it with --id_column."
            rows = [votes.clips[first].rows[0], votes.clips[place].rows[0]]
            raise table.fail(rows, f"{table.name}: two clips have the id {names[place]!r}", mend, shape.file)


def _without_votes(
    table: Table, shape: Shape, settings: TableSettings, votes: TableVotes, names: Sequence[str], report: CorpusReport
) -> set[int]:
    blank = [place for place, why in votes.empty.items() if why == "no votes"]
    rows = [votes.clips[place].rows[0] for place in blank]
    if blank and (settings.on_empty == "error" or len(blank) == len(votes.clips)):
        mend = "add votes, or pass on_empty='skip' (--on_empty skip)."
        raise table.fail(
            rows, f"{table.name}: {len(blank)} of {len(votes.clips)} clips have no votes", mend, shape.file
        )
    for place, why in votes.empty.items():
        reason = "vote_outside" if why == "a vote outside the emotions" else "no_votes"
        report.skip(reason, names[place], table.where(votes.clips[place].rows[0], None))
    return set(votes.empty)


def _without_audio(
    table: Table,
    shape: Shape,
    settings: TableSettings,
    votes: TableVotes,
    clips: Sequence[Clip],
    names: Sequence[str],
    report: CorpusReport,
    missing: Callable[[Sequence[int], str | None], TableError] | None,
    gone: set[int],
) -> set[int]:
    lacking = [place for place, clip in enumerate(clips) if clip.read is None]
    if lacking and (settings.on_missing == "error" or len(lacking) == len(clips)):
        rows = [votes.clips[place].rows[0] for place in lacking]
        if missing is not None:
            raise missing(rows, shape.file)
        raise table.fail(rows, f"{table.name}: rows have no audio", "fill it in, or --on_missing skip.", shape.file)
    for place in lacking:
        report.skip("no_audio", names[place], table.where(votes.clips[place].rows[0], None), clips[place].name)
        if place not in gone:
            _leave_votes_out(votes, place)
    return set(lacking)


def _leave_votes_out(votes: TableVotes, place: int) -> None:
    amount = votes.clips[place].total
    votes.balance.kept -= amount
    votes.balance.left_out["a clip without audio"] += amount


def _without_sound(
    table: Table,
    shape: Shape,
    settings: TableSettings,
    votes: TableVotes,
    clips: Sequence[Clip],
    names: Sequence[str],
    report: CorpusReport,
    gone: set[int],
) -> set[int]:
    """The clips whose file is there and is no audio: a Git LFS pointer, a web page, a format that is not decoded."""
    there = [place for place in range(len(clips)) if place not in gone]
    found: dict[int, BadClip] = {}
    for place in there:
        check = clips[place].check
        try:
            if check is not None:
                check()
        except BadClip as bad:
            found[place] = bad
    rows = {place: votes.clips[place].rows[0] for place in found}
    if found and (settings.on_missing == "error" or len(found) == len(there)):
        told = told_by_reason(
            ((table.where(rows[at], shape.file), fault.detail, fault.mend) for at, fault in found.items()), named=10
        )
        lines = "\n".join(told)
        raise TableError(
            f"{table.name}: {len(found)} of {len(there)} files are no audio that can be read:\n{lines}\nMend: see "
            "each, or pass on_missing='skip' (--on_missing skip)."
        )
    for place, fault in found.items():
        where = table.where(rows[place], None)
        report.skip(reason_of(fault), names[place], where, f"{fault.detail}. Mend: {fault.mend}")
        _leave_votes_out(votes, place)
    return set(found)


def _single(
    table: Table,
    shape: Shape,
    votes: TableVotes,
    column: str | None,
    read: Callable[[Any], str | None],
    used: Sequence[int],
) -> list[Any]:
    """The one value that a column has in the rows of each clip."""
    if column is None:
        return [None] * len(votes.clips)
    found: list[Any] = []
    wanted = set(used)
    for place, clip in enumerate(votes.clips):
        values: dict[str, int] = {}
        for row in clip.rows:
            value = read(table.rows[row][column])
            if value is not None:
                values.setdefault(unicodedata.normalize("NFC", value), row)
        if len(values) > 1 and place in wanted:
            told = " and ".join(map(repr, list(values)[:3]))
            mend = "correct them: a clip has one."
            rows = list(values.values())[:3]
            raise table.fail(
                rows, f"{table.name}: one clip has several values of {column!r} ({told})", mend, shape.file
            )
        found.append(next(iter(values), None))
    return found


def _splits(table: Table, shape: Shape, votes: TableVotes) -> dict[int, str]:
    if shape.split is None:
        return dict.fromkeys(range(len(votes.clips)), "train")
    _refuse_blanks(table, shape.split, "fill it in, or delete the column.", shape)
    values = _single(table, shape, votes, shape.split, lambda value: split_name(str(value)), range(len(votes.clips)))
    given = {str(cells[shape.split]) for cells in table.rows}
    changed = [f"{old!r} as {split_name(old)!r}" for old in sorted(given) if old != split_name(old)]
    if changed:
        logger.info("%s: read split %s", table.name, ", ".join(changed))
    return dict(enumerate(values))


def _own_columns(
    table: Table, votes: TableVotes, columns: Sequence[str], settings: TableSettings
) -> tuple[dict[str, tuple[list[Any], Any]], list[str]]:
    """The columns that are kept, a value a clip; and those left out, whose values differ within a clip."""
    from datasets import List, Value

    kept: dict[str, tuple[list[Any], Any]] = {}
    varying = []
    for column in columns:
        cells = [row[column] for row in table.rows]
        groups = [[cells[row] for row in clip.rows] for clip in votes.clips]
        if any(any(value != group[0] for value in group) for group in groups):
            if not is_kept(column, settings):
                varying.append(column)
                continue
            values, feature = infer_column(cells, table.is_text)
            if isinstance(feature, Value):
                kept[column] = ([[values[row] for row in clip.rows] for clip in votes.clips], List(feature))
                continue
            texts = [None if value is None else str(value) for value in values]
            kept[column] = ([[texts[row] for row in clip.rows] for clip in votes.clips], List(Value("string")))
            continue
        firsts = [group[0] for group in groups]
        if column in TEXTS:
            kept[column] = ([None if value is None else str(value).strip() for value in firsts], Value("string"))
        else:
            kept[column] = infer_column(firsts, table.is_text)
    return kept, varying
