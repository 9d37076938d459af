"""Labels as the tokens that an answer of exactly this label has, and all that can be wrong with them."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence

__all__ = ["LabelError", "check_labels", "label_tokens"]


class LabelError(ValueError):
    """A list of labels that no model can be read out over. The message says which label, and what mends it."""


def check_labels(labels: Sequence[str]) -> tuple[str, ...]:
    """Check a list of labels before any tokenizer sees it.

    Args:
        labels: In the order in which they are shown.

    Returns:
        The same.

    Raises:
        LabelError: There is none, one is no text or empty, or two are equal but for case, spaces and Unicode forms.

    Example:
        >>> check_labels(["sad", "sadness"])
        ('sad', 'sadness')
    """
    if isinstance(labels, str) or not labels:
        raise LabelError(f"The labels are {labels!r}. Mend: give a list of words, one a label.")
    seen: dict[str, str] = {}
    for label in labels:
        if not isinstance(label, str):
            raise LabelError(f"The label {label!r} is no text. Mend: write it in quotes.")
        plain = " ".join(unicodedata.normalize("NFKC", label).casefold().split())
        if not plain:
            raise LabelError(f"The label {label!r} is empty. Mend: leave it out, or give a word.")
        if plain in seen:
            raise LabelError(f"The labels {seen[plain]!r} and {label!r} are the same word. Mend: name each label once.")
        seen[plain] = label
    return tuple(labels)


def label_tokens(
    tokenize: Callable[[str], Sequence[int]],
    prompt: str,
    labels: Sequence[str],
    special: Mapping[int, str] | None = None,
) -> tuple[tuple[int, ...], ...]:
    """Give the tokens that each label has behind a prompt, without the one that closes the answer.

    Where prompt and label together begin with the tokens of the prompt, the rest is the label's; where the tokenizer
    would join them, a model that has read the prompt can only go on with the label's own tokens, and these it gets.

    Args:
        tokenize: Of a text that has special tokens in it.
        prompt: The rendered prompt up to where the answer begins, or its end.
        labels: The labels.
        special: Ids that have a meaning of their own, to what they are called.

    Returns:
        One tuple of ids a label.

    Raises:
        LabelError: See `check_labels`; or a label becomes no token, tokens of another one, or holds a special token.

    Example:
        >>> label_tokens(lambda text: [ord(letter) for letter in text], "A: ", ["sad", "sadness"])[0]
        (115, 97, 100)
    """
    labels = check_labels(labels)
    before = list(tokenize(prompt))
    found: dict[tuple[int, ...], str] = {}
    for label in labels:
        joined = list(tokenize(prompt + label))
        kept = joined[: len(before)] == before
        tokens = tuple(joined[len(before) :] if kept else tokenize(label))
        if not tokens:
            raise LabelError(f"The tokenizer makes nothing of the label {label!r}. Mend: use another word for it.")
        if tokens in found:
            raise LabelError(
                f"The labels {found[tokens]!r} and {label!r} are the same tokens to this model, {list(tokens)}. "
                "Mend: use another word for one of them."
            )
        bad = [name for id_, name in (special or {}).items() if id_ in tokens]
        if bad:
            raise LabelError(
                f"The label {label!r} holds {bad[0]!r}, which this model's tokenizer keeps for other purposes. "
                "Mend: use another word for it."
            )
        found[tokens] = label
    return tuple(found)
