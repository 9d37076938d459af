"""The runner: many requests at once, each paid for once, every reply stored before it is used.

Three stages pass jobs on, with no barrier between rows: `_feed` asks the ledger what is there and prepares audio;
`_grant` takes leases within budget and rates; workers send, read and store, as many requests at once as `Pacing` lets
in. What got no answer stands apart, and what got a reply without a vote is open, as long as it is not known whose doing
that is; what is left of both is decided in the end by `_last_word`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Collection, Coroutine, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any

from ...audio.decoding import AudioError
from ..ledger.limits import Claim, Reservation
from ..rereading import read_again
from ..types import IN_FLIGHT, OK, PanelMember, Record
from .evidence import DOUBTED, OTHERS
from .jobs import Apart, Job, Run
from .keeping import Keeper
from .loop import Channel, Stop
from .recording import unanswered
from .sending import Sender, general

logger = logging.getLogger(__name__)

#: Jobs, and utterances, that are looked up in the ledger together.
_CHUNK, _ROWS = 512, 64
#: Seconds between two looks at keys that another process has asked for.
_POLL_S = 0.25
#: Jobs of other processes that are held at most, each with its clip.
_MOST_BUSY = 1024
#: Jobs ahead of the one that is passed on whose clips are prepared already.
_AHEAD = 4
#: Clips without an answer in a row, over batches and processes, after which a batch stops its `map`.
_UNANSWERED = 3
#: Jobs without an answer of an earlier run that are held until others were asked, each with its clip.
_MOST_LATER = 512


@dataclass
class _Open:
    """A reply without a vote that is in the ledger, and not known to be its clip's doing."""

    job: Job
    record: Record
    came: float


class Runner:
    """Gets the replies of a sequence of jobs into the ledger. One instance a run."""

    def __init__(self, run: Run) -> None:
        self._run, self._evidence = run, run.evidence
        self._wanted: dict[str, Job] = {}  # by key, what this run is asking for
        self._failed: set[str] = set()  # keys that it has asked for without getting a vote
        self._failure: BaseException | None = None
        self._settled = asyncio.Event()
        self._told_wait = False
        number = run.settings.concurrency
        self._todo: Channel[Job] = Channel(4 * number)
        # What is leased and prepared beyond the requests in flight, so that none waits for the ledger.
        # What a model on this machine has not begun with is left to the other processes of the run.
        self._ready: Channel[Job] = Channel(max(2, number if run.gathers is None else number // 4))
        self._apart: deque[Job] = deque()  # without an answer, and it is not known yet whose doing that is
        self._open: dict[str, _Open] = {}  # by key
        self._stop = Stop(self._todo.close, self._ready.close, self._settled.set)
        self._keeper = Keeper(run.ledger, run.limits)
        self._sender = Sender(run, self._keeper, self._stop)

    def request_stop(self, reason: str = "it was interrupted.") -> None:
        """Send nothing new and finish what is in flight. To be called in the event loop."""
        self._stop(reason)

    async def run(self, groups: Iterator[Sequence[Job]]) -> None:
        """Go through the jobs, a group at a time, until all are in the ledger or the run must stop.

        Raises:
            LedgerError: A reply could not be stored (the error names the file that it was saved to instead).
            Exception: Whatever reading a row raised; replies in flight are stored first.
        """
        number = self._run.settings.concurrency
        self._evidence.begin(self._run.whole)
        # One thread reads rows while the other decodes a clip.
        self._decoders = ThreadPoolExecutor(2, thread_name_prefix="hf_emo_dist-audio")
        self._keeper.start()
        # More workers than requests in flight: some are storing a reply meanwhile.
        workers = number + max(1, number // 4 if self._run.gathers is None else number // 16)
        stages = [self._feed(groups), self._grant(), *(self._work() for _ in range(workers))]
        tasks = [asyncio.create_task(self._guarded(stage)) for stage in stages]
        try:
            await asyncio.gather(*tasks)
            await self._guarded(self._last_word())
            self._sender.doubts.tell_barred()
            if self._run.report.under_way and not self._stop:
                self._stop(
                    f"{self._run.report.under_way:,} of the replies that are wanted are in batch jobs under way.",
                    "Mend: collect them, by annotate_batch or on the command line --batch; hf-emo-dist ledger jobs "
                    "shows the jobs.",
                )
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await self._keeper.close()
            self._decoders.shutdown(wait=False)
            report = self._run.report
            report.stop_reason, report.mend = self._stop.reason, self._stop.mend
        if self._failure is not None:
            raise self._failure

    async def _guarded(self, stage: Coroutine[Any, Any, None]) -> None:
        try:
            await stage
        except Exception as error:  # noqa: BLE001 - whatever it is, replies in flight are stored before `run` raises it
            self._failure = self._failure or error
            self._stop(self._run.clean(f"{type(error).__name__}: {error}"))

    # --- what is wanted

    async def _feed(self, groups: Iterator[Sequence[Job]]) -> None:
        loop, settings = asyncio.get_running_loop(), self._run.settings
        unasked = False
        later: list[Job] = []  # what had no answer the last time, so that others are asked before
        while not self._stop:
            jobs = await loop.run_in_executor(self._decoders, _take, groups)
            if not jobs:
                break
            keys = [job.key for job in jobs]
            stored = await self._keeper.call(self._run.ledger.lookup, keys)
            in_batches = await self._keeper.call(self._run.ledger.under_way, keys)
            missing: list[Job] = []
            for job in jobs:
                record, first = stored.get(job.key), self._wanted.get(job.key)
                if record is not None and record.outcome == "other_model":
                    record = await self._read_again(record)
                if record is not None and record.outcome == OK and record.model_version is not None:
                    self._sender.knows_who_answers()
                if first is not None:  # the same clip stands in another row
                    first.also.append(job.clip.row_id)
                elif record is not None and (job.key in self._failed or not settings.asks_again(record)):
                    self._run.count(record, job.clip.row_id, fresh=False)
                    if record.outcome == OK:
                        self._evidence.stored(job)
                elif job.key in in_batches:
                    self._run.report.under_way += 1
                elif self._run.not_asked is not None:
                    unasked = True
                elif job.voice not in self._evidence.barred:
                    job.retry = record is not None
                    job.known = record is not None and not (record.final or record.text or record.detail == IN_FLIGHT)
                    self._wanted[job.key] = job
                    (later if job.known and len(later) < _MOST_LATER else missing).append(job)
            del jobs, stored
            if not await self._prepare(missing):
                return
        if not await self._prepare(later):
            return
        if unasked and self._run.not_asked is not None:
            self._stop(*self._run.not_asked)
        self._todo.close()

    async def _prepare(self, jobs: Sequence[Job]) -> bool:
        """Pass jobs on in their order, each with its clip; a few clips are prepared ahead. False after a stop."""
        loop = asyncio.get_running_loop()
        ahead: deque[Job] = deque()
        places = iter(jobs)
        try:
            while True:
                for job in islice(places, _AHEAD - len(ahead)):
                    if job.clip.coming is None:
                        job.clip.coming = loop.run_in_executor(self._decoders, job.clip.prepare)
                    ahead.append(job)
                if not ahead:
                    return True
                job = ahead.popleft()
                assert job.clip.coming is not None
                try:
                    job.clip.prepared = await job.clip.coming
                except AudioError as error:
                    self._skip(job, str(error))
                    continue
                if not await self._todo.put(job):
                    return False
        finally:
            for job in ahead:  # whatever becomes of them, nobody waits for it any more
                if job.clip.coming is not None:
                    job.clip.coming.add_done_callback(lambda done: done.cancelled() or done.exception())
                    job.clip.coming.cancel()

    async def _read_again(self, record: Record) -> Record:
        """The reply as it reads with the names that may answer now; what was paid for is not asked for again."""
        found = read_again(record, self._run.emotions, self._run.lenient, self._run.answers_as)
        if found is None:
            return record
        await self._keeper.store(found)
        return found

    def _skip(self, job: Job, reason: str) -> None:
        del self._wanted[job.key]
        self._run.report.skipped.update(dict.fromkeys((job.clip.row_id, *job.also), reason))
        self._run.progress.show(self._run.report, advance=1 + len(job.also))

    # --- what may be sent

    async def _grant(self) -> None:
        waiting: deque[Job] = deque()
        busy: deque[Job] = deque()  # another process, or another run in this one, has asked for these
        looked_at_busy = 0.0
        while not self._stop and (waiting or busy or not self._todo.over):
            while len(waiting) < self._ready.size and len(busy) < _MOST_BUSY:
                if not len(self._todo) and (waiting or busy):
                    break
                job = await self._todo.get()
                if job is None:
                    break
                waiting.append(job)
            if busy and time.monotonic() - looked_at_busy > _POLL_S:
                looked_at_busy = time.monotonic()
                await self._look_at(busy)
                # Whoever asked for them may have given up; they are tried in turn.
                again = [busy.popleft() for _ in range(min(len(busy), self._ready.size))]
                waiting.extendleft(reversed(again))
            if not waiting:
                await self._stop.sleep(_POLL_S if busy else 0.0)
                continue
            # In bunches: one transaction a bunch.
            free = await self._ready.room(self._ready.size // 2)
            jobs = {job.key: job for job in (waiting.popleft() for _ in range(min(free, len(waiting))))}
            if not jobs:
                continue
            # A result may come in while the ledger is asked; waiting for one must not miss it.
            self._settled.clear()
            claims = [job.claim(self._run.backend.capabilities) for job in jobs.values()]
            got = await self._reserve(claims)
            for key, record in got.stored.items():  # somebody else got it since
                self._settle(jobs.pop(key), record, fresh=False)
            for key in got.granted:
                await self._ready.put(jobs.pop(key))
            busy.extend(jobs.pop(key) for key in got.busy)
            waiting.extendleft(reversed(jobs.values()))
            if got.granted:
                continue
            if got.over_budget:
                await self._wait_for_money(got.exhausted, got.waits_for)
                continue
            self._tell_wait(got.waits_for)
            if got.deferred:
                await self._stop.sleep(min(max(got.wait_s, 0.01), 30.0))
        self._ready.close()

    async def _reserve(self, claims: Sequence[Claim]) -> Reservation:
        got = await self._keeper.reserve(claims)
        if got.stop is not None:  # of the run that this one is a part of
            self._stop(*got.stop)
        return got

    def _tell_wait(self, waits_for: str) -> None:
        """Say once a run for whom it waits, where that is somebody else and nothing of its own is in flight."""
        if waits_for and not self._told_wait and not self._keeper.in_flight:
            self._told_wait = True
            logger.warning("Waiting for what others have reserved in %s: %s.", self._run.ledger.path, waits_for)

    async def _look_at(self, busy: deque[Job]) -> None:
        """Take out those whose replies have come."""
        keys = [job.key for job in busy]
        found = await self._keeper.call(self._run.ledger.lookup, keys)
        in_batches = await self._keeper.call(self._run.ledger.under_way, keys)
        for _ in range(len(busy)):
            job = busy.popleft()
            record = found.get(job.key)
            if job.key in in_batches:  # which may take a day
                del self._wanted[job.key]
                self._run.report.under_way += 1 + len(job.also)
            elif record is None or ((job.retry or not record.final) and self._run.settings.asks_again(record)):
                busy.append(job)
            else:
                self._settle(job, record, fresh=False)

    async def _wait_for_money(self, exhausted: bool, waits_for: str) -> None:
        """Wait until a request in flight, of whatever process, has cost what it cost; stop when that cannot help."""
        if not exhausted:
            self._tell_wait(waits_for)
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._settled.wait(), _POLL_S)
            return
        spent = await self._keeper.call(self._run.ledger.spending)
        self._stop(
            f"the budget is used up: the ledger has cost ${spent.cost_usd:.4f} and {spent.tokens:,} tokens, and one "
            "more request might pass the cap.",
            "Mend: raise max_cost_usd or max_tokens.",
        )

    # --- what is sent, and what comes back

    async def _work(self) -> None:
        while (job := self._second_chance() or await self._ready.get()) is not None and not self._stop:
            await self._get(job)

    async def _get(self, job: Job, last: bool = False) -> None:
        try:
            record = await self._sender.record_for(job, last)
            if record is not None and not record.final and record.outcome != "other_model":
                came = time.monotonic()
                await self._keeper.store_open(record)
                self._open[job.key] = _Open(job, record, came)
            elif record is not None:
                await self._keeper.store(record)
                self._settle(job, record, fresh=True)
                if record.outcome == OK:
                    await self._confirm({one.job.voice for one in self._open.values()})
            elif job.apart is not None:
                self._apart.append(job)
        finally:
            self._settled.set()

    def _second_chance(self) -> Job | None:
        """One that stands apart, where others have been answered meanwhile."""
        for _ in range(len(self._apart)):
            job = self._apart.popleft()
            apart = job.apart
            assert apart is not None
            if apart.ours and not apart.tried and self._evidence.others(job, apart.since) >= OTHERS:
                return job
            self._apart.append(job)
        return None

    # --- what has no answer in the end

    async def _last_word(self) -> None:
        """Ask once more for what stands apart, where others are answered; what is not known to be its clip's doing then
        is not final."""
        if self._apart and not self._stop:
            await self._ask_once_more()
        self._sender.doubts.judge_rate(at_end=True)
        if self._open:
            await self._word_on_open()
        left = [job for job in self._apart if job.apart is not None]
        clips: set[str] = set()
        for job in left:
            assert job.apart is not None
            record = unanswered(self._run, job, general(job.apart.kind), job.apart.detail, final=False)
            await self._keeper.store(record)
            self._settle(job, record, fresh=True)
        if not left or self._stop or self._evidence.barred:
            return
        # In a batch of few clips those that come next may tell; whoever has seen as many in a row has seen enough.
        for voice, job in {job.voice: job for job in left}.items():
            like = unanswered(self._run, replace(job), "error", "", final=False)
            stored = await self._keeper.call(self._run.ledger.unanswered, like)
            clips = max(clips, self._evidence.without_vote(voice) | stored, key=len)
        if self._run.whole or len(clips) >= _UNANSWERED:
            self._stop(
                f"{len(left)} requests about {len({job.audio_hash for job in left})} clips got no answer, and nobody "
                f"else was answered meanwhile who was asked alike ({record.outcome}: {record.detail}).",
                "Mend: see to what it names, and run again: what had no answer is asked again.",
            )

    async def _ask_once_more(self) -> None:
        waiting, self._apart = list(self._apart), deque()
        evidence, clips = self._evidence, {job.audio_hash for job in waiting}
        todo: list[Job] = []
        for voice in dict.fromkeys(job.voice for job in waiting):
            those = [(job, job.apart) for job in waiting if job.voice == voice and job.apart is not None]
            if voice not in evidence.barred and not self._stop:
                await self._ask_about(voice, those, clips)
            for job, apart in those:
                if voice in evidence.barred or self._stop or not evidence.others(job, apart.since):
                    self._apart.append(job)  # asking again would tell nothing
                elif apart.ours or await self._may_pay(job):
                    todo.append(job)
                else:
                    self._apart.append(job)
        self._sender.doubts.look()
        if not self._stop:
            await asyncio.gather(*(self._get(job, last=True) for job in todo))
        else:
            self._apart.extend(todo)

    async def _ask_about(self, voice: PanelMember, those: Sequence[tuple[Job, Apart]], clips: set[str]) -> None:
        """See to it that others have votes of this member, if it gives any."""

        def open_still() -> bool:
            return any(not self._evidence.others(job, apart.since) for job, apart in those)

        if open_still():
            like = unanswered(
                self._run, replace(those[0][0]), "error", "", final=False
            )  # of a copy: it takes the tries
            moment = min(apart.at for _, apart in those)
            elsewhere = await self._keeper.call(self._run.ledger.answered_since, moment, like)
            self._evidence.answered_elsewhere(voice, elsewhere)
        if open_still():
            await self._sender.doubts.whose(voice, clips)

    async def _word_on_open(self) -> None:
        """What brought no vote is its clip's doing, unless so much did since the last vote that it may be everybody's;
        then a control tells."""
        evidence, doubts = self._evidence, self._sender.doubts
        many = len(evidence.unanswered) >= DOUBTED
        voices = set()  # of which it is not known
        for voice in dict.fromkeys(one.job.voice for one in self._open.values()):
            clips = evidence.without_vote(voice)
            if voice in evidence.barred or doubts.open:
                voices.add(voice)
            elif (clips and many) or len(clips) >= DOUBTED:
                if self._stop or await doubts.whose(voice, clips) != "clips":
                    voices.add(voice)
        await self._confirm(voices)
        for one in self._open.values():
            self._settle(one.job, one.record, fresh=True)
        self._open.clear()

    async def _confirm(self, unknown: Collection[PanelMember]) -> None:
        """Write of replies without a vote that they are their clips' doing, and count them: those after which other
        clips got votes, and all of those members of whom nothing is unknown."""
        known = [
            one
            for one in self._open.values()
            if one.job.voice not in unknown or self._evidence.others(one.job, one.came)
        ]
        for one in known:
            del self._open[one.job.key]
        if known:
            await self._keeper.confirm([one.job.key for one in known])
        for one in known:
            self._settle(one.job, replace(one.record, final=True), fresh=True)

    async def _may_pay(self, job: Job) -> bool:
        """Take the lease again of a job that gave it back for want of money."""
        while not self._stop:
            got = await self._reserve([replace(job.claim(self._run.backend.capabilities), retry=True)])
            if got.granted:
                return True
            if got.over_budget:
                await self._wait_for_money(got.exhausted, got.waits_for)
            else:
                self._tell_wait(got.waits_for)
                await self._stop.sleep(max(0.01, got.wait_s))
        return False

    def _settle(self, job: Job, record: Record, fresh: bool) -> None:
        """Count a job whose reply is in the ledger, and the rows with the same clip."""
        del self._wanted[job.key]
        if record.outcome != OK:
            self._failed.add(job.key)
        if record.final:
            job.apart = None
        self._run.count(record, job.clip.row_id, fresh)
        for row_id in job.also:
            self._run.count(record, row_id, fresh=False)


def _take(groups: Iterator[Sequence[Job]]) -> list[Job]:
    jobs: list[Job] = []
    for rows, group in enumerate(groups, start=1):
        jobs += group
        if len(jobs) >= _CHUNK or (jobs and rows >= _ROWS):  # rows hold audio
            break
    return jobs
