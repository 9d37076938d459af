"""How far n votes of a panel are from a distribution on average, in closed form: no vote is drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ...distributions import FloatArray


def in_turn(members: Sequence[FloatArray], number: int) -> FloatArray:
    """Whose distribution each of `number` votes is drawn from: the members of a row in turn, (number, N, K).

    Args:
        members: The read-outs of each row, (M_i, K).
        number: Of votes.

    Example:
        >>> in_turn([np.eye(2)], 3)[:, 0, 0]
        array([1., 0., 1.])
    """
    return np.stack([np.stack([own[vote % len(own)] for own in members]) for vote in range(number)])


def expected_divergences(turns: FloatArray, targets: FloatArray) -> Iterator[FloatArray]:
    """E[JS(p̂_n, q)] in base 2 of the shares p̂_n of n independent votes, for n = 1, 2, …; (N,) each.

    The JS divergence is a sum over labels of g(p̂_k, q_k), g(p, q) = (p log₂(2p/(p + q)) + q log₂(2q/(p + q))) / 2, so
    that the distribution of each label's count c_k alone is needed: E = Σ_k Σ_c P(c_k = c) g(c/n, q_k), exactly. Votes
    that have one distribution give a binomial; those of several members a Poisson binomial, which is built up vote by
    vote: P_{n+1}(c) = P_n(c)(1 - r_k) + P_n(c - 1) r_k, with r_k the probability of the label in that vote.

    Args:
        turns: What each vote is drawn from, (votes, N, K).
        targets: q, (N, K).

    Yields:
        The expectation for one vote more each time.

    Example:
        >>> fair = np.full((2, 1, 2), 0.5)
        >>> [round(value.item(), 4) for value in expected_divergences(fair, fair[0])]
        [0.3113, 0.1556]
    """
    chance = np.ones((*targets.shape, 1))
    for number, shares in enumerate(turns, start=1):
        grown = np.zeros((*targets.shape, number + 1))
        grown[..., :-1] += chance * (1.0 - shares[..., None])
        grown[..., 1:] += chance * shares[..., None]
        chance = grown
        values = _of_a_label(np.arange(number + 1) / number, targets[..., None])
        yield np.asarray((chance * values).sum(axis=(1, 2)))


def _of_a_label(p: FloatArray, q: FloatArray) -> FloatArray:
    total = p + q

    def part(x: FloatArray) -> FloatArray:
        ratio = np.divide(2.0 * x, total, out=np.ones(np.broadcast_shapes(x.shape, total.shape)), where=x * total > 0)
        return np.asarray(x * np.log2(ratio))

    return 0.5 * (part(p) + part(q))
