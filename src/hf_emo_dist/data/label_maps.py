"""From one corpus's emotions to another's: labels that are merged, and labels that are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from ..emotions import canonical_emotion

__all__ = ["common_emotions", "label_matrix", "parse_label_map"]

FloatArray = NDArray[np.float64]


def parse_label_map(text: str) -> dict[str, str | None]:
    """Read ``excited=happy,other=-``: a label, and what it counts as; ``-`` leaves it out.

    Raises:
        ValueError: A part is not LABEL=LABEL.

    Example:
        >>> parse_label_map("excited=happy,other=-")
        {'excited': 'happy', 'other': None}
    """
    found: dict[str, str | None] = {}
    for part in (part.strip() for part in text.split(",") if part.strip()):
        label, sign, target = (word.strip() for word in part.partition("="))
        if not sign or not label or not target:
            raise ValueError(f"The label map has {part!r}, which is not LABEL=LABEL or LABEL=-.")
        found[canonical_emotion(label)] = None if target == "-" else canonical_emotion(target)
    return found


def common_emotions(label_sets: Sequence[Sequence[str]], mapping: Mapping[str, str | None]) -> tuple[str, ...]:
    """The emotions that all label sets have after the map, in the order of the first.

    Raises:
        ValueError: Fewer than two are left.

    Example:
        >>> common_emotions([["angry", "happy", "sad"], ["angry", "excited", "sad", "other"]], {"excited": "happy"})
        ('angry', 'happy', 'sad')
    """
    mapped = [[mapping.get(name, name) for name in names] for names in label_sets]
    kept = tuple(
        dict.fromkeys(name for name in mapped[0] if name is not None and all(name in names for names in mapped))
    )
    if len(kept) < 2:
        told = "; ".join(", ".join(names) for names in label_sets)
        raise ValueError(f"Fewer than two emotions are common to {told}. Mend: give a label map such as excited=happy.")
    return kept


def label_matrix(emotions: Sequence[str], common: Sequence[str], mapping: Mapping[str, str | None]) -> FloatArray:
    """Zeros and ones (K, C): which of the common emotions each emotion counts as, none where it is left out.

    >>> label_matrix(["excited", "happy", "other"], ["happy", "sad"], {"excited": "happy"})
    array([[1., 0.],
           [1., 0.],
           [0., 0.]])
    """
    matrix = np.zeros((len(emotions), len(common)))
    for place, name in enumerate(emotions):
        target = mapping.get(name, name)
        if target is not None and target in common:
            matrix[place, list(common).index(target)] = 1.0
    return matrix
