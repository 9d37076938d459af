"""What answers are worth in human votes, how many to buy, and where the next human vote goes."""

import itertools

import numpy as np
import pytest
from datasets import Dataset
from hypothesis import given, settings
from hypothesis import strategies as st
from votes_of_models import EMOTIONS, K, columns_of, drawn, entry

from hf_emo_dist import VoteCombiner, next_votes, recommend_n
from hf_emo_dist.combining.allocation import allocate
from hf_emo_dist.combining.evidence import Answers, Evidence
from hf_emo_dist.combining.fitting import fit_posterior
from hf_emo_dist.combining.recommending import repeated
from hf_emo_dist.combining.worth import expected_error, worth_in_votes


@pytest.fixture(scope="module")
def pilot():
    _, human, answers, groups = drawn(500, seed=1)
    return Dataset.from_dict(columns_of(human, answers, groups))


@pytest.fixture(scope="module")
def fitted(pilot):
    return VoteCombiner(emotions=EMOTIONS).fit(pilot)


def test_expected_error_is_the_variance_of_a_dirichlet_distribution():
    alpha = np.array([2.0, 1.0, 0.5, 3.0])
    drawn_ones = np.random.default_rng(0).dirichlet(alpha, 200_000)
    variance = ((drawn_ones - alpha / alpha.sum()) ** 2).sum(1).mean()
    assert expected_error(alpha[None])[0] == pytest.approx(variance, rel=0.01)


def test_answers_that_are_votes_of_people_are_worth_what_they_are():
    """An annotator whose answers are independent votes of listeners: n of them are worth n human votes."""
    rng = np.random.default_rng(2)
    truth = rng.dirichlet(np.array([0.5, 0.4, 1.0, 0.5]), 6000)
    human, more = (np.array(rng.multinomial(n, truth), dtype=float) for n in (5, 4))
    answers = Answers.of_counts(more)
    found = fit_posterior(Evidence(human, {"people": answers}).in_order())
    for number in (1, 2, 4):
        assert worth_in_votes(found, "people", answers, number) == pytest.approx(number, rel=0.2)


def test_worth_grows_with_answers_and_is_nothing_for_noise(fitted):
    worth = [fitted.fitted.worth["model"][number] for number in ("1", "5", "10")]
    assert 0 < worth[0][0] < worth[1][0] < worth[2][0]
    assert all(low <= value <= high for value, low, high in worth)
    _, human, _, groups = drawn(500, seed=1)
    noise = drawn(500, seed=3, confusion=np.full((K, K), 1 / K))[2]
    noisy = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"noise": noise}, groups=groups)
    assert noisy.fitted.worth["noise"]["10"][0] < 0.1
    assert "is heard as" not in noisy.summary() and "is heard as" in fitted.summary()


@pytest.mark.parametrize("seed", range(3))
def test_the_summary_says_whether_annotators_help(seed):
    _, human, answers, groups = drawn(600, seed=10 + seed, speakers=20)
    noise = drawn(600, seed=20 + seed, confusion=np.full((K, K), 1 / K))[2]
    good, bad = (
        VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": counts}, groups=groups)
        for counts in (answers, noise)
    )
    assert "The annotators help: +" in good.summary() and "kappa" in good.summary()
    assert "The annotators help: +" not in bad.summary()
    assert good.fitted.choice.gain["human"][1] > 0
    assert good.fitted.choice.per_vote["posterior"][0] > good.fitted.choice.per_vote["pool"][0]
    none = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {}, groups=groups)
    assert "There are no annotators" in none.summary()
    one = VoteCombiner(emotions=EMOTIONS).fit_counts(human, {"model": answers}, groups=["s"] * 600)
    assert "only one speaker" in one.summary()


def test_how_many_answers_to_buy(fitted, pilot):
    (found,) = recommend_n(fitted, pilot, num_resamples=5, most=30)
    assert found.annotator == "model" and 1 <= found.low <= found.number <= found.high <= 30
    steps = np.diff([0.0, *found.worth])
    assert steps[found.number - 1] >= found.least > steps[-1]
    assert found.worth[-1] < found.limit and found.another == 2 * found.worth[found.number - 1]
    assert "answers an utterance" in str(found)
    (more,) = recommend_n(fitted, pilot, least=0.01, num_resamples=0, most=60)
    assert more.number > found.number
    (none,) = recommend_n(fitted, pilot, least=5.0, num_resamples=0)
    assert none.number == 0 and "no answer is worth 5 human votes" in str(none)


def test_a_number_is_not_recommended_where_it_cannot_be_told(fitted, pilot):
    single = pilot.map(lambda row: {"synthetic_annotations": [entry("sad")]})
    combiner = VoteCombiner(emotions=EMOTIONS).fit(single)
    assert "assumed: no row has several single answers" in combiner.summary() or "is heard" not in combiner.summary()
    with pytest.raises(ValueError, match=r"No annotator answered twice.*Mend"):
        recommend_n(combiner, single)
    with pytest.raises(ValueError, match=r"no posterior.*Mend"):
        recommend_n(VoteCombiner(emotions=EMOTIONS, method="weighted").fit(pilot), pilot)


def test_rows_that_are_drawn_twice():
    _, human, answers, groups = drawn(20, seed=4)
    evidence = Evidence(human, {"a": Answers.of_counts(answers), "b": Answers.of_counts(answers * 0.5)}, groups)
    rows = np.array([3, 3, 0, 19])
    found = repeated(evidence, rows)
    np.testing.assert_array_equal(found.human, human[rows])
    again = Answers.of_answers(4, found.annotators["a"].row, found.annotators["a"].answer)
    np.testing.assert_array_equal(again.mean, evidence.annotators["a"].mean[rows])
    np.testing.assert_array_equal(again.number, answers.sum(1)[rows])


# --- where the next human vote goes


@given(seed=st.integers(0, 1000), budget=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_allocation_does_better(seed, budget):
    alpha = np.random.default_rng(seed).gamma(1.0, 2.0, (3, K)) + 0.05
    votes, gain = allocate(alpha, budget)
    error, total = expected_error(alpha), alpha.sum(1)
    assert votes.sum() == budget
    np.testing.assert_allclose(gain, error - error * total / (total + votes), atol=1e-12)
    for other in itertools.product(range(budget + 1), repeat=3):
        if sum(other) == budget:
            assert (error * np.array(other) / (total + np.array(other))).sum() <= gain.sum() + 1e-12


def test_the_next_votes_go_where_people_are_least_sure(fitted, pilot):
    found = next_votes(pilot, fitted, budget=40)
    assert found.column_names == ["id", "votes", "expected_gain"]
    assert sum(found["votes"]) == 40 and found["expected_gain"][:] == sorted(found["expected_gain"], reverse=True)
    shuffled = pilot.shuffle(seed=1)
    again = next_votes(shuffled, fitted, budget=40, most_per_row=1)
    assert set(again["votes"]) == {1} and len(again) == 40
    mixed = pilot.add_column("mixed_from", [["a", "b"]] * len(pilot))
    assert len(next_votes(mixed, fitted, budget=3)) == 0


def test_more_votes_than_may_be_asked(fitted, pilot):
    found = next_votes(pilot.select(range(3)), fitted, budget=100, most_per_row=2)
    assert found["votes"][:] == [2, 2, 2]


@pytest.mark.parametrize(
    ("method", "budget", "message"), [("pool", 5, "do not say how sure"), ("posterior", 0, "asks for no vote")]
)
def test_next_votes_that_cannot_be(method, budget, message, pilot):
    with pytest.raises(ValueError, match=f"{message}.*Mend"):
        next_votes(pilot, VoteCombiner(emotions=EMOTIONS, method=method).fit(pilot), budget)
