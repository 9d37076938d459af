"""Labels as a table spells them, and the emotions that they stand for."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Mapping, Sequence

from ...emotions import KNOWN_EMOTIONS, UnknownEmotionError, canonical_emotion


class LabelBook:
    """Turns the labels of a table into emotions, and remembers every spelling that was looked up.

    Args:
        emotions: The label set that the user named, canonical names. None: the known emotions, and what labels are
            merged into.
        merge: Canonical name to the one that it counts for.

    Example:
        >>> book = LabelBook(None, {"wut": "angry"})
        >>> book("Wut"), book("Sadness"), book("tired")
        ('angry', 'sad', None)
    """

    def __init__(self, emotions: Sequence[str] | None, merge: Mapping[str, str]) -> None:
        self.allowed = (
            tuple(emotions) if emotions is not None else tuple(dict.fromkeys((*KNOWN_EMOTIONS, *merge.values())))
        )
        self._merge = merge
        self._names: dict[str, str | None] = {}
        self._found: dict[str, str | None] = {}

    def name(self, text: str) -> str | None:
        """The canonical name after merging, whether it is among the emotions or not; None for what is no name."""
        if text not in self._names:
            try:
                name = canonical_emotion(text)
                self._names[text] = self._merge.get(name, name)
            except UnknownEmotionError:
                self._names[text] = None
        return self._names[text]

    def __call__(self, text: str) -> str | None:
        """The emotion, or None for a label that is none of them."""
        if text not in self._found:
            name = self.name(text)
            self._found[text] = name if name in self.allowed else None
        return self._found[text]

    def is_label(self, text: str) -> bool:
        """Whether text is a label as it stands, of an emotion or of a known one that is left out."""
        name = self.name(text)
        return name is not None and (name in self.allowed or name in KNOWN_EMOTIONS)

    def spellings(self) -> dict[str, str | None]:
        """The labels that were looked up, and their emotions."""
        return dict(self._found)


def refusal_of_labels(name: str, where: str, strange: Mapping[str, tuple[float, str]], book: LabelBook) -> str:
    """What is said of labels that are none of the emotions, label → votes and first place; the mend can be typed."""
    most = Counter({label: votes for label, (votes, _) in strange.items()}).most_common()
    told = []
    for label, votes in most[:10]:
        close = difflib.get_close_matches(label.lower(), book.allowed, n=1, cutoff=0.75)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        counted = f"{votes:g} vote" + ("s" if votes != 1 else "")
        told.append(f"{label!r} ({counted}, first in {strange[label][1]}{hint})")
    more = f" and {len(most) - 10} more" if len(most) > 10 else ""
    known = ", ".join(book.allowed[:8]) + (", ..." if len(book.allowed) > 8 else "")
    are = f"{len(most)} labels are" if len(most) > 1 else "1 label is"
    cut = any(sign in label for label in strange for sign in "|;,/&+ ") and len(book.allowed) > 1
    written = (
        f" Several labels in one cell stand with | between them, {book.allowed[0]}|{book.allowed[1]}." if cut else ""
    )
    plain = [label for label, _ in most[:8] if not set(label) & set(",=")]
    merge = ",".join(f"{label}=..." for label in plain) or "LABEL=EMOTION"
    present = list(dict.fromkeys(emotion for emotion in book.spellings().values() if emotion is not None))
    named = ",".join([*present, *plain] if len(present) + len(plain) > 1 else [*present, *plain, "..."])
    return (
        f"{name}{where}: {are} none of the emotions ({known}): {', '.join(told)}{more}.{written} Mend: say what each "
        f"counts for, --merge '{merge}'; or name all of the emotions, --emotions '{named}'; or leave such votes out, "
        "--outside drop_vote."
    )
