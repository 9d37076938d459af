"""Tones that stand for utterances, as rows of the data contract."""

import numpy as np

TINY_EMOTIONS = ("angry", "happy", "sad")


def tone(frequency, seconds, amplitude=0.3, seed=0):
    """A tone with a little noise, at 16 kHz."""
    time = np.arange(int(seconds * 16000)) / 16000
    noise = np.random.default_rng(seed).standard_normal(len(time))
    return (amplitude * np.sin(2 * np.pi * frequency * time) + 0.01 * noise).astype(np.float32)


def tiny_rows(count, seed=0, emotions=TINY_EMOTIONS, seconds=(0.15, 0.5)):
    """Rows of the data contract: tones whose pitch says which emotion has most of the votes."""
    from hf_emo_dist.audio.clips import encode_flac

    rng = np.random.default_rng(seed)
    rows = []
    for i in range(count):
        main = i % len(emotions)
        true = 0.1 * rng.dirichlet(np.ones(len(emotions)))
        true[main] += 0.9
        votes = rng.multinomial(5, true)
        wave = tone(150.0 * 2**main * (1 + 0.05 * rng.random()), rng.uniform(*seconds), seed=i)
        shares = dict(zip(emotions, (votes / 5).tolist(), strict=True))
        rows.append(
            {
                "id": f"clip-{seed}-{i:02d}",
                "audio": {"bytes": encode_flac(wave), "path": f"clip-{seed}-{i:02d}.flac"},
                "transcript": None if i % 4 == 0 else "Kids are talking by the door."[: 5 + 3 * (i % 8)],
                "speaker": f"speaker-{seed}-{i % 4}",
                "human_votes": [name for name, n in zip(emotions, votes, strict=True) for _ in range(n)],
                "human_distribution": shares,
                "emotion_distribution": shares,
            }
        )
    return rows


def as_dataset(rows):
    """A `Dataset` whose audio stays bytes. The cast comes after: encoding an Audio feature would need torchcodec."""
    from datasets import Audio, Dataset

    return Dataset.from_list(rows).cast_column("audio", Audio(sampling_rate=16000, decode=False))
