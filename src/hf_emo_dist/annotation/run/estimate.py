"""Tokens, money and time before anything is sent: of a request at most, to reserve it, and of a whole run about."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Any

from ..capabilities import ModelCapabilities, cost_usd
from ..types import Record, Usage

#: Where a model's audio tokens a second are not known: more than any model in the table has.
_AUDIO_TOKENS_A_SECOND = 50.0
#: Tokens of a reply at most, where the request sets no limit: a label or a small JSON object, and thinking.
_OUTPUT_LIMIT = 2048
_LIMITS = ("max_output_tokens", "max_completion_tokens", "max_tokens")

#: Hidden reasoning tokens that are assumed for one reply until a pilot measures them: not stated by any service.
_THINKING: Mapping[str, tuple[int, int]] = {"none": (0, 0), "level": (30, 600), "budget": (60, 1000)}
#: Seconds that are assumed for one reply until a pilot measures them; of flex by its documentation.
_LATENCY_S: Mapping[str, tuple[float, float]] = {"standard": (1.0, 8.0), "flex": (60.0, 900.0)}
#: All of a batch job's requests are done within a day, by its documentation; nothing is said of how soon.
_BATCH_S = 24 * 3600.0
#: How each tier is asked for.
_HOW: Mapping[str, str] = {
    "standard": "at once",
    "flex": "--service_tier flex: minutes an answer",
    "batch": "--batch: within a day",
}


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
        """``"low to high"``, or one number where they are alike."""
        low, high = format(self.low, form), format(self.high, form)
        return low if low == high else f"{low} to {high}"


@dataclass(frozen=True)
class Estimate:
    """What is expected of a run.

    Attributes:
        model: Who would be asked.
        rows: Utterances.
        requests: Replies that are wanted and not in the ledger yet; each is one request, or more where the service
            fails.
        stored: Replies that the ledger has.
        audio_hours: Of the clips that would be sent, each counted once.
        prompt, audio, thinking, output: Tokens; audio is part of prompt.
        cost_usd: None where the model's prices are not known.
        seconds: Wall-clock time; None where only a pilot can tell, of a model on this machine.
        tier: At which it would be asked: standard, flex or batch.
        tiers: What it would cost at each tier that the model is known to have; empty where no price is known.
        pilot: Replies that the figures for one request come from; 0 where they are assumed.
        prices: Where the prices stand and of what day they are.
        unusable: Row id to why its clip cannot be sent.
        no_vote: Why no vote would come, such as a model that is retired; "" where votes can come.
        advice: How many answers an utterance are worth buying, or why that cannot be told; from whoever asked for this.
        hearing_requests: Those that a hearing test takes beside `requests`; their tokens and cost are in the others'.
        by_model: The estimate of each model, where a panel names several; all else is of them together.
    """

    model: str
    rows: int
    requests: int
    stored: int
    audio_hours: float
    prompt: Span
    audio: Span
    thinking: Span
    output: Span
    cost_usd: Span | None
    seconds: Span | None
    tier: str = "standard"
    tiers: Mapping[str, Span] = field(default_factory=dict)
    pilot: int = 0
    prices: str = ""
    unusable: dict[str, str] | None = None
    no_vote: str = ""
    advice: tuple[str, ...] = ()
    hearing_requests: Span = Span(0, 0)
    by_model: Mapping[str, Estimate] = field(default_factory=dict)

    def summary(self) -> str:
        """The estimate in one line."""
        cost = "cost unknown (no price for this model)"
        if self.cost_usd is not None:
            cost = f"${self.cost_usd.text(',.2f')}"
        source = f"measured on {self.pilot} replies" if self.pilot else "assumed thinking and latency, not measured"
        return (
            f"{self._warning()}"
            f"{self.requests:,} requests to {self.model}{self._hearing()} ({self.stored:,} replies are in the ledger), "
            f"{(self.prompt + self.thinking + self.output).text()} tokens, {cost}{self._at()}, "
            f"{self._time()} ({source})."
        )

    def table(self) -> str:
        """The estimate in lines, for the terminal."""
        if self.by_model:
            return self._table_by_model()
        cost = "unknown: no price for this model"
        if self.cost_usd is not None:
            cost = f"${self.cost_usd.text(',.4f')} ({self.prices}{self._at()})"
        others = [f"{n} ${span.text(',.4f')} ({_HOW[n]})" for n, span in self.tiers.items() if n != self.tier]
        source = f"measured on {self.pilot} replies" if self.pilot else "assumed; a pilot measures them"
        lines = [
            f"utterances        {self.rows:,} ({self.audio_hours:.2f} h of audio to send)",
            f"replies wanted    {self.requests + self.stored:,}, of which {self.stored:,} are in the ledger",
            f"requests          {self.requests:,} to {self.model}{self._hearing()}",
            f"prompt tokens     {self.prompt.text()}, of which audio {self.audio.text()}",
            f"thinking tokens   {self.thinking.text()}",
            f"output tokens     {self.output.text()}",
            f"cost              {cost}",
            f"time              {self._time()}",
            f"figures a request {source}",
        ]
        if others:
            lines.insert(7, f"or by             {'; '.join(others)}")
        if self.no_vote:
            lines.insert(0, self._warning().rstrip())
        if self.unusable:
            ids = list(self.unusable)
            lines.append(f"cannot be sent    {len(ids)} clips: {', '.join(ids[:10])}. {self.unusable[ids[0]]}")
        lines += [f"answers to buy    {line}" for line in self.advice]
        return "\n".join(lines)

    def _hearing(self) -> str:
        return f", and {self.hearing_requests.text()} of the hearing test" if self.hearing_requests.high else ""

    def _table_by_model(self) -> str:
        """One table a model, and what they come to together."""
        parts = [f"{name}:\n{one.table()}" for name, one in self.by_model.items()]
        cost = "unknown: no price for one of the models"
        if self.cost_usd is not None:
            cost = f"${self.cost_usd.text(',.4f')}"
        lines = [
            "all models, side by side:",
            f"requests          {self.requests:,}{self._hearing()}",
            f"cost              {cost}",
            f"time              {self._time()}, that of the slowest",
            *(f"answers to buy    {line}" for line in self.advice),
        ]
        return "\n".join([*parts, *lines])

    def _time(self) -> str:
        if self.seconds is None:
            return "time not known: a pilot measures it on this machine (--pilot 20)"
        return f"{(self.seconds * (1 / 60)).text(',.1f')} min"

    def _at(self) -> str:
        return "" if self.tier == "standard" else f" at the {self.tier} tier"

    def _warning(self) -> str:
        return f"NO VOTE WOULD COME: {self.no_vote} " if self.no_vote else ""

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON has it."""
        values = {n: [value.low, value.high] if isinstance(value, Span) else value for n, value in vars(self).items()}
        tiers = {name: [span.low, span.high] for name, span in self.tiers.items()}
        return {**values, "tiers": tiers, "by_model": {name: one.to_dict() for name, one in self.by_model.items()}}


def estimates_together(estimates: Mapping[str, Estimate]) -> Estimate:
    """The estimates of several models that are asked side by side, as one; that of a single model is it."""
    parts = list(estimates.values())
    if len(parts) == 1:
        return parts[0]
    costs = [one.cost_usd for one in parts]
    times = [one.seconds for one in parts if one.seconds is not None]
    return Estimate(
        model=", ".join(estimates),
        rows=max(one.rows for one in parts),
        requests=sum(one.requests for one in parts),
        stored=sum(one.stored for one in parts),
        audio_hours=sum(one.audio_hours for one in parts),
        prompt=sum((one.prompt for one in parts), Span(0, 0)),
        audio=sum((one.audio for one in parts), Span(0, 0)),
        thinking=sum((one.thinking for one in parts), Span(0, 0)),
        output=sum((one.output for one in parts), Span(0, 0)),
        cost_usd=None if None in costs else sum((cost for cost in costs if cost is not None), Span(0, 0)),
        tier=", ".join(dict.fromkeys(one.tier for one in parts)),
        tiers={
            tier: sum((one.tiers[tier] for one in parts), Span(0, 0))
            for tier in parts[0].tiers
            if all(tier in one.tiers for one in parts)
        },
        seconds=None if len(times) < len(parts) else Span(max(t.low for t in times), max(t.high for t in times)),
        pilot=sum(one.pilot for one in parts),
        unusable={row_id: why for one in parts for row_id, why in (one.unusable or {}).items()},
        no_vote=" ".join(one.no_vote for one in parts if one.no_vote),
        hearing_requests=sum((one.hearing_requests for one in parts), Span(0, 0)),
        by_model=dict(estimates),
    )


# ---- one request
def usage_at_most(request: Any, seconds: float, capabilities: ModelCapabilities) -> Usage:
    """Tokens that a rendered request with a clip of so many seconds can use at most."""
    # A token of text is at least one byte; to these come 64 for the frame of the request, and one second of audio,
    # because services round. Thinking counts against the output limit.
    rate = capabilities.audio_tokens_per_second
    audio = int((seconds + 1) * _AUDIO_TOKENS_A_SECOND) if rate is None else int((seconds + 1) * rate) + 1
    limit = max(_limits(request), default=_OUTPUT_LIMIT)
    return Usage(len(_text_of(request).encode()) + 64 + audio, audio, 0, limit)


def expected_usage(request: Any, seconds: float, num_emotions: int, capabilities: ModelCapabilities) -> dict[str, Span]:
    """The ``prompt`` (audio included), ``audio``, ``thinking`` and ``output`` tokens of one request, as assumed."""
    size = len(_text_of(request).encode())
    rate = capabilities.audio_tokens_per_second
    audio = Span(0, (seconds + 1) * _AUDIO_TOKENS_A_SECOND)
    if rate is not None:
        audio = Span(int(seconds * rate), (seconds + 1) * rate)
    return {
        "prompt": Span(size / 5, size / 3 + 20) + audio,  # a token of English is three to five bytes
        "audio": audio,
        "thinking": Span(*_THINKING[capabilities.thinking.kind]),
        "output": Span(1, 12 * num_emotions + 10),
    }


def _text_of(request: Any) -> str:
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


def _limits(value: Any) -> Iterator[int]:
    """The limits on output tokens that a rendered request sets, wherever they stand in it."""
    if isinstance(value, Mapping):
        for key, entry in value.items():
            if key in _LIMITS and isinstance(entry, int):
                yield entry
            else:
                yield from _limits(entry)


# ---- a whole run
def measured(records: Sequence[Record], requests: int) -> tuple[dict[str, Span], Span] | None:
    """Token totals of `requests` requests and the seconds of one, from those of a pilot.

    The interval of a total is that of a sum of N = `requests` draws whose mean is only known from the pilot's n:
    mean ± 1.96 · s · sqrt(1/n + 1/N), times N, and never below 0. None where the pilot has no reply with usage.
    """
    import numpy as np  # here: a run's settings are read by commands before anything is computed

    known = [record for record in records if record.prompt_tokens is not None and record.latency_s is not None]
    if not known or not requests:
        return None
    spread = 1.96 * math.sqrt(1 / len(known) + 1 / requests)

    def span(values: Sequence[float]) -> Span:
        mean = float(np.mean(values))
        # One value tells nothing of its spread: half as much again is assumed.
        deviation = float(np.std(values, ddof=1)) if len(values) > 1 else mean / 2
        return Span(max(0.0, mean - spread * deviation), mean + spread * deviation)

    tokens = {
        kind: span([float(getattr(record, f"{kind}_tokens") or 0) for record in known]) * requests
        for kind in ("prompt", "audio", "thinking", "output")
    }
    return tokens, span([record.latency_s or 0.0 for record in known])


def share_of(span: Span, requests: Span, number: int) -> Span:
    """What so many more requests use, where `number` of them use `span`."""
    return Span(span.low * requests.low / number, span.high * requests.high / number) if number else Span(0.0, 0.0)


def spans_cost(tokens: dict[str, Span], capabilities: ModelCapabilities, on_date: date) -> Span | None:
    """The cost of token totals; None where prices are not known."""
    ends = []
    for end in ("low", "high"):
        used = {f"{kind}_tokens": round(getattr(span, end)) for kind, span in tokens.items()}
        ends.append(cost_usd(Usage(**used), capabilities, on_date))
    return None if ends[0] is None or ends[1] is None else Span(ends[0], ends[1])


def tier_costs(cost: Span | None, of_test: Span | None, capabilities: ModelCapabilities) -> dict[str, Span]:
    """What a run, and the hearing test before it, would cost at each tier that the model is known to have.

    By their costs at the standard tier, at which the test of batch jobs is sent: they would tell too late.
    """
    if cost is None or of_test is None:
        return {}
    shares = {"standard": 1.0, "flex": capabilities.flex_price, "batch": capabilities.batch_price}
    return {
        tier: cost * share + of_test * (1.0 if tier == "batch" else share)
        for tier, share in shares.items()
        if share is not None
    }


def time_needed(
    requests: int,
    tokens: Span,
    concurrency: int,
    latency: Span | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
    tier: str = "standard",
) -> Span:
    """Seconds for so many requests: by latency and concurrency, or by the rates where they are slower."""
    if not requests:
        return Span(0.0, 0.0)
    if tier == "batch":
        return Span(0.0, _BATCH_S)
    one = latency or Span(*_LATENCY_S[tier])
    rounds = max(1.0, requests / concurrency)
    floor = requests / requests_per_minute * 60 if requests_per_minute else 0.0
    by_tokens = tokens * (60 / tokens_per_minute) if tokens_per_minute else Span(0.0, 0.0)
    return Span(max(one.low * rounds, floor, by_tokens.low), max(one.high * rounds, floor, by_tokens.high))
