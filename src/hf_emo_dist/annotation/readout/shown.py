"""The log-probabilities in a chat completion, however odd: which tokens are shown at each place of the answer.

The protocol is OpenAI's (``choices[0].logprobs.content[].top_logprobs``). Servers differ in what they put there, and
what is no list of log-probabilities is said to be none, with what to do about it.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .probabilities import ABOVE_ONE
from .walking import Place

# vLLM writes -9999 for minus infinity, which JSON has not.
_NOTHING = -9000.0
# By which a logarithm may pass 0: bf16 has three digits.
_ABOVE_ZERO = 0.01
# By which a token's own logarithm may differ from that in the list: rounding to digits, or of bf16, is less.
_SAME, _SAME_PART = 0.01, 2**-8
_TOKEN_ID = re.compile(rb"token_id:\d+")
_THOUGHT = re.compile(rb"^\s*(?:<\|?(?:think|thinking|thought|reasoning|channel)\|?>|\[THINK\])", re.IGNORECASE)
#: From which probability on a thought is what the answer begins with.
_THINKS = 0.5

MEND_MODE = (
    "start the server with --logprobs-mode raw_logprobs (vLLM's default), and leave penalties, top_k and top_p out of "
    "its defaults (--generation-config vllm)."
)
MEND_NONE = (
    "ask it in label mode; or ask a server that returns log-probabilities, such as vLLM's, with no gateway before it "
    "that drops them."
)
MEND_THINKING = (
    "switch reasoning off: --backend_options '{extra_body: {chat_template_kwargs: {enable_thinking: false}}}', or ask "
    "a model that does not reason; label mode reads an answer after its reasoning."
)


class NotShown(ValueError):
    """What a server shows can be read as no log-probabilities, in this reply and in every other."""

    def __init__(self, message: str, mend: str) -> None:
        super().__init__(f"{message} Mend: {mend}")
        self.message, self.mend = message, mend


@dataclass(frozen=True)
class Written:
    """An answer as its tokens.

    Attributes:
        tokens: The text of each that was generated.
        places: What was shown at each.
        end: How its end of turn is spelled; None where the reply does not tell.
        hides_end: Whether the answer ended, and its end is not among its tokens.
    """

    tokens: tuple[bytes, ...]
    places: tuple[Place, ...]
    end: bytes | None = None
    hides_end: bool = False

    def along(self, beginning: bytes) -> dict[bytes, Place]:
        """What was shown after each beginning of the answer, which itself went on from `beginning`."""
        found: dict[bytes, Place] = {}
        for token, place in zip(self.tokens, self.places, strict=True):
            if token == self.end:
                found.setdefault(beginning, place)
                break
            found.setdefault(beginning, place)
            beginning += token
        return found


def written(choice: Mapping[str, Any], text: str) -> Written:
    """Read the tokens of a choice.

    Args:
        choice: Of a chat completion.
        text: Its message.

    Raises:
        NotShown: There are no log-probabilities, or they are something else.
        ValueError: Of this reply alone: NaN, or tokens in another form than the protocol's.

    Example:
        >>> content = [{"token": "sad", "logprob": -0.1, "top_logprobs": [{"token": "sad", "logprob": -0.1},
        ...                                                               {"token": "glad", "logprob": -2.4}]}]
        >>> found = written({"logprobs": {"content": content}, "finish_reason": "length"}, "sad")
        >>> found.tokens, [round(share, 3) for _, share in found.places[0].tokens]
        ((b'sad',), [0.905, 0.091])
    """
    logprobs = choice.get("logprobs")
    content = logprobs.get("content") if isinstance(logprobs, Mapping) else None
    if content is None:
        raise NotShown("The server's replies have no log-probabilities.", MEND_NONE)
    if not isinstance(content, list) or not all(isinstance(entry, Mapping) for entry in content):
        raise ValueError("the log-probabilities are not a list of tokens")
    _no_thought(choice)
    tokens, places = [], []
    for entry in content:
        token, place = _place(entry)
        tokens.append(token)
        places.append(place)
    if any(map(_TOKEN_ID.fullmatch, tokens)):
        raise NotShown(
            "The server shows numbers of tokens and not their texts.", "start it without --return-tokens-as-token-ids."
        )
    if places and sum(share for token, share in places[0].tokens if _THOUGHT.match(token)) > _THINKS:
        raise NotShown(f"The model begins with a thought ({tokens[0].decode(errors='replace')!r}).", MEND_THINKING)
    return Written(tuple(tokens), tuple(places), *_end(tokens, text, choice.get("finish_reason")))


def _no_thought(choice: Mapping[str, Any]) -> None:
    message = choice.get("message")
    thought = message.get("reasoning_content") or message.get("reasoning") if isinstance(message, Mapping) else None
    if thought:
        raise NotShown("The model reasons before it answers, and its first tokens are no label.", MEND_THINKING)


def _end(tokens: Sequence[bytes], text: str, reason: Any) -> tuple[bytes | None, bool]:
    """How the end of the turn is spelled, and whether it is hidden, by an answer that came to its end."""
    if reason != "stop" or not tokens:
        return None, False
    if not tokens[-1]:  # some servers show special tokens as empty texts
        return b"", False
    before, whole = b"".join(tokens[:-1]).strip(), text.encode().strip()
    if before == whole:
        return tokens[-1], False
    return None, b"".join(tokens).strip() == whole


def _place(entry: Mapping[str, Any]) -> tuple[bytes, Place]:
    """The token that was generated, and what was shown at its place."""
    others = entry.get("top_logprobs")
    listed = others if isinstance(others, list) else []
    if not listed:
        raise NotShown("The server shows no tokens beside the one that it wrote.", MEND_NONE)
    text, own = _text(entry), _number(entry)
    shown = [(_text(other), _number(other)) for other in listed]
    known = [(name, value) for name, value in shown if value is not None]
    shares = [(name, math.exp(min(value, 0.0))) for name, value in known if value > _NOTHING]
    total = sum(share for _, share in shares)
    if any(value > _ABOVE_ZERO for _, value in known) or total > 1 + ABOVE_ONE:
        raise NotShown("What the server shows are no log-probabilities: they are above 0, or sum to more.", MEND_MODE)
    if len(shares) < len(known) and total > 1 - ABOVE_ONE:
        # Of the likeliest tokens none is impossible, unless something has taken them away and scaled the rest up.
        raise NotShown("The server shows what is left after it took tokens away, and not the model's own.", MEND_MODE)
    alike = _own_in_list(text, own, known)
    # vLLM puts the token that was drawn into the list, however unlikely it is: it is no bound for the others.
    ranked = sorted(share for _, share in shares)
    least = ranked[0] if ranked else 1.0
    if len(ranked) > 1 and alike is not None and math.exp(min(alike, 0.0)) == least:
        least = ranked[1]
    if own is not None and alike is None and own > _NOTHING:
        shares.append((text, math.exp(min(own, 0.0))))
        if own > _ABOVE_ZERO or total + shares[-1][1] > 1 + ABOVE_ONE:
            raise NotShown("The token that was written and those beside it are probable by more than 1.", MEND_MODE)
    return text, Place(tuple(shares), least)


def _own_in_list(text: bytes, own: float | None, known: Sequence[tuple[bytes, float]]) -> float | None:
    """The logarithm that the list has of the token that was written; None where it is not in it.

    It is that token by its text: its own logarithm may be rounded otherwise.
    """
    found = [value for name, value in known if name == text]
    if own is None or not found:
        return found[0] if found else None
    nearest = min(found, key=lambda value: abs(value - own))
    if max(nearest, own) <= _NOTHING or abs(nearest - own) <= max(_SAME, abs(own) * _SAME_PART):
        return nearest
    if "\ufffd".encode() in text:  # a part of a letter, whose bytes are not shown: other parts look the same
        return None
    raise NotShown(
        f"The server shows {text.decode(errors='replace')!r}, which it wrote, with two log-probabilities, {own:.4g} by "
        f"itself and {nearest:.4g} in the list: one of them is no longer the model's.",
        MEND_MODE,
    )


def _text(entry: Any) -> bytes:
    """A token as it is spelled: by its bytes, since it may be a part of a letter."""
    if not isinstance(entry, Mapping) or not isinstance(entry.get("token"), str):
        raise ValueError("a token of the log-probabilities has no text")
    given = entry.get("bytes")
    if isinstance(given, list) and given and all(isinstance(one, int) and 0 <= one < 256 for one in given):
        return bytes(given)
    return str(entry["token"]).encode(errors="replace")


def _number(entry: Mapping[str, Any]) -> float | None:
    """A logarithm; None where there is none. Some servers write numbers as texts."""
    value = entry.get("logprob")
    if value is None or isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise ValueError(f"a log-probability is {str(value)[:40]!r}") from None
    if math.isnan(number):
        raise ValueError("a log-probability is NaN")
    return number
