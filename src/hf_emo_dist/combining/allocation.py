"""Where the next human vote is worth most."""

from __future__ import annotations

import heapq
from typing import TYPE_CHECKING, Any

import numpy as np

from .evidence import FloatArray, IndexArray
from .worth import expected_error

if TYPE_CHECKING:
    from datasets import Dataset

    from .combiner import VoteCombiner


def allocate(alpha: FloatArray, budget: int, most: int | IndexArray | None = None) -> tuple[IndexArray, FloatArray]:
    """Votes to ask of each row (N,), `budget` in all, and how much each row's expected squared error falls by them
    (N,).

    m further votes take a row's expected error V to ``V * A / (A + m)``, where A is the total of its parameters (the
    expected variance of a Dirichlet posterior); each further vote lowers it by less, so that giving every vote to the
    row where it lowers the error most is the best allocation. Among equals the earlier row comes first.

    Args:
        alpha: Dirichlet parameters (N, K).
        budget: Votes.
        most: Votes of a row at most, or of each row (N,).

    Example:
        >>> allocate(np.array([[1.0, 1.0], [9.0, 1.0]]), 3)[0]
        array([3, 0])
    """
    error, total = expected_error(alpha), alpha.sum(axis=1)
    votes = np.zeros(len(alpha), dtype=np.int64)

    def gain(row: int) -> float:
        m = votes[row]
        return float(error[row] * total[row] * (1.0 / (total[row] + m) - 1.0 / (total[row] + m + 1)))

    limit = np.broadcast_to(np.int64(budget) if most is None else np.asarray(most), len(alpha))
    heap = [(-gain(row), row) for row in range(len(alpha)) if limit[row] > 0]
    heapq.heapify(heap)
    for _ in range(budget):
        if not heap:
            break
        _, row = heapq.heappop(heap)
        votes[row] += 1
        if votes[row] < limit[row]:
            heapq.heappush(heap, (-gain(row), row))
    return votes, np.asarray(error * votes / (total + votes))


def next_votes(dataset: Any, combiner: VoteCombiner, budget: int, most_per_row: int | None = None) -> Dataset:
    """Which utterances should get the next human votes: where these lower the expected squared error most.

    Args:
        dataset: Rows with ids, whatever votes they have; mixed rows are left out.
        combiner: Fitted, posterior or weighted.
        budget: Human votes to ask for in all.
        most_per_row: Votes of one utterance at most.

    Returns:
        A data set of ``id``, ``votes`` (how many to ask), ``expected_gain`` (how much the expected squared error of the
        row's target falls by them), most first; rows that get none are not in it.

    Raises:
        ValueError: The combiner is not fitted or pools, or the budget or `most_per_row` is under 1.

    Example:
        >>> next_votes(dataset["train"], combiner, budget=500)  # doctest: +SKIP
    """
    from datasets import Dataset

    if budget < 1:
        raise ValueError(f"budget={budget} asks for no vote. Mend: a number from 1.")
    if most_per_row is not None and most_per_row < 1:
        raise ValueError(f"most_per_row={most_per_row} leaves no vote. Mend: a number from 1, or None for no bound.")
    if combiner.method == "pool":
        raise ValueError(
            "Pooled votes do not say how sure a target is. Mend: VoteCombiner(method='posterior').fit(rows)."
        )
    ids, alpha = combiner.rows_and_concentration(dataset)
    votes, gain = allocate(alpha, budget, most_per_row)
    chosen = np.flatnonzero(votes > 0)
    chosen = chosen[np.lexsort((np.array(ids)[chosen], -gain[chosen]))]
    return Dataset.from_dict(
        {
            "id": [ids[row] for row in chosen],
            "votes": votes[chosen].tolist(),
            "expected_gain": gain[chosen].tolist(),
        }
    )
