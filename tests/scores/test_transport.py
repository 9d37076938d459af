"""Wasserstein distance on confident rows, whose masses go down to 1e-12: against other solvers."""

from __future__ import annotations

import numpy as np
import pytest

from hf_emo_dist import scores


def plane(size: int, rng: np.random.Generator) -> np.ndarray:
    """Distances between so many places in the plane of pleasure and arousal."""
    places = rng.uniform(-1, 1, (size, 2))
    return np.sqrt(((places[:, None] - places[None]) ** 2).sum(axis=-1))


def confident(rows: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Rows of a sure model: by a softmax, some rounded to seven digits, some with 1e-7 everywhere but in one place."""
    logits = rng.normal(size=(rows, size)) * rng.uniform(1, 12, (rows, 1))
    logits[np.arange(rows), rng.integers(size, size=rows)] += rng.uniform(5, 25, rows)
    p = np.exp(logits - logits.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[::2] = np.round(p[::2], 7)
    p[::3] = 1e-7
    p[np.arange(0, rows, 3), rng.integers(size, size=len(p[::3]))] = 1 - 1e-7 * (size - 1)
    return p / p.sum(axis=1, keepdims=True)


def by_whole_numbers(p: np.ndarray, q: np.ndarray, cost: np.ndarray) -> float:
    """The network simplex on whole numbers (networkx), which knows no tolerance."""
    networkx = pytest.importorskip("networkx")
    unit = 10**12
    masses = []
    for row in (p, q):
        whole = np.round(row * unit).astype(np.int64)
        whole[whole.argmax()] += unit - whole.sum()
        masses.append(whole)
    graph = networkx.DiGraph()
    for i in range(len(p)):
        graph.add_node(("from", i), demand=-int(masses[0][i]))
        graph.add_node(("to", i), demand=int(masses[1][i]))
    for i in range(len(p)):
        for j in range(len(p)):
            graph.add_edge(("from", i), ("to", j), weight=round(cost[i, j] * 1e9))
    return networkx.min_cost_flow_cost(graph) / unit / 1e9


@pytest.mark.parametrize("size", range(3, 21))
def test_confident_rows_agree_with_a_solver_of_whole_numbers(size: int) -> None:
    rng = np.random.default_rng(size)
    cost, rows = plane(size, rng), 6
    p, q = confident(rows, size, rng), confident(rows, size, rng)
    expected = [by_whole_numbers(x, y, cost) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(scores.wasserstein_distance(p, q, cost), expected, rtol=0, atol=1e-8)


def test_costs_that_are_no_distances_are_solved_too() -> None:
    """Without the triangle inequality it can be cheaper to go by a third emotion, and the plan may move equal mass."""
    rng = np.random.default_rng(0)
    cost = rng.uniform(0, 1, (6, 6)) ** 3
    cost = np.triu(cost, 1) + np.triu(cost, 1).T
    p, q = confident(12, 6, rng), rng.dirichlet(np.ones(6), 12)
    expected = [by_whole_numbers(x, y, cost) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(scores.wasserstein_distance(p, q, cost), expected, rtol=0, atol=1e-8)


LINE = np.abs(np.subtract.outer(np.arange(3.0), np.arange(3.0)))


@pytest.mark.parametrize(
    ("p", "q", "expected"),
    [
        # as equalities these were a contradiction, which took a whole block of rows with it
        ([0.9989999, 0.001, 1e-7], [0.9999999, 1e-7, 0.0], 0.0010001),
        ([1.0, 0.0, 0.0], [1 - 2e-7, 1e-7, 1e-7], 3e-7),
        ([1e-12, 1.0, 0.0], [0.0, 1.0, 1e-12], 2e-12),
        ([1.0, 0.0, 0.0], [0.0, 0.0, 1.0], 2.0),
        ([1.0, 0.0, 0.0], [1.0, 0.0, 0.0], 0.0),
    ],
)
def test_small_masses(p: list[float], q: list[float], expected: float) -> None:
    assert scores.wasserstein_distance(p, q, LINE) == pytest.approx(expected, abs=2e-8)
    # and as one row of many
    others = np.random.default_rng(0).dirichlet(np.ones(3), 300)
    many = scores.wasserstein_distance([*others, p], [*others[::-1], q], LINE)
    assert many[-1] == pytest.approx(expected, abs=2e-8) and np.isfinite(many).all()


@pytest.mark.slow
def test_ten_thousand_confident_rows_agree_with_pot() -> None:
    ot = pytest.importorskip("ot", reason="needs POT (pip install POT)")
    rng = np.random.default_rng(15)
    for size in range(3, 21):
        cost = plane(size, rng)
        p, q = confident(556, size, rng), confident(556, size, rng)
        expected = [ot.emd2(x, y, cost, numItermax=10**6) for x, y in zip(p, q, strict=True)]
        np.testing.assert_allclose(scores.wasserstein_distance(p, q, cost), expected, rtol=0, atol=1e-6)
