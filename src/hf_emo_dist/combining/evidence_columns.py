"""From the columns of a data set to `Evidence`: who said what about each row, whatever the form of the rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributions import FloatArray, check_choice
from ..emotions import MissingColumnError, canonical_emotion, validate_emotions
from ..votes import Outside
from .evidence import Answers, Each, Evidence, IndexArray, Places

#: What bare `synthetic_votes`, of whom nothing is known, are from.
UNNAMED = "unnamed"
#: Annotators that are a column of the user's own predictions: `predicted:COLUMN`.
PREDICTED = "predicted:"
_ENTRIES = "synthetic_annotations"
#: The columns that evidence is read from, where they are there.
EVIDENCE = ("id", "speaker", "human_votes", "human_vote_weights", "synthetic_votes", _ENTRIES)
#: Those whose fields say which the emotions are.
STRUCTS = ("human_distribution", "emotion_distribution")
#: All that combining reads.
COLUMNS = (*EVIDENCE, "mixed_from", *STRUCTS)
# Rows of a data set that are read at a time.
_AT_A_TIME = 2000
# what a service appends to a model's name to say which version of it answered
_VERSION = re.compile(
    r"(?:[-@](?:\d{4}-\d{2}-\d{2}|\d{2}-\d{2}(?:\d{2})?|20\d{6}|2[3-9](?:0[1-9]|1[0-2])|0\d{3}|00\d|latest|preview|exp))+$"
)
_STATED = {"distribution": "stated", "stated": "stated", "readout": "read-out"}


def annotator_name(model: str, mode: str = "label") -> str:
    """An annotator's name: model and mode. Versions of one model are one annotator.

    Example:
        >>> annotator_name("models/gemini-3.8-flash-002"), annotator_name("gemini-3.8-flash-preview-05-06", "stated")
        ('gemini-3.8-flash', 'gemini-3.8-flash (stated)')
    """
    base = _VERSION.sub("", model.removeprefix("models/")) or model
    kind = _STATED.get(mode, mode)
    return base if kind == "label" else f"{base} ({kind})"


def columns_as_arrow(rows: Any, names: Sequence[str]) -> dict[str, Any]:
    """Those of the columns that are there, as Arrow arrays: of a `Dataset`, of a batch that it maps over, of a mapping.

    Raises:
        ValueError: A column's values are of several kinds.
    """
    import pyarrow as pa

    if isinstance(rows, dict) and any(hasattr(part, "column_names") for part in rows.values()):
        raise ValueError(f"These are splits ({', '.join(rows)}), not rows. Mend: give one, such as dataset['train'].")
    if hasattr(rows, "column_names") and not hasattr(rows, "__len__"):
        raise ValueError("This is a stream, and fitting needs all rows. Mend: load the data with streaming=False.")
    if isinstance(rows, pa.Table):
        return {name: _joined(rows[name]) for name in names if name in rows.column_names}
    table = getattr(rows, "pa_table", None)  # of the batches of `Dataset.map`: nothing has to pass through Python
    if hasattr(rows, "column_names"):  # a Dataset
        kept = [name for name in names if name in rows.column_names]
        table = rows.select_columns(kept).with_format("arrow")[:] if kept else pa.table({})
    if table is not None:
        return {name: _joined(table[name]) for name in names if name in table.column_names}
    found = {}
    for name in names:
        if name in rows:
            try:
                found[name] = _joined(pa.array(list(rows[name])))
            except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
                raise ValueError(
                    f"The column {name!r} cannot be read: {error}. Mend: one kind of value a column; of a "
                    "data set with a format, dataset.with_format(None)."
                ) from error
    return found


def _joined(column: Any) -> Any:
    import pyarrow as pa

    if isinstance(column, pa.ChunkedArray):
        return column.combine_chunks() if column.num_chunks != 1 else column.chunk(0)
    return column


def evidence_of(
    columns: Mapping[str, Any], emotions: Sequence[str], outside: Outside = "error", predictions: Sequence[str] = ()
) -> Evidence:
    """Read the votes of every row.

    An entry of `synthetic_annotations` is an answer of its model in its mode: its label, or in other modes than
    ``label`` its distribution. Labels that were drawn from a read-out are never counted beside it. Where there are no
    annotations, `synthetic_votes` are answers of an annotator `unnamed`; where there are, they are the labels among
    these, and not counted twice.

    Args:
        columns: Arrow arrays by name, as `columns_as_arrow` gives them.
        emotions: The label set, K labels.
        outside: What becomes of a vote for something else: ``"error"``, or ``"drop"`` that vote.
        predictions: Distribution columns with out-of-fold predictions of the user's own model.

    Raises:
        UnknownEmotionError: A vote is none of the emotions; the message names the row.
        MissingColumnError: There is no `human_votes`, or no column of `predictions`.
        ValueError: A weight or a distribution does not fit.
    """
    return _gathered(lambda names: [columns], emotions, outside, predictions)


def evidence_of_rows(
    rows: Any, emotions: Sequence[str], outside: Outside = "error", predictions: Sequence[str] = ()
) -> Evidence:
    """As `evidence_of`, of a `Dataset` or whatever `columns_as_arrow` takes: only some rows are in memory at a time."""

    def parts(names: Sequence[str]) -> Iterator[Mapping[str, Any]]:
        if not hasattr(rows, "select_columns") or len(rows) <= _AT_A_TIME:
            yield columns_as_arrow(rows, names)
            return
        kept = [name for name in names if name in rows.column_names]
        if not kept:
            yield {}
            return
        for table in rows.select_columns(kept).with_format("arrow").iter(batch_size=_AT_A_TIME):
            yield columns_as_arrow(table, kept)

    return _gathered(parts, emotions, outside, predictions)


def _gathered(
    parts: Callable[[Sequence[str]], Iterable[Mapping[str, Any]]],
    emotions: Sequence[str],
    outside: Outside,
    predictions: Sequence[str],
) -> Evidence:
    """The evidence of the rows of all parts, each of which has the columns that are asked for."""
    check_choice("outside", outside, ("error", "drop"))
    names = validate_emotions(emotions)
    annotated = any(len(_values(part[_ENTRIES])[0]) > 0 for part in parts([_ENTRIES]) if part.get(_ENTRIES) is not None)
    human: list[FloatArray] = []
    groups: list[NDArray[np.str_] | None] = []
    told, voted = _Entries(), _Entries()
    predicted = {column: _Entries() for column in predictions}
    first = 0
    for columns in parts([*EVIDENCE, *predictions]):
        if "human_votes" not in columns:
            raise MissingColumnError(
                f"No column 'human_votes' among {', '.join(columns) or 'none'}. Mend: name the column of votes so, "
                "with rename_column."
            )
        where = _namer(columns.get("id", None), first)
        human.append(_human_votes(columns, names, outside, where))
        if annotated:
            if columns.get(_ENTRIES) is not None:
                _annotations(told, first, columns[_ENTRIES], names, outside, where)
        elif "synthetic_votes" in columns:
            _votes(voted, first, columns["synthetic_votes"], names, outside, where)
        for column, entries in predicted.items():
            if column not in columns:
                raise MissingColumnError(
                    f"No column {column!r} of predictions among {', '.join(columns)}. Mend: name a distribution column."
                )
            _predicted(entries, first, columns[column], names, column, where)
        if "speaker" in columns:
            speakers = columns["speaker"].to_pylist()
            known = all(name not in (None, "") for name in speakers)
            groups.append(np.array([str(name) for name in speakers]) if known else None)
        first += len(human[-1])
    size = len(names)
    annotators = told.answers(first, size)
    if voted:
        annotators[UNNAMED] = voted.of_all(first, size)
    for column, entries in predicted.items():
        annotators[PREDICTED + column] = entries.of_all(first, size)
    whole = [found for found in groups if found is not None]
    return Evidence(
        np.concatenate(human), annotators, np.concatenate(whole) if whole and len(whole) == len(human) else None
    )


def _namer(ids: Any, first: int) -> Callable[[int], str]:
    """What a row of a part, which begins at row `first` of the data, is called in messages."""
    return lambda row: f"Row {first + row if ids is None else ids[row].as_py()!r}"


class _Entries:
    """Answers of several annotators as they come: small numbers, and not an object an answer."""

    def __init__(self) -> None:
        self._row: list[Places] = []
        self._who: list[Places] = []
        self._focus: list[Places] = []
        # a label's place among the K emotions, or K and up: the places of stated distributions
        self._kind: list[Places] = []
        self._stated: list[FloatArray] = []
        self._number_stated = 0
        self._people: dict[tuple[str, str], int] = {}
        self._foci: dict[str, int] = {}

    def __bool__(self) -> bool:
        return any(len(row) for row in self._row)

    def add(
        self,
        row: Places,
        answer: FloatArray,
        models: tuple[Places, list[str]],
        modes: tuple[Places, list[str]],
        foci: tuple[Places, list[str]],
    ) -> None:
        """Add answers (M, K); models, modes and foci are places (M,) in lists of names."""
        size = answer.shape[1]
        stated = np.flatnonzero(~((answer == 0.0) | (answer == 1.0)).all(axis=1))
        kind = answer.argmax(axis=1).astype(np.int32)
        kind[stated] = size + self._number_stated + np.arange(len(stated))
        self._number_stated += len(stated)
        pair, which = np.unique(models[0] * len(modes[1]) + modes[0], return_inverse=True)
        people = [(models[1][code // len(modes[1])], modes[1][code % len(modes[1])]) for code in pair.tolist()]
        who = np.array([self._people.setdefault(name, len(self._people)) for name in people], dtype=np.int32)
        focus = _renumbered(self._foci, *foci)
        self._row.append(row.astype(np.int32))
        self._kind.append(kind)
        self._stated.append(answer[stated])
        self._who.append(who[which.reshape(-1)])
        self._focus.append(focus)

    def add_unnamed(self, row: Places, answer: FloatArray) -> None:
        """The same of answers of which nothing else is known."""
        nothing = np.zeros(len(row), dtype=np.int64)
        self.add(row, answer, (nothing, [""]), (nothing, [""]), (nothing, [""]))

    def answers(self, rows: int, size: int) -> dict[str, Answers]:
        """The answers of each annotator about so many rows. Several models and modes may be one annotator."""
        if not self:
            return {}
        pairs, focus_names = list(self._people), list(self._foci)
        name_of = [annotator_name(model, mode) for model, mode in pairs]
        # a read-out is the limit of labels drawn from it, which are not new evidence
        drawn = {name.removesuffix(" (read-out)") for name in name_of if name.endswith(" (read-out)")}
        row, who, foci, kind = self._joined()
        found = {}
        for name in sorted(set(name_of) - drawn):
            kept = np.flatnonzero(np.array([own == name for own in name_of])[who])
            used = np.unique(foci[kept])
            by_name = sorted(used, key=lambda place: focus_names[place])
            place_of = np.zeros(len(focus_names), dtype=np.int32)
            place_of[by_name] = np.arange(len(by_name))
            told = tuple(focus_names[place] for place in by_name)
            versions = tuple(sorted({pairs[code][0] for code in np.unique(who[kept])}))
            each = self._each(kind[kept], size)
            found[name] = Answers.of_answers(rows, row[kept], each, place_of[foci[kept]], told, versions)
        return found

    def of_all(self, rows: int, size: int) -> Answers:
        """All answers as those of one annotator of whom nothing else is known."""
        row, _, _, kind = self._joined()
        return Answers.of_answers(rows, row, self._each(kind, size))

    def _joined(self) -> tuple[Places, Places, Places, Places]:
        parts = (self._row, self._who, self._focus, self._kind)
        row, who, foci, kind = (np.concatenate([np.zeros(0, np.int32), *part]) for part in parts)
        return row, who, foci, kind

    def _each(self, kind: Places, size: int) -> Each:
        if (kind < size).all():
            return Each.of_labels(kind, size)
        return Each.of_kinds(kind, np.concatenate([np.eye(size), *self._stated]))


def _renumbered(known: dict[str, int], codes: Places, names: Sequence[str]) -> Places:
    """Places in `names` as places in `known`, to which those that are used are added."""
    used, which = np.unique(codes, return_inverse=True)
    return np.array([known.setdefault(names[code], len(known)) for code in used], dtype=np.int32)[which.reshape(-1)]


def _is_list(kind: Any) -> bool:
    import pyarrow as pa

    return any(check(kind) for check in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list))


def _values(column: Any) -> tuple[IndexArray, Any]:
    """The entries of a list column and the row of each."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if pa.types.is_null(column.type):
        return np.zeros(0, dtype=np.int64), pa.array([])
    lengths = pc.fill_null(pc.list_value_length(column), 0).to_numpy(zero_copy_only=False)
    return np.repeat(np.arange(len(column)), lengths.astype(np.int64)), column.flatten()


def _places(values: Any, names: tuple[str, ...], outside: str, where: Callable[[int], str]) -> IndexArray:
    """Places of labels among the emotions; -1 for null, and for others where these are dropped."""
    import pyarrow as pa

    if pa.types.is_null(values.type) or len(values) == 0:
        return np.full(len(values), -1, dtype=np.int64)
    if not pa.types.is_string(values.type) and not pa.types.is_large_string(values.type):
        raise TypeError(f"Votes must be labels, one text a vote, and not {values.type}. Mend: give their names.")
    coded = values.dictionary_encode()
    indices = coded.indices.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    table = np.full(len(coded.dictionary) + 1, -1, dtype=np.int64)
    for place, label in enumerate(coded.dictionary.to_pylist()):
        try:
            table[place] = names.index(canonical_emotion(label, names))
        except ValueError as error:
            if outside == "error" or not label.strip():
                first = int(np.flatnonzero(indices == place)[0])
                mend = (
                    "Mend: correct the label, or add it to `emotions`, on the command line --emotions; in Python "
                    "outside='drop' leaves such votes out."
                )
                raise type(error)(f"{where(first)}{error} {mend}") from None
    return table[indices]


def _human_votes(
    columns: Mapping[str, Any], names: tuple[str, ...], outside: str, where: Callable[[int], str]
) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    column, rows = columns["human_votes"], len(columns["human_votes"])
    if not _is_list(column.type) and not pa.types.is_null(column.type):
        raise TypeError(
            f"'human_votes' must be lists of labels, one a vote, and {where(0)} has {column[0].as_py()!r}. Mend: "
            "split it first."
        )
    row, values = _values(column)
    label = _places(values, names, outside, lambda i: f"{where(int(row[i]))}: ")
    amount = np.ones(len(label))
    weights = columns.get("human_vote_weights")
    if weights is not None and not pa.types.is_null(weights.type):
        if not _is_list(weights.type):
            raise ValueError(
                f"'human_vote_weights' must be lists, one number a vote, and not {weights.type}. Mend: give lists."
            )
        given, numbers = _values(weights)
        told = pc.is_valid(weights).to_numpy(zero_copy_only=False)
        counts = np.bincount(row, minlength=rows), np.bincount(given, minlength=rows)
        bad = np.flatnonzero(told & (counts[0] != counts[1]))
        if len(bad):
            raise ValueError(
                f"{where(int(bad[0]))}: {counts[0][bad[0]]} votes but {counts[1][bad[0]]} weights. Mend: give one "
                "weight a vote."
            )
        try:
            values = numbers.cast("float64").fill_null(np.nan).to_numpy(zero_copy_only=False)
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise ValueError(
                f"'human_vote_weights' must be lists of numbers, and not of {numbers.type}. Mend: give one number a "
                "vote."
            ) from error
        wrong = np.flatnonzero(~(np.isfinite(values) & (values >= 0)))
        if len(wrong):
            raise ValueError(
                f"{where(int(given[wrong[0]]))}: vote weights must be finite and not negative, got {values[wrong[0]]}. "
                "Mend: correct the weight, or leave the vote out."
            )
        amount[told[row]] = values
    kept = label >= 0
    cell = row[kept] * len(names) + label[kept]
    return np.asarray(np.bincount(cell, amount[kept], rows * len(names)).reshape(rows, len(names)), dtype=np.float64)


def _annotations(
    found: _Entries, first: int, entries: Any, names: tuple[str, ...], outside: str, where: Callable[[int], str]
) -> None:
    import pyarrow as pa

    row, values = _values(entries)
    if pa.types.is_null(values.type):
        return
    fields = {field.name for field in values.type}

    def column(name: str, missing: str) -> tuple[IndexArray, list[str]]:
        if name not in fields or pa.types.is_null(values.type.field(name).type):
            return np.zeros(len(row), dtype=np.int64), [missing]
        coded = values.field(name).fill_null(missing).dictionary_encode()
        return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()

    models, model_names = column("model", UNNAMED)
    modes, mode_names = column("mode", "label")
    _each_once(values, row, fields, modes, *column("key", ""), where)
    foci, focus_names = column("focus", "")
    label = _places(values.field("label"), names, outside, lambda i: f"{where(int(row[i]))}: synthetic vote: ")
    answer = np.zeros((len(row), len(names)))
    answer[np.flatnonzero(label >= 0), label[label >= 0]] = 1.0
    known = label >= 0
    if "distribution" in fields and not pa.types.is_null(values.type.field("distribution").type):
        known |= _stated(values.field("distribution"), answer, names, modes, mode_names, row, where)
    found.add(
        first + row[known],
        answer[known],
        (models[known], model_names),
        (modes[known], mode_names),
        (foci[known], focus_names),
    )


def _votes(
    found: _Entries, first: int, column: Any, names: tuple[str, ...], outside: str, where: Callable[[int], str]
) -> None:
    """Bare labels, of whom nothing is known."""
    row, values = _values(column)
    label = _places(values, names, outside, lambda i: f"{where(int(row[i]))}: synthetic vote: ")
    found.add_unnamed(first + row[label >= 0], np.eye(len(names))[label[label >= 0]])


def _each_once(
    values: Any,
    row: IndexArray,
    fields: set[str],
    modes: IndexArray,
    keys: IndexArray,
    key_names: list[str],
    where: Callable[[int], str],
) -> None:
    """Refuse an answer that stands there twice: copied, it would weigh as much as people who agree."""
    named = np.array([bool(name) for name in key_names], dtype=bool)[keys] if len(keys) else np.zeros(0, dtype=bool)
    number = np.zeros(len(row), dtype=np.int64)
    if "replicate" in fields:
        number = values.field("replicate").cast("int64").fill_null(-1).to_numpy(zero_copy_only=False)
    answers = np.stack([row, keys, modes, number], axis=1)[named]
    distinct, times = np.unique(answers, axis=0, return_counts=True)
    if len(distinct) < len(answers):
        first = int(np.argmax(times > 1))
        raise ValueError(
            f"{where(int(distinct[first][0]))}: synthetic_annotations holds the answer "
            f"{key_names[distinct[first][1]]!r} {times[first]} times, and one counts once. Mend: keep one of them."
        )


def _stated(
    column: Any,
    answer: FloatArray,
    names: tuple[str, ...],
    modes: IndexArray,
    mode_names: list[str],
    row: IndexArray,
    where: Callable[[int], str],
) -> np.ndarray:
    """Put stated distributions in the place of labels; says of which entries there is one, (M,)."""
    import pyarrow.compute as pc

    given = pc.is_valid(column).to_numpy(zero_copy_only=False)
    labels = [field.name for field in column.type]
    shares = np.zeros((len(column), len(labels)))
    for place in range(len(labels)):
        values = pc.struct_field(column, [place])
        shares[:, place] = values.cast("float64").fill_null(np.nan).to_numpy(zero_copy_only=False)
    given &= ~np.isnan(shares).all(axis=1)  # a null struct may read back as a struct of nulls
    # where an answer is a label, its distribution is only how sure the annotator was of it
    is_label = np.array([name == "label" for name in mode_names])[modes]
    given &= ~(is_label & (answer.sum(axis=1) > 0))
    if not given.any():
        return given
    first = int(np.flatnonzero(given)[0])
    if set(labels) != set(names):
        raise ValueError(
            f"{where(int(row[first]))}: a stated distribution has the labels {', '.join(labels)}, but the emotions are "
            f"{', '.join(names)}. Mend: pass emotions={labels!r}, or annotate again with these emotions."
        )
    shares = shares[:, [labels.index(name) for name in names]]
    total = shares.sum(axis=1)
    bad = np.flatnonzero(given & ~((shares >= 0).all(axis=1) & (np.abs(total - 1.0) <= 0.02)))
    if len(bad):
        raise ValueError(
            f"{where(int(row[bad[0]]))}: a stated distribution is "
            f"{dict(zip(names, shares[bad[0]].tolist(), strict=True))}. Mend: leave it out; shares are not negative "
            "and sum to 1."
        )
    answer[given] = shares[given] / total[given, None]
    return given


def _predicted(
    found: _Entries, first: int, column: Any, names: tuple[str, ...], name: str, where: Callable[[int], str]
) -> None:
    import pyarrow as pa

    if not pa.types.is_struct(column.type):
        raise ValueError(
            f"The column {name!r} holds {column.type}, not distributions. Mend: structs, a number an emotion."
        )
    answer = np.zeros((len(column), len(names)))
    rows = np.arange(len(column))
    given = _stated(column, answer, names, np.zeros(len(column), np.int64), ["predicted"], rows, where)
    found.add_unnamed(first + rows[given], answer[given])
