"""A data set is opened once and knows all that is said about it; mixed rows follow one rule wherever it is cut."""

import logging

import numpy as np
import pytest
from datasets import Dataset, DatasetDict

from hf_emo_dist.data.loading import DatasetLoadError
from hf_emo_dist.data.mixed_rows import is_mixed, refuse_mixed
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.splits import (
    add_fold_column,
    folds_from_column,
    random_utterance_split,
    speaker_disjoint_split,
    speaker_folds,
    splits_from_folds,
)
from hf_emo_dist.data.targets import scored_matrix
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

EMOTIONS = ["angry", "sad"]


def rows(split: str, count: int, **more) -> list[dict]:
    share = {"angry": 0.25, "sad": 0.75}
    return [
        {
            "id": f"{split}-{i}",
            "audio": {"bytes": b"RIFF", "path": f"{i}.wav"},
            "speaker": f"{split}-s{i % 3}",
            "human_votes": ["sad"],
            "human_distribution": share,
            "emotion_distribution": share,
            **more,
        }
        for i in range(count)
    ]


@pytest.fixture
def folder(tmp_path):
    splits = {s: build_dataset(rows(s, n), row_features(EMOTIONS)) for s, n in (("train", 6), ("test", 4))}
    return write_dataset(DatasetDict(splits), tmp_path / "mine", description="x", vote_source="Borrowed votes of nine.")


def test_what_is_known_is_read_once(folder):
    opened = open_dataset(folder)
    assert list(opened.splits) == ["train", "test"] and len(opened.rows()) == 10
    assert opened.emotions() == ("angry", "sad") and opened.vote_source == "Borrowed votes of nine."
    assert opened.notes() == ["borrowed votes"] and not opened.restricted
    assert opened.speakers("test") == {"test-s0", "test-s1", "test-s2"} and len(opened.speakers()) == 6
    assert opened.rows("test[:3]")["id"][:] == ["test-0", "test-1", "test-2"]
    assert len(opened.rows("train+test[:1]")) == 7
    for unknown in ("validation", "dev[:2]"):
        with pytest.raises(DatasetLoadError, match=r"there are train, test\. Mend"):
            opened.rows(unknown)
    assert {s: len(r) for s, r in opened.first(5).splits.items()} == {"train": 5, "test": 4}


def test_what_the_user_says_goes_before_the_card(folder):
    opened = open_dataset(folder, emotions=["sad", "angry"], vote_source="Simulated.")
    assert opened.emotions() == ("sad", "angry") and opened.notes() == ["simulated data"]
    with pytest.raises(ValueError, match="angry"):
        open_dataset(folder, emotions=["angry", "angry"])
    assert open_dataset(folder, emotions=["angry", "fear"]).emotions() == ("angry", "fear")
    with pytest.raises(ValueError, match=r"emotions names hapy.*\(it has angry, sad\)\. Mend"):
        open_dataset(folder, emotions=["angry", "hapy"])


@pytest.mark.parametrize("more", [{"corpus": "IEMOCAP"}, {"restricted": True}])
def test_restricted_by_its_corpus_or_a_column(more):
    assert open_dataset(Dataset.from_list(rows("train", 2, **more))).restricted


def test_restricted_by_its_card(folder):
    card = folder / "README.md"
    card.write_text(card.read_text().replace("vote_source:", "restricted: true\nvote_source:"))
    assert open_dataset(folder).restricted


# --- mixed rows


@pytest.fixture
def mixed():
    """Six speakers with two rows each; a mixed row of each pair of neighbours, so that every cut tears some."""
    originals = [
        {"id": f"{s}{i}", "speaker": s, "session": ord(s) % 3, "fold": ord(s) % 3, "mixed_from": None}
        for s in "abcdef"
        for i in range(2)
    ]
    between = [
        {"id": f"{s}{t}", "speaker": None, "session": None, "fold": None, "mixed_from": [f"{s}0", f"{t}1"]}
        for s, t in zip("abcdefabcdef", "bcdefaabcdef", strict=True)
    ]
    return Dataset.from_list([*originals, *between])


def check(training: Dataset, scored: list[Dataset]) -> None:
    """Mixed rows are trained on where all of their sources are, all of them, and are nowhere else."""
    here = set(training["id"][:])
    kept = [sources for sources in training["mixed_from"][:] if sources]
    assert all(set(sources) <= here for sources in kept)
    assert not any(is_mixed(part).any() for part in scored)
    speakers = {name[0] for name in here}
    assert len(kept) >= len(speakers)  # at least each speaker's own mixture


CUTS = {
    "speaker_disjoint_split": lambda d: speaker_disjoint_split(d, {"train": 0.6, "test": 0.4}),
    "random_utterance_split": lambda d: random_utterance_split(d, test=0.3, validation=0.2),
    "splits_from_folds": lambda d: splits_from_folds(d, test_fold=1),
}
FOLDS = {
    "speaker_folds": lambda d: speaker_folds(d, 3),
    "folds_from_column": lambda d: folds_from_column(d, "fold"),
}


@pytest.mark.parametrize("cut", CUTS)
def test_splits_keep_mixed_rows_in_training(mixed, cut, caplog):
    with caplog.at_level(logging.WARNING):
        parts = CUTS[cut](mixed)
    here = set(parts["train"]["id"][:])
    expected = {row["id"] for row in mixed if row["mixed_from"] and set(row["mixed_from"]) <= here}
    assert {name for name in here if not name[1].isdigit()} == expected
    assert not any(is_mixed(rows).any() for split, rows in parts.items() if split != "train")
    assert sum(int((~is_mixed(rows)).sum()) for rows in parts.values()) == 12
    assert "mixed rows are dropped" in caplog.text


@pytest.mark.parametrize("cut", FOLDS)
def test_folds_never_test_on_mixed_rows(mixed, cut):
    tested = []
    for train, test in FOLDS[cut](mixed):
        check(mixed.select(train), [mixed.select(test)])
        tested += test.tolist()
    assert sorted(tested) == list(range(12))


def test_a_fold_column_is_null_in_mixed_rows_and_read_back(mixed):
    numbered = add_fold_column(mixed.remove_columns("fold"), 3)
    assert [fold is None for fold in numbered["fold"][:]] == is_mixed(mixed).tolist()
    assert all(
        np.array_equal(a, b)
        for one, two in zip(folds_from_column(numbered), speaker_folds(mixed, 3), strict=True)
        for a, b in zip(one, two, strict=True)
    )


def test_they_are_refused_only_where_somebody_asks_to_score_them():
    share = {"angry": 0.5, "sad": 0.5}
    data = [
        {"id": "a", "human_distribution": share},
        {"id": "ab", "mixed_from": ["a", "b"], "human_distribution": None},
    ]
    with pytest.raises(ValueError, match=r"1 rows were made by mixing two others .*: ab\. .*Mend"):
        scored_matrix(data, EMOTIONS)
    with pytest.raises(ValueError, match="cannot be scored"):
        refuse_mixed(data)
    assert scored_matrix(data[:1], EMOTIONS).tolist() == [[0.5, 0.5]]
