"""What models take and honour, what they cost, and under whose terms audio goes there: as data, with dates and sources.

Nothing here is asked of a service. A fact that was not found is None, and a model that is not in the table has cautious
capabilities and no prices. Users replace any of it with the argument `capabilities` of a backend.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from types import MappingProxyType
from typing import Any, Literal

from .types import Usage

#: Generally available since September 2026; takes audio.
DEFAULT_GEMINI_MODEL = "gemini-3.8-flash"
#: The annotator of arXiv 2601.14620. From its retirement on Google answers its name with another model.
PAPER_GEMINI_MODEL = "gemini-2.5-pro"


@dataclass(frozen=True)
class Prices:
    """List prices in US dollars a million tokens, without discounts, and the day when they were read."""

    text_in: float  # input tokens that are not audio
    audio_in: float
    output: float  # hidden reasoning included
    as_of: date
    source: str
    until: date | None = None  # the last day on which they hold, where an end is announced


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
        retired_on: From this day on the model does not answer.
        replaced_by: The service's successor.
        prices: In the order of their dates.
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
    retired_on: date | None = None
    replaced_by: str | None = None
    prices: tuple[Prices, ...] = field(default=(), repr=False)

    def prices_on(self, on_date: date) -> Prices | None:
        """The prices of a day; None where there are none, or the last known ones have ended."""
        return next((p for p in self.prices if p.until is None or on_date <= p.until), None)

    def is_retired(self, on_date: date) -> bool:
        """Whether the model has been retired by that day."""
        return self.retired_on is not None and on_date >= self.retired_on


@dataclass(frozen=True)
class Service:
    """Where audio goes, in words, and under whose terms."""

    destination: str
    terms: str


#: By service. Addresses of the terms, not their text: they change.
SERVICES: Mapping[str, Service] = MappingProxyType(
    {
        "gemini": Service(
            "Google (Gemini API)",
            "Gemini API Additional Terms of Service, https://ai.google.dev/gemini-api/terms "
            "(what is sent with an unpaid key may be used to improve Google's products)",
        ),
        "vertex": Service(
            "Google Cloud (Vertex AI)",
            "Google Cloud Platform Terms and Service Specific Terms, https://cloud.google.com/terms/service-terms",
        ),
        "openai": Service("OpenAI", "OpenAI Services Agreement, https://openai.com/policies/services-agreement"),
    }
)

_GOOGLE = "https://ai.google.dev/gemini-api/docs/pricing"
_OPENAI = "https://developers.openai.com/api/docs/models"
_READ = date(2026, 10, 7)
_GEMINI_FORMATS = ("wav", "flac", "ogg", "mp3")
_LOW = Thinking("level", "low", ("low", "medium", "high"))
_MINIMAL = Thinking("level", "minimal", ("minimal", "low", "medium", "high"))


def _gemini(model: str, **facts: Any) -> ModelCapabilities:
    # Inline requests: 20 MB by older documents, 100 MB by newer ones. Under 20 MB both hold, and above it one upload
    # for all panel members is less to send than one copy a member.
    return ModelCapabilities(
        model=model,
        known=True,
        audio=True,
        structured="enum",
        max_inline_bytes=20_000_000,
        audio_tokens_per_second=32.0,
        audio_formats=_GEMINI_FORMATS,
        **facts,
    )


def _gemini_3(model: str, thinking: Thinking, *prices: Prices) -> ModelCapabilities:
    # Google's guides to Gemini 3 ask to leave temperature, top_p and top_k out of every request; whether a seed is
    # honoured is not stated.
    return _gemini(model, thinking=thinking, prices=prices)


def _gemini_25(model: str, thinking: Thinking, **facts: Any) -> ModelCapabilities:
    return _gemini(model, temperature=True, seed=True, thinking=thinking, **facts)


def _openai_audio(model: str, **facts: Any) -> ModelCapabilities:
    # None of OpenAI's audio models supports structured outputs. The tokens of a second of audio were not found, nor
    # whether a seed is honoured.
    return ModelCapabilities(
        model=model, known=True, audio=True, temperature=True, audio_formats=("wav", "mp3"), **facts
    )


_TABLE = (
    _gemini_3(
        "gemini-3.8-flash",
        _LOW,
        Prices(0.75, 0.75, 3.75, _READ, _GOOGLE, until=date(2026, 12, 31)),
        Prices(1.50, 1.50, 7.50, _READ, _GOOGLE),
    ),
    _gemini_3("gemini-3.7-flash", _LOW),
    _gemini_3("gemini-3.5-flash", _MINIMAL, Prices(1.50, 1.50, 9.00, _READ, _GOOGLE)),
    # It does not think unless told to; which levels it has was not found.
    _gemini_3("gemini-3.5-flash-lite", Thinking("level"), Prices(0.30, 0.30, 2.50, _READ, _GOOGLE)),
    _gemini_3("gemini-3.1-pro-preview", _LOW, Prices(2.00, 2.00, 12.00, _READ, _GOOGLE)),
    _gemini_25(
        "gemini-2.5-pro",
        Thinking("budget", 128),
        retired_on=date(2026, 12, 1),
        replaced_by="gemini-3.8-flash",
        prices=(Prices(1.25, 1.25, 10.00, date(2026, 7, 1), _GOOGLE),),
    ),
    _gemini_25(
        "gemini-2.5-flash",
        Thinking("budget", 0),
        retired_on=date(2026, 12, 1),
        replaced_by="gemini-3.5-flash-lite",
        prices=(Prices(0.30, 1.00, 2.50, date(2026, 7, 1), _GOOGLE),),
    ),
    # Its audio price was not found.
    _gemini_25("gemini-2.5-flash-lite", Thinking("budget", 0)),
    _openai_audio("gpt-audio-1.5", prices=(Prices(2.50, 32.00, 10.00, date(2026, 11, 25), _OPENAI),)),
    _openai_audio(
        "gpt-audio",
        retired_on=date(2027, 1, 20),
        prices=(Prices(2.50, 32.00, 10.00, date(2026, 11, 25), _OPENAI),),
    ),
    # Deprecated; neither its last day nor its audio price was found.
    _openai_audio("gpt-audio-mini"),
    _openai_audio("gpt-4o-audio-preview", retired_on=date(2026, 5, 7), replaced_by="gpt-audio-1.5"),
)
#: By name. OpenAI's models stand beside Google's: no name is in both.
MODELS: Mapping[str, ModelCapabilities] = MappingProxyType({entry.model: entry for entry in _TABLE})

# What is left of a name when versions are taken off: "-002", "-preview", "-preview-06-05", "-preview-09-2025",
# "-exp-0827".
_GEMINI_VERSION = re.compile(r"-(?:\d{3}|preview(?:-\d{2}-(?:\d{2}|\d{4}))?|exp(?:-\d{4}|-\d{2}-\d{2})?)$")
_GPT_VERSION = re.compile(r"-20\d{2}-\d{2}-\d{2}$")
_GEMINI_PATH = re.compile(r"^(?:.*/)?models/(gemini-[^/]+)$")
_ALIAS = re.compile(r"^gemini-(?P<tier>[a-z]+(?:-[a-z]+)*)-latest$")


def _bare(model: str) -> str:
    """The name without "models/" or "publishers/google/models/" in front of it."""
    found = _GEMINI_PATH.match(model)
    return found[1] if found else model


def _family(model: str) -> str:
    """The name without its version; the same string for what is neither Google's nor OpenAI's."""
    name = _bare(model)
    if name.startswith("gemini-"):
        return _GEMINI_VERSION.sub("", name)
    if name.startswith("gpt-"):
        return _GPT_VERSION.sub("", name)
    return name


def same_family(requested: str, answered: str) -> bool:
    """Whether the model that says it answered is a version of the one that was asked for."""
    # An alias takes any generation of its tier. A name that is neither Google's nor OpenAI's, such as one that vLLM
    # serves, must be the same letter by letter.
    alias = _ALIAS.match(_bare(requested))
    if alias and _bare(requested) != _bare(answered):
        return re.fullmatch(rf"gemini-\d+(?:\.\d+)?-{alias['tier']}", _family(answered)) is not None
    return _family(requested) == _family(answered)


def capabilities_of(service: str, model: str) -> ModelCapabilities:
    """What is known of a model; cautious guesses and no prices for one that is not in the table."""
    name = _bare(model)
    entry = MODELS.get(name) or MODELS.get(_family(model))
    if entry is not None and entry.model.startswith("gemini-") == (service == "gemini"):
        return replace(entry, model=model)
    if service == "gemini":
        return ModelCapabilities(model=model, audio_tokens_per_second=32.0, audio_formats=_GEMINI_FORMATS)
    # Any other service is a server with OpenAI's protocol, which has temperature and seed.
    return ModelCapabilities(
        model=model, temperature=service != "openai", seed=service != "openai", audio_formats=("wav", "mp3")
    )


def resolve_capabilities(
    service: str, model: str, given: ModelCapabilities | Mapping[str, Any] | None
) -> ModelCapabilities:
    """The capabilities that a backend uses: those given, or those of the table with the given facts in their place."""
    if isinstance(given, ModelCapabilities):
        return given
    base = capabilities_of(service, model)
    try:
        return base if given is None else replace(base, **{"known": True, **given})
    except TypeError as error:
        names = ", ".join(base.__dataclass_fields__)
        raise ValueError(f"`capabilities` has an unknown name ({error}). Mend: known are {names}.") from None


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
