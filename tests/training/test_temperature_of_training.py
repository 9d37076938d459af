"""A training ends with a temperature, fitted on the votes of validation speakers and kept with the checkpoint."""

import json
import logging
import re

import pytest
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import changed, make_args

from hf_emo_dist import load_emotion_model, predict_distributions
from hf_emo_dist.modeling.calibration import calibration_of, fit_calibration
from hf_emo_dist.training.fine_tuning import run_training
from hf_emo_dist.training.recipe_arguments import RecipeArguments

VALIDATION = as_dataset(tiny_rows(24, seed=2))
EVALUATED = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}


def trained(folder, backbone, train, validation, lora=None, **changes):
    recipe = RecipeArguments(backbone=str(backbone), dataset="me/votes", lora=lora, num_threads=1)
    return run_training(recipe, make_args(folder, **{**EVALUATED, **changes}), train, validation)


@pytest.mark.parametrize("lora", [None, "all"])
def test_it_is_fitted_on_what_the_saved_checkpoint_predicts(tmp_path, tiny_backbone, tiny_train, lora):
    scores = trained(tmp_path, tiny_backbone, tiny_train, VALIDATION, lora)
    model, processor = load_emotion_model(tmp_path)
    found = calibration_of(model)
    assert found["temperature"] == scores["temperature"] != 1.0
    assert (found["rows"], found["votes"], found["speakers"], found["split"]) == (24, 120, 4, "validation")
    assert found["dataset"] == "me/votes"
    predicted = predict_distributions(model, processor, VALIDATION, progress=False)
    again = fit_calibration(predicted, VALIDATION, TINY_EMOTIONS)
    assert again["temperature"] == pytest.approx(found["temperature"], rel=1e-3)
    # the scores beside it are those without it, and the same as the best epoch's
    state = json.loads((tmp_path / "trainer_state.json").read_text())
    assert scores["eval_js_divergence"] == pytest.approx(state["best_metric"], abs=1e-6)
    before = found["log_likelihood_per_vote"]["before"]
    assert scores["eval_log_likelihood_per_vote"] == pytest.approx(before, abs=1e-4)
    assert found["log_likelihood_per_vote"]["after"] >= before
    # not of weights that were trained on after it
    name = "emotion_config.json" if lora else "config.json"
    for checkpoint in tmp_path.glob("checkpoint-*"):
        assert json.loads((checkpoint / name).read_text()).get("calibration") is None
    assert "| Temperature (not applied" in (tmp_path / "README.md").read_text()


def test_training_on_forgets_it(tmp_path, tiny_backbone, tiny_train):
    trained(tmp_path / "first", tiny_backbone, tiny_train, VALIDATION)
    scores = trained(tmp_path / "second", tmp_path / "first", tiny_train, VALIDATION, fit_temperature=False)
    assert "temperature" not in scores and "eval_js_divergence" in scores
    assert calibration_of(load_emotion_model(tmp_path / "second")[0]) is None


NONE = {
    "few rows": (lambda: VALIDATION.select(range(8)), "Only 8 rows have votes"),
    "no votes": (lambda: VALIDATION.remove_columns("human_votes"), "no column 'human_votes'"),
    "several sets": (lambda: {"a": VALIDATION}, "not one data set"),
}


@pytest.mark.parametrize(("validation", "words"), NONE.values(), ids=NONE.keys())
def test_where_it_cannot_be_fitted_training_goes_on_and_says_so(
    tmp_path, tiny_backbone, tiny_train, caplog, validation, words
):
    best = {"load_best_model_at_end": False, "save_strategy": "no", "metric_for_best_model": None}
    with caplog.at_level(logging.WARNING):
        scores = trained(tmp_path, tiny_backbone, tiny_train, validation(), **best)
    assert "temperature" not in scores and any(name.startswith("eval_") for name in scores)
    assert any("no temperature was fitted" in text and words in text for text in caplog.messages)
    assert calibration_of(load_emotion_model(tmp_path)[0]) is None


def test_a_concentration_that_votes_do_not_determine_is_said(tmp_path, tiny_backbone, tiny_train, caplog):
    single = changed(tiny_train, human_votes=lambda row: row["human_votes"][:1])
    with caplog.at_level(logging.WARNING):
        trained(tmp_path / "a", tiny_backbone, single, VALIDATION, loss_type="dirichlet_multinomial")
        assert any("no training row has 2 votes" in text for text in caplog.messages)
        caplog.clear()
        trained(tmp_path / "b", tiny_backbone, tiny_train, VALIDATION, loss_type="dirichlet_multinomial")
        assert not any("no training row has 2 votes" in text for text in caplog.messages)


def test_what_is_printed_says_that_a_temperature_is_at_its_bound(tmp_path, tiny_backbone, capsys):
    from datasets import DatasetDict

    from hf_emo_dist.commands.main import main
    from hf_emo_dist.data.writing import write_dataset

    # listeners who hear everything in everything: no temperature is flat enough
    emotions = list(TINY_EMOTIONS)
    even = dict.fromkeys(emotions, 1 / len(emotions))
    parts = {
        name: as_dataset([
            {**row, "id": f"{name}{i}", "speaker": f"{name}-{row['speaker']}", "human_votes": emotions,
             "human_distribution": even, "emotion_distribution": even}
            for i, row in enumerate(tiny_rows(24, seed=seed))
        ])
        for seed, name in enumerate(("train", "validation"))
    }  # fmt: skip
    data = write_dataset(
        DatasetDict(parts), tmp_path / "data", description="Tones.", vote_source="Simulated.", emotions=emotions
    )
    out = tmp_path / "out"
    words = f"--backbone {tiny_backbone} --dataset {data} --output_dir {out} --max_steps 1 --use_cpu true".split()
    assert main(["train", *words, "--disable_tqdm", "true", "--report_to", "none"]) == 0
    bound = r" \(simulated data.*; the best temperature lies beyond the bounds: these predictions say little .*\)"
    told = capsys.readouterr().out
    assert re.search(rf"(?m)^temperature of the validation votes, not applied: [\d.]+{bound}$", told), told
    assert main(["temperature", str(out), str(data), "--device", "cpu"]) == 0
    told = capsys.readouterr().out
    assert re.search(rf"(?m)^temperature [\d.]+{bound}, fitted on", told), told
