"""Writing a Parquet folder and opening it again: by `load_dataset`, and by `load_emotion_dataset` with its errors."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from datasets import Audio, Dataset, DatasetDict, load_dataset

from hf_emo_dist.audio import encode_wav
from hf_emo_dist.data.data_facts import describe_dataset
from hf_emo_dist.data.loading import DatasetLoadError, emotions_of, folder_card, load_emotion_dataset
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

EMOTIONS = ("happy", "angry", "sad")
AUDIO = Audio(sampling_rate=16000, decode=False)


def make(*ids: str) -> Dataset:
    share = {"happy": 0.5, "angry": 0.25, "sad": 0.25}
    rows = [
        {
            "id": name,
            "audio": {"bytes": name.encode() * 100, "path": f"{name}.flac"},
            "speaker": f"speaker-{name[0]}",
            "human_votes": ["happy", "happy", "angry", "sad"],
            "human_distribution": share,
            "emotion_distribution": share,
        }
        for name in ids
    ]
    return build_dataset(rows, row_features(EMOTIONS))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    data = DatasetDict({"test": make("c1"), "train": make("a1", "a2", "b1")})
    return write_dataset(data, tmp_path / "data set", description="Three clips.", vote_source="Simulated votes.")


def test_load_dataset_opens_what_was_written(folder):
    loaded = load_dataset(str(folder))
    assert {split: rows["id"] for split, rows in loaded.items()} == {"train": ["a1", "a2", "b1"], "test": ["c1"]}
    assert loaded["train"].features == make("x").features
    assert loaded["train"][1] == make("a2")[0]


def test_the_card_says_first_where_the_votes_come_from(folder):
    body = (folder / "README.md").read_text().split("---\n", 2)[2]
    assert "Simulated votes." in body.splitlines()[2]
    assert "| train | 3 | 2 |" in body
    assert folder_card(folder)["vote_source"] == "Simulated votes."


def test_shards(tmp_path):
    data = make(*(f"{index:03d}" for index in range(250)))
    folder = write_dataset(data, tmp_path / "out", description="x", vote_source="y", max_shard_bytes=1000)
    names = sorted(path.name for path in (folder / "data").iterdir())
    assert names == [f"train-0000{index}-of-00003.parquet" for index in range(3)]
    assert load_dataset(str(folder))["train"]["id"] == data["id"]


def test_a_selection_is_written_in_its_order(tmp_path):
    data = make("a", "b", "c").select([2, 0])
    folder = write_dataset(data, tmp_path / "out", description="x", vote_source="y")
    assert load_emotion_dataset(folder, "train")["id"] == ["c", "a"]


def test_clips_given_by_path_are_embedded(tmp_path):
    sound = encode_wav([0.1, -0.1])
    (tmp_path / "clip.wav").write_bytes(sound)
    row = {"id": "a", "audio": {"bytes": None, "path": str(tmp_path / "clip.wav")}, "human_votes": []}
    data = build_dataset([row], row_features(EMOTIONS))
    folder = write_dataset(data, tmp_path / "out", description="x", vote_source="y")
    assert load_emotion_dataset(folder, "train")[0]["audio"] == {"bytes": sound, "path": "clip.wav"}
    # a borrowed table names a private file
    (tmp_path / "clip.wav").write_text("GEMINI_API_KEY=not-for-you")
    with pytest.raises(FileNotFoundError, match=r"Row 'a', column 'audio': the file is text"):
        write_dataset(data, tmp_path / "again", description="x", vote_source="y")
    (tmp_path / "clip.wav").unlink()
    with pytest.raises(FileNotFoundError, match=r"Row 'a', column 'audio'.*clip.wav"):
        write_dataset(data, tmp_path / "again", description="x", vote_source="y")
    assert not (tmp_path / "again").exists()


def test_overwriting_is_asked_for_and_spares_foreign_files(folder):
    text = {"description": "x", "vote_source": "y"}
    with pytest.raises(FileExistsError, match="overwrite=True"):
        write_dataset(make("z"), folder, **text)
    write_dataset(make("z"), folder, overwrite=True, **text)
    assert sorted(path.name for path in (folder / "data").iterdir()) == ["train-00000-of-00001.parquet"]
    assert load_emotion_dataset(folder)["train"]["id"] == ["z"]
    (folder / "thesis.tex").write_text("years of work")
    with pytest.raises(FileExistsError, match=r"thesis\.tex"):
        write_dataset(make("z"), folder, overwrite=True, **text)
    assert (folder / "thesis.tex").exists()


def test_what_cannot_be_written_is_named(tmp_path):
    text = {"description": "x", "vote_source": "y"}
    with pytest.raises(ValueError, match=r"'a' is in 'train' and again in 'test'"):
        write_dataset(DatasetDict({"train": make("a"), "test": make("a")}), tmp_path / "o", **text)
    with pytest.raises(ValueError, match="Split 'test' has no rows"):
        write_dataset(DatasetDict({"train": make("a"), "test": make("b").select([])}), tmp_path / "o", **text)
    with pytest.raises(ValueError, match="vote_source"):
        write_dataset(make("a"), tmp_path / "o", description="x", vote_source=" ")
    assert not (tmp_path / "o").exists()


def test_loading_a_split_a_slice_a_file_and_a_saved_folder(folder, tmp_path):
    assert load_emotion_dataset(folder, "test")["id"] == ["c1"]
    assert load_emotion_dataset(str(folder), split="train[:2]")["id"] == ["a1", "a2"]
    file = folder / "data" / "test-00000-of-00001.parquet"
    assert load_emotion_dataset(file)["train"].features["audio"] == AUDIO
    DatasetDict({"test": make("q")}).save_to_disk(tmp_path / "saved")
    assert load_emotion_dataset(tmp_path / "saved", "test")["id"] == ["q"]


def test_audio_is_left_as_bytes_even_if_the_file_says_decode(tmp_path):
    make("a").cast_column("audio", Audio(sampling_rate=16000)).to_parquet(tmp_path / "decoded.parquet")
    loaded = load_emotion_dataset(tmp_path / "decoded.parquet", "train")
    assert loaded.features["audio"] == AUDIO
    assert loaded[0]["audio"]["bytes"] == b"a" * 100


def test_errors_of_loading_are_one_line_with_the_mend(folder, tmp_path):
    def message(*args) -> str:
        with pytest.raises(DatasetLoadError) as caught:
            load_emotion_dataset(*args)
        assert "\n" not in str(caught.value)
        assert "Mend:" in str(caught.value)
        return str(caught.value)

    assert "there are train, test" in message(folder, "validation")
    assert "Should be one of" in message(folder, "dev[:2]")
    assert "Nothing at" in message(tmp_path / "nowhere")
    assert "Nothing at" in message("./nowhere")
    assert "not a Hub id" in message("no such id!")
    (tmp_path / "empty").mkdir()
    assert "no Parquet files" in message(tmp_path / "empty")
    (tmp_path / "votes.csv").write_text("file,votes\n")
    assert "hf-emo-dist read table" in message(tmp_path / "votes.csv")
    (tmp_path / "torn.parquet").write_bytes(b"PAR1 and then nothing")
    assert "cannot be read" in message(tmp_path / "torn.parquet")
    Dataset.from_dict({"text": ["a"]}).to_parquet(tmp_path / "text.parquet")
    assert "no column 'audio' (there are text)" in message(tmp_path / "text.parquet")


@pytest.mark.parametrize(
    ("line", "told"),
    [
        ("x: [1", "expected ',' or ']'"),
        ("x: 2020-13-45", "month must be in 1..12"),
        ("- x", "expected <block end>"),
        ("a: &a [" + "x, " * 99 + "]\nb: &b [" + "*a, " * 99 + "]\nc: [" + "*b, " * 99 + "]", "aliases"),
    ],
)
def test_a_card_that_cannot_be_read_is_named_before_the_data_is(folder, line, told):
    card = folder / "README.md"
    _, front, rest = card.read_text().split("---\n", 2)
    card.write_text(f"---\n{front}{line}\n---\n{rest}")
    for read in (load_emotion_dataset, folder_card):
        with pytest.raises(DatasetLoadError, match=re.escape(told)) as error:
            read(folder)
        assert str(card) in str(error.value) and "Mend: " in str(error.value)


@pytest.mark.parametrize(("place", "line"), [("front", 2), ("end", None)])
def test_a_card_in_another_encoding_is_named(folder, place, line):
    card = folder / "README.md"
    text = card.read_bytes()
    line = line or text.count(b"\n") + 1
    card.write_bytes(text.replace(b"---\n", b"---\nx: caf\xe9\n", 1) if place == "front" else text + b"caf\xe9")
    for read in (load_emotion_dataset, folder_card):
        with pytest.raises(DatasetLoadError, match=rf"README.md is no text in UTF-8 \(line {line}: .*Mend: save it"):
            read(folder)


def test_an_unreachable_hub_id_is_one_clear_error(monkeypatch):
    def refuse(*args, **kwargs):
        raise ConnectionError("Couldn't reach 'you/yours' on the Hub (LocalEntryNotFoundError)\nand more")

    monkeypatch.setattr("datasets.load_dataset", refuse)
    with pytest.raises(DatasetLoadError, match=r"Nothing at 'you/yours'.*reached on the Hub.*Mend: check the spelling"):
        load_emotion_dataset("you/yours")


def test_emotions_of_reads_the_struct_in_its_order(folder):
    assert emotions_of(load_emotion_dataset(folder)) == EMOTIONS
    assert emotions_of(make("a"), "emotion_distribution") == EMOTIONS
    with pytest.raises(ValueError, match="no column 'human_distribution'"):
        emotions_of(Dataset.from_dict({"a": [1]}))
    with pytest.raises(ValueError, match="must be a struct"):
        emotions_of(Dataset.from_dict({"human_distribution": [[0.5, 0.5]]}))


def test_build_dataset_keeps_order_over_many_batches(tmp_path):
    rows = [{"id": str(index), "audio": {"bytes": b"x", "path": None}} for index in range(2500)]
    for cache_file in (None, tmp_path / "cache" / "rows.arrow"):
        data = build_dataset(iter(rows), row_features(EMOTIONS), cache_file)
        assert data["id"] == [str(index) for index in range(2500)]
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["rows.arrow"]


def test_description_counts_rows_speakers_and_mass(folder):
    lines = describe_dataset(load_emotion_dataset(folder)).splitlines()
    assert lines[0].split() == ["split", "rows", "speakers", "votes", *EMOTIONS]
    assert lines[1].split() == ["train", "3", "2", "4.0", "0.500", "0.250", "0.250"]


def test_the_card_takes_no_name_for_markup(tmp_path):
    evil = "sad\n---\nlicense: mit\n---\n# <b>Owned</b>"
    rows = [{"id": "a", "audio": {"bytes": b"RIFF", "path": "a.wav"}, "human_votes": ["happy"]}]
    data = build_dataset(rows, row_features(["happy", evil]))
    write_dataset(data, tmp_path / "d", description="One.", vote_source=evil, title=evil, emotions=["happy", evil])
    text = (tmp_path / "d" / "README.md").read_text(encoding="utf-8")
    assert text.count("\n---\n") == 1 and "\nlicense: mit" not in text and "<b>" not in text.partition("\n---\n")[2]
    assert "sad --- license: mit" in folder_card(tmp_path / "d")["vote_source"]


def test_what_was_written_anew_is_read_and_not_the_cache_of_what_was_there(tmp_path):
    """`load_dataset` finds a cache by a folder's README: that must differ though all its numbers are the same."""
    for votes in (["sad", "angry"], ["angry", "sad"]):
        for place in (tmp_path / "data", tmp_path / "other" / "data"):
            content = [
                {"id": str(i), "audio": {"bytes": b"RIFF", "path": "a"}, "human_votes": [vote]}
                for i, vote in enumerate(votes)
            ]
            made = build_dataset(content, row_features(["angry", "sad"]))
            write_dataset(made, place, description="x", vote_source="y", overwrite=True)
            assert load_emotion_dataset(place, "train")["human_votes"][:] == [[vote] for vote in votes]
            assert load_dataset(str(place))["train"]["human_votes"][:] == [[vote] for vote in votes]


def test_a_shard_that_is_replaced_by_hand_is_read_and_not_the_cache_of_the_one_before(folder):
    assert load_emotion_dataset(folder, "test")["id"][:] == ["c1"]
    shard = next((folder / "data").glob("test-*.parquet"))
    make("d1").to_parquet(shard)
    assert load_emotion_dataset(folder, "test")["id"][:] == ["d1"]
    shard.write_bytes(shard.read_bytes()[:-20])
    with pytest.raises(DatasetLoadError, match=r"cannot be read.*Mend: "):
        load_emotion_dataset(folder, "test")


def test_a_copy_in_the_cache_is_told_of_once(tmp_path, monkeypatch, caplog):
    from hf_emo_dist.data import loading

    monkeypatch.setattr(loading, "_WORTH_A_WORD", 1)
    row = {"id": "a", "audio": {"bytes": b"RIFF" * 1000, "path": "a.wav"}, "human_votes": ["sad"]}
    rows = build_dataset([row], row_features(["angry", "sad"]))
    write_dataset(rows, tmp_path / "copied", description="x", vote_source="made up")
    with caplog.at_level("INFO", "hf_emo_dist"):
        for told in (1, 1):
            loading.load_emotion_dataset(tmp_path / "copied")
            found = [one.getMessage() for one in caplog.records if "a copy of its rows" in one.getMessage()]
            assert len(found) == told and str(tmp_path / "copied") in found[0] and "may be deleted" in found[0]


def test_what_is_not_parquet_is_loaded_without_the_options_of_parquet(tmp_path):
    from hf_emo_dist.data.loading import _load

    (tmp_path / "rows.jsonl").write_text('{"id": "a"}\n')
    assert _load("json", data_files=str(tmp_path / "rows.jsonl"), cache_dir=str(tmp_path))["train"]["id"][:] == ["a"]
