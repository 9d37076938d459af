"""Where a function is mapped over the rows of a data set: in this process and its children, or by an engine.

Whoever maps over clips asks `current_engine`. An engine stands in a room above (`hf_emo_dist.engines`), which sets it
for a block; what comes out is the same with and without it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from contextvars import ContextVar
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from .output import output_file

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features


class MapEngine(Protocol):
    """Runs what maps over clips on more than this process."""

    def map(
        self,
        dataset: Dataset,
        function: Callable[[dict[str, Any]], dict[str, Any]],
        features: Features,
        batch_size: int,
        desc: str,
        gpus: int = 0,
    ) -> Iterator[pa.Table]:
        """What a picklable function makes of all columns of each batch, in the order of the rows.

        Args:
            dataset: Rows, whose files all workers can read.
            function: As for ``Dataset.map(function, batched=True, remove_columns=...)``.
            features: Of the columns that it returns.
            batch_size: Rows a call, at most.
            desc: What the progress bar says.
            gpus: GPUs that each worker needs, where there are any.
        """

    def share_ledger(self, annotator: Any) -> Any:
        """The annotator with its ledger where all workers reach it, and nobody else has the file open."""

    def annotate(self, annotator: Any, dataset: Dataset, hearing_test: bool = False) -> Any:
        """What `Annotator.annotate` returns, by workers."""


_ENGINE: ContextVar[MapEngine | None] = ContextVar("hf_emo_dist_engine", default=None)


def current_engine() -> MapEngine | None:
    """The engine of the block that we are in; None where everything runs here."""
    return _ENGINE.get()


@contextlib.contextmanager
def use_engine(engine: MapEngine) -> Iterator[None]:
    """Let what maps over clips run on an engine, within this block and thread."""
    token = _ENGINE.set(engine)
    try:
        yield
    finally:
        _ENGINE.reset(token)


def kept(tables: Iterable[pa.Table], features: Features, path: str | Path) -> Dataset:
    """Tables as they come, in an Arrow file that is read memory mapped: memory does not grow with their number.

    Args:
        tables: Rows, in their order.
        features: Of their columns.
        path: The file; replaced in one step.
    """
    import pyarrow as pa
    from datasets import Dataset

    schema = features.arrow_schema
    with output_file(path) as part, pa.OSFile(str(part), "wb") as file, pa.ipc.new_stream(file, schema) as writer:
        for table in tables:
            writer.write_table(table.cast(schema))
    return Dataset.from_file(str(path))
