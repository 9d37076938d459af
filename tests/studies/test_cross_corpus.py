import numpy as np
import pytest

from hf_emo_dist.data.label_map import common_emotions, label_matrix
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.evaluation.scoring import Bootstrap
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.studies.cross_corpus import CrossPrediction, TestSet, compare_corpora, cross_corpus, read_test_set


def test_label_maps():
    rules = {"excited": "happy", "angry": "frustrated", "other": None}
    assert common_emotions([["angry", "sad", "happy"], ["frustrated", "excited", "other", "sad"]], rules) == (
        "frustrated",
        "sad",
        "happy",
    )
    assert label_matrix(["sad", "excited", "other"], ["happy", "sad"], rules).tolist() == [[0, 1], [1, 0], [0, 0]]
    with pytest.raises(ValueError, match="Fewer than two"):
        common_emotions([["angry", "sad"], ["happy", "sad"]], {})


def votes(counts, emotions, **options):
    speakers = np.array([f"s{place % 4}" for place in range(len(counts))])
    return TestSet(emotions, np.asarray(counts, dtype=float), speakers, True, "drawn", **options)


def test_predictions_and_votes_are_brought_to_the_common_emotions():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(6, [0.3, 0.3, 0.2, 0.2], 40)
    counts[0] = [0, 0, 0, 6]  # votes for what is left out alone
    p = rng.dirichlet(np.ones(3), 40)
    study = compare_corpora(
        {"B": votes(counts, ("angry", "excited", "happy", "other"))},
        {"A": {"B": CrossPrediction(("angry", "happy", "sad"), p)}},
        {"Excited": "Happiness", "other": None},
        Bootstrap(50),
    )
    (found,) = study.results["pairs"]
    assert study.results["emotions"] == ("angry", "happy")
    target = np.stack([counts[1:, 0], counts[1:, 1] + counts[1:, 2]], axis=1)
    target = target / target.sum(axis=1, keepdims=True)
    mine = p[1:, :2] / p[1:, :2].sum(axis=1, keepdims=True)
    assert found["js_divergence"]["value"] == pytest.approx(jensen_shannon_divergence(mine, target).mean())
    assert (found["rows"], found["left_out"]) == (39, 1)
    assert found["mass_left_out"] == pytest.approx(p[:, 2].mean())
    assert "excited → happy" in study.facts["emotions"] and "other → left out" in study.facts["emotions"]


def test_skill_is_one_for_the_votes_and_none_for_their_mean():
    rng = np.random.default_rng(0)
    counts = rng.multinomial(5, [0.4, 0.4, 0.2], 60)
    shares = counts / 5
    names = ("angry", "happy", "sad")
    by = {"perfect": shares, "mean": np.tile(shares.mean(axis=0), (60, 1))}
    study = compare_corpora(
        {"B": votes(counts, names)},
        {model: {"B": CrossPrediction(names, p)} for model, p in by.items()},
        None,
        Bootstrap(50),
    )
    perfect, mean = study.results["pairs"]
    assert perfect["skill"]["value"] == pytest.approx(1) and perfect["uar"]["value"] == 1
    assert mean["skill"]["value"] == pytest.approx(0, abs=1e-9) and mean["uar"]["value"] == pytest.approx(
        mean["uar_of_chance"]
    )


def test_a_corpus_without_votes_is_scored_on_the_dominant_class_alone():
    from datasets import Dataset

    def opened(rows):
        return open_dataset(Dataset.from_list(rows))

    rows = [{"id": str(i), "intended": name, "speaker": "x"} for i, name in enumerate(["angry", "sad", "sad", None])]
    p = np.array([[0.1, 0.9], [0.8, 0.2], [0.4, 0.6], [0.5, 0.5]])
    study = compare_corpora(
        {"acted": read_test_set("acted", opened(rows))},
        {"A": {"acted": CrossPrediction(("sad", "angry"), p)}},
        None,
        Bootstrap(50),
    )
    (found,) = study.results["pairs"]
    assert found["uar"]["value"] == 0.75 and "js_divergence" not in found and found["rows"] == 3
    assert "intended labels, not votes" in " ".join(study.notes) and "(intended labels)" in study.to_markdown()
    with pytest.raises(ValueError, match="neither human votes nor intended"):
        read_test_set("nothing", opened([{"id": "a"}]))
    with pytest.raises(ValueError, match="mixing"):
        read_test_set("mixed", opened([{"id": "a", "mixed_from": ["b", "c"]}]))


def test_what_is_predicted_and_trained_is_done_once(tones_checkpoint, backbone, data_folder, tmp_path, monkeypatch):
    recipe = ["--backbone", str(backbone), "--use_cpu", "true", "--num_train_epochs", "1", "--report_to", "none"]
    recipe += ["--validation_split", "test"]
    options = {
        "test": {"tones": f"{data_folder}:test", "again": f"{data_folder}:train"},
        "model": {"given": str(tones_checkpoint)},
        "train": {"made": str(data_folder)},
        "device": "cpu",
        "num_resamples": 20,
        "output": tmp_path,
    }
    study = cross_corpus(*recipe, **options)
    first = study.results["pairs"]
    assert [(pair["model"], pair["test"]) for pair in first] == [
        ("given", "tones"),
        ("given", "again"),
        ("made", "tones"),
        ("made", "again"),
    ]
    assert "simulated data" in study.notes and "made was trained on 16 of the 16 rows of again" in study.notes

    from hf_emo_dist.modeling import prediction
    from hf_emo_dist.training import fine_tuning as training_run

    monkeypatch.setattr(prediction, "predict_distributions", lambda *a, **k: pytest.fail("predicted again"))
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained again"))
    second = cross_corpus(*recipe, **options).results["pairs"]
    assert [p["js_divergence"]["value"] for p in first] == pytest.approx([p["js_divergence"]["value"] for p in second])
    for changed, words in (
        ({"model": None, "train": None}, "There is no model"),
        ({"model": {"made": str(tones_checkpoint)}}, "made names two models"),
    ):
        with pytest.raises(ValueError, match=words):
            cross_corpus(*recipe, **{**options, **changed})
    with pytest.raises(ValueError, match="Nothing says how to train"):
        cross_corpus(**options)
