"""`benchmarks/augmentation_ablation.py`, from data to table, on the tiny model."""

import importlib.util
import json
from pathlib import Path

import pytest

FILE = Path(__file__).parents[2] / "benchmarks" / "augmentation_ablation.py"


@pytest.fixture(scope="module")
def ablation():
    spec = importlib.util.spec_from_file_location("augmentation_ablation", FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_arm_is_trained_and_scored(ablation, tiny_backbone, tmp_path):
    data = ["--num_utterances", "40", "--num_speakers", "4", "--rare", "angry, sad", "--keep", "0.5"]
    short = ["--seeds", "1", "--steps", "2", "--batch_size", "4"]
    ablation.main(["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path), *data, *short])
    report = json.loads((tmp_path / "ablation.json").read_text())
    arms = report["arms"]
    assert list(arms) == list(ablation.ARMS) and report["rare"] == ["angry", "sad"]
    assert arms["none"]["rows"] < arms["default"]["rows"] == arms["oversampling"]["rows"]
    for cells in arms.values():
        assert 0 < cells["all"]["js"] < 1
        assert cells["all_minus_none"]["js"] == pytest.approx(cells["all"]["js"] - arms["none"]["all"]["js"])
    text = (tmp_path / "ablation.md").read_text()
    assert "simulated data" in text and "Default minus preset `paper`" in text


def test_an_emotion_that_the_data_lacks_is_named_before_anything_is_computed(ablation, tmp_path, capsys):
    with pytest.raises(SystemExit, match="2"):
        data = ["--num_utterances", "8", "--num_speakers", "4", "--rare", "happy,fear"]
        ablation.main(["--backbone", "nowhere", "--output_dir", str(tmp_path), *data])
    assert "Unknown emotion 'fear': known are angry, happy, neutral, sad" in capsys.readouterr().err
