"""Data sets of others with a column of labels: Parquet folders, AudioFolders, and what a borrowed one may name."""

from __future__ import annotations

import pytest
from datasets import Audio, ClassLabel, Dataset, Features, List, Value
from table_files import clips, heard, written

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora import read_dataset, understand_dataset
from hf_emo_dist.corpora.table.content import TableError
from hf_emo_dist.data.loading import DatasetLoadError, load_emotion_dataset
from hf_emo_dist.data.writing import build_dataset


def saved(folder, rows, audio=("a", "b"), name="audio", labels=None):
    """A Parquet folder of rows with audio, bytes of one clip a letter."""
    sounds = clips(folder / "sounds", [f"{letter}.wav" for letter in set(audio)])
    features = Features({name: Audio(decode=False), "label": labels or Value("string"), "who": Value("string")})
    whole = [
        {name: {"bytes": (sounds / f"{letter}.wav").read_bytes(), "path": f"{letter}.wav"}, **row}
        for letter, row in zip(audio, rows, strict=True)
    ]
    build_dataset(whole, features).to_parquet(folder / "data" / "train-00000-of-00001.parquet")
    return folder / "data"


ROWS = [
    {"label": "sad", "who": "x"},
    {"label": "Anger", "who": "y"},
    {"label": "sad", "who": "y"},
    {"label": "sad", "who": "x"},
]


@pytest.mark.parametrize("name", ["audio", "sound"])
def test_rows_of_one_recording_are_one_clip(tmp_path, name):
    folder = saved(tmp_path, ROWS, "aabb", name)
    options = {"votes_column": ["label"], "rater_column": "who", "audio_column": name}
    reading = understand_dataset(folder, **options)
    assert heard(reading) == {"a": {"sad": 1, "angry": 1}, "b": {"sad": 2}}
    rows = read_dataset(folder, cache_dir=tmp_path / "cache", progress=False, **options)["train"]
    assert rows["human_raters"][:] == [["x", "y"], ["y", "x"]]
    assert rows[0]["audio"]["bytes"] == (tmp_path / "sounds" / "a.wav").read_bytes()


def test_classes_and_ids_where_files_have_no_names_of_their_own(tmp_path):
    rows = [{"label": [0, 1], "who": None}, {"label": [1], "who": None}]
    folder = saved(tmp_path, rows, labels=List(ClassLabel(names=["sadness", "joy"])))
    data = load_emotion_dataset(folder)["train"].map(lambda row: {"audio": {**row["audio"], "path": "x.wav"}})
    build_dataset(data, data.features).save_to_disk(tmp_path / "disk")
    reading = understand_dataset(tmp_path / "disk", votes_column=["label"])
    assert heard(reading) == {"train-000000": {"sad": 1, "joy": 1}, "train-000001": {"joy": 1}}


def test_a_data_set_cannot_name_files_of_this_machine(tmp_path):
    features = Features({"audio": Audio(decode=False), "label": Value("string")})
    (tmp_path / "secret.txt").write_text("mine")
    sounds = clips(tmp_path / "data", ["in.wav"])
    rows = [{"audio": {"bytes": None, "path": str(path)}, "label": label} for path, label in
            ((sounds / "in.wav", "sad"), (tmp_path / "secret.txt", "happy"))]  # fmt: skip
    Dataset.from_list(rows).cast(features).to_parquet(tmp_path / "data" / "train.parquet")
    with pytest.raises(TableError, match=r"row 1: the audio is the file .*secret.txt.*--allow_outside"):
        understand_dataset(tmp_path / "data", votes_column=["label"])
    with pytest.raises(TableError, match=r"1 of 2 files are no audio .*row 1: the file is text") as told:
        understand_dataset(tmp_path / "data", votes_column=["label"], allow_outside=True)
    assert "mine" not in str(told.value)


def test_an_audio_folder_with_metadata(tmp_path):
    clips(tmp_path / "train", ["a.wav"])
    clips(tmp_path / "test", ["b.wav"])
    written(tmp_path / "train", "file_name,heard,speaker\na.wav,sad;Anger,1\n", "metadata.csv")
    written(tmp_path / "test", "file_name,heard,speaker\nb.wav,sad,2\n", "metadata.csv")
    reading = understand_dataset(tmp_path, votes_column=["heard"])
    assert heard(reading) == {"a": {"sad": 1, "angry": 1}, "b": {"sad": 1}}
    assert {reading.ids[place]: reading.splits[place] for place in reading.used} == {"a": "train", "b": "test"}
    (tmp_path / "secret.wav").write_bytes(b"RIFF")
    written(tmp_path / "train", "file_name,heard,speaker\n../secret.wav,sad,1\n", "metadata.csv")
    with pytest.raises(TableError, match=r"outside of .*--allow_outside"):
        understand_dataset(tmp_path / "train", votes_column=["heard"], emotions=["sad", "happy"])


def test_an_audio_folder_without_metadata_has_no_votes_unless_that_is_said(tmp_path):
    for name in ("sad", "angry"):
        clips(tmp_path / "train" / name, [f"{name}1.wav", f"{name}2.wav"])
    with pytest.raises(TableError, match=r"has no votes.*--votes_column 'label'"):
        understand_dataset(tmp_path)
    assert heard(understand_dataset(tmp_path, votes_column=["label"]))["sad1"] == {"sad": 1}


def test_what_is_no_data_set(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(TableError, match=r"holds no audio files, no metadata.csv and no Parquet files"):
        understand_dataset(tmp_path / "empty")
    folder = saved(tmp_path, ROWS[:2])
    with pytest.raises(DatasetLoadError, match=r"no column 'sound' .*--audio_column"):
        understand_dataset(folder, audio_column="sound")
    with pytest.raises(DatasetLoadError, match="Nothing at"):
        understand_dataset(tmp_path / "nowhere")


def test_the_command(tmp_path, capsys):
    folder = saved(tmp_path, ROWS, "aabb")
    words = ["read", "dataset", str(folder), str(tmp_path / "out"), "--votes_column", "label", "--rater_column", "who"]
    assert main([*words, "--dry_run"]) == 0
    assert "4 rows, 2 clips" in capsys.readouterr().out and not (tmp_path / "out").exists()
    assert main(words) == 0
    assert load_emotion_dataset(tmp_path / "out", "train")["human_votes"][:] == [["sad", "angry"], ["sad", "sad"]]
