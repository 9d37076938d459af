"""Speaker-disjoint splits and folds."""

from __future__ import annotations

import numpy as np
import pytest
from datasets import Dataset, DatasetDict
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.data.splits import check_splits, folds_from_column, speaker_disjoint_split, speaker_folds


def corpus(num_speakers: int, seed: int = 0, per_speaker: int = 10) -> Dataset:
    rng = np.random.default_rng(seed)
    rows = []
    for speaker in range(num_speakers):
        for _ in range(int(rng.integers(1, 2 * per_speaker))):
            share = rng.dirichlet([0.5, 0.5, 0.5])
            struct = dict(zip(("angry", "happy", "sad"), share.tolist(), strict=True))
            rows.append({"id": f"r{len(rows)}", "speaker": f"s{speaker:02d}", "human_distribution": struct})
    return Dataset.from_list(rows).shuffle(seed=seed)


@settings(max_examples=30, deadline=None)
@given(
    num_speakers=st.integers(3, 30),
    seed=st.integers(0, 1000),
    shares=st.sampled_from([(0.8, 0.1, 0.1), (0.5, 0.3, 0.2), (0.98, 0.01, 0.01)]),
)
def test_every_row_once_no_speaker_twice_no_split_empty(num_speakers, seed, shares):
    data = corpus(num_speakers, seed, 3)
    parts = speaker_disjoint_split(data, dict(zip(("train", "validation", "test"), shares, strict=True)), seed)
    assert sorted(row for rows in parts.values() for row in rows["id"]) == sorted(data["id"])
    speakers = [set(rows["speaker"]) for rows in parts.values()]
    assert all(speakers)
    assert sum(map(len, speakers)) == len(set().union(*speakers))


def test_shares_of_rows_and_of_every_emotion_are_met():
    data = corpus(60)
    parts = speaker_disjoint_split(data)
    overall = np.mean([list(row.values()) for row in data["human_distribution"]], axis=0)
    for (split, rows), share in zip(parts.items(), (0.8, 0.1, 0.1), strict=True):
        assert len(rows) / len(data) == pytest.approx(share, abs=0.02), split
        mass = np.mean([list(row.values()) for row in rows["human_distribution"]], axis=0)
        assert np.abs(mass - overall).max() < 0.05, split


def test_emotions_are_balanced_where_chance_would_not():
    # Half of the speakers are all angry, half all sad: each of two splits must get both kinds.
    rows = [
        {"speaker": f"s{index}", "human_distribution": {"angry": float(index < 4), "sad": float(index >= 4)}}
        for index in range(8)
        for _ in range(3)
    ]
    for seed in range(5):
        parts = speaker_disjoint_split(Dataset.from_list(rows), {"train": 0.5, "test": 0.5}, seed)
        assert [np.mean([row["angry"] for row in part["human_distribution"]]) for part in parts.values()] == [0.5, 0.5]


def test_same_seed_same_splits_whatever_the_order_of_rows():
    data = corpus(12)
    first, again = speaker_disjoint_split(data, seed=3), speaker_disjoint_split(data.shuffle(seed=9), seed=3)
    assert {s: set(r["speaker"]) for s, r in first.items()} == {s: set(r["speaker"]) for s, r in again.items()}
    others = [speaker_disjoint_split(data, seed=seed)["test"]["speaker"] for seed in range(8)]
    assert any(set(speakers) != set(first["test"]["speaker"]) for speakers in others)


def test_splits_that_cannot_be_made():
    with pytest.raises(ValueError, match="2 speakers cannot fill 3"):
        speaker_disjoint_split(corpus(2))
    with pytest.raises(ValueError, match="sum to 1"):
        speaker_disjoint_split(corpus(5), {"train": 0.8, "test": 0.1})
    with pytest.raises(ValueError, match="no column 'speaker'"):
        speaker_disjoint_split(Dataset.from_dict({"id": ["a"]}))
    with pytest.raises(ValueError, match="'b'"):
        speaker_disjoint_split(Dataset.from_dict({"id": ["a", "b"], "speaker": ["s", None]}), {"train": 1.0})


def test_folds_test_every_row_once_and_are_of_like_size():
    data = corpus(16)
    folds = speaker_folds(data, 4)
    assert sorted(np.concatenate([test for _, test in folds]).tolist()) == list(range(len(data)))
    speakers = np.array(data["speaker"])
    for train, test in folds:
        assert not set(speakers[train]) & set(speakers[test])
        assert len(train) + len(test) == len(data)
        assert len(test) / len(data) == pytest.approx(0.25, abs=0.05)
    with pytest.raises(ValueError, match="number of speakers, 16"):
        speaker_folds(data, 17)


def test_folds_from_column():
    data = Dataset.from_dict({"speaker": ["a", "b", "b", "c"], "fold": [2, 0, 0, 2]})
    assert [test.tolist() for _, test in folds_from_column(data)] == [[1, 2], [0, 3]]
    assert [train.tolist() for train, _ in folds_from_column(data)] == [[0, 3], [1, 2]]
    with pytest.raises(ValueError, match="Speaker 'b' is in the folds 0 and 1"):
        folds_from_column(Dataset.from_dict({"speaker": ["a", "b", "b"], "fold": [0, 0, 1]}))
    with pytest.raises(ValueError, match="one fold only"):
        folds_from_column(Dataset.from_dict({"speaker": ["a"], "fold": [0]}))
    with pytest.raises(ValueError, match="no column 'fold'"):
        folds_from_column(Dataset.from_dict({"speaker": ["a"]}))


def mixed(split_of_source: str) -> DatasetDict:
    train = {"id": ["a", "m"], "speaker": ["s1", "s1"], "mixed_from": [[], ["a", "b"]]}
    parts = {"train": train, "test": {"id": ["t"], "speaker": ["s2"], "mixed_from": [None]}}
    parts[split_of_source]["id"].append("b")
    parts[split_of_source]["speaker"].append("s1" if split_of_source == "train" else "s2")
    parts[split_of_source]["mixed_from"].append([])
    return DatasetDict({split: Dataset.from_dict(columns) for split, columns in parts.items()})


def test_mixed_rows_must_not_reach_into_another_split():
    check_splits(mixed("train"))
    with pytest.raises(ValueError, match="'m' in 'train' was mixed from 'b', which is in 'test'"):
        check_splits(mixed("test"))
