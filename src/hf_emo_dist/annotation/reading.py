"""Reading utterances out of examples, batches and data sets, with their audio left as it is."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

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
    return list(_utterances(audio, read, columns)), batched


def read_dataset(
    dataset: Any, audio_column: str, columns: Sequence[str] = (), only_flags: bool = False
) -> Iterator[Utterance]:
    """Go through the utterances of a `datasets.Dataset`; audio is not decoded, and a few rows at a time are in memory.

    With `only_flags` neither audio nor `columns` are read: what is left tells which rows are restricted or mixed.
    """
    if isinstance(dataset, Mapping):
        raise TypeError(f"This holds several splits ({', '.join(dataset)}). Mend: annotate one, dataset[split].")
    if not hasattr(dataset, "with_format") or not hasattr(dataset, "__len__"):
        raise TypeError("A stream cannot be annotated as a whole. Mend: dataset.map(annotator, batched=True).")
    there = dataset.column_names
    _check_columns(there, audio_column, columns)
    wanted = _FLAGS if only_flags else (*_KNOWN, *columns)
    names = [name for name in dict.fromkeys(wanted) if name in there]
    arrow = dataset.select_columns(names if only_flags and names else [audio_column, *names]).with_format("arrow")

    def read() -> Iterator[Utterance]:
        first = 0
        for table in arrow.iter(batch_size=64):
            clips = [None] * len(table) if only_flags else table.column(audio_column).to_pylist()
            values = {name: table.column(name).to_pylist() for name in names}
            yield from _utterances(clips, values, () if only_flags else columns, first)
            first += len(table)

    return read()  # so that what is wrong with the columns is raised at once


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
    clips: Sequence[Any], read: Mapping[str, Sequence[Any]], columns: Sequence[str], first: int = 0
) -> Iterator[Utterance]:
    for i, clip in enumerate(clips):
        values = {name: column[i] for name, column in read.items()}
        row_id = values.get("id")
        yield Utterance(
            row_id=str(first + i if row_id is None else row_id),
            audio=clip,
            transcript=values.get("transcript"),
            row={"id": row_id, **{name: values[name] for name in columns}},
            restricted=says_restricted([values.get("restricted")], [values.get("corpus")]),
            annotations=values.get("synthetic_annotations") or (),
            mixed=bool(values.get("mixed_from")),
        )
