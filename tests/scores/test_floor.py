"""The floor of the JS divergence: exact, with an interval that holds the prior, and for raters who split votes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.integrate import quad
from scipy.stats import beta

from hf_emo_dist import scores
from hf_emo_dist.votes import rater_squares


def sampled(counts: np.ndarray, prior: np.ndarray, draws: int = 200_000) -> float:
    """The definition: the mean divergence of draws of the posterior from the shares."""
    drawn = np.random.default_rng(0).dirichlet(counts + prior, draws)
    shares = np.broadcast_to(counts / counts.sum(), drawn.shape)
    return float(scores.jensen_shannon_divergence(drawn, shares).mean())


@pytest.mark.parametrize(
    ("counts", "prior"),
    [
        ([2, 1, 0], [0.3, 0.3, 0.3]),
        ([9, 0, 0, 0, 0, 0], [0.34, 0.18, 1.2, 0.33, 0.36, 0.44]),
        ([1, 1, 1, 1], [5.0, 5.0, 5.0, 5.0]),
        ([120, 60, 20], [0.01, 2.0, 0.5]),
        ([1.4, 0.9, 0.0], [0.5, 0.5, 0.5]),  # effective votes of raters who split theirs
    ],
)
def test_it_is_the_mean_over_the_posterior(counts: list[float], prior: list[float]) -> None:
    row, alpha = np.array([counts], dtype=float), np.array(prior)
    squares = None if (row == np.round(row)).all() else np.array([[row.sum(), row.sum()]])
    found = float(scores.js_divergence_floor(row, prior=alpha, rater_squares=squares)[0])
    assert found == pytest.approx(sampled(row[0], alpha), rel=0.01)


def test_each_label_of_it_is_an_integral_over_a_beta_distribution() -> None:
    counts, prior = np.array([3.0, 1.0]), np.array([0.2, 0.6])
    total = 0.0
    for k in range(2):
        share, a, b = counts[k] / 4, counts[k] + prior[k], counts[1 - k] + prior[1 - k]

        def part(q: float, share: float = share, a: float = a, b: float = b) -> float:
            middle = (share + q) / 2
            return float(beta.pdf(q, a, b) * (share * np.log2(share / middle) + q * np.log2(q / middle)) / 2)

        total += quad(part, 1e-12, 1, epsabs=1e-12, limit=200)[0]
    assert scores.js_divergence_floor(counts, prior=prior) == pytest.approx(total, abs=1e-8)


@pytest.mark.parametrize(("rows", "speakers", "votes"), [(60, None, 5), (100, 10, 2), (400, 20, 5)])
def test_its_interval_covers_what_it_says_also_on_small_sets(rows: int, speakers: int | None, votes: int) -> None:
    """Row by row the floor varies little; that the prior was fitted to the same few rows is most of what is unsure."""
    rng = np.random.default_rng(0)
    alpha = np.full(4, 0.5)
    many = rng.dirichlet(alpha, 100_000)
    truth = scores.jensen_shannon_divergence(many, rng.multinomial(votes, many) / votes).mean()
    groups = None if speakers is None else np.arange(rows) % speakers
    covered = with_prior_known = 0
    for trial in range(60):
        counts = rng.multinomial(votes, rng.dirichlet(alpha, rows))
        mean, low, high = scores.js_divergence_floor_interval(counts, groups, num_resamples=200, seed=trial)
        floors = scores.js_divergence_floor(counts)
        assert mean == pytest.approx(floors.mean()) and 0 <= low <= mean <= high <= 1
        covered += low <= truth <= high
        _, low, high = scores.bootstrap_interval(floors, groups, 200, seed=trial)
        with_prior_known += low <= truth <= high
    assert covered >= 51 > 36 > with_prior_known


def test_the_interval_of_some_of_the_rows() -> None:
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, rng.dirichlet(np.full(4, 0.5), 300))
    inside = np.flatnonzero(counts.max(axis=1) == 5)
    mean, low, high = scores.js_divergence_floor_interval(counts, rows=inside)
    assert low < mean < high and mean == pytest.approx(scores.js_divergence_floor(counts)[inside].mean())
    empty = np.concatenate([counts, np.zeros((1, 4))])
    assert np.isnan(scores.js_divergence_floor_interval(empty, rows=[300])).all()
    assert scores.js_divergence_floor_interval(empty)[0] == pytest.approx(scores.js_divergence_floor(counts).mean())
    with pytest.raises(ValueError, match="300 rows but 2 groups"):
        scores.js_divergence_floor_interval(counts, ["a", "b"])


# --- raters who give several tags


NAMES = ["angry", "happy", "neutral", "sad"]


def splitting_raters(rows: int, raters: int, split: float, size: int = 4):
    """Votes of raters who give one tag or, so often, two; and the expectation of what one rater gives."""
    rng = np.random.default_rng(0)
    own = rng.dirichlet(np.full(size, 0.6), rows)
    # of two different tags, both drawn by their shares: the sum over all pairs
    two = np.zeros_like(own)
    for a in range(size):
        for b in range(size):
            if a != b:
                pair = own[:, a] * own[:, b] / np.maximum(1 - own[:, a], 1e-12)
                two[:, a] += pair / 2
                two[:, b] += pair / 2
    truth = (1 - split) * own + split * two / two.sum(axis=1, keepdims=True)
    votes, weights = [], []
    for row in own:
        labels: list[str] = []
        amounts: list[float] = []
        for _ in range(raters):
            if rng.random() < split and np.sort(row)[-2] > 1e-9:
                labels += [NAMES[k] for k in rng.choice(size, 2, replace=False, p=row)]
                amounts += [0.5, 0.5]
            else:
                labels.append(NAMES[rng.choice(size, p=row)])
                amounts.append(1.0)
        votes.append(labels)
        weights.append(amounts)
    counts = np.array(
        [
            [sum(w for label, w in zip(*row, strict=True) if label == name) for name in NAMES]
            for row in zip(votes, weights, strict=True)
        ]
    )
    return truth, counts, votes, weights


@pytest.mark.parametrize(("raters", "split"), [(2, 0.3), (3, 0.1), (3, 0.6), (5, 0.3)])
def test_with_what_is_known_of_the_raters_the_floor_and_the_noise_are_right(raters: int, split: float) -> None:
    truth, counts, votes, weights = splitting_raters(4000, raters, split)
    named = rater_squares(votes, NAMES, weights)
    np.testing.assert_allclose(named, squares_by_hand(weights))
    shares = counts / counts.sum(axis=1, keepdims=True)
    js = scores.jensen_shannon_divergence(truth, shares).mean()
    floor = scores.js_divergence_floor(counts, rater_squares=named)
    assert np.isfinite(floor).all() and 0.97 * js < floor.mean() < 1.16 * js
    # as if each rater had given one tag it would be far off
    one_each = np.repeat(counts.sum(axis=1)[:, None], 2, axis=1)
    as_whole = scores.js_divergence_floor(counts, rater_squares=one_each).mean()
    assert split < 0.2 or as_whole > 1.25 * js
    noise = ((truth - shares) ** 2).sum(axis=1)
    estimate = scores.share_noise(counts, named)
    assert abs(estimate.mean() - noise.mean()) < 4 * (estimate - noise).std() / np.sqrt(len(noise))
    predicted = np.random.default_rng(1).dirichlet(np.ones(4), len(truth))
    error = scores.unbiased_brier_score(predicted, counts, named) - scores.brier_score(predicted, truth)
    assert abs(error.mean()) < 4 * error.std() / np.sqrt(len(truth))


def squares_by_hand(weights: list[list[float]]) -> np.ndarray:
    """Raters are alone, or two votes of a half for two labels."""
    found = []
    for row in weights:
        whole, halves = sum(w == 1 for w in row), sum(w == 0.5 for w in row)
        found.append([whole + halves / 2, whole + halves / 4])
    return np.array(found, dtype=float)


def test_whole_votes_are_as_they_were_and_one_row_does_not_take_the_rest_out() -> None:
    counts = np.random.default_rng(0).multinomial(5, [0.5, 0.3, 0.2], 50).astype(float)
    squares = np.repeat(counts.sum(axis=1)[:, None], 2, axis=1)
    np.testing.assert_array_equal(scores.effective_votes(counts, squares), counts)
    np.testing.assert_array_equal(
        scores.js_divergence_floor(counts, rater_squares=squares), scores.js_divergence_floor(counts)
    )
    mixed = np.concatenate([counts, [[2.5, 1.5, 1.0]]])
    shares = mixed / mixed.sum(axis=1, keepdims=True)
    assert np.isnan(scores.js_divergence_floor(mixed)).tolist() == [False] * 50 + [True]
    found = scores.compute_scores(shares, shares, counts=mixed)
    without = scores.compute_scores(shares[:50], shares[:50], counts=counts)
    for name in ("js_divergence_floor", "unbiased_brier_score", "js_divergence_above_floor"):
        assert found[name] == pytest.approx(without[name])
    known = scores.compute_scores(shares, shares, counts=mixed, rater_squares=[*squares, [5.0, 4.5]])
    assert known["js_divergence_floor"] != found["js_divergence_floor"]


LABELS = ["angry", "happy", "sad"]


@pytest.mark.parametrize(
    ("votes", "weights", "raters", "expected"),
    [
        (["sad", "sad", "angry"], None, None, (3, 3)),
        (["sad", "angry", "sad"], [0.5, 0.5, 1.0], None, (2, 1.5)),
        (["sad", "angry", "sad", "angry"], [0.5] * 4, None, (2, 1.0)),  # runs that sum to 1
        (["sad", "angry", "sad", "angry"], [0.5] * 4, ["a", "b", "a", "b"], (2, 2.0)),  # each gave one label twice
        (["sad", "sad"], [0.5, 0.5], ["a", "a"], (1, 1.0)),  # tags that were merged into one label
        (["sad", "angry"], [1.0, 1.0], ["a", "a"], (2, 2.0)),  # a whole vote is a rater's only one
        (["sad", "other", "angry"], [0.5, 0.5, 1.0], None, (1.25, 1.25)),  # half of a vote is outside
        (None, None, None, (0, 0)),
        (["sad", "angry", "happy"], [1 / 3] * 3, [None] * 3, (1, 1 / 3)),
    ],
)
def test_what_is_known_of_raters(votes, weights, raters, expected) -> None:
    columns = [[votes], LABELS, [weights], [raters]]
    assert tuple(rater_squares(*columns, outside="drop")[0]) == pytest.approx(expected)


def test_squares_that_do_not_fit_are_refused() -> None:
    counts = [[1.0, 1.0], [2.0, 0.0]]
    for squares, words in (([[2, 2]], "do not fit 2 rows"), ([[2, 3], [2, 2]], "at most their first")):
        with pytest.raises(ValueError, match=f"{words}.*Mend"):
            scores.js_divergence_floor(counts, rater_squares=squares)
    with pytest.raises(ValueError, match=r"1 rows of votes, but 1 of weights and 2 of raters"):
        rater_squares([["sad"]], LABELS, None, [None, None])
    with pytest.raises(ValueError, match=r"Row 'x': 1 votes but 2 raters.*Mend"):
        rater_squares([["sad"]], LABELS, None, [["a", "b"]], ids=["x"])
