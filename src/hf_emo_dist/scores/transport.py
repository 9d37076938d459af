"""Wasserstein distance between distributions over emotions, with a stated cost of moving a vote from one emotion to
another.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from .checking import FloatArray, checked_pair
from .divergences import intersection_similarity

#: Mean ratings of pleasure and arousal, -1 to 1, of Russell and Mehrabian (1977), J. Research in Personality 11,
#: 273-294, as later work quotes them (anger, disgust, fearful, happy, sad, surprised). Neutral is the origin of the
#: scales.
PLEASURE_AROUSAL = MappingProxyType(
    {
        "angry": (-0.51, 0.59),
        "disgust": (-0.60, 0.35),
        "fear": (-0.64, 0.60),
        "happy": (0.81, 0.51),
        "neutral": (0.0, 0.0),
        "sad": (-0.63, -0.27),
        "surprise": (0.40, 0.67),
    }
)

# Rows solved as one linear programme.
_ROWS = 256


def circumplex_cost(emotions: Sequence[str]) -> FloatArray:
    """Euclidean distances between emotions in the plane of pleasure and arousal (:data:`PLEASURE_AROUSAL`).

    Args:
        emotions: K canonical labels.

    Returns:
        float64 (K, K), symmetric, 0 on the diagonal, at most 2 * sqrt(2).

    Raises:
        ValueError: An emotion has no coordinates here; it lists those that do.

    Example:
        >>> circumplex_cost(["happy", "neutral"]).round(2)
        array([[0.  , 0.96],
               [0.96, 0.  ]])
    """
    unknown = [emotion for emotion in emotions if emotion not in PLEASURE_AROUSAL]
    if unknown:
        raise ValueError(
            f"No coordinates for {', '.join(unknown)}; there are some for {', '.join(PLEASURE_AROUSAL)}. Mend: give "
            "your own (K, K) matrix of costs."
        )
    places = np.array([PLEASURE_AROUSAL[emotion] for emotion in emotions])
    return np.asarray(np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=-1)))


def wasserstein_distance(
    p: ArrayLike,
    q: ArrayLike,
    cost: ArrayLike | Literal["unit"] = "unit",
) -> FloatArray:
    """Wasserstein-1 (earth mover's) distance of each pair of rows: the least cost of moving the mass of `p` to that of
    `q`.

    Lower is better; 0 to the largest cost. With ``cost="unit"``, the default, moving a vote costs 1 whatever the two
    emotions, and the distance is the total variation ``sum(|p - q|) / 2``. Other costs are solved exactly as linear
    programmes (SciPy, HiGHS), at some thousand rows a second.

    Args:
        p: Distributions (N, K) or (K,).
        q: Distributions of the same shape.
        cost: ``"unit"``, or (K, K) costs such as :func:`circumplex_cost`: symmetric, not negative, 0 on the diagonal.

    Returns:
        float64 array (N,), or of shape ().

    Raises:
        ValueError: The shapes differ, a row is not a distribution, or the costs are none.

    Example:
        >>> float(wasserstein_distance([1.0, 0.0, 0.0], [0.5, 0.25, 0.25]))
        0.5
        >>> line = [[0, 1, 2], [1, 0, 1], [2, 1, 0]]
        >>> float(wasserstein_distance([1.0, 0.0, 0.0], [0.5, 0.25, 0.25], line))
        0.75
    """
    if isinstance(cost, str):
        if cost != "unit":
            raise ValueError(f"`cost` must be 'unit' or a (K, K) matrix, got {cost!r}.")
        return np.asarray(1.0 - intersection_similarity(p, q))
    x, y = checked_pair(p, q)
    matrix = np.asarray(cost, dtype=np.float64)
    size = x.shape[-1]
    if (
        matrix.shape != (size, size)
        or not np.isfinite(matrix).all()
        or (matrix < 0).any()
        or np.diagonal(matrix).any()
        or not np.allclose(matrix, matrix.T)
    ):
        raise ValueError(
            f"`cost` must be a symmetric matrix of shape ({size}, {size}) without negative numbers and with 0 on its "
            f"diagonal, got shape {matrix.shape}."
        )
    first, second = np.atleast_2d(x), np.atleast_2d(y)
    result = np.empty(len(first))
    for at in range(0, len(first), _ROWS):
        piece = slice(at, at + _ROWS)
        result[piece] = _transported(first[piece], second[piece], matrix)
    return result.reshape(x.shape[:-1])


def _transported(p: FloatArray, q: FloatArray, cost: FloatArray) -> FloatArray:
    """Solve several rows at once: their constraints share nothing, so the sum is least where each of them is.

    What is solved is the dual programme: prices f and g of each emotion with ``f[i] - g[j] <= cost[i, j]`` that make
    ``p @ f - q @ g`` greatest. The masses are in what is maximised and not in the constraints, so that no mass, however
    small, can make a row infeasible: HiGHS takes equalities of masses near 1e-7 for contradictions.
    """
    from scipy.optimize import linprog
    from scipy.sparse import block_diag, csr_matrix, hstack, kron

    size, number, most = p.shape[1], len(p), float(cost.max())
    ones, unit = csr_matrix(np.ones((size, 1))), csr_matrix(np.eye(size))
    # prices count up to a constant, so that the last g is 0
    one = hstack([kron(unit, ones), -kron(ones, unit)]).tocsc()[:, :-1]
    solved = linprog(
        -np.concatenate([p, -q[:, :-1]], axis=1).ravel(),
        A_ub=block_diag([one] * number, format="csr"),
        b_ub=np.tile(cost.ravel(), number),
        bounds=(-most, most),  # there are best prices within them
        method="highs-ds",
        options={"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10},
    )
    if solved.status != 0:
        if number > 1:
            return np.concatenate([_transported(p[row : row + 1], q[row : row + 1], cost) for row in range(number)])
        raise ArithmeticError(
            f"The cost of moving {p[0].tolist()} to {q[0].tolist()} was not found ({solved.message}). Mend: leave the "
            "row out."
        )
    prices = np.concatenate([solved.x.reshape(number, -1)[:, size:], np.zeros((number, 1))], axis=1)
    # the best f for these g, which holds every constraint exactly
    least = (cost[None] + prices[:, None, :]).min(axis=2)
    return np.asarray(np.clip((p * least - q * prices).sum(axis=1), 0.0, most))
