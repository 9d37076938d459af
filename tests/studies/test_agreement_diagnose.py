from dataclasses import replace

import numpy as np
import pytest
from vote_setup import EMOTIONS, annotated, draw, truth, vote_table

from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.evaluation.scoring import Bootstrap
from hf_emo_dist.scores.agreement import fleiss_kappa
from hf_emo_dist.studies import Sources
from hf_emo_dist.studies.agreement import added_by_focus, agreement, gain_from_synthetic
from hf_emo_dist.studies.diagnose import diagnose, fitted_temperature, swapped_predictions

ROWS = 300


@pytest.fixture(scope="module")
def table():
    """Two annotators who hear what listeners hear, and one who always says the same."""
    rng = np.random.default_rng(0)
    q = truth(ROWS, rng)
    foci = {"tone": draw(q, 3, rng), "words": draw(q, 3, rng), "stuck": np.full((ROWS, 3), 2)}
    return annotated(draw(q, 8, rng), foci), q


def test_a_focus_adds_what_it_hears(table):
    found = {focus: values.mean() for focus, (values, _) in added_by_focus(table[0], table[0].annotations).items()}
    assert found["stuck"] < -0.02 and found["tone"] > 0.005 and found["words"] > 0.005


def test_annotators_of_one_kind_add_alike():
    rng = np.random.default_rng(1)
    q = truth(ROWS, rng)
    same = annotated(draw(q, 8, rng), {"a": draw(q, 4, rng), "b": draw(q, 4, rng)})
    for values, _ in added_by_focus(same, same.annotations).values():
        assert abs(values.mean()) < 3 * values.std() / np.sqrt(len(values)) + 1e-3


def test_gain_is_positive_for_votes_from_the_truth_and_negative_for_others():
    rng = np.random.default_rng(2)
    q = truth(ROWS, rng)
    human = draw(q, 8, rng)
    gain, strata, rows = gain_from_synthetic(vote_table(human, draw(q, 8, rng)))
    assert gain.mean() > 0.03 and len(gain) == len(rows) == len(strata.index)
    assert gain_from_synthetic(vote_table(human, draw(q[::-1], 8, rng)))[0].mean() < -0.03
    with pytest.raises(ValueError, match="No row has 2 human votes"):
        gain_from_synthetic(vote_table(human[:, :1], human))


def test_agreement_study(table, tmp_path):
    study = agreement(Sources({"drawn": replace(table[0], notes=["simulated data"])}), num_resamples=50)
    found = study.results["corpora"]["drawn"]
    assert found["fleiss_kappa"]["value"] == pytest.approx(fleiss_kappa(table[0].counts()))
    stuck, tone = (found["annotators"][f"model, {focus}, label"] for focus in ("stuck", "tone"))
    assert abs(stuck["kappa"]["value"]) < 1e-9 < 0.2 < tone["kappa"]["low"]
    # an independent draw agrees with a listener as listeners do with one another
    assert tone["minus_listener"]["low"] < 0 < tone["minus_listener"]["high"]
    assert stuck["label_shares"]["neutral"] == 1
    assert any("'tone' adds more" in line for line in study.findings)
    assert not any("'stuck' adds more" in line for line in study.findings)
    page = study.save(tmp_path).read_text()
    assert "simulated data" in page and "What each focus adds" in page
    people = agreement(Sources({"people": vote_table(table[0].votes)}), num_resamples=20)
    assert "no synthetic annotations" in " ".join(people.findings)
    assert "focus" in study.plots[0].caption and "focus" not in people.plots[0].caption


# --- diagnose


def checked(table, **options):
    return diagnose(Sources({"drawn": table}), **options)


def outcomes(study):
    return {check["name"]: check["status"] for check in study.results["checks"]}


def test_healthy_votes_and_predictions_pass():
    rng = np.random.default_rng(0)
    q = truth(500, rng)
    table = vote_table(draw(q, 6, rng), draw(q, 10, rng))
    study = checked(table, predictions=q, swapped=np.roll(q, 1, axis=0), num_resamples=200)
    found = outcomes(study)
    assert "failure" not in found.values()
    assert found["complementarity where listeners disagree most"] == "ok"
    assert found["a model that ignores its audio"] == "ok"
    assert found["redundant augmentation"] == "not run"


def test_every_sign_of_failure_is_found_with_advice(tmp_path):
    rng = np.random.default_rng(0)
    q = truth(500, rng)
    sharp = q**3 / (q**3).sum(axis=1, keepdims=True)
    table = vote_table(draw(q, 6, rng), draw(sharp[::-1], 10, rng))
    from datasets import Dataset

    shares = dict.fromkeys(EMOTIONS, 0.25)
    training = [
        {
            "id": f"t{i}",
            "mixed_from": None if i < 40 else ["t0", "t1"],
            "human_votes": ["sad"] if i < 40 else None,
            "emotion_distribution": shares,
        }
        for i in range(60)
    ]
    opened = open_dataset(Dataset.from_list(training), emotions=EMOTIONS)
    study = checked(table, predictions=sharp, swapped=sharp, training=opened, num_resamples=200)
    assert set(outcomes(study).values()) == {"failure"}
    advice = " ".join(study.findings)
    for words in ("oversimplify", "synthetic_weight", "soft_cross_entropy", "input_features", "1 different pairs"):
        assert words in advice
    assert "5 of 5 checks run: 5 failure(s)" in study.save(tmp_path).read_text()


def test_votes_that_only_the_training_rows_have_are_checked_there(tmp_path):
    """Annotating the training split alone is the default of `hf-emo-dist annotate`."""
    from datasets import Dataset, DatasetDict

    rng = np.random.default_rng(0)
    q = truth(500, rng)
    people, more = draw(q, 6, rng), draw(q, 10, rng)
    rows = [
        {
            "id": f"{place}",
            "human_votes": [EMOTIONS[vote] for vote in heard],
            "synthetic_votes": [EMOTIONS[vote] for vote in given],
            "emotion_distribution": dict.fromkeys(EMOTIONS, 0.25),
        }
        for place, (heard, given) in enumerate(zip(people, more, strict=True))
    ]
    opened = open_dataset(DatasetDict(train=Dataset.from_list(rows)), emotions=EMOTIONS)
    assert "not run" in outcomes(checked(vote_table(people), num_resamples=50))["entropy of synthetic votes"]
    study = checked(vote_table(people), training=opened, num_resamples=200)
    checks = {check["name"]: check for check in study.results["checks"]}
    for name in ("entropy of synthetic votes", "complementarity where listeners disagree most"):
        assert checks[name]["status"] != "not run" and checks[name]["measured"].startswith("training rows: ")
    assert "<td class=prose>training rows: " in study.save(tmp_path / "a").read_text()
    # the scored rows' own votes come first
    own = checked(vote_table(people, more), training=opened, num_resamples=50).results["checks"][0]
    assert own["measured"].startswith("synthetic minus human")


def test_the_temperature_is_that_of_the_truth():
    rng = np.random.default_rng(0)
    q = truth(1500, rng, 2.0)
    counts = np.array([rng.multinomial(5, row) for row in q]).astype(float)
    groups = np.arange(1500) % 30
    for power in (1.0, 2.0, 0.5):
        p = q**power / (q**power).sum(axis=1, keepdims=True)
        found = fitted_temperature(p, counts, groups, Bootstrap(200))
        assert found["value"] == pytest.approx(power, rel=0.1)
        assert found["low"] < power * 1.02 and found["high"] > power * 0.98


def test_audio_is_swapped_and_the_text_is_not(tones_checkpoint, data_folder):
    from hf_emo_dist.data.loading import load_emotion_dataset
    from hf_emo_dist.evaluation.checkpoint import open_model
    from hf_emo_dist.modeling.prediction import predict_distributions

    rows = load_emotion_dataset(data_folder, "test")
    emotions = ("sad", "angry", "happy")
    swapped = swapped_predictions(tones_checkpoint, rows, emotions)
    model, processor = open_model(tones_checkpoint, "cpu")
    own = predict_distributions(model, processor, rows)[:, [2, 0, 1]]
    # the clips' transcripts are alike, so that each prediction is that of another row
    assert not np.allclose(swapped, own, atol=1e-6)
    distance = np.abs(swapped[:, None] - own[None]).max(axis=2)
    assert (
        sorted(distance.argmin(axis=1)) == list(range(len(rows)))
        and (distance.argmin(axis=1) != np.arange(len(rows))).all()
    )
    assert distance.min(axis=1).max() < 1e-4
    with pytest.raises(ValueError, match="answers with"):
        swapped_predictions(tones_checkpoint, rows, ("angry", "sad"))


def test_a_model_predicts_with_swapped_audio(tones_checkpoint, data_folder, tmp_path):
    from hf_emo_dist.evaluation.checkpoint import evaluate_checkpoint

    evaluate_checkpoint(
        tones_checkpoint, data_folder, output=tmp_path / "scores.json", num_resamples=20, progress=False
    )
    data, options = Sources([str(data_folder)], split="test"), {"model": str(tones_checkpoint), "num_resamples": 20}
    study = diagnose(data, predictions=str(tmp_path / "predictions.parquet"), **options)
    assert outcomes(study)["a model that ignores its audio"] != "not run" and "simulated data" in study.notes
    with pytest.raises(ValueError, match="add --split"):
        diagnose(Sources([str(data_folder)]), **options)
