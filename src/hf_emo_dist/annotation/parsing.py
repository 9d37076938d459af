"""Reading replies: a label or a distribution over just the emotions that were asked for, or why there is none."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..emotions import UnknownEmotionError, canonical_emotion
from .types import OK, Mode

#: How far the stated shares may sum from 1 and still be divided by their sum. Rounding to two decimals over ten
#: emotions gives 0.05.
SUM_TOLERANCE = 0.05
_BROKEN = "the reply breaks off or is not JSON"
_FENCE = re.compile(r"^```\w*\s*(.*?)\s*```$", flags=re.DOTALL)


@dataclass(frozen=True)
class Reading:
    """What a reply says: ``"ok"`` with a label, or shares in the order of the emotions; or a failure and why."""

    outcome: str
    label: str | None = None
    distribution: Mapping[str, float] | None = None
    detail: str = ""


def read_reply(text: str | None, mode: Mode, emotions: Sequence[str], lenient: bool = False) -> Reading:
    """Read the reply of an annotator. `lenient`, as arXiv 2601.14620: else the first name that occurs is the label."""
    content = (text or "").strip()
    if not content:
        return Reading("empty", detail="the reply has no text")
    if fenced := _FENCE.match(content):
        content = fenced[1].strip()
    if mode == "distribution":
        return _read_distribution(content, emotions)
    return _read_label(content, emotions, lenient)


def _read_label(content: str, emotions: Sequence[str], lenient: bool) -> Reading:
    # A label may come in another case or form ("Anger.", "\"angry\"", {"emotion": "angry"}); a word of another
    # language, or an emotion that was not asked for, is outside the list. Nothing is guessed: a sentence is no label,
    # since "not happy at all" holds one.
    value: Any = content
    broken = False
    if content[:1] in '{["':
        try:
            value = json.loads(content)
        except ValueError:
            broken = True
    while isinstance(value, (dict, list)) and len(value) == 1:
        value = next(iter(value.values())) if isinstance(value, dict) else value[0]
    if isinstance(value, str):
        word = value.strip().strip("\"'`*_.,;:!()[]").strip()
        try:
            return Reading(OK, label=canonical_emotion(word, emotions))
        except UnknownEmotionError:
            if lenient:
                places = {name: value.lower().find(name) for name in emotions}
                found = [name for name in emotions if places[name] >= 0]
                if found:
                    return Reading(OK, label=min(found, key=lambda name: places[name]))
            named = any(part in emotions for part in re.split(r"\W+", word.lower()))
            if not broken and not named and len(word.split()) <= 3:
                return Reading("outside", detail=f"{word!r} is not among {', '.join(emotions)}")
    if broken:
        return Reading("unparseable", detail=_BROKEN)
    return Reading("unparseable", detail=f"expected one of {', '.join(emotions)} and nothing else")


def _read_distribution(content: str, emotions: Sequence[str]) -> Reading:
    start, end = content.find("{"), content.rfind("}")
    try:
        stated = json.loads(content[start : end + 1] if 0 <= start < end else content, parse_constant=_no_constant)
    except ValueError:
        return Reading("unparseable", detail=_BROKEN)
    if isinstance(stated, dict) and len(stated) == 1 and isinstance(next(iter(stated.values())), dict):
        stated = next(iter(stated.values()))
    if not isinstance(stated, dict):
        return Reading("unparseable", detail="expected a JSON object with one share an emotion")
    shares: dict[str, float] = {}
    for word, share in stated.items():
        try:
            name = canonical_emotion(str(word), emotions)
        except UnknownEmotionError:
            if share == 0:
                continue
            return Reading("outside", detail=f"{str(word)[:50]!r} is not among {', '.join(emotions)}")
        if isinstance(share, bool) or not isinstance(share, (int, float)) or share < 0:
            return Reading("unparseable", detail=f"the share of {name} is {str(share)[:50]!r}, not a number from 0")
        if name in shares:
            return Reading("unparseable", detail=f"{name} has two shares")
        shares[name] = float(share)
    total = sum(shares.values())
    # Shares of a hundred are meant as such: no distribution sums to a hundred.
    if abs(total / 100.0 - 1.0) <= SUM_TOLERANCE:
        shares, total = {name: share / 100.0 for name, share in shares.items()}, total / 100.0
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        return Reading("bad_sum", detail=f"the shares sum to {total:.6g}")
    # An emotion that is left out has no share.
    return Reading(OK, distribution={name: shares.get(name, 0.0) / total for name in emotions})


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no share")
