"""The batch jobs of one annotator: submitted, looked at, and collected, by this process or by any other.

What a job holds is written before the service is called, and its name with it. Whoever dies in between leaves a job
that is looked for by that name, and is submitted again only where the service does not have it. What a job may cost
stays reserved until it is collected or given up.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import tempfile
from collections.abc import Callable, Coroutine, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from tqdm.auto import tqdm

from ...audio.decoding import AudioError
from ..ledger.journal import COLLECTED, FAILED, LOST, PLANNED, RUNNING, BatchJob
from ..ledger.ledger import with_its_file
from ..ledger.limits import Limits
from ..rereading import read_again
from ..run.jobs import Job, Run
from ..run.loop import Stop
from ..types import OK, FatalError, Record, TransientError
from .chunks import Chunk, told_of
from .collecting import Collected, Collector
from .service import BatchService, JobRefusedError, RemoteJob

logger = logging.getLogger(__name__)

T = TypeVar("T")
#: Seconds after which a job that the service does not show is taken for one that it never got.
GRACE_S = 120.0
#: Seconds after which a job is given up: the service gives one up after 48 hours by itself.
DEADLINE_S = 49 * 3600.0
#: Seconds for which a job that was given up is collected if it turns up all the same; files live no longer.
_WATCHED_S = 2 * DEADLINE_S
#: Seconds for which a file of requests may be in the making.
_LEASE_S = 6 * 3600.0
#: Utterances whose requests are claimed together.
_ROWS = 32
#: Times that a call to the service is tried.
_TRIES = 4
#: Jobs that may end one after another without any reply, before no more are submitted.
_BARREN = 3
_MOST_LINE = 100_000  # bytes of a reply, about which nothing is known


class Batches:
    """Submits and collects. One instance a call of the annotator."""

    def __init__(self, run: Run, service: BatchService, groups: Callable[[], Iterator[Sequence[Job]]]) -> None:
        self._run, self._service, self._groups = run, service, groups
        ledger = with_its_file(run.ledger)
        self._ledger, self._journal, self.report = ledger, ledger.journal, run.report
        self._limits = Limits(run.settings.max_cost_usd, run.settings.max_tokens, scope=f"batch|{run.limits.scope}")
        self._stop = Stop()
        self._full: tuple[str, str] | None = None  # why no more is submitted for now, and the mend
        self._fresh: set[str] = set()  # keys of replies that this call has collected
        self._listed: list[RemoteJob] | None = None
        self._barren = 0
        self._interrupted = False
        self._prefix = ""

    def request_stop(self) -> None:
        """Stop waiting (Ctrl-C). Jobs go on without us."""
        self._interrupted = True
        self._stop("it was interrupted; jobs at the service go on.", "Mend: collect them later by the same call.")

    async def run(self, collect: bool, submit: bool, wait: bool = False, poll_s: float = 60.0) -> None:
        """Collect what has ended, submit what is wanted and in no job, and say what is open still.

        Args:
            collect: Whether to collect.
            submit: Whether to submit.
            wait: Whether to go on until all is done.
            poll_s: Seconds between two looks while waiting, at most.

        Raises:
            LedgerError: The ledger cannot be read or written.
        """
        missing = 0
        try:
            self._prefix = await self._within(self._journal.prefix)
            while True:
                if collect:
                    await self._collect()
                missing = await self._survey(submit)
                running = await self._running()
                if not wait or self._stop or not running:
                    break
                await self._wait(running, poll_s)
        except FatalError as error:
            self._stop(self._run.clean(str(error)))
        except JobRefusedError as error:
            self._stop(f"the service refused it ({self._run.clean(str(error))}).", "Mend: see to what it names.")
        except TransientError as error:
            self._stop(f"the service cannot be reached: {self._run.clean(str(error))}", "Mend: run again later.")
        self._tell(missing, await self._running())

    def _tell(self, missing: int, running: list[BatchJob]) -> None:
        report = self.report
        report.jobs_running = len(running)
        report.stop_reason, report.mend = self._stop.reason, self._stop.mend
        if report.stop_reason is not None:
            return
        reason, mend = self._full or ("", "")
        if report.under_way:
            held = sum(job.requests - job.replies for job in running)
            jobs = f"{len(running)} batch {'job' if len(running) == 1 else 'jobs'} with {held:,} requests under way."
            planned = [job for job in running if job.state == PLANNED]
            if planned:
                jobs += (
                    f" Of {len(planned)} of them, with {sum(job.requests for job in planned):,} requests, it is not "
                    "known whether the service has it: its upload was cut short."
                )
            more = f" {missing:,} further ones are not submitted yet: {reason}" if missing else ""
            report.stop_reason = f"incomplete: {jobs}{more}"
            report.mend = (
                "Mend: come back, and run the same again: it collects what is done by then, and submits what is left. "
                "A job is done within a day. On the command line --wait waits for it."
            )
        elif missing:
            report.stop_reason = f"{missing:,} of the replies that are wanted are in no batch job" + (
                f": {reason}" if reason else "."
            )
            report.mend = mend or "Mend: submit them."

    # --- collecting

    async def _collect(self) -> None:
        self._listed = None
        now = self._ledger.now()
        for job in await self._jobs((PLANNED, RUNNING, LOST, COLLECTED, FAILED)):
            if self._interrupted:
                return
            if job.state in (COLLECTED, FAILED):
                if job.files and now - job.updated < DEADLINE_S:  # whoever collected it has died before that
                    await self._clean_up(job, job.files)
            elif job.state == LOST and now - job.created > _WATCHED_S:
                await self._within(self._journal.end, job.name, FAILED, job.detail)
            elif job.job is None:
                await self._find(job, now)
            else:
                await self._look_at(job, job.job, now)

    async def _find(self, job: BatchJob, now: float) -> None:
        """A job of which only the intent is known."""
        remote = await self._remote(job.name)
        if remote is not None:
            await self._within(lambda: self._journal.update(job.name, job=remote.name, state=RUNNING))
            await self._look_at(job, remote.name, now)
        elif job.state == PLANNED and now - job.created > GRACE_S:
            self._said(job, "the service never got it; its requests are sent again")
            await self._within(self._journal.end, job.name, LOST, "not at the service")

    async def _remote(self, name: str) -> RemoteJob | None:
        if self._listed is None:
            since = self._ledger.now() - _WATCHED_S
            self._listed = list(await self._patiently(lambda: self._service.list(since)))
        return next((remote for remote in self._listed if remote.display_name == name), None)

    async def _look_at(self, job: BatchJob, name: str, now: float) -> None:
        remote = await self._patiently(lambda: self._service.look(name))
        if remote is None:
            if job.state != LOST:
                self._said(job, "the service does not know it any more; its requests are sent again")
            await self._within(self._journal.end, job.name, FAILED, "gone from the service")
        elif remote.ended and (remote.result or not _succeeded(remote) or now - job.created > DEADLINE_S):
            await self._take_in(job, remote)
        elif job.state == RUNNING and now - job.created > DEADLINE_S:
            await self._give_up(job, remote)
        elif remote.state != job.detail and job.state != LOST:
            await self._within(lambda: self._journal.update(job.name, detail=remote.state))

    async def _give_up(self, job: BatchJob, remote: RemoteJob) -> None:
        try:
            await self._patiently(lambda: self._service.cancel(remote.name))
            now = await self._patiently(lambda: self._service.look(remote.name))
            remote = remote if now is None else now
        except (JobRefusedError, TransientError) as error:
            logger.info("%s was not cancelled: %s", job.name, self._run.clean(str(error)))
        if remote.ended:
            await self._take_in(job, remote)
            return
        self._said(job, f"not done after {DEADLINE_S / 3600:.0f} hours ({remote.state}), and given up")
        await self._within(self._journal.end, job.name, LOST, f"given up at {remote.state}")

    async def _take_in(self, job: BatchJob, remote: RemoteJob) -> None:
        collector = await self._within(Collector, self._run, self._service, job)
        with tempfile.TemporaryDirectory(prefix="hf_emo_dist-batch-") as folder:
            path: Path | None = None
            if remote.result is not None:
                path = Path(folder) / "replies.jsonl"
                try:
                    await self._patiently(self._download(job, remote.result, path))
                except FatalError as error:
                    if error.reason != "not_found":
                        raise
                    path = None
            found = await self._within(collector.take_in, path, _succeeded(remote))
        if (await self._within(self._journal.state, job.name)) not in (PLANNED, RUNNING, LOST):
            return  # another process has collected it meanwhile, and deleted the file
        self._count(job, remote, found)
        state = COLLECTED if found.answers or found.failures or found.lost else FAILED
        files = (*job.files, *([remote.result] if remote.result else []))
        await self._within(lambda: self._journal.update(job.name, files=files))
        await self._within(self._journal.end, job.name, state, remote.state)
        await self._clean_up(job, files)

    def _download(self, job: BatchJob, result: str, path: Path) -> Callable[[], Coroutine[Any, Any, None]]:
        return lambda: self._service.download(result, path, _MOST_LINE * job.requests)

    def _count(self, job: BatchJob, remote: RemoteJob, found: Collected) -> None:
        for record in found.records:
            self._fresh.add(record.key)
            self.report.charge(record)
            if record.outcome == "other_model":
                self._other_model(record)
        told = []
        if not _succeeded(remote):
            told.append(f"it ended as {remote.state}")
        if found.failures:
            told.append(f"{found.failures:,} of its requests failed, such as: {found.reason}")
        if found.lost:
            told.append(
                f"{found.lost:,} of its replies are not there, or cannot be read: they count as paid for, and are "
                "asked for again"
            )
        if found.missing:
            told.append(f"{found.missing:,} of its requests have no reply, and are sent again")
        if told:
            self._said(job, "; ".join(told))
        self._barren = 0 if found.answers else self._barren + 1
        if found.failures and not found.answers and not found.others:
            self._stop(
                f"the service answered none of the {job.requests:,} requests of a batch job ({found.reason}).",
                "Mend: see to what it names, and run again: what had no answer is sent again.",
            )
        elif self._barren >= _BARREN:
            self._stop(
                f"{self._barren} batch jobs one after another brought no reply, the last one ended as {remote.state}.",
                "Mend: see what the service says of them, and run again; or leave --batch out.",
            )

    def _other_model(self, record: Record) -> None:
        self._stop(
            f"{self._run.backend.model!r} was asked, and {record.detail}. Its replies are in the ledger, but no votes.",
            f"Mend: where that is the model you mean, run again with answers_as={[record.model_version]!r}, on the "
            f"command line --answers_as {record.model_version}, and they count without being paid for again; else ask "
            "for the model that you want by its present name.",
        )

    async def _clean_up(self, job: BatchJob, files: Sequence[str]) -> None:
        try:
            await self._service.delete(files)
        except (FatalError, TransientError) as error:
            logger.info("Files of %s were not deleted: %s", job.name, self._run.clean(str(error)))
            return
        await self._within(lambda: self._journal.update(job.name, files=()))

    # --- what is wanted, and submitting it

    async def _survey(self, submit: bool) -> int:
        """Go through all that is wanted and count it; submit what is in no job. Returns how many then are in none."""
        report = self.report
        report.rows = report.votes = report.stored_votes = report.under_way = 0
        for counted in (report.failures, report.unfinished, report.skipped):
            counted.clear()
        self._full = None
        missing, seen = 0, set[str]()
        chunk: Chunk | None = None
        groups = self._groups()
        with tqdm(desc="Preparing", unit="vote", disable=not self._run.progress.shown, leave=False) as bar:
            try:
                while bunch := await self._within(lambda: list(islice(groups, _ROWS))):
                    jobs = await self._open([job for group in bunch for job in group], seen)
                    bar.update(sum(map(len, bunch)))
                    clips: dict[int, list[Job]] = {}
                    for job in jobs:
                        clips.setdefault(id(job.clip), []).append(job)
                    for of_one_clip in clips.values():
                        if not submit or self._full or self._stop:
                            missing += len(of_one_clip)
                            continue
                        if not await self._prepare(of_one_clip):
                            continue
                        chunk = chunk or Chunk.new()
                        missing += await self._add(chunk, of_one_clip)
                        of_one_clip[0].clip.prepared = None
                        if chunk.size >= self._service.most_bytes or len(chunk.about) >= self._service.most_requests:
                            sent, chunk = chunk, None
                            missing += await self._send(sent)
                    if self._interrupted:
                        break
                if chunk is not None and chunk.about and not self._stop:
                    sent, chunk = chunk, None
                    missing += await self._send(sent)
            finally:
                if chunk is not None:
                    await self._within(self._ledger.release, [claim.key for claim in chunk.claims])
                    chunk.close()
        return missing

    async def _open(self, jobs: Sequence[Job], seen: set[str]) -> list[Job]:
        """Those that are neither answered nor under way; the others are counted."""
        keys = [job.key for job in jobs]
        stored = await self._within(self._ledger.lookup, keys)
        held = await self._within(self._journal.under_way, keys)
        found = []
        for job in jobs:
            record = stored.get(job.key)
            if record is not None and record.outcome == "other_model":
                again = read_again(record, self._run.emotions, self._run.lenient, self._run.answers_as)
                if again is not None:
                    await self._within(self._ledger.store, [again])
                    record = again
            fresh = job.key in self._fresh
            # What this call has collected is asked again only where it is nobody's clip.
            done = record is not None and (record.final if fresh else not self._run.settings.asks_again(record))
            if record is not None and done:
                self.report.count(record, job.clip.row_id, fresh=False)
                if fresh and record.outcome == OK:
                    self.report.votes, self.report.stored_votes = self.report.votes + 1, self.report.stored_votes - 1
            elif job.key in held:
                self.report.under_way += 1
            elif job.key not in seen:  # the same clip may stand in several rows
                seen.add(job.key)
                job.retry = record is not None
                found.append(job)
        if found and self._run.not_asked is not None:
            self._stop(*self._run.not_asked)
        return found

    async def _prepare(self, jobs: Sequence[Job]) -> bool:
        clip = jobs[0].clip
        try:
            clip.prepared = await self._within(clip.prepare)
        except AudioError as error:
            self.report.skipped[clip.row_id] = str(error)
            return False
        return True

    async def _add(self, chunk: Chunk, jobs: Sequence[Job]) -> int:
        """Reserve what the requests of a clip may cost, and write them. Returns how many the cap did not let in."""
        has, service = self._run.backend.capabilities, self._service
        claims = {job.key: job.claim(has, "batch") for job in jobs}
        got = await self._within(self._ledger.reserve, list(claims.values()), self._limits, _LEASE_S)
        audio = jobs[0].clip.prepared
        assert audio is not None
        stored = chunk.stored.get(audio.digest)
        if got.granted and stored is None and not service.fits(audio):
            try:
                stored = chunk.stored[audio.digest] = await self._patiently(lambda: service.store_clip(audio))
            except BaseException:
                await self._within(self._ledger.release, got.granted)
                raise
        for job in jobs:
            if job.key in got.granted:
                line = service.line(job.key, job.request, audio, stored)
                chunk.add(job, claims[job.key], line, told_of(job, job.at_most(has), service.settings(job.request)))
            elif job.key in got.busy:
                self.report.under_way += 1
        if got.over_budget:
            self._full = (
                "the cap lets no more requests be under way at once: what each may cost at most is reserved until its "
                "job is collected.",
                "Mend: collect, and run the same again for the rest; or raise max_cost_usd or max_tokens, or lower "
                "max_output_tokens of the backend, which bounds what a request may cost.",
            )
            return len(jobs) - len(got.granted) - len(got.busy) - len(got.stored)
        return 0

    async def _send(self, chunk: Chunk) -> int:
        """Submit a job. Returns how many requests the service did not take."""
        run, number = self._run, len(chunk.about)
        try:
            name = await self._name(chunk)
            remote = await self._remote(name)
            job = BatchJob(
                name, None, PLANNED, run.backend.name, run.backend.endpoint, run.backend.model, run.plan, number, 0,
                self._ledger.now(), self._ledger.now(), tuple(file.name for file in chunk.stored.values()), "",
            )  # fmt: skip
            # In the order of what may fail: the intent first, on the disk.
            await self._within(self._journal.begin, job, chunk.claims, chunk.about, self._limits.scope)
            if remote is None:
                chunk.file.close()
                taken = await self._create(job, chunk)
            else:  # this ledger is an older copy: the job was submitted by what came after it
                taken = True
                await self._within(lambda: self._journal.update(name, job=remote.name, state=RUNNING))
        finally:
            chunk.close()
        if taken:
            self.report.requests += number
            self.report.under_way += number
        return 0 if taken else number

    async def _name(self, chunk: Chunk) -> str:
        """Of a job: a function of its requests, and of how often just these were submitted before."""
        start = f"{self._prefix}{chunk.digest()}-"
        jobs = await self._within(self._journal.jobs)
        return f"{start}{sum(job.name.startswith(start) for job in jobs)}"

    async def _create(self, job: BatchJob, chunk: Chunk) -> bool:
        """Upload the requests and begin the job; False where the service has not taken it."""
        path, files = chunk.path, list(job.files)
        try:
            stored = await self._patiently(lambda: self._service.store_requests(path, job.name))
            files.append(stored.name)
            await self._within(lambda: self._journal.update(job.name, files=files))
            try:
                remote = await self._service.create(job.name, stored)
            except TransientError as error:
                if error.kind == "rate_limit" or not (error.billed or error.kind in ("server", "overloaded")):
                    raise  # it was refused, or never left
                return await self._ambiguous(job, error)
        except (JobRefusedError, FatalError, TransientError) as error:
            await self._within(self._journal.withdraw, job.name)
            with contextlib.suppress(FatalError, TransientError):
                await self._service.delete(files)
            text = self._run.clean(str(error))
            if isinstance(error, TransientError):
                self._full = (
                    f"the service takes no further batch job now ({text}).",
                    "Mend: run the same again when others are done.",
                )
            elif isinstance(error, FatalError):
                self._stop(text)
            else:
                self._stop(f"the service refused a batch job ({text}).", "Mend: see to what it names, and run again.")
            return False
        await self._within(lambda: self._journal.update(job.name, job=remote, state=RUNNING))
        return True

    async def _ambiguous(self, job: BatchJob, error: TransientError) -> bool:
        """A job of which nobody said whether it was taken: if it is not shown now, it may be later."""
        await self._stop.sleep(self._run.settings.first_backoff_s)
        self._listed = None
        with contextlib.suppress(TransientError):
            remote = await self._remote(job.name)
            if remote is not None:
                await self._within(lambda: self._journal.update(job.name, job=remote.name, state=RUNNING))
                return True
        self._full = (
            f"it is not known whether the service has taken a batch job ({self._run.clean(str(error))}).",
            f"Mend: run the same again in {GRACE_S:.0f} seconds: it is looked for before anything is sent twice.",
        )
        return True

    # --- waiting, and calling others

    async def _wait(self, running: list[BatchJob], poll_s: float) -> None:
        """Collect until none of these jobs runs any more."""
        total = sum(job.requests - job.replies for job in running)
        names = {job.name for job in running}
        with tqdm(total=total, desc="Batch jobs", unit="vote", disable=not self._run.progress.shown) as bar:
            wait_s = self._run.settings.first_backoff_s
            while names and not self._stop:
                bar.set_postfix(running=len(names))
                await self._stop.sleep(min(poll_s, wait_s))
                wait_s *= 2  # what is small may be done soon
                await self._collect()
                left = [job for job in await self._running() if job.name in names]
                names = {job.name for job in left}
                bar.update(total - sum(job.requests - job.replies for job in left) - bar.n)

    async def _running(self) -> list[BatchJob]:
        return await self._jobs((PLANNED, RUNNING))

    async def _jobs(self, states: Sequence[str]) -> list[BatchJob]:
        """The jobs of the service and model that are asked, whatever the plan."""
        backend = self._run.backend
        asked = (backend.name, backend.endpoint, backend.model)
        jobs = await self._within(self._journal.jobs, states)
        return [job for job in jobs if (job.backend, job.endpoint, job.model) == asked]

    def _said(self, job: BatchJob, text: str) -> None:
        self.report.batch_jobs[job.name] = self._run.clean(text)
        logger.warning("Batch job %s: %s", job.name, self.report.batch_jobs[job.name])

    async def _within(self, function: Callable[..., T], *args: Any) -> T:
        """Call what works on files or waits for them in another thread."""
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(None, function, *args))

    async def _patiently(self, call: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """Call the service, and again where it fails for now."""
        settings = self._run.settings
        for number in range(_TRIES):
            try:
                return await call()
            except TransientError as error:
                self.report.transport_errors[error.kind] += 1
                if number + 1 == _TRIES or self._stop:
                    raise
                wait_s = error.retry_after or settings.first_backoff_s * 2.0**number
                if wait_s > settings.patience_s:
                    raise
                await self._stop.sleep(min(wait_s, settings.patience_s))
        raise AssertionError


def _succeeded(remote: RemoteJob) -> bool:
    return remote.state.endswith("_SUCCEEDED")
