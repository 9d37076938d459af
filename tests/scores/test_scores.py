from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hf_emo_dist import scores
from hf_emo_dist.scores.bootstrap import _student_quantile, bootstrap_interval, paired_bootstrap
from hf_emo_dist.scores.checking import CHUNK
from hf_emo_dist.scores.divergences import (
    bhattacharyya_coefficient,
    jensen_shannon_distance,
    jensen_shannon_divergence,
    kl_divergence,
)
from hf_emo_dist.scores.likelihood import log_likelihood_per_vote
from hf_emo_dist.scores.summary import compute_scores

# The same examples every time, and no deadline: imports and busy machines make first calls slow.
steady = settings(deadline=None, derandomize=True)

# Masses that are 0, tiny or ordinary: one-hot rows and zero probabilities come up often.
mass = st.one_of(st.just(0.0), st.just(1e-300), st.floats(1e-12, 1.0))


@st.composite
def distributions(draw: Callable[..., Any]) -> np.ndarray:
    rows = draw(arrays(np.float64, (draw(st.integers(1, 8)), 4), elements=mass))
    rows[rows.sum(axis=1) < 1e-12, draw(st.integers(0, 3))] = 1.0
    return np.asarray(rows / rows.sum(axis=1, keepdims=True))


@steady
@given(distributions(), st.randoms())
def test_divergence_is_bounded_symmetric_and_zero_for_equals(p: np.ndarray, random: Any) -> None:
    q = p[random.sample(range(len(p)), len(p))][:, random.sample(range(4), 4)]
    divergence = jensen_shannon_divergence(p, q)
    assert divergence.shape == (len(p),)
    assert np.isfinite(divergence).all()
    assert (divergence >= 0).all() and (divergence <= 1).all()
    np.testing.assert_allclose(divergence, jensen_shannon_divergence(q, p), atol=1e-15)
    np.testing.assert_allclose(jensen_shannon_divergence(p, p), 0, atol=1e-15)
    np.testing.assert_allclose(jensen_shannon_divergence(p, q, base=np.e), divergence * np.log(2), atol=1e-15)


@steady
@given(distributions())
def test_coefficient_and_distance(p: np.ndarray) -> None:
    q = p[::-1]
    coefficient = bhattacharyya_coefficient(p, q)
    assert (coefficient >= 0).all() and (coefficient <= 1).all()
    np.testing.assert_allclose(bhattacharyya_coefficient(p, p), 1)
    # The squared Hellinger distance, 1 - BC, is a lower bound of the divergence in bits.
    assert (1 - coefficient <= jensen_shannon_divergence(p, q) + 1e-12).all()
    np.testing.assert_allclose(jensen_shannon_distance(p, q) ** 2, jensen_shannon_divergence(p, q), atol=1e-15)


@steady
@given(distributions())
def test_divergence_agrees_with_scipy(p: np.ndarray) -> None:
    from scipy.spatial.distance import jensenshannon
    from scipy.special import rel_entr

    q = p[::-1]
    np.testing.assert_allclose(jensen_shannon_distance(p, q), jensenshannon(p, q, base=2, axis=1), atol=2e-7)
    expected = rel_entr(p, q).sum(axis=1) / np.log(2)
    np.testing.assert_allclose(kl_divergence(p, q), np.maximum(expected, 0), rtol=1e-9, atol=1e-12)


def test_known_values_and_shapes() -> None:
    assert jensen_shannon_divergence([1, 0], [0, 1]) == 1.0
    assert jensen_shannon_divergence([1, 0], [0.5, 0.5]) == pytest.approx(0.75 * np.log2(4 / 3))
    assert kl_divergence([1.0, 0.0], [0.25, 0.75]) == 2.0
    assert kl_divergence([0.5, 0.5], [1.0, 0.0]) == np.inf
    assert bhattacharyya_coefficient([1, 0], [0.25, 0.75]) == 0.5


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_low_precision_rows_are_computed_in_float64(dtype: type) -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 100), rng.dirichlet(np.ones(4), 100)
    result = jensen_shannon_divergence(p.astype(dtype), q.astype(dtype))
    assert result.dtype == np.float64
    np.testing.assert_allclose(result, jensen_shannon_divergence(p, q), atol=1e-3 if dtype is np.float16 else 1e-6)


def test_long_inputs_are_cut_into_chunks_without_a_seam() -> None:
    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), CHUNK // 4 + 5), rng.dirichlet(np.ones(4), CHUNK // 4 + 5)
    for function in (jensen_shannon_divergence, kl_divergence, bhattacharyya_coefficient):
        whole = function(p, q)
        assert whole.shape == (len(p),)
        np.testing.assert_array_equal(whole[-10:], function(p[-10:], q[-10:]))
    p[-2] = np.nan
    with pytest.raises(ValueError, match=f"Row {len(p) - 2} of `p`"):
        jensen_shannon_divergence(p, q)


@pytest.mark.parametrize("bad", [[0.5, 0.6], [1.2, -0.2], [np.nan, 1.0], [0.0, 0.0], [2.0, -5.0]])
def test_rows_that_are_no_distributions_are_named(bad: list[float]) -> None:
    with pytest.raises(ValueError, match=r"Row 1 of `p`.*Mend"):
        jensen_shannon_divergence([[0.5, 0.5], bad], [[0.5, 0.5], [0.5, 0.5]])


def test_bad_shapes_and_arguments() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2\).*\(2, 2\)"):
        jensen_shannon_divergence([[0.5, 0.5]], [[0.5, 0.5]] * 2)
    with pytest.raises(ValueError, match="distributions_to_matrix"):
        compute_scores([{"a": 1.0}], [{"a": 1.0}])  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="base"):
        jensen_shannon_divergence([0.5, 0.5], [0.5, 0.5], base=1)


# --- votes


def test_log_likelihood_per_vote() -> None:
    p = [[0.5, 0.5], [1.0, 0.0], [0.2, 0.8]]
    result = log_likelihood_per_vote(p, [[3, 1], [1.5, 1.5], [0, 0]], epsilon=1e-6)
    np.testing.assert_allclose(result, [np.log(0.5), np.log(1e-6) / 2, np.nan])
    with pytest.raises(ValueError, match="not negative"):
        log_likelihood_per_vote([0.5, 0.5], [-1, 2])


@steady
@given(arrays(np.int64, (4,), elements=st.integers(0, 9)).filter(lambda c: c.sum() > 0), distributions())
def test_no_prediction_beats_the_vote_shares(counts: np.ndarray, p: np.ndarray) -> None:
    best = log_likelihood_per_vote(counts / counts.sum(), counts)
    assert (log_likelihood_per_vote(p, np.tile(counts, (len(p), 1))) <= best + 1e-9).all()


# --- dominant class


@steady
@given(st.integers(0, 2**32 - 1), st.integers(2, 40))
def test_class_figures_agree_with_sklearn(seed: int, rows: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(4, 0.3), rows), rng.dirichlet(np.full(4, 0.3), rows)
    predicted, true = p.argmax(1), q.argmax(1)
    assert scores.accuracy(p, q) == pytest.approx(metrics.accuracy_score(true, predicted))
    for name, function in (("macro", scores.macro_f1), ("weighted", scores.weighted_f1)):
        assert function(p, q) == pytest.approx(metrics.f1_score(true, predicted, average=name, zero_division=0))


def test_ties_in_the_reference() -> None:
    q = [[0.4, 0.4, 0.2], [0.1, 0.2, 0.7]]
    assert scores.accuracy([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], q) == 0.5
    assert scores.accuracy([[1.0, 0.0, 0.0], [0.0, 0.0, 1.0]], q) == 1.0
    assert scores.accuracy([[0.0, 1.0, 0.0], [0.0, 0.0, 1.0]], q, ties="drop") == 1.0
    assert np.isnan(scores.macro_f1([[1.0, 0.0]], [[0.5, 0.5]], ties="drop"))


# --- compute_scores


def test_compute_scores_of_a_perfect_prediction() -> None:
    counts = np.array([[3, 1, 0, 0], [0, 0, 2, 2], [0, 5, 0, 0]])
    q = counts / counts.sum(axis=1, keepdims=True)
    result = compute_scores(q, q, emotions=["angry", "happy", "neutral", "sad"], counts=counts)
    assert result["js_divergence"] == result["kl_divergence"] == 0.0
    assert result["bhattacharyya_coefficient"] == pytest.approx(1.0)
    assert result["accuracy"] == result["macro_f1"] == result["weighted_f1"] == 1.0
    assert result["entropy_prediction"] == result["entropy_reference"]
    assert result["num_examples"] == 3
    # A mean over the 13 votes, not over the 3 rows.
    assert result["log_likelihood_per_vote"] == pytest.approx((3 * np.log(0.75) + np.log(0.25) + 4 * np.log(0.5)) / 13)


def test_compute_scores_is_finite_and_plain_and_permutes_with_the_emotions() -> None:
    rng = np.random.default_rng(1)
    p, q = rng.dirichlet(np.ones(4), 50), np.eye(4)[rng.integers(4, size=50)]
    p[0] = [1, 0, 0, 0]
    q[0] = [0, 1, 0, 0]
    result = compute_scores(p, q, counts=q)
    assert all(np.isfinite(value) and type(value) in (float, int) for value in result.values())
    order = [2, 0, 3, 1]
    assert compute_scores(p[:, order], q[:, order], counts=q[:, order]) == pytest.approx(result)
    assert "log_likelihood_per_vote" not in compute_scores(p, q)


def test_compute_scores_refuses_empty_and_unfitting_input() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        compute_scores(np.zeros((0, 4)), np.zeros((0, 4)))
    with pytest.raises(ValueError, match="2 columns for 3 emotions"):
        compute_scores([[0.5, 0.5]], [[0.5, 0.5]], emotions=["a", "b", "c"])


# --- bootstrap


def test_student_quantiles() -> None:
    from scipy.stats import t

    for freedom in (1, 2, 3, 4, 7, 30, 99):
        assert _student_quantile(0.975, freedom) == pytest.approx(t.ppf(0.975, freedom), rel=1e-9)


def test_interval_is_seeded_and_holds_the_mean() -> None:
    values = np.random.default_rng(0).normal(size=200)
    mean, low, high = bootstrap_interval(values, seed=3)
    assert mean == pytest.approx(values.mean())
    assert low < mean < high
    assert (mean, low, high) == bootstrap_interval(values, seed=3)
    assert (mean, low, high) != bootstrap_interval(values, seed=4)
    # Close to what normal theory says of 200 rows.
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / np.sqrt(200), rel=0.1)


def test_whole_groups_are_resampled() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(10), 50)
    values = rng.normal(size=10)[speakers] + 0.01 * rng.normal(size=500)
    _, low, high = bootstrap_interval(values)
    _, group_low, group_high = bootstrap_interval(values, groups=[f"speaker-{s}" for s in speakers])
    assert group_high - group_low > 5 * (high - low)


@pytest.mark.parametrize("speakers", [3, 6])
def test_interval_over_few_groups_covers_about_what_it_says(speakers: int) -> None:
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(speakers), 4)
    covered = 0
    for trial in range(300):
        values = rng.normal(size=speakers)[groups] + 0.1 * rng.normal(size=len(groups))
        _, low, high = bootstrap_interval(values, groups=groups, num_resamples=400, seed=trial)
        covered += low <= 0 <= high
    assert 0.88 <= covered / 300 <= 0.99


def test_one_group_gives_no_interval() -> None:
    mean, low, high = bootstrap_interval([0.1, 0.3], groups=["a", "a"])
    assert mean == pytest.approx(0.2)
    assert np.isnan(low) and np.isnan(high)


def test_paired_bootstrap() -> None:
    rng = np.random.default_rng(0)
    hard = rng.normal(size=60)  # What makes a row hard for both cancels.
    groups = np.arange(60) % 12
    a, b = hard + 0.1 + 0.01 * rng.normal(size=60), hard + 0.01 * rng.normal(size=60)
    result = paired_bootstrap(a, b, groups=groups)
    assert result["low"] < result["mean_difference"] == pytest.approx(0.1, abs=0.01)
    assert result["low"] > 0.08
    assert result["num_groups"] == 12
    mirrored = paired_bootstrap(b, a, groups=groups)
    assert mirrored["low"] == pytest.approx(-result["high"], abs=2e-3)
    with pytest.raises(ValueError, match="same rows"):
        paired_bootstrap(a, b[:-1])


@pytest.mark.parametrize(
    ("values", "options", "message"),
    [
        ([], {}, "finite values"),
        ([0.1, np.nan], {}, "NaN"),
        ([0.1, 0.2], {"groups": ["a"]}, "1 groups"),
        ([0.1, 0.2], {"groups": ["a", None]}, "Row 1 has no group"),
        ([0.1, 0.2], {"level": 1.5}, "level"),
    ],
)
def test_bootstrap_refuses(values: list[float], options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        bootstrap_interval(values, **options)


def test_every_figure_knows_which_way_is_better():
    generator = np.random.default_rng(0)
    references = generator.dirichlet(np.ones(4), 50)
    wrong = np.roll(references, 1, axis=0)
    right, bad = (scores.compute_scores(p, references) for p in (references, wrong))
    for name, score in scores.SCORES.items():
        if score.greater_is_better is not None:
            assert right[name] > bad[name] if score.greater_is_better else right[name] < bad[name], name
    assert {n for n, s in scores.SCORES.items() if s.greater_is_better is None} == {
        "entropy_prediction",
        "entropy_reference",
    }
    assert list(scores.SCORES) == [name for name in right if name != "num_examples"]
