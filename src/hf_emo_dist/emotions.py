"""Emotion label sets: canonical names, other spellings of them, and the codes of known corpora.

Inside the library an emotion is a canonical lower-case string. Readers translate the codes of their corpus with
:data:`CORPUS_CODES`; everything else goes through :func:`canonical_emotion`.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from types import MappingProxyType

__all__ = [
    "ALIASES",
    "CORPUS_CODES",
    "KNOWN_EMOTIONS",
    "PAPER_EMOTIONS",
    "UnknownEmotionError",
    "canonical_emotion",
    "is_known_emotion",
    "validate_emotions",
]

#: The four classes of arXiv 2601.14620, in the order used throughout.
PAPER_EMOTIONS: tuple[str, ...] = ("angry", "happy", "neutral", "sad")

#: Canonical names that the library knows without being told. A user's own labels may stand beside them.
KNOWN_EMOTIONS: tuple[str, ...] = (
    *PAPER_EMOTIONS,
    "fear",
    "disgust",
    "surprise",
    "contempt",
    "frustrated",
    "excited",
    "calm",
    "bored",
    "amused",
    "annoyed",
    "anxious",
    "concerned",
    "confused",
    "depressed",
    "disappointed",
    "joy",
    "other",
)

# Only other forms of the same word are aliases. "joy" or "annoyed" are labels of their own: some label sets tell
# them from "happy" and "angry", and merging them is a decision for the user.
_FORMS: dict[str, tuple[str, ...]] = {
    "angry": ("anger", "ang"),
    "happy": ("happiness", "hap"),
    "neutral": ("neutrality", "neutral state", "neu"),
    "sad": ("sadness",),
    "fear": ("fearful", "afraid", "fea"),
    "disgust": ("disgusted", "dis"),
    "surprise": ("surprised", "sur"),
    "contempt": ("contemptuous",),
    "frustrated": ("frustration", "fru"),
    "excited": ("excitement", "exc"),
    "calm": ("calmness",),
    "bored": ("boredom",),
    "amused": ("amusement",),
    "annoyed": ("annoyance",),
    "anxious": ("anxiety",),
    "concerned": ("concern",),
    "confused": ("confusion",),
    "depressed": ("depression",),
    "disappointed": ("disappointment", "dissapointed"),
    "joy": ("joyful",),
    "other": ("others", "oth"),
}

#: Other spellings to canonical names, lower case, read-only. One-letter codes mean different emotions in different
#: corpora, so they are only in :data:`CORPUS_CODES`.
ALIASES: Mapping[str, str] = MappingProxyType({form: name for name, forms in _FORMS.items() for form in forms})

#: The codes of known corpora to canonical names, read-only. Codes that say "no majority" (``xxx`` in IEMOCAP, ``X`` in
#: MSP-Podcast) name no emotion and are left out.
CORPUS_CODES: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        "iemocap": MappingProxyType(
            {
                "ang": "angry",
                "hap": "happy",
                "neu": "neutral",
                "sad": "sad",
                "exc": "excited",
                "fru": "frustrated",
                "fea": "fear",
                "sur": "surprise",
                "dis": "disgust",
                "oth": "other",
            }
        ),
        "msp_podcast": MappingProxyType(
            {
                "A": "angry",
                "H": "happy",
                "N": "neutral",
                "S": "sad",
                "U": "surprise",
                "F": "fear",
                "D": "disgust",
                "C": "contempt",
                "O": "other",
            }
        ),
        "cremad": MappingProxyType(
            {"ANG": "angry", "HAP": "happy", "NEU": "neutral", "SAD": "sad", "FEA": "fear", "DIS": "disgust"}
        ),
        "ravdess": MappingProxyType(
            {
                "01": "neutral",
                "02": "calm",
                "03": "happy",
                "04": "sad",
                "05": "angry",
                "06": "fear",
                "07": "disgust",
                "08": "surprise",
            }
        ),
        # The letters abbreviate the German words: Wut, Langeweile, Ekel, Angst, Freude, Trauer, neutral.
        "emodb": MappingProxyType(
            {
                "W": "angry",
                "L": "bored",
                "E": "disgust",
                "A": "fear",
                "F": "happy",
                "T": "sad",
                "N": "neutral",
            }
        ),
        "dusha": MappingProxyType({"angry": "angry", "positive": "happy", "neutral": "neutral", "sad": "sad"}),
    }
)


class MissingColumnError(KeyError, ValueError):
    """A column that is needed is not there: a KeyError that commands report as any mendable ValueError."""

    def __str__(self) -> str:  # a KeyError shows its message in quotes
        return str(self.args[0])


class UnknownEmotionError(ValueError):
    """A label that is not an emotion, or not one of the emotions that were asked for."""


def _normalized(label: object) -> str:
    """Return `label` in lower case, with single spaces, other spellings replaced by the canonical name."""
    if not isinstance(label, str) or not label.strip():
        raise UnknownEmotionError(f"An emotion is a non-empty string, got {label!r}. Mend: name it, or leave it out.")
    name = " ".join(label.lower().split())
    return ALIASES.get(name) or ALIASES.get(name.replace("_", " ").replace("-", " ")) or name


def is_known_emotion(label: str) -> bool:
    """Say whether `label` is a canonical name of :data:`KNOWN_EMOTIONS` or another spelling of one.

    >>> is_known_emotion("Anger"), is_known_emotion("speaker")
    (True, False)
    """
    return isinstance(label, str) and bool(label.strip()) and _normalized(label) in KNOWN_EMOTIONS


def canonical_emotion(label: str, emotions: Sequence[str] | None = None) -> str:
    """Return the canonical name of an emotion label.

    Case and surrounding space do not matter, and known other spellings are replaced (``"Anger"`` gives ``"angry"``).

    Args:
        label: The label as it was written.
        emotions: The emotions that are allowed. Without them any non-empty label is: a label that the library does
            not know comes back in lower case.

    Returns:
        The canonical name; with `emotions` it is one of them (in canonical spelling).

    Raises:
        UnknownEmotionError: `label` is empty or no string, or not among `emotions`. The message lists those known.

    Example:
        >>> canonical_emotion(" Happiness ")
        'happy'
        >>> canonical_emotion("hapy", ["happy", "sad"])
        Traceback (most recent call last):
        ...
        hf_emo_dist.emotions.UnknownEmotionError: Unknown emotion 'hapy': known are happy, sad. Did you mean 'happy'?
    """
    name = _normalized(label)
    if emotions is None:
        return name
    known = validate_emotions(emotions)
    if name in known:
        return name
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    raise UnknownEmotionError(f"Unknown emotion {label!r}: known are {', '.join(known)}.{hint}")


def validate_emotions(emotions: Sequence[str]) -> tuple[str, ...]:
    """Return `emotions` as a tuple of unique canonical names, in the order given.

    Labels that the library does not know are allowed: a label set belongs to its user.

    Args:
        emotions: At least two labels.

    Returns:
        The canonical names. Vectors over emotions are in this order.

    Raises:
        TypeError: `emotions` is a single string or not a sequence.
        UnknownEmotionError: A label is empty or no string.
        ValueError: There are fewer than two labels, or two of them are the same emotion.

    Example:
        >>> validate_emotions(["Anger", "happy", "awe"])
        ('angry', 'happy', 'awe')
    """
    if isinstance(emotions, (str, bytes)) or not isinstance(emotions, Sequence):
        raise TypeError(f'`emotions` must be a list of labels such as ["angry", "happy"], got {emotions!r}.')
    names = tuple(_normalized(label) for label in emotions)
    if len(names) < 2:
        raise ValueError(f"`emotions` needs at least two labels, got {list(emotions)!r}.")
    for position, name in enumerate(names):
        if name in names[:position]:
            both = [label for label, other in zip(emotions, names, strict=True) if other == name]
            raise ValueError(f"`emotions` names {name!r} more than once: {both!r}. Mend: keep one of them.")
    return names
