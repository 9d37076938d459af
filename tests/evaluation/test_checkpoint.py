import json

import numpy as np
import pyarrow.parquet as pq
import pytest

from hf_emo_dist.evaluation.checkpoint import evaluate_checkpoint


@pytest.fixture(scope="module")
def scored(tones_checkpoint, data_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("out") / "deep" / "scores.json"
    report = evaluate_checkpoint(
        tones_checkpoint, data_folder, output=output, num_resamples=50, progress=False, device="cpu"
    )
    return report, output


def test_everything_is_written_and_agrees(scored):
    report, output = scored
    folder = output.parent
    scores = json.loads(output.read_text())
    assert scores["num_examples"] == 6 and scores["num_speakers"] == 2 and scores["split"] == "test"
    assert list(scores["predictors"]) == ["model", "mean_of_training_targets", "uniform"]
    rows = pq.read_table(folder / "predictions.parquet").to_pylist()
    assert [row["id"] for row in rows] == [f"s{s}-{i}" for s in (4, 5) for i in range(3)]
    assert np.mean([row["js_divergence"] for row in rows]) == pytest.approx(scores["js_divergence"])
    assert set(rows[0]) >= {"speaker", "predicted_distribution", "human_distribution", "true_distribution"}
    assert sum(rows[0]["predicted_distribution"].values()) == pytest.approx(1)
    for name in ("reliability.png", "predicted_against_target.png", "scores.md"):
        assert (folder / name).stat().st_size > 0
    assert "simulated data" in report.notes
    assert "simulated data" in (folder / "scores.md").read_text()


def test_mean_predictor_is_that_of_the_training_split(scored, data_folder):
    from hf_emo_dist import load_emotion_dataset
    from hf_emo_dist.scores.divergences import jensen_shannon_divergence
    from hf_emo_dist.votes import distributions_to_matrix

    report, _ = scored
    emotions = report.emotions
    train = distributions_to_matrix(load_emotion_dataset(data_folder, "train")["emotion_distribution"], emotions)
    human = distributions_to_matrix(load_emotion_dataset(data_folder, "test")["human_distribution"], emotions)
    expected = jensen_shannon_divergence(np.broadcast_to(train.mean(axis=0), human.shape), human).mean()
    assert report.predictors["mean_of_training_targets"]["js_divergence"] == pytest.approx(expected)


def test_limit_and_missing_training_split_are_noted(tones_checkpoint, data_folder):
    report = evaluate_checkpoint(
        tones_checkpoint, data_folder, limit=2, train_split="nothing", num_resamples=20, progress=False
    )
    assert report.num_examples == 2
    assert "only the first 2 of 6 rows" in report.notes
    assert "mean_of_training_targets" not in report.predictors
    assert any("'nothing'" in note for note in report.notes)


def test_scoring_the_training_split_is_noted(tones_checkpoint, data_folder):
    report = evaluate_checkpoint(tones_checkpoint, data_folder, "train", limit=2, num_resamples=20, progress=False)
    assert any("training split" in note for note in report.notes)


def test_the_model_may_have_its_emotions_in_another_order(backbone, tones_checkpoint, data_folder, tmp_path, scored):
    from hf_emo_dist import load_emotion_model

    model, processor = load_emotion_model(tones_checkpoint)
    order = [2, 0, 1]
    swapped = [model.config.emotions[i] for i in order]
    model.head.load_state_dict(_permuted(model.head.state_dict(), order))
    model.config.id2label = dict(enumerate(swapped))
    model.config.label2id = {label: i for i, label in enumerate(swapped)}
    model.save_pretrained(tmp_path)
    processor.emotions = swapped
    processor.save_pretrained(tmp_path)
    loaded, asks = load_emotion_model(tmp_path)
    assert list(loaded.config.emotions) == swapped
    # the prompt names the emotions in order, so only a model with the first order's prompt can give equal scores
    asks.emotions = list(scored[0].emotions)
    from hf_emo_dist import load_emotion_dataset
    from hf_emo_dist.modeling.prediction import predict_distributions

    rows = load_emotion_dataset(data_folder, "test")
    straight = predict_distributions(load_emotion_model(tones_checkpoint)[0], asks, rows, progress=False)
    assert np.allclose(predict_distributions(loaded, asks, rows, progress=False), straight[:, order], atol=1e-6)
    report = evaluate_checkpoint(tmp_path, data_folder, num_resamples=20, progress=False)
    assert report.emotions == scored[0].emotions
    assert report.to_dict()["js_divergence"] == pytest.approx(scored[0].to_dict()["js_divergence"], abs=0.02)


def test_mixed_rows_are_refused_where_somebody_asks_to_score_them(tones_checkpoint, data_folder, tmp_path):
    from datasets import Dataset, DatasetDict

    from hf_emo_dist import load_emotion_dataset, write_dataset

    splits = load_emotion_dataset(data_folder)
    mixed = [["s4-0", "s4-1"] if name == "s4-2" else None for name in splits["test"]["id"]]
    test = Dataset.from_list([{**row, "mixed_from": made} for row, made in zip(splits["test"], mixed, strict=True)])
    test = test.cast_column("audio", splits["test"].features["audio"])
    folder = write_dataset(
        DatasetDict({"test": test}),
        tmp_path / "mixed",
        description="d",
        vote_source="v",
        emotions=["angry", "happy", "sad"],
    )
    with pytest.raises(ValueError, match=r"1 rows were made by mixing.*s4-2.*Mend"):
        evaluate_checkpoint(tones_checkpoint, folder, progress=False)


@pytest.fixture(scope="module")
def grouped_folder(tmp_path_factory):
    """Training, validation and test speakers, half of each women; simulated votes."""
    from datasets import DatasetDict, Value
    from tiny_setup import EMOTIONS, make_rows

    from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

    def rows(speakers, clips, seed):
        made = make_rows([f"s{i}" for i in speakers], clips=clips, seed=seed)
        return [{**row, "gender": "female" if int(row["speaker"][1:]) % 2 else "male"} for row in made]

    features = row_features(EMOTIONS, {"gender": Value("string")})
    parts = {"train": (range(2), 2, 0), "validation": (range(2, 6), 6, 1), "test": (range(6, 10), 6, 2)}
    data = DatasetDict({name: build_dataset(rows(*part), features) for name, part in parts.items()})
    folder = tmp_path_factory.mktemp("grouped") / "data"
    return write_dataset(data, folder, description="Tones.", vote_source="Simulated votes.", emotions=EMOTIONS)


@pytest.fixture
def own_checkpoint(tones_checkpoint, tmp_path):
    import shutil

    return shutil.copytree(tones_checkpoint, tmp_path / "own")


FAST = {"num_resamples": 40, "progress": False, "device": "cpu"}


def test_a_temperature_is_fitted_on_one_split_and_reported_on_another(own_checkpoint, grouped_folder, tmp_path):
    from hf_emo_dist.evaluation.calibrate import calibrate_checkpoint
    from hf_emo_dist.scores.temperature import at_temperature

    output = tmp_path / "scores" / "scores.json"
    plain = evaluate_checkpoint(own_checkpoint, grouped_folder, output=output, **FAST)
    assert plain.temperature is None and "none was fitted" in plain.to_markdown()
    as_predicted = _predicted(output)
    found = calibrate_checkpoint(own_checkpoint, grouped_folder, progress=False, device="cpu")
    assert (found["rows"], found["speakers"], found["split"]) == (24, 4, "validation")
    assert "simulated data" in found["notes"]

    report = evaluate_checkpoint(own_checkpoint, grouped_folder, output=output, overwrite=True, **FAST)
    assert report.to_dict()["js_divergence"] == plain.to_dict()["js_divergence"]  # as predicted, by default
    np.testing.assert_array_equal(_predicted(output), as_predicted)
    saved = json.loads(output.read_text())["temperature"]
    assert saved["temperature"] == found["temperature"] and saved["applied"] is False and saved["shared_speakers"] == 0
    assert saved["before"]["js_divergence"] == report.to_dict()["js_divergence"]
    assert {"log_likelihood_per_vote", "expected_calibration_error"} <= saved["after"].keys() & saved["before"].keys()
    assert "fitted_on" not in saved["fitted_on"] and saved["fitted_on"]["votes"] == 144
    change = saved["difference"]["log_likelihood_per_vote"]
    gained = saved["after"]["log_likelihood_per_vote"] - saved["before"]["log_likelihood_per_vote"]
    assert change["difference"] == pytest.approx(gained) and change["low"] <= gained <= change["high"]
    assert "not applied" in report.to_markdown() and "at the temperature" in output.with_suffix(".md").read_text()

    how = {"output": output, "overwrite": True, "apply_temperature": True}
    applied = evaluate_checkpoint(own_checkpoint, grouped_folder, **how, **FAST)
    assert applied.to_dict()["js_divergence"] == pytest.approx(saved["after"]["js_divergence"])
    np.testing.assert_allclose(_predicted(output), at_temperature(as_predicted, found["temperature"]), atol=1e-12)
    assert any("at the temperature" in note for note in applied.notes)


def test_nobody_is_scored_with_a_temperature_of_their_own_votes(own_checkpoint, grouped_folder):
    from hf_emo_dist.evaluation.calibrate import calibrate_checkpoint

    calibrate_checkpoint(own_checkpoint, grouped_folder, progress=False, device="cpu")
    report = evaluate_checkpoint(own_checkpoint, grouped_folder, "validation", **FAST)
    assert report.temperature["shared_speakers"] == 4
    assert report.temperature["after"] is None and report.temperature["difference"] is None
    assert "fitted on 4 of the speakers" in report.to_markdown()
    with pytest.raises(ValueError, match=r"4 speakers of split 'validation'.*Mend"):
        evaluate_checkpoint(own_checkpoint, grouped_folder, "validation", apply_temperature=True, **FAST)


def test_a_temperature_of_nothing_or_of_the_training_is_refused(own_checkpoint, grouped_folder, tmp_path):
    from hf_emo_dist.evaluation.calibrate import calibrate_checkpoint

    before = (own_checkpoint / "config.json").read_bytes()
    for model, split, words in (
        (own_checkpoint, "train", "training split"),
        (own_checkpoint, "test[:10]", "Only 10 rows"),
        ("you/model", "validation", "no local folder"),
    ):
        with pytest.raises((ValueError, OSError), match=f"{words}.*Mend"):
            calibrate_checkpoint(model, grouped_folder, split, progress=False)
    with pytest.raises(ValueError, match=r"none was fitted.*Mend"):
        evaluate_checkpoint(own_checkpoint, grouped_folder, apply_temperature=True, **FAST)
    assert (own_checkpoint / "config.json").read_bytes() == before


def test_scores_by_group_are_written_beside_the_others(tones_checkpoint, grouped_folder, tmp_path):
    output = tmp_path / "scores.json"
    report = evaluate_checkpoint(tones_checkpoint, grouped_folder, output=output, by=["gender"], **FAST)
    saved = json.loads(output.read_text())["by"]["gender"]
    assert {name: group["num_examples"] for name, group in saved["groups"].items()} == {"female": 12, "male": 12}
    weighted = [group["scores"]["js_divergence"]["value"] for group in saved["groups"].values()]
    assert np.mean(weighted) == pytest.approx(report.to_dict()["js_divergence"])
    assert saved["groups"]["male"]["mean_predictor"] > 0 and saved["gap"]["js_divergence"]["value"] >= 0
    assert "By `gender`" in output.with_suffix(".md").read_text() and (tmp_path / "by_group.png").is_file()
    with pytest.raises(FileExistsError, match=r"is there already\. Mend: .*--overwrite"):
        evaluate_checkpoint(tones_checkpoint, grouped_folder, output=output, **FAST)
    evaluate_checkpoint(tones_checkpoint, grouped_folder, output=output, overwrite=True, **FAST)
    assert not (tmp_path / "by_group.png").is_file()
    with pytest.raises(ValueError, match=r"no column 'gendre'.*Mend: name 'gender'"):
        evaluate_checkpoint(tmp_path / "no model", grouped_folder, by=["gendre"], **FAST)


def _predicted(output):
    rows = pq.read_table(output.parent / "predictions.parquet").to_pylist()
    return np.array([list(row["predicted_distribution"].values()) for row in rows])


def test_what_does_not_fit_is_said_before_anything_is_opened(tones_checkpoint, tmp_path):
    for options, words in (
        ({"output": "x.txt"}, "json"),
        ({"limit": 0}, "limit=0"),
        ({"num_resamples": 0}, "num_resamples=0"),
    ):
        with pytest.raises(ValueError, match=words):
            evaluate_checkpoint(tones_checkpoint, tmp_path / "nothing", **options)


def _permuted(state, order):
    last = [key for key, value in state.items() if value.shape[0] == len(order)]
    assert last, "the head's last layer gives one logit an emotion"
    return {key: value[order] if key in last else value for key, value in state.items()}
