"""Votes that are drawn from known distributions, as the studies read them."""

import numpy as np

from hf_emo_dist.studies.vote_table import Annotations, VoteTable

EMOTIONS = ("angry", "happy", "neutral", "sad")


def draw(shares, number, rng):
    """Independent votes, (N, number) indices of emotions."""
    edges = np.cumsum(shares, axis=1)
    return (rng.random((len(shares), number))[:, :, None] > edges[:, None, :-1]).sum(axis=2)


def truth(rows, rng, concentration=0.5):
    return rng.dirichlet(np.full(len(EMOTIONS), concentration), rows)


def vote_table(human, synthetic=None, annotations=None, speakers=20, columns=None, **options):
    rows = len(human)
    return VoteTable(
        [f"row-{place:05d}" for place in range(rows)],
        EMOTIONS,
        np.asarray(human),
        {"speaker": [f"s{place % speakers}" for place in range(rows)], **(columns or {})},
        None if synthetic is None else np.asarray(synthetic),
        annotations,
        in_order=True,
        source="drawn votes",
        **options,
    )


def annotated(human, by_focus, **options):
    """A table whose annotators, one a focus, gave these labels: focus to (N, n) indices."""
    row, label, focus = [], [], []
    for name, labels in by_focus.items():
        for place, given in enumerate(labels):
            row += [place] * len(given)
            label += list(given)
            focus += [name] * len(given)
    label = np.array(label)
    annotations = Annotations(
        np.array(row),
        np.eye(len(EMOTIONS))[label],
        np.array([f"model, {name}, label" for name in focus]),
        np.array(focus),
    )
    return vote_table(human, np.concatenate(list(by_focus.values()), axis=1), annotations, **options)
