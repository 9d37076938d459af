import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.training.sampler import EmotionSampler, balancing_weights

SIZES = st.integers(1, 400)
UNITS = st.integers(1, 9)


def durations_of(size, seed):
    return np.random.default_rng(seed).uniform(0.5, 30, size)


@settings(max_examples=60, deadline=None)
@given(SIZES, UNITS, st.integers(0, 50), st.integers(0, 5), st.booleans())
def test_an_epoch_is_a_permutation_and_a_function_of_seed_and_epoch(size, unit, seed, epoch, grouped):
    durations = durations_of(size, 1) if grouped else None

    def order(seed, epoch):
        sampler = EmotionSampler(size, unit, durations, seed=seed)
        sampler.set_epoch(epoch)
        np.random.seed(epoch)
        return list(sampler)

    drawn = order(seed, epoch)
    assert sorted(drawn) == list(range(size)) and len(EmotionSampler(size, unit)) == size
    assert drawn == order(seed, epoch)
    if size > (20 * unit if grouped else 20):  # with fewer there is a chance that two orders are the same
        assert drawn != order(seed, epoch + 1) and drawn != order(seed + 1, epoch)


@settings(max_examples=60, deadline=None)
@given(SIZES, UNITS, st.integers(0, 50))
def test_units_are_whole_and_the_short_one_is_last(size, unit, seed):
    durations = durations_of(size, seed)
    order = list(EmotionSampler(size, unit, durations, seed=seed))
    units = [order[i : i + unit] for i in range(0, size, unit)]
    assert all(len(part) == unit for part in units[:-1]) and sorted(order) == list(range(size))


def test_grouping_saves_padding_and_still_shuffles():
    durations = durations_of(512, 0)

    def padding(order):
        parts = np.asarray(order).reshape(-1, 8)
        return (durations[parts].max(1, keepdims=True) - durations[parts]).sum()

    grouped = list(EmotionSampler(512, 8, durations, seed=0))
    assert padding(grouped) < 0.15 * padding(list(EmotionSampler(512, 8, seed=0)))
    means = durations[np.asarray(grouped).reshape(-1, 8)].mean(1)
    assert abs(np.corrcoef(means, np.arange(len(means)))[0, 1]) < 0.5


@settings(max_examples=40, deadline=None)
@given(st.integers(5, 80), st.integers(2, 6), st.integers(0, 100))
def test_balancing_weights_give_every_emotion_the_same_mass_where_that_is_possible(rows, k, seed):
    rng = np.random.default_rng(seed)
    one_hot = np.eye(k)[np.r_[np.arange(k), rng.integers(0, k, rows)]]
    weights = balancing_weights(one_hot)
    assert weights.sum() == pytest.approx(1.0) and (weights > 0).all()
    np.testing.assert_allclose(weights @ one_hot, 1 / k)


def test_an_emotion_that_nobody_heard_is_no_trouble():
    weights = balancing_weights(np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 1.0, 0.0]]))
    np.testing.assert_allclose(weights, [0.5, 0.25, 0.25])


def test_balanced_draws_reach_the_expected_mass():
    targets = np.eye(3)[[0] * 900 + [1] * 80 + [2] * 20]
    sampler = EmotionSampler(1000, 8, durations_of(1000, 0), balancing_weights(targets), seed=0)
    drawn = []
    for epoch in range(5):
        sampler.set_epoch(epoch)
        drawn += list(sampler)
    assert len(drawn) == 5000
    np.testing.assert_allclose(targets[drawn].mean(0), 1 / 3, atol=0.03)


def test_epochs_of_a_small_data_set_have_other_batches():
    durations = np.random.default_rng(0).uniform(1, 9, size=400)
    sampler = EmotionSampler(400, unit=16, durations=durations, seed=0)

    def batches(epoch):
        sampler.set_epoch(epoch)
        order = list(sampler)
        return {frozenset(order[i : i + 16]) for i in range(0, 400, 16)}

    assert not batches(0) & batches(1)
    spread = [np.ptp(durations[list(batch)]) for batch in batches(0)]
    assert np.mean(spread) < 4  # of 8: clips of like duration still go together
