"""What a run is made of: its settings, the replies that it is to get, and what its stages share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from ...distributions import check_choice
from ..capabilities import ModelCapabilities
from ..ledger.limits import Claim, Limits
from ..types import OK, Backend, PanelMember, PreparedAudio, Prompt, Record, Usage
from .charging import charge
from .estimate import usage_at_most

if TYPE_CHECKING:
    from ..ledger.run_ledger import RunLedger
    from .evidence import Evidence
    from .run_report import Progress, RunReport


#: What becomes of a request that the flex tier has no room for.
WHEN_SHED = ("retry", "standard")
#: Seconds to wait for one reply, and to go on while none comes, by the tier that is asked. Flex takes up to 15 minutes.
TIMEOUT_S = {"standard": 120.0, "flex": 1200.0}
PATIENCE_S = {"standard": 600.0, "flex": 3600.0}


@dataclass(frozen=True)
class RunSettings:
    """How requests are sent, as `Annotator` describes it; none of it changes an answer."""

    concurrency: int = 128
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    timeout_s: float = TIMEOUT_S["standard"]
    max_tries: int = 8
    patience_s: float = PATIENCE_S["standard"]
    when_shed: str = "retry"
    max_failure_rate: float = 0.5
    retry_failed: bool | tuple[str, ...] = False
    first_backoff_s: float = 1.0
    last_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_tries"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` is {value!r}. Mend: a whole number from 1.")
        for name in ("requests_per_minute", "tokens_per_minute", "max_cost_usd", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` is {value!r}. Mend: a number above 0, or None for no bound.")
        for name in ("timeout_s", "patience_s", "first_backoff_s", "last_backoff_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` is {getattr(self, name)!r}. Mend: seconds above 0.")
        check_choice("when_shed", self.when_shed, WHEN_SHED)
        if not 0 < self.max_failure_rate <= 1:
            raise ValueError(f"`max_failure_rate` is {self.max_failure_rate!r}. Mend: a share above 0; 1 for no bound.")

    def asks_again(self, record: Record) -> bool:
        """Whether what the ledger has is asked for again: what is not final is, a vote never."""
        again = self.retry_failed if isinstance(self.retry_failed, bool) else record.outcome in self.retry_failed
        return record.outcome != OK and (again or not record.final)


@dataclass
class Clip:
    """One clip, and how it is prepared when something has to be sent."""

    row_id: str
    prepare: Callable[[], PreparedAudio]
    prepared: PreparedAudio | None = None
    coming: asyncio.Future[PreparedAudio] | None = None  # while it is prepared, in a thread


@dataclass
class Job:
    """One reply that is wanted."""

    key: str
    clip: Clip
    member: PanelMember
    prompt: Prompt
    request: dict[str, Any]
    request_hash: str
    audio_hash: str
    retry: bool = False  # the ledger has a failure under its key, which is to be tried again
    also: list[str] = field(default_factory=list)  # ids of further rows with the same clip
    known: bool = False  # the ledger has it as unanswered, and not known to be its clip's doing
    tries: int = 0  # requests that were sent and are not in the ledger yet
    sent: float = 0.0  # when the last one left, by the monotonic clock
    apart: Apart | None = None  # why it has no answer so far
    plan: str | None = None  # of its reply, where that is not the run's
    tier: str | None = None  # at which it is asked, where that is not the run's
    bound: Usage | None = None  # the tokens that it can use at most, where the request itself is not at hand any more

    @cached_property
    def voice(self) -> PanelMember:
        """Who is asked, and how: alike for all requests that differ in their clip alone."""
        return replace(self.member, replicate=0)

    @property
    def seconds(self) -> float:
        """Duration of the clip."""
        return self.clip.prepared.seconds if self.clip.prepared is not None else 0.0

    def at_most(self, capabilities: ModelCapabilities) -> Usage:
        """The tokens that the request can use at most."""
        return self.bound or usage_at_most(self.request, self.seconds, capabilities)

    def claim(self, capabilities: ModelCapabilities, tier: str = "standard") -> Claim:
        """What the request can cost at most, so that a cap holds whatever comes back."""
        # At the full price for flex, too: it may be served, and be sent again, at the standard tier.
        used = self.at_most(capabilities)
        return Claim(self.key, charge(used, used, capabilities, tier=tier).cost_usd or 0.0, used.total, self.retry)


@dataclass
class Apart:
    """A job without an answer, of which it is not known yet whether that is its clip's doing.

    It stands apart until others are answered that were sent after `since`; then it is asked once more (or, where
    `again` is False, is its clip's without that).
    """

    kind: str  # the row of `judging.MEANINGS`
    detail: str
    since: float  # by the monotonic clock
    at: float  # by the ledger's
    again: bool = True
    ours: bool = True  # whether its lease is still held
    tried: bool = False  # whether it had its second chance


@dataclass
class Run:
    """What the stages of one run share: who is asked, where replies are kept, and what is counted and shown."""

    backend: Backend
    ledger: RunLedger
    settings: RunSettings
    plan: str  # hash of the annotator's settings, stored with each reply
    emotions: Sequence[str]
    lenient: bool  # whether replies are read as arXiv 2601.14620 does
    report: RunReport
    progress: Progress
    evidence: Evidence
    whole: bool = True  # False for a batch, after which others come: what it leaves open they may settle
    answers_as: Sequence[str] = ()  # names of models that may answer, beside the one that is asked
    not_asked: tuple[str, str] | None = None  # why nobody is asked, and the mend: what is stored is all there will be
    tier: str = "standard"  # that is asked: of the service, or "batch"
    answerer_known: bool = True  # else the first request goes alone, until its reply tells who answers
    members: int = 1  # of the panel

    def __post_init__(self) -> None:
        if self.gathers is not None:  # it decides how much is under way at once, and not the speed of its answers
            self.settings = replace(self.settings, concurrency=self.gathers)
        self._secrets = tuple(secret for secret in self.backend.secrets() if secret)
        self.limits = Limits(
            max_cost_usd=self.settings.max_cost_usd,
            max_tokens=self.settings.max_tokens,
            requests_per_minute=self.settings.requests_per_minute,
            tokens_per_minute=self.settings.tokens_per_minute,
            scope=f"{self.backend.name}|{self.backend.endpoint}|{self.backend.model}",
        )

    @property
    def gathers(self) -> int | None:
        """How many requests its backend is to have at once, where it computes here and gathers them into batches."""
        clips = getattr(self.backend, "gathers", None)
        return None if clips is None else int(clips) * self.members

    def clean(self, text: str) -> str:
        """The text without the backend's secrets: it goes to the ledger, logs or messages."""
        for secret in self._secrets:
            text = text.replace(secret, "[secret]")
        return text

    def count(self, record: Record, row_id: str, fresh: bool) -> None:
        """Count and show a reply."""
        self.report.count(record, row_id, fresh)
        self.progress.show(self.report)
