"""The simulated corpus: its rows, that prosody follows the emotions, and that unseen speakers can be read."""

from __future__ import annotations

import numpy as np
import pytest

from hf_emo_dist.audio.check import check_audio
from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.corpora.simulated import SIMULATED_EMOTIONS, emotion_prosody, simulate_corpus, simulated_voice
from hf_emo_dist.corpora.synthesis import Prosody, Voice, synthesize
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.votes import combine_votes, distributions_to_matrix

EMOTIONS = ("angry", "happy", "neutral", "sad")


@pytest.fixture(scope="module")
def corpus():
    return simulate_corpus(num_utterances=360, num_speakers=12, seed=1)


def test_columns_follow_the_contract(corpus):
    row = corpus["test"][0]
    assert row["audio"]["path"] == row["id"] + ".flac"
    assert row["corpus"] == "simulated"
    assert set(row["human_distribution"]) == set(row["true_distribution"]) == set(EMOTIONS)
    assert sum(row["true_distribution"].values()) == pytest.approx(1.0)
    assert 5 <= len(row["human_votes"]) <= 9
    assert combine_votes(row)["human_distribution"] == pytest.approx(row["human_distribution"])
    assert row["emotion_distribution"] == row["human_distribution"]


def test_splits_are_speaker_disjoint_and_audio_is_sound(corpus):
    speakers = [set(rows["speaker"]) for rows in corpus.values()]
    assert sum(map(len, speakers)) == len(set.union(*speakers)) == 12
    report = check_audio(corpus["test"], progress=False)
    assert report.ok, report.summary()
    assert report.durations.min() >= 0.9 and report.durations.max() <= 1.9


def test_a_row_depends_on_the_seed_and_its_id_alone(corpus):
    def by_id(data):
        return {row["id"]: row for rows in data.values() for row in rows}

    small = by_id(simulate_corpus(num_utterances=24, num_speakers=12, seed=1))
    large = by_id(corpus)
    assert all(large[name] == row for name, row in small.items())
    other = by_id(simulate_corpus(num_utterances=24, num_speakers=12, seed=2))
    assert other["sim-000000"]["audio"] != small["sim-000000"]["audio"]


def test_utterances_are_both_clear_and_ambiguous(corpus):
    top = distributions_to_matrix(corpus["train"]["true_distribution"], EMOTIONS).max(axis=1)
    assert 0.2 < np.mean(top > 0.8) < 0.7
    assert 0.2 < np.mean(top < 0.6) < 0.7


def test_transcripts_tell_nothing(corpus):
    texts = np.array(corpus["train"]["transcript"])
    truth = distributions_to_matrix(corpus["train"]["true_distribution"], EMOTIONS)
    between = sum((texts == t).sum() * (truth[texts == t].mean(0) - truth.mean(0)) ** 2 for t in set(texts))
    share = between.sum() / ((truth - truth.mean(0)) ** 2).sum()
    # By chance alone it is (groups - 1) / (rows - 1), about 0.03.
    assert share < 0.08


def features(wave: np.ndarray) -> np.ndarray:
    """Mean and deviation of log-mel bands over time, a rough pitch, level and duration."""
    edges = 700.0 * np.expm1(np.linspace(np.log1p(60 / 700), np.log1p(7800 / 700), 34))
    frequency = np.fft.rfftfreq(512, 1 / 16000)
    rise = (frequency - edges[:-2, None]) / (edges[1:-1] - edges[:-2])[:, None]
    fall = (edges[2:, None] - frequency) / (edges[2:] - edges[1:-1])[:, None]
    frames = np.lib.stride_tricks.sliding_window_view(wave, 400)[::160] * np.hanning(400)
    mel = np.log(np.abs(np.fft.rfft(frames, 512)) ** 2 @ np.clip(np.minimum(rise, fall), 0, None).T + 1e-6)
    echo = np.fft.irfft(np.abs(np.fft.rfft(frames, 1024)) ** 2)[:, :250]
    loud = frames.std(axis=1) > 0.3 * frames.std()
    pitch = np.log2(echo[loud, 24:].argmax(axis=1) + 24)
    return np.r_[
        mel.mean(0), mel.std(0), pitch.mean(), pitch.std(), pitch[-12:].mean() - pitch.mean(), len(wave) / 16000
    ]


def test_a_simple_regression_recovers_the_truth_for_unseen_speakers(corpus):
    x, votes, truth = {}, {}, {}
    for split, rows in corpus.items():
        x[split] = np.array([features(load_audio(audio)) for audio in rows["audio"]])
        votes[split] = distributions_to_matrix(rows["human_distribution"], EMOTIONS)
        truth[split] = distributions_to_matrix(rows["true_distribution"], EMOTIONS)
    mean, deviation = x["train"].mean(0), x["train"].std(0)
    z = {split: np.c_[(values - mean) / deviation, np.ones(len(values))] for split, values in x.items()}
    weights = np.linalg.solve(
        z["train"].T @ z["train"] + 10.0 * np.eye(z["train"].shape[1]), z["train"].T @ votes["train"]
    )
    guess = np.clip(z["test"] @ weights, 0.01, None)
    guess /= guess.sum(axis=1, keepdims=True)
    constant = np.tile(votes["train"].mean(0), (len(guess), 1))
    baseline, model, floor = (
        jensen_shannon_divergence(prediction, votes["test"]).mean() for prediction in (constant, guess, truth["test"])
    )
    closed = (baseline - model) / (baseline - floor)
    assert closed >= 0.6, f"baseline {baseline:.3f}, model {model:.3f}, truth {floor:.3f}"


def pitch_of(wave: np.ndarray) -> float:
    frames = np.lib.stride_tricks.sliding_window_view(wave.astype(np.float64), 640)[::160]
    frames = frames[frames.std(axis=1) > 0.5 * wave.std()]
    echo = np.array([np.correlate(frame, frame, "full")[639:] for frame in frames])
    return float(np.median(16000 / (echo[:, 30:250].argmax(axis=1) + 30)))


def say(distribution: dict[str, float], speaker: int = 0) -> np.ndarray:
    return synthesize(
        "bani sodu kame la", emotion_prosody(distribution), simulated_voice(speaker), np.random.default_rng(3)
    )


def test_prosody_goes_in_the_directions_of_the_literature():
    angry, happy, neutral, sad = (say({emotion: 1.0}) for emotion in EMOTIONS)
    assert angry.std() > happy.std() > neutral.std() > sad.std()
    assert len(angry) < len(neutral) < len(sad)
    assert pitch_of(sad) < pitch_of(neutral) < pitch_of(angry)
    assert pitch_of(neutral) < pitch_of(happy)

    def brightness(wave: np.ndarray) -> float:
        power = np.abs(np.fft.rfft(wave)) ** 2
        frequency = np.fft.rfftfreq(len(wave), 1 / 16000)
        return float(power[(frequency > 1000) & (frequency < 5000)].sum() / power[frequency < 1000].sum())

    assert brightness(angry) > brightness(neutral) > brightness(sad)


def test_a_blend_lies_between_its_emotions():
    half = emotion_prosody({"angry": 0.5, "sad": 0.5})
    angry, sad = emotion_prosody({"angry": 1.0}), emotion_prosody({"sad": 1.0})
    assert half.level_db == pytest.approx((angry.level_db + sad.level_db) / 2)
    assert half.rate == pytest.approx((angry.rate + sad.rate) / 2)


def test_voices_are_where_they_are_asked_to_be():
    low, high = (
        synthesize("mama lana", Prosody(f0_range=0.5, f0_end=0.0), Voice(f0_hz=f0), np.random.default_rng(0))
        for f0 in (110.0, 220.0)
    )
    assert pitch_of(low) == pytest.approx(110.0, rel=0.06)
    assert pitch_of(high) == pytest.approx(220.0, rel=0.06)


def test_every_emotion_can_be_simulated():
    data = simulate_corpus(
        num_utterances=7, num_speakers=2, emotions=SIMULATED_EMOTIONS, splits={"train": 0.5, "test": 0.5}
    )
    for rows in data.values():
        assert check_audio(rows, progress=False).ok
        for audio in rows["audio"]:
            assert np.abs(load_audio(audio)).max() < 1.0


def test_what_cannot_be_simulated_is_named():
    with pytest.raises(ValueError, match="cannot voice bored: it knows neutral"):
        simulate_corpus(10, 3, emotions=["angry", "bored"])
    with pytest.raises(ValueError, match="cannot fill 3 splits"):
        simulate_corpus(10, 2)
    with pytest.raises(ValueError, match="votes_per_utterance"):
        simulate_corpus(10, 3, votes_per_utterance=0)
    with pytest.raises(ValueError, match="no vowel"):
        synthesize("brrr", Prosody(), Voice(), np.random.default_rng(0))
