"""The hearing test of an annotator on a data set: what is asked, whether anything is to be asked, and the finding."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Protocol

from ...data.rows import column_of
from ..ledger.plans import Plan
from ..ledger.run_ledger import RunLedger
from ..reading import Utterance
from ..run.estimate import Span
from ..run.jobs import Job, RunSettings
from ..run.run_report import RunReport
from ..types import OK, Backend, PanelMember, Record, ledger_key, request_hash
from ..workload import heard_s
from .asking import AGAIN, CLIPS, LEAST, Look, Questions, ask, askable, looks, trials_of
from .clips import majority, pairs_of
from .judging import MARGIN, MARGIN_UNKNOWN
from .verdict import HearingTest

if TYPE_CHECKING:
    from datasets import Dataset

# Numbers of replicates that are no members of a panel: the very same question again.
_REPLICATES = 1_000_000


class Asker(Protocol):
    """What of an `Annotator` a hearing test needs."""

    backend: Backend
    emotions: tuple[str, ...]
    members: tuple[PanelMember, ...]
    preset: str
    settings: RunSettings

    @property
    def plan(self) -> str:
        """Hash of who is asked what."""

    @property
    def ledger(self) -> RunLedger:
        """Where replies are kept."""

    def not_asked(self) -> Any:
        """Why nobody is asked, or None."""

    def lacks(self, dataset: Dataset) -> bool:
        """Whether a reply is wanted that the ledger has not."""

    def utterances(self, dataset: Dataset) -> Iterator[Utterance]:
        """The rows, after a look at what would stop a run."""

    def jobs(
        self, utterance: Utterance, report: RunReport, sends: bool = True, members: Sequence[PanelMember] | None = None
    ) -> list[Job]:
        """One job a member."""

    def send(self, groups: Iterator[list[Job]], report: RunReport, total: int | None, leave: bool = True) -> None:
        """Gets replies into the ledger."""


def hear(annotator: Asker, dataset: Dataset, clips: int = CLIPS, seed: int = 42) -> tuple[HearingTest, RunReport]:
    """Test the hearing; arguments are those of `Annotator.hearing_test`.

    Returns:
        The finding, and the report of what was sent for it, which says where that had to stop.
    """
    report, model = RunReport(), annotator.backend.model
    prepared = _questions(annotator, dataset, clips, seed, report, sends=True)
    if isinstance(prepared, str):
        return HearingTest("skipped", model, prepared), report
    questions, plan, plan_again = prepared
    not_sent: str | None = None

    def send(jobs: list[Job]) -> bool:
        nonlocal not_sent
        if not_sent is None:
            not_sent = "" if annotator.lacks(dataset) else "the ledger has all replies that the run wants"
        if not not_sent and annotator.ledger.under_way([job.key for job in jobs]):
            not_sent = "its questions are in batch jobs that are under way"
        if not_sent:
            return False
        annotator.ledger.remember_plan(_plan(annotator), Plan(tuple(annotator.emotions), annotator.preset == "paper"))
        annotator.send(iter([jobs]), report, len(jobs), leave=False)
        return report.stop_reason is None

    def shares_of(record: Record) -> list[float] | None:
        return _shares(record, annotator.emotions)

    margin = MARGIN if "human_votes" in dataset.column_names else MARGIN_UNKNOWN
    found, look, records = ask(
        questions, plan, plan_again, annotator.ledger, annotator.settings, shares_of, send, margin
    )
    if found is None and not_sent:
        return HearingTest("skipped", model, not_sent), report
    costs = [record.cost_usd for record in records]
    test = HearingTest(
        "undecided" if found is None else found.verdict,
        model,
        "" if report.stop_reason is None else f"It stopped early: {report.stop_reason}",
        **({} if found is None else found.figures()),
        members=look.tested,
        requests=len(costs),
        cost_usd=None if None in costs else sum(cost for cost in costs if cost is not None),
    )
    return test, report


def hearing_requests(annotator: Asker, dataset: Dataset) -> Span:
    """How many requests of its own a hearing test of this data set takes."""
    prepared = _questions(annotator, dataset, CLIPS, 42, RunReport(), sends=False)
    if isinstance(prepared, str):
        return Span(0, 0)
    questions, plan, plan_again = prepared
    number = []
    for look in (plan[0], plan[-1], *plan_again[-1:]):
        keys = list(dict.fromkeys(job.key for *_, job in questions.of(look) if job.plan is not None))
        number.append(len(keys) - len(annotator.ledger.lookup(keys)))
    return Span(number[0], max(number))


def _plan(annotator: Asker) -> str:
    """The plan of replies that are no votes of a panel."""
    return request_hash({"hearing test of": annotator.plan})[:32]


def _questions(
    annotator: Asker, dataset: Dataset, clips: int, seed: int, report: RunReport, sends: bool
) -> tuple[Questions, list[Look], list[Look]] | str:
    """What is asked, look after look, without and with replicates; or why nothing is."""
    if not isinstance(clips, int) or isinstance(clips, bool) or clips < LEAST:
        raise ValueError(f"`clips` is {clips!r}. Mend: a number of clips from {LEAST}, such as {CLIPS}.")
    backend = annotator.backend
    if not getattr(backend, "hears", True):
        return f"{backend.name} annotators hear nothing by design"
    if annotator.not_asked() is not None:
        return "nobody is asked"
    annotator.utterances(dataset)  # says what would stop the run
    # Some to spare, for those that cannot be sent.
    pairs = pairs_of(dataset, min(clips + clips // 2, max(clips, len(dataset) // 2)), seed)
    read = iter(list(annotator.utterances(dataset.select([row for pair in pairs for row in pair]))))
    has, long_audio = backend.capabilities, getattr(backend, "long_audio", None)
    utterances = list(zip(read, read, strict=True))
    votes = column_of(dataset, "human_votes")
    heard = [[None if votes is None else majority(votes[row]) for row in pair] for pair in pairs]
    alike = [own is not None and own == other for own, other in heard]
    trials = trials_of(utterances, alike, clips, lambda utterance: heard_s(utterance, has, long_audio))
    if len(trials) < LEAST:
        return f"{len(trials)} clips can be compared, and it takes {LEAST}"
    members = askable(annotator.members)
    replies = len(dataset) * len(annotator.members)
    plan = looks(len(trials), len(members), replies)
    if not plan:
        return f"a run of {replies} replies is smaller than the test"

    def jobs_of(utterance: Utterance, members: Sequence[PanelMember]) -> list[Job]:
        return annotator.jobs(utterance, report, sends, members)

    def again(job: Job, number: int) -> Job:
        member = replace(job.member, replicate=_REPLICATES + AGAIN * job.member.replicate + number)
        key = ledger_key(
            audio=job.audio_hash,
            request=job.request_hash,
            backend=backend.name,
            endpoint=backend.endpoint,
            model=backend.model,
            replicate=member.replicate,
        )
        return replace(job, key=key, member=member, also=[])

    questions = Questions(trials, members, annotator.members, jobs_of, _plan(annotator), again)
    if members[0].mode == "readout":  # asked again, it is the same
        return questions, plan, []
    return questions, plan, looks(len(trials), len(members), replies, again=True)


def _shares(record: Record, emotions: Sequence[str]) -> list[float] | None:
    """What a vote says of each emotion."""
    if record.outcome != OK:
        return None
    if record.label is not None:
        return [float(name == record.label) for name in emotions]
    shares = [(record.distribution or {}).get(name, 0.0) for name in emotions]
    return [share / sum(shares) for share in shares] if sum(shares) > 0 else None
