"""Whether anybody is answered still: asked when many have had no answer, and at the end of a run.

Where nobody else was answered meanwhile, a request that was answered before is sent once more as a control. It is the
only one that is ever paid for twice, and tells for certain: if it is answered, what had no answer is its clips' doing;
if not, it is nobody's clip, and nothing of it is final.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace

from ...audio.decoding import AudioError
from ..types import IN_FLIGHT, Answer, FatalError, TransientError
from .jobs import Job, Run
from .judging import MEANINGS, Outcome, charged, kind_of
from .keeping import Keeper
from .loop import Stop
from .pacing import Pacing
from .recording import answered, reading_of, unanswered


class Doubts:
    """Holds the sending while it is unclear whether anybody is answered, and finds out."""

    def __init__(
        self, run: Run, keeper: Keeper, stop: Stop, pacing: Pacing, ask: Callable[[Job], Awaitable[Outcome]]
    ) -> None:
        self._run, self._keeper, self._stop, self._pacing, self._ask = run, keeper, stop, pacing, ask
        self._evidence = run.evidence
        self._settling = False
        self._last = ""  # why the last one had no answer
        self._last_mend = "Mend: see to what it names, and run again: what had no answer is asked again."

    def missed(self, job: Job, kind: str, outcome: Outcome) -> None:
        """Note a job without an answer; from a number of clips on nothing more is sent until it is clear why."""
        self._last = job.apart.detail if job.apart is not None else kind
        self._evidence.missed(job, early=MEANINGS[kind].run == "early")
        if self._evidence.doubt:
            self._pacing.hold(True)

    def look(self) -> None:
        """Send on where somebody has been answered."""
        if not self._evidence.doubt and not self._settling:
            self._pacing.hold(False)

    async def settle(self) -> None:
        """Find out, once nothing is in flight that could tell; stop the run where nobody is answered."""
        if self._settling or self._stop or not self._evidence.doubt or self._pacing.in_flight:
            return
        self._settling = True
        try:
            answered = await self.anybody(self._evidence.unanswered)
            if answered is False or (answered is None and self._evidence.condemned):
                self.stop()
        finally:
            self._settling = False
            self._pacing.hold(False)

    def stop(self) -> None:
        """Stop the run: nobody is answered."""
        clips = len(self._evidence.unanswered)
        self._stop(
            f"the service answers nobody: not {clips} {'clip' if clips == 1 else 'clips'} one after another"
            f"{', nor one that it answered before' if self._evidence.ever else ''} ({self._last}).",
            self._last_mend,
        )

    async def anybody(self, clips: set[str]) -> bool | None:
        """Whether somebody is answered who is of none of these clips; None where there is nobody to ask."""
        job = self._evidence.control(set(clips))
        if job is None or self._stop:
            return None
        run, has = self._run, self._run.backend.capabilities
        if job.clip.prepared is None:
            try:
                job.clip.prepared = await asyncio.get_running_loop().run_in_executor(None, job.clip.prepare)
            except AudioError:  # it was read well when it was answered; whatever this is, it tells nothing
                return None
        key = f"control {os.urandom(8).hex()}"
        claim = replace(job.claim(has), key=key, retry=False)
        while not (got := await self._keeper.reserve([claim])).granted:
            if not got.deferred or self._stop:
                return None
            await self._stop.sleep(got.wait_s)
        try:
            while not self._stop:
                lost = unanswered(run, replace(job, tries=1), "connection", IN_FLIGHT, final=False, reserved=True)
                await self._keeper.sending(key, lost)
                sent = time.monotonic()
                job.tries += 1
                run.report.requests += 1
                outcome = await self._ask(job)
                kind = kind_of(outcome)
                meaning = MEANINGS[kind]
                if isinstance(outcome, Answer) and meaning.rate == "up":
                    reading = reading_of(run, job, outcome)
                    record = answered(run, job, reading, outcome, time.monotonic() - sent)
                    await self._keeper.store(record)
                    self._keeper.not_billed(key)  # by this lease's own key: it is paid for by the reply's
                    run.report.charge(record)
                    self._pacing.replied(sent, time.monotonic() - sent)
                    self._evidence.answered(job, sent)
                    return True
                job.tries = 0
                if charged(outcome, meaning) == "reserved":
                    record = unanswered(run, job, kind, self._last, final=False, reserved=True)
                    run.report.charge(record)
                    if not await self._keeper.charge(record):
                        return None
                self._keeper.not_billed(key)
                if not isinstance(outcome, TransientError):
                    if isinstance(outcome, FatalError):
                        self._last = run.clean(str(outcome))
                    return False
                self._pacing.failed()
                wait_s = self._pacing.backoff(4, outcome.retry_after)
                if self._pacing.trouble_s() + wait_s > run.settings.patience_s:
                    return False
                await self._stop.sleep(wait_s)
            return None
        finally:
            await self._keeper.release([key])
