"""`RayEngine`: what maps over clips, on the workers of a Ray cluster or of this machine.

Rows go out as spans of row numbers; a worker reads them from the data set's own files, and only what it made of them
comes back, in the order of the rows. Ray does the rest: placing, queueing, and giving the rows of a worker that died to
another. Nothing is computed here, so that the answer is that of ``Dataset.map``, whatever the number of workers.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from .._lazy import need
from ..annotation.annotation_columns import annotation_features
from ..annotation.annotator import AnnotationResult, Annotator
from ..annotation.run.run_report import RunReport
from ..data.map_engine import use_engine
from ..data.writing import mapped_dataset
from .ray_ledger import NAMESPACE, RayLedger
from .rows_work import NUMBER, TOLD, Annotated, Mapped, RowsWork

if TYPE_CHECKING:
    import pyarrow as pa
    from datasets import Dataset, Features

logger = logging.getLogger(__name__)

#: Rows that an annotator is given at once: its requests are in flight together.
ANNOTATED_ROWS = 256


class RayEngine:
    """Maps over clips on a Ray cluster, for a block.

    Within it, features and mixing (`DiMEAug`), and all that `prepare_dataset` maps over clips, run on the workers; what
    comes out is the same, bit for bit. The files of a data set, those in the cache of ``datasets`` too
    (``HF_DATASETS_CACHE``), must be on a disk that all nodes see, and this library and the keys of services be there on
    all of them. A cluster that the caller is connected to is used, and left as it is.

    Args:
        address: Of a cluster, such as ``"auto"``. Default: ``RAY_ADDRESS``, where that is set, as in a job of Ray's;
            else one is started on this machine, which ends with the block.
        workers: Workers at most. Default: one a CPU, for local models one a GPU.
        rows: Rows that an annotator is given at once.
        progress: Whether to show progress bars.

    Raises:
        ModuleNotFoundError: Ray is not installed: ``pip install 'hf-emo-dist[ray]'``.
        ConnectionError: There is no such cluster.

    Example:
        >>> with RayEngine() as engine:  # doctest: +SKIP
        ...     train = DiMEAug(seed=0).augment(dataset["train"])
        ...     voted, report = engine.annotate(engine.share_ledger(Annotator("gemini")), train)
    """

    def __init__(
        self,
        address: str | None = None,
        workers: int | None = None,
        *,
        rows: int = ANNOTATED_ROWS,
        progress: bool = True,
    ) -> None:
        self.address, self.workers, self.rows, self.progress = address, workers, rows, progress
        self._block: contextlib.ExitStack | None = None

    def __enter__(self) -> RayEngine:
        ray = need("ray", "RayEngine")
        need("ray.data", "RayEngine")
        with contextlib.ExitStack() as stack:
            if not ray.is_initialized():
                address = self.address or os.environ.get("RAY_ADDRESS") or "local"
                options: dict[str, Any] = {"include_dashboard": False} if address == "local" else {}
                try:
                    ray.init(address, namespace=NAMESPACE, logging_level=logging.ERROR, **options)
                except ConnectionError as error:
                    raise ConnectionError(
                        f"There is no Ray cluster at {address!r} ({str(error).partition('.')[0]}). Mend: ray "
                        "start --head on its first machine, or leave --address out, which starts one on this machine."
                    ) from error
                stack.callback(ray.shutdown)
            stack.enter_context(use_engine(self))
            self._block = stack.pop_all()
        return self

    def __exit__(self, *error: object) -> None:
        assert self._block is not None
        self._block.close()

    # ---- what is mapped
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
            function: As for ``Dataset.map(function, batched=True, remove_columns=...)``: one row out for each.
            features: Of the columns that it returns.
            batch_size: Rows a call, at most.
            desc: What the progress bar says.
            gpus: GPUs that each worker needs, where there are any.

        Raises:
            Exception: Whatever the function raised, as it was raised.
        """
        work = Mapped(function, features)
        return (table for table, _ in self._tables(dataset.with_format(None), work, batch_size, desc, gpus))

    def share_ledger(self, annotator: Annotator) -> Annotator:
        """The annotator with its ledger in the actor that all workers ask; see `RayLedger`."""
        ledger = annotator.ledger
        if isinstance(ledger, RayLedger):
            return annotator
        annotator.close()
        return annotator.through(RayLedger(ledger.path, run=os.urandom(8).hex()))

    def annotate(self, annotator: Annotator, dataset: Dataset, hearing_test: bool = False) -> AnnotationResult:
        """As `Annotator.annotate`, but for the order: batch by batch, each batch by one worker.

        One ledger serves all: what is stored is not asked again, whoever dies, and cap and rates hold over all workers
        together. Where one worker must stop (budget, a wrong key), or at Ctrl-C, all stop; a run that is cut short has
        whole batches. A local model is loaded once a worker, one a GPU.

        Args:
            annotator: Of :meth:`share_ledger`, or any.
            dataset: One split.
            hearing_test: Test first, from here, whether answers follow the audio.

        Returns:
            The data set with ``synthetic_annotations`` and ``synthetic_votes``, and the report.

        Raises:
            LedgerError, ValueError: As for `Annotator.annotate`.
        """
        from datasets import concatenate_datasets

        annotator = self.share_ledger(annotator)
        ledger = annotator.ledger
        assert isinstance(ledger, RayLedger)
        annotator.utterances(dataset)  # looks at all of them
        tested = {name: RunReport() for name in annotator.models}
        stopped = annotator.stopped_by_hearing(dataset, tested) if hearing_test else None
        if stopped is not None:
            ledger.stop_run(str(stopped.stop_reason), stopped.mend)  # what is stored is still read
        report, began = RunReport(), time.monotonic()
        features = annotation_features(annotator.emotions)
        read = {annotator.audio_column, *annotator.row_columns, *_READ}
        narrow = dataset.with_format(None).select_columns([name for name in dataset.column_names if name in read])
        local = any(one.backend.endpoint == "local" and one.clip_by_clip for one in annotator.asked)

        def tables() -> Iterator[pa.Table]:
            work = Annotated(annotator, ledger)
            with _interrupts(lambda: ledger.stop_run("it was interrupted.", "")):
                for table, told in self._tables(narrow, work, self.rows, "Annotating", int(local)):
                    for text in told:
                        report.add(RunReport.from_dict(json.loads(text)))
                    yield table

        schema = features.arrow_schema
        batches = (batch for table in tables() for batch in table.cast(schema).to_batches())
        added = mapped_dataset(batches, features)
        report.seconds = time.monotonic() - began
        if stopped is not None:
            votes_a_clip = report.votes_a_clip
            report = stopped
            report.votes_a_clip = votes_a_clip
        else:
            for name, one in tested.items():
                (report.by_model.get(name) or report).hearing_test = one.hearing_test
        if report.complete:
            report.votes_a_clip = {}
        logger.debug("%s", report.summary())
        others = dataset.remove_columns([name for name in features if name in dataset.column_names])
        return AnnotationResult(concatenate_datasets([others, added], axis=1, split=dataset.split), report)

    # ---- within
    def _tables(
        self,
        rows: Dataset,
        function: Callable[[Dataset], tuple[pa.Table, str | None]],
        batch_size: int,
        desc: str,
        gpus: int,
    ) -> Iterator[tuple[pa.Table, list[str]]]:
        """What a function makes of the rows, in their order, and what it told of its batches."""
        import ray
        from ray.data import ActorPoolStrategy, DataContext
        from ray.exceptions import RayTaskError

        if not len(rows):
            return
        there = ray.cluster_resources()
        gpus = gpus if there.get("GPU", 0) >= gpus else 0
        most = int(there["GPU"] // gpus) if gpus else max(1, int(there.get("CPU", 1)))
        spans = [(first, min(first + batch_size, len(rows))) for first in range(0, len(rows), batch_size)]
        most = min(self.workers or most, len(spans), most)
        # Blocks that are there already: reading them would need a CPU, and all may be the workers'.
        items = [{"first": first, "last": last} for first, last in spans]
        with _context(DataContext.get_current()):
            made = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
                RowsWork,
                fn_constructor_args=(rows, function),
                batch_size=1,
                batch_format="pyarrow",
                compute=ActorPoolStrategy(min_size=1, max_size=most),
                num_cpus=None if gpus else 1,
                num_gpus=gpus or None,
            )
            done = 0
            bar = tqdm(total=len(rows), desc=desc, unit="clip", disable=None if self.progress else True)
            try:
                with bar:
                    for table in made.iter_batches(batch_size=None, batch_format="pyarrow", prefetch_batches=1):
                        numbers = table[NUMBER].to_pylist()
                        if numbers != list(range(done, done + len(numbers))):
                            raise RuntimeError(f"Rows {numbers[0]} to {numbers[-1]} came after row {done - 1}.")
                        done += len(numbers)
                        told = [text for text in table[TOLD].to_pylist() if text is not None]
                        yield table.drop_columns([NUMBER, TOLD]), told
                        bar.update(len(numbers))
            except RayTaskError as error:
                raise _cause(error) from None
        if done != len(rows):
            raise RuntimeError(f"{done} rows came of {len(rows)}.")


#: What an utterance is read from beside its audio.
_READ = ("id", "transcript", "corpus", "restricted", "mixed_from", "synthetic_annotations")


@contextlib.contextmanager
def _context(context: Any) -> Iterator[None]:
    """Ray Data with rows in their order, and quiet; as it was after the block."""
    options = context.execution_options
    before = options.preserve_order, context.enable_progress_bars
    quiet = logging.getLogger("ray.data")
    level = quiet.level
    options.preserve_order, context.enable_progress_bars = True, False
    quiet.setLevel(logging.ERROR)
    try:
        yield
    finally:
        options.preserve_order, context.enable_progress_bars = before
        quiet.setLevel(level)


def _cause(error: BaseException) -> BaseException:
    """What a worker raised, out of what Ray wraps around it."""
    while (inner := getattr(error, "cause", None) or (error.__cause__ if _is_rays(error) else None)) is not None:
        error = inner
    if error.args and isinstance(error.args[0], str):  # Ray Data writes into the message how to set its retries
        error.args = (error.args[0].partition("\nFailed to apply UDF")[0], *error.args[1:])
    return error


def _is_rays(error: BaseException) -> bool:
    return type(error).__module__.partition(".")[0] == "ray"


@contextlib.contextmanager
def _interrupts(stop: Callable[[], None]) -> Iterator[None]:
    """Let the first Ctrl-C call `stop`, and what runs go on to its end; a second one ends it."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(number: int, frame: Any) -> None:
        signal.signal(signal.SIGINT, before)
        threading.Thread(target=stop, daemon=True).start()  # a handler must not wait for anybody

    before = signal.signal(signal.SIGINT, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
