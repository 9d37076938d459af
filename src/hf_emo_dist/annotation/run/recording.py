"""From what came of a try to a row of the ledger, with what it is charged."""

from __future__ import annotations

import math
from dataclasses import asdict, replace
from datetime import UTC, datetime
from typing import Any

from ..capabilities import may_answer
from ..parsing import PARSER_VERSION, Reading, read_probabilities, read_reply
from ..readout.probabilities import mass_of
from ..types import Answer, Record, Usage
from .charging import Charge, charge
from .jobs import Job, Run


def reading_of(run: Run, job: Job, answer: Answer) -> Reading:
    """What an answer says: a vote, or why it is none."""
    version = answer.model_version
    if version is not None and not may_answer(run.backend.model, version, run.answers_as):
        return Reading("other_model", detail=run.clean(f"{answer.model_version} answered"))
    if answer.failure is not None:
        return Reading(answer.failure, detail=run.clean(answer.detail))
    if job.member.mode == "readout":
        found = read_probabilities(answer.log_probabilities, run.emotions, job.member.temperature)
        if found.outcome != "unreadable":
            return found
        # Whoever reads the failure must know whose it is.
        return replace(found, detail=run.clean(f"{run.backend.model} at {run.backend.endpoint}: {found.detail}"))
    try:
        return read_reply(answer.text, job.member.mode, run.emotions, run.lenient)
    except Exception as error:  # noqa: BLE001 - whatever a model writes, it was paid for and is kept
        return Reading("unparseable", detail=f"{type(error).__name__} in reading it")


def answered(
    run: Run, job: Job, reading: Reading, answer: Answer, latency_s: float | None, *, final: bool = True
) -> Record:
    """The row of a reply."""
    found = Charge()
    asked = job.tier or run.tier
    served = answer.tier or asked
    if answer.failure != "rejected":  # of which no model saw anything
        found = _charge(run, job, answer.usage, answer.text, served)
    tiers = {} if served == run.tier == "standard" else {"service_tier": served}
    if served != run.tier:
        tiers["asked_tier"] = run.tier
    if found.refused:
        reading = replace(reading, detail="; ".join(filter(None, [reading.detail, f"no such usage: {found.refused}"])))
    return _record(
        run,
        job,
        reading,
        found,
        text=None if answer.text is None else run.clean(answer.text),
        model_version=None if answer.model_version is None else run.clean(answer.model_version),
        settings={**answer.settings, **tiers, **(_read_off(answer) or {"parser": PARSER_VERSION})},
        latency_s=latency_s,
        final=final,
        **asdict(found.usage),
    )


def _read_off(answer: Answer) -> dict[str, Any]:
    """What the row of a read-out says beside its distribution; empty for an answer in words."""
    known = {name: value for name, value in (answer.log_probabilities or {}).items() if math.isfinite(value)}
    if not known:
        return {}
    try:
        mass = mass_of(list(known.values()))
    except ValueError:  # these are no probabilities: what was read of them says so
        return {}
    return {"read": True, "mass": float(f"{mass:.6g}"), "log_probabilities": known}


def unanswered(run: Run, job: Job, outcome: str, detail: str, *, final: bool, reserved: bool = False) -> Record:
    """The row of a job that got no reply; `reserved`: the service may have generated one, and charge for it."""
    found = _charge(run, job, Usage(), None, job.tier or run.tier) if reserved else Charge()
    return _record(run, job, Reading(outcome, detail=detail), found, final=final)


def _charge(run: Run, job: Job, usage: Usage, text: str | None, tier: str) -> Charge:
    has = run.backend.capabilities
    if run.backend.endpoint == "local" and not usage.total:  # nobody's bill
        return Charge(usage)
    return charge(usage, job.at_most(has), has, job.seconds, text, tier)


def _record(run: Run, job: Job, reading: Reading, found: Charge, **reply: Any) -> Record:
    tries, job.tries = job.tries, 0
    return Record(
        key=job.key,
        outcome=reading.outcome,
        label=reading.label,
        distribution=reading.distribution,
        detail=reading.detail,
        backend=run.backend.name,
        endpoint=run.backend.endpoint,
        model=run.backend.model,
        prompt_version=job.prompt.version,
        plan=job.plan or run.plan,
        audio=job.audio_hash,
        request=job.request_hash,
        row_id=job.clip.row_id,
        tries=tries,
        created=datetime.now(UTC).isoformat(timespec="milliseconds"),
        cost_usd=found.cost_usd,
        assumed_usd=found.assumed_usd or None,
        assumed_tokens=found.assumed_tokens or None,
        **asdict(job.member),
        **reply,
    )
