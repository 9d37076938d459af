import logging

import numpy as np
import pytest
from datasets import Audio, Dataset, DatasetDict, concatenate_datasets
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.data.splits import (
    SplitError,
    add_fold_column,
    check_splits,
    folds_from_column,
    random_utterance_split,
    splits_from_folds,
)


def table(speakers, **columns):
    return Dataset.from_dict({"id": [f"u{i}" for i in range(len(speakers))], "speaker": speakers, **columns})


def test_the_paper_split_has_its_shares_and_warns_of_leaks(caplog):
    rows = table([f"s{i % 7}" for i in range(200)])
    with caplog.at_level(logging.WARNING):
        parts = random_utterance_split(rows)
    assert {split: len(part) for split, part in parts.items()} == {"train": 144, "validation": 16, "test": 40}
    assert "7 of 7 test speakers are in the training split too" in caplog.text
    assert sorted(row_id for part in parts.values() for row_id in part["id"]) == sorted(rows["id"][:])
    with pytest.raises(SplitError, match="speaker 's"):
        check_splits(parts)


@settings(max_examples=20, deadline=None)
@given(st.permutations(range(30)), st.integers(0, 5))
def test_the_paper_split_depends_on_ids_and_seed_alone(order, seed):
    rows = Dataset.from_dict({"id": [f"u{i}" for i in range(30)]})
    straight = random_utterance_split(rows, seed)
    shuffled = random_utterance_split(rows.select(order), seed)
    for split in straight:
        assert set(straight[split]["id"]) == set(shuffled[split]["id"])
    assert set(straight["test"]["id"]) != set(random_utterance_split(rows, seed + 1)["test"]["id"])


def test_folds_have_whole_speakers_and_like_emotions():
    rng = np.random.default_rng(0)
    speakers = np.repeat([f"s{i:02d}" for i in range(24)], 20)
    tilt = np.repeat(rng.dirichlet([1, 1], 24), 20, axis=0)
    shares = [{"angry": float(a), "sad": float(b)} for a, b in tilt]
    rows = add_fold_column(table(speakers.tolist(), human_distribution=shares), 4, seed=3)
    check_splits(rows, fold_column="fold")
    folds = np.array(rows["fold"])

    def imbalance(fold_of_row):
        masses = np.array([tilt[fold_of_row == fold].sum(axis=0) for fold in range(4)])
        return np.abs(masses / tilt.sum(axis=0) - 0.25).max()

    drawn = [imbalance(np.repeat(rng.permutation(np.arange(24) % 4), 20)) for _ in range(200)]
    assert imbalance(folds) < np.quantile(drawn, 0.25)  # better than whole speakers at random
    assert [len(test) for _, test in folds_from_column(rows)] == [120] * 4
    assert rows["fold"][:] == add_fold_column(rows.remove_columns("fold"), 4, seed=3)["fold"][:]
    with pytest.raises(ValueError, match="already"):
        add_fold_column(rows, 4)


def test_leave_one_session_out():
    rows = table(["a", "b", "c", "d"], session=[1, 1, 2, 3])
    assert [test.tolist() for _, test in folds_from_column(rows, "session")] == [[0, 1], [2], [3]]
    with pytest.raises(ValueError, match="'a' is in the folds"):
        folds_from_column(table(["a", "a"], session=[1, 2]), "session")
    parts = splits_from_folds(rows, 3, column="session")
    assert {split: part["speaker"][:] for split, part in parts.items()} == {
        "train": ["c"],
        "validation": ["a", "b"],
        "test": ["d"],
    }
    assert list(splits_from_folds(table(["a", "b"], fold=[0, 1]), 0)) == ["train", "test"]
    for wrong, match in (({"test_fold": 9}, "no fold 9"), ({"test_fold": 1, "validation_fold": 1}, "another")):
        with pytest.raises(ValueError, match=match):
            splits_from_folds(rows, column="session", **wrong)


def mixed(sources, ids=None, speaker="x"):
    names = ids or [f"mix{i}" for i in range(len(sources))]
    return Dataset.from_dict({"id": names, "speaker": [speaker] * len(names), "mixed_from": sources})


def plain(ids, speaker):
    return Dataset.from_dict({"id": ids, "speaker": [speaker] * len(ids), "mixed_from": [[]] * len(ids)})


@pytest.mark.parametrize(
    ("train", "test", "match"),
    [
        ([plain(["a"], "s1")], [plain(["b"], "s1")], "speaker 's1' is in 'train' and in 'test'"),
        ([plain(["a"], "s1")], [plain(["a"], "s2")], "utterance 'a' is in 'train' and in 'test'"),
        (
            [plain(["a"], "s1"), mixed([["a", "b"]])],
            [plain(["b"], "s2")],
            "'mix0' in 'train' was mixed from 'b', which is in 'test'",
        ),
        ([plain(["a"], "s1")], [plain(["b"], "s2"), mixed([["a", "b"]])], "'mix0' in 'test' was mixed from 'a'"),
        (
            [plain(["a", "c"], "s1"), mixed([["mix9", "c"]])],  # a mix of a mix
            [plain(["b"], "s2"), mixed([["b", "b"]], ids=["mix9"])],
            "'mix0' in 'train' was mixed from 'mix9', which is in 'test'",
        ),
    ],
)
def test_whatever_crosses_a_split_is_found(train, test, match):
    parts = {"train": concatenate_datasets(train), "test": concatenate_datasets(test)}
    with pytest.raises(SplitError, match=match):
        check_splits(parts)
    with pytest.raises(SplitError):
        check_splits(DatasetDict(dict(reversed(parts.items()))))
    folds = [part.add_column("fold", [index] * len(part)) for index, part in enumerate(parts.values())]
    with pytest.raises(SplitError, match="fold 0"):
        check_splits(concatenate_datasets(folds), fold_column="fold")


def test_clean_splits_pass_and_what_cannot_be_checked_is_said(caplog):
    # mixed rows may carry any speaker, also one of the test split: their sources decide
    train = concatenate_datasets([plain(["a", "b"], "s1"), mixed([["a", "b"]], speaker="s2")])
    check_splits({"train": train, "test": plain(["c"], "s2")})
    assert not caplog.records
    check_splits({"train": mixed([["gone", "a"]]), "test": table([None])})
    assert "cannot be checked" in caplog.text and "1 mixed rows name sources" in caplog.text
    with pytest.raises(TypeError, match="fold_column"):
        check_splits(train)
    with pytest.raises(ValueError, match="no column 'fold'"):
        check_splits(train, fold_column="fold")


def heard(ids, clips, **columns):
    """Rows with audio: bytes, or the path of a file; each row a speaker of its own."""
    rows = [
        {"bytes": clip, "path": "clip.wav"} if isinstance(clip, bytes) else {"bytes": None, "path": clip}
        for clip in clips
    ]
    speakers = [f"speaker of {name}" for name in ids]
    data = Dataset.from_dict({"id": ids, "speaker": speakers, "audio": rows, **columns})
    return data.cast_column("audio", Audio(decode=False))


@pytest.mark.parametrize("path", [True, False], ids=["one by its path", "both by their bytes"])
def test_one_recording_in_two_splits_is_found_by_its_sound(tmp_path, path):
    (tmp_path / "b.wav").write_bytes(b"one")
    train = heard(["a", "other"], [b"one", b"two"])
    test = heard(["b", "last"], [str(tmp_path / "b.wav") if path else b"one", b"three"])
    told = "utterance 'a' in 'train' and 'b' in 'test' are the same recording"
    with pytest.raises(SplitError, match=told):
        check_splits({"train": train, "test": test})
    check_splits({"train": train, "test": test}, audio_column=None)
    check_splits({"train": heard(["a", "b"], [b"one", b"one"]), "test": heard(["c"], [b"three"])})
    folds = heard(["a", "b", "c"], [b"one", b"two", b"one"], fold=[0, 1, 1])
    with pytest.raises(SplitError, match="'a' in 'fold 0' and 'c' in 'fold 1' are the same recording"):
        check_splits(folds, fold_column="fold")


def test_one_file_that_is_gone_is_still_one_file():
    gone = "/no/such/clip.wav"
    with pytest.raises(SplitError, match="'a' in 'train' and 'b' in 'test' are the same recording"):
        check_splits({"train": heard(["a"], [gone]), "test": heard(["b"], [gone])})


def test_the_audio_of_mixed_rows_says_nothing():
    mixes = heard(["mix"], [b"one"], mixed_from=[["a", "a"]])
    train = heard(["a"], [b"one"], mixed_from=[[]])
    test = heard(["b"], [b"two"], mixed_from=[[]])
    check_splits({"train": concatenate_datasets([train, mixes]), "test": test})


def test_many_cases_are_counted():
    rows = table([f"s{i}" for i in range(12)])
    with pytest.raises(SplitError, match="and 14 more"):
        check_splits({"train": rows, "test": rows})
