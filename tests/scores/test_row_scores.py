"""Every figure of two distributions: against another implementation, and what must hold of all of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.spatial import distance
from scipy.special import rel_entr
from scipy.stats import wasserstein_distance as line_distance
from scipy.stats import wasserstein_distance_nd

from hf_emo_dist import scores
from hf_emo_dist.scores.transport import circumplex_cost

steady = settings(deadline=None, derandomize=True, max_examples=50)
LINE = np.abs(np.subtract.outer(np.arange(4.0), np.arange(4.0)))


class Figure(NamedTuple):
    function: Callable[..., Any]
    other: Callable[[np.ndarray, np.ndarray], float]  # one row, another implementation or the formula worked out
    equal: float  # the figure of two equal rows
    disjoint: float | None  # that of two one-hot rows for different classes; None where it depends on which
    low: float = 0
    high: float = 1
    symmetric: bool = True
    permutes: bool = True  # the order of the classes does not matter


def clark(x: np.ndarray, y: np.ndarray) -> float:
    return float(np.sqrt(sum(((a - b) / (a + b)) ** 2 for a, b in zip(x, y, strict=True) if a + b > 0)))


FIGURES = {
    "jensen_shannon_divergence": Figure(
        scores.jensen_shannon_divergence, lambda x, y: distance.jensenshannon(x, y, base=2) ** 2, 0, 1
    ),
    "jensen_shannon_distance": Figure(
        scores.jensen_shannon_distance, lambda x, y: distance.jensenshannon(x, y, base=2), 0, 1
    ),
    "kl_divergence": Figure(
        scores.kl_divergence, lambda x, y: rel_entr(x, y).sum() / np.log(2), 0, np.inf, high=np.inf, symmetric=False
    ),
    "bhattacharyya_coefficient": Figure(scores.bhattacharyya_coefficient, lambda x, y: np.sqrt(x * y).sum(), 1, 0),
    "chebyshev_distance": Figure(scores.chebyshev_distance, distance.chebyshev, 0, 1),
    "clark_distance": Figure(scores.clark_distance, clark, 0, 2**0.5, high=2),
    "canberra_metric": Figure(scores.canberra_metric, distance.canberra, 0, 2, high=4),
    "cosine_similarity": Figure(scores.cosine_similarity, lambda x, y: 1 - distance.cosine(x, y), 1, 0),
    "intersection_similarity": Figure(
        scores.intersection_similarity, lambda x, y: 1 - distance.cityblock(x, y) / 2, 1, 0
    ),
    "brier_score": Figure(scores.brier_score, distance.sqeuclidean, 0, 2, high=2),
    "wasserstein_unit": Figure(scores.wasserstein_distance, lambda x, y: distance.cityblock(x, y) / 2, 0, 1),
    "wasserstein_line": Figure(
        lambda p, q: scores.wasserstein_distance(p, q, LINE),
        lambda x, y: line_distance(np.arange(4), np.arange(4), x, y),
        0,
        None,
        high=3,
        permutes=False,
    ),
    "entropy_error": Figure(
        scores.entropy_error,
        lambda x, y: (rel_entr(y, np.ones(4)).sum() - rel_entr(x, np.ones(4)).sum()) / np.log(2),
        0,
        0,
        low=-2,
        high=2,
        symmetric=False,
    ),
}
each_figure = pytest.mark.parametrize("figure", FIGURES.values(), ids=FIGURES)


def extreme_rows(seed: int, rows: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Pairs of rows: random, one-hot, with zeros, nearly equal, and with tiny numbers."""
    rng = np.random.default_rng(seed)
    p, q = (rng.dirichlet(np.full(4, alpha), rows) for alpha in (1.0, 0.3))
    p[0], q[1] = np.eye(4)[rng.integers(4)], np.eye(4)[rng.integers(4)]
    p[2], q[2] = np.eye(4)[0], np.eye(4)[rng.integers(4)]
    p[3] = [0, 0.5, 0.5, 0]
    q[4] = p[4]
    q[5] = 0.999999 * p[5] + 0.000001 * q[5]
    p[6] = [1e-12, 1e-300, 0, 1]
    q[7] = [0, 1e-9, 1 - 1e-9, 0]
    return p / p.sum(1, keepdims=True), q / q.sum(1, keepdims=True)


@each_figure
@pytest.mark.parametrize("seed", range(5))
def test_every_row_agrees_with_another_implementation(figure: Figure, seed: int) -> None:
    p, q = extreme_rows(seed)
    expected = [figure.other(x, y) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(figure.function(p, q), expected, rtol=1e-6, atol=2e-7)


@each_figure
@steady
@given(seed=st.integers(0, 2**32 - 1))
def test_what_holds_of_every_figure(figure: Figure, seed: int) -> None:
    p, q = extreme_rows(seed)
    values = figure.function(p, q)
    assert values.shape == (len(p),) and values.dtype == np.float64
    np.testing.assert_allclose(figure.function(p, p), figure.equal, atol=1e-7)
    if figure.disjoint is not None:
        np.testing.assert_allclose(figure.function(np.eye(4)[:2], np.eye(4)[[1, 3]]), figure.disjoint, atol=1e-12)
    if figure.symmetric:
        np.testing.assert_allclose(values, figure.function(q, p), atol=1e-7)
    assert (values >= figure.low - 1e-12).all() and (values <= figure.high + 1e-12).all()
    if figure.permutes:
        order = np.random.default_rng(seed).permutation(4)
        np.testing.assert_allclose(figure.function(p[:, order], q[:, order]), values, rtol=1e-9, atol=1e-7)
    np.testing.assert_allclose(figure.function(p[3], q[3]), values[3], rtol=1e-12, atol=1e-12)
    # the figure of float32 rows is that of the same rows in float64
    narrow = p.astype(np.float32), q.astype(np.float32)
    wide = tuple(row.astype(np.float64) for row in narrow)
    np.testing.assert_array_equal(figure.function(*narrow), figure.function(*wide))


@each_figure
def test_float32_is_close_to_float64_on_ordinary_rows(figure: Figure) -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 50), rng.dirichlet(np.ones(4), 50)
    np.testing.assert_allclose(
        figure.function(p.astype(np.float32), q.astype(np.float32)), figure.function(p, q), atol=2e-6, rtol=2e-6
    )


@each_figure
def test_what_is_no_distribution_is_refused_by_row(figure: Figure) -> None:
    with pytest.raises(ValueError, match="Row 1 of"):
        figure.function([[0.25] * 4, [0.5, 0.5, 0.5, -0.5]], [[0.25] * 4] * 2)
    with pytest.raises(ValueError, match="alike"):
        figure.function([[0.25] * 4], [[0.25] * 4] * 2)


# --- Wasserstein


def test_circumplex_distance_agrees_with_scipy_in_the_plane() -> None:
    emotions = ["angry", "fear", "happy", "neutral", "sad"]
    places = np.array([scores.PLEASURE_AROUSAL[name] for name in emotions])
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.full(5, 0.5), 6), rng.dirichlet(np.full(5, 0.5), 6)
    expected = [wasserstein_distance_nd(places, places, x, y) for x, y in zip(p, q, strict=True)]
    np.testing.assert_allclose(scores.wasserstein_distance(p, q, circumplex_cost(emotions)), expected, atol=1e-6)
    # a miss to a neighbouring emotion costs less than one across the plane
    one = np.eye(5)
    near, far = scores.wasserstein_distance(one[[0, 0]], one[[1, 2]], circumplex_cost(emotions))
    assert near < 0.2 < 1 < far
    with pytest.raises(ValueError, match="contempt"):
        circumplex_cost(["angry", "contempt"])


def test_wasserstein_of_many_rows_has_no_seam_and_unit_cost_is_the_closed_form() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(3), 300), rng.dirichlet(np.ones(3), 300)
    solved = scores.wasserstein_distance(p, q, 1.0 - np.eye(3))
    np.testing.assert_allclose(solved, scores.wasserstein_distance(p, q), atol=1e-9)


@pytest.mark.parametrize("cost", ["euclid", [[0, 1], [2, 0]], [[1, 1], [1, 0]], [[0, -1], [-1, 0]], [[0.0]]])
def test_bad_costs_are_refused(cost: Any) -> None:
    with pytest.raises(ValueError, match="cost"):
        scores.wasserstein_distance([0.5, 0.5], [0.5, 0.5], cost)
