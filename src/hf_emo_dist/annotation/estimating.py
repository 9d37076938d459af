"""What annotating a data set would take: an annotator's estimate, with a pilot that measures or without."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import date
from typing import TYPE_CHECKING, Protocol

from tqdm.auto import tqdm

from .annotation_columns import split_keys
from .hearing.hearing import Asker, hearing_requests
from .run.estimate import Estimate, Span, estimates_together, measured, share_of, spans_cost, tier_costs, time_needed
from .run.run_report import AnnotationIncomplete, RunReport
from .shares import Share
from .types import Record
from .workload import workload

if TYPE_CHECKING:
    from datasets import Dataset

    from .reading import Utterance


class Estimated(Asker, Protocol):
    """What of an `Annotator` an estimate needs."""

    progress: bool

    @property
    def answers_a_clip(self) -> int:
        """Members of the panel, whatever model they ask."""

    @property
    def models(self) -> Mapping[str, Estimated]:
        """Its models by name, each an annotator."""

    @property
    def tier(self) -> str:
        """The service tier at which it asks."""

    def day(self) -> date:
        """The day by which prices are told."""

    def pilot(self, dataset: Dataset, number: int) -> Dataset:
        """The clips of a pilot."""

    def run(self, utterances: Iterator[Utterance], total: int | None) -> tuple[RunReport, list[bytes]]:
        """Gets all replies."""

    def tell_old_facts(self) -> None:
        """Warns of facts about the model that are old."""


def estimate(annotator: Estimated, dataset: Dataset, pilot: int, batch: bool, hearing_test: bool | Dataset) -> Estimate:
    """The estimate of all of an annotator's models; arguments are those of `Annotator.estimate`."""
    if pilot < 0 or isinstance(pilot, bool):
        raise ValueError(f"`pilot` must be a number of clips from 1, got {pilot!r}. Mend: 0 for no pilot.")
    keys: list[bytes] = []
    if pilot:
        chosen = annotator.pilot(dataset, pilot)
        report, keys = annotator.run(annotator.utterances(chosen), total=len(chosen) * annotator.answers_a_clip)
        if not report.complete:
            raise AnnotationIncomplete(report)
    records = list(annotator.ledger.lookup([key for row in keys for key in split_keys(row)]).values())
    tested = dataset if hearing_test is True else hearing_test or None
    return estimates_together(
        {name: _of_model(one, dataset, records, batch, tested) for name, one in annotator.models.items()}
    )


def _of_model(
    annotator: Estimated, dataset: Dataset, pilot: Sequence[Record], batch: bool, tested: Dataset | None
) -> Estimate:
    """What this model alone would take, with those records of a pilot that are its own."""
    backend = annotator.backend
    who = (backend.name, backend.endpoint, backend.model)
    records = [record for record in pilot if (record.backend, record.endpoint, record.model) == who]
    annotator.tell_old_facts()
    not_asked, here = annotator.not_asked(), getattr(backend, "gathers", None)
    report, settings, capabilities = RunReport(), annotator.settings, backend.capabilities
    clips = tqdm(
        annotator.utterances(dataset),
        total=len(dataset),
        desc="Estimating",
        unit="clip",
        disable=not annotator.progress,
    )
    load = workload(
        ((utterance, annotator.jobs(utterance, report, sends=False)) for utterance in clips),
        annotator.ledger,
        settings,
        len(annotator.emotions),
        capabilities,
        report.skipped,
        getattr(backend, "long_audio", None),
    )
    found = measured(records, load.requests)
    tokens, latency = found or (load.tokens, None)
    more = hearing_requests(annotator, tested) if tested is not None and load.requests else Span(0, 0)
    of_test = {kind: share_of(span, more, load.requests) for kind, span in tokens.items()}
    today, tier = annotator.day(), "batch" if batch else annotator.tier
    prices, cost = capabilities.prices_on(today), spans_cost(tokens, capabilities, today)
    # The test is not sent by batch jobs: they would tell too late.
    cost_of_test = spans_cost(of_test, capabilities, today)
    tokens = {kind: span + of_test[kind] for kind, span in tokens.items()}
    return Estimate(
        model=backend.model,
        rows=load.rows,
        requests=load.requests,
        stored=load.stored,
        audio_hours=load.seconds / 3600,
        prompt=tokens["prompt"],
        audio=tokens["audio"],
        thinking=tokens["thinking"],
        output=tokens["output"],
        cost_usd=None
        if cost is None or cost_of_test is None
        else cost * capabilities.price_share(tier) + cost_of_test * capabilities.price_share(annotator.tier),
        seconds=time_needed(
            load.requests,
            tokens["prompt"] + tokens["thinking"] + tokens["output"],
            # A model on this machine tells of each answer what it took of the machine's time.
            settings.concurrency if here is None else Share.own().of,
            latency,
            settings.requests_per_minute,
            settings.tokens_per_minute,
            tier,
        )
        if here is None or latency is not None or not load.requests
        else None,
        tier=tier,
        tiers=tier_costs(cost, cost_of_test, capabilities),
        pilot=len(records) if found else 0,
        prices="" if prices is None else prices.described(),
        unusable=report.skipped,
        no_vote=" ".join(not_asked) if not_asked and load.requests else "",
        advice=(),
        hearing_requests=more,
    )
