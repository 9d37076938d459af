"""Figures of all rows together, and figures of the votes themselves, each against another implementation or worked out
by hand.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist import scores
from hf_emo_dist.scores.bootstrap import bootstrap_score, paired_permutation_test

steady = settings(deadline=None, derandomize=True, max_examples=40)


def rows(seed: int, number: int = 40, size: int = 4) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    p, q = rng.dirichlet(np.full(size, 0.5), number), rng.dirichlet(np.full(size, 0.5), number)
    p[0], q[1], q[2] = np.eye(size)[0], np.eye(size)[1], np.eye(size)[0]
    return p, q


# --- R2, correlation, recall, calibration


@steady
@given(st.integers(0, 2**32 - 1))
def test_r2_recall_and_correlations_agree_with_other_packages(seed: int) -> None:
    metrics, stats = pytest.importorskip("sklearn.metrics"), pytest.importorskip("scipy.stats")
    p, q = rows(seed)
    np.testing.assert_allclose(
        scores.r2_score(p, q, "none"), metrics.r2_score(q, p, multioutput="raw_values"), atol=1e-9
    )
    assert scores.r2_score(p, q) == pytest.approx(metrics.r2_score(q, p), abs=1e-9)
    true, predicted = q.argmax(1), p.argmax(1)
    with np.errstate(all="ignore"):
        expected = metrics.recall_score(true, predicted, labels=np.unique(true), average="macro", zero_division=0)
    assert scores.unweighted_average_recall(p, q) == pytest.approx(expected)
    first, second = stats.entropy(p, axis=1), stats.entropy(q, axis=1)
    assert scores.entropy_correlation(p, q) == pytest.approx(stats.pearsonr(first, second)[0], abs=1e-7)
    assert scores.entropy_correlation(p, q, "spearman") == pytest.approx(stats.spearmanr(first, second)[0], abs=1e-7)
    order = np.random.default_rng(seed).permutation(4)
    assert scores.r2_score(p[:, order], q[:, order]) == pytest.approx(float(scores.r2_score(p, q)))


def test_spearman_shares_ranks_among_equal_entropies() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    p, q = rng.multinomial(3, [0.4, 0.3, 0.3], 60) / 3, rng.multinomial(3, [0.5, 0.3, 0.2], 60) / 3
    expected = stats.spearmanr(np.round(stats.entropy(p, axis=1), 9), np.round(stats.entropy(q, axis=1), 9))[0]
    assert scores.entropy_correlation(p, q, "spearman") == pytest.approx(expected, abs=1e-9)


def test_what_is_not_defined_is_nan() -> None:
    constant = np.tile([0.5, 0.3, 0.2], (5, 1))
    varied = np.random.default_rng(0).dirichlet(np.ones(3), 5)
    assert np.isnan(scores.r2_score(varied, constant))
    assert np.isnan(scores.entropy_correlation(constant, varied))
    assert np.isnan(scores.entropy_correlation(varied[:1], varied[:1]))
    # a class that never occurs in the references has no R2; the mean is over the other two
    q = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    assert np.isnan(scores.r2_score(q, q, "none")).tolist() == [False, False, True]
    assert scores.r2_score(q, q) == 1.0


def plain_ece(p: Any, q: Any, bins: int) -> float:
    """One pair at a time, as the definition reads."""
    found: dict[int, list[tuple[float, float]]] = {}
    for x, y in zip(np.ravel(p), np.ravel(q), strict=True):
        found.setdefault(min(int(x * bins), bins - 1), []).append((x, y))
    total = sum(len(pairs) for pairs in found.values())
    return sum(
        len(pairs) / total * abs(np.mean([x for x, _ in pairs]) - np.mean([y for _, y in pairs]))
        for pairs in found.values()
    )


@steady
@given(st.integers(0, 2**32 - 1), st.integers(1, 15))
def test_calibration_error_is_its_definition(seed: int, bins: int) -> None:
    p, q = rows(seed)
    ece = scores.expected_calibration_error
    assert ece(p, q, bins) == pytest.approx(plain_ece(p, q, bins), abs=1e-12)
    classwise = np.mean([plain_ece(p[:, k], q[:, k], bins) for k in range(4)])
    assert ece(p, q, bins, "classwise") == pytest.approx(classwise, abs=1e-12)
    top = p.argmax(1)
    expected = plain_ece(p.max(1), q[np.arange(len(q)), top], bins)
    assert ece(p, q, bins, "top") == pytest.approx(expected, abs=1e-12)
    assert ece(p, p, bins) == pytest.approx(0, abs=1e-12)
    assert 0 <= ece(p, q, bins) <= 1
    # hard labels: the share of right answers at each confidence
    hard = np.eye(4)[q.argmax(1)]
    assert ece(p, hard, bins, "top") == pytest.approx(plain_ece(p.max(1), top == q.argmax(1), bins), abs=1e-12)


def test_vote_noise_does_not_bias_the_calibration_error() -> None:
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.ones(4), 40000)
    votes = np.array([rng.multinomial(3, row) for row in q]) / 3
    assert scores.expected_calibration_error(q, votes) < 0.005


# --- unbiased Brier score


def test_unbiased_brier_score_estimates_the_error_to_the_truth() -> None:
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.full(5, 0.6), 30000)
    p = 0.6 * q + 0.4 * rng.dirichlet(np.ones(5), len(q))
    truth = scores.brier_score(p, q).mean()
    for votes in (2, 3, 9):
        counts = rng.multinomial(votes, q)
        estimate = scores.unbiased_brier_score(p, counts)
        error = estimate.std() / np.sqrt(len(q))
        assert abs(estimate.mean() - truth) < 4 * error < 0.02
        assert abs(scores.unbiased_brier_score(q, counts).mean()) < 4 * error
        # the plain one is off by the noise of the votes
        assert scores.brier_score(q, counts / votes).mean() > 0.04


def test_unbiased_brier_score_by_hand() -> None:
    # shares (2/3, 1/3): error (1/3)^2 * 2 = 2/9, minus (1 - 5/9) / 2 = 2/9
    assert scores.unbiased_brier_score([1.0, 0.0], [2, 1]) == pytest.approx(0.0)
    assert np.isnan(scores.unbiased_brier_score([1.0, 0.0], [1, 0]))
    # votes that are not whole, of raters who are not known, take only their own row out
    found = scores.unbiased_brier_score([[1.0, 0.0]] * 2, [[1, 1], [1.5, 0.5]])
    assert np.isnan(found).tolist() == [False, True]
    # two raters, one of whom gives both tags: f = (3/4, 1/4), noise (1.5 / 2 - 5/8) / 1 = 1/8
    known = scores.unbiased_brier_score([1.0, 0.0], [1.5, 0.5], rater_squares=[[2.0, 1.5]])
    assert known == pytest.approx(2 / 16 - 1 / 8)


# --- floor of the JS divergence


@pytest.mark.parametrize("alpha", [[0.5] * 4, [0.15] * 6, [0.1, 0.1, 0.1, 0.3, 1.5]])
@pytest.mark.parametrize("votes", [2, 3, 5, 9])
def test_floor_is_what_the_true_distribution_scores(alpha: list[float], votes: int) -> None:
    rng = np.random.default_rng(3)
    q = rng.dirichlet(alpha, 6000)
    counts = rng.multinomial(votes, q)
    truth = scores.jensen_shannon_divergence(q, counts / votes)
    error = truth.std() / np.sqrt(len(q))
    assert abs(scores.js_divergence_floor(counts).mean() - truth.mean()) < 0.03 * truth.mean() + 3 * error
    # redrawing votes from their own shares, the plain way, misses most of it
    plain = scores.jensen_shannon_divergence(counts / votes, rng.multinomial(votes, counts / votes) / votes)
    assert plain.mean() < 0.8 * truth.mean()


@pytest.mark.parametrize("votes", [5, 9])
def test_score_above_the_floor_is_near_the_divergence_to_the_truth(votes: int) -> None:
    rng = np.random.default_rng(4)
    q = rng.dirichlet(np.full(4, 0.5), 6000)
    p = 0.7 * q + 0.3 * rng.dirichlet(np.ones(4), len(q))
    counts = rng.multinomial(votes, q)
    truth = scores.jensen_shannon_divergence(p, q).mean()
    above = scores.js_divergence_above_floor(p, counts).mean()
    assert abs(above - truth) < 0.012
    assert scores.jensen_shannon_divergence(p, counts / votes).mean() > truth + 0.05
    assert abs(scores.js_divergence_above_floor(q, counts).mean()) < 0.006


def test_floor_where_the_prior_is_far_off_is_too_low_but_not_by_much() -> None:
    rng = np.random.default_rng(5)
    main, second = rng.integers(4, size=6000), rng.integers(4, size=6000)
    weight = rng.choice([1.0, 0.7, 0.5], size=6000)[:, None]
    q = 0.02 + weight * np.eye(4)[main] + (1 - weight) * np.eye(4)[second]
    q /= q.sum(axis=1, keepdims=True)
    counts = rng.multinomial(5, q)
    truth = scores.jensen_shannon_divergence(q, counts / 5).mean()
    assert 0.75 * truth < scores.js_divergence_floor(counts).mean() < truth


def test_floor_falls_with_votes_and_refuses_what_says_nothing() -> None:
    prior = [0.5, 0.5, 0.5]
    few, many = scores.js_divergence_floor([[2, 1, 0], [200, 100, 0]], prior=prior)
    assert 0 < many < few / 10
    assert scores.js_divergence_floor([2, 1, 0], prior=prior).shape == ()
    assert np.isnan(scores.js_divergence_floor([[2, 1, 0], [0, 0, 0]])).tolist() == [False, True]
    assert np.array_equal(scores.js_divergence_floor([[2, 1]]), scores.js_divergence_floor([[2, 1]]))
    with pytest.raises(ValueError, match="2 votes"):
        scores.js_divergence_floor([[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="prior"):
        scores.js_divergence_floor([[2, 0]], prior=[1.0])


def test_prior_is_where_the_likelihood_is_greatest() -> None:
    from scipy.special import gammaln

    rng = np.random.default_rng(0)
    counts = rng.multinomial(6, rng.dirichlet([0.4, 0.9, 2.0], 300))

    def likelihood(alpha: np.ndarray) -> float:
        return float(
            (
                gammaln(alpha.sum()) - gammaln(alpha.sum() + 6) + (gammaln(counts + alpha) - gammaln(alpha)).sum(axis=1)
            ).sum()
        )

    best = scores.fit_dirichlet_prior(counts)
    assert all(likelihood(best) >= likelihood(best * factor) for factor in np.exp(rng.normal(0, 0.02, (50, 3))))


# --- agreement

FLEISS = """0 0 0 0 14|0 2 6 4 2|0 0 3 5 6|0 3 9 2 0|2 2 8 1 1|7 7 0 0 0|3 2 6 3 0|2 5 3 2 2|6 5 2 1 0|0 2 2 3 7"""
KRIPPENDORFF = """1 2 3 3 2 1 4 1 2 . . .|1 2 3 3 2 2 4 1 2 5 . 3|. 3 3 3 2 3 4 2 2 5 1 .|1 2 3 3 2 4 4 1 2 5 1 ."""


def test_agreement_gives_the_published_values() -> None:
    table = np.array([line.split() for line in FLEISS.split("|")], dtype=int)
    assert scores.fleiss_kappa(table) == pytest.approx(0.210, abs=5e-4)
    ratings = [line.split() for line in KRIPPENDORFF.split("|")]
    counts = np.zeros((12, 5))
    for rater in ratings:
        for unit, value in enumerate(rater):
            if value != ".":
                counts[unit, int(value) - 1] += 1
    assert scores.krippendorff_alpha(counts) == pytest.approx(0.743, abs=5e-4)


def pairwise_agreement(counts: np.ndarray) -> tuple[float, float]:
    """Kappa and alpha from the list of every pair of votes, one by one."""
    within, weights, labels, mean = [], [], [], []
    for row in counts:
        votes = [k for k, number in enumerate(row) for _ in range(int(number))]
        if len(votes) < 2:
            continue
        agree = [a == b for i, a in enumerate(votes) for j, b in enumerate(votes) if i != j]
        within += agree
        weights += [1 / (len(votes) - 1)] * len(agree)
        mean.append(np.mean(agree))
        labels += votes
    shares = np.bincount(labels) / len(labels)
    kappa = (np.mean(mean) - (shares**2).sum()) / (1 - (shares**2).sum())
    expected = np.mean([a != b for i, a in enumerate(labels) for j, b in enumerate(labels) if i != j])
    return kappa, 1 - (1 - np.average(within, weights=weights)) / expected


@pytest.mark.parametrize("seed", range(4))
def test_agreement_of_unequal_numbers_of_raters_pair_by_pair(seed: int) -> None:
    rng = np.random.default_rng(seed)
    counts = np.array(
        [rng.multinomial(n, q) for n, q in zip(rng.integers(0, 6, 25), rng.dirichlet(np.ones(3), 25), strict=True)]
    )
    kappa, alpha = pairwise_agreement(counts)
    assert scores.fleiss_kappa(counts) == pytest.approx(kappa, abs=1e-9)
    assert scores.krippendorff_alpha(counts) == pytest.approx(alpha, abs=1e-9)
    order = rng.permutation(3)
    assert scores.krippendorff_alpha(counts[:, order]) == pytest.approx(alpha, abs=1e-9)


def test_agreement_at_the_ends() -> None:
    rng = np.random.default_rng(0)
    assert scores.fleiss_kappa([[5, 0], [0, 5]]) == scores.krippendorff_alpha([[5, 0], [0, 5]]) == 1.0
    chance = rng.multinomial(6, [0.5, 0.3, 0.2], 20000)
    assert scores.fleiss_kappa(chance) == pytest.approx(0, abs=0.01)
    assert scores.krippendorff_alpha(chance) == pytest.approx(0, abs=0.01)
    assert scores.fleiss_kappa([[1, 1], [1, 1]]) == -1.0
    for counts in ([[5, 0], [5, 0]], [[1, 0], [0, 1]]):
        assert np.isnan(scores.fleiss_kappa(counts)) and np.isnan(scores.krippendorff_alpha(counts))
    with pytest.raises(ValueError, match="not whole"):
        scores.fleiss_kappa([[1.5, 0.5]])


# --- compute_scores


def test_compute_scores_holds_every_figure() -> None:
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.full(4, 0.5), 200)
    counts = rng.multinomial(5, q)
    result = scores.compute_scores(q, counts / 5, ["angry", "happy", "neutral", "sad"], counts)
    assert result["js_divergence"] - result["js_divergence_floor"] == pytest.approx(result["js_divergence_above_floor"])
    assert abs(result["js_divergence_above_floor"]) < 0.02 < result["js_divergence_floor"]
    assert result["r2"] == pytest.approx(
        np.mean([result[f"r2_{name}"] for name in ("angry", "happy", "neutral", "sad")])
    )
    assert result["wasserstein_distance"] == pytest.approx(1 - result["intersection_similarity"])
    assert {"uar", "entropy_pearson", "expected_calibration_error", "unbiased_brier_score", "js_distance"} < set(result)
    weighted = scores.compute_scores(q, counts / 5, counts=counts / 2)
    assert "log_likelihood_per_vote" in weighted and "js_divergence_floor" not in weighted


# --- intervals and tests


def test_interval_of_a_figure_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    x = rng.normal(size=200)
    y = x + rng.normal(size=200)
    speakers = np.arange(200) % 20

    def correlation(a: np.ndarray, b: np.ndarray) -> float:
        return float(np.corrcoef(a, b)[0, 1])

    value, low, high = bootstrap_score(correlation, x, y, num_resamples=400)
    assert low < value < high
    # Fisher's transformation gives the width to compare with
    expected = np.tanh(np.arctanh(value) + np.array([-1.96, 1.96]) / np.sqrt(197))
    assert (low, high) == pytest.approx(tuple(expected), abs=0.03)
    assert (value, low, high) == bootstrap_score(correlation, x, y, num_resamples=400)
    grouped = bootstrap_score(correlation, x, y, groups=speakers, num_resamples=400)
    assert grouped[0] == value and grouped[1] < value < grouped[2]
    assert np.isnan(bootstrap_score(correlation, x, y, groups=["a"] * 200)[1])
    with pytest.raises(ValueError, match="same number of rows"):
        bootstrap_score(correlation, x, y[:-1])


@pytest.mark.parametrize("number", [8, 40])
def test_permutation_test_agrees_with_scipy(number: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(number)
    a, b = rng.normal(0.4, 1, number), rng.normal(0, 1, number)
    expected = stats.permutation_test(
        (a - b,), np.mean, permutation_type="samples", n_resamples=20000, random_state=np.random.default_rng(0)
    )
    result = paired_permutation_test(a, b, num_resamples=20000)
    assert result["p_value"] == pytest.approx(expected.pvalue, abs=1e-12 if number == 8 else 0.02)
    assert result["mean_difference"] == pytest.approx((a - b).mean())


def test_permutation_test_flips_whole_speakers() -> None:
    rng = np.random.default_rng(0)
    speakers = np.repeat(np.arange(6), 50)
    difference = rng.normal(size=6)[speakers] + 0.1 * rng.normal(size=300)
    by_row = paired_permutation_test(difference, np.zeros(300))["p_value"]
    by_speaker = paired_permutation_test(difference, np.zeros(300), groups=speakers)
    assert by_speaker["num_groups"] == 6 and by_speaker["p_value"] > max(by_row, 2**-5)
    assert paired_permutation_test([0.1, 0.2], [0.1, 0.2])["p_value"] == 1.0
    with pytest.raises(ValueError, match="same rows"):
        paired_permutation_test([0.1], [0.1, 0.2])


# --- labels of EMO-SUPERB, several emotions at once


@pytest.mark.parametrize(
    ("votes", "released"),
    [
        ([4, 0, 0, 0, 0, 6], [0.386, 0.01, 0.01, 0.01, 0.01, 0.574]),  # a clip of CREMA-D
        ([0, 0, 0, 8, 2, 0], [0.01, 0.01, 0.01, 0.762, 0.198, 0.01]),
        ([0, 0, 0, 0, 1, 0, 0, 0, 2], [0.00625] * 4 + [0.320833] + [0.00625] * 3 + [0.635417]),  # IEMOCAP
        ([6, 1, 0, 0], [0.816667, 0.15, 0.016667, 0.016667]),  # MSP-IMPROV
    ],
)
def test_labels_are_smoothed_as_in_the_released_files(votes: list[int], released: list[float]) -> None:
    found = scores.smoothed_labels(np.array(votes) / sum(votes))
    assert found == pytest.approx(released, abs=1e-6)


def test_smoothing_keeps_a_share_of_one_in_k_and_is_checked() -> None:
    np.testing.assert_allclose(scores.smoothed_labels(np.full(6, 1 / 6)), 1 / 6)
    np.testing.assert_allclose(scores.smoothed_labels([0.3, 0.7], 0.0), [0.3, 0.7])
    with pytest.raises(ValueError, match=r"smoothing=1\.5.*Mend"):
        scores.smoothed_labels([0.5, 0.5], 1.5)


@steady
@given(st.integers(0, 2**32 - 1))
def test_multilabel_f1_agrees_with_sklearn_and_smoothing_does_not_change_it(seed: int) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    p, q = rows(seed, size=5)
    expected = metrics.f1_score(q > 0.2, p > 0.2, average="macro", zero_division=0)
    assert scores.multilabel_macro_f1(p, q) == pytest.approx(expected)
    assert scores.multilabel_macro_f1(p, scores.smoothed_labels(q)) == pytest.approx(expected)
    expected = metrics.f1_score(q > 0.4, p > 0.4, average="macro", zero_division=0)
    assert scores.multilabel_macro_f1(p, q, threshold=0.4) == pytest.approx(expected)


def test_a_share_of_just_one_in_k_is_not_over_it() -> None:
    uniform = np.full((3, 6), 1 / 6)
    assert np.isnan(scores.multilabel_macro_f1(uniform, uniform))
    assert scores.multilabel_macro_f1(uniform, np.eye(6)[:3]) == 0.0
    assert "multilabel_macro_f1" not in scores.compute_scores(uniform, uniform)


# --- concordance


def test_concordance_is_the_pearson_correlation_less_shift_and_scale() -> None:
    stats = pytest.importorskip("scipy.stats")
    rng = np.random.default_rng(0)
    x = rng.normal(4, 1, 200)
    y = 0.5 * x + rng.normal(1, 0.7, 200)
    ccc = scores.concordance_correlation_coefficient
    pearson, u = stats.pearsonr(x, y)[0], x.std() / y.std()
    # Lin's own form: the correlation times the bias correction
    bias = 2 / (u + 1 / u + (x.mean() - y.mean()) ** 2 / (x.std() * y.std()))
    assert ccc(x, y) == pytest.approx(pearson * bias)
    assert ccc(x, x) == pytest.approx(1.0) and ccc(x, 2 * x.mean() - x) == pytest.approx(-1.0)
    assert ccc(3 * x + 1, 3 * y + 1) == pytest.approx(ccc(x, y)) and ccc(x + 1, y) != pytest.approx(ccc(x, y))
    assert np.isnan(ccc([1.0], [1.0])) and np.isnan(ccc([2.0, 2.0], [2.0, 2.0]))
    assert ccc([2.0, 2.0], [1.0, 3.0]) == 0.0
    with pytest.raises(ValueError, match=r"Row 1 of `references` is nan.*Mend"):
        ccc([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(ValueError, match=r"\(2, 3\).*one dimension"):
        ccc(np.ones((2, 3)), np.ones((2, 3)))


# --- intervals within bounds


@pytest.mark.parametrize("name", [*scores.SCORES, *scores.VOTE_SCORES])
def test_no_figure_and_no_interval_leaves_its_bounds(name: str) -> None:
    """Two speakers, whose interval is widened ninefold, and figures near an end of their range."""
    low, high = scores.score_bounds(name)
    rng = np.random.default_rng(0)
    counts = rng.multinomial(3, [0.9, 0.06, 0.04], 40)
    for sharp in (0.0, 0.5, 0.999):
        p = sharp * np.eye(3)[rng.integers(3, size=40)] + (1 - sharp) * rng.dirichlet(np.ones(3), 40)
        assert low - 1e-12 <= scores.compute_scores(p, counts / 3, counts=counts)[name] <= high + 1e-12

    def figure(predicted: np.ndarray, votes: np.ndarray) -> float:
        return scores.compute_scores(predicted, votes / 3, counts=votes).get(name, np.nan)

    groups = np.repeat(["a", "b"], 20)
    value, least, most = bootstrap_score(figure, p, counts, groups=groups, num_resamples=30, bounds=(low, high))
    assert low <= least <= value <= most <= high


@pytest.mark.parametrize("values", [[0.0, 0.0, 0.4, 0.4], [1.0, 1.0, 0.7, 0.9], [0.0, 0.0, 1.0, 1.0]])
def test_an_interval_over_two_speakers_stays_within_what_is_possible(values: list[float]) -> None:
    groups = ["a", "a", "b", "b"]
    _, low, high = scores.bootstrap_interval(values, groups)
    assert low < 0 or high > 1  # what it is without bounds
    mean, low, high = scores.bootstrap_interval(values, groups, bounds=(0.0, 1.0))
    assert 0 <= low <= mean <= high <= 1
    paired = scores.paired_bootstrap(values, [1.0, 0.0, 0.0, 1.0], groups, bounds=(0.0, 1.0))
    assert -1 <= paired["low"] <= paired["mean_difference"] <= paired["high"] <= 1
