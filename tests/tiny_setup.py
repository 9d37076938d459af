"""A small data set of tones, a mini backbone and an untrained checkpoint, shared by tests of several rooms."""

import numpy as np
import pytest

from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

EMOTIONS = ("angry", "happy", "sad")


def make_rows(speakers, clips=2, seed=0):
    rng = np.random.default_rng(seed)
    rows = []
    for speaker in speakers:
        for clip in range(clips):
            true = rng.dirichlet(np.full(len(EMOTIONS), 0.6))
            votes = rng.multinomial(6, true)
            shares = dict(zip(EMOTIONS, (votes / 6).tolist(), strict=True))
            time = np.arange(6400 + 800 * clip) / 16000
            # pitch and loudness follow the truth, so that there is something to learn
            wave = (0.05 + 0.4 * true[0]) * np.sin(2 * np.pi * (100 + 300 * true[1]) * time)
            wave += 0.02 * rng.standard_normal(len(time))
            rows.append(
                {
                    "id": f"{speaker}-{clip}",
                    "audio": {"bytes": encode_flac(wave.astype(np.float32), 16000), "path": f"{speaker}-{clip}.flac"},
                    "transcript": "Kids are talking.",
                    "speaker": speaker,
                    "human_votes": [name for name, n in zip(EMOTIONS, votes, strict=True) for _ in range(n)],
                    "human_distribution": shares,
                    "emotion_distribution": shares,
                    "true_distribution": dict(zip(EMOTIONS, true.tolist(), strict=True)),
                    "intended": EMOTIONS[int(true.argmax())],
                    "fold": int(speaker[1:]) % 2,
                }
            )
    return rows


@pytest.fixture(scope="session")
def data_folder(tmp_path_factory):
    from datasets import DatasetDict, Value

    features = row_features(EMOTIONS, {"intended": Value("string"), "fold": Value("int64")}, true_distribution=True)
    splits = {"train": ["s0", "s1", "s2", "s3"], "test": ["s4", "s5"]}
    dataset = DatasetDict(
        {
            name: build_dataset(make_rows(speakers, clips=4 if name == "train" else 3, seed=len(speakers)), features)
            for name, speakers in splits.items()
        }
    )
    folder = tmp_path_factory.mktemp("data") / "tiny"
    return write_dataset(
        dataset, folder, description="Tones.", vote_source="Simulated votes on tones.", emotions=EMOTIONS
    )


@pytest.fixture(scope="session")
def backbone(tmp_path_factory):
    from hf_emo_dist.modeling.mini import build_mini_backbone

    return build_mini_backbone(
        tmp_path_factory.mktemp("mini") / "backbone", hidden_size=16, audio_layers=2, text_layers=1
    )


@pytest.fixture(scope="session")
def tones_checkpoint(backbone, tmp_path_factory):
    return make_checkpoint(backbone, EMOTIONS, tmp_path_factory.mktemp("model") / "checkpoint")


def make_checkpoint(backbone, emotions, folder):
    import torch

    from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
    from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=emotions)
    model.save_pretrained(folder)
    EmotionDistributionProcessor.from_pretrained(backbone, emotions=emotions).save_pretrained(folder)
    return folder
