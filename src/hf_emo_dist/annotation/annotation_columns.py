"""From replies in the ledger to the columns `synthetic_annotations` and `synthetic_votes`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..data.writing import mapped_dataset
from .ledger.label_sets import outside
from .ledger.replies import tell_outside
from .ledger.run_ledger import RunLedger
from .types import OK

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

_KEY_BYTES = 32
_ROWS = 1000


def annotation_features(emotions: Sequence[str]) -> Features:
    """The `datasets` features of the two columns."""
    from datasets import Features, List, Value

    return Features(
        {
            "synthetic_annotations": List(
                {
                    "label": Value("string"),
                    "distribution": {emotion: Value("float64") for emotion in emotions},
                    "model": Value("string"),
                    "focus": Value("string"),
                    "temperature": Value("float32"),
                    "mode": Value("string"),
                    "replicate": Value("int32"),
                    "key": Value("string"),
                }
            ),
            "synthetic_votes": List(Value("string")),
        }
    )


def split_keys(row: bytes) -> list[str]:
    """The keys of a row, which are kept joined: a run has millions of them."""
    return [row[i : i + _KEY_BYTES].hex() for i in range(0, len(row), _KEY_BYTES)]


def annotation_columns(
    ledger: RunLedger, keys: Sequence[bytes], earlier: Sequence[Sequence[Mapping[str, Any]]], emotions: Sequence[str]
) -> dict[str, list[Any]]:
    """The two columns of some rows; what a row has already (`earlier`) of other keys is kept, in front.

    `keys` has for each row its keys, joined, in the order of the panel. Failed replies are in neither column.
    """
    split = [split_keys(row) for row in keys]
    records = ledger.lookup([key for row in split for key in row])
    annotations = []
    for row, before in zip(split, earlier, strict=True):
        entries = [dict(entry) for entry in before if entry.get("key") not in row]
        for record in filter(None, map(records.get, row)):
            if record.outcome == OK:
                stated = record.distribution
                wrong = outside(emotions, record.label, stated)
                if wrong is not None:  # a stranger's, of a plan that nobody knows
                    tell_outside(ledger.path, record, wrong)
                    continue
                entries.append(
                    {
                        "label": record.label,
                        "distribution": None if stated is None else {name: float(stated[name]) for name in emotions},
                        "model": record.model_version or record.model,
                        "focus": record.focus,
                        "temperature": record.temperature,
                        "mode": record.mode,
                        "replicate": record.replicate,
                        "key": record.key,
                    }
                )
        annotations.append(entries)
    votes = [[entry["label"] for entry in row if entry["label"] is not None] for row in annotations]
    return {"synthetic_annotations": annotations, "synthetic_votes": votes}


class _TypedList(list[Any]):
    """A column that tells Arrow its type."""

    # `Dataset.map` takes types from the values of its first rows. Where those are all null (no distribution was asked
    # for, or none came), the column's type would be null, and the first value that is not would end the run.
    arrow_type: Any = None

    def __arrow_array__(self, type: Any = None) -> pa.Array:
        import pyarrow as pa

        return pa.array(list(self), type=type or self.arrow_type)


def typed(columns: Mapping[str, list[Any]], emotions: Sequence[str]) -> dict[str, Any]:
    """The columns as lists that tell Arrow their types."""
    schema = annotation_features(emotions).arrow_schema
    result: dict[str, Any] = {}
    for name, values in columns.items():
        result[name] = _TypedList(values)
        result[name].arrow_type = schema.field(name).type
    return result


def votes_by_row(dataset: Dataset, keys: Sequence[bytes]) -> list[int]:
    """How many votes each row that has keys got under them: labels and distributions."""
    numbers = []
    rows = zip(dataset.select_columns(["synthetic_annotations"]), keys, strict=True)
    for row, joined in rows:
        if joined:
            mine = set(split_keys(joined))
            numbers.append(sum(entry["key"] in mine for entry in row["synthetic_annotations"]))
    return numbers


def with_columns(dataset: Dataset, ledger: RunLedger, keys: Sequence[bytes], emotions: Sequence[str]) -> Dataset:
    """The data set with its two columns; rows that the run did not come to have none in them."""
    import pyarrow as pa
    from datasets import concatenate_datasets

    features = annotation_features(emotions)
    names = list(features)
    there = "synthetic_annotations" in dataset.column_names

    def batches() -> Iterator[pa.RecordBatch]:
        for start in range(0, len(dataset), _ROWS):
            rows = range(start, min(start + _ROWS, len(dataset)))
            earlier: list[Any] = [()] * len(rows)
            if there:
                earlier = [row or () for row in dataset.select(rows)["synthetic_annotations"]]
            mine = keys[rows.start : rows.stop]
            mine = [*mine, *[b""] * (len(rows) - len(mine))]
            columns = annotation_columns(ledger, mine, earlier, emotions)
            yield pa.RecordBatch.from_pydict(columns, schema=features.arrow_schema)

    added = mapped_dataset(batches(), features, dataset.split)  # some 200 bytes a vote, in no memory
    return concatenate_datasets(
        [dataset.remove_columns([n for n in names if n in dataset.column_names]), added], axis=1
    )
