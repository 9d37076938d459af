"""The replies of a job that has ended, line by line, into the ledger: read, judged and charged as all others are."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from ..ledger.journal import BatchJob
from ..ledger.ledger import with_its_file
from ..run.jobs import Job, Run
from ..run.judging import MEANINGS, Outcome, charged, kind_of
from ..run.recording import answered, reading_of, unanswered
from ..run.sending import reason_of
from ..types import FAILURES, Answer, PanelMember, Record
from .chunks import job_of
from .service import BatchService

logger = logging.getLogger(__name__)

#: Replies that are written to the ledger together.
_TOGETHER = 500
#: Times that a request may fail in jobs in which others are answered, before that is its clip's doing.
_FAILURES = 3
#: Seconds for which it counts that others were answered: a job that failed ran within as many.
_LATELY_S = 48 * 3600.0
#: Of a request whose line was lost; which of those without a line it was is not known, so its kind is "" here.
_UNREAD = Answer(None, "unreadable", "its reply is not in the job's file, or in a line that cannot be read")


@dataclass
class Collected:
    """What a job has brought."""

    records: list[Record] = field(default_factory=list)  # that were not in the ledger before; without their text
    answers: int = 0  # lines in which somebody answered, those of an earlier look too
    failures: int = 0  # lines in which nobody did
    missing: int = 0  # requests without a line, of a job that did not succeed: nothing was done for them
    lost: int = 0  # requests whose reply cannot be read, or is not there: they were paid for, as far as we know
    damaged: int = 0  # lines that cannot be read
    others: bool = False  # whether the service has answered others than those that failed, lately
    reason: str = ""  # of one failure


class Collector:
    """Takes in the file of replies of one job."""

    def __init__(self, run: Run, service: BatchService, job: BatchJob) -> None:
        self._service, self._job = service, job
        ledger = with_its_file(run.ledger)
        plan = ledger.plans().get(job.plan)
        if plan is not None:  # perhaps not the annotator's that collects it
            run = replace(run, plan=job.plan, emotions=plan.emotions, lenient=plan.lenient)
        self._run, self._ledger = run, ledger
        self._open = ledger.journal.requests(job.name)
        self._failed: list[tuple[Job, Outcome, str]] = []
        self._clips: dict[PanelMember, set[str]] = {}  # that got votes; two, so that one is another clip's
        self.found = Collected()

    def take_in(self, path: Path | None, succeeded: bool = False) -> Collected:
        """Take in the lines of a file; None where there is none, or none any more.

        Of a job that `succeeded` every request was done, and what has no line all the same counts as paid for.

        Raises:
            LedgerError: They could not be written. What is not in the ledger is open still.
        """
        bunch: list[Record] = []
        seen: set[str] = set()
        for key, line in self._lines(path):
            told = self._open.get(key)
            if told is None or key in seen:  # taken in before, or a line that stands there twice
                self.found.answers += "response" in line
                continue
            seen.add(key)
            record = self._answer(job_of(key, told, tuple(self._run.emotions)), line, told["settings"])
            if record is not None:
                bunch.append(record)
            if len(bunch) >= _TOGETHER:
                self._store(bunch)
        missing = [key for key in self._open if key not in seen]
        # Somebody's reply stood in a line that cannot be read, and was paid for: as many are charged.
        self.found.lost = lost = len(missing) if succeeded else min(self.found.damaged, len(missing))
        for key in missing[:lost]:
            self._failed.append((job_of(key, self._open[key], tuple(self._run.emotions)), _UNREAD, ""))
        self.found.missing = len(missing[lost:])
        self._store(bunch)
        self._store(self._failures())
        return self.found

    def _lines(self, path: Path | None) -> Iterator[tuple[str, Mapping[str, Any]]]:
        if path is None:
            return
        with path.open("rb") as file:
            for raw in file:
                if not raw.strip():
                    continue
                try:
                    line = json.loads(raw)
                    key = self._service.key_of(line)
                except (ValueError, AttributeError, RecursionError):
                    key = None
                if key is None:
                    self.found.damaged += 1
                else:
                    yield key, line

    def _answer(self, job: Job, line: Mapping[str, Any], settings: Mapping[str, Any]) -> Record | None:
        outcome = self._service.outcome_of(line, settings)
        if isinstance(outcome, Answer):
            reading = reading_of(self._run, job, outcome)
            kind = kind_of(outcome, reading.outcome)
            meaning = MEANINGS[kind]
            if meaning.clip in ("final", "kept"):
                self.found.answers += 1
                clips = self._clips.setdefault(job.voice, set())
                if kind == "answer" and len(clips) < 2:
                    clips.add(job.audio_hash)
                return answered(self._run, job, reading, outcome, None, final=meaning.ever)
        else:
            kind = kind_of(outcome)
        self._failed.append((job, outcome, kind))
        return None

    def _failures(self) -> list[Record]:
        self.found.failures = len(self._failed) - self.found.lost
        if not self._failed:
            return []
        before = self._ledger.lookup([job.key for job, _, _ in self._failed])
        moment, lately = self._ledger.now() - _LATELY_S, dict[PanelMember, set[str]]()
        for job, _, _ in self._failed:
            if job.voice not in lately:
                like = unanswered(self._run, replace(job), "error", "", final=False)
                lately[job.voice] = self._ledger.answered_since(moment, like)
        self.found.others = bool(set().union(*lately.values()) - {job.audio_hash for job, _, _ in self._failed})
        records = []
        for job, outcome, kind in self._failed:
            meaning, earlier = MEANINGS[kind or "unreadable"], before.get(job.key)
            self.found.reason = reason = self._run.clean(reason_of(outcome))
            failures = 1 + (0 if earlier is None else earlier.attempt + 1)
            here = bool(self._clips.get(job.voice, set()) - {job.audio_hash})
            there = bool(lately[job.voice] - {job.audio_hash})
            needed = _FAILURES if kind not in ("rejected", "unreadable") else 1 if here else 2
            own = meaning.ever and bool(kind) and (here or there) and failures >= needed
            name = {"payment": "denied", "denied": "rejected" if own else "denied"}.get(kind, kind or "unreadable")
            if name not in FAILURES:  # as if it had not been sent
                continue
            reserved = charged(outcome, meaning) == "reserved"
            job.tries = 1
            records.append(unanswered(self._run, job, name, reason, final=own, reserved=reserved))
        return records

    def _store(self, records: list[Record]) -> None:
        if not records:
            return
        stored = self._ledger.journal.take_in(self._job.name, records)
        self.found.records += [replace(record, text=None) for record in records if record.key in stored]
        records.clear()
