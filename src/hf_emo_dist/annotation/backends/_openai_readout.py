"""One read-out of a server with OpenAI's protocol: a request for the first tokens, and others where labels go on alike.

A server scores only what it writes, and shows the likeliest tokens at each place (``top_logprobs``). So the first
request shows how probable each label's beginning is, and along the answer that was written how it goes on. For every
other beginning whose probability matters a further request has the answer begin with it (``continue_final_message``).
All have the audio and the question in front, which the server's prefix cache keeps. vLLM can score given text as well
(``prompt_logprobs``), but does not use its prefix cache then: each label would cost the audio again.

The numbers are the model's own probabilities: temperature 1, no penalties, nothing cut off. A schema for the reply is
never sent here, since servers scale the labels up to 1 under it, in silence.
"""

from __future__ import annotations

import asyncio
import math
import re
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..readout.probabilities import ABOVE_ONE
from ..readout.shown import MEND_MODE, MEND_NONE, NotShown, Written, written
from ..readout.walking import ENDS, Place, Standing, variants, walk
from ..types import Answer, FatalError, TransientError, Usage

#: Tokens that are asked for with each request: an answer ends where its label does, and a longer one is none.
MOST_TOKENS = 8
#: Shares of the labels' probability: open beginnings are asked on for until so little is open, and more than so much
#: that nobody knows whose it is makes no read-out.
_OPEN, _UNREAD = 1e-3, 1e-2
# Less than this is not told.
_NOTHING = 1e-9
# The same question to the same server, asked on: lists of half-precision models differ by a hundredth.
_APART = 0.25
#: Settings that leave the model's probabilities as they are, under vLLM's names.
NEUTRAL: Mapping[str, Any] = {
    "top_k": -1,
    "min_p": 0.0,
    "repetition_penalty": 1.0,
    "return_tokens_as_token_ids": False,
}
_UNKNOWN = re.compile(r"not permitted|unrecognized|extra (?:input|field|param)", re.IGNORECASE)
_MOST_CLIPS = 4096


@dataclass
class Came:
    """A chat completion as it came."""

    completion: Mapping[str, Any]
    choice: Mapping[str, Any]
    text: str
    usage: Usage


#: Sends messages that follow the user's, with settings of the request, and waits so many seconds.
Send = Callable[
    [Sequence[Mapping[str, Any]], Mapping[str, Any], float], Awaitable[Came | Answer | TransientError | FatalError]
]


@dataclass
class Learnt:
    """What a server's replies have taught, for as long as there is a connection."""

    most_shown: int | None = None  # tokens at a place, where it shows fewer than were asked for
    neutral: bool = True  # whether it takes the names of `NEUTRAL`
    continues: bool | None = None  # whether it goes on from a given beginning; None: not tried yet
    why_not: str = "it does not go on from a given beginning (continue_final_message)"
    shown: bool = False  # whether any of its replies had log-probabilities
    clips: dict[str, asyncio.Event] = field(default_factory=dict)  # whose first request is answered

    async def first_of(self, clip: str, patience_s: float) -> asyncio.Event | None:
        """Wait until a clip's first request is answered, so that its audio is in the server's prefix cache.

        Returns the event to set where this is the first one, else None.
        """
        event = self.clips.get(clip)
        if event is None:
            while len(self.clips) >= _MOST_CLIPS:
                self.clips.pop(next(iter(self.clips)))
            self.clips[clip] = event = asyncio.Event()
            return event
        try:
            async with asyncio.timeout(patience_s):
                await event.wait()
        except TimeoutError:  # then this one fills the cache
            pass
        return None


class ServerReadOut:
    """Reads one member's label probabilities about one clip off a server."""

    def __init__(self, send: Send, learnt: Learnt, request: Mapping[str, Any], own: bool, timeout_s: float) -> None:
        self._send, self._learnt, self._request, self._own = send, learnt, request, own
        self._labels: list[str] = list(request["labels"])
        self._ends_at = time.monotonic() + timeout_s
        self._places: dict[bytes, Place] = {}
        self._ends: set[bytes] = set(ENDS)
        self._hides_ends = False
        self._models: list[str] = []
        self._usages: list[Usage] = []
        self._cached: list[int] = []
        self._sent = 0
        self._began = time.monotonic()

    async def outcome(self, clip: str, timeout_s: float) -> Answer | TransientError | FatalError:
        """Ask until the probabilities are known. Whatever was billed by then is said to be."""
        first = await self._learnt.first_of(clip, timeout_s / 4)
        self._began = time.monotonic()
        try:
            begun = await self._asked(b"")
        finally:
            if first is not None:
                first.set()
        if not isinstance(begun, Written):
            return self._billed(begun)
        self._learnt.shown = True
        if not begun.tokens:
            return self._answer(failure="empty", detail="the reply has no tokens")
        while todo := self._open():
            if self._learnt.continues is None:
                failed = await self._try_to_continue(begun)
                if failed is not None:
                    return self._billed(failed)
            if not self._learnt.continues:
                break
            for came in await asyncio.gather(*map(self._asked, todo)):
                if not isinstance(came, Written):
                    return self._billed(came)
        return self._judged()

    # --- asking

    async def _asked(self, beginning: bytes, keep: bool = True) -> Written | Answer | TransientError | FatalError:
        """Send one request, and keep what it shows after `beginning`; again with less where the server says so."""
        while True:
            came = await self._sent_once(beginning)
            if isinstance(came, Answer) and came.failure == "rejected" and self._take_less(came.detail):
                continue
            if isinstance(came, Answer) and came.failure == "rejected" and "logprobs" in came.detail:
                return FatalError("setup", f"The server gives no log-probabilities: {came.detail}.", MEND_NONE)
            if not isinstance(came, Came):
                return came
            self._count(came)
            try:
                found = written(came.choice, came.text)
            except NotShown as error:
                if self._learnt.shown:  # it is this reply
                    return Answer(None, "unreadable", str(error))
                return FatalError("setup", error.message, error.mend)
            except ValueError as error:
                return Answer(None, "unreadable", f"the server sent what is not a reply: {error}")
            if found.end is not None:
                self._ends.add(found.end)
            self._hides_ends |= found.hides_end
            for text, place in found.along(beginning).items() if keep else ():
                self._places.setdefault(text, place)
            return found

    async def _sent_once(self, beginning: bytes) -> Came | Answer | TransientError | FatalError:
        left_s = self._ends_at - time.monotonic()
        if left_s <= 0:
            return TransientError("timeout", f"no read-out in time, after {self._sent} requests")
        config = {**self._request["config"], "top_logprobs": self._shows}
        extra = dict(config.pop("extra_body", {}))
        if not self._learnt.neutral:
            extra = {name: value for name, value in extra.items() if name not in NEUTRAL}
        more: list[dict[str, Any]] = []
        if beginning:
            more = [{"role": "assistant", "content": beginning.decode()}]
            extra |= {"continue_final_message": True, "add_generation_prompt": False}
        self._sent += 1
        return await self._send(more, {**config, **({"extra_body": extra} if extra else {})}, left_s)

    @property
    def _shows(self) -> int:
        asked = int(self._request["config"]["top_logprobs"])
        return asked if self._learnt.most_shown is None else min(asked, self._learnt.most_shown)

    def _take_less(self, refusal: str) -> bool:
        """Whether a refused request is to be sent with less, which is remembered."""
        if "logprobs" in refusal:
            allowed = allowed_number(refusal, self._shows)
            if allowed is not None:
                self._learnt.most_shown = allowed
            return allowed is not None
        named = any(name in refusal for name in NEUTRAL) or _UNKNOWN.search(refusal)
        if self._learnt.neutral and not self._own and named and "continue_final_message" not in refusal:
            self._learnt.neutral = False
            return True
        return False

    def _count(self, came: Came) -> None:
        self._usages.append(came.usage)
        model = came.completion.get("model")
        if isinstance(model, str):
            self._models.append(model)
        usage = came.completion.get("usage")
        details = usage.get("prompt_tokens_details") if isinstance(usage, Mapping) else None
        cached = details.get("cached_tokens") if isinstance(details, Mapping) else None
        if isinstance(cached, int) and not isinstance(cached, bool):
            self._cached.append(cached)

    async def _try_to_continue(self, begun: Written) -> Answer | TransientError | FatalError | None:
        """Find out once whether the server goes on from a beginning, or drops that and answers anew in silence.

        It is given the token that it wrote, after which the first reply has shown what comes next.
        """
        if self._own:
            self._learnt.continues = False
            return None
        token = begun.tokens[0]
        if len(begun.tokens) < 2 or not token or token == begun.end or not _whole(token):
            return None  # another read-out will tell
        came = await self._asked(token, keep=False)
        if isinstance(came, Answer) and came.failure == "rejected":
            self._learnt.continues, self._learnt.why_not = False, came.detail
            return None
        if not isinstance(came, Written):
            return came
        self._learnt.continues = bool(came.places) and came.places[0].apart(begun.places[1]) <= _APART
        return None

    # --- what it comes to

    def _standing(self) -> Standing:
        shows_ends = not (self._hides_ends and not self._ends_seen())
        return walk(self._labels, self._places, self._ends, shows_ends)

    def _ends_seen(self) -> bool:
        return any(token in self._ends for place in self._places.values() for token, _ in place.tokens)

    def _open(self) -> list[bytes]:
        """The beginnings to ask on for: the most probable, until what else is open matters little."""
        standing = self._standing()
        room = int(self._request["most_requests"]) - self._sent - (self._learnt.continues is None)
        total = sum(standing.taken.values())
        left = sum(standing.open.values())
        chosen: list[bytes] = []
        for text, share in sorted(standing.open.items(), key=lambda item: (-item[1], item[0])):
            if left <= _OPEN * total or len(chosen) >= room:
                break
            left -= share
            if _whole(text):
                chosen.append(text)
        return chosen

    def _judged(self) -> Answer:
        standing = self._standing()
        most = sum(high for _, high in standing.bounds.values())
        facts = self._facts(standing)
        total = sum(standing.taken.values())
        if total > 1 + ABOVE_ONE:
            detail = (
                f"The labels' probabilities sum to {total:.4g}: what {self._request['model']} shows at "
                f"top_logprobs={self._shows} is not the model's own. Mend: {MEND_MODE}"
            )
            return self._answer(failure="unreadable", detail=detail, settings=facts)
        if not most or standing.unread > _UNREAD * most:
            return self._answer(failure="cut_off", detail=self._why(standing), settings=facts)
        known = {label: math.log(share) for label, share in standing.taken.items() if share > 0}
        return self._answer(log_probabilities=known, settings=facts)

    def _facts(self, standing: Standing) -> dict[str, Any]:
        """What the row says beside the probabilities. Figures that are exact have no bounds."""
        facts: dict[str, Any] = {"end_of_turn": "read"}
        if not self._ends_seen() and self._hides_ends:
            facts["end_of_turn"] = "not shown"
        elif standing.assumed > _NOTHING:
            facts["end_of_turn"] = f"assumed for {standing.assumed:.3g}"
        if standing.unread > _NOTHING or standing.assumed > _NOTHING:
            facts["unread"] = _rounded(standing.unread)
            facts["bounds"] = {name: [_rounded(low), _rounded(high)] for name, (low, high) in standing.bounds.items()}
        if not self._learnt.neutral:
            facts["sampling"] = "the server's own"
        dressed = variants(self._labels, self._places[b""])
        if dressed:
            facts["variants"] = {text: _rounded(share) for text, share in dressed.items()}
        return facts

    def _why(self, standing: Standing) -> str:
        """Which labels cannot be read, why, and what to do."""
        hidden = [label for label, share in standing.hidden.items() if share > 0]
        alike = sorted({label for text in standing.open if not standing.ends_only(text)
                        for label in standing.beginning(text)})  # fmt: skip
        parts = []
        if hidden:
            most = max(standing.hidden.values())
            shown = min(self._shows, max(len(place.tokens) for place in self._places.values()))
            fewer = f", though {self._shows} were asked for" if shown < self._shows else ""
            count = 2 * self._shows if self._shows < 50 else 5 * self._shows
            parts.append(
                f"{', '.join(map(repr, hidden))} not among the {shown} likeliest tokens that the server shows{fewer} "
                f"(at most {most:.3g} each, and {sum(standing.read.values()):.3g} was read). Mend: start it with "
                f"--max-logprobs {max(count, 100)} and give the backend top_logprobs={max(count, 100)}, on the command "
                f"line --backend_options '{{top_logprobs: {max(count, 100)}}}'."
            )
        if alike:
            why_not = self._learnt.why_not
            if self._learnt.continues is not False:
                why_not = "too many requests would be needed" if self._learnt.continues else "it was too short to tell"
            parts.append(
                f"{', '.join(map(repr, alike))}: it is not known how the answer goes on after tokens that begin them, "
                f"since {why_not}. Mend: ask a server that takes continue_final_message, such as vLLM's."
            )
        dressed = variants(self._labels, self._places[b""])
        if dressed and sum(dressed.values()) > sum(standing.taken.values()):
            parts.append(f"The model writes {', '.join(map(repr, dressed))}, which is not what was asked for.")
        return " ".join(parts) or "no label has any probability"

    def _answer(self, settings: Mapping[str, Any] | None = None, **answer: Any) -> Answer:
        shown = {name: value for name, value in self._request["config"].items() if name != "extra_body"}
        extra = self._request["config"].get("extra_body", {})
        shown |= {name: value for name, value in extra.items() if name not in NEUTRAL}
        if self._cached:
            shown["cached_tokens"] = sum(self._cached)
        return Answer(
            answer.pop("text", None),
            model_version=self._model(),
            usage=_together(self._usages),
            settings={**shown, "top_logprobs": self._shows, "requests": self._sent, **(settings or {})},
            latency_s=time.monotonic() - self._began,
            **answer,
        )

    def _model(self) -> str | None:
        """Who answered; where several did, one that is not the first and was not asked: the run is to know of it."""
        others = (model for model in self._models if model not in (self._models[0], self._request["model"]))
        return next(others, self._models[0] if self._models else None)

    def _billed(self, outcome: Answer | TransientError | FatalError) -> Answer | TransientError | FatalError:
        """The same; of a read-out that fails after replies came, these are to be paid for."""
        if isinstance(outcome, TransientError) and self._usages:
            outcome.billed = True
        return outcome


def allowed_number(refusal: str, asked: int) -> int | None:
    """How many tokens a server shows, by its refusal to show `asked`; None where it shows none.

    Where it names no number, 5 are tried, which some show at most.

    Example:
        >>> allowed_number("400 BadRequestError: Requested sample logprobs of 100, which is greater than max allowed: "
        ...                "20", 100)
        20
        >>> allowed_number("400 invalid_request_error: logprobs are not supported with this model", 20) is None
        True
    """
    words = refusal.partition(": ")[2] or refusal
    numbers = [int(found) for found in re.findall(r"(?<![\w.-])\d+(?![\w.])|(?<![\w.-])\d+(?=\.(?:\s|$))", words)]
    fitting = [number for number in numbers if 0 < number < asked]
    if fitting:
        return max(fitting)
    if 0 in numbers or re.search(r"support|available|unrecognized|unknown|not (?:allowed|permitted|enabled)", words):
        return None
    return 5 if asked > 5 else None


def _whole(text: bytes) -> bool:
    """Whether the bytes are whole letters, which can be sent as text."""
    try:
        return bool(text.decode())
    except UnicodeDecodeError:
        return False


def _rounded(value: float) -> float:
    return float(f"{value:.6g}")


def _together(usages: Sequence[Usage]) -> Usage:
    """The sum; what one of them does not state is not known of all."""

    def total(name: str) -> int | None:
        values = [getattr(usage, name) for usage in usages]
        return None if None in values or not values else sum(values)

    return Usage(*(total(name) for name in ("prompt_tokens", "audio_tokens", "thinking_tokens", "output_tokens")))
