"""Small data sets with whatever a test of the augmentation needs."""

import numpy as np
from tiny_data import tone

EMOTIONS = ("angry", "happy", "sad")


def corpus(distributions, seconds=0.3, features=None, ids=None, speakers=None, waves=None, votes=5, **columns):
    """Rows of the data contract with these distributions; `x` holds the features (drawn where none are given)."""
    from datasets import Features, List, Value

    from hf_emo_dist.audio.clips import encode_flac
    from hf_emo_dist.data.writing import build_dataset, row_features

    p = np.asarray(distributions, dtype=float)
    size = len(p)
    rng = np.random.default_rng(0)
    x = rng.standard_normal((size, 4)) if features is None else np.asarray(features, dtype=float)
    ids = [f"row-{i:03d}" for i in range(size)] if ids is None else ids
    rows = []
    for i in range(size):
        wave = tone(150 + 20 * i, seconds, seed=i) if waves is None else waves[i]
        struct = dict(zip(EMOTIONS, p[i].tolist(), strict=True))
        rows.append(
            {
                "id": ids[i],
                "audio": {"bytes": encode_flac(wave), "path": f"{ids[i]}.flac"},
                "transcript": f"Words of {ids[i]}.",
                "speaker": f"speaker-{i % 4}" if speakers is None else speakers[i],
                "human_votes": [
                    name for name, n in zip(EMOTIONS, np.round(votes * p[i]).astype(int), strict=True) for _ in range(n)
                ],
                "human_distribution": struct,
                "emotion_distribution": struct,
                "x": x[i].tolist(),
                "corpus": "made up",
                **{name: values[i] for name, values in columns.items()},
            }
        )
    extra = {"x": List(Value("float32")), "corpus": Value("string"), **{name: Value("string") for name in columns}}
    return build_dataset(rows, Features(row_features(EMOTIONS, extra)))


def unbalanced(counts=(20, 12, 4), seed=0, **options):
    """Rows whose dominant emotions have these counts, none of them certain."""
    rng = np.random.default_rng(seed)
    p = []
    for label, count in enumerate(counts):
        for _ in range(count):
            rest = rng.dirichlet(np.ones(len(EMOTIONS))) * 0.4
            rest[label] += 0.6
            p.append(rest / rest.sum())
    return corpus(p, **options)
