"""One ledger for all workers of a Ray cluster: an actor on the head node has the file open, everybody else a handle.

No lock of a file crosses a network: one process reads and writes, and leases, caps and rates are kept in one place. The
leases belong to the workers and not to the actor, so that either may die: what a dead worker held is free at once where
it ran on the head node's machine, else when its lease runs out; and a new actor finds all in the file.
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from .._lazy import need
from ..annotation.ledger.ledger import Ledger, LedgerError
from ..annotation.ledger.limits import Claim, Limits, Owner, Reservation, Spending
from ..annotation.ledger.plans import Plan
from ..annotation.types import Record

#: Names of actors are of this room of Ray's.
NAMESPACE = "hf_emo_dist"
#: What a Ray cluster calls the head node among its resources.
_HEAD = "node:__internal_head__"
#: Seconds to go on asking while the actor is not there: Ray starts another.
_PATIENCE_S = 60.0
#: Calls that write something new each time, and so must be known again when they are repeated.
_ADDING = ("store", "charge", "store_open")


class LedgerActor:
    """Has the ledger open, and does what handles ask, one call after the other."""

    def __init__(self, path: str, synchronous: str) -> None:
        self._path, self._synchronous = path, synchronous
        self._ledger: Ledger | None = None
        self._owners: dict[str, Ledger] = {}
        self._stopped: dict[str, tuple[str, str]] = {}  # by run

    def call(self, owner: Owner, run: str, name: str, args: Sequence[Any], again: bool) -> Any:
        """Call a method of the ledger for a worker.

        Args:
            owner: Whose leases they are.
            run: Of which the worker is a part.
            name: Of the method.
            args: Its arguments.
            again: Whether it was called before, and nobody knows whether it was done.
        """
        if name == "reserve" and run in self._stopped:
            return Reservation(stop=self._stopped[run])
        if name == "stop_run":
            self._stopped.setdefault(run, (args[0], args[1]))
            return None
        if name == "pid":
            return os.getpid()
        if self._ledger is None:  # not before, so that what is wrong with the file is the answer to a call
            self._ledger = Ledger(self._path, synchronous=self._synchronous)
        ledger = self._owners.get(owner.token)
        if ledger is None:
            ledger = self._owners[owner.token] = self._ledger.on_behalf_of(owner)
        if name == "close":
            self._owners.pop(owner.token).close()
            return None
        if again and name == "reserve":
            ledger.give_up_unsent([claim.key for claim in args[0]])
        elif again and name in _ADDING:
            first = args[0] if name != "store_open" else [args[0]]
            lacking = ledger.lacking(first)
            if name == "store_open" and not lacking:
                return None
            if name != "store_open":
                args = (lacking, *args[1:])
                if name == "store":  # of what was written the leases are dropped
                    written = {record.key for record in first} - {record.key for record in lacking}
                    ledger.release(sorted(written))
        return getattr(ledger, name)(*args)


class RayLedger:
    """A handle to the one ledger of a Ray cluster, for ``Annotator(ledger=…)``; it can be pickled to all workers.

    The actor is made at the first call, on the head node, and takes no CPU. Workers ask it in bunches, as runs do.
    Whoever is connected to the cluster may use it, two drivers at once too.

    Args:
        path: The SQLite file on the head node's disk, absolute or below the driver's folder.
        run: Name of a run whose workers stop together, see :meth:`stop_run`.
        synchronous: As for `Ledger`.

    Raises:
        ModuleNotFoundError: Ray is not installed; from a method, `LedgerError` as of `Ledger`, or where no actor
            answers for a minute.

    Example:
        >>> annotator = Annotator("gemini", ledger=RayLedger("votes.sqlite"), progress=False)  # doctest: +SKIP
        >>> rows = ray.data.read_parquet("clips").map_batches(annotator, batch_format="pyarrow")  # doctest: +SKIP
    """

    survives_pickling = True
    #: Short, since a lease is all that tells of a worker on another machine. Runs prolong theirs every quarter of it.
    lease_s = 60.0

    def __init__(self, path: str | os.PathLike[str], run: str = "", synchronous: str = "FULL") -> None:
        need("ray", "RayLedger")
        self.path, self.run, self.synchronous = Path(path).expanduser().resolve(), run, synchronous
        self._start()

    def _start(self) -> None:
        self._lock = threading.Lock()
        self._actor: Any = None
        self._owner: Owner | None = None
        self._ahead: float | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": str(self.path), "run": self.run, "synchronous": self.synchronous}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.path, self.run, self.synchronous = Path(state["path"]), state["run"], state["synchronous"]
        self._start()

    def __repr__(self) -> str:
        return f"RayLedger({str(self.path)!r})"

    # ---- as of `annotation.ledger.run_ledger.RunLedger`
    def lookup(self, keys: Sequence[str]) -> dict[str, Record]:
        """See `Ledger.lookup`."""
        return self._call("lookup", list(keys))

    def under_way(self, keys: Sequence[str]) -> set[str]:
        """See `Ledger.under_way`."""
        return self._call("under_way", list(keys))

    def remember_plan(self, name: str, plan: Plan) -> None:
        """See `Ledger.remember_plan`."""
        self._call("remember_plan", name, plan)

    def spending(self) -> Spending:
        """See `Ledger.spending`."""
        return self._call("spending")

    def now(self) -> float:
        """The time by the actor's clock; it is asked once."""
        if self._ahead is None:
            before = time.time()
            self._ahead = self._call("now") - (before + time.time()) / 2
        return time.time() + self._ahead

    def answered_since(self, moment: float, like: Record) -> set[str]:
        """See `Ledger.answered_since`."""
        return self._call("answered_since", moment, like)

    def unanswered(self, like: Record) -> set[str]:
        """See `Ledger.unanswered`."""
        return self._call("unanswered", like)

    def reserve(self, claims: Sequence[Claim], limits: Limits | None = None, lease_s: float = lease_s) -> Reservation:
        """See `Ledger.reserve`; where the run was stopped, that is said and nothing granted."""
        return self._call("reserve", list(claims), limits, lease_s)

    def sending(self, records: Mapping[str, Record | None]) -> None:
        """See `Ledger.sending`."""
        self._call("sending", dict(records))

    def store(self, records: Sequence[Record]) -> None:
        """See `Ledger.store`."""
        self._call("store", list(records))

    def charge(self, records: Sequence[Record], limits: Limits) -> bool:
        """See `Ledger.charge`."""
        return self._call("charge", list(records), limits)

    def store_open(self, record: Record) -> None:
        """See `Ledger.store_open`."""
        self._call("store_open", record)

    def confirm(self, keys: Sequence[str]) -> None:
        """See `Ledger.confirm`."""
        self._call("confirm", list(keys))

    def release(self, keys: Sequence[str]) -> None:
        """See `Ledger.release`."""
        if keys:
            self._call("release", list(keys))

    def forfeit(self, keys: Sequence[str]) -> None:
        """See `Ledger.forfeit`."""
        self._call("forfeit", list(keys))

    def extend(self, keys: Sequence[str], lease_s: float) -> None:
        """See `Ledger.extend`."""
        if keys:
            self._call("extend", list(keys), lease_s)

    def pause(self, scope: str, seconds: float) -> None:
        """See `Ledger.pause`."""
        self._call("pause", scope, seconds)

    def admit(self, limits: Limits, tokens: int = 0) -> float:
        """See `Ledger.admit`."""
        return self._call("admit", limits, tokens)

    def close(self) -> None:
        """Give this worker's leases back; the next call opens the handle again."""
        if self._actor is not None:
            with contextlib.suppress(LedgerError):
                self._call("close")
        self._start()

    # ---- of the cluster
    def stop_run(self, reason: str, mend: str = "") -> None:
        """Let all workers of the run stop: nothing is granted any more, what is in flight is stored."""
        self._call("stop_run", reason, mend)

    def pid(self) -> int:
        """Process of the actor, on the head node."""
        return self._call("pid")

    def _call(self, name: str, *args: Any) -> Any:
        import ray
        from ray.exceptions import RayActorError, RayTaskError

        deadline, again = time.monotonic() + _PATIENCE_S, False
        while True:
            try:
                with self._lock:
                    if self._owner is None or self._owner.pid != os.getpid():
                        self._actor, self._owner = None, Owner.of_this_process()
                    if self._actor is None:
                        self._actor = self._found_or_made()
                    actor, owner = self._actor, self._owner
                return ray.get(actor.call.remote(owner, self.run, name, args, again))
            except RayTaskError as error:  # raised by the ledger
                raise error.cause from None
            except RayActorError as error:  # Ray starts it anew, or, where its driver is gone, we do
                if time.monotonic() > deadline:
                    raise LedgerError(
                        f"The actor that has the ledger {self.path} open does not answer ({type(error).__name__}).",
                        "see whether the head node lives, and run again: what came is in the file.",
                    ) from error
                self._actor, again = None, True
                time.sleep(0.2)

    def _found_or_made(self) -> Any:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        head = [node["NodeID"] for node in ray.nodes() if node["Alive"] and _HEAD in node["Resources"]]
        options: dict[str, Any] = {}
        if head:
            options["scheduling_strategy"] = NodeAffinitySchedulingStrategy(node_id=head[0], soft=False)
        return (
            ray.remote(LedgerActor)
            .options(
                name=f"ledger {self.path}",
                namespace=NAMESPACE,
                get_if_exists=True,
                num_cpus=0,  # one that takes a CPU beside a pool of as many as there are leaves none for reading
                max_restarts=-1,
                max_task_retries=0,  # a call that writes is repeated by us, who say that it is repeated
                **options,
            )
            .remote(str(self.path), self.synchronous)
        )
