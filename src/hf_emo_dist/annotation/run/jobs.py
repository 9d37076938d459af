"""What a run is made of: its settings, and the replies that it is to get."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from ..capabilities import cost_usd, same_family
from ..parsing import Reading, read_reply
from ..types import Answer, Backend, PanelMember, PreparedAudio, Prompt, Record

__all__ = ["Clip", "Job", "RunSettings", "reading_of", "record_of"]


@dataclass(frozen=True)
class RunSettings:
    """How requests are sent; none of it changes an answer.

    Attributes:
        concurrency: Requests in flight at most.
        requests_per_minute, tokens_per_minute: Rates, shared by all processes on the ledger; None for no bound.
        max_cost_usd, max_tokens: Caps on all that the ledger has cost since it exists; None for no cap.
        timeout_s: Seconds to wait for one reply.
        max_tries: Requests for one reply that the service or the connection fails before it is given up; answers 429 do not count, nor does a
            connection that is down for all.
        patience_s: Seconds to go on while no request gets a reply because of answers 429 (then, or when the service asks for a longer wait,
            the run stops) or because the connection is down.
        retry_failed: Whether to ask again where the ledger has a failure: True for all, or the outcomes to ask again for.
        first_backoff_s, last_backoff_s: Bounds of the waiting time between tries.
    """

    concurrency: int = 16
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    max_cost_usd: float | None = None
    max_tokens: int | None = None
    timeout_s: float = 120.0
    max_tries: int = 8
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
    """One reply that is wanted; `retry` where the ledger has a failure under its key that is to be tried again.

    `also` holds the ids of further rows with the same clip.
    """

    key: str
    clip: Clip
    member: PanelMember
    prompt: Prompt
    request: dict[str, Any]
    request_hash: str
    audio_hash: str
    retry: bool = False
    also: list[str] = field(default_factory=list)


def reading_of(
    job: Job, answer: Answer, model: str, emotions: Sequence[str], lenient: bool, clean: Callable[[str], str]
) -> Reading:
    """What an answer says: a vote, or why it is none. `model` is the one that was asked."""
    if answer.model_version is not None and not same_family(model, answer.model_version):
        return Reading("other_model", detail=clean(f"{answer.model_version} answered"))
    if answer.failure is not None:
        return Reading(answer.failure, detail=clean(answer.detail))
    try:
        return read_reply(answer.text, job.member.mode, emotions, lenient)
    except Exception as error:  # noqa: BLE001 - whatever a model writes, it was paid for and is kept
        return Reading("unparseable", detail=f"{type(error).__name__} in reading it")


def record_of(
    job: Job,
    backend: Backend,
    plan: str,
    reading: Reading,
    answer: Answer | None,
    latency_s: float | None,
    tries: int,
    clean: Callable[[str], str],
) -> Record:
    """The row of the ledger for one reply, or for one that was given up (`answer` is None then)."""
    now = datetime.now(UTC)
    replied: dict[str, Any] = {}
    if answer is not None:
        usage = answer.usage
        replied = {
            "text": None if answer.text is None else clean(answer.text),
            "model_version": None if answer.model_version is None else clean(answer.model_version),
            "settings": dict(answer.settings),
            "prompt_tokens": usage.prompt_tokens,
            "audio_tokens": usage.audio_tokens,
            "thinking_tokens": usage.thinking_tokens,
            "output_tokens": usage.output_tokens,
            "cost_usd": cost_usd(usage, backend.capabilities, now.date()),
        }
    return Record(
        key=job.key,
        outcome=reading.outcome,
        label=reading.label,
        distribution=reading.distribution,
        detail=reading.detail,
        backend=backend.name,
        endpoint=backend.endpoint,
        model=backend.model,
        prompt_version=job.prompt.version,
        plan=plan,
        audio=job.audio_hash,
        request=job.request_hash,
        row_id=job.clip.row_id,
        latency_s=latency_s,
        tries=tries,
        created=now.isoformat(timespec="milliseconds"),
        **asdict(job.member),
        **replied,
    )
