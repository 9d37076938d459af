"""The batch jobs of a ledger: what was sent with which, and what became of it.

Tables of their own, made when they are first needed: versions that do not know them pass them over. What a job's
requests can cost at most is held by leases that belong to the job and not to a process, so that caps, and other runs on
the same ledger, see them as under way until they are collected or given up, whoever has died meanwhile.
"""

from __future__ import annotations

import json
import logging
import os
import sqlite3
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

from ..types import Record
from . import replies
from .limits import Claim, Owner
from .replies import among

logger = logging.getLogger(__name__)

#: Of a lease that belongs to a job: no process of any host, so that nobody takes it for that of a dead one.
_HOST = "batch job"
_FOR_EVER_S = 10 * 366 * 86400.0

#: Its intent is written, and whether the service has taken it is not known yet.
PLANNED = "planned"
#: The service has it.
RUNNING = "running"
#: It has ended, and all that it brought is in the ledger.
COLLECTED = "collected"
#: The same of one that did not succeed.
FAILED = "failed"
#: It was given up: the service never showed it, or it did not end. If it turns up all the same, it is collected.
LOST = "lost"

_TABLES = (
    """CREATE TABLE IF NOT EXISTS batch_jobs (
        name TEXT PRIMARY KEY, job TEXT, state TEXT NOT NULL, backend TEXT NOT NULL, endpoint TEXT NOT NULL,
        model TEXT NOT NULL, plan TEXT NOT NULL, requests INTEGER NOT NULL, replies INTEGER NOT NULL,
        created REAL NOT NULL, updated REAL NOT NULL, files TEXT NOT NULL, detail TEXT NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS batch_requests (
        name TEXT NOT NULL, key TEXT NOT NULL, about TEXT NOT NULL, PRIMARY KEY (name, key)) WITHOUT ROWID""",
    "CREATE TABLE IF NOT EXISTS batch_ledger (id TEXT NOT NULL)",
)
_JOB = "name, job, state, backend, endpoint, model, plan, requests, replies, created, updated, files, detail"


@dataclass(frozen=True)
class BatchJob:
    """One job."""

    name: str  # that we gave it
    job: str | None  # by which the service knows it; None where it is not known whether it has it
    state: str
    backend: str
    endpoint: str
    model: str
    plan: str
    requests: int
    replies: int  # that are in the ledger
    created: float  # seconds since 1970
    updated: float
    files: tuple[str, ...]  # that were uploaded for it and are not known to be deleted
    detail: str  # what the service said


class Journal:
    """The jobs of one ledger. To be had from `Ledger.journal`."""

    def __init__(
        self,
        reading: Callable[[], AbstractContextManager[sqlite3.Connection]],
        transaction: Callable[..., AbstractContextManager[sqlite3.Connection]],
        clock: Callable[[], float],
        owner: Callable[[], Owner],
        new_ids: Callable[[int], Sequence[str]],
    ) -> None:
        self._reading, self._transaction, self._clock = reading, transaction, clock
        self._owner, self._new_ids = owner, new_ids

    # ---- reading
    def jobs(self, states: Collection[str] | None = None) -> list[BatchJob]:
        """The jobs in these states, or all, in the order in which they were planned."""
        with self._reading() as connection:
            return [job for job in read_jobs(connection) if states is None or job.state in states]

    def state(self, name: str) -> str | None:
        """The state of a job; None where there is none of that name."""
        return next((job.state for job in self.jobs() if job.name == name), None)

    def requests(self, name: str) -> dict[str, dict[str, Any]]:
        """The requests of a job that are still open, by key, with what `begin` was told of each."""
        with self._reading() as connection:
            if not _there(connection):
                return {}
            rows = connection.execute("SELECT key, about FROM batch_requests WHERE name = ?", (name,))
            read = {key: _read(about, dict, f"the request {key} of the job {name}") for key, about in rows}
            return {key: about for key, about in read.items() if about}

    def under_way(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that a job holds."""
        condition, value = among(list(keys))
        with self._reading() as connection:
            rows = connection.execute(f"SELECT key FROM leases WHERE host = ? AND {condition}", (_HOST, value))
            return {key for (key,) in rows}

    def prefix(self) -> str:
        """What the names of this ledger's jobs begin with."""
        with self._transaction(durable=True) as connection:
            for statement in _TABLES:
                connection.execute(statement)
            found = connection.execute("SELECT id FROM batch_ledger").fetchone()
            if found is None:
                found = (os.urandom(4).hex(),)
                connection.execute("INSERT INTO batch_ledger VALUES (?)", found)
            return f"hf-emo-dist-{found[0]}-"

    # ---- writing
    def begin(self, job: BatchJob, claims: Sequence[Claim], about: Mapping[str, Mapping[str, Any]], scope: str) -> None:
        """Write that a job is about to be submitted; its leases, which the caller holds, are the job's from now on."""
        now, owner = self._clock(), self._owner()
        condition, value = among([claim.key for claim in claims])
        with self._transaction(durable=True) as connection:
            _insert_job(connection, job)
            connection.executemany(
                "INSERT INTO batch_requests VALUES (?, ?, ?)",
                [(job.name, key, json.dumps(told)) for key, told in about.items()],
            )
            connection.execute(f"DELETE FROM leases WHERE owner = ? AND {condition}", (owner.token, value))
            connection.executemany(
                """INSERT OR REPLACE INTO leases (key, owner, host, pid, started, expires, cost_usd, tokens, scope)
                   VALUES (?, ?, ?, 0, '', ?, ?, ?, ?)""",
                [
                    (claim.key, job.name, _HOST, now + _FOR_EVER_S, claim.cost_usd, claim.tokens, scope)
                    for claim in claims
                ],
            )

    def update(self, name: str, **values: Any) -> None:
        """Change columns of a job: `job`, `state`, `files`, `detail`."""
        if "files" in values:
            values["files"] = json.dumps(list(values["files"]))
        values["updated"] = self._clock()
        columns = ", ".join(f"{column} = ?" for column in values)
        with self._transaction(durable=True) as connection:
            connection.execute(f"UPDATE batch_jobs SET {columns} WHERE name = ?", (*values.values(), name))

    def withdraw(self, name: str) -> None:
        """Forget a job that the service did not take; its requests are nobody's again."""
        with self._transaction(durable=True) as connection:
            connection.execute("DELETE FROM batch_jobs WHERE name = ?", (name,))
            connection.execute("DELETE FROM batch_requests WHERE name = ?", (name,))
            connection.execute("DELETE FROM leases WHERE owner = ? AND host = ?", (name, _HOST))

    def take_in(self, name: str, records: Sequence[Record]) -> set[str]:
        """Write replies of a job, in one transaction, and let go of what was reserved for them.

        Returns:
            The keys of those that were written. What was taken in before, by whomever, is passed over.
        """
        rows = {record.key: replies.row_of(record) for record in records}
        condition, value = among(list(rows))
        with self._transaction(durable=True) as connection:
            found = connection.execute(
                f"SELECT key FROM batch_requests WHERE name = ? AND {condition}", (name, value)
            ).fetchall()
            keys = [key for (key,) in found]
            ids = self._new_ids(len(keys))
            replies.insert(connection, [(ids[i], rows[key]) for i, key in enumerate(keys)], newest=True)
            self._close(connection, name, keys)
            connection.execute("UPDATE batch_jobs SET replies = replies + ? WHERE name = ?", (len(keys), name))
        return set(keys)

    def end(self, name: str, state: str, detail: str) -> None:
        """Write that a job has ended, and release what it still holds. A lost one's requests are kept for later."""
        with self._transaction(durable=True) as connection:
            connection.execute("DELETE FROM leases WHERE owner = ? AND host = ?", (name, _HOST))
            if state != LOST:
                connection.execute("DELETE FROM batch_requests WHERE name = ?", (name,))
            connection.execute(
                "UPDATE batch_jobs SET state = ?, detail = ?, updated = ? WHERE name = ?",
                (state, detail, self._clock(), name),
            )

    @staticmethod
    def _close(connection: sqlite3.Connection, name: str, keys: Sequence[str]) -> None:
        condition, value = among(keys)
        connection.execute(f"DELETE FROM batch_requests WHERE name = ? AND {condition}", (name, value))
        connection.execute(f"DELETE FROM leases WHERE owner = ? AND host = ? AND {condition}", (name, _HOST, value))


def read_jobs(connection: sqlite3.Connection) -> Iterator[BatchJob]:
    """All jobs of a ledger, the first one first."""
    if not _there(connection):
        return
    for row in connection.execute(f"SELECT {_JOB} FROM batch_jobs ORDER BY created, name").fetchall():
        values = dict(zip(_JOB.split(", "), row, strict=True))
        files = _read(values["files"], list, f"the files of the job {values['name']}")
        yield BatchJob(**{**values, "files": tuple(map(str, files))})


def _read(text: str, kind: type, what: str) -> Any:
    """JSON of this kind; what is damaged is told, and empty."""
    try:
        found = json.loads(text)
    except ValueError:
        found = None
    if isinstance(found, kind):
        return found
    logger.error("The ledger is damaged: %s cannot be read, and the rest is.", what)
    return kind()


def _there(connection: sqlite3.Connection) -> bool:
    return connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'batch_jobs'").fetchone() is not None


def _insert_job(connection: sqlite3.Connection, job: BatchJob) -> None:
    for statement in _TABLES:
        connection.execute(statement)
    values = {**vars(job), "files": json.dumps(list(job.files))}
    connection.execute(
        f"INSERT OR REPLACE INTO batch_jobs ({_JOB}) VALUES ({', '.join('?' * len(values))})", tuple(values.values())
    )
