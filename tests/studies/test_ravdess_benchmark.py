"""`benchmarks/combining_ravdess.py`, from the files of the test data to its tables, on tones and the tiny model."""

import csv
import importlib.util
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tiny_data import tone

from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.data.loading import load_emotion_dataset

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "common", raising=False)
    spec = importlib.util.spec_from_file_location("combining_ravdess", FOLDER / "combining_ravdess.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def data(benchmark, tmp_path):
    """Files as those of the test data: eight speakers in two folds, four votes a clip at least."""
    rng = np.random.default_rng(0)
    emotions = benchmark.EMOTIONS
    clips, faces = [], []
    (tmp_path / "data/ravdess/audio").mkdir(parents=True)
    (tmp_path / "data/cremad_votes").mkdir()
    for place in range(32):
        name, true = f"clip-{place:02d}.flac", rng.dirichlet(np.full(6, 0.4))
        wave = tone(150 + 400 * true[0], 0.3, seed=place)
        (tmp_path / "data/ravdess/audio" / name).write_bytes(encode_flac(wave))
        voted = {
            who: dict(zip(emotions, rng.multinomial(number, true).tolist(), strict=True))
            for who, number in (("voice", 4 + place % 6), ("face", 8))
        }
        about = {"transcript": "Kids.", "fold": place % 8 // 4, "intended": "NEU", "intensity": "normal"}
        clips.append({"file": name, "speaker": f"s{place % 8}", "donor": f"d{place}", **about, **voted["voice"]})
        for modality in voted:  # the donor's voice votes are in the table, too
            faces.append({"clip": f"d{place}", "modality": modality, **voted[modality]})
    for file, rows in (("ravdess/votes.csv", clips), ("cremad_votes/votes.csv", faces)):
        with open(tmp_path / "data" / file, "w", newline="", encoding="utf-8") as out:
            writer = csv.DictWriter(out, rows[0])
            writer.writeheader()
            writer.writerows(rows)
    return tmp_path / "data", clips, [row for row in faces if row["modality"] == "face"]


def test_the_targets_never_see_the_votes_that_they_are_scored_on(benchmark, data, tmp_path):
    folder, clips, faces = data
    ids = {}
    for seed in (0, 1):
        rows = load_emotion_dataset(benchmark.make_dataset(folder, tmp_path / f"made{seed}", 3, seed), "train")
        for row, clip, face in zip(rows, clips, faces, strict=True):
            everything = [name for name in benchmark.EMOTIONS for _ in range(clip[name])]
            assert len(row["human_votes"]) == 3 and sorted(row["human_votes"] + row["other_votes"]) == everything
            shares = {name: row["other_votes"].count(name) / len(row["other_votes"]) for name in benchmark.EMOTIONS}
            assert row["human_distribution"] == pytest.approx(shares)
            assert row["synthetic_votes"] == [name for name in benchmark.EMOTIONS for _ in range(face[name])]
        ids[seed] = rows["human_votes"][:]
    assert ids[0] != ids[1]


@pytest.mark.slow
def test_every_target_is_trained_on_and_scored(benchmark, data, tiny_backbone, tmp_path):
    words = [str(tmp_path / "out"), "--data", str(data[0]), "--backbone", str(tiny_backbone)]
    words += [
        "--sources",
        "human",
        "posterior",
        "--training",
        "--num_train_epochs 2 --learning_rate 0.05 --warmup_steps 0 --cache_audio_tower false",
    ]
    benchmark.main(words)
    found = json.loads((tmp_path / "out/combining_ravdess.json").read_text())
    assert list(found["regression"]) == ["human", "posterior"]
    assert list(found["model"]) == ["human", "posterior", "posterior, rows by A / (A + 5)"]
    for kind in found.values():
        for source, figures in kind.items():
            for figure, cell in figures.items():
                change = cell["value"] - kind["human"][figure]["value"]
                assert cell["minus_first"]["value"] == pytest.approx(change, abs=1e-9), (source, figure)
    model = found["model"]
    assert model["posterior"] != model["human"]
    text = (tmp_path / "out/combining_ravdess.md").read_text()
    assert text.startswith("**Borrowed votes.**") and "rows weighted by A / (A + 5)" in text


def test_data_that_is_not_there_is_named(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=r"ravdess is not here. Mend: --data"):
        benchmark.main([str(tmp_path / "out"), "--data", str(tmp_path)])
