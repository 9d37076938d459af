"""Votes of people and of models that are drawn from known distributions, for the tests of combining."""

import numpy as np

EMOTIONS = ("angry", "happy", "neutral", "sad")
K = len(EMOTIONS)


def multinomial(shares, number, rng):
    return np.array(rng.multinomial(number, shares), dtype=np.float64)


def drawn(rows=600, human=3, answers=8, seed=0, confusion=None, speakers=12, sharp=2.0):
    """Truth (N, K), human votes (N, K), counts of a model's answers (N, K), and speakers (N,)."""
    rng = np.random.default_rng(seed)
    truth = rng.dirichlet([0.5, 0.4, 1.0, 0.5], rows)
    heard = truth**sharp / (truth**sharp).sum(axis=1, keepdims=True)
    heard = heard @ (np.eye(K) if confusion is None else np.asarray(confusion))
    said = np.array([rng.dirichlet(4 * shares + 1e-3) for shares in heard])  # a clip's answers share an error
    groups = np.array([f"s{i % speakers}" for i in range(rows)])
    return truth, multinomial(truth, human, rng), multinomial(said / said.sum(1, keepdims=True), answers, rng), groups


def labels_of(counts):
    """Counts as lists of labels."""
    return [[EMOTIONS[k] for k in np.repeat(np.arange(K), row.astype(int))] for row in counts]


def entry(label=None, distribution=None, model="model", focus="words", mode="label", replicate=0):
    shares = None if distribution is None else dict(zip(EMOTIONS, map(float, distribution), strict=True))
    return {
        "label": label, "distribution": shares, "model": model, "focus": focus, "temperature": None, "mode": mode,
        "replicate": replicate, "key": "",
    }  # fmt: skip


def columns_of(human, answers, groups, model="model", foci=("words",)):
    """The columns of a data set whose synthetic annotations are a model's labels."""
    annotations = [
        [entry(label, model=model, focus=foci[i % len(foci)], replicate=i) for i, label in enumerate(row)]
        for row in labels_of(answers)
    ]
    return {
        "id": [f"clip-{i:05d}" for i in range(len(human))],
        "speaker": groups.tolist(),
        "human_votes": labels_of(human),
        "synthetic_annotations": annotations,
    }
