"""`benchmarks/backbones.py`, from the files of the test data to its tables, on tones and tiny encoders."""

import csv
import importlib.util
import json
import shlex
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from safetensors.torch import save_file
from tiny_data import tone
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.commands.main import main as hf_emo_dist
from hf_emo_dist.training import fine_tuning

FOLDER = Path(__file__).parents[2] / "benchmarks"
EMOTIONS = ("angry", "happy", "sad")
QUICK = "--num_train_epochs 1 --warmup_steps 0"


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Files as those of the test data: eight speakers in two folds, and two encoders."""
    folder, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(0)
    (folder / "ravdess" / "audio").mkdir(parents=True)
    clips = []
    for place in range(32):
        name, true = f"clip-{place:02d}.flac", rng.dirichlet(np.full(3, 0.4))
        (folder / "ravdess/audio" / name).write_bytes(encode_flac(tone(150 + 400 * true[0], 0.3, seed=place)))
        about = {"transcript": "Kids.", "fold": place % 8 // 4, "intended": "NEU", "intensity": "normal"}
        votes = dict(zip(EMOTIONS, rng.multinomial(4 + place % 6, true).tolist(), strict=True))
        clips.append({"file": name, "speaker": f"s{place % 8}", **about, **votes})
    with open(folder / "ravdess" / "votes.csv", "w", newline="", encoding="utf-8") as out:
        writer = csv.DictWriter(out, clips[0])
        writer.writeheader()
        writer.writerows(clips)
    for name, layers in (("whisper_tiny_en_encoder", 1), ("whisper_base_encoder", 2)):
        settings = {"num_mel_bins": 16, "encoder_layers": layers, "encoder_attention_heads": 2, "encoder_ffn_dim": 24}
        settings |= {"d_model": 16, "max_source_positions": 1500}
        (folder / name).mkdir()
        encoder = WhisperEncoder(WhisperConfig(**settings))
        save_file({key: value.half() for key, value in encoder.state_dict().items()}, folder / name / "w.safetensors")
        (folder / name / "encoder_config.json").write_text(json.dumps(settings))
    return folder


@pytest.fixture
def benchmark(monkeypatch):
    monkeypatch.syspath_prepend(FOLDER)
    monkeypatch.delitem(sys.modules, "common", raising=False)
    spec = importlib.util.spec_from_file_location("backbones_benchmark", FOLDER / "backbones.py")
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, spec.name, module)  # dataclasses look there
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
def test_arms_are_trained_once_and_added_to_one_table(benchmark, data, tmp_path, monkeypatch):
    words = [
        str(tmp_path / "out"),
        "--data",
        str(data),
        "--seeds",
        "0",
        "1",
        "--training",
        QUICK,
        "--speed_clips",
        "16",
    ]
    benchmark.main([*words, "--arms", "base", "--no-speed"])
    first = json.loads((tmp_path / "out/backbones.json").read_text())
    assert first["votes"] == "borrowed" and "--arms base" in first["command"] and "speed" not in first
    assert set(first["arms"]) == {"mean", "regression_base", "regression_base_hindsight", "base", "ceiling"}
    base = first["arms"]["base"]
    assert base["js"]["value"] == pytest.approx(np.mean(base["js_by_seed"])) and len(base["js_by_seed"]) == 2
    by_layer = first["arms"]["regression_base_hindsight"]["js_by_layer"]
    assert len(by_layer) == 3 and first["arms"]["regression_base_hindsight"]["js"]["value"] == min(by_layer)

    seen = []
    train = benchmark.cross_validate
    monkeypatch.setattr(benchmark, "tower_features", lambda *a: pytest.fail("computed again"))
    monkeypatch.setattr(benchmark, "cross_validate", lambda *a, **k: seen.append(a) or train(*a, **k))
    benchmark.main([*words, "--arms", "base", "base_lora", "--speed"])
    found = json.loads((tmp_path / "out/backbones.json").read_text())
    assert found["arms"]["base"] == base and len(seen) == 3
    change = found["arms"]["base_lora"]["js"]["value"] - found["arms"]["regression_base"]["js"]["value"]
    assert found["arms"]["base_lora"]["minus_regression"]["value"] == pytest.approx(change)
    for cell in found["speed"].values():
        assert cell["computed"] > 0 and cell["kept"] > 0
    text = (tmp_path / "out/backbones.md").read_text()
    assert "**Borrowed votes.**" in text and "LoRA" in text and "mean of 2 seeds" in text and "target 2 x" in text

    # the figure of the table is that of the predictions of all folds
    rows = pq.read_table(tmp_path / "out/arms/base-seed0/predictions.parquet").to_pylist()
    assert len(rows) == 32 and np.mean([row["js_divergence"] for row in rows]) == pytest.approx(base["js_by_seed"][0])


@pytest.mark.slow
def test_each_arm_is_a_command_that_gives_the_same(benchmark, data, tmp_path, capsys, monkeypatch):
    words = [str(tmp_path / "out"), "--data", str(data), "--arms", "tiny", "mini", "--training", QUICK, "--no-speed"]
    benchmark.main(words)
    found = json.loads((tmp_path / "out/backbones.json").read_text())["arms"]
    capsys.readouterr()
    benchmark.main([*words, "--print_commands"])
    lines = capsys.readouterr().out.splitlines()
    monkeypatch.setattr(fine_tuning, "run_training", lambda *a, **k: pytest.fail("trained again"))
    for name, line in zip(("tiny", "mini"), lines, strict=True):
        assert hf_emo_dist(shlex.split(line)[1:]) == 0
        report = json.loads((tmp_path / f"out/arms/{name}-seed0/cross_validation.json").read_text())
        assert report["js_divergence"] == pytest.approx(found[name]["js"]["value"])
        assert ("regression" in report["predictors"]) == (name == "tiny")


def test_data_that_is_not_there_is_named(benchmark, tmp_path):
    with pytest.raises(SystemExit, match=r"lacks whisper_tiny_en_encoder .* Mend: --data"):
        benchmark.main([str(tmp_path / "out"), "--data", str(tmp_path)])
