"""One call for an annotator's batch jobs on a data set: what refuses it beforehand, and the work of `Batches`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Protocol

from ..hearing.hearing import Asker
from ..kept_on_disk import Keys
from ..reading import Utterance, read_dataset
from ..run.jobs import Job, Run
from ..run.loop import LoopThread
from ..run.run_report import Progress, RunReport
from .batches import Batches

if TYPE_CHECKING:
    from datasets import Dataset


class Batching(Asker, Protocol):
    """What of an `Annotator` its batch jobs need."""

    audio_column: str
    progress: bool

    @property
    def models(self) -> Mapping[str, Any]:
        """The models that it asks, by name."""

    @property
    def tier(self) -> str:
        """The service tier at which single requests are asked."""

    @property
    def loop(self) -> LoopThread:
        """Where it sends."""

    def check_upload(self, utterances: Iterator[Utterance]) -> None:
        """Refuses to upload restricted data."""

    def run_of(self, report: RunReport, progress: Progress, batch: bool = False) -> Run:
        """What the stages of a run share."""


def call_batches(
    annotator: Batching, dataset: Dataset, collect: bool, submit: bool, wait: bool = False, poll_s: float = 60.0
) -> tuple[RunReport, Keys]:
    """Collect and submit, as `Batches.run`; returns the report and, for each utterance, its keys joined."""
    if len(annotator.models) > 1:
        raise ValueError(
            f"The panel asks {len(annotator.models)} models ({', '.join(annotator.models)}), and batch jobs are of "
            "one. Mend: one call a model with --batch, with a panel of its own members and the same ledger; then the "
            "whole panel without --batch, which finds all replies in the ledger."
        )
    backend = annotator.backend
    service = getattr(backend, "batches", None)
    if service is None:
        raise ValueError(
            f"{backend!r} has no batch jobs here. Mend: leave --batch out, in Python call annotate(); or ask "
            "a Gemini model through the Developer API (Vertex AI's jobs read from a bucket and are not known here)."
        )
    if annotator.tier != "standard":
        raise ValueError(
            f"A batch job has a price of its own, and service_tier={annotator.tier!r} is for single requests. Mend: "
            "one of the two."
        )
    annotator.check_upload(read_dataset(dataset, annotator.audio_column, backend.row_columns, only_flags=True))
    report = RunReport()
    keys = Keys(len(dataset), len(annotator.members))

    def groups() -> Iterator[Sequence[Job]]:
        report.rows = 0
        for utterance in read_dataset(dataset, annotator.audio_column, backend.row_columns):
            jobs = annotator.jobs(utterance, report, sends=submit)
            for member, job in enumerate(jobs):
                keys.add(report.rows, member, bytes.fromhex(job.key))
            report.rows += 1
            yield jobs

    began = datetime.now(UTC)
    with Progress(None, False, False) as progress:
        progress.shown = annotator.progress
        batches = Batches(annotator.run_of(report, progress, batch=True), service, groups)
        work = batches.run(collect, submit, wait, poll_s)
        annotator.loop.run(work, on_interrupt=batches.request_stop)
    report.seconds = (datetime.now(UTC) - began).total_seconds()
    return report, keys
