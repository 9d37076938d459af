"""Folds of whole speakers: whom to test on, to learn from and to choose by, drawn or as a protocol has them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from ..data.protocols import Protocol
from ..data.rows import column_of
from ..data.splits import folds_from_column, speaker_folds


@dataclass(frozen=True)
class SpeakerFold:
    """Places of rows: those to test on, all others, and of the others those to learn from and to choose by."""

    test: np.ndarray
    others: np.ndarray
    learnt: np.ndarray
    choosing: np.ndarray
    validation_speakers: list[str]


def folds_with_speakers(
    rows: Any, fold_column: str | None, num_folds: int, validation_speakers: int, seed: int
) -> tuple[list[SpeakerFold], np.ndarray]:
    """Folds of whole speakers over rows of which none is mixed, and who speaks in each row.

    `validation_speakers` of each fold's other speakers, drawn by (seed, fold), choose its checkpoint; at least one more
    must be left to learn from.
    """
    cut = folds_from_column(rows, fold_column) if fold_column else speaker_folds(rows, num_folds, seed=seed)
    speakers = np.array([str(speaker) for speaker in rows["speaker"]])
    names = [np.unique(speakers[others]) for others, _ in cut]
    fewest = min(map(len, names))
    if not 1 <= validation_speakers < fewest:
        raise ValueError(
            f"validation_speakers={validation_speakers} does not fit: the other folds have {fewest} speakers, and at "
            f"least one must be left to train on. Mend: a number from 1 to {fewest - 1}."
        )
    folds = []
    for index, (others, test) in enumerate(cut):
        drawn = np.random.default_rng([seed, index]).choice(names[index], size=validation_speakers, replace=False)
        chooses = np.isin(speakers[others], drawn)
        folds.append(SpeakerFold(test, others, others[~chooses], others[chooses], sorted(drawn.tolist())))
    return folds, speakers


def protocol_folds(rows: Any, protocol: Protocol) -> tuple[list[SpeakerFold], np.ndarray]:
    """The folds of a protocol over rows of which none is mixed, and who speaks in each row.

    Raises:
        ValueError: A row is none of the protocol's, or fewer than three folds have rows, so that nobody is left to
            learn from beside those who choose.
    """
    for column, value in protocol.rows.items():
        others = sorted({str(found) for found in column_of(rows, column) or () if found is not None} - {value})
        if others:
            raise ValueError(
                f"{protocol.name} has rows with {column} {value!r}, and there are some with {', '.join(others)}. Mend: "
                f"read the corpus with --{column} {value}."
            )
    if column_of(rows, "speaker") is None:
        raise ValueError("There is no column 'speaker', by which the folds are made. Mend: read the corpus again.")
    fold = protocol.fold_of(rows["speaker"], column_of(rows, "corpus"))
    there = np.unique(fold).tolist()
    if len(there) < 3:
        raise ValueError(
            f"Rows of only {len(there)} folds of {protocol.name}: one is tested and one chooses, and none is left to "
            "learn from. Mend: give more speakers."
        )
    speakers = np.array([str(speaker) for speaker in rows["speaker"]])
    found = []
    for number in there:
        tested, chooses = fold == number, fold == protocol.choosing_fold(number, there)
        choosing = np.flatnonzero(chooses)
        found.append(
            SpeakerFold(
                np.flatnonzero(tested),
                np.flatnonzero(~tested),
                np.flatnonzero(~tested & ~chooses),
                choosing,
                sorted(set(speakers[choosing].tolist())),
            )
        )
    return found, speakers
