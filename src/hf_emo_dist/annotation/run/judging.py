"""The one place that says what the outcome of a try means: for its clip, the rate, the cap and the run.

`MEANINGS` is the whole of it. Backends say what happened, and never what follows. What follows where a try alone cannot
tell (is it this clip, or everybody?) is decided by what happens to others, see `evidence`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal

from ..types import OK, Answer, FatalError, TransientError
from .evidence import DOUBTED


@dataclass(frozen=True)
class Meaning:
    """What one kind of outcome means.

    Attributes:
        clip: ``"final"``: the row of its job. ``"kept"``: a row at once, and never sent again in this run: it was paid
            for; its clip's where others get votes meanwhile. ``"again"``: it is sent again, up to `max_tries` times.
            ``"waits"``: sent again for as long as the service is not there for others either. ``"apart"``: not sent
            again until others are answered. ``"unread"``: never sent again in this run; its clip's where others are
            answered. ``"nothing"``: as if it had not been sent.
        rate: ``"up"``, ``"down"``, ``"pause"`` (down, and nobody sends for a while) or ``"same"``.
        cap: What is charged: ``"stated"`` by the service, ``"reserved"`` (it may have generated a reply) or
            ``"nothing"``.
        run: ``"on"``; ``"stop"`` at once; ``"doubt"``: stop where nobody gets a vote any more.
        fails: Whether it counts for the failure rate; of "server" and "timeout" only the try by which a request is
            given up.
        ever: Whether it may be its clip's doing at all. What is not is never final.
        first: From how many clips on, where nobody was ever answered, the run stops; where they are fewer than
            elsewhere, one is asked after another.
    """

    clip: Literal["final", "kept", "again", "waits", "apart", "unread", "nothing"]
    rate: Literal["up", "down", "pause", "same"]
    cap: Literal["stated", "reserved", "nothing"]
    run: Literal["on", "stop", "doubt"]
    fails: bool = False
    ever: bool = True
    first: int = DOUBTED


MEANINGS: Mapping[str, Meaning] = MappingProxyType(
    {
        # ------------------- clip ------ rate ---- cap -------- run
        "answer": Meaning("final", "up", "stated", "on"),
        "no vote": Meaning("kept", "up", "stated", "doubt", fails=True),  # empty, blocked, outside, …
        "other_model": Meaning("kept", "up", "stated", "stop", fails=True, ever=False),
        "unreadable": Meaning("unread", "same", "reserved", "doubt", fails=True),
        "error": Meaning("unread", "same", "reserved", "doubt", fails=True),  # ours, or the user's: never paid twice
        "rejected": Meaning("apart", "same", "nothing", "doubt", fails=True),
        "denied": Meaning("apart", "same", "nothing", "doubt", fails=True, first=4),
        "payment": Meaning("apart", "same", "nothing", "doubt", fails=True, ever=False, first=2),
        "fatal": Meaning("nothing", "same", "nothing", "stop", fails=True, ever=False),
        "rate_limit": Meaning("waits", "pause", "nothing", "on", ever=False),
        "overloaded": Meaning("waits", "down", "nothing", "doubt"),
        "timeout": Meaning("again", "down", "reserved", "doubt", fails=True),
        "server": Meaning("again", "down", "nothing", "doubt", fails=True),  # proxies say overload so, too
        "connection": Meaning("waits", "same", "nothing", "doubt"),
    }
)
_DENIED = {"permission": "denied", "not_found": "denied", "payment": "payment"}

#: What comes of a try: a reply, what a backend raises to say what happened, or an exception that it did not foresee.
Outcome = Answer | TransientError | FatalError | Exception


def kind_of(outcome: Outcome, read: str = "") -> str:
    """The row of `MEANINGS` for an outcome; `read`: what reading it came to, one of "ok" and `types.FAILURES`."""
    if isinstance(outcome, Answer):
        if outcome.failure in ("rejected", "unreadable"):
            return outcome.failure
        return "answer" if read == OK else "other_model" if read == "other_model" else "no vote"
    if isinstance(outcome, TransientError):
        return outcome.kind if outcome.kind in MEANINGS else "server"
    if isinstance(outcome, FatalError):
        return _DENIED.get(outcome.reason, "fatal")
    return "error"


def charged(outcome: Outcome, meaning: Meaning) -> str:
    """What is charged for a try: ``"stated"``, ``"reserved"`` or ``"nothing"``."""
    # Whether a request had left when its connection broke, only its backend knows.
    if isinstance(outcome, TransientError) and outcome.billed:
        return "reserved"
    if isinstance(outcome, TransientError):
        return "nothing"
    return meaning.cap
