"""Sending one request until there is a reply, it is given up, or the run stops; and what a reply says."""

from __future__ import annotations

import asyncio
import logging
import random
import time
import traceback
from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from ..capabilities import cost_usd, may_answer
from ..parsing import PARSER_VERSION, Reading, read_reply
from ..types import Answer, FatalError, Record, TransientError
from .first_reply import FirstReply
from .jobs import Job, Run, RunSettings
from .keeping import Keeper
from .loop import Stop

logger = logging.getLogger(__name__)

_SLOWEST_UPLOAD = 100_000  # bytes a second
#: Clips that were given up one after another, with no reply in between, after which the service is taken to be down.
_DOWN = 8
#: Clips that were refused, with nothing else answered in the run, after which it is the request that is wrong and not
#: the clips.
_WRONG = 16


class Pacing:
    """Additive increase, multiplicative decrease of the requests in flight (as in TCP), and exponential back-off.

    Every request, repeated ones too, passes `enter` before it is sent and calls `leave` after.
    """

    def __init__(self, settings: RunSettings, clock: Callable[[], float] = time.monotonic) -> None:
        self.settings, self.clock = settings, clock
        self.allowed = float(settings.concurrency)
        self.in_flight = 0
        self.last_reply = float("-inf")
        #: Clips that were given up since the last reply.
        self.given_up: set[str] = set()
        self._trouble_since: float | None = None
        self._refusals = 0
        self._resume_at = self._last_cut = float("-inf")
        self._random = random.Random()  # only of waiting times: no result depends on it
        self._waiters: deque[asyncio.Future[bool]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    # --- what happened

    def replied(self) -> None:
        """Note a reply."""
        self.last_reply, self._trouble_since, self._refusals = self.clock(), None, 0
        self.given_up.clear()
        # one more request at once after as many replies as are allowed now
        self.allowed = min(float(self.settings.concurrency), self.allowed + 1.0 / self.allowed)
        self._wake()

    def refused(self, asked_s: float | None, sent: float) -> float:
        """Note an answer 429 to a request of `sent`; for so many seconds nobody sends, then half as many at once."""
        self.failed()
        # Requests that were in flight together are refused together: that is one sign, not many.
        if sent >= self._last_cut:
            self._last_cut, self._refusals = self.clock(), self._refusals + 1
            self.allowed = max(1.0, self.allowed / 2)
        wait_s = self.backoff(max(1, self._refusals), asked_s)
        self._resume_at = max(self._resume_at, self.clock() + wait_s)
        return wait_s

    def failed(self) -> None:
        """Note that a request got no reply."""
        if self._trouble_since is None:
            self._trouble_since = self.clock()

    # --- what follows from it

    def trouble_s(self) -> float:
        """Seconds since the first request that failed or was refused after the last reply; 0 where none did."""
        return 0.0 if self._trouble_since is None else self.clock() - self._trouble_since

    def pause_left(self) -> float:
        """Seconds until anybody may send; not above 0 where they may."""
        return self._resume_at - self.clock()

    def backoff(self, tries: int, asked_s: float | None = None) -> float:
        """Seconds to wait after so many tries: what the server asks for, else doubling, between half and all of it."""
        if asked_s:  # a server that asks for no wait at all would be flooded
            return asked_s
        longest = self.settings.first_backoff_s * 2.0 ** min(tries - 1, 30)
        return min(self.settings.last_backoff_s, longest) * self._random.uniform(0.5, 1.0)

    # --- the gate

    async def enter(self) -> bool:
        """Wait until one more request may be in flight; False where nothing may be sent any more."""
        if self._closed:
            return False
        if not self._waiters and self._open():
            self.in_flight += 1
            return True
        waiter: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self._wake()
        try:
            return await waiter
        except asyncio.CancelledError:
            if waiter.done() and not waiter.cancelled() and waiter.result():
                self.leave()
            raise

    def leave(self) -> None:
        """Note that a request is not in flight any more."""
        self.in_flight -= 1
        self._wake()

    def close(self) -> None:
        """Let nobody in any more."""
        self._closed = True
        self._wake()

    def _open(self) -> bool:
        return self.in_flight + 1 <= self.allowed and self.pause_left() <= 0

    def _wake(self) -> None:
        while self._waiters and (self._closed or self._open()):
            waiter = self._waiters.popleft()
            if not waiter.done():
                waiter.set_result(not self._closed)
                self.in_flight += not self._closed
        left = self.pause_left()
        if self._waiters and left > 0 and self._timer is None:
            # A little later than may be: several processes that pause together are not to start at the same moment.
            late = self._random.uniform(0.0, min(0.1 * left, 1.0))
            self._timer = asyncio.get_running_loop().call_later(left + late, self._pause_ends)
        if self._closed and self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _pause_ends(self) -> None:
        self._timer = None
        self._wake()


class Sender:
    """Gets the replies to the jobs of one run, each as a record that is still to be stored."""

    def __init__(self, run: Run, keeper: Keeper, stop: Stop) -> None:
        self.run = run
        self._keeper, self._stop = keeper, stop
        self._pacing = Pacing(run.settings)
        self._first = FirstReply(needed=not run.answerer_known)
        stop.closes += [self._pacing.close, self._first.over]
        self._rejected: set[str] = set()  # clips
        self._any_taken = False

    def knows_who_answers(self) -> None:
        """Let the first request not go alone: a reply, or a vote in the ledger, has told that it is the model asked."""
        self.run.answerer_known = True
        self._first.over()

    async def record_for(self, job: Job) -> Record | None:
        """Ask until there is a reply or the request is given up; None where the run stops before."""
        tries = failures = 0
        failed_at = time.monotonic()
        while await self._may_send(job, repeated=tries > 0):
            tries += 1
            self.run.report.requests += 1
            sent = time.monotonic()
            # Whether others got replies between the last failure of this request and now.
            alive = self._pacing.last_reply > failed_at
            try:
                outcome = await self._ask(job)
                latency_s = time.monotonic() - sent
                # Before the next request is let in, which may wait for just this.
                reading = self._read(job, outcome) if isinstance(outcome, Answer) else None
                wait_s = self._note(outcome, sent, failures + 1)
            finally:
                self._first.over()  # after a stop for its reply, which lets nobody in any more
                self._pacing.leave()
            if reading is not None and isinstance(outcome, Answer):
                return self._record(job, reading, outcome, latency_s, tries)
            if not isinstance(outcome, TransientError):  # the lease goes back in the end, and the next run asks
                return None
            if outcome.kind != "rate_limit":
                failures, failed_at = failures + 1, time.monotonic()
            if await self._gives_up(job, outcome, wait_s, alive, failures):
                reading = Reading(outcome.kind, detail=self.run.clean(str(outcome)) or outcome.kind)
                return self._record(job, reading, None, None, tries)
        return None

    async def _may_send(self, job: Job, repeated: bool) -> bool:
        """Wait until a request may be sent; False where nothing is sent any more."""
        run = self.run
        await self._first.wait()
        # A first try was counted against the rates with its lease.
        if repeated and (run.settings.requests_per_minute or run.settings.tokens_per_minute):
            tokens = job.claim(run.backend.capabilities).tokens
            while (wait_s := await self._keeper.call(run.ledger.admit, run.limits, tokens)) > 0:
                await self._stop.sleep(wait_s)
                if self._stop:
                    return False
        return await self._pacing.enter()

    async def _ask(self, job: Job) -> Answer | TransientError | FatalError:
        clip, timeout_s = job.clip.prepared, self.run.settings.timeout_s
        assert clip is not None
        try:
            # The backend keeps the time-out itself; this holds where it does not. Large clips are uploaded first.
            async with asyncio.timeout(timeout_s + len(clip.data) / _SLOWEST_UPLOAD):
                return await self.run.backend.ask(job.request, clip, timeout_s)
        except (TransientError, FatalError) as error:
            return error
        except TimeoutError:
            return TransientError("timeout", f"no reply in {timeout_s:g} s")
        except ImportError:
            raise
        except Exception as error:  # noqa: BLE001 - such as a client that fails at one odd reply: not the end of the run
            logger.debug("%s", self.run.clean("".join(traceback.format_exception(error))))
            return TransientError("server", f"{type(error).__name__}: {error}")

    def _note(self, outcome: Answer | TransientError | FatalError, sent: float, failures: int) -> float:
        """Draw the consequences for all requests; return the seconds until this one may be sent again."""
        if isinstance(outcome, Answer):
            self._pacing.replied()
            return 0.0
        if isinstance(outcome, FatalError):
            self._stop(self.run.clean(str(outcome)))
            return 0.0
        self.run.report.transport_errors[outcome.kind] += 1
        self.run.progress.show(self.run.report, advance=0)
        if outcome.kind == "rate_limit":
            return self._pacing.refused(outcome.retry_after, sent)
        self._pacing.failed()
        return max(self._pacing.backoff(failures), min(outcome.retry_after or 0.0, self.run.settings.patience_s))

    async def _gives_up(self, job: Job, problem: TransientError, wait_s: float, alive: bool, failures: int) -> bool:
        """Wait until a request that got no reply may be sent again, or give it up."""
        run = self.run
        detail, patience_s = run.clean(str(problem)) or problem.kind, run.settings.patience_s
        if problem.kind == "rate_limit":
            if self._pacing.trouble_s() + wait_s > patience_s:
                self._stop(
                    f"the service refuses more requests ({detail}); it asks to wait {wait_s:.0f} s.",
                    "Mend: run again later, lower requests_per_minute, or raise patience_s.",
                )
            else:  # for other processes; those of this one wait in `Pacing.enter`
                await self._keeper.call(run.ledger.pause, run.limits.scope, wait_s)
            return False
        # A connection that fails for every request is no request's fault, and may be there again in a while.
        waits = problem.kind == "connection" and not alive and self._pacing.trouble_s() <= patience_s
        if failures < run.settings.max_tries or waits:
            await self._stop.sleep(wait_s)
            return False
        assert job.clip.prepared is not None
        self._pacing.given_up.add(job.clip.prepared.digest)
        if len(self._pacing.given_up) >= _DOWN:
            self._stop(
                f"the service does not answer ({detail}).",
                f"Mend: see to it, and run again; with retry_failed=({problem.kind!r},) what was given up is asked for "
                "too.",
            )
        return True

    def _read(self, job: Job, answer: Answer) -> Reading:
        """What an answer says: a vote, or why it is none; stops the run where all further ones would be none either."""
        reading = self._reading(job, answer)
        if reading.outcome == "other_model":
            name = self.run.clean(str(answer.model_version))
            self._stop(
                f"{self.run.backend.model!r} was asked, and {reading.detail}. Its reply is in the ledger, but is no "
                "vote.",
                f"Mend: where that is the model you mean (a deployment or a gateway has names of its own), run again "
                f"with answers_as={[name]!r}, on the command line --answers_as {name}, and the reply counts without "
                "being paid for again; else ask for the model that you want by its present name.",
            )
        elif answer.model_version is not None:
            self.knows_who_answers()
        self._any_taken |= reading.outcome != "rejected"
        if not self._any_taken and job.clip.prepared is not None:
            self._rejected.add(job.clip.prepared.digest)
            if len(self._rejected) >= _WRONG:
                self._stop(
                    f"the service has refused the first {len(self._rejected)} clips and taken none ({reading.detail}).",
                    "Mend: see to what it names, which is hardly the clips, and run again with "
                    "retry_failed=('rejected',).",
                )
        return reading

    def _reading(self, job: Job, answer: Answer) -> Reading:
        run = self.run
        if answer.model_version is not None and not may_answer(run.backend.model, answer.model_version, run.answers_as):
            return Reading("other_model", detail=run.clean(f"{answer.model_version} answered"))
        if answer.failure is not None:
            return Reading(answer.failure, detail=run.clean(answer.detail))
        try:
            return read_reply(answer.text, job.member.mode, run.emotions, run.lenient)
        except Exception as error:  # noqa: BLE001 - whatever a model writes, it was paid for and is kept
            return Reading("unparseable", detail=f"{type(error).__name__} in reading it")

    def _record(self, job: Job, reading: Reading, answer: Answer | None, latency_s: float | None, tries: int) -> Record:
        """The row of the ledger for one reply, or for one that was given up (`answer` is None then)."""
        run, now = self.run, datetime.now(UTC)
        replied: dict[str, Any] = {}
        if answer is not None:
            replied = {
                "text": None if answer.text is None else run.clean(answer.text),
                "model_version": None if answer.model_version is None else run.clean(answer.model_version),
                "settings": {**answer.settings, "parser": PARSER_VERSION},
                "cost_usd": cost_usd(answer.usage, run.backend.capabilities, now.date()),
                **asdict(answer.usage),
            }
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
            plan=run.plan,
            audio=job.audio_hash,
            request=job.request_hash,
            row_id=job.clip.row_id,
            latency_s=latency_s,
            tries=tries,
            created=now.isoformat(timespec="milliseconds"),
            **asdict(job.member),
            **replied,
        )
