"""Which clips a hearing test asks about, whose audio stands in for theirs, and what silence is."""

from __future__ import annotations

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from typing import Any

import numpy as np

from ...data.rows import column_of, row_ids

#: Rows that are looked at for clips of different speakers and emotions.
_POOL = 4096
#: RMS of the "silence", of full scale: -64 dB. Digital silence is refused as a broken clip (`audio.check`).
_LEVEL = 6.0e-4


def pairs_of(dataset: Any, number: int, seed: int) -> list[tuple[int, int]]:
    """`choose_pairs` of a data set's rows, by their speakers and human votes where it has them; no mixed rows."""
    ids, mixed = row_ids(dataset), column_of(dataset, "mixed_from")
    order = [row for row in range(len(ids)) if mixed is None or not mixed[row]]
    order.sort(key=lambda row: _rank(ids[row], seed))
    order = order[:_POOL]
    some = dataset.select_columns([c for c in ("speaker", "human_votes") if c in dataset.column_names]).select(order)
    votes = column_of(some, "human_votes")
    emotions = None if votes is None else [majority(row) for row in votes]
    chosen = choose_pairs([ids[row] for row in order], number, seed, column_of(some, "speaker"), emotions)
    return [(order[own], order[other]) for own, other in chosen]


def _rank(row_id: str, seed: int) -> bytes:
    return hashlib.sha256(f"{seed} {row_id}".encode()).digest()


def choose_pairs(
    ids: Sequence[str],
    number: int,
    seed: int,
    speakers: Sequence[Any] | None = None,
    emotions: Sequence[Any] | None = None,
) -> list[tuple[int, int]]:
    """Choose clips and, for each, another row whose audio is to stand in for its own.

    The order follows from the seed and the rows' ids. Emotions and speakers take turns, and the other row is one of
    another emotion where there is one that is not among the chosen, so that who hears has something to tell apart also
    in a corpus that is mostly neutral. Emotions are those of the people, never the model's own, so that this changes
    what hearing is worth in the test, and nothing for who does not hear.

    Args:
        ids: Of all rows.
        number: Of pairs at most.
        seed: Of the choice.
        speakers: Of the rows, where they are known.
        emotions: What most people heard in each row; None for a row of which that is not known.

    Returns:
        Numbers of rows: the clip's, and the one's whose audio is taken. Fewer than `number` where there are few rows.

    Example:
        >>> pairs = choose_pairs([f"u{i}" for i in range(100)], 3, 0, emotions=["neutral"] * 90 + ["sad"] * 10)
        >>> [sorted((row >= 90 for row in pair)) for pair in pairs]
        [[False, True], [False, True], [False, True]]
    """
    left = dict.fromkeys(sorted(range(len(ids)), key=lambda row: _rank(ids[row], seed)))
    emotion = dict.fromkeys(left) if emotions is None else {row: emotions[row] for row in left}
    speaker = dict.fromkeys(left) if speakers is None else {row: speakers[row] for row in left}
    used: dict[str, Counter[Any]] = defaultdict(Counter)

    def take(rows: Sequence[int], kind: str) -> int:
        row = min(rows, key=lambda row: (used[f"{kind} emotion"][emotion[row]], used["speaker"][speaker[row]]))
        used[f"{kind} emotion"][emotion[row]] += 1
        used["speaker"][speaker[row]] += 1
        del left[row]
        return row

    number = min(number, len(left))
    chosen = [take(list(left), "own") for _ in range(number)]
    pairs = []
    for place, row in enumerate(chosen):
        if left:
            elsewhere = [other for other in left if emotion[other] != emotion[row]]
            pairs.append((row, take(elsewhere or list(left), "other")))
        elif number > 1:  # few rows: one of the chosen, for each another
            rest = chosen[place + 1 :] + chosen[:place]
            pairs.append((row, next((other for other in rest if emotion[other] != emotion[row]), rest[0])))
    return pairs


def majority(votes: Sequence[str] | None) -> str | None:
    """What most of the votes say; of several the first by name.

    >>> majority(["sad", "angry", "sad"]), majority([]), majority(None)
    ('sad', None, None)
    """
    counts = Counter(votes or ())
    return min(counts, key=lambda name: (-counts[name], name)) if counts else None


def silence(seconds: float, name: str, sampling_rate: int = 16000) -> dict[str, Any]:
    """So many seconds of nothing to hear: noise at -64 dB of full scale, for each name another, alike everywhere.

    >>> round(float(np.std(silence(2.0, "u1")["array"])), 5)
    0.0006
    """
    count = max(1, round(seconds * sampling_rate))
    noise = np.frombuffer(hashlib.shake_256(f"silence {name}".encode()).digest(2 * count), dtype="<i2")
    # uniform noise of amplitude a has the RMS a / sqrt(3)
    steps = np.round(noise.astype(np.float64) / 32768 * _LEVEL * 3**0.5 * 32768)
    return {"array": (steps / 32768).astype(np.float32), "sampling_rate": sampling_rate}
