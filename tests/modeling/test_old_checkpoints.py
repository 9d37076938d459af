"""Checkpoints that 0.1.0's trainer wrote load, and answer what they answered then: all weights, and an adapter."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from tiny_data import TINY_EMOTIONS, tone
from transformers import AutoModelForAudioClassification

from hf_emo_dist import load_emotion_model

FOLDER = Path(__file__).with_name("checkpoints_0_1_0")


@pytest.fixture
def checkpoints(tmp_path, monkeypatch):
    """A copy where the adapter's backbone is found: it is the full checkpoint, named by a relative path."""
    shutil.copytree(FOLDER, tmp_path / "old")
    monkeypatch.chdir(tmp_path / "old")
    return tmp_path / "old"


@pytest.mark.parametrize("name", ["full", "adapter"])
def test_a_checkpoint_of_0_1_0_answers_as_it_did(checkpoints, name):
    model, processor = load_emotion_model(name)
    assert model.config.emotions == TINY_EMOTIONS == tuple(processor.emotions)
    assert (model.config.loss_type, model.config.entropy_weight, model.config.head_dropout) == ("kl", 0.08, 0.2)
    assert (processor.use_speaker, processor.long_audio) == (True, "truncate")
    inputs = processor(
        audio=[tone(220, 0.4), tone(900, 0.25, seed=1)],
        transcript=["Kids are talking.", None],
        speaker=["s1", "s2"],
    )
    expected = torch.tensor(json.loads((FOLDER / "logits.json").read_text())[name])
    with torch.no_grad():
        torch.testing.assert_close(model(**inputs).logits, expected, atol=1e-6, rtol=1e-5)
        again = AutoModelForAudioClassification.from_pretrained(checkpoints / name).eval()
        torch.testing.assert_close(again(**inputs).logits, expected, atol=1e-6, rtol=1e-5)
