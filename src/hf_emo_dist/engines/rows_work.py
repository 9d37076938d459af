"""What a Ray worker does: it reads its rows from the data set's own files, and calls a function on them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from ..annotation.reading import read_dataset

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

    from ..annotation.annotator import Annotator
    from .ray_ledger import RayLedger

#: Columns beside those of the function: the number of the row, and on a batch's first row what is told of the batch.
NUMBER, TOLD = "hf_emo_dist_row", "hf_emo_dist_told"


class Mapped:
    """A function as ``Dataset.map(batched=True)`` would call it, with its result as an Arrow table."""

    def __init__(self, function: Callable[[dict[str, Any]], dict[str, Any]], features: Features) -> None:
        self.function, self.features = function, features

    def __call__(self, rows: Dataset) -> tuple[pa.Table, str | None]:
        """The table of a batch of rows."""
        from datasets import Dataset

        made = Dataset.from_dict(self.function(rows[:]), features=self.features)
        return made.data.table, None


class Annotated:
    """An annotator whose batches tell what they did: a stop in one batch must not lose the report of the others."""

    def __init__(self, annotator: Annotator, ledger: RayLedger) -> None:
        self.annotator, self.ledger = annotator, ledger

    def __call__(self, rows: Dataset) -> tuple[pa.Table, str | None]:
        """The two columns of a batch of rows, and its report as JSON."""
        import pyarrow as pa

        annotator = self.annotator
        utterances = list(read_dataset(rows, annotator.audio_column, annotator.row_columns))
        report, columns = annotator.votes_on(utterances)
        if report.stop_reason is not None:  # whatever it was, other workers would meet it too
            self.ledger.stop_run(report.stop_reason, report.mend)
        return pa.table({name: pa.array(values) for name, values in columns.items()}), json.dumps(report.to_dict())


class RowsWork:
    """The callable class for ``map_batches``: spans of row numbers in, a table of their rows out."""

    def __init__(self, rows: Dataset, function: Callable[[Dataset], tuple[pa.Table, str | None]]) -> None:
        self.rows, self.function = rows, function

    def __call__(self, spans: pa.Table) -> Iterator[pa.Table]:
        """A table for each span."""
        import pyarrow as pa

        for first, last in zip(spans["first"].to_pylist(), spans["last"].to_pylist(), strict=True):
            table, told = self.function(self.rows.select(range(first, last)))
            if len(table) != last - first:
                raise ValueError(f"{len(table)} rows came of rows {first} to {last - 1}.")
            table = table.replace_schema_metadata(None)
            table = table.append_column(NUMBER, pa.array(range(first, last), pa.int64()))
            yield table.append_column(TOLD, pa.array([told, *[None] * (len(table) - 1)], pa.string()))
