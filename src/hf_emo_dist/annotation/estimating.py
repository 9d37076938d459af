"""How an annotator estimates a run: a pass over the data set that sends nothing, and a pilot that does."""

from __future__ import annotations

import hashlib
import io
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ..audio.clips import load_audio
from ..audio.decoding import SAMPLING_RATE, AudioError, BadClip, need, source_bytes, whole_clip
from .run.estimate import Estimate, Span, expected_usage, measured, spans_cost, time_needed
from .run.run_report import RunReport
from .types import OK

if TYPE_CHECKING:
    from datasets import Dataset

    from .annotator import Annotator

__all__ = ["estimate"]

_KINDS = ("prompt", "audio", "thinking", "output")
_CHUNK = 256


def estimate(annotator: Annotator, dataset: Dataset, pilot: int = 0) -> Estimate:
    """See `Annotator.estimate`."""
    records = _pilot(annotator, dataset, pilot) if pilot else []
    backend, settings = annotator.backend, annotator.settings
    totals = dict.fromkeys(_KINDS, Span(0.0, 0.0))
    requests = stored = rows = 0
    seconds_to_send = 0.0
    report = RunReport()
    seen: set[str] = set()
    waiting: list[tuple[Any, list[Any]]] = []

    def settle() -> None:
        nonlocal requests, stored, seconds_to_send
        there = annotator.ledger.lookup([job.key for _, jobs in waiting for job in jobs])
        for utterance, jobs in waiting:
            wanted = []
            for job in jobs:
                record = there.get(job.key)
                if job.key in seen or (
                    record is not None and (record.outcome == OK or not settings.asks_again(record.outcome))
                ):
                    stored += 1
                else:
                    seen.add(job.key)
                    wanted.append(job)
            if not wanted:
                continue
            try:
                seconds = duration_s(utterance.audio)
            except (AudioError, BadClip) as error:
                report.skipped[utterance.row_id] = str(error)
                continue
            seconds_to_send += seconds
            requests += len(wanted)
            for job in wanted:
                expected = expected_usage(job.request, seconds, len(annotator.emotions), backend.capabilities)
                for kind in _KINDS:
                    totals[kind] += expected[kind]
        waiting.clear()

    bar = tqdm(
        annotator.utterances(dataset),
        total=len(dataset),
        desc="Estimating",
        unit="clip",
        disable=not annotator.progress,
    )
    for utterance in bar:
        rows += 1
        waiting.append((utterance, annotator.jobs(utterance, report, sends=False)))
        if len(waiting) >= _CHUNK:
            settle()
    settle()
    latency = None
    if found := measured(records, requests):
        totals, latency = found
    today = datetime.now(UTC).date()
    prices = backend.capabilities.prices_on(today)
    return Estimate(
        model=backend.model,
        rows=rows,
        requests=requests,
        stored=stored,
        audio_hours=seconds_to_send / 3600,
        **totals,
        cost_usd=spans_cost(totals, backend.capabilities, today),
        seconds=time_needed(
            requests,
            totals["prompt"] + totals["thinking"] + totals["output"],
            settings.concurrency,
            latency,
            settings.requests_per_minute,
            settings.tokens_per_minute,
        ),
        pilot=len(records) if found else 0,
        prices="" if prices is None else f"list prices of {prices.as_of}, {prices.source}",
        unusable=report.skipped,
    )


def _pilot(annotator: Annotator, dataset: Dataset, number: int) -> list[Any]:
    """Annotates clips spread over the data set; returns the replies for them, those that were in the ledger too."""
    if number < 1 or isinstance(number, bool):
        raise ValueError(f"`pilot` must be a number of clips from 1, got {number!r}.")
    # Not the first ones: corpora are sorted by speaker. The choice depends on the number alone, so a repeated pilot costs nothing.
    order = sorted(range(len(dataset)), key=lambda i: hashlib.sha256(f"pilot-{i}".encode()).digest())
    chosen = dataset.select(sorted(order[:number]))
    report, keys = annotator.run(annotator.utterances(chosen), total=len(chosen) * len(annotator.members))
    if not report.complete:
        from .run.run_report import AnnotationIncomplete

        raise AnnotationIncomplete(report)
    wanted = [row[i : i + 32].hex() for row in keys for i in range(0, len(row), 32)]
    return list(annotator.ledger.lookup(wanted).values())


def duration_s(audio: Any) -> float:
    """Duration of a clip in seconds, from its header where it has one.

    Raises:
        AudioError, BadClip: The clip is missing or cannot be read.
    """
    soundfile = need("soundfile")
    data = source_bytes(audio)
    if data is not None:
        try:
            with whole_clip():
                info = soundfile.info(io.BytesIO(data))
        except soundfile.LibsndfileError as error:
            raise BadClip("corrupt", f"libsndfile cannot read it ({error})") from error
        if info.frames > 0 and info.samplerate > 0 and math.isfinite(info.frames / info.samplerate):
            return float(info.frames / info.samplerate)
    return len(load_audio(audio)) / SAMPLING_RATE
