"""The ledger as the tasks of one run use it: replies stored in bunches, leases kept alive and given back in the end."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from ..ledger.ledger import Claim, LedgerError, Limits, Reservation
from ..ledger.run_ledger import RunLedger
from ..types import Record

logger = logging.getLogger(__name__)

T = TypeVar("T")


class Keeper:
    """Calls the ledger from an event loop, in one thread: transactions queue there and do not lock each other out."""

    def __init__(self, ledger: RunLedger, limits: Limits) -> None:
        self._ledger, self._limits = ledger, limits
        self._leased: set[str] = set()
        self._sent: set[str] = set()  # of these, what may have left, and of what nothing is known yet
        self._marks: dict[str, Record | None] = {}  # that are not written yet
        self._marking = asyncio.Lock()
        self._unmarking: set[asyncio.Task[None]] = set()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="hf_emo_dist-ledger")
        self._unsaved: list[tuple[Record, asyncio.Future[None]]] = []
        self._some = asyncio.Event()
        self._closing = False
        self._problem: LedgerError | None = None

    def start(self) -> None:
        """Begin to store and to prolong, in the running event loop."""
        self._tasks = [asyncio.create_task(self._save()), asyncio.create_task(self._prolong())]

    @property
    def in_flight(self) -> bool:
        """Whether this run holds leases."""
        return bool(self._leased)

    async def call(self, function: Callable[..., T], *args: Any) -> T:
        """Run a function of the ledger in its thread."""
        # Shielded: a transaction that has begun ends, and its outcome is known.
        return await asyncio.shield(asyncio.get_running_loop().run_in_executor(self._thread, function, *args))

    async def reserve(self, claims: Sequence[Claim]) -> Reservation:
        """Ask for leases, see `Ledger.reserve`."""

        def reserve() -> Reservation:
            got = self._ledger.reserve(claims, self._limits, self._ledger.lease_s)
            self._leased.update(got.granted)  # here, so that they are known although who asks is cancelled
            return got

        return await self.call(reserve)

    async def sending(self, key: str, record: Record) -> None:
        """Return when it is written that the request of a lease may leave; see `Ledger.sending`."""
        if key in self._sent:
            return
        self._marks[key] = record
        await self._write_marks(key)
        self._sent.add(key)

    def not_billed(self, key: str) -> None:
        """Note that what was sent for a lease has cost nothing."""
        if key in self._sent:
            self._sent.discard(key)
            self._marks[key] = None
            # Soon, and not only with the next request: a refused run may wait for long, and be killed then.
            task = asyncio.create_task(self._write_marks(key))
            self._unmarking.add(task)
            task.add_done_callback(self._unmarked)

    def _unmarked(self, task: asyncio.Task[None]) -> None:
        self._unmarking.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None:  # the mark stays, and is written later
            logger.debug("%s", error)

    async def _write_marks(self, key: str) -> None:
        """Write all marks that wait, in one transaction, unless somebody else has written this key's meanwhile."""
        async with self._marking:
            if key not in self._marks:
                return
            marks, self._marks = self._marks, {}
            try:
                await self.call(self._ledger.sending, marks)
            except BaseException:
                self._marks = marks | self._marks
                raise

    async def charge(self, record: Record) -> bool:
        """Write a try that may have been billed; whether the cap still holds with what is reserved."""
        self._sent.discard(record.key)
        return await self.call(self._ledger.charge, [record], self._limits)

    async def release(self, keys: Sequence[str]) -> None:
        """Give leases back without a reply; what may have been billed is charged."""
        self._leased.difference_update(keys)
        sent = [key for key in keys if key in self._sent]
        self._sent.difference_update(sent)
        if sent:
            await self.call(self._ledger.forfeit, sent)
        await self.call(self._ledger.release, keys)

    async def store(self, record: Record) -> None:
        """Return when the record is on disk, or raise why not. Records that wait together are written together."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._unsaved.append((record, done))
        self._some.set()
        await done

    async def store_open(self, record: Record) -> None:
        """Write a reply of which it is not known yet whether it is its clip's, see `Ledger.store_open`."""
        await self.call(self._ledger.store_open, record)
        self._sent.discard(record.key)

    async def confirm(self, keys: Sequence[str]) -> None:
        """Write that replies are their clips' doing."""
        self._leased.difference_update(keys)
        await self.call(self._ledger.confirm, keys)

    async def close(self) -> None:
        """Store what is left, give leases back and end the thread."""
        self._closing = True
        self._some.set()
        saver, prolonger = self._tasks
        prolonger.cancel()
        await asyncio.gather(saver, prolonger, *self._unmarking, return_exceptions=True)
        try:
            await self.release(sorted(self._leased))
        except LedgerError as error:  # they run out by themselves, or with this process
            logger.warning("Leases could not be given back: %s", error)
        self._thread.shutdown(wait=False)

    async def _save(self) -> None:
        while self._unsaved or not self._closing:
            if not self._unsaved:
                self._some.clear()
                await self._some.wait()
                continue
            batch, self._unsaved = self._unsaved, []
            problems = await self.call(self._write, [record for record, _ in batch])
            for (record, done), problem in zip(batch, problems, strict=True):
                self._sent.discard(record.key)  # where it was kept elsewhere, that is merged
                if problem is None:
                    self._leased.discard(record.key)
                if done.done():  # who waited was cancelled
                    continue
                if problem is None:
                    done.set_result(None)
                else:
                    done.set_exception(problem)

    def _write(self, records: Sequence[Record]) -> list[Exception | None]:
        try:
            self._ledger.store(records)
        except LedgerError as error:  # it has saved them elsewhere, and says where
            if self._problem is None:
                self._problem = error
            else:  # one error is raised in the end: it has to hold what could be saved nowhere
                self._problem.records += error.records
                logger.error("%s", error)
            return [self._problem] * len(records)
        except Exception as error:  # noqa: BLE001 - one record that cannot be written must not take others with it
            if len(records) == 1:
                return [error]
            return [problem for record in records for problem in self._write([record])]
        return [None] * len(records)

    async def _prolong(self) -> None:
        """Replies may be slow, and pauses long: nobody else is to ask for the same meanwhile."""
        while True:
            await asyncio.sleep(self._ledger.lease_s / 4)
            try:
                await self.call(lambda: self._ledger.extend(sorted(self._leased), self._ledger.lease_s))
            except LedgerError as error:  # the next one may succeed; a reply that cannot be stored ends the run
                logger.warning("Leases could not be prolonged: %s", error)
