import json
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hf_emo_dist.evaluation.scoring import Bootstrap, evaluate_distributions

EMOTIONS = ("angry", "happy", "sad")


def rows_of(matrix, truth=None, **extra):
    rows = []
    for i, p in enumerate(matrix):
        row = {
            "id": f"r{i}",
            "speaker": f"s{i % 4}",
            "human_distribution": dict(zip(EMOTIONS, p, strict=True)),
            **extra,
        }
        if truth is not None:
            row["true_distribution"] = dict(zip(EMOTIONS, truth[i], strict=True))
        rows.append(row)
    return rows


@pytest.fixture
def human():
    return np.random.default_rng(0).dirichlet(np.ones(3), size=40)


def test_a_better_model_beats_the_constants_with_an_interval_below_zero(human):
    model = 0.8 * human + 0.2 / 3
    report = evaluate_distributions(model, rows_of(human), EMOTIONS, train_targets=human, num_resamples=200)
    assert list(report.predictors) == ["model", "mean_of_training_targets", "uniform"]
    for name in ("model_minus_uniform", "model_minus_mean_of_training_targets"):
        assert report.differences[name]["high"] < 0
    low, high = report.predictors["model"]["js_interval"]
    assert low <= report.to_dict()["js_divergence"] <= high
    assert report.js_divergence.mean() == pytest.approx(report.to_dict()["js_divergence"])
    assert report.num_speakers == 4


def test_order_of_the_structs_fields_does_not_matter(human):
    rows = rows_of(human)
    for row in rows:
        row["human_distribution"] = dict(reversed(row["human_distribution"].items()))
    report = evaluate_distributions(human, rows, EMOTIONS, num_resamples=50)
    assert report.to_dict()["js_divergence"] == pytest.approx(0, abs=1e-12)
    assert report.to_dict()["bhattacharyya_coefficient"] == pytest.approx(1)


def test_gap_closed_is_one_for_the_truth_and_zero_for_the_mean(human):
    rng = np.random.default_rng(1)
    votes = np.array([rng.multinomial(9, p) for p in human]) / 9
    rows = rows_of(votes, truth=human)
    truth = evaluate_distributions(human, rows, EMOTIONS, train_targets=votes, num_resamples=100).truth
    assert truth["gap_closed"]["value"] == pytest.approx(1)
    assert truth["js_divergence"]["model"]["value"] == pytest.approx(0, abs=1e-12)
    assert truth["floor"]["value"] > 0
    mean = np.broadcast_to(votes.mean(axis=0), votes.shape)
    none = evaluate_distributions(mean, rows, EMOTIONS, train_targets=votes, num_resamples=100).truth
    assert none["gap_closed"]["value"] == pytest.approx(0, abs=1e-9)


def test_report_is_json_and_tells_its_notes(human, tmp_path):
    rows = rows_of(human, corpus="simulated")
    report = evaluate_distributions(
        human, rows, EMOTIONS, split="test", vote_source="Borrowed from elsewhere.", notes=["first"], num_resamples=50
    )
    assert report.notes[:3] == ["first", "simulated data", "borrowed votes"]
    table = report.to_markdown()
    assert "simulated data" in table and "borrowed votes" in table and "40 utterances" in table and "`test`" in table
    harm = "<img src=x onerror=alert(1)> ![p](http://evil.example)"
    strange = replace(report, vote_source=harm, notes=[harm], predictors={harm: report.predictors["model"]})
    assert "<img" not in strange.to_markdown().replace("\\<img", "") and "](h" not in strange.to_markdown()
    path = report.save(tmp_path / "new")
    scores = json.loads(path.read_text())
    assert {"js_divergence", "bhattacharyya_coefficient", "num_examples"} <= scores.keys()
    assert scores["num_examples"] == 40
    assert path.with_suffix(".md").read_text() == table
    assert "mean of training targets" not in table and any("mean predictor" in note for note in report.notes)


def test_few_and_unknown_speakers_are_said(human):
    report = evaluate_distributions(human, rows_of(human), EMOTIONS, num_resamples=50)
    assert any(note.startswith("only 4 speakers") for note in report.notes)
    rows = [{key: value for key, value in row.items() if key != "speaker"} for row in rows_of(human)]
    unknown = evaluate_distributions(human, rows, EMOTIONS, num_resamples=50)
    assert unknown.num_speakers == 0
    assert "speakers unknown" in unknown.to_markdown() and "intervals over utterances" in unknown.to_markdown()


def test_one_speaker_gives_no_interval_and_valid_json(human, tmp_path):
    rows = [{**row, "speaker": "s0"} for row in rows_of(human, truth=human[::-1])]
    report = evaluate_distributions(human, rows, EMOTIONS, train_targets=human, num_resamples=50)
    assert "only one speaker: no intervals" in report.notes
    assert "nan" not in report.to_markdown()
    assert json.loads(report.save(tmp_path).read_text())["predictors"]["model"]["js_interval"] == [None, None]


def test_another_score_column_is_said(human):
    rows = [{**row, "emotion_distribution": row["human_distribution"]} for row in rows_of(human)]
    report = evaluate_distributions(human, rows, EMOTIONS, score_column="emotion_distribution", num_resamples=50)
    assert "scored on emotion_distribution, not on human votes" in report.notes


def test_votes_give_a_log_likelihood(human):
    rows = rows_of(human)
    for row in rows:
        row["human_votes"] = ["sad", "happy"]
    report = evaluate_distributions(np.full((40, 3), 1 / 3), rows, EMOTIONS, num_resamples=50)
    assert report.to_dict()["log_likelihood_per_vote"] == pytest.approx(-math.log(3))


def without_target(rows):
    for row in rows:
        del row["human_distribution"]


def other_labels(rows):
    rows[2]["human_distribution"] = {"angry": 1.0, "calm": 0.0, "sad": 0.0}


def mixed(rows):
    rows[3]["mixed_from"] = ["r1", "r2"]


def null_target(rows):
    rows[2]["human_distribution"] = None


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (without_target, ["no column 'human_distribution'", "combine_votes"]),
        (other_labels, ["r2", "calm"]),
        (mixed, ["r3", "mixed_from", "filter"]),
        (null_target, ["r2", "null"]),
    ],
)
def test_rows_that_cannot_be_scored_are_refused_by_name(human, change, words):
    rows = rows_of(human)
    change(rows)
    with pytest.raises(ValueError) as error:
        evaluate_distributions(human, rows, EMOTIONS)
    for word in words:
        assert word in str(error.value)


@pytest.mark.parametrize("bad", [math.nan, -0.5, 7.0])
def test_predictions_that_are_no_distributions_are_refused(human, bad):
    broken = human.copy()
    broken[5, 1] = bad
    with pytest.raises(ValueError, match="r5"):
        evaluate_distributions(broken, rows_of(human), EMOTIONS)


def test_no_rows_and_wrong_shapes_are_refused(human):
    with pytest.raises(ValueError, match="no rows"):
        evaluate_distributions(np.zeros((0, 3)), [], EMOTIONS)
    with pytest.raises(ValueError, match="shape"):
        evaluate_distributions(human[:-1], rows_of(human), EMOTIONS)


@given(
    st.lists(st.tuples(st.floats(-1, 1), st.floats(0.1, 1), st.sampled_from("abc")), min_size=1, max_size=20),
    st.floats(0.1, 10),
)
@settings(max_examples=30, deadline=None)
def test_ratio_is_that_of_the_means_and_scales(rows, scale):
    top, bottom, groups = (np.array(column) for column in zip(*rows, strict=True))
    ratio = Bootstrap(60).ratio(top, bottom, groups)
    assert ratio["value"] == pytest.approx(top.mean() / bottom.mean(), abs=1e-9)
    scaled = Bootstrap(60).ratio(scale * top, bottom, groups)
    for key in ("value", "low", "high"):
        assert scaled[key] == pytest.approx(scale * ratio[key], rel=1e-6, abs=1e-9, nan_ok=True)


def test_ratio_without_a_gap_is_nan_and_is_said():
    ratio = Bootstrap().ratio([0.1, 0.2], [0.0, -0.1])
    assert math.isnan(ratio["value"])


def test_ratio_resamples_whole_groups():
    top, bottom = np.repeat([0.0, 1.0], 50), np.ones(100)
    by_group = Bootstrap(400).ratio(top, bottom, np.repeat(["a", "b"], 50))
    by_row = Bootstrap(400).ratio(top, bottom)
    assert by_group["high"] - by_group["low"] > 2 * (by_row["high"] - by_row["low"])


def test_no_resamples_are_refused_and_are_not_the_default(human):
    with pytest.raises(ValueError, match=r"num_resamples=0 .*Mend"):
        evaluate_distributions(human, rows_of(human), EMOTIONS, num_resamples=0)
