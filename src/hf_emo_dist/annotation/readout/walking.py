"""From the likeliest next tokens that a server shows to the probability of each label, and to what stays open.

A server shows texts of tokens and no tokens. So a label is read along its letters: with m(s) the probability that the
answer begins with the tokens that spell s, m("") = 1, a token t that is shown with probability p at s adds m(s)·p to
m(s + t), and the end of the turn at a whole label L adds m(L)·p to P(the answer is exactly L). All ways of spelling a
label that are shown count. Trained models hardly ever spell a word in another way than their tokenizer, so this is what
a reader of the label's own tokens finds.

What is not shown has a bound: no token outside of the list is likelier than the least likely one in it, and all of them
together have what the list leaves of 1.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

#: How ends of a turn are spelled, beside those that a reply's own last token tells.
ENDS = frozenset(
    (b"<|im_end|>", b"<|endoftext|>", b"<|eot_id|>", b"<|eom_id|>", b"<|end_of_text|>", b"<|end|>", b"<|return|>",
     b"</s>", b"<eos>", b"<end_of_turn>", b"<turn|>")
)  # fmt: skip
# What a whole list lacks of 1 by rounding.
_ROUNDING = 1e-6


@dataclass(frozen=True)
class Place:
    """The likeliest next tokens at one place of an answer.

    Attributes:
        tokens: Text and probability of each; a text may occur more than once.
        least: What a token that is not among them can have at most.
    """

    tokens: tuple[tuple[bytes, float], ...]
    least: float

    @property
    def unseen(self) -> float:
        """What one token that is not shown can have at most."""
        left = 1.0 - sum(share for _, share in self.tokens)
        return min(self.least, left) if left > _ROUNDING else 0.0

    def apart(self, other: Place) -> float:
        """How far two lists are apart: half the sum of differences over texts that both show; 1 where none is in both.

        Example:
            >>> Place(((b"a", 0.9), (b"b", 0.1)), 0.0).apart(Place(((b"a", 0.7), (b"c", 0.3)), 0.0))
            0.2
        """
        one, two = _by_text(self.tokens), _by_text(other.tokens)
        both = one.keys() & two.keys()
        if not both:
            return 1.0
        # The probability of each list that the other does not tell of is compared as a whole.
        rest = abs(sum(one[text] for text in both) - sum(two[text] for text in both))
        return round((sum(abs(one[text] - two[text]) for text in both) + rest) / 2, 12)


def _by_text(tokens: Sequence[tuple[bytes, float]]) -> dict[bytes, float]:
    found: dict[bytes, float] = {}
    for text, share in tokens:
        found[text] = found.get(text, 0.0) + share
    return found


@dataclass(frozen=True)
class Standing:
    """What is known of the labels' probabilities.

    Attributes:
        read: Label to the probability that was read.
        open: A beginning of labels to its probability, where it is not known yet how that goes on.
        hidden: Label to what it can have more at most, since the list of tokens was cut off before it.
        labels: All of them.
    """

    read: Mapping[str, float]
    open: Mapping[bytes, float]
    hidden: Mapping[str, float]
    labels: tuple[str, ...]

    def beginning(self, text: bytes) -> tuple[str, ...]:
        """The labels that begin with a text."""
        return tuple(label for label in self.labels if label.encode().startswith(text))

    def ends_only(self, text: bytes) -> bool:
        """Whether all that is open at a beginning is the end of the turn: it is a label, and no other begins so."""
        found = self.beginning(text)
        return len(found) == 1 and found[0].encode() == text

    @property
    def bounds(self) -> dict[str, tuple[float, float]]:
        """Label to the least and the most that its probability can be."""
        found = {}
        for label in self.labels:
            begun = sum(share for text, share in self.open.items() if label.encode().startswith(text))
            least = self.read[label]
            found[label] = (least, max(least, min(1.0, least + begun + self.hidden[label])))
        return found

    @property
    def taken(self) -> dict[str, float]:
        """Label to the probability that is taken: what was read, and its even share of what is open. Nothing hidden."""
        found = dict(self.read)
        for text, share in self.open.items():
            begun = self.beginning(text)
            for label in begun:
                found[label] += share / len(begun)
        return found

    @property
    def unread(self) -> float:
        """The probability of which it is not known which label has it, or whether any has."""
        most = sum(self.hidden.values()) + sum(m for text, m in self.open.items() if not self.ends_only(text))
        # Each hidden label may have as much as the least likely token that is shown, all of them only what is left.
        return min(most, max(0.0, 1.0 - sum(self.read.values())))

    @property
    def assumed(self) -> float:
        """The probability of whole labels after which the end of the turn was not looked for."""
        return sum(share for text, share in self.open.items() if self.ends_only(text))


def walk(
    labels: Sequence[str], places: Mapping[bytes, Place], ends: Collection[bytes] = ENDS, shows_ends: bool = True
) -> Standing:
    """Read the labels' probabilities off what is shown.

    Args:
        labels: No two alike.
        places: A beginning of the answer to what is shown after it; ``b""`` for the first token.
        ends: How ends of the turn are spelled.
        shows_ends: Whether the server shows the end of the turn among the tokens. Where it does not, P(label) is that
            of answers which begin with the label and do not go on to a longer one.

    Example:
        >>> places = {b"": Place(((b"sad", 0.6), (b"glad", 0.3)), 0.02), b"sad": Place(((b"</s>", 0.9), (b"ness", 0.1)),
        ...           0.0), b"sadness": Place(((b"</s>", 1.0),), 0.0)}
        >>> found = walk(["sad", "sadness", "glad", "calm"], places)
        >>> {label: round(value, 3) for label, value in found.read.items() if value}, found.open, found.hidden["calm"]
        ({'sad': 0.54, 'sadness': 0.06}, {b'glad': 0.3}, 0.02)
    """
    spelled = {label: label.encode() for label in labels}
    read, hidden = dict.fromkeys(labels, 0.0), dict.fromkeys(labels, 0.0)
    begun: dict[bytes, float] = {b"": 1.0}
    left: dict[bytes, float] = {}
    while begun:
        text = min(begun, key=len)  # whatever leads to it is shorter, and is done
        mass = begun.pop(text)
        ahead = {label: whole[len(text) :] for label, whole in spelled.items() if whole.startswith(text)}
        if not shows_ends and not any(ahead.values()):
            read.update({label: read[label] + mass for label in ahead})
            continue
        place = places.get(text)
        if place is None:
            left[text] = mass
            continue
        end = on = 0.0
        ended = False
        for token, share in place.tokens:
            if token in ends:
                end, ended = end + share, True
            elif token and any(rest.startswith(token) for rest in ahead.values()):
                begun[text + token] = begun.get(text + token, 0.0) + mass * share
                on += share
        texts = {token for token, _ in place.tokens}
        for label, rest in ahead.items():
            if rest:
                # A word that is a token is hardly ever spelled in two; one that is shown in part may be.
                hidden[label] += 0.0 if rest in texts else mass * place.unseen
            elif not shows_ends:
                read[label] += mass * max(0.0, 1.0 - on)
            elif ended:
                read[label] += mass * end
            else:
                hidden[label] += mass * place.unseen
    return Standing(read, left, hidden, tuple(labels))


def variants(labels: Sequence[str], place: Place, most: int = 5) -> dict[str, float]:
    """Tokens that begin labels in another dress (case, space, quotes), and what they have: the likeliest few.

    Such answers are not the label that was asked for, and are not counted as it.

    Example:
        >>> variants(["sad"], Place(((b"sad", 0.5), (b" Sad", 0.2), (b"SAD", 0.1), (b"The", 0.1)), 0.0))
        {' Sad': 0.2, 'SAD': 0.1}
    """
    found: dict[str, float] = {}
    for token, share in place.tokens:
        if any(label.encode().startswith(token) for label in labels):
            continue
        text = token.decode(errors="replace")
        folded = text.strip(" \t\r\n\"'*`▁Ġ").casefold()
        if len(folded) > 1 and any(label.casefold().startswith(folded) for label in labels):
            found[text] = found.get(text, 0.0) + share
    return dict(sorted(found.items(), key=lambda item: -item[1])[:most])
