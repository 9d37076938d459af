"""What a run asks of its ledger, and no more: the file itself, or a handle to whoever has it open."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from ..types import Record
from .limits import Claim, Limits, Reservation, Spending
from .plans import Plan


class RunLedger(Protocol):
    """A `Ledger`, or a handle that speaks for one in another process (`hf_emo_dist.engines.RayLedger`).

    What each method does is said in `Ledger`. Leases belong to the process that calls. A handle can be pickled, and
    `survives_pickling` says so: an `Annotator` then takes it along, where it opens a file anew.

    Attributes:
        path: Of the SQLite file, on the machine that has it.
        lease_s: Seconds for which a lease is good unless it is prolonged.
        survives_pickling: Whether a pickled copy speaks for the same ledger wherever it is.
    """

    path: Path
    lease_s: float
    survives_pickling: bool

    def lookup(self, keys: Sequence[str]) -> dict[str, Record]:
        """The record that counts, for each key that has one."""

    def under_way(self, keys: Sequence[str]) -> set[str]:
        """Those of these keys that a batch job holds."""

    def remember_plan(self, name: str, plan: Plan) -> None:
        """Write what a plan asks for."""

    def spending(self) -> Spending:
        """What the ledger has cost, and what is reserved."""

    def now(self) -> float:
        """The time by the ledger's clock."""

    def answered_since(self, moment: float, like: Record) -> set[str]:
        """The clips that got votes after a moment of `now`, asked alike."""

    def unanswered(self, like: Record) -> set[str]:
        """The clips that got no vote since the last one, asked alike."""

    def reserve(self, claims: Sequence[Claim], limits: Limits | None = None, lease_s: float = 600.0) -> Reservation:
        """Which of these requests the caller is to send."""

    def sending(self, records: Mapping[str, Record | None]) -> None:
        """Write that requests may leave from now on."""

    def store(self, records: Sequence[Record]) -> None:
        """Write replies; drop their leases."""

    def charge(self, records: Sequence[Record], limits: Limits) -> bool:
        """Write tries that may have been billed; whether the cap still holds."""

    def store_open(self, record: Record) -> None:
        """Write a reply of which it is not known yet whether it is its clip's."""

    def confirm(self, keys: Sequence[str]) -> None:
        """Write that replies are their clips' doing; drop their leases."""

    def release(self, keys: Sequence[str]) -> None:
        """Give leases back without a reply."""

    def forfeit(self, keys: Sequence[str]) -> None:
        """Give leases back of whose requests nothing will be heard; what may have left is charged."""

    def extend(self, keys: Sequence[str], lease_s: float) -> None:
        """Let leases run for so long from now."""

    def pause(self, scope: str, seconds: float) -> None:
        """Grant nobody anything in this scope for so long."""

    def admit(self, limits: Limits, tokens: int = 0) -> float:
        """Count one more request against the rates; the seconds to wait instead, if it may not be sent."""

    def close(self) -> None:
        """Give leases back."""
