"""Which clips a page shows where there are too many: a fair sample of all, those with failures, the most disagreed."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

#: Why a clip is shown, in the order in which they are.
REASONS = {
    "all": "all clips are shown",
    "failures": "requests of it have no vote",
    "disagreement": "people and panel disagree most",
    "chance": "drawn by chance from all",
}


def choose(
    ids: Sequence[str], divergence: NDArray[np.float64], failures: NDArray[np.int64], most: int, seed: int
) -> list[tuple[int, str]]:
    """The clips to show, with their reasons: a third by chance from all, a third with failures, the rest disagreed on.

    The ones by chance are drawn first, by (seed, id), so that they are a fair sample of all whatever else is shown.

    Args:
        ids: Of the N clips that can be shown.
        divergence: Of people and panel (N,), NaN where one of them said nothing.
        failures: Requests without a vote, (N,).
        most: Clips to show at most.
        seed: Of the draw.

    Returns:
        (Place, key of `REASONS`), the ones with failures first, then the most disagreed, then those by chance.

    Example:
        >>> choose(["a", "b", "c", "d"], np.array([0.1, 0.9, np.nan, 0.2]), np.array([0, 0, 2, 0]), 3, seed=1)
        [(2, 'failures'), (1, 'disagreement'), (3, 'chance')]
    """
    drawn = [hashlib.sha256(f"{seed}/{name}".encode("utf-8", "surrogatepass")).digest() for name in ids]
    by_chance = sorted(range(len(ids)), key=lambda place: drawn[place])
    if len(ids) <= most:
        ranked = sorted(by_chance, key=lambda place: -np.nan_to_num(divergence[place], nan=-1.0))
        return [(place, "all") for place in ranked]
    chance = by_chance[: most // 3]
    rest = [place for place in by_chance if place not in set(chance)]
    failing = sorted((p for p in rest if failures[p]), key=lambda place: -failures[place])
    failing = failing[: max(1, most // 3)]
    rest = [place for place in rest if place not in set(failing)]
    rest.sort(key=lambda place: -np.nan_to_num(divergence[place], nan=-1.0))
    # what has neither votes of people nor of the panel is no disagreement: by chance, as it came
    rest = [place for place in rest if not np.isnan(divergence[place])][: most - len(chance) - len(failing)]
    more = most - len(chance) - len(failing) - len(rest)
    taken = {*chance, *failing, *rest}
    chance += [place for place in by_chance if place not in taken][:more]
    return [
        *((place, "failures") for place in failing),
        *((place, "disagreement") for place in rest),
        *((place, "chance") for place in chance),
    ]
