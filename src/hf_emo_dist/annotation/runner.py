"""The runner: many requests at once, each paid for once, every reply stored before it is used.

Three stages pass jobs on, with no barrier between rows: `_feed` asks the ledger what is there and prepares audio; `_grant` takes
leases within budget and rates; as many workers as requests may be in flight send, read and store.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..audio import AudioError
from .budget import claim_for
from .capabilities import same_family
from .jobs import Job, RunSettings, record_of
from .ledger import Ledger, LedgerError, Limits
from .loop import Channel
from .pacing import Pacing
from .parsing import Reading, read_reply
from .progress import Progress
from .report import RunReport
from .types import OK, Answer, Backend, FatalError, Record, TransientError

__all__ = ["Runner"]

logger = logging.getLogger(__name__)

T = TypeVar("T")
_LEASE_S = 600.0
_CHUNK = 512
#: Seconds between two looks at a key that another process has asked for.
_POLL_S = 0.25
#: Bytes a second.
_SLOWEST_UPLOAD = 100_000
#: Replies given up one after another, with none in between, after which the service is taken to be down.
_DOWN = 8


class Runner:
    """Gets the replies of a sequence of jobs into the ledger. One instance a run.

    Args:
        backend: Who is asked.
        ledger: Where replies are kept.
        settings: How requests are sent.
        plan: Hash of the annotator's settings, stored with each reply.
        emotions: The label set.
        lenient: Whether replies are read as arXiv 2601.14620 does.
        report: Counts what happens.
        progress: Shows it.
    """

    def __init__(
        self,
        backend: Backend,
        ledger: Ledger,
        settings: RunSettings,
        plan: str,
        emotions: Sequence[str],
        lenient: bool,
        report: RunReport,
        progress: Progress,
    ) -> None:
        self.backend, self.ledger, self.settings, self.plan = backend, ledger, settings, plan
        self.emotions, self.lenient, self.report, self.progress = emotions, lenient, report, progress
        self._limits = Limits(
            max_cost_usd=settings.max_cost_usd,
            max_tokens=settings.max_tokens,
            requests_per_minute=settings.requests_per_minute,
            tokens_per_minute=settings.tokens_per_minute,
            scope=f"{backend.name}|{backend.endpoint}|{backend.model}",
        )
        self._secrets = tuple(secret for secret in backend.secrets() if secret)
        self._known: set[str] = set()  # keys that this run asks for
        self._leased: set[str] = set()
        self._unsaved: list[tuple[Record, asyncio.Future[None]]] = []
        self._failure: BaseException | None = None

    def request_stop(self) -> None:
        """Sends nothing new and finishes what is in flight (Ctrl-C). To be called in the event loop."""
        logger.warning("Stopping when the requests in flight are answered. Ctrl-C again drops them.")
        self._stop("it was interrupted.")

    async def run(self, groups: Iterator[Sequence[Job]]) -> None:
        """Goes through the jobs, a group at a time, until all are in the ledger or the run must stop.

        Raises:
            LedgerError: A reply could not be stored (the error names the file that it was saved to instead).
            Exception: Whatever reading a row raised; replies in flight are stored first.
        """
        number = self.settings.concurrency
        self._pacing = Pacing(number, self.settings.first_backoff_s, self.settings.last_backoff_s)
        self._stopped, self._settled, self._to_save = asyncio.Event(), asyncio.Event(), asyncio.Event()
        self._todo: Channel[Job] = Channel(4 * number)
        # What is leased and prepared beyond the requests in flight, so that no worker waits for the ledger.
        self._ready: Channel[Job] = Channel(number)
        # One thread for the ledger, so that its transactions queue instead of locking each other out; two for decoding.
        self._database, self._decoders = ThreadPoolExecutor(1), ThreadPoolExecutor(2)
        saver = asyncio.create_task(self._save())
        stages = [self._feed(groups), self._grant(), *(self._work(i) for i in range(number))]
        tasks = [asyncio.create_task(self._guarded(stage)) for stage in stages]
        try:
            await asyncio.gather(*tasks)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            saver.cancel()
            await asyncio.gather(saver, return_exceptions=True)
            if self._unsaved:  # a second Ctrl-C came between a reply and its storing
                await self._db(self.ledger.store, [record for record, _ in self._unsaved])
            if self._leased:
                await self._db(self.ledger.release, sorted(self._leased))
            self._database.shutdown(wait=False)
            self._decoders.shutdown(wait=False)
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, stage: Coroutine[Any, Any, None]) -> None:
        try:
            await stage
        except Exception as error:  # noqa: BLE001 - whatever it is, replies in flight are stored first; `run` raises it then
            self._failure = self._failure or error
            self._stop(self._clean(f"{type(error).__name__}: {error}"))

    # --- what is wanted

    async def _feed(self, groups: Iterator[Sequence[Job]]) -> None:
        loop = asyncio.get_running_loop()
        while not self._stopped.is_set():
            jobs = await loop.run_in_executor(self._decoders, _take, groups, _CHUNK)
            if not jobs:
                break
            stored = await self._db(self.ledger.lookup, [job.key for job in jobs])
            wanted: dict[int, list[Job]] = {}
            for job in jobs:
                record = stored.get(job.key)
                if record is not None and (record.outcome == OK or not self.settings.asks_again(record.outcome)):
                    self.report.count(record, job.clip.row_id, fresh=False)
                    self.progress.show(self.report)
                elif job.key in self._known:  # the same clip stands in another row
                    self.progress.show(self.report)
                else:
                    job.retry = record is not None
                    self._known.add(job.key)
                    wanted.setdefault(id(job.clip), []).append(job)
            for of_one_clip in wanted.values():
                clip = of_one_clip[0].clip
                try:
                    clip.prepared = await loop.run_in_executor(self._decoders, clip.prepare)
                except AudioError as error:
                    self.report.skipped[clip.row_id] = str(error)
                    self.progress.show(self.report, advance=len(of_one_clip))
                    continue
                for job in of_one_clip:
                    if not await self._todo.put(job):
                        return
        self._todo.close()

    # --- what may be sent

    async def _grant(self) -> None:
        waiting: deque[Job] = deque()
        busy: deque[Job] = deque()  # another process has asked for these
        looked_at_busy = 0.0
        while not self._stopped.is_set() and (waiting or busy or not self._todo.over):
            while len(waiting) < self._ready.size and (len(self._todo) or not (waiting or busy)):
                job = await self._todo.get()
                if job is None:
                    break
                waiting.append(job)
            if busy and time.monotonic() - looked_at_busy > _POLL_S:
                looked_at_busy = time.monotonic()
                waiting.extendleft(busy)
                busy.clear()
            free = max(1, self._ready.size - len(self._ready))
            jobs = {job.key: job for job in (waiting.popleft() for _ in range(min(free, len(waiting))))}
            # A result may come in while the ledger is asked; waiting for one must not miss it.
            self._settled.clear()
            if not jobs or self._stopped.is_set():
                await self._sleep(_POLL_S if busy else 0.0)
                continue
            claims = [claim_for(job, self.backend.capabilities) for job in jobs.values()]
            got = await self._db(self.ledger.reserve, claims, self._limits, _LEASE_S)
            for key, record in got.stored.items():  # another process got it since
                self.report.count(record, jobs.pop(key).clip.row_id, fresh=False)
                self.progress.show(self.report)
            self._leased.update(got.granted)
            for key in got.granted:
                await self._ready.put(jobs.pop(key))
            busy.extend(jobs.pop(key) for key in got.busy)
            waiting.extendleft(reversed(jobs.values()))
            if got.granted:
                continue
            if got.over_budget:
                await self._wait_for_money()
            elif got.deferred:
                await self._sleep(min(max(got.wait_s, 0.01), 30.0))
        self._ready.close()

    async def _wait_for_money(self) -> None:
        """Waits until a request in flight, of this process or another, has cost what it cost; stops when there is none."""
        spent = await self._db(self.ledger.spending)
        if not self._leased and not spent.reserved_cost_usd and not spent.reserved_tokens:
            self._stop(
                f"the budget is used up: the ledger has cost ${spent.cost_usd:.4f} and {spent.tokens:,} tokens, and one more request "
                "might pass the cap.",
                "Mend: raise max_cost_usd or max_tokens.",
            )
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._settled.wait(), _POLL_S)

    # --- what is sent

    async def _work(self, number: int) -> None:
        while True:
            # Under rate limiting only some workers go on; number 0 always does.
            while number >= self._pacing.allowed and not self._ready.over:
                await asyncio.sleep(0.05)
            job = await self._ready.get()
            if job is None:
                return
            try:
                await self._answer(job)
            finally:
                self._settled.set()

    async def _answer(self, job: Job) -> None:
        clip, tries = job.clip.prepared, 0
        assert clip is not None
        while True:
            while self._pacing.pause_left() > 0 and not self._stopped.is_set():
                await self._sleep(self._pacing.spread(self._pacing.pause_left()))
            if self._stopped.is_set():
                await self._release(job)
                return
            tries += 1
            self.report.requests += 1
            sent = time.monotonic()
            try:
                # The backend keeps the time-out itself; this holds where it does not. Large clips are uploaded first.
                limit = self.settings.timeout_s + len(clip.data) / _SLOWEST_UPLOAD
                answer = await asyncio.wait_for(self.backend.ask(job.request, clip, self.settings.timeout_s), limit)
            except (TransientError, TimeoutError) as error:
                kind = error.kind if isinstance(error, TransientError) else "timeout"
                self.report.transport_errors[kind] += 1
                self.progress.show(self.report, advance=0)
                detail = self._clean(str(error)) or f"no reply in {self.settings.timeout_s:g} s"
                wait_s = error.retry_after if isinstance(error, TransientError) else None
                if not await self._may_repeat(job, kind, wait_s, tries, detail):
                    return
            except FatalError as error:
                await self._release(job)  # free for the next run
                self._stop(self._clean(str(error)))
                return
            else:
                self._pacing.replied()
                await self._take(job, answer, time.monotonic() - sent, tries)
                return

    async def _take(self, job: Job, answer: Answer, latency: float, tries: int) -> None:
        other = answer.model_version is not None and not same_family(self.backend.model, answer.model_version)
        if other:
            reading = Reading("other_model", detail=f"{answer.model_version} answered")
        elif answer.failure is not None:
            reading = Reading(answer.failure, detail=self._clean(answer.detail))
        else:
            reading = read_reply(answer.text, job.member.mode, self.emotions, self.lenient)
        await self._store(job, self._record(job, reading, answer, latency, tries))
        if other:
            self._stop(
                f"{self.backend.model!r} was asked and {answer.model_version!r} answered. Its reply is in the ledger, but is no vote.",
                "Mend: ask for the model that you want by its present name.",
            )

    async def _may_repeat(self, job: Job, kind: str, asked_s: float | None, tries: int, detail: str) -> bool:
        """Waits until the same request may be sent again; False where that is given up, and what follows is done."""
        wait_s = self._pacing.backoff(tries, asked_s)
        if kind == "rate_limit":
            if time.monotonic() + wait_s - self._pacing.last_reply > self.settings.patience_s:
                await self._release(job)
                self._stop(
                    f"the service refuses more requests ({detail}); it asks to wait {wait_s:.0f} s.",
                    "Mend: run again later, lower requests_per_minute, or raise patience_s.",
                )
                return False
            self._pacing.refused(wait_s)
            await self._db(self.ledger.pause, self._limits.scope, wait_s)
        elif tries >= self.settings.max_tries:
            self._pacing.given_up += 1
            await self._store(job, self._record(job, Reading(kind, detail=detail), None, None, tries))
            if self._pacing.given_up >= _DOWN:
                self._stop(f"the service does not answer ({detail}).", "Mend: check the connection and run again.")
            return False
        await self._db(self.ledger.extend, [job.key], _LEASE_S + wait_s)
        if kind != "rate_limit":  # that pause holds for all, see `_answer`
            await self._sleep(wait_s)
        return True

    def _record(self, job: Job, reading: Reading, answer: Answer | None, latency: float | None, tries: int) -> Record:
        return record_of(job, self.backend, self.plan, reading, answer, latency, tries, self._clean)

    # --- what is kept

    async def _store(self, job: Job, record: Record) -> None:
        """Returns when the record is on disk. Records that wait together are written together."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsaved.append((record, done))
        self._to_save.set()
        await done
        self._leased.discard(job.key)
        self.report.count(record, job.clip.row_id, fresh=True)
        self.progress.show(self.report)

    async def _save(self) -> None:
        while True:
            await self._to_save.wait()
            self._to_save.clear()
            batch = list(self._unsaved)
            if not batch:
                continue
            problem: LedgerError | None = None
            try:
                await self._db(self.ledger.store, [record for record, _ in batch])
            except LedgerError as error:  # it has saved them elsewhere, and says where
                problem = error
            del self._unsaved[: len(batch)]
            for _, done in batch:
                if done.done():
                    continue
                if problem is None:
                    done.set_result(None)
                else:
                    done.set_exception(problem)

    async def _release(self, job: Job) -> None:
        await self._db(self.ledger.release, [job.key])
        self._leased.discard(job.key)

    # --- helpers

    async def _db(self, function: Callable[..., T], *args: Any) -> T:
        # Shielded: a transaction that has begun ends, and its outcome is known.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._database, function, *args))

    async def _sleep(self, seconds: float) -> None:
        """Sleeps, but not longer than until the run stops."""
        if seconds <= 0:
            await asyncio.sleep(0)
            return
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stopped.wait(), seconds)

    def _stop(self, reason: str, mend: str = "") -> None:
        if self.report.stop_reason is None:
            self.report.stop_reason, self.report.mend = reason, mend
        self._stopped.set()
        self._settled.set()
        self._todo.close()
        self._ready.close()

    def _clean(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text


def _take(groups: Iterator[Sequence[Job]], number: int) -> list[Job]:
    jobs: list[Job] = []
    for group in groups:
        jobs += group
        if len(jobs) >= number:
            break
    return jobs
