"""The likelihood, its derivatives, and what the fit makes of annotators whose truth is known."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import gammaln
from votes_of_models import EMOTIONS, K, drawn

from hf_emo_dist.combining.choosing import choose, fit_recipe, folds_of
from hf_emo_dist.combining.correction import fit_correction
from hf_emo_dist.combining.evidence import Answers, Evidence
from hf_emo_dist.combining.fitting import (
    PosteriorFit,
    assumed_shape,
    fit_alone,
    fit_posterior,
    fit_weight,
    pooled_counts,
)
from hf_emo_dist.combining.likelihood import VoteLikelihood, agreement, agreement_penalty
from hf_emo_dist.combining.posterior import across_annotators, row_by_row


def slope(function, x, step=1e-5):
    """Central differences."""
    return np.array([(function(x + step * e) - function(x - step * e)) / (2 * step) for e in np.eye(len(x))])


@given(seed=st.integers(0, 10_000), whole=st.booleans())
@settings(max_examples=30, deadline=None)
def test_likelihood_is_the_gamma_functions_and_its_derivatives_are_right(seed, whole):
    rng = np.random.default_rng(seed)
    votes = rng.multinomial(4, np.full(K, 0.25), 5) * (1.0 if whole else 0.5)
    votes[0] = 0
    alpha = rng.gamma(1.0, 2.0, (5, K)) + 0.05
    likelihood = VoteLikelihood(votes)
    expected = (gammaln(alpha + votes) - gammaln(alpha)).sum(1)
    expected -= gammaln(alpha.sum(1) + votes.sum(1)) - gammaln(alpha.sum(1))
    np.testing.assert_allclose(likelihood.value(alpha), expected, atol=1e-10)
    assert likelihood.value(alpha)[0] == 0
    gradient = likelihood.value_and_gradient(alpha)[1]
    numeric = slope(lambda x: likelihood.value(x.reshape(5, K)).sum(), alpha.ravel())
    np.testing.assert_allclose(gradient.ravel(), numeric, atol=1e-5)
    penalty = slope(lambda x: agreement_penalty(x.reshape(5, K), 0.3, 0.3)[0], alpha.ravel())
    np.testing.assert_allclose(agreement_penalty(alpha, 0.3, 0.3)[1].ravel(), penalty, atol=1e-5)


def test_agreement_of_one_dirichlet_distribution_is_that_of_its_total():
    alpha = np.tile([0.5, 1.0, 0.2, 1.3], (7, 1))
    assert agreement(alpha)[0] == pytest.approx(1 / (1 + 3.0))


@pytest.mark.parametrize("free", [False, True])
@pytest.mark.parametrize("foci", [None, 3.0])
@pytest.mark.parametrize("whole", [True, False])
def test_derivatives_of_the_objective(free, foci, whole):
    rng = np.random.default_rng(0)
    _, human, answers, _ = drawn(40, seed=1)
    other = drawn(40, answers=3, seed=2)[2]
    other[:15] = 0  # silent in some rows
    one = Answers.of_counts(answers)
    split = rng.integers(0, 2, len(one.row))
    one = Answers(one.number, one.mean, one.row, one.answer, split, ("words", "voice"))
    evidence = Evidence(human if whole else human * 0.7, {"one": one, "two": Answers.of_counts(other)})
    alone = fit_alone(evidence.human)
    fit = PosteriorFit(evidence, alone, assumed_shape(evidence), 0.3, rng.random(40), free, foci, complete=25)
    x = fit.start() + 0.1 * rng.normal(size=len(fit.start()))
    np.testing.assert_allclose(fit.objective(x)[1], slope(lambda y: fit.objective(y)[0], x), atol=2e-6)
    # and the objective's map is the map that is used
    weights = rng.random((6, 2)) * (rng.random((6, 2)) > 0.3)
    together, _, by_weight, by_across = across_annotators(weights, 0.4)
    for a in range(2):
        shifted = weights.copy()
        shifted[:, a] += 1e-6
        some = weights.sum(1) > 0
        numeric = (across_annotators(shifted, 0.4)[0] - together) / 1e-6
        np.testing.assert_allclose(by_weight[some, a], numeric[some], atol=1e-4)
    np.testing.assert_allclose(by_across, (across_annotators(weights, 0.4 + 1e-6)[0] - together) / 1e-6, atol=1e-5)


def test_the_corrections_derivatives_are_at_a_minimum():
    _, human, answers, _ = drawn(300, seed=3)
    evidence = Evidence(human, {"model": Answers.of_counts(answers)})
    fitted = fit_posterior(evidence)
    full = {"model": 8.0}
    likelihood = VoteLikelihood(human)

    def loss(coefficients, precision=100.0):
        correction.coefficients = coefficients.reshape(-1, K)
        alpha = correction.apply(fitted.prior(evidence), evidence, fitted)
        return 0.5 * precision * (coefficients**2).sum() - likelihood.value(alpha).sum()

    correction = fit_correction(evidence, fitted, full, 100.0)
    found = correction.coefficients.ravel().copy()
    assert np.abs(found).max() > 1e-3
    assert np.abs(slope(loss, found, 1e-4)).max() < 0.1 < np.abs(slope(loss, 0 * found, 1e-4)).max()


# --- what is made of annotators


def target_error(alpha, truth):
    return float((((alpha / alpha.sum(1, keepdims=True)) - truth) ** 2).sum(1).mean())


CONFUSED = [[0.7, 0.1, 0.1, 0.1], [0.1, 0.5, 0.3, 0.1], [0.0, 0.1, 0.9, 0.0], [0.3, 0.0, 0.2, 0.5]]
PERMUTED = np.roll(np.eye(K), 1, axis=1)


@pytest.mark.parametrize(
    ("name", "confusion", "rows", "human", "most"),
    [  # most: error on unseen rows, over that of smoothed human votes
        ("good", None, 600, 3, 0.75),
        ("good, one vote", None, 600, 1, 0.75),
        ("confused", CONFUSED, 600, 3, 0.85),
        ("permuted", PERMUTED, 600, 3, 0.75),
        ("worthless", np.full((K, K), 1 / K), 600, 3, 1.02),
        ("worthless, one vote", np.full((K, K), 1 / K), 600, 1, 1.05),
        ("worthless, few rows", np.full((K, K), 1 / K), 60, 3, 1.06),
    ],
)
def test_targets_against_smoothed_human_votes(name, confusion, rows, human, most):
    _, votes, answers, _ = drawn(rows, human, seed=4, confusion=confusion)
    truth, unseen, said, _ = drawn(1500, human, seed=5, confusion=confusion)
    fitted = fit_posterior(Evidence(votes, {"model": Answers.of_counts(answers)}))
    alpha = fitted.prior(Evidence(unseen, {"model": Answers.of_counts(said)})) + unseen
    smoothed = fit_alone(drawn(rows, 3, seed=4, confusion=confusion)[1]) + unseen
    assert target_error(alpha, truth) <= most * target_error(smoothed, truth)
    pooled = unseen + said
    assert target_error(alpha, truth) < target_error(pooled, truth)


def test_a_worthless_annotator_takes_nothing_from_a_good_one():
    _, human, answers, groups = drawn(800, seed=6)
    noise = drawn(800, seed=7, confusion=np.full((K, K), 1 / K))[2]
    one = fit_posterior(Evidence(human, {"good": Answers.of_counts(answers)}, groups))
    both = fit_posterior(
        Evidence(human, {"good": Answers.of_counts(answers), "noise": Answers.of_counts(noise)}, groups)
    )
    assert both.annotators["noise"].weight(np.array([8.0]))[0] < 0.1
    assert both.annotators["good"].weight(np.array([8.0]))[0] == pytest.approx(
        one.annotators["good"].weight(np.array([8.0]))[0], rel=0.1
    )


def test_the_same_annotator_under_two_focus_names_changes_no_target():
    _, human, answers, groups = drawn(500, seed=8)
    one = Answers.of_counts(answers)
    names = np.random.default_rng(0).integers(0, 2, len(one.row))
    two = Answers(one.number, one.mean, one.row, one.answer, names, ("words", "voice"))
    found = []
    for answers in (one, two):
        evidence = Evidence(human, {"model": answers}, groups).in_order()
        folds, _ = folds_of(evidence, 0)
        recipe = choose(evidence, folds, 0.35, 0)[0].recipe
        assert recipe.foci is None
        found.append(fit_recipe(evidence, recipe, 0.35, 0).prior(Evidence(human, {"model": answers}, groups)))
    np.testing.assert_array_equal(*found)


def test_foci_that_truly_differ_get_maps_of_their_own():
    rows = 1500
    truth, human, _, groups = drawn(rows, seed=9)
    rng = np.random.default_rng(9)
    right = np.array([rng.multinomial(5, shares) for shares in truth])
    wrong = np.array([rng.multinomial(5, shares @ PERMUTED) for shares in truth])
    parts = [Answers.of_counts(right), Answers.of_counts(wrong)]
    row = np.concatenate([part.row for part in parts])
    focus = np.repeat([0, 1], [len(part.row) for part in parts])
    both = Answers.of_answers(rows, row, np.concatenate([p.answer for p in parts]), focus, ("words", "voice"))
    evidence = Evidence(human, {"model": both}, groups).in_order()
    recipe = choose(evidence, folds_of(evidence, 0)[0], 0.35, 0)[0].recipe
    assert recipe.foci is not None
    maps = fit_recipe(evidence, recipe, 0.35, 0).posterior.annotators["model"].by_focus
    assert (maps["words"].argmax(axis=1) == np.arange(K)).all()
    assert (maps["voice"].argmax(axis=1) == PERMUTED.T.argmax(axis=1)).all()


def test_answers_that_repeat_one_another_are_told_from_new_ones():
    rng = np.random.default_rng(10)
    truth = rng.dirichlet(np.full(K, 0.5), 1500)
    human = rng.multinomial(3, truth).astype(float)
    alone = np.array([rng.multinomial(1, shares) for shares in truth])
    repeat = {}
    for name, counts in (("new", rng.multinomial(8, truth)), ("again", 8 * alone)):
        fitted = fit_posterior(Evidence(human, {name: Answers.of_counts(counts)}).in_order())
        repeat[name] = fitted.annotators[name].repeat
    assert repeat["new"] < 0.15 < 0.6 < repeat["again"]


def test_one_weight_for_all_is_fitted_and_is_nothing_for_noise():
    _, human, answers, _ = drawn(600, seed=11)
    noise = drawn(600, seed=12, confusion=np.full((K, K), 1 / K))[2]
    good = fit_weight(Evidence(human, {"a": Answers.of_counts(answers)}))[1]
    bad = fit_weight(Evidence(human, {"a": Answers.of_counts(noise)}))[1]
    assert bad < 0.02 < 0.1 < good < 1
    np.testing.assert_array_equal(pooled_counts(Evidence(human, {"a": Answers.of_counts(answers)})), answers)


def test_a_row_alone_is_a_row_among_others():
    rng = np.random.default_rng(13)
    left, right = rng.random((50, 6)), rng.random((6, 6))
    np.testing.assert_array_equal(row_by_row(left, right)[7:8], row_by_row(left[7:8], right))
    np.testing.assert_allclose(row_by_row(left, right), left @ right)


def test_folds_keep_groups_together_whatever_the_order():
    _, human, answers, groups = drawn(300, seed=14, speakers=7)
    evidence = Evidence(human, {"model": Answers.of_counts(answers)}, groups)
    fold, table = folds_of(evidence, 0)
    assert set(fold) == set(range(5)) and len(table) == 7
    assert all(len(set(fold[groups == name])) == 1 for name in set(groups))
    order = np.random.default_rng(0).permutation(300)
    np.testing.assert_array_equal(folds_of(evidence.select(order), 0)[0], fold[order])
    assert len(EMOTIONS) == K
