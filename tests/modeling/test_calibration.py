"""A checkpoint's temperature: kept with it in every layout, and applied only where somebody asks."""

import json

import numpy as np
import pytest
import torch
from tiny_data import TINY_EMOTIONS, tiny_rows, tone
from transformers import AutoModelForAudioClassification, pipeline

from hf_emo_dist import load_emotion_model, predict_distributions
from hf_emo_dist.hub.files import checkpoint_files
from hf_emo_dist.modeling.calibration import calibration_of, fit_calibration, fitted_on, store_calibration
from hf_emo_dist.scores.temperature import at_temperature

CALIBRATION = {"temperature": 1.75, "split": "validation", "rows": 40, "votes": 200.0, "fitted_on": "00000000"}


@pytest.fixture
def checkpoint_of(full, adapter, tmp_path):
    def made(layout):
        folder = full if layout == "full" else adapter
        weights = {file.name: file.read_bytes() for file in folder.glob("*.safetensors")}
        store_calibration(folder, CALIBRATION)
        assert {file.name: file.read_bytes() for file in folder.glob("*.safetensors")} == weights
        if layout == "merged":
            model, processor = load_emotion_model(folder, merge=True)
            folder = tmp_path / "merged"
            model.save_pretrained(folder)
            processor.save_pretrained(folder)
        return folder

    return made


@pytest.mark.parametrize("layout", ["full", "adapter", "merged"])
def test_every_layout_keeps_it_saved_loaded_and_pushed(checkpoint_of, layout, tmp_path):
    folder = checkpoint_of(layout)
    model, _ = load_emotion_model(folder)
    pipe = pipeline("speech-emotion-distribution", model=str(folder))
    for loaded in (model, AutoModelForAudioClassification.from_pretrained(folder), pipe.model):
        assert calibration_of(loaded) == CALIBRATION
    model.save_pretrained(tmp_path / "again")
    if layout != "adapter":  # whose configuration the trainer writes
        assert json.loads((tmp_path / "again" / "config.json").read_text())["calibration"] == CALIBRATION
    name = "emotion_config.json" if layout == "adapter" else "config.json"
    pushed = checkpoint_files(folder, readme="", base_model="me/base" if layout == "adapter" else None)
    content = next(file for file in pushed if file.path_in_repo == name).read()
    assert json.loads(content)["calibration"] == CALIBRATION


def test_it_is_applied_only_where_somebody_asks(tiny_model, tiny_processor, full):
    with torch.no_grad():  # an untrained head answers nearly the same to everything
        tiny_model.head.classifier.weight.mul_(40)
    tiny_model.save_pretrained(full)
    rows = tiny_rows(5)
    plain = predict_distributions(tiny_model, tiny_processor, rows, progress=False)
    store_calibration(full, CALIBRATION)
    model, processor = load_emotion_model(full)
    np.testing.assert_array_equal(predict_distributions(model, processor, rows, progress=False), plain)
    expected = at_temperature(plain, 1.75)
    assert np.abs(expected - plain).max() > 0.01
    tempered = predict_distributions(model, processor, rows, progress=False, apply_temperature=True)
    np.testing.assert_allclose(tempered, expected, atol=1e-12)

    pipe = pipeline("speech-emotion-distribution", model=str(full))

    def matrix(answers):
        return [[{e["label"]: e["score"] for e in answer}[name] for name in TINY_EMOTIONS] for answer in answers]

    np.testing.assert_allclose(matrix(pipe(rows)), plain, atol=1e-6)
    np.testing.assert_allclose(matrix(pipe(rows, apply_temperature=True)), expected, atol=1e-6)
    always = pipeline("speech-emotion-distribution", model=str(full), apply_temperature=True)
    np.testing.assert_allclose(matrix(always(rows)), expected, atol=1e-6)


def test_of_a_long_recording_the_mean_is_tempered_as_for_a_row(tiny_model, tiny_processor):
    with torch.no_grad():
        tiny_model.head.classifier.weight.mul_(40)
    tiny_model.config.calibration = CALIBRATION
    wave = np.concatenate([tone(200, 16), tone(900, 19, seed=1)])
    pipe = pipeline("speech-emotion-distribution", model=tiny_model, processor=tiny_processor, apply_temperature=True)
    found = pipe(wave, return_track=True)
    tiny_processor.long_audio = "window"
    (row,) = predict_distributions(
        tiny_model, tiny_processor, [{"id": "a", "audio": {"array": wave, "sampling_rate": 16000}}],
        progress=False, apply_temperature=True,
    )  # fmt: skip
    assert len(found["track"]) == 2
    shares = {entry["label"]: entry["score"] for entry in found["distribution"]}
    np.testing.assert_allclose([shares[name] for name in TINY_EMOTIONS], row, atol=1e-6)


def test_a_checkpoint_without_one_says_how_to_fit_it(tiny_model, tiny_processor):
    assert calibration_of(tiny_model) is None
    pipe = pipeline("speech-emotion-distribution", model=tiny_model, processor=tiny_processor)
    for ask in (
        lambda: predict_distributions(tiny_model, tiny_processor, tiny_rows(1), apply_temperature=True),
        lambda: pipe(tone(300, 0.3), apply_temperature=True),
    ):
        with pytest.raises(ValueError, match=r"none was fitted.*Mend: hf-emo-dist temperature"):
            ask()
    tiny_model.config.calibration = {"temperature": "hot"}
    with pytest.raises(ValueError, match=r"'hot'.*Mend"):
        calibration_of(tiny_model)


def test_what_was_fitted_knows_its_speakers():
    rows = [
        {"id": f"{i}", "speaker": f"{i % 3}", "corpus": "one", "human_votes": ["sad"] * 3 if i < 36 else []}
        for i in range(40)
    ]
    predicted = np.tile([0.2, 0.8], (40, 1))
    found = fit_calibration(predicted, rows, ["angry", "sad"], notes=["borrowed votes"], split="validation")
    assert (found["rows"], found["speakers"], found["votes"]) == (36, 3, 108)
    assert fitted_on(found, rows) == 3
    assert fitted_on(found, [{"speaker": "2", "corpus": "one"}, {"speaker": "9", "corpus": "one"}]) == 1
    assert fitted_on(found, [{"speaker": "2", "corpus": "two"}]) == 0
    assert found["notes"][0] == "borrowed votes" and any("beyond the bounds" in note for note in found["notes"])
    assert "speaker" not in found["fitted_on"] and json.dumps(found)
    nobody = fit_calibration(predicted, [{**row, "speaker": None} for row in rows], ["angry", "sad"])
    assert nobody["speakers"] is None
    assert fitted_on(nobody, [{"id": "3", "corpus": "one"}]) == 1  # without speakers, by row


def test_without_votes_there_is_no_temperature():
    with pytest.raises(ValueError, match=r"human_votes.*Mend"):
        fit_calibration(np.full((30, 2), 0.5), [{"id": str(i)} for i in range(30)], ["angry", "sad"])
    with pytest.raises(OSError, match="no checkpoint"):
        store_calibration("nowhere", CALIBRATION)
