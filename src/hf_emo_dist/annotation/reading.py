"""Reading utterances out of examples, batches and data sets, with their audio left as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..data.rows import says_restricted
from ..emotions import MissingColumnError

_FLAGS = ("id", "corpus", "restricted", "mixed_from")
_KNOWN = (*_FLAGS, "transcript", "synthetic_annotations")


@dataclass
class Utterance:
    """One row, as annotators need it."""

    row_id: str  # its number where it has no id
    audio: Any
    transcript: str | None = None
    row: Mapping[str, Any] = field(default_factory=dict)  # the columns that the backend reads
    restricted: bool = False  # its license forbids passing the audio on
    annotations: Sequence[Mapping[str, Any]] = ()  # those that it has already
    mixed: bool = False  # such rows are not annotated


def is_batch(example_or_batch: Mapping[str, Any], audio_column: str) -> bool:
    """Whether this is a batch: a list in each column."""
    if "id" in example_or_batch:
        return not isinstance(example_or_batch["id"], str) and hasattr(example_or_batch["id"], "__len__")
    if hasattr(example_or_batch, "pa_table"):  # what Dataset.map gives
        return type(example_or_batch).__name__ == "LazyBatch"
    value = example_or_batch.get(audio_column)
    # One clip may be a list of samples; a batch is a list of clips.
    return isinstance(value, list) and not (value and isinstance(value[0], (int, float)))


def read_batch(
    example_or_batch: Mapping[str, Any], audio_column: str, columns: Sequence[str] = ()
) -> tuple[list[Utterance], bool]:
    """The utterances of an example or a batch, and whether it is a batch."""
    _check_columns(example_or_batch, audio_column, columns)
    batched = is_batch(example_or_batch, audio_column)
    names = [name for name in dict.fromkeys((*_KNOWN, *columns)) if name in example_or_batch]
    read = {name: example_or_batch[name] if batched else [example_or_batch[name]] for name in names}
    # Dataset.map gives views that decode audio when it is read, by torchcodec; the table behind them has the bytes.
    table = getattr(example_or_batch, "pa_table", None)
    if table is not None and audio_column in getattr(example_or_batch, "keys_to_format", ()):
        audio = table.column(audio_column).to_pylist()
    else:
        audio = list(example_or_batch[audio_column]) if batched else [example_or_batch[audio_column]]
    return list(_utterances(audio, read, columns, range(len(audio)))), batched


def read_dataset(
    dataset: Any,
    audio_column: str,
    columns: Sequence[str] = (),
    only_flags: bool = False,
    order: Sequence[int] | NDArray[np.int64] | None = None,
    with_audio: bool = True,
) -> Iterator[Utterance]:
    """Go through the utterances of a `datasets.Dataset`; audio is not decoded, and a few rows at a time are in memory.

    Args:
        dataset: One split.
        audio_column: Name of the audio's column.
        columns: Further columns that are wanted.
        only_flags: Whether to read neither audio nor `columns`: what is left tells which rows are restricted or mixed.
        order: Numbers of the rows to read, in their order; None for all.
        with_audio: Whether to read the audio.
    """
    if isinstance(dataset, Mapping):
        raise TypeError(f"This holds several splits ({', '.join(dataset)}). Mend: annotate one, dataset[split].")
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "__len__"):
        raise TypeError("A stream cannot be annotated as a whole. Mend: dataset.map(annotator, batched=True).")
    there = dataset.column_names
    _check_columns(there, audio_column, columns)
    wanted = _FLAGS if only_flags else (*_KNOWN, *columns)
    names = [name for name in dict.fromkeys(wanted) if name in there]
    heard = with_audio and not only_flags
    arrow = dataset.select_columns(names if names and not heard else [audio_column, *names]).with_format("arrow")
    numbers: Sequence[int] | NDArray[np.int64] = range(len(dataset)) if order is None else order
    if order is not None:
        arrow = arrow.select(order)

    def read() -> Iterator[Utterance]:
        first = 0
        for table in arrow.iter(batch_size=64 if heard else 1024):  # few clips in memory
            clips = table.column(audio_column).to_pylist() if heard else [None] * len(table)
            values = {name: table.column(name).to_pylist() for name in names}
            yield from _utterances(clips, values, () if only_flags else columns, numbers[first : first + len(table)])
            first += len(table)

    return read()  # so that what is wrong with the columns is raised at once


def read_ids(dataset: Any) -> list[str]:
    """The ids of all rows, or their numbers where they have none."""
    ids = dataset["id"][:] if "id" in dataset.column_names else [None] * len(dataset)
    return [str(number if row_id is None else row_id) for number, row_id in enumerate(ids)]


def _check_columns(there: Collection[str], audio_column: str, columns: Sequence[str]) -> None:
    if audio_column not in there:
        raise MissingColumnError(
            f"No column {audio_column!r} among {', '.join(there)}. "
            "Mend: pass audio_column=... with the name of the audio's column."
        )
    for name in columns:
        if name not in there:
            raise MissingColumnError(
                f"No column {name!r} among {', '.join(there)}, and the annotator reads it. "
                "Mend: add the column, or name another to the backend; for the simulated one on the command line "
                "--backend_options '{column: human_distribution}'."
            )


def _utterances(
    clips: Sequence[Any],
    read: Mapping[str, Sequence[Any]],
    columns: Sequence[str],
    numbers: Sequence[int] | NDArray[np.int64],
) -> Iterator[Utterance]:
    for i, clip in enumerate(clips):
        values = {name: column[i] for name, column in read.items()}
        row_id, transcript = values.get("id"), values.get("transcript")
        if transcript is not None and not isinstance(transcript, str):
            raise ValueError(
                f"Row {numbers[i] if row_id is None else row_id!r}: its transcript is {transcript!r}. Mend: text, or "
                "null where there is none."
            )
        yield Utterance(
            row_id=str(numbers[i] if row_id is None else row_id),
            audio=clip,
            transcript=transcript,
            row={"id": row_id, **{name: values[name] for name in columns}},
            restricted=says_restricted([values.get("restricted")], [values.get("corpus")]),
            annotations=values.get("synthetic_annotations") or (),
            mixed=bool(values.get("mixed_from")),
        )
