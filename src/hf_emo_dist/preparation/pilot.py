"""What a pilot says before the rest is paid for: how many answers of an annotator an utterance is worth buying."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..combining.combiner import VoteCombiner
from ..combining.recommending import recommend_n

if TYPE_CHECKING:
    from datasets import Dataset

#: Rows with human votes and answers below which a pilot is not taken to tell anything.
LEAST_ROWS = 30


def advice(pilot: Dataset, emotions: Sequence[str], agreement: float, notes: Sequence[str] = ()) -> list[str]:
    """How many answers are worth buying, a sentence an annotator; or why a pilot cannot tell.

    Args:
        pilot: Training rows with human votes and the answers that the pilot brought.
        emotions: The label set.
        agreement: Of `VoteCombiner`.
        notes: What must be said of figures on these votes, such as ``simulated data``.
    """
    combiner = VoteCombiner(emotions, agreement=agreement)
    evidence = combiner.evidence(pilot)
    voted = evidence.human.sum(axis=1) > 0
    rows, repeated = 0, 0
    for answers in evidence.annotators.values():
        rows = max(rows, int((voted & (answers.number > 0)).sum()))
        if answers.row is not None:
            repeated = max(repeated, int((voted & (answers.number >= 2)).sum()))
    if rows < LEAST_ROWS:
        return [
            f"cannot be told from this pilot: {rows} of its {len(evidence)} training rows have human votes and "
            f"answers, and it takes {LEAST_ROWS}. Mend: a larger --pilot."
        ]
    if repeated < LEAST_ROWS:
        return [
            f"cannot be told from this pilot: {repeated} of its {rows} rows have two answers or more of one annotator, "
            f"and what a further one adds takes {LEAST_ROWS}. Mend: --num_annotations 5."
        ]
    aside = f" ({', '.join(notes)})" if notes else ""
    return [f"{found}{aside}" for found in recommend_n(combiner.fit(pilot), pilot)]
