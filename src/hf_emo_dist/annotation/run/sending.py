"""Sending one request until there is a reply, it is given up, or the run stops. What follows, `judging` says."""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from dataclasses import replace

from ..types import IN_FLIGHT, Answer, FatalError, Record, TransientError
from .doubting import Doubts
from .evidence import DOUBTED, OTHERS, Try
from .first_reply import FirstReply
from .jobs import Apart, Job, Run
from .judging import MEANINGS, Outcome, charged, kind_of
from .keeping import Keeper
from .loop import Stop
from .pacing import Pacing
from .recording import answered, reading_of, unanswered

logger = logging.getLogger(__name__)

_SLOWEST_UPLOAD = 100_000  # bytes a second
# Characters of a reply that are shown in a message.
_SHOWN = 200
# What counts for the failure rate when its request is given up, and not each time: a service that has enough, or the
# proxy before it, says it so.
_AGAIN = ("server", "timeout")
# An overloaded service is asked so many times more often than one that fails.
_OVERLOADED_TRIES = 4
# A request that is shed while others are answered waits for a few seconds at most, however often it was.
_SHED_DOUBLINGS = 3


class Sender:
    """Gets the replies to the jobs of one run, each as a record that is still to be stored."""

    def __init__(self, run: Run, keeper: Keeper, stop: Stop) -> None:
        self.run, self.evidence = run, run.evidence
        self._keeper, self._stop = keeper, stop
        self.pacing = Pacing(
            run.settings, pace=run.evidence.pace, sheds=run.tier != "standard", steady=run.gathers is not None
        )
        self.doubts = Doubts(run, keeper, stop, self.pacing, self.ask)
        self._first = FirstReply(needed=not run.answerer_known)
        stop.closes += [self.pacing.close, self._first.over]

    def knows_who_answers(self) -> None:
        """Let the first request not go alone: a reply, or a vote in the ledger, has told that it is the model asked."""
        self.run.answerer_known = True
        self._first.over()

    async def record_for(self, job: Job, last: bool = False) -> Record | None:
        """Ask until there is a reply, or it is clear that there is none for this clip.

        Args:
            job: What is wanted. One that stands apart has its second chance.
            last: Whether nobody else will be asked after it.

        Returns:
            What is to be stored, not final where that is not known yet; None where the run stops before, its member is
            not asked any more, or the job stands apart from now on (`job.apart`).
        """
        if job.apart is not None and not job.apart.again:
            others = self.evidence.others(job, job.apart.since) > 0
            return unanswered(self.run, job, _own(job.apart.kind), job.apart.detail, final=True) if others else None
        failures, first, failed_at = 0, None, time.monotonic()
        while await self._may_send(job, repeated=job.tries > 0 or first is not None):
            job.tries += 1
            self.run.report.requests += 1
            sent = job.sent = time.monotonic()
            # Whether others got replies between the last failure of this request and now.
            alive = self.evidence.others(job, failed_at) > 0 or self.pacing.last_reply > failed_at
            record: Record | None = None
            denied = False
            try:
                outcome = await self.ask(job)
                latency_s = time.monotonic() - sent
                if self._falls_back(job, outcome):
                    self._keeper.not_billed(job.key)
                    continue
                # Before the next request is let in, which may wait for just this.
                if isinstance(outcome, Answer):
                    reading = reading_of(self.run, job, outcome)
                    kind = kind_of(outcome, reading.outcome)
                    latency_s = outcome.latency_s or latency_s
                else:
                    kind = kind_of(outcome)
                meaning = MEANINGS[kind]
                denied = meaning.first < DOUBTED and not self.evidence.ever
                wait_s = self._note(job, outcome, kind, sent, latency_s, failures + 1)
                if meaning.clip in ("final", "kept") and isinstance(outcome, Answer):
                    final = meaning.clip == "final"
                    record = answered(self.run, job, reading, outcome, latency_s, final=final)
                    if kind == "other_model":
                        self._other_model(record)
                    elif record.model_version is not None:
                        self.knows_who_answers()
                elif meaning.clip in ("apart", "unread"):
                    record = self._put_apart(job, kind, outcome, last)
            finally:
                # After a stop for its reply, which lets nobody in any more.
                self._first.following() if denied else self._first.over()
                self.pacing.leave()
            if record is None and charged(outcome, meaning) != "reserved":
                self._keeper.not_billed(job.key)
            elif record is None and not await self._pay(job, kind, self._detail(outcome)):
                return None
            await self.doubts.settle()
            if record is not None or not isinstance(outcome, TransientError):
                return record
            failed_at = time.monotonic()
            first = first or failed_at
            failures += kind != "rate_limit"
            if self._sends_again(job, kind, failures, first, alive, wait_s):
                if kind == "rate_limit":  # for other processes; those of this one wait in `Pacing.enter`
                    await self._keeper.call(self.run.ledger.pause, self.run.limits.scope, wait_s)
                else:
                    await self._stop.sleep(wait_s)
                continue
            if self._stop:
                return None
            if kind in _AGAIN:
                self._count_try(job, outcome, kind)
            record = self._put_apart(job, kind, outcome, last, first)
            await self.doubts.settle()
            return record
        return None

    async def _may_send(self, job: Job, repeated: bool) -> bool:
        """Wait until a request may be sent; False where nothing is sent any more."""
        run = self.run
        await self._first.wait()
        if self.evidence.early and job.apart is None and job.audio_hash in self.evidence.unanswered:
            # Its clip was denied just now, perhaps for good. Asking once more would tell nothing; another clip may.
            job.apart = Apart("denied", "another request about its clip was denied", time.monotonic(), run.ledger.now())
            self._first.following()
            return False
        # A first try was counted against the rates with its lease.
        if repeated and (run.settings.requests_per_minute or run.settings.tokens_per_minute):
            tokens = job.claim(run.backend.capabilities).tokens
            while (wait_s := await self._keeper.call(run.ledger.admit, run.limits, tokens)) > 0:
                await self._stop.sleep(wait_s)
                if self._stop:
                    return False
        if not await self.pacing.enter(repeated):
            return False
        if job.voice in self.evidence.barred:
            self.pacing.leave()
            if job.apart is None:
                await self._keeper.release([job.key])
            await self.doubts.settle()  # it may have been the last one in flight
            return False
        if run.backend.endpoint != "local":  # nobody's bill
            lost = unanswered(run, replace(job, tries=1), "connection", IN_FLIGHT, final=False, reserved=True)
            await self._keeper.sending(job.key, lost)
            if self._stop:
                self._keeper.not_billed(job.key)
                self.pacing.leave()
                return False
        return True

    async def ask(self, job: Job) -> Outcome:
        """Send one request, once; whatever comes of it is returned."""
        clip, timeout_s = job.clip.prepared, self.run.settings.timeout_s
        assert clip is not None
        task = asyncio.current_task()
        cancelled = task.cancelling() if task is not None else 0
        try:
            # The backend keeps the time-out itself; this holds where it does not. Large clips are uploaded first.
            # What computes here has no time of its own: a batch takes what it takes, and loading a model minutes.
            limit = None if self.run.gathers is not None else timeout_s + len(clip.data) / _SLOWEST_UPLOAD
            async with asyncio.timeout(limit):
                if job.tier is not None:
                    return await self.run.backend.ask(job.request, clip, timeout_s, tier=job.tier)  # type: ignore[call-arg]
                return await self.run.backend.ask(job.request, clip, timeout_s)
        except (TransientError, FatalError) as error:
            return error
        except TimeoutError:
            return TransientError("timeout", f"no reply in {timeout_s:g} s")
        except asyncio.CancelledError:
            if task is not None and task.cancelling() > cancelled:  # it is the run that ends
                raise
            return TransientError("connection", "the client gave the request up (it was cancelled from within)")
        except ImportError:
            self._keeper.not_billed(job.key)
            raise
        except Exception as error:  # noqa: BLE001 - the backend's own: said as what it is, and never paid for twice
            logger.debug("%s", self.run.clean("".join(traceback.format_exception(error))))
            return error

    def _falls_back(self, job: Job, outcome: Outcome) -> bool:
        """Whether a request that a cheaper tier has no room for is sent at the standard tier instead, from now on."""
        # No sign of overload of the tier that it is sent at next, so the rate stays as it is.
        if self.run.settings.when_shed != "standard" or (job.tier or self.run.tier) == "standard":
            return False
        if not isinstance(outcome, TransientError) or outcome.kind not in ("overloaded", "rate_limit"):
            return False
        job.tier = "standard"
        self.run.report.transport_errors[outcome.kind] += 1
        return True

    # --- what a try means

    def _note(self, job: Job, outcome: Outcome, kind: str, sent: float, latency_s: float, failures: int) -> float:
        """Draw the consequences for all requests; return the seconds until this one may be sent again."""
        meaning, run = MEANINGS[kind], self.run
        if meaning.rate == "up":
            self.pacing.replied(sent, latency_s)
        if meaning.run == "on" and meaning.clip == "final":
            self.evidence.answered(job, sent)
            self.doubts.look()
        elif meaning.clip == "kept" and meaning.ever:
            self.doubts.missed(job, kind, self._what_came(outcome))
        if kind not in ("rate_limit", "overloaded", "connection", *_AGAIN):
            self._count_try(job, outcome, kind)
        if isinstance(outcome, FatalError) and meaning.run == "stop":
            self._stop(run.clean(str(outcome)))
        if not isinstance(outcome, TransientError):
            return 0.0
        run.report.transport_errors[kind] += 1
        run.progress.show(run.report, advance=0)
        if meaning.rate in ("down", "pause"):
            self.evidence.strain(job.audio_hash)
            wait_s = self.pacing.strained(outcome.retry_after, sent, meaning.rate == "pause", kind == "timeout")
            if meaning.rate == "pause":
                return wait_s
            if kind == "overloaded" and self.pacing.shed():
                failures = min(failures, _SHED_DOUBLINGS)
        self.pacing.failed()
        if outcome.retry_after and outcome.retry_after > run.settings.patience_s:
            self._too_long_a_wait(outcome.retry_after, self._detail(outcome))
        return max(self.pacing.backoff(failures), min(outcome.retry_after or 0.0, run.settings.patience_s))

    def _count_try(self, job: Job, outcome: Outcome, kind: str) -> None:
        """Count a try for the failure rate."""
        meaning = MEANINGS[kind]
        # What is known to have no answer is no news, and counts once.
        if meaning.clip in ("final", "kept") or not (job.known or job.apart is not None):
            if meaning.fails:
                self.doubts.failed(self._what_came(outcome))
            decided = not isinstance(outcome, TransientError)
            self.evidence.tries.append(Try(job.key, job.audio_hash, meaning.fails, decided))
            self.doubts.judge_rate()

    def _sends_again(self, job: Job, kind: str, failures: int, first: float, alive: bool, wait_s: float) -> bool:
        """Whether a request that got no reply is sent again; stops the run where the service is gone for all."""
        settings, trouble_s = self.run.settings, self.pacing.trouble_s()
        if kind == "rate_limit":
            if trouble_s + wait_s > settings.patience_s:
                self._too_long_a_wait(wait_s)
            return not self._stop
        if failures < settings.max_tries and (alive or trouble_s <= settings.patience_s or kind != "connection"):
            return True
        # A connection that fails for every request is no request's fault, and may be there again in a while.
        if kind == "connection" and not alive:
            return trouble_s <= settings.patience_s
        if kind == "overloaded" and self.evidence.ever and self.evidence.strained(job.audio_hash, first):
            return failures < _OVERLOADED_TRIES * settings.max_tries and trouble_s <= settings.patience_s
        return False

    def _put_apart(
        self, job: Job, kind: str, outcome: Outcome, last: bool, first: float | None = None
    ) -> Record | None:
        """A job without a reply: its clip's record where others were answered meanwhile, else it stands apart."""
        meaning, clip, before = MEANINGS[kind], job.audio_hash, job.apart
        since, needed = (before.since, 1) if before is not None else (first or time.monotonic(), OTHERS)
        others = self.evidence.others(job, since)
        # Of clips that came to nothing together with others, in an overloaded service, only the last word counts.
        quiet = last or meaning.rate == "same" or not self.evidence.strained(clip, since)
        asked_twice = before is not None or first is not None
        if meaning.ever and meaning.clip != "unread" and asked_twice and others >= needed and quiet:
            return unanswered(self.run, job, _own(kind), self._detail(outcome), final=True)
        now = self.run.ledger.now()
        again = meaning.clip != "unread" and not (job.known and meaning.ever)  # it was asked before, in another run
        job.apart = Apart(kind, self._detail(outcome), since, now, again=again)
        job.apart.tried = before is not None
        self.doubts.missed(job, kind, job.apart.detail)
        return None

    async def _pay(self, job: Job, kind: str, detail: str) -> bool:
        """Charge a try that may have been billed; False where the job must wait for money."""
        record = unanswered(self.run, job, general(kind), detail, final=False, reserved=True)
        within = await self._keeper.charge(record)
        self.run.report.charge(record)
        if within:
            return True
        if job.apart is None:
            job.apart = Apart(kind, detail, time.monotonic(), self.run.ledger.now())
        job.apart.ours = False
        await self._keeper.release([job.key])
        return False

    def _other_model(self, record: Record) -> None:
        self.doubts.open = True
        self._stop(
            f"{self.run.backend.model!r} was asked, and {record.detail}. Its reply is in the ledger, but is no vote.",
            f"Mend: where that is the model you mean (a deployment or a gateway has names of its own), run again with "
            f"answers_as={[record.model_version]!r}, on the command line --answers_as {record.model_version}, and the "
            "reply counts without being paid for again; else ask for the model that you want by its present name.",
        )

    def _too_long_a_wait(self, wait_s: float, detail: str = "") -> None:
        self._stop(
            f"the service refuses more requests; it asks to wait {wait_s:.0f} s{f' ({detail})' * bool(detail)}.",
            "Mend: run again later, lower requests_per_minute, or raise patience_s.",
        )

    def _what_came(self, outcome: Outcome) -> str:
        if isinstance(outcome, Answer):
            what = outcome.detail or outcome.failure or outcome.text or "a reply without text"
            return self.run.clean(what[:_SHOWN])
        return self._detail(outcome)

    def _detail(self, outcome: Outcome) -> str:
        return self.run.clean(reason_of(outcome))


def reason_of(outcome: Outcome) -> str:
    """Why there is no reply, in words."""
    if isinstance(outcome, Answer):
        return outcome.detail or str(outcome.failure)
    text = str(outcome)
    if isinstance(outcome, (TransientError, FatalError)):
        return text or getattr(outcome, "kind", "") or getattr(outcome, "reason", "")
    return f"{type(outcome).__name__}: {text}" if text else type(outcome).__name__


def general(kind: str) -> str:
    """The outcome of a row that is not known to be its clip's."""
    return "denied" if kind == "payment" else kind


def _own(kind: str) -> str:
    return "rejected" if kind == "denied" else kind
