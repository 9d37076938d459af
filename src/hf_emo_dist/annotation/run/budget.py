"""Tokens and money of one request: what it may cost at most, for the reservation, and what it will cost about, for the estimate."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from ..capabilities import ModelCapabilities, cost_usd, usage_bound
from ..ledger.ledger import Claim
from ..types import Usage
from .jobs import Job

__all__ = ["Span", "claim_for", "expected_usage", "request_text"]

#: Where a model's audio tokens a second are not known: more than any model in the table has.
_AUDIO_TOKENS_A_SECOND = 50.0
#: Tokens of a reply at most, where the request sets no limit: a label or a small JSON object, and thinking.
_OUTPUT_LIMIT = 2048
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")

#: Hidden reasoning tokens that are assumed for one reply until a pilot measures them: not stated by any service. (least, most)
ASSUMED_THINKING: Mapping[str, tuple[int, int]] = {"none": (0, 0), "level": (30, 600), "budget": (60, 1000)}
#: Seconds that are assumed for one reply until a pilot measures them. (least, most)
ASSUMED_LATENCY_S = (1.0, 8.0)


@dataclass(frozen=True)
class Span:
    """The least and the most that a figure is expected to be."""

    low: float
    high: float

    def __add__(self, other: Span) -> Span:
        return Span(self.low + other.low, self.high + other.high)

    def __mul__(self, factor: float) -> Span:
        return Span(self.low * factor, self.high * factor)

    def text(self, form: str = ",.0f") -> str:
        """``"low to high"``, or one number where they are alike.

        >>> Span(1, 2.5).text(".1f"), Span(3, 3).text()
        ('1.0 to 2.5', '3')
        """
        low, high = format(self.low, form), format(self.high, form)
        return low if low == high else f"{low} to {high}"


def request_text(request: Any) -> str:
    """All words of a rendered request, its schema included."""
    return " ".join(_strings(request))


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, entry in value.items():
            yield str(key)
            yield from _strings(entry)
    elif isinstance(value, (list, tuple)):
        for entry in value:
            yield from _strings(entry)


def output_limit(request: Any) -> int:
    """The limit on output tokens that a rendered request sets, wherever it stands in it.

    >>> output_limit({"config": {"max_output_tokens": 64}})
    64
    """
    found = list(_limits(request))
    return max(found) if found else _OUTPUT_LIMIT


def _limits(value: Any) -> Iterator[int]:
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in _LIMITS and isinstance(entry, int):
                yield entry
            else:
                yield from _limits(entry)


def claim_for(job: Job, capabilities: ModelCapabilities) -> Claim:
    """The reservation for one request: what it can cost at most, so that a cap holds whatever comes back."""
    seconds = job.clip.prepared.seconds if job.clip.prepared is not None else 0.0
    text, limit = request_text(job.request), output_limit(job.request)
    bound = usage_bound(capabilities, text, seconds, limit)
    if bound is None:
        audio = int((seconds + 1) * _AUDIO_TOKENS_A_SECOND)
        bound = Usage(len(text.encode()) + 64 + audio, audio, 0, limit)
    cost = cost_usd(bound, capabilities, datetime.now(UTC).date())
    return Claim(key=job.key, cost_usd=cost or 0.0, tokens=bound.total, retry=job.retry)


def expected_usage(request: Any, seconds: float, num_emotions: int, capabilities: ModelCapabilities) -> dict[str, Span]:
    """What one request is expected to use, before anything was sent.

    A token of English is three to five bytes; audio tokens are the clip's seconds times the model's rate.

    Returns:
        ``prompt`` (audio included), ``audio``, ``thinking`` and ``output`` tokens.
    """
    size = len(request_text(request).encode())
    rate = capabilities.audio_tokens_per_second
    audio = (
        Span(int(seconds * rate), (seconds + 1) * rate)
        if rate is not None
        else Span(0, (seconds + 1) * _AUDIO_TOKENS_A_SECOND)
    )
    thinking = Span(*ASSUMED_THINKING[capabilities.thinking.kind])
    return {
        "prompt": Span(size / 5, size / 3 + 20) + audio,
        "audio": audio,
        "thinking": thinking,
        "output": Span(1, 12 * num_emotions + 10),
    }
