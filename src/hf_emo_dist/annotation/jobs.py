"""What a run is made of: its settings, and the replies that it is to get."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from .types import PanelMember, PreparedAudio, Prompt

__all__ = ["Clip", "Job", "RunSettings"]


@dataclass(frozen=True)
class RunSettings:
    """How requests are sent; none of it changes an answer.

    Attributes:
        concurrency: Requests in flight at most.
        requests_per_minute, tokens_per_minute: Rates, shared by all processes on the ledger; None for no bound.
        max_cost_usd, max_tokens: Caps on all that the ledger has cost since it exists; None for no cap.
        timeout_s: Seconds to wait for one reply.
        max_tries: Requests for one reply while the service or the connection fails.
        patience_s: Seconds to go on while the service answers 429 and nothing else; then, or when it asks for a longer wait, the run stops.
        retry_failed: Whether to ask again where the ledger has a failure: True for all, or the outcomes to ask again for.
        first_backoff_s, last_backoff_s: Bounds of the waiting time between tries.
    """

    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    timeout_s: float = 120.0
    max_tries: int = 6
    patience_s: float = 600.0
    retry_failed: bool | tuple[str, ...] = False
    first_backoff_s: float = 1.0
    last_backoff_s: float = 60.0

    def __post_init__(self) -> None:
        for name in ("concurrency", "max_tries"):
            value = getattr(self, name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"`{name}` must be a whole number from 1, got {value!r}.")
        for name in ("requests_per_minute", "tokens_per_minute", "max_cost_usd", "max_tokens"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"`{name}` must be above 0, or None for no bound, got {value!r}.")
        for name in ("timeout_s", "patience_s", "first_backoff_s", "last_backoff_s"):
            if not getattr(self, name) > 0:
                raise ValueError(f"`{name}` must be above 0, got {getattr(self, name)!r}.")

    def asks_again(self, outcome: str) -> bool:
        """Whether a stored failure with this outcome is asked for again."""
        return self.retry_failed if isinstance(self.retry_failed, bool) else outcome in self.retry_failed


@dataclass
class Clip:
    """One clip, and how it is prepared when something has to be sent."""

    row_id: str
    prepare: Callable[[], PreparedAudio]
    prepared: PreparedAudio | None = None


@dataclass
class Job:
    """One reply that is wanted; `retry` where the ledger has a failure under its key that is to be tried again."""

    key: str
    clip: Clip
    member: PanelMember
    prompt: Prompt
    request: dict[str, Any]
    request_hash: str
    audio_hash: str
    retry: bool = False
