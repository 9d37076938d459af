"""Who may send what and when, for all processes of a ledger: leases, the cap on money and tokens, and the rates."""

from __future__ import annotations

import contextlib
import logging
import math
import os
import socket
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path

from ..types import IN_FLIGHT, OK, Record
from .exchange import line_of, row_of_line
from .replies import KEY, among, cost_of, insert, lookup, row_of
from .schema import new_id
from .soundness import drop_impossible_leases

logger = logging.getLogger(__name__)

POLL_SECONDS = 1.0
#: No service that is waited for asks for more: a pause that has longer to go was written by a clock that is ahead.
LONGEST_PAUSE_S = 3600.0
_CLOCKS_DIFFER_S = 60.0


@dataclass(frozen=True)
class Claim:
    """A request that someone wants to send, by its `ledger_key`, and what it may cost at most."""

    key: str
    cost_usd: float = 0.0
    tokens: int = 0
    retry: bool = False  # ask again if the reply that counts is a failure

    def __post_init__(self) -> None:
        if not (self.cost_usd >= 0 and math.isfinite(self.cost_usd) and self.tokens >= 0):
            raise ValueError(
                f"A claim of {self.cost_usd} USD and {self.tokens} tokens. Mend: estimates are finite numbers from 0."
            )


@dataclass(frozen=True)
class Limits:
    """Caps on all that the ledger has cost, and how fast to send; None for no limit."""

    max_cost_usd: float | None = None
    max_tokens: int | None = None
    # In no minute are more granted (but for the tokens by which the last request overshoots).
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    scope: str = ""  # whom the rates belong to: backend|endpoint|model

    def __post_init__(self) -> None:
        for name in ("max_cost_usd", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not value >= 0:
                raise ValueError(f"`{name}` must not be negative, got {value}. Mend: None for no cap.")
        for name in ("requests_per_minute", "tokens_per_minute"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be above 0, got {value}. Mend: None for no limit.")


@dataclass
class Reservation:
    """What became of the claims. Each claimed key is in one of the lists, but for those that the cap left out."""

    granted: list[str] = field(default_factory=list)  # to be sent now; leased until stored, released or run out
    stored: dict[str, Record] = field(default_factory=dict)  # the record that counts, of what needs no request
    busy: list[str] = field(default_factory=list)  # someone else is asking, or the caller already is
    wait_s: float = 0.0  # after which it is worth trying again; 0 if there is nothing to wait for
    over_budget: bool = False  # the next request would pass the cap, counting what others are at
    deferred: list[str] = field(default_factory=list)  # the rate is used up, or the scope is paused, for `wait_s`
    # It would even if all that is in flight came for nothing. Over budget without this may change when replies in
    # flight cost less than was reserved.
    exhausted: bool = False
    # Why nobody is granted anything any more, and the mend: another worker of the same run had to stop, or Ctrl-C.
    stop: tuple[str, str] | None = None
    waits_for: str = ""  # who else has reserved what is in the way: processes, how much, until when


@dataclass(frozen=True)
class Spending:
    """What a ledger has cost since it exists, and what is reserved for requests in flight."""

    # Replies without a price count 0; what a service did not state counts as what its request could cost at most.
    cost_usd: float
    tokens: int
    replies: int
    reserved_cost_usd: float
    reserved_tokens: int


@lru_cache(maxsize=1)
def this_host() -> str:
    """Name the processes among which a process id means something: of this machine since it started, or container."""
    parts = [socket.gethostname()]
    with contextlib.suppress(OSError):
        parts.append(Path("/proc/sys/kernel/random/boot_id").read_text().strip()[:8])
    with contextlib.suppress(OSError):
        parts.append(os.readlink("/proc/self/ns/pid").strip("pid:[]"))
    return "|".join(parts)


def process_start(pid: int) -> str | None:
    """When a process of this host began, in the system's own words; None if there is none, "" if that is not told."""
    if not Path("/proc/self/stat").exists():
        if os.name == "nt":  # signal 0 would end it there
            return ""
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return None
        except OSError:
            pass
        return ""
    try:
        # the second field is the command in brackets and may hold anything
        state, *rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")[2].split()
    except OSError:
        return None
    return None if state in "ZX" else rest[18]


@dataclass(frozen=True)
class Owner:
    """Who holds a lease: one ledger object of one process."""

    token: str
    host: str
    pid: int
    started: str

    @classmethod
    def of_this_process(cls) -> Owner:
        """A new owner in this process."""
        return cls(os.urandom(8).hex(), this_host(), os.getpid(), process_start(os.getpid()) or "")


class _Bucket:
    """A token bucket: one second's worth at most, filled so slowly that no minute has more than `per_minute`."""

    def __init__(self, per_minute: float | None, level: float | None, elapsed: float, unit: float) -> None:
        self.per_minute = per_minute
        if per_minute is None:
            self.level = level
            return
        self.capacity = max(unit, per_minute / 60)
        self.refill = max(per_minute - self.capacity + unit, per_minute / 2) / 60
        # nothing runs into debt for longer than a pause lasts, but a file that was changed by others
        level = self.capacity if level is None else max(level, -LONGEST_PAUSE_S * self.refill)
        self.level = min(self.capacity, level + elapsed * self.refill)

    def wait(self, amount: float) -> float:
        """Seconds until so much may be taken."""
        if self.per_minute is None or self.level is None:
            return 0.0
        # more than the bucket holds may be taken from a full one, which is then in debt
        missing = min(amount, self.capacity) - self.level
        return missing / self.refill if missing > 1e-9 else 0.0

    def take(self, amount: float) -> None:
        if self.level is not None and self.per_minute is not None:
            self.level -= amount


class Rates:
    """The state of one scope's rates, read from the ledger and written back."""

    def __init__(self, connection: sqlite3.Connection, limits: Limits, now: float) -> None:
        self.connection, self.scope, self.now = connection, limits.scope, now
        row = connection.execute(
            "SELECT requests, tokens, updated, paused_until FROM rates WHERE scope = ?", (limits.scope,)
        ).fetchone()
        requests, tokens, updated, paused_until = row or (None, None, now, 0.0)
        if updated > now:  # written by a clock that is ahead, or ours was set back: what it meant is the duration
            paused_until, updated = paused_until - (updated - now), now
            connection.execute(
                "UPDATE rates SET updated = ?, paused_until = ? WHERE scope = ?", (now, paused_until, limits.scope)
            )
        self.paused_until: float = min(paused_until, now + LONGEST_PAUSE_S)
        elapsed = max(0.0, now - updated)  # a clock that was set back gives nothing
        self.requests = _Bucket(limits.requests_per_minute, requests, elapsed, 1.0)
        self.tokens = _Bucket(limits.tokens_per_minute, tokens, elapsed, 0.0)
        self.changed = False

    def wait(self, tokens: int) -> float:
        """Seconds until a request of so many tokens may be sent."""
        return max(self.paused_until - self.now, self.requests.wait(1), self.tokens.wait(tokens), 0.0)

    def take(self, tokens: int) -> None:
        """Count one request."""
        self.requests.take(1)
        self.tokens.take(tokens)
        self.changed = True

    def save(self) -> None:
        """Write the state back if a request was counted."""
        limited = self.requests.per_minute is not None or self.tokens.per_minute is not None
        if self.changed and limited:
            self.connection.execute(
                "INSERT OR REPLACE INTO rates VALUES (?, ?, ?, ?, ?)",
                (self.scope, self.requests.level, self.tokens.level, self.now, self.paused_until),
            )


def reserve(
    connection: sqlite3.Connection, claims: Sequence[Claim], limits: Limits, owner: Owner, now: float, lease_s: float
) -> Reservation:
    """Decide about claims, in their order, and write the leases. To be called inside a write transaction."""
    result = Reservation()
    stored = lookup(connection, [claim.key for claim in claims])
    drop_impossible_leases(connection, now)
    _mend_clock(connection, now)
    _free_expired(connection, now)
    rates = Rates(connection, limits, now)
    leases: list[tuple[object, ...]] = []
    reaped = False
    held = _held(connection, claims)
    spent = spending(connection, now)
    cost, tokens = spent.reserved_cost_usd, spent.reserved_tokens
    taken: set[str] = set()
    for claim in claims:
        if claim.key in taken:  # the same clip twice in one call
            continue
        taken.add(claim.key)
        record = stored.get(claim.key)
        if record is not None and settles(record, claim):
            result.stored[claim.key] = record
            continue
        if not reaped and (claim.key in held or _over(limits, claim, spent.cost_usd + cost, spent.tokens + tokens)):
            # looking for dead processes costs system calls, so only where somebody is in the way
            reaped = True
            if free_dead(connection, now):
                held = _held(connection, claims)
                before, spent = spent, spending(connection, now)
                cost -= before.reserved_cost_usd - spent.reserved_cost_usd
                tokens -= before.reserved_tokens - spent.reserved_tokens
        if claim.key in held:
            result.busy.append(claim.key)
        elif result.over_budget or _over(limits, claim, spent.cost_usd + cost, spent.tokens + tokens):
            result.exhausted |= not result.over_budget and _over(limits, claim, spent.cost_usd, spent.tokens)
            result.over_budget = True
        elif result.deferred or (wait := rates.wait(claim.tokens)) > 0:
            result.wait_s = result.wait_s if result.deferred else wait
            result.deferred.append(claim.key)
        else:
            rates.take(claim.tokens)
            cost, tokens = cost + claim.cost_usd, tokens + claim.tokens
            leases.append((claim.key, owner.token, owner.host, owner.pid, owner.started, now + lease_s,
                           claim.cost_usd, claim.tokens, limits.scope))  # fmt: skip
            result.granted.append(claim.key)
    connection.executemany(
        f"""INSERT INTO leases (key, owner, host, pid, started, expires, cost_usd, tokens, scope, granted)
            VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, {now!r})""",
        leases,
    )
    rates.save()
    if result.busy and not result.deferred:
        result.wait_s = min(POLL_SECONDS, max(0.01, min(held[key] for key in result.busy) - now))
    elif result.over_budget and not result.exhausted and not result.deferred:
        result.wait_s = POLL_SECONDS
    if not result.granted and (result.busy or (result.over_budget and not result.exhausted)):
        result.waits_for = holders(connection, owner, None if result.over_budget else result.busy)
    return result


def holders(connection: sqlite3.Connection, owner: Owner, keys: Sequence[str] | None = None) -> str:
    """Whose leases, of these keys or all, others than the owner has: in words; "" where there are none."""
    condition, value = ("?", 1) if keys is None else among(keys)
    rows = connection.execute(
        f"""SELECT host, pid, COUNT(*), SUM(cost_usd), MAX(expires) FROM leases WHERE owner <> ? AND {condition}
            GROUP BY 1, 2 ORDER BY SUM(cost_usd) DESC, COUNT(*) DESC LIMIT 4""",
        (owner.token, value),
    ).fetchall()
    return "; ".join(
        (f"batch jobs ({number:,} requests" if host == "batch job" else
         f"process {pid} on {str(host).partition('|')[0]} ({number:,} requests")
        + f", ${cost:.4f} reserved, until {datetime.fromtimestamp(expires, UTC):%Y-%m-%d %H:%M:%S} UTC at the latest)"
        for host, pid, number, cost, expires in rows
    )  # fmt: skip


def settles(record: Record, claim: Claim) -> bool:
    """Whether what the ledger has makes a request needless: a vote, or a failure that is not to be tried again."""
    return record.outcome == OK or (record.final and not claim.retry)


def pause(connection: sqlite3.Connection, scope: str, now: float, seconds: float) -> None:
    """Let nobody send in this scope for so long; an earlier pause that lasts longer stays."""
    seconds = min(seconds, LONGEST_PAUSE_S)
    rates = Rates(connection, Limits(scope=scope), now)  # which mends what a clock that is ahead has written
    connection.execute(
        """INSERT INTO rates VALUES (?, NULL, NULL, ?, ?)
           ON CONFLICT (scope) DO UPDATE SET updated = excluded.updated, paused_until = excluded.paused_until""",
        (scope, now, max(rates.paused_until, now + seconds)),
    )


def over_cap(connection: sqlite3.Connection, limits: Limits, now: float) -> bool:
    """Whether what was spent and what is reserved pass the cap together."""
    spent = spending(connection, now)
    nothing = Claim("")
    return _over(limits, nothing, spent.cost_usd + spent.reserved_cost_usd, spent.tokens + spent.reserved_tokens)


def _held(connection: sqlite3.Connection, claims: Sequence[Claim]) -> dict[str, float]:
    condition, value = among([claim.key for claim in claims])
    return dict(connection.execute(f"SELECT key, expires FROM leases WHERE {condition}", (value,)))


def _over(limits: Limits, claim: Claim, cost: float, tokens: int) -> bool:
    over_cost = limits.max_cost_usd is not None and cost + claim.cost_usd > limits.max_cost_usd * (1 + 1e-9) + 1e-12
    return over_cost or (limits.max_tokens is not None and tokens + claim.tokens > limits.max_tokens)


def mark_sent(connection: sqlite3.Connection, owner: Owner, records: Mapping[str, Record | None], now: float) -> None:
    """Write which of the owner's leases have a request that may leave from now on; None: it is known to cost nothing.

    The record is what `let_go` writes where nothing is heard of the request any more. What was granted and is not
    marked, such as all that waits for its turn, has not left.
    """
    marks = [
        (None, None, key, owner.token) if record is None else (now, line_of("", record), key, owner.token)
        for key, record in records.items()
    ]
    connection.executemany("UPDATE leases SET sent = ?, about = ? WHERE key = ? AND owner = ?", marks)


def let_go(connection: sqlite3.Connection, condition: str, values: Sequence[object], now: float) -> None:
    """Drop the leases for which a condition of SQL holds. What was sent for them may be billed, and is charged."""
    rows = []
    for sent, about, key, cost, tokens in connection.execute(
        f"SELECT sent, about, key, cost_usd, tokens FROM leases WHERE sent IS NOT NULL AND {condition}", values
    ).fetchall():
        try:
            row = row_of_line(about)
        except (ValueError, TypeError):  # damaged: what it was about is lost, and what it may have cost is not
            logger.error("The ledger is damaged: what was asked for under the key %s cannot be read.", key)
            lost = Record(key, "connection", detail=IN_FLIGHT, cost_usd=cost, assumed_usd=cost, final=False)
            row = row_of(replace(lost, assumed_tokens=tokens))
        # A reply, or a try that was charged, which a process wrote before it died, perhaps to a rescue file.
        later = connection.execute(
            "SELECT 1 FROM replies WHERE key = ? AND reply_id >= ?", (row[KEY], f"{int(sent * 1e6):016x}")
        )
        if later.fetchone() is None:
            rows.append((new_id(int(now * 1e6)), row))
    connection.execute(f"DELETE FROM leases WHERE {condition}", values)
    if rows:
        insert(connection, rows, newest=True)
        logger.warning(
            "%d requests of a process that ended, or of a run that was cut short, were in flight then. They may have "
            "been billed, and are charged as what they could cost at most: $%.4f.",
            len(rows),
            sum(cost_of(row) for _, row in rows),
        )


def free_dead(connection: sqlite3.Connection, now: float) -> bool:
    """Drop the leases of processes of this host that are no more; whether there were any."""
    here = this_host()  # and not that of who asks: he may ask from another machine
    processes = connection.execute("SELECT DISTINCT pid, started FROM leases WHERE host = ?", (here,)).fetchall()
    dead = [(here, pid, started) for pid, started in processes if process_start(pid) != started]
    for process in dead:
        let_go(connection, "host = ? AND pid = ? AND started = ?", process, now)
    return bool(dead)


def _mend_clock(connection: sqlite3.Connection, now: float) -> None:
    """Let leases that were granted by a clock that was ahead, since set back, last for as long as they were meant to.

    Else what another machine, or this one before it was started again, was asking for when it ended would be waited
    for until the clock has caught up.
    """
    latest = now + _CLOCKS_DIFFER_S
    (number, ahead) = connection.execute(
        "SELECT COUNT(*), MAX(granted) FROM leases WHERE granted > ?", (latest,)
    ).fetchone()
    if number:
        connection.execute(
            "UPDATE leases SET expires = expires - granted + ?, granted = ? WHERE granted > ?", (now, now, latest)
        )
        logger.warning(
            "%d requests in flight were noted by a clock that is ahead of this one by %.0f s. They are waited for as "
            "long as was meant then.",
            number,
            ahead - now,
        )


def _free_expired(connection: sqlite3.Connection, now: float) -> None:
    """Drop leases that ran out. A process that is known to live will tell itself what came of its requests.

    Those of another process of this host run out when it ends, and not before: it prolongs them by a clock that may be
    behind, where this one was set forward since.
    """
    processes = connection.execute("SELECT DISTINCT host, pid, started FROM leases WHERE expires <= ?", (now,))
    for host, pid, started in processes.fetchall():
        its = ("expires <= ? AND host = ? AND pid = ? AND started = ?", (now, host, pid, started))
        if host != this_host() or process_start(pid) != started:
            let_go(connection, *its, now)
        elif started and pid != os.getpid():  # where the system does not say when it began, it may be another by now
            connection.execute(f"UPDATE leases SET expires = ? WHERE {its[0]}", (now + _CLOCKS_DIFFER_S, *its[1]))
    connection.execute("DELETE FROM leases WHERE expires <= ?", (now,))


def spending(connection: sqlite3.Connection, now: float) -> Spending:
    """The ledger's totals, and the reservations that run, or of which it is not known what became of their requests."""
    return Spending(
        *connection.execute(
            """SELECT t.cost_usd, t.tokens, t.replies, COALESCE(SUM(l.cost_usd), 0.0), COALESCE(SUM(l.tokens), 0)
               FROM totals AS t LEFT JOIN leases AS l ON l.expires > ? OR l.sent IS NOT NULL""",
            (now,),
        ).fetchone()
    )


def settle(connection: sqlite3.Connection, owner: Owner, used: dict[str, int]) -> None:
    """Drop the owner's leases on keys whose replies came; tokens that were reserved in excess go back to the rates."""
    back: dict[str, int] = {}
    condition, value = among(list(used))
    for key, scope, tokens in connection.execute(
        f"SELECT key, scope, tokens FROM leases WHERE owner = ? AND {condition}", (owner.token, value)
    ):
        if used[key] and tokens > used[key]:
            back[scope] = back.get(scope, 0) + tokens - used[key]
    release(connection, owner, list(used))
    for scope, tokens in back.items():
        connection.execute("UPDATE rates SET tokens = tokens + ? WHERE scope = ?", (tokens, scope))


def release(connection: sqlite3.Connection, owner: Owner, keys: Sequence[str]) -> None:
    """Drop the owner's leases on these keys."""
    condition, value = among(keys)
    connection.execute(f"DELETE FROM leases WHERE owner = ? AND {condition}", (owner.token, value))
