"""Whose failure it is: asked when many got no vote, and at the end of a run.

Where nobody else got a vote meanwhile, a request that got one before is sent once more as a control. Controls are the
only requests that are ever paid for twice, and tell for certain: if one of the same panel member is answered, what had
no vote is its clips' doing; if not, and one of another member is, it is the member's; else it is nobody's clip. What is
not its clip's is never final.
"""

from __future__ import annotations

import asyncio
import logging
import os
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import Literal

from ...audio.decoding import AudioError
from ..types import IN_FLIGHT, Answer, FatalError, PanelMember, TransientError
from .evidence import DOUBTED, OTHERS, WINDOW
from .jobs import Job, Run
from .judging import MEANINGS, Outcome, charged, kind_of
from .keeping import Keeper
from .loop import Stop
from .pacing import Pacing
from .recording import answered, reading_of, unanswered

logger = logging.getLogger(__name__)

_AGAIN = "Mend: see to what it names, and run again: what had no answer is asked again."
_SHOWN = 200


class Doubts:
    """Holds the sending while it is unclear whose failure it is, and finds out.

    Attributes:
        open: Whether the run had to stop because of what it got, so that no reply without a vote is known to be its
            clip's unless others have got votes since.
    """

    def __init__(
        self, run: Run, keeper: Keeper, stop: Stop, pacing: Pacing, ask: Callable[[Job], Awaitable[Outcome]]
    ) -> None:
        self._run, self._keeper, self._stop, self._pacing, self._ask = run, keeper, stop, pacing, ask
        self._evidence = run.evidence
        self._settling = False
        self._last, self._kept = "", False  # why the last one had no vote, and whether it had a reply
        self._of: dict[PanelMember, str] = {}  # the same by member
        self.open = False

    def missed(self, job: Job, kind: str, why: str) -> None:
        """Note a job without a vote; from a number of clips on nothing more is sent until it is clear why."""
        self._last = self._of[job.voice] = why
        self._kept = MEANINGS[kind].clip == "kept"
        self._evidence.missed(job, MEANINGS[kind].first)
        if self._evidence.doubt:
            self._pacing.hold(True)

    def look(self) -> None:
        """Send on where somebody has got a vote."""
        if not self._settling and not self._evidence.doubt:
            self._pacing.hold(False)

    async def settle(self) -> None:
        """Find out, once nothing is in flight that could tell; stop the run where nobody gets a vote."""
        if self._settling or self._stop or not self._evidence.doubt or self._pacing.in_flight:
            return
        self._settling = True
        try:
            evidence = self._evidence
            for voice in evidence.doubted_voices():
                if not self._stop and await self.whose(voice, evidence.without_vote(voice)) == "clips":
                    evidence.settled()
            if self._stop or not evidence.doubt:
                return
            answered = await self.anybody(evidence.unanswered)
            if answered:
                evidence.settled()
            elif answered is False or evidence.condemned:
                self.stop()
        finally:
            self._settling = False
            self._pacing.hold(False)

    async def whose(self, voice: PanelMember, clips: set[str]) -> Literal["clips", "member", "nobody"] | None:
        """Whose doing it is that these clips got no vote of a member; None where that cannot be known.

        Where it is the member's, it is not asked any more; where nobody gets a vote, the run stops.
        """
        own = await self.anybody(clips, voice)
        if own or self._stop:
            return "clips" if own else None
        others = self._evidence.elsewhere(voice) or await self.anybody(set(), but=voice)
        if others and (own is False or len(clips) >= DOUBTED):
            self._bar(voice, len(clips))
            return "member"
        if others is False or (own is False and not others):
            self.stop()
            return "nobody"
        return None

    def _bar(self, voice: PanelMember, clips: int) -> None:
        how = "" if voice.temperature is None else f", temperature {voice.temperature:g}"
        self._evidence.barred[voice] = told = (
            f"{voice.focus!r}{how}, {voice.mode}: not {clips} {'clip' if clips == 1 else 'clips'} one after another "
            f"({self._of.get(voice, self._last)})"
        )
        logger.warning("A member of the panel gets no vote while others do, and is not asked any more: %s.", told)

    def tell_barred(self) -> None:
        """Say at the end of a run which members were not asked to the end."""
        if self._evidence.barred and not self._stop:
            self._stop(
                "a member of the panel gets no vote while others do: "
                f"{'; '.join(self._evidence.barred.values())}. Nothing of that is final.",
                "Mend: change that member of the panel, or leave it out (in Python panel=, on the command line "
                "--panel), and run again: the votes of the others stay.",
            )

    def stop(self) -> None:
        """Stop the run: nobody gets a vote."""
        clips, self.open = len(self._evidence.unanswered), True
        before = ", nor one that it answered before" if self._evidence.ever else ""
        self._stop(
            f"the service answers nobody{' with a vote' * self._kept}: not {clips} "
            f"{'clip' if clips == 1 else 'clips'} one after another{before} ({self._last}).",
            _AGAIN,
        )

    def judge_rate(self, at_end: bool = False) -> None:
        """Stop the run where too many tries failed, or at its end too many requests."""
        rate = self._evidence.failure_rate(at_end)
        if rate <= self._run.settings.max_failure_rate or self._stop:
            return
        what = f"{WINDOW} tries" if not at_end else "requests"
        self._evidence.tries.clear()  # what follows has its own
        self.open = True
        self._stop(
            f"{rate:.0%} of the last {what} brought no vote, the last one for: {self._last[:_SHOWN].rstrip('.')}.",
            "Mend: see to what came instead, or go on with max_failure_rate=1.",
        )

    def failed(self, why: str) -> None:
        """Note why a try brought no vote."""
        self._last = why

    # --- controls

    async def anybody(
        self, clips: set[str], voice: PanelMember | None = None, but: PanelMember | None = None
    ) -> bool | None:
        """Whether somebody gets a vote who is of none of these clips; None where there is nobody to ask.

        Args:
            clips: The clips.
            voice: Who is to be asked, and how; None for any.
            but: Who is not.
        """
        job = self._evidence.control(clips, voice, but)
        if job is None or self._stop:
            return None
        if job.clip.prepared is None:
            try:
                job.clip.prepared = await asyncio.get_running_loop().run_in_executor(None, job.clip.prepare)
            except AudioError:  # it was read well when it was answered; whatever this is, it tells nothing
                return None
        found: bool | str | None = "no vote"
        for _ in range(OTHERS):  # one that got a vote may get none the next time
            if found == "no vote":
                found = await self._control(job)
        return False if found == "no vote" else bool(found) if found is not None else None

    async def _control(self, job: Job) -> bool | Literal["no vote"] | None:
        """Send one control; whether it got a vote, None where that is not known."""
        run, has = self._run, self._run.backend.capabilities
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
                    kind = kind_of(outcome, reading.outcome)
                    latency_s, final = time.monotonic() - sent, kind == "answer"
                    record = answered(run, job, reading, outcome, latency_s, final=final)
                    await self._keeper.store(record)
                    self._keeper.not_billed(key)  # by this lease's own key: it is paid for by the reply's
                    run.report.charge(record)
                    self._pacing.replied(sent, time.monotonic() - sent)
                    if final:
                        self._evidence.answered(job, sent)
                        return True
                    return "no vote" if kind == "no vote" else False
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
