"""A temperature fitted on votes: what it should be, and where there is none."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize_scalar

from hf_emo_dist.scores.likelihood import log_likelihood
from hf_emo_dist.scores.temperature import MIN_ROWS, TEMPERATURE_RANGE, at_temperature, fit_temperature


def simulated(rows, votes=5, seed=0, k=4):
    rng = np.random.default_rng(seed)
    true = rng.dirichlet(np.full(k, 0.8), rows)
    return true, rng.multinomial(votes, true)


@pytest.mark.parametrize("wrong", [0.4, 1.0, 2.5])
def test_it_undoes_the_temperature_that_made_predictions_wrong(wrong):
    true, counts = simulated(4000)
    fit = fit_temperature(at_temperature(true, wrong), counts)
    assert fit.temperature * wrong == pytest.approx(1, rel=0.05)
    assert (fit.rows, fit.votes, fit.at_bound) == (4000, 20000, False)
    assert fit.log_likelihood_after >= fit.log_likelihood_before
    assert (fit.log_likelihood_after > fit.log_likelihood_before + 0.01) == (wrong != 1.0)


def test_it_is_the_maximum_that_a_general_optimiser_finds():
    true, counts = simulated(200, seed=3)
    predicted = at_temperature(true, 0.6)
    counts = counts * np.linspace(0.1, 3.0, len(counts))[:, None]  # weighted votes

    def loss(log_temperature):
        return -log_likelihood(at_temperature(predicted, math.exp(log_temperature)), counts)[0].sum()

    found = minimize_scalar(loss, bounds=(math.log(0.1), math.log(10)), method="bounded", options={"xatol": 1e-9})
    assert fit_temperature(predicted, counts).temperature == pytest.approx(math.exp(found.x), rel=1e-4)


def test_rows_without_votes_say_nothing():
    true, counts = simulated(100)
    more, none = np.concatenate([true, true[::-1]]), np.zeros_like(counts)
    assert fit_temperature(more, np.concatenate([counts, none])) == fit_temperature(true, counts)


def test_it_is_bounded_and_one_where_nothing_is_known():
    counts = simulated(100)[1]
    against = fit_temperature(np.tile([0.97, 0.01, 0.01, 0.01], (100, 1)), np.tile([0, 2, 2, 2], (100, 1)))
    assert against.temperature == TEMPERATURE_RANGE[1] and against.at_bound
    sure = fit_temperature(np.tile([0.4, 0.2, 0.2, 0.2], (100, 1)), np.tile([5, 0, 0, 0], (100, 1)))
    assert sure.temperature == TEMPERATURE_RANGE[0] and sure.at_bound
    assert fit_temperature(np.full((100, 4), 0.25), counts).temperature == 1.0


@pytest.mark.parametrize(
    ("rows", "votes", "words"), [(50, 0, "No row has a vote"), (MIN_ROWS - 1, 3, "Only 19 rows"), (0, 3, "No row")]
)
def test_too_little_to_fit_on_is_refused(rows, votes, words):
    with pytest.raises(ValueError, match=f"{words}.*Mend"):
        fit_temperature(np.full((rows, 3), 1 / 3), np.tile([votes, 0, 0], (rows, 1)))


@given(st.integers(0, 1000), st.floats(0.2, 5), st.floats(0.2, 5))
@settings(max_examples=40, deadline=None)
def test_temperatures_multiply_and_keep_the_order(seed, first, second):
    p = np.random.default_rng(seed).dirichlet(np.ones(5), 6)
    once = at_temperature(p, first * second)
    np.testing.assert_allclose(at_temperature(at_temperature(p, first), second), once, atol=1e-9)
    np.testing.assert_array_equal(once.argsort(axis=1, kind="stable")[:, -1], p.argsort(axis=1, kind="stable")[:, -1])
    np.testing.assert_allclose(once.sum(axis=1), 1)


def test_one_changes_nothing_and_zeros_stay():
    p = np.array([[0.0, 0.25, 0.75], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(at_temperature(p, 1.0), p)
    assert at_temperature(p, 3.0)[0, 0] < 1e-9 and at_temperature(p[0], 3.0).shape == (3,)


@pytest.mark.parametrize("bad", [0.0, -1.0, math.nan, math.inf])
def test_a_temperature_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="Mend"):
        at_temperature([0.5, 0.5], bad)
