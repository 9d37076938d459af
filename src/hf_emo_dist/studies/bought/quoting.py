"""Text that others wrote, on a page: whether it quotes a transcript, and how it is shown without harm."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Sequence

# Scripts that are written without spaces: each character stands for itself.
_DENSE = "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_DENSE}]|(?:(?![{_DENSE}])[^\W_])+")
_APOSTROPHES = re.compile("['’ʼ`´]")
_JSON_UNICODE = re.compile(r"\\u([0-9a-fA-F]{4})")
_JSON_SPACE = re.compile(r"\\[nrtbf]")
#: As many words in a row as the transcript has them are a quotation; of scripts without spaces, so many characters.
RUN, DENSE_RUN = 3, 5

# What moves or hides other text: embeddings, overrides and isolates of direction, and the marks that end them.
_HARMFUL = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\u2028\u2029\ufeff")


def quotes(text: str, transcript: str | None, emotions: Sequence[str] = ()) -> bool:
    """Whether a text repeats a transcript: 3 words of it in a row (5 characters in scripts without spaces), or all of a
    shorter one.

    Case, accents' encoding, punctuation and JSON's escapes do not matter. The names of the emotions alone are no
    quotation: a reply must name one.

    Args:
        text: Of a reply.
        transcript: What was said; None where that is not known.
        emotions: The label set.

    Example:
        >>> quotes('{"heard": "KIDS are, talking\\\\nby"}', "Kids are talking by the door.")
        True
        >>> quotes("A kid is talking.", "Kids are talking by the door."), quotes("sad", "Sad!", ["sad"])
        (False, False)
    """
    said = list(_words(transcript or ""))
    if not said:
        return False
    run = min(DENSE_RUN if any(re.match(f"[{_DENSE}]", word) for word in said) else RUN, len(said))
    names = {word for emotion in emotions for word in _words(emotion)}
    wanted = {tuple(said[i : i + run]) for i in range(len(said) - run + 1)}
    wanted = {words for words in wanted if not names.issuperset(words)}
    heard = list(_words(text))
    return any(tuple(heard[i : i + run]) in wanted for i in range(len(heard) - run + 1))


def _words(text: str) -> Iterator[str]:
    text = _JSON_UNICODE.sub(lambda found: chr(int(found[1], 16)), text)
    text = _JSON_SPACE.sub(" ", text)
    text = unicodedata.normalize("NFKC", text).casefold()
    return (found[0] for found in _WORD.finditer(_APOSTROPHES.sub("", text)))


def visible(text: str) -> str:
    """A text with what does not show, or makes other text show otherwise, written out; for escaping afterwards.

    Control characters, marks that turn the direction of writing, lone surrogates and what is no character become
    ``⟨U+202E⟩``. Line breaks and tabs stay.

    Example:
        >>> visible("a\\x00b\\u202ec\\r\\nd")
        'a⟨U+0000⟩b⟨U+202E⟩c\\nd'
    """
    text = text.replace("\r\n", "\n")
    return "".join(f"⟨U+{ord(sign):04X}⟩" if _hidden(sign) else sign for sign in text)


def _hidden(sign: str) -> bool:
    if " " <= sign <= "~" or sign in "\n\t":
        return False
    code = ord(sign)
    no_character = 0xFDD0 <= code <= 0xFDEF or code & 0xFFFE == 0xFFFE
    return sign in _HARMFUL or no_character or unicodedata.category(sign) in ("Cc", "Cs")
