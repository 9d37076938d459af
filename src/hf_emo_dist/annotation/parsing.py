"""Reading replies: a label or a distribution over just the emotions that were asked for, or why there is none.

A reply counts where it can mean one thing only, in whatever dress: quotes of any script, JSON with a confidence beside
the label, ``Emotion: sad``, reasoning in tags of its own, a token that ends a sequence. Nothing is guessed: a sentence
is no label, since "not happy at all" holds one, and a reply that names two emotions names none. One that says that
there was no audio is no vote, whatever else it says.
"""

from __future__ import annotations

import json
import math
import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ..emotions import UnknownEmotionError, canonical_emotion
from .readout.probabilities import distribution_at, mass_of
from .types import OK, Mode

#: Of what is read out of a text. Raise it when a reply may be read otherwise: stored ones can then be read again.
PARSER_VERSION = 3
#: How far the stated shares may sum from 1 and still be divided by their sum. Rounding to two decimals over ten
#: emotions gives 0.05.
SUM_TOLERANCE = 0.05
_BROKEN = "the reply breaks off or is not JSON"

_FENCE = re.compile(r"^```\w*\s*(.*?)\s*```$", flags=re.DOTALL)
#: Reasoning that some models write in front of their answer, in tags; the first of them may stand in the prompt.
_THOUGHT = re.compile(r"^(?:<(think|thinking|thought|reasoning)>)?.*</(think|thinking|thought|reasoning)>", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"^<(think|thinking|thought|reasoning)>")
_ELEMENT = re.compile(r"^<(answer|label|emotion|final|output|response)>(.*)</\1>$", re.DOTALL | re.IGNORECASE)
_END = re.compile(r"(?:</s>|<\|(?:im_end|endoftext|eot_id|end|end_of_text|eos)\|>|<end_of_turn>|<eos>|<\|im_end>)\s*$")
_LINE = re.compile(r"^\W{0,4}([^\W\d][\w ]{0,30}?)\W{0,3}[:：]\W{0,3}?\s*(\S.*)$")
_NUMBERED = re.compile(r"^\d{1,2}[.)]\s+(\S.*)$")
_SENTENCE = re.compile(
    r"^(?:the|my)?\s*(?:speaker's\s+|final\s+|dominant\s+|primary\s+|perceived\s+|predicted\s+)?"
    r"(?:emotion|label|answer|prediction)(?:\s+label)?\s+is\b[:\s]*(\S.*)$",
    re.IGNORECASE,
)
#: What follows a label, and says why it is that one.
_EXPLANATION = re.compile(r"^\W{0,4}(?:explanation|reason|reasoning|rationale|justification|because)\b", re.IGNORECASE)
_SINGLE_QUOTED = re.compile(r"'([^'\"\\\n]*)'")
_HEARD = r"(?:audio|sound|recording|clip|voice)(?:\s+(?:clip|file|input|data|recording|content|sample))?"
_GIVEN = r"(?:received|provided|attached|supplied|uploaded|included|given|shared|sent|available|accessible)"
#: A reply that says that there was nothing to hear. Silence is something.
_NO_AUDIO = re.compile(
    rf"\b(?:no|without\s+(?:an?\s+|any\s+)?)\s*(?:actual\s+)?{_HEARD}\s+(?:was\s+|is\s+|has\s+been\s+|were\s+)?{_GIVEN}\b"
    rf"|\b{_HEARD}\s+(?:was|is|has|were)(?:\s+not|n['’]t)\s+(?:been\s+)?{_GIVEN}\b"
    rf"|\b{_HEARD}\s+(?:is|was|seems\s+to\s+be|appears\s+to\s+be)\s+missing\b"
    rf"|\b(?:did\s+not|didn['’]t|have\s+not|haven['’]t)\s+(?:receive|received|get)\s+(?:any|an|the)\s+{_HEARD}\b"
    rf"|\b(?:cannot|can\s*not|can['’]t|could\s+not|couldn['’]t|(?:am\s+)?(?:unable|not\s+able)\s+to)\s+"
    rf"(?:directly\s+)?(?:hear|listen\s+to|access|process|play|open)\s+(?:any\s+|the\s+|your\s+|an?\s+)?{_HEARD}\b",
    re.IGNORECASE,
)
_SHARE = re.compile(r"^\s*(\d+(?:\.\d*)?|\.\d+)\s*([%％]?)\s*$")

#: What a label is called in a reply, in lower case.
_LABEL_NAMES = frozenset(
    ("emotion", "label", "answer", "final answer", "prediction", "predicted emotion", "class", "dominant emotion",
     "perceived emotion", "primary emotion", "emotion label", "response", "result", "output", "mood", "feeling")
)  # fmt: skip
#: What quotes the clip and does not judge it.
_QUOTING = frozenset(
    ("transcript", "transcription", "text", "quote", "quotes", "quoted", "words", "sentence", "utterance", "speech",
     "said", "spoken", "speaker", "content", "audio", "clip", "input", "question", "prompt")
)  # fmt: skip
#: What may stand beside shares and is none.
_BESIDE_SHARES = frozenset(
    ("confidence", "certainty", "reason", "reasoning", "explanation", "rationale", "comment", "note", "notes", "total",
     "sum")
)  # fmt: skip


@dataclass(frozen=True)
class Reading:
    """What a reply says: ``"ok"`` with a label, or shares in the order of the emotions; or a failure and why."""

    outcome: str
    label: str | None = None
    distribution: Mapping[str, float] | None = None
    detail: str = ""


def read_reply(text: str | None, mode: Mode, emotions: Sequence[str], lenient: bool = False) -> Reading:
    """Read the reply of an annotator.

    Args:
        text: As it came.
        mode: What was asked for.
        emotions: The label set.
        lenient: As arXiv 2601.14620: where nothing else is found, the first name that occurs is the label.

    Example:
        >>> read_reply("<think>Happy? No.</think>Emotion: „Sad“.", "label", ["happy", "sad"]).label
        'sad'
        >>> read_reply('{"happy": "10%", "sad": "90%"}', "distribution", ["happy", "sad"]).distribution
        {'happy': 0.1, 'sad': 0.9}
    """
    content = (text or "").strip()
    if not content:
        return Reading("empty", detail="the reply has no text")
    content = _undressed(_plain(content, emotions))
    if not content:
        return Reading("empty", detail="the reply has no text beside its reasoning")
    if _NO_AUDIO.search(content):
        return Reading("refused", detail="the reply says that there was no audio")
    if _OPEN_THOUGHT.match(content) and not lenient:
        return Reading("unparseable", detail="the reply breaks off within its reasoning")
    if mode == "distribution":
        return _read_distribution(content, emotions)
    return _read_label(content, emotions, lenient)


def read_probabilities(
    log_probabilities: Mapping[str, float] | None, emotions: Sequence[str], temperature: float | None = None
) -> Reading:
    """Read what a model's probabilities of the labels say, at a temperature of whole answers.

    Args:
        log_probabilities: Emotion to ln P(the answer is exactly it), as in `types.Answer`; None where there is nothing.
        emotions: The label set.
        temperature: None for 1.

    Example:
        >>> read_probabilities({"happy": -1.0, "sad": -1.0}, ["happy", "sad"]).distribution
        {'happy': 0.5, 'sad': 0.5}
    """
    if log_probabilities is None:
        return Reading("unreadable", detail="the reply has no log-probabilities")
    if unknown := set(log_probabilities) - set(emotions):
        return Reading("outside", detail=f"{', '.join(sorted(unknown))} among the log-probabilities was not asked for")
    values = [log_probabilities.get(name, -math.inf) for name in emotions]
    try:
        mass_of(values)
        if all(map(math.isinf, values)):
            return Reading("outside", detail="none of the emotions is among the answers whose probability is known")
        shares = distribution_at(values, temperature).tolist()
    except ValueError as error:
        return Reading("unreadable", detail=str(error))
    return Reading(OK, distribution=dict(zip(emotions, shares, strict=True)))


def _plain(content: str, emotions: Sequence[str]) -> str:
    """The text in ordinary characters: full-width letters as such, and nothing between them that has no width."""
    if content.isascii():
        return content

    def changed(text: str) -> str:
        kept = unicodedata.normalize("NFKC", text)
        return "".join(char for char in kept if unicodedata.category(char) != "Cf")

    # Names that have such characters themselves are compared as they are.
    return content if any(changed(name) != name for name in emotions) else changed(content).strip()


def _undressed(content: str) -> str:
    """The text without reasoning, tags, ends of sequences and code fences around it."""
    for _ in range(20):  # however deep somebody nests
        before = content
        content = _END.sub("", content).strip()
        content = _THOUGHT.sub("", content, count=1).strip()
        for pattern, group in ((_FENCE, 1), (_ELEMENT, 2)):
            if found := pattern.match(content):
                content = found[group].strip()
        if content == before:
            break
    return content


# --- labels
def _read_label(content: str, emotions: Sequence[str], lenient: bool) -> Reading:
    # A label may come in another case or form ("Anger."); a word of another language, or an emotion that was not asked
    # for, is outside the list.
    first, _, rest = content.partition("\n")
    if _EXPLANATION.match(rest.strip()):
        reading = _read_label(first.strip(), emotions, False)
        if reading.outcome == OK and not _named(rest, emotions) - {reading.label}:
            return reading
    value, broken = _json_or_text(content)
    if isinstance(value, str):
        within = _of_json_within(value, emotions)
        label = _within(within, emotions) if within else None if broken else _within(_of_lines(value), emotions, False)
        value = value if label is None else label
    else:
        value = _within(value, emotions)
    if isinstance(value, str):
        found = _NUMBERED.match(value) or _SENTENCE.match(value)
        word = _word(value if found is None or broken else found[1])
        try:
            return Reading(OK, label=canonical_emotion(word, emotions))
        except UnknownEmotionError:
            if lenient:
                places = {name: value.lower().find(name) for name in emotions}
                named = [name for name in emotions if places[name] >= 0]
                if named:
                    return Reading(OK, label=min(named, key=lambda name: places[name]))
            if not broken and not _named(word, emotions) and len(word.split()) <= 3:
                return Reading("outside", detail=f"{word[:50]!r} is not among {', '.join(emotions)}")
    if broken:
        return Reading("unparseable", detail=_BROKEN)
    return Reading("unparseable", detail=f"expected one of {', '.join(emotions)} and nothing else")


def _json_or_text(content: str) -> tuple[Any, bool]:
    """What the text says as JSON, or the text; and whether it begins like JSON and is none."""
    if content[:1] not in '{["':
        return content, False
    try:
        return json.loads(_double_quoted(content), object_pairs_hook=_once), False
    except (ValueError, RecursionError):
        # '"Sad".' begins like JSON as well
        return content, content[:1] != '"' or '"' not in content[1:]


def _double_quoted(content: str) -> str:
    """JSON whose quotes are single ones throughout, as Python writes a dictionary, with those of JSON."""
    return content if '"' in content or "'" not in content else _SINGLE_QUOTED.sub(r'"\1"', content)


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a key stands there twice")
    return found


def _of_lines(content: str) -> dict[str, str] | None:
    """``Emotion: sad``, and such lines one below the other, as a mapping; None for any other text."""
    pairs: dict[str, str] = {}
    for line in filter(str.strip, content.splitlines()):
        found = _LINE.match(line.strip())
        if found is None or found[1].strip().lower() in pairs:
            return None
        pairs[found[1].strip().lower()] = found[2]
    return pairs or None


def _of_json_within(content: str, emotions: Sequence[str]) -> dict[str, Any] | None:
    """The one JSON object in a text whose other words name no emotion."""
    start, end = content.find("{"), content.rfind("}")
    if not 0 <= start < end:
        return None
    value, _ = _json_or_text(content[start : end + 1])
    if not isinstance(value, dict) or _named(content[:start] + " " + content[end + 1 :], emotions):
        return None
    return value


def _within(value: Any, emotions: Sequence[str], any_name: bool = True) -> str | None:
    """The text that is the label in what JSON or lines say; None where there is none, or more than one may be meant."""
    while isinstance(value, (dict, list)):
        if isinstance(value, dict):
            value = _labelled(value, emotions, any_name)
        else:
            value = value[0] if len(value) == 1 else None
    return value if isinstance(value, str) else None


def _labelled(pairs: Mapping[str, Any], emotions: Sequence[str], any_name: bool) -> Any:
    """The value that is the label; None where none is, or where another value names another emotion.

    `any_name`: whether the one value of a mapping is the label by whatever name, but for names of what is quoted.
    """
    names = {str(name): re.sub(r"[\W_]+", " ", str(name)).strip().lower() for name in pairs}
    called = [name for name, plain in names.items() if plain in _LABEL_NAMES]
    if not called and any_name and len(pairs) == 1:
        called = [
            name for name, plain in names.items() if not _QUOTING & set(plain.split()) and not _named(plain, emotions)
        ]
    if len(called) != 1:
        return None
    value = pairs[called[0]]
    others = [entry for name, entry in pairs.items() if name != called[0]]
    if not isinstance(value, str):
        return None if others else value
    mine = _named(value, emotions)
    return None if any(_named(text, emotions) - mine for text in _texts(others)) else value


def _texts(value: Any) -> Iterator[str]:
    """All keys and texts within a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for name, entry in value.items():
            yield str(name)
            yield from _texts(entry)
    elif isinstance(value, list):
        for entry in value:
            yield from _texts(entry)


def _named(text: str, emotions: Sequence[str]) -> set[str]:
    """The emotions that a text names, in any of their forms."""
    lower = text.lower()
    found = {canonical_emotion(word) for word in re.findall(r"[^\W_]+", lower)} & set(emotions)
    return found | {name for name in emotions if not name.isalnum() and name in lower}


def _word(text: str) -> str:
    """The text without punctuation of any script around it; but for a question mark, which makes it no answer."""
    start, end = 0, len(text)
    while start < end and _is_around(text[start]):
        start += 1
    while end > start and _is_around(text[end - 1]):
        end -= 1
    return text[start:end]


def _is_around(char: str) -> bool:
    if char == "`" or char.isspace():
        return True
    return unicodedata.category(char)[0] == "P" and char not in "?¿？؟⁇⁈⁉"


# --- distributions
def _read_distribution(content: str, emotions: Sequence[str]) -> Reading:
    start, end = content.find("{"), content.rfind("}")
    stated: Any = None
    try:
        text = content[start : end + 1] if 0 <= start < end else content
        stated = json.loads(_double_quoted(text), parse_constant=_no_constant, object_pairs_hook=_once)
    except (ValueError, RecursionError) as error:
        lines = _of_lines(content)
        if lines is None or len(lines) < 2:
            twice = "twice" in str(error) and type(error) is ValueError
            return Reading("unparseable", detail=f"{error}" if twice else _BROKEN)
        stated = lines
    if isinstance(stated, dict):
        inner = [value for value in stated.values() if isinstance(value, dict)]
        if len(inner) == 1 and not any(_named(str(name), emotions) for name in stated):
            stated = inner[0]
    if not isinstance(stated, dict):
        return Reading("unparseable", detail="expected a JSON object with one share an emotion")
    shares: dict[str, float] = {}
    for word, given in stated.items():
        share = _share(given)
        try:
            name = canonical_emotion(_word(str(word)), emotions)
        except UnknownEmotionError:
            if share == 0 or str(word).strip().lower() in _BESIDE_SHARES:
                continue
            return Reading("outside", detail=f"{str(word)[:50]!r} is not among {', '.join(emotions)}")
        if share is None:
            return Reading("unparseable", detail=f"the share of {name} is {str(given)[:50]!r}, not a number from 0")
        if name in shares:
            return Reading("unparseable", detail=f"{name} has two shares")
        shares[name] = share
    total = sum(shares.values())
    # Shares of a hundred are meant as such: no distribution sums to a hundred.
    if abs(total / 100.0 - 1.0) <= SUM_TOLERANCE:
        shares, total = {name: share / 100.0 for name, share in shares.items()}, total / 100.0
    if not abs(total - 1.0) <= SUM_TOLERANCE:
        return Reading("bad_sum", detail=f"the shares sum to {total:.6g}")
    # An emotion that is left out has no share.
    return Reading(OK, distribution={name: shares.get(name, 0.0) / total for name in emotions})


def _share(value: Any) -> float | None:
    """A share as a number, a number in quotes, or percent; None for anything else."""
    if isinstance(value, str):
        found = _SHARE.match(value.strip().rstrip(",;"))
        return None if found is None else float(found[1]) / (100.0 if found[2] else 1.0)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or value < 0:
        return None
    try:
        return float(value)
    except OverflowError:  # a number of thousands of digits
        return None


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no share")
