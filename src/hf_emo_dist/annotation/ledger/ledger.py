"""The ledger: every paid reply once, in one SQLite file that several processes share.

A row is a reply. It is on the disk before it is used, and none is ever overwritten: a further reply to the same
question is a further attempt. Of the replies under one key the first that is ok counts, for ever; where none is ok, the
last.

Leases, the cap on spending and the rates live in the same file, so that processes which share it do not ask the same
thing twice, and together keep within one cap and one rate.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import logging
import math
import os
import sqlite3
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ...data.writing import mapped_dataset
from ..types import IN_FLIGHT, Record
from . import exchange
from . import limits as limiting
from . import plans as planning
from . import replies as rows
from .clock import steady
from .journal import Journal
from .label_sets import label_sets
from .limits import Claim, Limits, Owner, Reservation, Spending
from .opening import FREE_BYTES_TO_GRANT, Database, check_space, open_to_read, ordinary, whole_path
from .plans import Plan
from .run_ledger import RunLedger
from .schema import LedgerError, new_id
from .soundness import check_counts
from .taking_in import Added, Taken

if TYPE_CHECKING:
    import datasets

__all__ = ["Claim", "Ledger", "LedgerError", "Limits", "Reservation", "Spending"]

logger = logging.getLogger(__name__)

_BUNCH = 1000  # replies that are taken in together


def with_its_file(ledger: RunLedger) -> Ledger:
    """The ledger, where it is one and not a handle: what batch jobs are kept in.

    Raises:
        ValueError: It is a handle.
    """
    if not isinstance(ledger, Ledger):
        raise ValueError(
            f"Batch jobs are kept in the ledger's file, and {ledger!r} is a handle to another process. Mend: "
            f"ledger={str(ledger.path)!r}, once nobody else has it open."
        )
    return ledger


class Ledger:
    """All replies that were ever paid for, with what they cost and who is asking now.

    Threads may share one object. It may be pickled and used after a fork: each process opens its own connection.
    Several processes may have the same file open, on one machine or, on a file system whose locks work, on several
    whose clocks agree. Where a write-ahead log does not work it uses a rollback journal; a disk without locks is
    refused.

    The file is only for its owner (mode 0600): replies and transcripts may be private.

    Args:
        path: Of the file; made, with its folder, if missing.
        synchronous: ``"FULL"``: a stored reply survives a loss of power; ``"NORMAL"``: the death of the process.
        busy_timeout_s: How long to wait for another process that is writing.
        clock: Seconds since 1970; by default those of `clock.steady`, which no setting of the machine's clock moves.
        least_free: Bytes that its disk must have left; None for the 32 MiB that a run needs.

    Raises:
        LedgerError: The file cannot be a ledger: no folder, read-only, no locks, damaged, not SQLite or of another
            application, written by a newer version, or under 32 MiB of space. Nothing has been paid for then.

    Example:
        >>> import tempfile
        >>> with Ledger(tempfile.mkdtemp() + "/votes.sqlite") as ledger:
        ...     ledger.reserve([Claim("k1", cost_usd=0.01)], Limits(max_cost_usd=1)).granted
        ...     ledger.store([Record("k1", "ok", label="happy", cost_usd=0.004)])
        ...     ledger.lookup(["k1", "k2"])["k1"].label, ledger.spending().cost_usd
        ['k1']
        ('happy', 0.004)
    """

    #: Seconds for which a lease is good: longer than any request, since what lives here is seen to live.
    lease_s = 600.0
    survives_pickling = False

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        synchronous: str = "FULL",
        busy_timeout_s: float = 30.0,
        clock: Callable[[], float] = steady,
        least_free: int | None = None,
    ) -> None:
        if synchronous not in ("FULL", "NORMAL"):
            raise ValueError(f"`synchronous` is {synchronous!r}. Mend: 'FULL' or 'NORMAL'.")
        self._start(whole_path(path), synchronous, busy_timeout_s, clock)
        self._database.least_free = least_free
        with self._database.reading():  # opens it
            pass

    def _start(self, path: Path, synchronous: str, busy_timeout_s: float, clock: Callable[[], float]) -> None:
        self.path = path
        self._clock = clock
        self._database = Database(path, synchronous, busy_timeout_s, self._put_right)
        self._owner = Owner.of_this_process()
        self._speaks_for = False
        self._last_id = 0
        self._all_stored = True
        self._counts_checked = False
        self._closed = False

    def __getstate__(self) -> dict[str, Any]:
        database = self._database
        return {"path": str(self.path), "synchronous": database.synchronous, "busy_timeout_s": database.busy_timeout_s}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self._start(Path(state["path"]), state["synchronous"], state["busy_timeout_s"], steady)
        self._database.checked = self._counts_checked = True  # by who made it

    def on_behalf_of(self, owner: Owner) -> Ledger:
        """The same ledger on the same connection, with leases that are another process's, perhaps of another host."""
        other = copy.copy(self)
        other._owner, other._speaks_for = owner, True
        return other

    # ---- reading
    def lookup(self, keys: Sequence[str]) -> dict[str, Record]:
        """The record that counts, for each key that has one: the first that is ok, else the last attempt."""
        with self._reading() as connection:
            return rows.lookup(connection, list(keys))

    def records(self, plan: str | None = None) -> Iterator[Record]:
        """All replies, every attempt, in the order in which they came into this file; of one plan, or of all."""
        return (rows.record_of(row[3:], self.path) for page in rows.pages(self._reading, plan) for row in page)

    def failures(self, plan: str) -> list[Record]:
        """The records that count and are not ok, of one plan, by key."""
        query = f"SELECT {rows.COLUMNS} FROM replies WHERE plan = ? AND counts = 1 AND outcome <> 'ok' ORDER BY key"
        with self._reading() as connection:
            return [rows.record_of(row, connection) for row in rows.fetched(connection, query, (plan,))]

    def counting(self, outcomes: Collection[str]) -> Iterator[Record]:
        """The records that count and have one of these outcomes, in the order in which they came into this file."""
        for page in rows.pages(self._reading):
            for row in page:
                if row[2] and (record := rows.record_of(row[3:], self.path)).outcome in outcomes:
                    yield record

    def remember_plan(self, name: str, plan: Plan) -> None:
        """Write what a plan asks for, so that its replies can be read again."""
        with self._reading() as connection:
            if planning.known(connection, [name]).get(name) == plan:
                return
        with self._transaction() as connection:  # also in place of what a stranger's ledger says of it
            planning.remember(connection, {name: plan}, own=True)

    def plans(self) -> dict[str, Plan]:
        """What the plans asked for, by their hash; those of 0.1 are not there."""
        with self._reading() as connection:
            return planning.known(connection)

    @staticmethod
    def failures_digest_of(path: str | os.PathLike[str], plan: str | None = None) -> str:
        """A hash of which keys have no vote, and after how many attempts: it changes whenever that does.

        Args:
            path: Of a ledger, which is only read, and not made.
            plan: Of one plan; None of all.

        Returns:
            64 hexadecimal digits; "" if every key has a vote, or there is no such file.
        """
        file = Path(path).expanduser().resolve()
        if not file.exists():
            return ""
        where, values = ("", ()) if plan is None else ("plan = ? AND", (plan,))
        query = f"""SELECT key, attempt FROM replies INDEXED BY replies_failures
                    WHERE {where} counts = 1 AND outcome <> 'ok' ORDER BY plan, key"""
        digest = hashlib.sha256()
        with contextlib.closing(open_to_read(file)) as connection:
            for key, attempt in connection.execute(query, values):
                digest.update(f"{key} {attempt}\n".encode("utf-8", "surrogatepass"))
        return "" if digest.digest() == hashlib.sha256().digest() else digest.hexdigest()

    @property
    def journal(self) -> Journal:
        """The batch jobs of this ledger."""
        return Journal(self._reading, self._transaction, self._clock, lambda: self._owner, self._new_ids)

    def under_way(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that a batch job holds."""
        return self.journal.under_way(keys)

    def spending(self) -> Spending:
        """What all replies have cost since the ledger exists, merged and imported ones too, and what is reserved."""
        with self._reading() as connection:
            return limiting.spending(connection, self._clock())

    def now(self) -> float:
        """The time by the ledger's clock."""
        return self._clock()

    def __len__(self) -> int:
        return self.spending().replies

    def answered_since(self, moment: float, like: Record) -> set[str]:
        """The clips to which whoever `like` asks has given votes, asked alike, after `moment` (of `clock`).

        By whatever process: what one run cannot know of a service, another may have seen.
        """
        found: set[str] = set()
        for record in self._alike(like):
            if rows.is_vote(record) and rows.sent_at(record) > moment:
                found.add(record.audio)
        return found

    def unanswered(self, like: Record) -> set[str]:
        """The clips that whoever `like` asks has given no vote, asked alike, since the last one that it gave."""
        found: set[str] = set()
        for record in self._alike(like):
            if rows.is_vote(record):
                break
            if not record.final and record.detail != IN_FLIGHT:
                found.add(record.audio)
        return found

    def _alike(self, like: Record) -> list[Record]:
        """The last replies of whoever `like` asks to requests that differ from its own in their clip alone."""
        names = ("backend", "endpoint", "model", "focus", "temperature", "mode", "wording", "persona")
        query = f"""SELECT {rows.COLUMNS} FROM replies
                    WHERE {" AND ".join(f"{name} IS ?" for name in names)} ORDER BY id DESC LIMIT 1000"""
        with self._reading() as connection:
            found = rows.fetched(connection, query, [getattr(like, name) for name in names])
        return [rows.record_of(row, self.path) for row in found]

    # ---- asking
    def reserve(self, claims: Sequence[Claim], limits: Limits | None = None, lease_s: float = 600.0) -> Reservation:
        """Ask, in one transaction, which of these requests the caller is to send.

        In the order of the claims: what is stored is handed back (a final failure too, unless `retry`); what is leased
        by someone else, or by the caller already, is busy; when spending, reservations and the claim would pass the
        cap, nothing more is granted; when the rate is used up, this and all later ones are deferred; else the caller
        gets the lease. A lease of a process of this host that has died is void at once, one of another host when it has
        run out; where its request may have left (`sending`), what was reserved is charged.

        Args:
            claims: What the caller would send. A key that stands there twice is dealt with once.
            limits: Caps and rates; None for none.
            lease_s: Seconds until the lease runs out. Longer than a request with its repetitions may take, else it is
                paid for twice; see `extend`.

        Returns:
            What became of each claim.

        Raises:
            LedgerError: The ledger cannot be written, or its disk has too little space left for the replies; nothing is
                granted then.
        """
        limits = limits or Limits()
        # so it was last time: a full ledger is read without waiting for those who write
        if self._all_stored:
            with self._reading() as connection:
                found = rows.lookup(connection, [claim.key for claim in claims])
            if all(claim.key in found and limiting.settles(found[claim.key], claim) for claim in claims):
                return Reservation(stored=found)
        with self._transaction() as connection:
            result = limiting.reserve(connection, claims, limits, self._owner, self._clock(), lease_s)
            if result.granted:
                check_space(self.path, FREE_BYTES_TO_GRANT)
        self._all_stored = len(result.stored) == len(claims)
        return result

    def sending(self, records: Mapping[str, Record | None]) -> None:
        """Write that requests may leave from now on, before they do.

        Should this process end before anything is known of one, its record is written where the lease is freed: what
        was reserved is spent then.

        Args:
            records: Key of a lease to that record; None where the request is known to have cost nothing.
        """
        with self._transaction() as connection:
            limiting.mark_sent(connection, self._owner, records, self._clock())

    def store(self, records: Sequence[Record]) -> None:
        """Write replies, in one transaction that is on the disk when this returns; drop their leases.

        Raises:
            LedgerError: The ledger did not take them. They are then in the error's `rescue_file` (or, if even that
                could not be written, in its `records`).
        """
        self._store(records, settle=True)

    def charge(self, records: Sequence[Record], limits: Limits) -> bool:
        """Write tries that got no reply and may have been billed; their leases stay, for the next try.

        Returns:
            Whether what was spent and what is reserved still keep within the cap. If not, nothing may be sent for these
            leases.

        Raises:
            LedgerError: As for `store`.
        """
        self._store(records, settle=False)
        with self._reading() as connection:
            return not limiting.over_cap(connection, limits, self._clock())

    def store_open(self, record: Record) -> None:
        """Write a reply of which it is not known yet whether it is its clip's: `final` is False, as long as `confirm`
        does not say otherwise. Its lease stays, and reserves nothing more, so that nobody asks again meanwhile.

        Raises:
            LedgerError: As for `store`.
        """
        self._store([record], settle=False)
        with self._transaction() as connection:
            connection.execute(
                "UPDATE leases SET cost_usd = 0, tokens = 0 WHERE owner = ? AND key = ?",
                (self._owner.token, record.key),
            )

    def confirm(self, keys: Sequence[str]) -> None:
        """Write that the replies which count under these keys are their clips' doing; drop their leases."""
        condition, value = rows.among(keys)
        with self._transaction(durable=True) as connection:
            connection.execute(f"UPDATE replies SET final = 1 WHERE counts = 1 AND {condition}", (value,))
            limiting.release(connection, self._owner, keys)

    def _store(self, records: Sequence[Record], settle: bool) -> None:
        replies = list(zip(self._new_ids(len(records)), records, strict=True))
        if not replies:
            return
        entries = [(reply_id, rows.row_of(record)) for reply_id, record in replies]
        try:
            with self._transaction(durable=True) as connection:
                rows.insert(connection, entries, newest=True)
                used = {row[rows.KEY]: rows.tokens_of(row) for _, row in entries}
                if settle:
                    limiting.settle(connection, self._owner, used)
        except OSError as error:
            raise exchange.rescue(self.path, self._owner.token, replies, str(error).partition(" Mend:")[0]) from error

    def lacking(self, records: Sequence[Record]) -> list[Record]:
        """Those of these replies that are not here: of what was to be written when nobody told that it was."""
        found = []
        with self._reading() as connection:
            for record in records:
                there = connection.execute(
                    "SELECT 1 FROM replies WHERE key = ? AND created = ? AND outcome = ?",
                    (record.key, record.created, record.outcome),
                )
                if there.fetchone() is None:
                    found.append(record)
        return found

    def give_up_unsent(self, keys: Sequence[str]) -> None:
        """Give leases back whose requests have not left: of what was granted when nobody told that it was."""
        condition, value = rows.among(keys)
        with self._transaction() as connection:
            connection.execute(
                f"DELETE FROM leases WHERE owner = ? AND sent IS NULL AND {condition}", (self._owner.token, value)
            )

    def release(self, keys: Sequence[str]) -> None:
        """Give leases back without a reply."""
        if keys:
            with self._transaction() as connection:
                limiting.release(connection, self._owner, keys)

    def forfeit(self, keys: Sequence[str]) -> None:
        """Give leases back of whose requests nothing will be heard; those that may have left are charged."""
        condition, value = rows.among(keys)
        with self._transaction(durable=True) as connection:
            limiting.let_go(connection, f"owner = ? AND {condition}", (self._owner.token, value), self._clock())

    def extend(self, keys: Sequence[str], lease_s: float) -> None:
        """Let the caller's leases on these keys run for `lease_s` seconds from now; those that ran out stay so."""
        if keys:
            condition, value = rows.among(keys)
            with self._transaction() as connection:
                now = self._clock()
                connection.execute(
                    f"UPDATE leases SET expires = ?, granted = ? WHERE owner = ? AND expires > ? AND {condition}",
                    (now + lease_s, now, self._owner.token, now, value),
                )

    def pause(self, scope: str, seconds: float) -> None:
        """Grant nobody anything in this scope for so long: after the server said that the rate is too high."""
        with self._transaction() as connection:
            limiting.pause(connection, scope, self._clock(), seconds)

    def admit(self, limits: Limits, tokens: int = 0) -> float:
        """Count one more request of a lease that is held, such as a repetition, against the rates.

        Returns:
            0 if it may be sent now, else the seconds to wait before asking again; nothing was counted then.
        """
        with self._transaction() as connection:
            rates = limiting.Rates(connection, limits, self._clock())
            if (wait := rates.wait(tokens)) <= 0:
                rates.take(tokens)
                rates.save()
            return wait

    # ---- exchange
    def to_dataset(self) -> datasets.Dataset:
        """All replies in long form: a row a reply, every attempt.

        Columns are the fields of `Record`, with `settings` as JSON and `distribution` as a list of structs (emotion,
        share), so that several label sets can stand together; `counts`: whether this is the reply of its key that
        counts; `reply_id`: its name, by which `import_dataset` knows it again.
        """
        import pyarrow as pa

        features = exchange.dataset_features()
        batches = (
            pa.RecordBatch.from_pydict(exchange.dataset_rows(row[1:] for row in page), schema=features.arrow_schema)
            for page in rows.pages(self._reading)
        )
        return mapped_dataset(batches, features)

    def import_dataset(self, dataset: datasets.Dataset | datasets.IterableDataset) -> Added:
        """Add replies from a data set in long form, as `to_dataset` gives it; how many were new.

        A reply that is in the ledger already is passed over, known by its `reply_id`, or by all its content where it
        has none, or is a vote. A new one counts towards spending; `cost_usd` of the number says how much that is.
        Types, ranges and, where a reply says what it was asked about, its key are checked; its label, where its plan is
        known; its cost by its tokens, where its model has prices. What cannot be is left out, and told by a warning and
        by `left_out` of the number. A vote that counts here goes on counting, whatever comes in under its key; of
        several that come, the first one.

        Raises:
            ValueError: A column is missing, or no row is a reply; the message names row and column.
        """
        return self._take(exchange.entries_of_dataset(dataset), Taken("The data set"))

    def merge(self, other: str | os.PathLike[str]) -> Added:
        """Add the replies of another ledger, or of lines of JSON (a rescue file, or an export); how many were new.

        The same rules hold as for `import_dataset`.

        Raises:
            LedgerError: `other` is neither, or cannot be read.
        """
        path = ordinary(other, f"There is no ledger {other} to merge.")
        if path == self.path:
            return Added(0, {}, 0.0)
        taken = Taken(str(path))
        try:
            if ".part.jsonl" in path.name or path.suffix == ".jsonl":
                return self._take(exchange.entries_of_lines(path, taken), taken)
            with contextlib.closing(open_to_read(path)) as connection:
                if theirs := planning.known(connection):
                    with self._transaction() as mine:
                        planning.remember(mine, theirs)
                pages = rows.pages(lambda: contextlib.nullcontext(connection))
                return self._take(exchange.entries_of_ledger(pages), taken)
        except sqlite3.Error as error:
            raise LedgerError(f"The ledger {path} cannot be read ({error}).", "see whether it is whole.") from error
        except ValueError as error:
            message, _, mend = str(error).partition(" Mend: ")
            raise LedgerError(message, mend) from error

    # ---- closing
    def close(self) -> None:
        """Give back the leases that this object holds, and close the file."""
        if self._closed:
            return
        with contextlib.suppress(LedgerError):
            if self._speaks_for or self._owner.pid == os.getpid():
                with self._transaction() as connection:
                    limiting.let_go(connection, "owner = ?", (self._owner.token,), self._clock())
        self._closed = True
        if not self._speaks_for:
            self._database.disconnect()

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Ledger({str(self.path)!r})"

    # ---- within
    def _check(self) -> None:
        if self._closed:
            raise LedgerError(f"The ledger {self.path} is closed.", "open another: Ledger(path).")
        if self._owner.pid != os.getpid() and not self._speaks_for:
            self._owner = Owner.of_this_process()

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        self._check()
        with self._database.reading() as connection:
            yield connection

    @contextlib.contextmanager
    def _transaction(self, durable: bool = False) -> Iterator[sqlite3.Connection]:
        self._check()
        with self._database.transaction(durable) as connection:
            yield connection

    def _new_ids(self, number: int) -> list[str]:
        found = []
        for _ in range(number):
            # ids are in the order of storing, also where the clock stands still or is set back
            self._last_id = max(int(self._clock() * 1e6), self._last_id + 1)
            found.append(new_id(self._last_id))
        return found

    def _take(self, entries: Iterable[tuple[str, Mapping[str, Any]]], taken: Taken) -> Added:
        new, cost, now = 0, 0.0, max(self._clock(), time.time())
        with self._reading() as connection:
            sets = label_sets(connection)
        found = taken.sift(entries, now, sets)
        while some := list(islice(found, _BUNCH)):
            added, dollars = self._add(some)
            new, cost = new + added, cost + dollars
        if taken.left_out and not taken.good:
            raise ValueError(
                f"{taken.summary()} That is all of it. Mend: give a ledger, a rescue file, or what export wrote."
            )
        if taken.left_out:
            logger.warning("%s", taken.summary())
        return Added(new, taken.left_out, cost)

    def _add(self, entries: Sequence[tuple[str, rows.Row]]) -> tuple[int, float]:
        """How many were new, and what they add to what the ledger has cost."""
        with self._transaction(durable=True) as connection:
            query = "SELECT cost_usd FROM totals"
            (before,) = connection.execute(query).fetchone()
            new = rows.insert(connection, rows.without_copies(connection, entries))
            return new, connection.execute(query).fetchone()[0] - before

    def _put_right(self) -> None:
        """What a ledger needs when it is opened: sound totals and leases, and what was left beside it."""
        if not self._counts_checked:
            check_counts(self._reading, self._transaction, self._clock())
            self._counts_checked = True
        self._take_in_rescued()

    def _take_in_rescued(self) -> None:
        """Take in what processes left beside the ledger because it did not take it then."""
        for file in exchange.rescue_files(self.path):
            taken = file
            try:
                if file.suffix != ".merging":
                    # its writer makes a new one from here on; a name of its own, lest it replaces one that a killed
                    # process left
                    taken = file.with_name(f"{file.name}.{os.urandom(4).hex()}.merging")
                    os.rename(file, taken)
                found = Taken(file.name)
                entries = list(found.sift(exchange.entries_of_lines(taken, found), math.inf))
            except FileNotFoundError:  # another process was quicker
                continue
            new, _ = self._add(entries)
            logger.info("%s: took in %d replies of %s", self.path, new, file.name)
            if found.left_out:
                kept = taken.with_suffix(".damaged")
                with contextlib.suppress(FileNotFoundError):
                    os.rename(taken, kept)
                logger.warning("%s The file is kept as %s", found.summary(), kept)
            else:
                taken.unlink(missing_ok=True)
