"""What a model takes and honours, what it costs, when it ends, and by which names it answers.

The facts themselves are data, with date and source each, in ``annotation/models/*.yaml``; `model_data` reads them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date
from typing import Literal

from .types import WRITTEN_MODES, Mode, Usage

#: Generally available since September 2026; takes audio.
DEFAULT_GEMINI_MODEL = "gemini-3.8-flash"
#: The annotator of arXiv 2601.14620. From its retirement on Google answers its name with another model.
PAPER_GEMINI_MODEL = "gemini-2.5-pro"
#: Who answers the name of a retired model where nobody does.
NOBODY = "nobody"


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars a million tokens, without discounts, and the day when they were read."""

    text_in: float  # input tokens that are not audio
    audio_in: float
    output: float  # hidden reasoning included
    as_of: date | None = None  # None where the user gave them
    source: str = "given by the user"
    until: date | None = None  # the last day on which they hold, where an end is announced

    def described(self) -> str:
        """Where they stand and of what day they are."""
        return f"prices {self.source}" if self.as_of is None else f"list prices of {self.as_of}, {self.source}"


@dataclass(frozen=True)
class Source:
    """Where a fact stands, and when it was read there."""

    address: str
    read: date


@dataclass(frozen=True)
class Thinking:
    """How much a model reasons before it answers, and how that is set: by a number of tokens, a word, or not at all."""

    kind: Literal["none", "budget", "level"] = "none"
    least: int | str | None = None  # that can be asked for; 0 switches it off; None: nothing is asked for
    levels: tuple[str, ...] = ()  # least first, as far as known


@dataclass(frozen=True)
class ModelCapabilities:
    """What one model takes and honours. The defaults are those of a model that nothing is known about.

    Attributes:
        model: Its name.
        known: Whether it is in the table, or was described by the user.
        audio: Whether it takes audio; None where that is not known.
        temperature: Whether temperature is sent. False as well where the service asks to leave it out.
        seed: Whether a seed is sent.
        thinking: Hidden reasoning.
        structured: The form that a reply can be held to: ``"enum"`` (a word of a list, and JSON), ``"json_schema"``, or
            ``"none"``: the prompt's own words have to do.
        max_inline_bytes: Largest request with the audio inside it, which is then in base64.
        audio_tokens_per_second: None where that is not known.
        audio_formats: Of a file that is sent as it is: ``"wav"``, ``"flac"``, ``"ogg"``, ``"mp3"``.
        longest_clip_s: What it hears of a clip at most, in seconds; None where that is not known.
        modes: Forms of answer that it can be asked for; a preset's panel is read out where ``"readout"``, which
            needs log-probabilities, is the first of them.
        logprobs: Whether log-probabilities can be had; None where that is not known.
        since: First day on which it was generally available.
        retired_on: From this day on the model does not answer.
        replaced_by: The service's successor.
        answered_by: Who answers its name from then on: a model, or ``"nobody"``; None where that is not known.
        prices: In the order of their dates.
        flex_price: What a request at the flex tier costs, as a share of `prices`; None where there is no such tier, or
            nothing is known of it.
        batch_price: The same for a request in a batch job.
        priority_price: The same for one that is served at the priority tier, which costs more than the list prices.
        notes: What else is known.
        sources: Name of a fact to where it stands; not of what the user gave.
    """

    model: str
    known: bool = False
    audio: bool | None = None
    temperature: bool = False
    seed: bool = False
    thinking: Thinking = Thinking()
    structured: Literal["enum", "json_schema", "none"] = "none"
    max_inline_bytes: int = 20_000_000
    audio_tokens_per_second: float | None = None
    audio_formats: tuple[str, ...] = ("wav",)
    longest_clip_s: float | None = None
    modes: tuple[Mode, ...] = WRITTEN_MODES
    logprobs: bool | None = None
    since: date | None = None
    retired_on: date | None = None
    replaced_by: str | None = None
    answered_by: str | None = None
    prices: tuple[Prices, ...] = field(default=(), repr=False)
    flex_price: float | None = None
    batch_price: float | None = None
    priority_price: float | None = None
    notes: tuple[str, ...] = field(default=(), repr=False, compare=False)
    sources: tuple[tuple[str, Source], ...] = field(default=(), repr=False, compare=False)

    def prices_on(self, on_date: date) -> Prices | None:
        """The prices of a day; None where there are none, or the last known ones have ended."""
        return next((p for p in self.prices if p.until is None or on_date <= p.until), None)

    def price_share(self, tier: str) -> float:
        """What a tier (``"standard"``, ``"flex"``, ``"batch"``, ``"priority"``) costs, as a share of the list prices.

        All of them where no discount is known: a cap must hold. See `may_cost_more` as well.

        Example:
            >>> has = ModelCapabilities("m", flex_price=0.5)
            >>> has.price_share("flex"), has.price_share("batch"), has.price_share("standard")
            (0.5, 1.0, 1.0)
        """
        shares = {"flex": self.flex_price, "batch": self.batch_price, "priority": self.priority_price}
        share = shares.get(tier)
        return 1.0 if share is None else share

    def may_cost_more(self, tier: str) -> bool:
        """Whether a tier may cost more than the list prices, and nobody has told how much."""
        return tier not in ("standard", "flex", "batch") and not (tier == "priority" and self.priority_price)

    def is_retired(self, on_date: date) -> bool:
        """Whether the model has been retired by that day."""
        return self.retired_on is not None and on_date >= self.retired_on

    def retirement(self) -> str:
        """What is known of its end, in a sentence that is true on every day; "" where no end is known."""
        if self.retired_on is None:
            return ""
        after = f"{self.answered_by} answers its name"
        if self.answered_by is None:
            after = "another model, or an error, may answer its name"
        elif self.answered_by == NOBODY:
            after = "its name answers 404"
        return f"{self.model} ends on {self.retired_on}; from then on {after}"


# What is left of a name when versions are taken off: "-002", "-preview", "-preview-06-05", "-preview-09-2025",
# "-exp-0827".
_GEMINI_VERSION = re.compile(r"-(?:\d{3}|preview(?:-\d{2}-(?:\d{2}|\d{4}))?|exp(?:-\d{4}|-\d{2}-\d{2})?)$")
_GPT_VERSION = re.compile(r"-20\d{2}-\d{2}-\d{2}$")
_GEMINI_PATH = re.compile(r"^(?:.*/)?models/(gemini-[^/]+)$")
_ALIAS = re.compile(r"^gemini-(?P<tier>[a-z]+(?:-[a-z]+)*)-latest$")


def bare_name(model: str) -> str:
    """The name without "models/" or "publishers/google/models/" in front of it."""
    found = _GEMINI_PATH.match(model)
    return found[1] if found else model


def family(model: str) -> str:
    """The name without its version; the same string for what is neither Google's nor OpenAI's."""
    name = bare_name(model)
    if name.startswith("gemini-"):
        return _GEMINI_VERSION.sub("", name)
    if name.startswith("gpt-"):
        return _GPT_VERSION.sub("", name)
    return name


def same_family(requested: str, answered: str) -> bool:
    """Whether the model that says it answered is a version of the one that was asked for."""
    # An alias takes any generation of its tier. A name that is neither Google's nor OpenAI's, such as one that vLLM
    # serves, must be the same letter by letter.
    alias = _ALIAS.match(bare_name(requested))
    if alias and bare_name(requested) != bare_name(answered):
        return re.fullmatch(rf"gemini-\d+(?:\.\d+)?-{alias['tier']}", family(answered)) is not None
    return family(requested) == family(answered)


def may_answer(requested: str, answered: str, answers_as: Sequence[str] = ()) -> bool:
    """Whether a reply of `answered` is one of the model that was asked: by its name, or by those that the user gave."""
    return any(same_family(name, answered) for name in (requested, *answers_as))


def cost_usd(usage: Usage, capabilities: ModelCapabilities, on_date: date) -> float | None:
    """What a reply cost by list price; None where there is no price for that day, or the service counted nothing."""
    prices = capabilities.prices_on(on_date)
    if prices is None or usage.prompt_tokens is None:
        return None
    if usage.audio_tokens is None:
        # The service does not tell audio from text: the dearer of the two, so that spending is not understated.
        prompt = usage.prompt_tokens * max(prices.text_in, prices.audio_in)
    else:
        audio = min(usage.audio_tokens, usage.prompt_tokens)
        prompt = audio * prices.audio_in + (usage.prompt_tokens - audio) * prices.text_in
    return (prompt + ((usage.thinking_tokens or 0) + (usage.output_tokens or 0)) * prices.output) / 1e6
