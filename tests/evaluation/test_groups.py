"""Scores by group: as those of the group's rows alone, with honest intervals, and the gap between best and worst."""

import json
import math

import numpy as np
import pytest

from hf_emo_dist.evaluation.groups import check_groups, groups_markdown, recovered, scores_by_group
from hf_emo_dist.evaluation.plots import group_plot
from hf_emo_dist.evaluation.scoring import Bootstrap, jsonable
from hf_emo_dist.scores import SCORES, UNBOUNDED, compute_scores

EMOTIONS = ("angry", "happy", "sad")


def made(groups, rows_each=5, noise=None, seed=0):
    """Rows of speakers, one a group's name, and predictions as far from them as the group's noise says."""
    rng = np.random.default_rng(seed)
    rows, predicted = [], []
    for i, name in enumerate(groups):
        for j in range(rows_each):
            true = rng.dirichlet(np.ones(3))
            votes = rng.multinomial(6, true)
            shares = votes / 6
            far = (noise or {}).get(name, 0.3)
            predicted.append((1 - far) * shares + far * rng.dirichlet(np.ones(3)))
            rows.append({
                "id": f"{i}-{j}", "speaker": f"s{i}", "gender": name, "take": j % 2,
                "human_votes": [e for e, n in zip(EMOTIONS, votes, strict=True) for _ in range(n)],
                "human_distribution": dict(zip(EMOTIONS, shares, strict=True)),
            })  # fmt: skip
    return np.array(predicted), rows


GENDERS = ["female"] * 10 + ["male"] * 9


@pytest.fixture(scope="module")
def unequal():
    predicted, rows = made(GENDERS, noise={"female": 0.1, "male": 0.6})
    return predicted, rows, scores_by_group(predicted, rows, EMOTIONS, ["gender", "take"], num_resamples=200)


def test_a_group_s_scores_are_those_of_its_rows(unequal):
    predicted, rows, found = unequal
    place = [i for i, row in enumerate(rows) if row["gender"] == "male"]
    human = np.array([list(rows[i]["human_distribution"].values()) for i in place])
    counts = np.array([[rows[i]["human_votes"].count(e) for e in EMOTIONS] for i in place])
    expected = compute_scores(predicted[place], human, counts=counts)
    group = found["gender"]["groups"]["male"]
    assert (group["num_examples"], group["num_speakers"], group["too_small"]) == (45, 9, None)
    names = [name for name in expected if name in SCORES] + ["log_likelihood_per_vote"]
    assert len(names) > 20
    for name in names:
        score = group["scores"][name]
        assert score["value"] == pytest.approx(expected[name]), name
        assert score["low"] <= score["value"] <= score["high"], name


def test_the_gap_is_from_best_to_worst_by_each_score_s_direction(unequal):
    gap = unequal[2]["gender"]["gap"]
    for name in ("js_divergence", "bhattacharyya_coefficient", "log_likelihood_per_vote", "accuracy"):
        assert (gap[name]["best"], gap[name]["worst"]) == ("female", "male"), name
        assert gap[name]["value"] > 0 and gap[name]["low"] <= gap[name]["value"] <= gap[name]["high"]
    assert gap["js_divergence"]["low"] > 0
    groups = unequal[2]["gender"]["groups"]
    js = [groups[name]["scores"]["js_divergence"]["value"] for name in ("male", "female")]
    assert gap["js_divergence"]["value"] == pytest.approx(js[0] - js[1])
    assert "entropy_prediction" not in gap  # nothing to be better at
    assert "mean_predictor" in groups["male"] and groups["male"]["mean_predictor"] is None


def test_common_speakers_are_resampled_together():
    """Every speaker is in both groups and is worse in one by as much: the difference is known to the last digit."""
    rows, predicted = [], []
    for i, far in enumerate(np.linspace(0.1, 0.9, 20)):  # speakers differ much
        for take in (0, 1):
            for _ in range(2):
                rows.append({"id": str(len(rows)), "speaker": f"s{i}", "take": take,
                             "human_distribution": {"angry": 1.0, "happy": 0.0, "sad": 0.0}})  # fmt: skip
                predicted.append([1 - far / 2 - 0.05 * take, far / 2, 0.05 * take])
    found = scores_by_group(predicted, rows, EMOTIONS, ["take"], num_resamples=200)["take"]
    gap = found["gap"]["chebyshev_distance"]
    spread = [g["scores"]["chebyshev_distance"] for g in found["groups"].values()]
    assert gap["value"] == pytest.approx(0.05) and gap["high"] - gap["low"] < 1e-9
    assert all(score["high"] - score["low"] > 0.1 for score in spread)


def test_recovered_intervals_hold_what_they_promise():
    """Of 300 pairs of groups without a difference, 95 % of the intervals should hold 0: 8 speakers against 6."""
    held = 0
    for seed in range(300):
        rng = np.random.default_rng(seed)
        estimates = []
        for speakers in (8, 6):
            means = rng.normal(size=speakers)
            values = np.repeat(means, 4) + 0.5 * rng.normal(size=4 * speakers)
            estimates.append(Bootstrap(200, seed).interval(values, np.repeat(np.arange(speakers), 4), bounds=UNBOUNDED))
        found = recovered(*estimates)
        held += found["low"] <= 0 <= found["high"]
    assert 0.90 <= held / 300 <= 0.995


def test_small_groups_are_said_and_not_compared():
    predicted, rows = made(["a"] * 5 + ["b"] * 4 + ["c", ""], rows_each=6)
    rows = rows[:-3]
    found = scores_by_group(predicted[:-3], rows, EMOTIONS, ["gender"], num_resamples=50)["gender"]
    assert list(found["groups"]) == ["a", "b", "c", "not recorded"]
    small = {name: group["too_small"] for name, group in found["groups"].items()}
    assert small == {"a": None, "b": None, "c": "6 utterances", "not recorded": "3 utterances"}
    assert math.isnan(found["groups"]["c"]["scores"]["js_divergence"]["low"])
    assert {entry[key] for entry in found["gap"].values() for key in ("best", "worst")} <= {"a", "b"}
    assert any("c: too small (6 utterances)" in note for note in found["notes"])
    assert any("few speakers, rough intervals: a (5), b (4)" in note for note in found["notes"])
    one = scores_by_group(*(made(["a"] * 3, 8)), EMOTIONS, ["gender"], num_resamples=50)["gender"]
    assert one["gap"] == {} and any("no gap" in note for note in one["notes"])
    alone = [{**row, "speaker": "s0"} for row in made(["a", "b"], 12)[1]]
    single = scores_by_group(made(["a", "b"], 12)[0], alone, EMOTIONS, ["gender"], num_resamples=50)["gender"]
    assert {group["too_small"] for group in single["groups"].values()} == {"one speaker"}


def test_without_speakers_intervals_are_over_utterances_and_that_is_said():
    predicted, rows = made(["a"] * 3 + ["b"] * 3, 8)
    for row in rows:
        del row["speaker"], row["human_votes"]
    found = scores_by_group(predicted, rows, EMOTIONS, ["gender"], num_resamples=50)["gender"]
    group = found["groups"]["a"]
    assert group["num_speakers"] is None and math.isfinite(group["scores"]["js_divergence"]["low"])
    assert "log_likelihood_per_vote" not in group["scores"] and any("utterances" in note for note in found["notes"])


def test_tables_json_and_plot_show_it(unequal, tmp_path):
    predicted, rows, found = unequal
    told = groups_markdown(found)
    for words in (
        "By `gender`",
        "| male | 45 | 9 |",
        "**gap**, best to worst",
        "(female best, male worst)",
        "By `take`",
    ):
        assert words in told, words
    assert "nan" not in told and "above it by chance" in told
    assert json.loads(json.dumps(jsonable(found), allow_nan=False))["gender"]["gap"]["accuracy"]["worst"] == "male"
    mean = scores_by_group(predicted, rows, EMOTIONS, ["gender"], train_targets=[[1.0, 0.0, 0.0]], num_resamples=20)
    assert mean["gender"]["groups"]["male"]["mean_predictor"] > 0.3
    figure = group_plot({**mean, "take": found["take"]}, tmp_path / "x.png", split="test", notes=["simulated data"])
    assert [axis.get_title() for axis in figure.axes] == ["gender", "take"] and "simulated" in figure.get_suptitle()
    assert (tmp_path / "x.png").stat().st_size > 5000


ROWS = [{"id": str(i), "gender": "f", "age": 20.5 + i, "speaker": f"s{i}"} for i in range(40)]


@pytest.mark.parametrize(
    ("column", "words"),
    [
        ("gendre", "no column 'gendre'.*Mend: name 'gender'; there are id, gender, age"),
        ("zzz", "no column 'zzz'.*Mend: name another; there are"),
        ("age", "type float.*Mend.*range"),
        ("speaker", "40 values in 40 rows.*Mend"),
    ],
)
def test_what_is_no_grouping_is_refused(column, words):
    with pytest.raises(ValueError, match=words):
        check_groups(ROWS, ["gender", column])
