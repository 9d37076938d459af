"""`hf-emo-dist read table` and `hf-emo-dist simulate`, as they are typed."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from hf_emo_dist.audio.clips import encode_wav
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.table.read import read_table
from hf_emo_dist.data.loading import folder_card, load_emotion_dataset
from hf_emo_dist.data.splits import check_splits

ROOT = Path(__file__).parents[2]
DATA = Path(os.environ.get("HF_EMO_DIST_TEST_DATA") or ROOT.parent / "shared" / "data")


def run(*words: object) -> int:
    return main([str(word) for word in words])


@pytest.fixture
def table(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = ["file,speaker,angry,sad"]
    for index in range(8):
        scale = 0.0 if index == 5 else 0.1
        wave = scale * rng.uniform(-1, 1, 8000)
        (tmp_path / f"clip{index}.wav").write_bytes(encode_wav(wave.astype(np.float32), 16000))
        lines.append(f"clip{index}.wav,s{index % 4},{index % 3},1")
    (tmp_path / "votes.csv").write_text("\n".join(lines))
    return tmp_path / "votes.csv"


def test_from_table_writes_splits_and_reports_bad_clips(table, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("datasets.config.HF_DATASETS_CACHE", tmp_path / "cache")
    arguments = ["read", "table", table, tmp_path, tmp_path / "out", "--vote_source", "Invented.", "--seed", "1"]
    assert run(*arguments, "--speaker_split", "0.5,0.25,0.25") == 0
    printed = capsys.readouterr().out
    assert "clip5" in printed and "silent" in printed
    data = load_emotion_dataset(tmp_path / "out")
    assert list(data) == ["train", "validation", "test"]
    assert sum(len(rows) for rows in data.values()) == 8  # the silent clip is reported and not dropped
    check_splits(data)
    assert folder_card(tmp_path / "out")["vote_source"] == "Invented."

    assert run(*arguments) == 2
    assert "overwrite" in capsys.readouterr().err


def test_a_check_that_is_stopped_says_that_the_data_set_is_written(table, tmp_path, capsys, monkeypatch):
    def stopped(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr("hf_emo_dist.commands.read.check_clips", stopped)
    assert run("read", "table", table, tmp_path, tmp_path / "out", "--vote_source", "Invented.") == 130
    told = capsys.readouterr().err
    assert f"stopped: {tmp_path / 'out'} is written; only the check of its audio was stopped" in told
    assert len(load_emotion_dataset(tmp_path / "out")["train"]) == 8


def test_from_table_ends_in_one_line_when_the_table_does_not_fit(table, tmp_path, capsys):
    table.write_text("file,angry,sad\nnope.wav,1,0\n")
    assert run("read", "table", table, tmp_path, tmp_path / "out") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and "nope.wav" in error and "Traceback" not in error
    assert not (tmp_path / "out").exists()


def test_a_dry_run_says_what_was_understood_and_writes_nothing(table, tmp_path, capsys):
    assert run("read", "table", table, tmp_path, tmp_path / "out", "--dry_run") == 0
    told = capsys.readouterr().out
    assert "8 rows, 8 clips" in told and "Nothing was written" in told and len(told.splitlines()) <= 24
    assert not (tmp_path / "out").exists() and not list(tmp_path.glob(".*"))


def test_a_newcomers_spreadsheet(tmp_path, capsys):
    """One row a rating, Excel, German: by the command that the help shows, with the sheet's own names in it."""
    openpyxl = pytest.importorskip("openpyxl", reason="the extra `tables` is not installed")
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.append(["Nr", "Datei", "Sprecher", "Person", "Emotion", "Kommentar"])
    heard = {
        "Gespr\u00e4ch 1.wav": ("Wut", "Wut", "\u00c4rger"),
        "Gespr\u00e4ch 2.wav": ("Freude", "Trauer", "neutral"),
    }
    (tmp_path / "Aufnahmen").mkdir()
    for name, labels in heard.items():
        wave = np.random.default_rng(0).uniform(-0.1, 0.1, 8000)
        (tmp_path / "Aufnahmen" / name).write_bytes(encode_wav(wave.astype(np.float32), 16000))
        for person, label in enumerate(labels):
            sheet.append([sheet.max_row, name, 30, f"H{person}", label, None])
    book.save(tmp_path / "Bewertungen.xlsx")
    with pytest.raises(SystemExit):
        main(["read", "table", "--help"])
    shown = " ".join(capsys.readouterr().out.split())
    start = shown.index("hf-emo-dist read table ratings.xlsx")
    words = shown[start : shown.index(" --dry_run. To keep", start)].replace("'", "").split()[1:]
    own = {"ratings.xlsx": "Bewertungen.xlsx", "recordings": "Aufnahmen", "my_data": "Daten"}
    command = [str(tmp_path / own[word]) if word in own else word for word in words]
    assert run(*command) == 2  # one label more than the example has, which is asked about
    assert "'\u00c4rger' (1 vote, first in row 4" in capsys.readouterr().err
    assert run(*command[:-1], f"{command[-1]},\u00c4rger=angry") == 0
    rows = load_emotion_dataset(tmp_path / "Daten", "train")
    assert rows["human_votes"][:] == [["angry"] * 3, ["happy", "sad", "neutral"]]
    assert rows["human_raters"][0] == ["H0", "H1", "H2"] and rows["speaker"][:] == ["30", "30"]


def test_simulated_writes_a_card_that_says_so(tmp_path, capsys):
    arguments = [
        "--num_utterances",
        "6",
        "--num_speakers",
        "3",
        "--emotions",
        "fear, surprise",
        "--votes_per_utterance",
        "2,3",
    ]
    assert run("simulate", tmp_path / "sim", *arguments) == 0
    assert "Simulated" in capsys.readouterr().out
    assert "SIMULATED" in folder_card(tmp_path / "sim")["vote_source"]
    row = load_emotion_dataset(tmp_path / "sim", "train")[0]
    assert set(row["true_distribution"]) == {"fear", "surprise"} and len(row["human_votes"]) in (2, 3)
    assert run("simulate", tmp_path / "x", "--emotions", "bored,sad") == 2
    assert "cannot voice bored" in capsys.readouterr().err
    assert run("simulate", tmp_path / "x", "--votes", "5", "9") == 2
    assert "--votes_per_utterance 5,9" in capsys.readouterr().err


def test_a_real_table_is_read(tmp_path):
    folder = DATA / "ravdess"
    if not (folder / "votes.csv").is_file():
        pytest.skip(f"no recordings at {folder}: set HF_EMO_DIST_TEST_DATA")
    data = read_table(folder / "votes.csv", folder / "audio", cache_dir=tmp_path, progress=False)
    assert {split: len(rows) for split, rows in data.items()} == {"train": 528, "validation": 88, "test": 88}
    check_splits(data)
    row = data["train"][0]
    assert list(row["human_distribution"]) == ["angry", "disgust", "fear", "happy", "neutral", "sad"]
    assert row["human_votes"] == ["disgust", "fear", *["neutral"] * 7]
    assert row["fold"] == 0 and row["intended"] == "NEU"
