"""What a run did: votes, failures by id, requests, tokens and money, beside what was expected; and its progress bar."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from tqdm.auto import tqdm

from ...audio.faults import told_by_reason, told_parts
from ..readout.probabilities import Masses
from ..types import FAILURES, OK, Record

if TYPE_CHECKING:
    from ..hearing.verdict import HearingTest
    from .estimate import Estimate

_SHOWN_IDS = 10
_SUMMED = ("votes", "stored_votes", "requests", "assumed_usd", "assumed_tokens", "charged_tries", "under_way")


@dataclass
class RunReport:
    """What a run did.

    Attributes:
        rows: Utterances that were gone through.
        votes: Labels and distributions that came in this run.
        stored_votes: Those that the ledger had already.
        failures: Outcome to the ids of the rows concerned, one entry a reply; those that the ledger had already too.
        unfinished: The same for what got no answer, and not through its clip: it is asked again by the next run.
        skipped: Row id to the reason why nothing was sent for it (its audio cannot be used).
        requests: Requests that were sent, repeated ones included.
        transport_errors: Kind of error (rate limit, server, connection, time-out) to how often it happened.
        tokens: Kind to number.
        cost_usd: Of this run, by the table of prices; None where a price is not known.
        assumed_usd: What of that no reply stated, and was charged as what the requests could cost at most.
        assumed_tokens: Tokens that were charged likewise, beside `tokens`.
        charged_tries: Tries among them that got no reply and may have been billed.
        seconds: Wall-clock time.
        model_versions: Models that said they answered, to replies.
        votes_a_clip: Of a run that is not complete: number of votes to how many clips have so many, those that the
            ledger had too; the largest number is what was wanted.
        tiers: Service tiers to the replies that were served, and charged, at them; empty where only the standard one
            was asked.
        under_way: Replies that are wanted and in a batch job, or asked for by another process.
        jobs_running: Batch jobs at the service.
        masses: Of read-outs, those that the ledger had too: how much of the model's probability is on the labels.
        batch_jobs: Name of a batch job to what is to be said of it: that it failed, or was incomplete.
        stop_reason: Why the run stopped before its end; None if it did not.
        mend: What to do about that.
        estimate: What was expected, where it was asked for.
        hearing_test: Whether the answers follow the audio, where that was tested before; what it took is in itself.
        by_model: The report of each model, where a panel names several; all else is of them together.
    """

    rows: int = 0
    votes: int = 0
    stored_votes: int = 0
    failures: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    unfinished: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    skipped: dict[str, str] = field(default_factory=dict)
    requests: int = 0
    transport_errors: Counter[str] = field(default_factory=Counter)
    tokens: Counter[str] = field(default_factory=Counter)
    cost_usd: float | None = 0.0
    assumed_usd: float = 0.0
    assumed_tokens: int = 0
    charged_tries: int = 0
    seconds: float = 0.0
    model_versions: Counter[str] = field(default_factory=Counter)
    votes_a_clip: dict[int, int] = field(default_factory=dict)
    tiers: Counter[str] = field(default_factory=Counter)
    under_way: int = 0
    jobs_running: int = 0
    masses: Masses = field(default_factory=Masses)
    batch_jobs: dict[str, str] = field(default_factory=dict)
    stop_reason: str | None = None
    mend: str = ""
    estimate: Estimate | None = None
    hearing_test: HearingTest | None = None
    by_model: dict[str, RunReport] = field(default_factory=dict)

    @property
    def complete(self) -> bool:
        """Whether every annotator was asked about every usable clip and answered, whatever it said."""
        return self.stop_reason is None and not self.unfinished

    def count(self, record: Record, row_id: str, fresh: bool) -> None:
        """Add one reply."""
        if record.outcome != OK:
            (self.failures if record.final else self.unfinished)[record.outcome].append(row_id)
        elif fresh:
            self.votes += 1
        else:
            self.stored_votes += 1
        if record.outcome == OK and "mass" in record.settings:
            assumed = str(record.settings.get("end_of_turn", "")).startswith("assumed")
            self.masses.add(record.settings["mass"], assumed)
        if fresh:
            self._add_cost(record)

    def note_votes(self, numbers: Iterable[int], wanted: int) -> None:
        """Note how many votes the clips have, of those that were wanted for each."""
        self.votes_a_clip = dict(sorted({wanted: 0, **Counter(numbers)}.items()))

    def add(self, part: RunReport) -> None:
        """Add what another part of the same run did, that of other rows; `seconds` are the whole's own.

        Example:
            >>> report = RunReport(votes=2)
            >>> report.add(RunReport(rows=1, votes=3, stop_reason="no key"))
            >>> report.votes, report.stop_reason
            (5, 'no key')
        """
        self.rows += part.rows
        for name in _SUMMED:
            setattr(self, name, getattr(self, name) + getattr(part, name))
        unknown = self.cost_usd is None or part.cost_usd is None
        self.cost_usd = None if unknown else (self.cost_usd or 0.0) + (part.cost_usd or 0.0)
        self._join(part)
        self.masses.update([part.masses])
        votes = Counter(self.votes_a_clip) + Counter(part.votes_a_clip)
        self.votes_a_clip = {number: votes[number] for number in sorted({*self.votes_a_clip, *part.votes_a_clip})}
        if self.stop_reason is None:
            self.stop_reason, self.mend = part.stop_reason, part.mend
        for name, report in part.by_model.items():
            self.by_model.setdefault(name, RunReport()).add(report)

    def _join(self, part: RunReport) -> None:
        """Add all that is counted by name."""
        self.batch_jobs.update(part.batch_jobs)
        for name in ("transport_errors", "tokens", "model_versions", "tiers"):
            getattr(self, name).update(getattr(part, name))
        for name in ("failures", "unfinished"):
            for outcome, ids in getattr(part, name).items():
                getattr(self, name)[outcome] += ids
        self.skipped.update(part.skipped)

    def charge(self, record: Record) -> None:
        """Add what a try has cost, or may have cost, that is no row's reply."""
        self.charged_tries += record.prompt_tokens is None and bool(record.assumed_tokens)
        self._add_cost(record)

    def _add_cost(self, record: Record) -> None:
        self.assumed_usd += record.assumed_usd or 0.0
        self.assumed_tokens += record.assumed_tokens or 0
        for kind in ("prompt", "audio", "thinking", "output"):
            self.tokens[kind] += getattr(record, f"{kind}_tokens") or 0
        if record.model_version:
            self.model_versions[record.model_version] += 1
        if "service_tier" in record.settings:
            self.tiers[record.settings["service_tier"]] += 1
        # What no model saw costs nothing; anything else without a price makes the sum unknown.
        if self.cost_usd is not None:
            self.cost_usd = None if record.cost_usd is None else self.cost_usd + record.cost_usd

    def summary(self) -> str:
        """The report in a few lines."""
        if self.by_model:
            return self._summary_by_model()
        speed = f", {self.votes / self.seconds:.1f} a second" if self.votes and self.seconds > 0 else ""
        lines = [
            f"{self.rows} utterances: {self.votes} new votes, {self.stored_votes} from the ledger "
            f"({self.requests} requests in {self.seconds:.1f} s{speed})."
        ]
        if self.requests or self.tokens or self.assumed_tokens:  # what is collected was sent by an earlier run
            tokens = ", ".join(f"{self.tokens[kind]:,} {kind}" for kind in ("prompt", "audio", "thinking", "output"))
            cost = "unknown (no price for this model)" if self.cost_usd is None else f"${self.cost_usd:,.4f}"
            lines.append(f"Tokens: {tokens} (audio is part of prompt). Cost: {cost}.")
            if self.assumed_tokens or self.assumed_usd:
                dollars = "" if self.cost_usd is None else f", ${self.assumed_usd:,.4f} of the cost"
                lines.append(
                    "Not stated by the service, and charged as what requests can cost at most: "
                    f"{self.assumed_tokens:,} tokens{dollars} ({self.charged_tries} tries got no reply and may have "
                    "been billed)."
                )
            versions = ", ".join(f"{name} ({n})" for name, n in self.model_versions.most_common()) or "not stated"
            lines.append(f"Answered by: {versions}.")
            if self.tiers:
                tiers = ", ".join(f"{name} ({n})" for name, n in self.tiers.most_common())
                lines.append(f"Served, and charged, at the tier: {tiers}.")
        if self.masses.number:
            lines.append(
                f"Label probabilities were read, {self.masses.told()}. What is missing went to other answers; the "
                "distributions are over the labels alone."
            )
            if self.masses.assumed > self.masses.number / 10:
                lines.append(
                    f"In {self.masses.assumed:,} of them it was assumed that an answer ends with its label, since the "
                    "server did not show it: longer answers count for the label. Mend: ask a server that takes "
                    "continue_final_message, such as vLLM's."
                )
        if self.estimate is not None and self.requests:
            lines.append(f"Expected: {self.estimate.summary()}")
        if self.hearing_test is not None and not self.hearing_test.stops:  # that is why it stopped
            lines.append(self.hearing_test.summary())
        if self.transport_errors:
            counts = ", ".join(f"{n} {kind}" for kind, n in self.transport_errors.most_common())
            lines.append(f"Repeated after errors in transport: {counts}.")
        for outcome, ids in sorted(self.failures.items()):
            lines.append(f"No vote, {len(ids)} × {outcome} ({FAILURES[outcome]}): {_first(ids)}.")
        for outcome, ids in sorted(self.unfinished.items()):
            lines.append(f"No answer yet, {len(ids)} × {outcome} ({FAILURES[outcome]}): {_first(ids)}.")
        if self.unfinished:
            lines.append("The next run asks for these again: it is not known to be their clips' doing.")
        if self.failures:
            lines.append("Failures are not asked again unless `retry_failed` says so.")
        for name, told in list(self.batch_jobs.items())[:_SHOWN_IDS]:
            lines.append(f"Batch job {name}: {told}.")
        if len(self.batch_jobs) > _SHOWN_IDS:
            lines.append(f"And of {len(self.batch_jobs) - _SHOWN_IDS} further ones: hf-emo-dist ledger jobs shows all.")
        if self.skipped:
            lines.append(f"Not sent, {len(self.skipped)} clips: {_first(self.skipped)}.")
            faults = told_by_reason(told_parts(row, reason) for row, reason in self.skipped.items())
            lines += [f"  {line}" for line in faults]
        if self.votes_a_clip:
            lines.append(f"Votes a clip, of {max(self.votes_a_clip)} wanted: {self.votes_a_clip_in_words()}.")
        if self.stop_reason is not None:
            lines.append(f"STOPPED: {self.stop_reason} {self.mend}".rstrip())
        return "\n".join(lines)

    def _summary_by_model(self) -> str:
        lines = [
            f"{self.rows} utterances, {len(self.by_model)} models: {self.votes} new votes, {self.stored_votes} from "
            f"the ledger ({self.requests} requests in {self.seconds:.1f} s)."
        ]
        lines += [f"{name}: {report.summary()}" for name, report in self.by_model.items()]
        if self.votes_a_clip:
            lines.append(f"Votes a clip, of {max(self.votes_a_clip)} wanted: {self.votes_a_clip_in_words()}.")
        return "\n".join(lines)

    def votes_a_clip_in_words(self) -> str:
        """Such as "12 clips have 0, 80 have 3"."""
        there = [(number, clips) for number, clips in self.votes_a_clip.items() if clips]
        return ", ".join(f"{clips} {'clips ' * (not i)}have {number}" for i, (number, clips) in enumerate(there))

    def to_dict(self) -> dict[str, Any]:
        """The report as JSON has it."""
        # Not `asdict`, which cannot copy a defaultdict in Python 3.11.
        values = {name: dict(value) if isinstance(value, dict) else value for name, value in vars(self).items()}
        values["estimate"] = None if self.estimate is None else self.estimate.to_dict()
        values["hearing_test"] = None if self.hearing_test is None else self.hearing_test.to_dict()
        values["masses"] = self.masses.to_dict()
        values["by_model"] = {name: report.to_dict() for name, report in self.by_model.items()}
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RunReport:
        """The report of a run without an estimate and a test of the hearing, of what `to_dict` gave."""
        return cls(**_known(values))


def _known(values: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of a report as it has them, of what JSON made of them."""
    made = dict(values)
    for name in ("failures", "unfinished"):
        made[name] = defaultdict(list, made[name])
    for name in ("transport_errors", "tokens", "model_versions", "tiers"):
        made[name] = Counter(made[name])
    made["votes_a_clip"] = {int(number): clips for number, clips in made["votes_a_clip"].items()}
    made["masses"] = Masses.from_dict(made["masses"])
    made["by_model"] = {name: RunReport.from_dict(report) for name, report in made["by_model"].items()}
    return made


def together(reports: Mapping[str, RunReport]) -> RunReport:
    """The reports of several models that were asked side by side, as one; that of a single model is it."""
    if len(reports) == 1:
        return next(iter(reports.values()))
    whole = RunReport(by_model=dict(reports))
    parts = list(reports.values())
    whole.rows, whole.seconds = max(r.rows for r in parts), max(r.seconds for r in parts)
    for name in (*_SUMMED, "jobs_running"):
        setattr(whole, name, sum(getattr(report, name) for report in parts))
    whole.masses.update(report.masses for report in parts)
    costs = [report.cost_usd for report in parts]
    whole.cost_usd = None if None in costs else sum(cost or 0.0 for cost in costs)
    for report in parts:
        whole._join(report)
    stopped = {name: report for name, report in reports.items() if report.stop_reason is not None}
    reasons = list(dict.fromkeys(str(report.stop_reason) for report in stopped.values()))
    if len(reasons) == 1 and len(stopped) == len(reports):  # one for all, such as Ctrl-C
        whole.stop_reason = reasons[0]
    elif stopped:
        whole.stop_reason = " ".join(f"{name}: {report.stop_reason}" for name, report in stopped.items())
    whole.mend = " ".join(dict.fromkeys(report.mend for report in stopped.values() if report.mend))
    return whole


def _first(ids: Iterable[str]) -> str:
    different = list(dict.fromkeys(ids))
    return ", ".join(different[:_SHOWN_IDS]) + (" and more" if len(different) > _SHOWN_IDS else "")


class Progress:
    """A `tqdm` bar over votes, or nothing."""

    def __init__(self, total: int | None, shown: bool, leave: bool) -> None:
        self._reports: dict[int, RunReport] = {}  # of the models that are asked side by side
        self.shown = shown
        self._bar = tqdm(
            total=total,
            desc="Annotating",
            unit="vote",
            leave=leave,
            mininterval=0.5,
            smoothing=0.05,
            disable=not shown,
        )

    def show(self, report: RunReport, advance: int = 1) -> None:
        """Draw what the report counts now, `advance` votes further."""
        self._reports[id(report)] = report
        # Building the figures costs more than a vote does: only when the bar is drawn anyway.
        if self._bar.update(advance) or (advance == 0 and not self._bar.disable):
            reports = self._reports.values()
            figures: dict[str, Any] = {
                "failed": sum(sum(map(len, one.failures.values())) + len(one.skipped) for one in reports),
                "tokens": sum(one.tokens[k] for one in reports for k in ("prompt", "thinking", "output")),
            }
            if cost := sum(one.cost_usd or 0.0 for one in reports):
                figures["USD"] = f"{cost:.4f}"
            if repeated := sum(sum(one.transport_errors.values()) for one in reports):
                figures["repeated"] = repeated
            self._bar.set_postfix(figures, refresh=False)

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *error: object) -> None:
        self._bar.close()


class AnnotationIncomplete(RuntimeError):
    """A run stopped before its end: budget, Ctrl-C, a wrong key, no credit. All that came is in the ledger.

    Attributes:
        report: What the run did; `report.stop_reason` says why it stopped.
    """

    def __init__(self, report: RunReport) -> None:
        super().__init__(
            f"The annotation is not complete: {report.stop_reason or 'some requests got no answer.'} {report.mend} "
            "Every reply that came is in the ledger; the same call goes on from there."
        )
        self.report = report

    def __reduce__(self) -> tuple[Any, ...]:  # `map` with several processes sends it to its parent
        return (type(self), (self.report,))
