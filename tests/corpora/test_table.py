"""The table reader: what a CSV and a folder of clips give, and what is said when they do not fit."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import made_clips
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from datasets import Audio

from hf_emo_dist.audio.clips import encode_wav
from hf_emo_dist.corpora.table.file import TableError
from hf_emo_dist.corpora.table.read import read_table
from hf_emo_dist.data.loading import emotions_of


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    folder = tmp_path / "audio"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for name in ("a.wav", "b.wav", "c.wav"):
        (folder / name).write_bytes(encode_wav(rng.uniform(-0.1, 0.1, 1600).astype(np.float32), 16000))
    return folder


@pytest.fixture
def read(tmp_path: Path, clips: Path):
    def _read(text: str | bytes, name: str = "votes.csv", **options):
        path = tmp_path / name
        if isinstance(text, bytes):
            path.write_bytes(text)
        else:
            path.write_text(text, encoding="utf-8")
        return read_table(path, clips, cache_dir=tmp_path / "cache", progress=False, **options)

    return _read


def test_counts_become_votes_and_distributions(read, clips):
    data = read("file,speaker,transcript,angry,sad\na.wav,s1,Hello.,1,3\nb.wav,s2,,0,2\n")
    assert list(data) == ["train"]
    first, second = data["train"]
    assert first["id"] == "a"
    assert first["audio"] == {"bytes": (clips / "a.wav").read_bytes(), "path": "a.wav"}
    assert first["human_votes"] == ["angry", "sad", "sad", "sad"]
    assert first["human_distribution"] == first["emotion_distribution"] == {"angry": 0.25, "sad": 0.75}
    assert (first["speaker"], first["transcript"], second["transcript"]) == ("s1", "Hello.", None)
    assert data["train"].features["audio"] == Audio(sampling_rate=16000, decode=False)
    assert "human_vote_weights" not in data["train"].column_names


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_delimiters_line_ends_and_byte_order_mark(read, delimiter, end):
    lines = ["File,note,Anger,happy", 'a.wav,"one\n two",2,', "b.wav,,0,1", ""]
    text = end.join(line.replace(",", delimiter) for line in lines)
    rows = read(b"\xef\xbb\xbf" + text.encode())["train"]
    assert rows["id"] == ["a", "b"]
    assert rows["note"] == ["one\n two", None]
    assert rows["human_distribution"][0] == {"angry": 1.0, "happy": 0.0}


def test_votes_column_with_aliases(read):
    rows = read("file,votes\na.wav,Happiness|sad|sad\nb.wav,neutral|\n")["train"]
    assert emotions_of(rows) == ("happy", "neutral", "sad")
    assert rows["human_votes"] == [["happy", "sad", "sad"], ["neutral"]]


def test_fractions_become_weights_that_give_the_distribution_back(read):
    rows = read("file;angry;sad\na.wav;1,5;0,5\nb.wav;2;0\n")["train"]
    assert rows["human_votes"] == [["angry", "angry", "sad"], ["angry", "angry"]]
    assert rows["human_vote_weights"] == [[1.0, 0.5, 0.5], [1.0, 1.0]]
    assert rows["human_distribution"][0] == {"angry": 0.75, "sad": 0.25}


def test_other_columns_keep_their_type(read):
    text = "file,fold,code,snr,intended,note,angry,sad\na.wav,0,007,1.5,NEU,,1,0\nb.wav,12,008,,SAD,x,1,0\n"
    rows = read(text, keep=["snr"])["train"]
    assert rows["fold"] == [0, 12]
    assert rows["code"] == ["007", "008"]
    assert rows["snr"] == [1.5, None]
    assert rows["intended"] == ["NEU", "SAD"]
    assert rows["note"] == [None, "x"]


def test_split_names_are_normalised_and_ordered(read):
    data = read("file,split,angry,sad\na.wav,TEST,1,0\nb.wav,dev,1,0\nc.wav,Train,1,0\n")
    assert {split: rows["id"] for split, rows in data.items()} == {
        "train": ["c"],
        "validation": ["b"],
        "test": ["a"],
    }
    assert list(data) == ["train", "validation", "test"]


def test_shared_speakers_are_warned_of(read, caplog):
    with caplog.at_level(logging.WARNING):
        read("file,split,speaker,angry,sad\na.wav,test,s7,1,0\nb.wav,train,s7,1,0\n")
    assert "s7" in caplog.text


def test_emotions_choose_and_order_the_columns(read, caplog):
    text = "file,angry,sad,awe\na.wav,1,5,3\n"
    with pytest.raises(TableError, match=r"'sad' \(5 votes.*--outside drop_vote"):
        read(text, emotions=["awe", "angry"])
    with caplog.at_level(logging.WARNING):
        rows = read(text, emotions=["awe", "angry"], outside="drop_vote")["train"]
    assert rows["human_distribution"][0] == {"awe": 0.75, "angry": 0.25}
    assert "sad" in caplog.text
    with pytest.raises(TableError, match="no count column for happy"):
        read("file,angry,sad\na.wav,1,5\n", emotions=["angry", "happy"])


def test_parquet_and_jsonl_give_what_csv_gives(tmp_path, clips, read):
    rows = [
        {"file": "a.wav", "speaker": 1, "angry": 1, "sad": 3},
        {"file": "b.wav", "speaker": 2, "angry": 0, "sad": 1},
    ]
    csv = read("file,speaker,angry,sad\na.wav,1,1,3\nb.wav,2,0,1\n")["train"].to_list()
    jsonl = read("\n".join(map(json.dumps, rows)), name="votes.jsonl")["train"].to_list()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "votes.parquet")
    parquet = read_table(tmp_path / "votes.parquet", clips, cache_dir=tmp_path / "p", progress=False)["train"].to_list()
    assert csv == jsonl == parquet


def test_votes_column_may_be_a_list_in_jsonl(read):
    rows = read('{"file": "a.wav", "votes": ["sad", "happy"]}\n', name="votes.jsonl")["train"]
    assert rows["human_votes"] == [["sad", "happy"]]


def test_missing_audio_is_listed_by_line_or_skipped(read, caplog):
    text = "file,angry,sad\na.wav,1,0\nnope.wav,1,0\n"
    with pytest.raises(TableError, match=r"1 of 2 audio files .*line 3 \(nope.wav\).*on_missing"):
        read(text)
    with caplog.at_level(logging.WARNING):
        assert read(text, on_missing="skip")["train"]["id"] == ["a"]
    assert "nope.wav" in caplog.text


def test_files_that_are_no_audio_are_listed_by_line_with_what_they_are_or_skipped(read, clips, caplog):
    text = "file,angry,sad\na.wav,1,0\nb.wav,1,0\nc.wav,1,0\n"
    (clips / "b.wav").write_bytes(made_clips.POINTER)
    (clips / "c.wav").write_bytes(b"<!doctype html>")
    with pytest.raises(
        TableError, match=r"2 of 3 files .*line 3 \(b.wav\): .*LFS pointer \(`git lfs pull.*line 4.*HTML"
    ):
        read(text)
    with caplog.at_level(logging.WARNING):
        assert read(text, on_missing="skip")["train"]["id"] == ["a"]
    assert "b (votes.csv line 3): the file is a Git LFS pointer. Mend: `git lfs pull`" in caplog.text
    (clips / "a.wav").write_bytes(made_clips.POINTER)
    with pytest.raises(TableError, match="3 of 3 files"):
        read(text, on_missing="skip")


def test_rows_without_votes_are_listed_or_skipped(read, caplog):
    text = "file,angry,sad\na.wav,1,0\nb.wav,0,\n"
    with pytest.raises(TableError, match=r"line 3 \(b.wav\).*on_empty"):
        read(text)
    with caplog.at_level(logging.WARNING):
        assert read(text, on_empty="skip")["train"]["id"] == ["a"]
    assert "b (votes.csv line 3)" in caplog.text


def test_many_bad_rows_are_listed_up_to_ten(read):
    text = "file,angry,sad\n" + "".join(f"x{i}.wav,1,0\n" for i in range(14))
    with pytest.raises(TableError, match=r"x9\.wav\) and 4 more"):
        read(text)


def test_votes_outside_the_emotions(read):
    text = "file,votes\na.wav,happy|hapy|sad\n"
    with pytest.raises(
        TableError, match=r"column 'votes'.*'hapy' \(1 vote, first in line 2 \(a.wav\); did you mean 'happy'"
    ):
        read(text)
    assert read(text, emotions=["happy", "sad"], outside="drop_vote")["train"]["human_votes"] == [["happy", "sad"]]


def test_duplicate_stems_name_both_rows_and_an_id_column_mends_it(read, clips):
    (clips / "x").mkdir()
    (clips / "x" / "a.wav").write_bytes((clips / "a.wav").read_bytes())
    with pytest.raises(TableError, match=r"line 2 \(a.wav\); votes.csv line 3 \(x/a.wav\).*add a column 'id'"):
        read("file,angry,sad\na.wav,1,0\nx/a.wav,1,0\n")
    assert read("file,id,angry,sad\na.wav,1,1,0\nx/a.wav,2,1,0\n")["train"]["id"] == ["1", "2"]


def test_latin1_is_named(read):
    with pytest.raises(TableError, match="not UTF-8"):
        read("file,speaker,angry,sad\na.wav,Jos\u00e9,1,0\n".encode("latin-1"))


def test_reading_again_does_not_disturb_the_first_data_set(read):
    first = read("file,angry,sad\na.wav,1,0\n")["train"]
    second = read("file,angry,sad\nb.wav,0,1\nc.wav,0,1\n")["train"]
    assert (first["id"], second["id"]) == (["a"], ["b", "c"])


def test_map_and_filter_need_no_audio_library(read):
    rows = read("file,angry,sad\na.wav,1,0\nb.wav,0,1\n")["train"]
    mapped = rows.map(lambda row: {"length": len(row["audio"]["bytes"])}).filter(lambda row: row["id"] == "b")
    assert mapped["length"] == [len(rows[1]["audio"]["bytes"])]
    assert mapped.features["audio"] == Audio(sampling_rate=16000, decode=False)
