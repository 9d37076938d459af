import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.audio.decoding import AudioError
from hf_emo_dist.augmentation.mixing import (
    BetweenClassMixer,
    PaperMixer,
    a_weighted_level,
    between_class_weight,
    lay_out,
    mix_distributions,
)

clips = st.builds(
    lambda seed, length, gain: (gain * np.random.default_rng(seed).standard_normal(length)).clip(-1, 1).astype("f4"),
    st.integers(0, 1000),
    st.integers(321, 6000),
    st.floats(0.01, 1.0),
)
ratios = st.floats(1e-6, 1 - 1e-6)


@settings(max_examples=60, deadline=None)
@given(clips, clips, ratios, st.sampled_from(["align", "pad", "loop"]), st.sampled_from([0.0, 0.01]))
def test_a_mixture_is_audio_as_long_as_the_longer(a, b, ratio, lengths, fade):
    mixed = BetweenClassMixer(lengths, fade)(a, b, ratio)
    assert mixed.dtype == np.float32 and len(mixed) == max(len(a), len(b))
    assert np.isfinite(mixed).all() and np.abs(mixed).max() <= 1.0
    np.testing.assert_allclose(mixed, BetweenClassMixer(lengths, fade)(b, a, 1 - ratio), atol=2e-5)


@settings(max_examples=30, deadline=None)
@given(clips, clips, ratios)
def test_the_papers_mixture_is_cut_and_linear(a, b, ratio):
    length = min(len(a), len(b))
    expected = np.float32(ratio) * a[:length] + np.float32(1 - ratio) * b[:length]
    np.testing.assert_allclose(PaperMixer()(a, b, ratio), expected, atol=1e-6)


@settings(max_examples=50, deadline=None)
@given(st.floats(-60, 0), st.floats(-60, 0), st.floats(0.01, 0.99))
def test_listeners_hear_the_proportion_of_the_label(level_1, level_2, ratio):
    t = between_class_weight(level_1, level_2, ratio)
    heard_1, heard_2 = t * 10 ** (level_1 / 20), (1 - t) * 10 ** (level_2 / 20)
    assert heard_1 / (heard_1 + heard_2) == pytest.approx(ratio, rel=1e-6)


def test_loud_and_soft_clips_come_out_as_the_label_says():
    time = np.arange(16000) / 16000
    loud, soft = (g * np.sin(2 * np.pi * f * time).astype("f4") for g, f in ((0.5, 700), (0.01, 1900)))
    spectrum = np.abs(np.fft.rfft(BetweenClassMixer()(loud, soft, 0.5)))
    weight = 10 ** ((a_weighted_level(soft * 50) - a_weighted_level(loud)) / 20)  # of the ear, between the two tones
    assert spectrum[700] / (spectrum[1900] * weight) == pytest.approx(1.0, rel=0.02)
    linear = np.abs(np.fft.rfft(PaperMixer()(loud, soft, 0.5)))
    assert linear[700] / linear[1900] == pytest.approx(50, rel=0.02)  # the paper's way: the soft one is gone


# IEC 61672-1, table 3, in dB
@pytest.mark.parametrize(
    ("frequency", "gain"), [(125, -16.1), (250, -8.6), (500, -3.2), (1000, 0.0), (2000, 1.2), (4000, 1.0)]
)
def test_levels_are_a_weighted(frequency, gain):
    tone = 0.5 * np.sin(2 * np.pi * frequency * np.arange(16000) / 16000).astype("f4")
    assert a_weighted_level(tone) == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)) + gain, abs=0.2)


def test_pauses_do_not_make_a_clip_softer():
    tone = 0.3 * np.sin(0.4 * np.arange(16000)).astype("f4")
    assert a_weighted_level(np.pad(tone, (0, 64000))) == pytest.approx(a_weighted_level(tone), abs=0.1)
    assert a_weighted_level(np.zeros(10, "f4")) == -np.inf


def burst(length, start, stop):
    wave = np.zeros(length, "f4")
    wave[start:stop] = np.random.default_rng(0).uniform(-0.5, 0.5, stop - start)
    return wave


def test_the_rules_for_length():
    long, short = burst(32000, 20000, 24000), burst(6000, 1000, 5000)
    whole, padded = lay_out(long, short, "pad")
    assert whole is long and padded[:6000].tolist() == short.tolist() and not padded[6000:].any()
    _, looped = lay_out(long, short, "loop")
    np.testing.assert_array_equal(looped, np.tile(short, 6)[:32000])
    _, aligned = lay_out(long, short, "align")
    loud = np.flatnonzero(aligned)
    assert abs(loud[0] - 20000) < 400 and len(loud) == len(np.flatnonzero(short))  # speech over speech, whole
    first, second = lay_out(short, long, "align")
    assert second is long and np.array_equal(first, aligned)


@pytest.mark.parametrize("lengths", ["align", "pad", "loop"])
def test_a_clip_of_a_fifth_of_a_second_beside_one_of_25(lengths):
    long, short = burst(25 * 16000, 16000, 300000), burst(3200, 0, 3200)
    mixed = BetweenClassMixer(lengths)(long, short, 0.4)
    assert len(mixed) == len(long) and np.isfinite(mixed).all() and np.abs(mixed).max() <= 1


def test_a_fade_leaves_no_step():
    long, short = np.zeros(8000, "f4"), np.full(2000, 0.5, "f4")
    long[4000:] = 0.4
    jump = [np.abs(np.diff(lay_out(long, short, "align", fade)[1])).max() for fade in (0, 160)]
    assert jump[0] == 0.5 and jump[1] < 0.01
    looped = lay_out(np.ones(9000, "f4"), short, "loop", 160)[1]
    assert np.abs(np.diff(looped)).max() < 0.01 and abs(looped[2500:7500] - 0.5).max() < 1e-6


def test_silence_cannot_be_mixed_in_proportion():
    with pytest.raises(AudioError, match="silent") as caught:
        BetweenClassMixer()(np.zeros(1000, "f4"), np.ones(1000, "f4"), 0.5)
    assert caught.value.kind == "silent"
    assert not PaperMixer()(np.zeros(1000, "f4"), np.zeros(1000, "f4"), 0.5).any()


def test_what_would_clip_is_turned_down_as_a_whole():
    square = np.sign(np.sin(0.3 * np.arange(4000))).astype("f4")
    mixed = BetweenClassMixer()(square, square, 0.5)
    assert np.abs(mixed).max() <= 1 and np.corrcoef(mixed, square)[0, 1] > 0.999999


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 1000), ratios)
def test_distributions_are_mixed_exactly(seed, ratio):
    p, q = np.random.default_rng(seed).dirichlet(np.ones(5), size=2)
    mixed = mix_distributions(p, q, ratio)
    assert abs(mixed.sum() - 1) < 1e-12
    np.testing.assert_allclose(mixed, ratio * p + (1 - ratio) * q, atol=1e-15)


@pytest.mark.parametrize("change", [{"lengths": "stretch"}, {"fade_seconds": -1.0}])
def test_settings_that_do_not_exist(change):
    with pytest.raises(ValueError, match=next(iter(change))):
        BetweenClassMixer(**change)
