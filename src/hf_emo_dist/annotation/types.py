"""What the parts of the annotation room hand each other: members, prompts, answers, records, and what can go wrong."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, Protocol

#: How a member answers: with one label, with a distribution in words, or by its probabilities of the labels, read off.
Mode = Literal["label", "distribution", "readout"]
MODES: tuple[Mode, ...] = ("label", "distribution", "readout")
#: Those that any model can be asked in which answers in words.
WRITTEN_MODES: tuple[Mode, ...] = ("label", "distribution")

#: The outcome of a reply that holds a vote.
OK = "ok"
#: Every other outcome, and what it means. Such a reply is a row of the ledger, and never a vote.
FAILURES: Mapping[str, str] = MappingProxyType(
    {
        "empty": "the reply has no text",
        "blocked": "the service's safety filter withheld the reply",
        "withheld": "the service withheld the reply, and not for safety (recitation, language, or unnamed)",
        "truncated": "the reply broke off, or thinking used up its tokens",
        "unparseable": "the reply is not in the form that was asked for",
        "unreadable": "what came is no reply of the service's protocol",
        "outside": "the reply names something that is not among the emotions",
        "bad_sum": "the stated shares do not sum to 1",
        "cut_off": "the server shows too little for label probabilities to be read",
        "other_model": "another model answered than the one that was asked",
        "rejected": "the service refused this clip or request",
        "refused": "the annotator declined to answer",
        "error": "the backend raised an exception of its own",
        "denied": "the service took no request: payment, permission, or no such model",
        "rate_limit": "the service's rate limit held",
        "overloaded": "the service was overloaded",
        "server": "the service failed",
        "connection": "the connection failed",
        "timeout": "no reply came in time",
    }
)
#: The reason of what nobody waits for any more: it is charged as what it could cost at most, and is no sign of trouble.
IN_FLIGHT = "its process ended, or its run was cut short, while it was in flight"

#: Part of every key. Raise it when something else can be heard than before (louder, filtered, cut where the model would
#: have heard on), so that replies to other audio are not taken for these; every clip is then paid for again. How a clip
#: is packed is not part of it: that 48 kHz stereo goes out as 16 kHz mono FLAC since 0.2 changes what is sent and not
#: what is heard. Gemini brings every file down to one channel at a low data rate itself
#: (https://ai.google.dev/gemini-api/docs/audio), open models take 16 kHz mono, and a clip is only cut where the model
#: stops listening. So replies that 0.1 paid for are found.
AUDIO_PREPARATION_VERSION = 1
_KEY_VERSION = 1


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


@dataclass(frozen=True)
class PanelMember:
    """One annotator: who answers, and how they are asked.

    Attributes:
        focus: What the annotator attends to: a name of `prompts.FOCI`, or a sentence of the user's own.
        temperature: Sampling temperature, or None for the model's own. Of a read-out the temperature of whole answers,
            in closed form; None for 1.
        mode: ``"label"`` for one emotion, ``"distribution"`` for the expected split of listeners, ``"readout"`` for the
            model's own probability of each emotion as its answer.
        replicate: Number among members that are otherwise alike; from 0.
        wording: Number of the phrasing of the question, of `prompts.WORDINGS`.
        persona: Who the annotator is to be, in words; None (the default) leaves it out.
    """

    focus: str
    temperature: float | None = None
    mode: Mode = "label"
    replicate: int = 0
    wording: int = 0
    persona: str | None = None

    def __post_init__(self) -> None:
        if self.mode not in MODES:
            raise ValueError(f"`mode` of an annotator is {self.mode!r}. Mend: one of {', '.join(map(repr, MODES))}.")
        if not self.focus or not isinstance(self.focus, str):
            raise ValueError(f"`focus` of an annotator is {self.focus!r}. Mend: a name of FOCI, or a sentence.")
        if self.temperature is not None and not (_is_number(self.temperature) and 0 <= self.temperature <= 2):
            raise ValueError(f"`temperature` of an annotator is {self.temperature!r}. Mend: from 0 to 2.")
        if self.persona is not None and not isinstance(self.persona, str):
            raise ValueError(f"`persona` of an annotator is {self.persona!r}. Mend: words, or leave it out.")
        if not all(_is_number(number) and number >= 0 and number % 1 == 0 for number in (self.replicate, self.wording)):
            raise ValueError(
                f"`replicate`, `wording` of an annotator are {self.replicate}, {self.wording}. Mend: numbers from 0."
            )


@dataclass(frozen=True)
class Prompt:
    """What one panel member is told about one clip; the same for every service."""

    system: str  # who is asked and what for
    text: str  # the question, with the transcript as quoted data where there is one
    emotions: tuple[str, ...]  # in the order in which they are shown
    mode: Mode
    version: str  # of the wording: `prompts.PROMPT_VERSION`, or the hash of the user's file


@dataclass(frozen=True)
class PreparedAudio:
    """A clip as it is sent."""

    data: bytes = field(repr=False)  # of an audio file
    mime: str  # such as "audio/flac"
    seconds: float
    digest: str  # `audio.audio_hash` of the clip as the data set has it, not of `data`


@dataclass(frozen=True)
class Usage:
    """Tokens of one reply, as the service counted them; None where it does not say."""

    prompt_tokens: int | None = None  # audio included
    audio_tokens: int | None = None
    thinking_tokens: int | None = None  # hidden reasoning
    output_tokens: int | None = None  # the visible reply

    @property
    def total(self) -> int:
        """All tokens that were counted; `audio_tokens` are among `prompt_tokens`."""
        return (self.prompt_tokens or 0) + (self.thinking_tokens or 0) + (self.output_tokens or 0)


@dataclass(frozen=True)
class Answer:
    """What a backend got back for one request, before the text is read."""

    text: str | None  # the reply as it came; None where `log_probabilities` are the answer
    failure: str | None = None  # or one of: empty, blocked, withheld, truncated, rejected, refused, unreadable
    detail: str = ""  # the service's own reason, without secrets
    model_version: str | None = None  # the model that says it answered
    usage: Usage = Usage()
    settings: Mapping[str, Any] = field(default_factory=dict)  # those that were in effect
    latency_s: float | None = None  # from when the request left, where the backend knows better than who calls it
    tier: str | None = None  # at which it was served, such as "standard" or "flex", where the reply says so
    #: Of a read-out: emotion to ln P(the answer is exactly this label). One that is left out was not seen: a server's
    #: list of tokens may be too short for it. It counts as no probability, and its mass is reported as missing.
    log_probabilities: Mapping[str, float] | None = None


class TransientError(Exception):
    """A request that may succeed when it is sent again, after `retry_after` seconds if the server says so.

    Its `kind`: ``rate_limit``, ``overloaded``, ``server``, ``connection`` or ``timeout``. `billed`: whether the service
    may have generated a reply, and charge for it; by default after a time-out and when a connection broke.
    """

    def __init__(self, kind: str, message: str, retry_after: float | None = None, billed: bool | None = None) -> None:
        super().__init__(message)
        self.kind, self.retry_after = kind, retry_after
        self.billed = kind in ("timeout", "connection") if billed is None else billed


class FatalError(Exception):
    """A problem that every further request is likely to meet too.

    Its `reason`: ``authentication``, ``quota``, ``other_model`` or ``setup`` stops the run at once. ``payment``,
    ``permission`` and ``not_found`` stop it unless others are answered meanwhile: a gateway may deny one clip.
    """

    def __init__(self, reason: str, message: str, mend: str) -> None:
        super().__init__(f"{message} Mend: {mend}")
        self.reason, self.mend = reason, mend


class Backend(Protocol):
    """A service that answers panel members. One file a service in `annotation/backends`.

    An instance may be pickled (`Dataset.map` does, for its fingerprint and its workers): what it pickles holds
    everything that changes an answer, and neither secrets nor open connections.

    Attributes:
        name: Of the service, such as ``"gemini"``.
        model: The model that is asked.
        endpoint: Identity of the server, without secrets: ``"https://host/path"``, or ``"local"``.
        capabilities: What the model takes and honours, see `annotation.capabilities.ModelCapabilities`.
        row_columns: Columns of the row that `render` reads.

    A class may have `preset_models`, a preset's name to the model that is asked where none is named; `answers_as`,
    names by which its model may answer, so that the first request of a run goes alone; `long_audio`, what it does with
    clips that are longer than the model hears, ``"error"`` or ``"truncate"``; `hears`, False where answers come from
    anything but the audio, so that there is nothing to test; `whole_panel`, true where all members cost little more
    than one (as of one pass through a model): then a data set is gone through clip by clip, and not member by member;
    `gathers`, a number of clips where it computes in this process and gathers what is asked at the same time into
    batches: then all members' requests about so many are with it at once, however fast it answers, and none is timed
    out; `service_tier`, at which it asks where that is not ``"standard"``, and then `ask` takes a further argument
    `tier`, to be asked at that one instead; and `batches`, its batch jobs (see `annotation.batch.service`). A method
    `weights` tells for cards what the model's name does not (revision, precision); `check_ready` raises a `FatalError`
    where no request can be sent at all, for want of a key, so that it is said before anything else is done; `expect` is
    given the prompts of a run without transcripts beforehand, to tell then what is wrong with them and is no clip's
    doing.
    """

    name: str
    model: str
    endpoint: str
    capabilities: Any
    row_columns: tuple[str, ...]

    @property
    def destination(self) -> str | None:
        """Where audio is uploaded to, in words; None if it stays on this machine."""

    @property
    def terms(self) -> str:
        """Under whose terms, with an address."""

    def render(self, prompt: Prompt, member: PanelMember, row: Mapping[str, Any]) -> dict[str, Any]:
        """The request without audio and secrets, of what `json` can write. All that changes the answer is in it."""

    def prepare(self, audio: Any, row_id: Any = None) -> PreparedAudio:
        """The clip in a form that the service takes. Raises `AudioError` for a clip that cannot be sent."""

    async def ask(self, request: Mapping[str, Any], audio: PreparedAudio, timeout_s: float) -> Answer:
        """Sends one request, once. Raises `TransientError` or `FatalError`; a clip that is refused is an Answer."""

    async def close(self) -> None:
        """Closes the connections of the running event loop."""

    def secrets(self) -> tuple[str, ...]:
        """The strings that must never be written anywhere."""


@dataclass(frozen=True)
class Record:
    """One reply: a row of the ledger."""

    key: str  # what was asked of whom about what, see `ledger_key`
    outcome: str  # "ok", or one of `FAILURES`
    label: str | None = None
    distribution: Mapping[str, float] | None = None
    text: str | None = None  # as it came, without secrets
    detail: str = ""  # why there is no vote
    backend: str = ""
    endpoint: str = ""
    model: str = ""  # that was asked
    model_version: str | None = None  # that says it answered
    focus: str = ""
    temperature: float | None = None
    mode: Mode = "label"
    replicate: int = 0
    wording: int = 0
    persona: str | None = None
    prompt_version: str = ""
    plan: str = ""  # hash of the annotator's settings: the rows of one plan belong together
    audio: str = ""  # `audio_hash` of the clip
    request: str = ""  # SHA-256 of the rendered request
    row_id: str = ""  # of the first row that this was asked for
    settings: Mapping[str, Any] = field(default_factory=dict)  # those that were in effect
    prompt_tokens: int | None = None
    audio_tokens: int | None = None
    thinking_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None  # by the table of prices; None where there is no price
    assumed_usd: float | None = None  # what of that the service did not state: the bound of the request was charged
    assumed_tokens: int | None = None  # likewise, beside those that it stated
    latency_s: float | None = None  # from sending to the reply
    tries: int = 1  # requests that were sent for it, this one included
    created: str = ""  # UTC, ISO 8601
    attempt: int = 0  # 0 for the first reply that was stored under the key, 1 for the second, …; set by the ledger
    final: bool = True  # False for what is nobody's clip, or not known to be: the next run asks again

    def __post_init__(self) -> None:
        if self.outcome != OK and self.outcome not in FAILURES:
            raise ValueError(f"`outcome` must be 'ok' or one of {', '.join(FAILURES)}, got {self.outcome!r}.")


def canonical_json(value: Any) -> str:
    """JSON that is the same for equal values: sorted keys, no spaces, no NaN."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)


def request_hash(request: Mapping[str, Any]) -> str:
    """SHA-256 of a rendered request, 64 hexadecimal digits."""
    return hashlib.sha256(canonical_json(request).encode("utf-8", "surrogatepass")).hexdigest()


def ledger_key(
    *,
    audio: str,
    request: str,
    backend: str,
    endpoint: str,
    model: str,
    replicate: int,
    audio_preparation: int = AUDIO_PREPARATION_VERSION,
) -> str:
    """The key of a reply, 64 hexadecimal digits: it changes with whatever may change the answer, and with nothing else.

    `audio` is the `audio_hash` of the clip, `request` the `request_hash` of the whole rendered request;
    `audio_preparation` is another than today's only where a key of an earlier release is computed again.
    """
    parts = {
        "version": _KEY_VERSION,
        "audio": audio,
        "audio_preparation": audio_preparation,
        "request": request,
        "backend": backend,
        "endpoint": endpoint,
        "model": model,
        "replicate": replicate,
    }
    return hashlib.sha256(canonical_json(parts).encode("utf-8", "surrogatepass")).hexdigest()
