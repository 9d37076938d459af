"""What annotating a data set will take: requests, tokens, money and time, as intervals, before anything is sent."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np

from ..capabilities import ModelCapabilities, cost_usd
from ..types import Record, Usage
from .budget import ASSUMED_LATENCY_S, Span

__all__ = ["Estimate", "measured", "spans_cost"]


@dataclass(frozen=True)
class Estimate:
    """What is expected of a run.

    Attributes:
        model: Who would be asked.
        rows: Utterances.
        requests: Replies that are wanted and not in the ledger yet; each is one request, or more where the service fails.
        stored: Replies that the ledger has.
        audio_hours: Of the clips that would be sent, each counted once.
        prompt, audio, thinking, output: Tokens; audio is part of prompt.
        cost_usd: None where the model's prices are not known.
        seconds: Wall-clock time.
        pilot: Replies that the figures for one request come from; 0 where they are assumed.
        prices: Where the prices stand and of what day they are.
        unusable: Row id to why its clip cannot be sent.
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
    seconds: Span
    pilot: int = 0
    prices: str = ""
    unusable: dict[str, str] | None = None

    def summary(self) -> str:
        """The estimate in one line."""
        cost = (
            f"${self.cost_usd.text(',.2f')}" if self.cost_usd is not None else "cost unknown (no price for this model)"
        )
        source = f"measured on {self.pilot} replies" if self.pilot else "assumed thinking and latency, not measured"
        minutes = (self.seconds * (1 / 60)).text(",.1f")
        return (
            f"{self.requests:,} requests to {self.model} ({self.stored:,} replies are in the ledger), "
            f"{(self.prompt + self.thinking + self.output).text()} tokens, {cost}, {minutes} min ({source})."
        )

    def table(self) -> str:
        """The estimate in lines, for the terminal."""
        lines = [
            f"utterances        {self.rows:,} ({self.audio_hours:.2f} h of audio to send)",
            f"replies wanted    {self.requests + self.stored:,}, of which {self.stored:,} are in the ledger",
            f"requests          {self.requests:,} to {self.model}",
            f"prompt tokens     {self.prompt.text()}, of which audio {self.audio.text()}",
            f"thinking tokens   {self.thinking.text()}",
            f"output tokens     {self.output.text()}",
            "cost              "
            + (
                f"${self.cost_usd.text(',.4f')} ({self.prices})"
                if self.cost_usd is not None
                else "unknown: no price for this model"
            ),
            f"time              {(self.seconds * (1 / 60)).text(',.1f')} min",
            f"figures a request {f'measured on {self.pilot} replies' if self.pilot else 'assumed; a pilot measures them'}",
        ]
        if self.unusable:
            first = next(iter(self.unusable))
            lines.append(
                f"cannot be sent    {len(self.unusable)} clips: {', '.join(list(self.unusable)[:10])}. {self.unusable[first]}"
            )
        return "\n".join(lines)

    def to_dict(self) -> dict[str, Any]:
        """The estimate as JSON has it."""
        values = dict(vars(self))
        for name, value in values.items():
            if isinstance(value, Span):
                values[name] = [value.low, value.high]
        return values


def measured(records: Sequence[Record], requests: int) -> tuple[dict[str, Span], Span] | None:
    """Token totals of `requests` requests and the seconds of one, from those of a pilot.

    The interval of a total is that of a sum of `requests` draws whose mean is only known from the pilot:
    mean ± 1.96 · s · sqrt(1/n + 1/N), times N, and never below 0.

    Returns:
        Kind of token to its total, and the latency of one request; None where the pilot has no reply with usage.
    """
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


def spans_cost(tokens: dict[str, Span], capabilities: ModelCapabilities, on_date: date) -> Span | None:
    """The cost of token totals; None where prices are not known."""
    ends = []
    for end in ("low", "high"):
        used = {f"{kind}_tokens": round(getattr(span, end)) for kind, span in tokens.items()}
        ends.append(cost_usd(Usage(**used), capabilities, on_date))
    return None if ends[0] is None or ends[1] is None else Span(ends[0], ends[1])


def time_needed(
    requests: int,
    tokens: Span,
    concurrency: int,
    latency: Span | None,
    requests_per_minute: float | None,
    tokens_per_minute: float | None,
) -> Span:
    """Seconds for so many requests: by latency and concurrency, or by the rates where they are slower."""
    if not requests:
        return Span(0.0, 0.0)
    one = latency or Span(*ASSUMED_LATENCY_S)
    rounds = max(1.0, requests / concurrency)
    floor = requests / requests_per_minute * 60 if requests_per_minute else 0.0
    by_tokens = tokens * (60 / tokens_per_minute) if tokens_per_minute else Span(0.0, 0.0)
    return Span(max(one.low * rounds, floor, by_tokens.low), max(one.high * rounds, floor, by_tokens.high))
