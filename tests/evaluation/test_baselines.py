import numpy as np
import pytest

from hf_emo_dist.evaluation.baselines import SoftLogisticRegression, group_folds, tower_features
from hf_emo_dist.scores.divergences import jensen_shannon_divergence


@pytest.fixture
def problem():
    rng = np.random.default_rng(0)
    x = rng.standard_normal((120, 5))
    logits = x @ rng.standard_normal((5, 3))
    q = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    return x, q, np.repeat(np.arange(12), 10)


def test_regression_recovers_distributions_of_its_own_form(problem):
    x, q, _ = problem
    predicted = SoftLogisticRegression(l2=1e-7).fit(x[:80], q[:80]).predict(x[80:])
    assert predicted.sum(axis=1) == pytest.approx(1)
    assert np.abs(predicted - q[80:]).max() < 0.01


def test_a_strong_penalty_gives_the_mean(problem):
    x, q, _ = problem
    predicted = SoftLogisticRegression(l2=1e6).fit(x, q).predict(x)
    assert np.abs(predicted - q.mean(axis=0)).max() < 1e-3


def test_scale_and_constant_features_do_not_matter(problem):
    x, q, groups = problem
    plain = SoftLogisticRegression(l2=0.1).fit(x, q, groups).predict(x)
    scaled = np.hstack([x * 1000 + 5, np.ones((len(x), 1))])
    assert np.allclose(SoftLogisticRegression(l2=0.1).fit(scaled, q, groups).predict(scaled), plain, atol=1e-3)


def test_l2_is_chosen_by_speaker_and_is_reproducible(problem):
    x, q, groups = problem
    noise = np.random.default_rng(1).standard_normal((120, 60))
    on_noise = SoftLogisticRegression().fit(noise, q, groups)
    on_signal = SoftLogisticRegression().fit(x, q, groups)
    assert on_noise.chosen_l2 > on_signal.chosen_l2
    again = SoftLogisticRegression().fit(noise, q, groups)
    assert again.chosen_l2 == on_noise.chosen_l2 and np.array_equal(again.predict(noise), on_noise.predict(noise))


def test_a_speakers_own_features_do_not_choose_the_penalty():
    # each speaker's rows share a target and features that say nothing of other speakers: folds by row would favour
    # memorising
    rng = np.random.default_rng(2)
    groups = np.repeat(np.arange(10), 10)
    q = rng.dirichlet(np.ones(3), size=10)[groups]
    x = rng.standard_normal((10, 40))[groups]
    by_speaker = SoftLogisticRegression().fit(x, q, groups)
    by_row = SoftLogisticRegression().fit(x, q)
    assert by_speaker.chosen_l2 > by_row.chosen_l2


def test_the_layer_is_chosen_with_the_penalty_by_what_is_given_alone(problem):
    x, q, groups = problem
    noise = np.random.default_rng(3).standard_normal((120, 3, 5)).astype(np.float32)
    for informative in range(3):
        layers = noise.copy()
        layers[:, informative] = x
        fitted = SoftLogisticRegression().fit(layers[:80], q[:80], groups[:80])
        alone = SoftLogisticRegression().fit(layers[:80, informative], q[:80], groups[:80])
        assert (fitted.chosen_layer, fitted.chosen_l2) == (informative, alone.chosen_l2)
        assert np.array_equal(fitted.predict(layers[80:]), alone.predict(layers[80:, informative]))
    # with a penalty that is given, too; and of two layers that are alike, the lower
    layers = np.stack([noise[:, 0], x, x], axis=1)
    assert SoftLogisticRegression(l2=0.1).fit(layers, q, groups).chosen_layer == 1
    assert SoftLogisticRegression().fit(x, q, groups).chosen_layer is None


def test_a_layer_that_knows_the_speakers_is_not_taken():
    # layer 0 says who speaks, and so half of each target by heart; layer 1 says a little of everybody's
    rng = np.random.default_rng(0)
    groups = np.repeat(np.arange(16), 10)
    heard = rng.standard_normal((160, 30)) * (np.arange(30) < 5)
    said = np.exp(2 * heard @ rng.standard_normal((30, 3)))
    q = 0.7 * rng.dirichlet(np.ones(3), size=16)[groups] + 0.3 * said / said.sum(axis=1, keepdims=True)
    layers = np.stack([rng.standard_normal((16, 30))[groups], heard], axis=1)
    assert SoftLogisticRegression().fit(layers, q, groups).chosen_layer == 1
    assert SoftLogisticRegression().fit(layers, q).chosen_layer == 0


def test_folds_hold_out_whole_groups_once():
    groups = np.array(list("aabbccdde"))
    tested = []
    for fit, check in group_folds(groups, 3, seed=1):
        assert not set(groups[fit]) & set(groups[check])
        tested += check.tolist()
    assert sorted(tested) == list(range(9))


def test_what_cannot_be_fitted_is_refused(problem):
    x, q, _ = problem
    with pytest.raises(ValueError, match="finite"):
        SoftLogisticRegression(l2=1.0).fit(np.full_like(x, np.nan), q)
    with pytest.raises(ValueError, match="shapes"):
        SoftLogisticRegression(l2=1.0).fit(x[:-1], q)
    with pytest.raises(ValueError, match="fit"):
        SoftLogisticRegression().predict(x)
    with pytest.raises(ValueError, match="over 0"):
        SoftLogisticRegression(l2=0.0)
    only_one = SoftLogisticRegression().fit(x, q, np.zeros(len(x)))
    assert jensen_shannon_divergence(only_one.predict(x), q).mean() < 0.1
    assert SoftLogisticRegression().fit(np.stack([x, x, x], 1), q, np.zeros(len(x))).chosen_layer == 1
    with pytest.raises(ValueError, match="shapes"):
        SoftLogisticRegression().fit(x[:, :, None, None], q)


def test_features_do_not_depend_on_batching_or_padding(tones_checkpoint, data_folder):
    from hf_emo_dist import load_emotion_dataset, load_emotion_model

    model, processor = load_emotion_model(tones_checkpoint)
    rows = load_emotion_dataset(data_folder, "test")
    together = tower_features(model, processor, rows, batch_size=6, progress=False)
    alone = tower_features(model, processor, rows, batch_size=1, progress=False)
    assert together.shape == (6, 16)
    assert np.abs(together - alone).max() < 1e-4
    assert len(model.model.audio_tower.layers[-1]._forward_hooks) == 0


def test_windows_of_a_long_clip_are_averaged_by_duration(tones_checkpoint):
    from hf_emo_dist import load_emotion_model

    model, processor = load_emotion_model(tones_checkpoint)
    processor.long_audio = "window"
    rng = np.random.default_rng(0)
    clip = rng.standard_normal(16000 * 31).astype(np.float32) * 0.1
    rows = [{"id": "long", "audio": {"array": clip, "sampling_rate": 16000}}]
    rows.append({"id": "short", "audio": {"array": clip[:16000], "sampling_rate": 16000}})
    features = tower_features(model, processor, rows, progress=False)
    assert features.shape == (2, 16)
    assert np.isfinite(features).all()
