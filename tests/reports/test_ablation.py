"""The ablation on tones with simulated synthetic votes: whole, stopped and resumed, and what it refuses."""

import json
import sys
import types

import numpy as np
import pytest
from tiny_setup import EMOTIONS, make_rows

from hf_emo_dist.cli import main
from hf_emo_dist.corpora import build_dataset, row_features, write_dataset
from hf_emo_dist.reports.ablation import ablation_study
from hf_emo_dist.reports.ablation_targets import augmenter_of, source_targets, with_targets
from hf_emo_dist.reports.commands import run_command
from hf_emo_dist.training import run as training_run
from hf_emo_dist.training.run import parse_config
from hf_emo_dist.votes import distributions_to_matrix


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Train, validation and test with synthetic labels that are drawn from the truth; one row has none."""
    from datasets import DatasetDict, Value

    features = row_features(
        EMOTIONS,
        {"fold": Value("int64"), "intended": Value("string"), "synthetic_votes": [Value("string")]},
        true_distribution=True,
    )
    splits = {}
    for name, speakers in {"train": ["s0", "s1", "s2"], "validation": ["s3"], "test": ["s4", "s5", "s6"]}.items():
        rows = make_rows(speakers, clips=4, seed=len(name))
        for place, row in enumerate(rows):
            rng = np.random.default_rng(place)
            row["synthetic_votes"] = (
                [] if place == 1 else rng.choice(EMOTIONS, 5, p=list(row["true_distribution"].values())).tolist()
            )
        splits[name] = build_dataset(rows, features)
    folder = tmp_path_factory.mktemp("ablation") / "data"
    return write_dataset(
        DatasetDict(splits), folder, description="Tones.", vote_source="Simulated votes on tones.", emotions=EMOTIONS
    )


def twice(rows, emotions, seed):
    """An augmentation that is none: the rows again under other names."""
    from datasets import concatenate_datasets

    again = rows.remove_columns("id").add_column("id", [f"{name}-{seed}" for name in rows["id"]])
    return concatenate_datasets([rows, again.select_columns(rows.column_names)])


def arguments(backbone, data, output):
    words = ["--backbone", str(backbone), "--dataset", str(data), "--output_dir", str(output), "--use_cpu", "true"]
    return parse_config([*words, "--num_train_epochs", "1", "--report_to", "none", "--learning_rate", "1e-3"])


OPTIONS = {
    "sources": ("human", "combined"),
    "seeds": (0, 1),
    "augmenter": twice,
    "augmentation_name": "twice",
    "num_resamples": 50,
}


@pytest.fixture(scope="module")
def finished(backbone, data, tmp_path_factory):
    output = tmp_path_factory.mktemp("cells")
    return ablation_study(*arguments(backbone, data, output), **OPTIONS), output


def test_targets_of_each_source(data):
    from hf_emo_dist.corpora import load_emotion_dataset

    train = load_emotion_dataset(data, "train")
    rows = list(train)
    for source in ("human", "synthetic", "combined"):
        found = source_targets(train, EMOTIONS, source)
        for place, row in enumerate(rows):
            pool = (row["human_votes"] if source != "synthetic" else []) + (
                row["synthetic_votes"] if source != "human" else []
            )
            expected = {name: pool.count(name) / len(pool) for name in EMOTIONS} if pool else None
            assert found[place] == (expected if expected is None else pytest.approx(expected))
    synthetic = source_targets(train, EMOTIONS, "synthetic")
    made = with_targets(train, synthetic, EMOTIONS, "emotion_distribution")
    assert len(made) == len(train) - 1 and made["id"][1] == train["id"][2]
    assert made["human_distribution"] == [row["human_distribution"] for row in rows if row["synthetic_votes"]]
    matrix = distributions_to_matrix(made["emotion_distribution"], EMOTIONS)
    assert np.allclose(matrix, distributions_to_matrix([target for target in synthetic if target], EMOTIONS))
    with pytest.raises(ValueError, match="needs synthetic votes"):
        source_targets(train.remove_columns("synthetic_votes"), EMOTIONS, "combined")


def test_one_table_with_every_cell_on_the_same_human_votes(finished):
    study, output = finished
    cells = {(cell["source"], cell["augmented"]): cell for cell in study.results["cells"]}
    assert set(cells) == {(source, augmented) for source in ("human", "combined") for augmented in (False, True)}
    for cell in cells.values():
        js = cell["js_divergence"]
        assert js["low"] <= js["value"] <= js["high"] and js["value"] == pytest.approx(np.mean(cell["by_seed"]))
        assert cell["seed_deviation"] > 0
    assert "minus_first" not in cells["human", False] and cells["combined", True]["minus_plain"]["p_value"] <= 1
    rows = {(run["source"], run["augmented"]): run["train_rows"] for run in study.results["runs"]}
    assert rows == {("human", False): 12, ("human", True): 24, ("combined", False): 12, ("combined", True): 24}
    page = study.save(output / "report").read_text()
    for words in ("simulated data", "PAPER PROTOCOL", "OWN labels", "twice", "human votes of the same test rows"):
        assert words in page
    assert not list(output.glob("cells/*/checkpoint"))
    # by its own labels a source is scored on those of the test rows that have some
    paper = {(row["source"], row["augmented"]): row for row in study.results["paper_protocol"]}
    assert paper["human", False]["js_divergence"] == pytest.approx(cells["human", False]["js_divergence"]["value"])


def test_what_is_done_is_not_trained_again_and_other_settings_are_refused(finished, backbone, data, monkeypatch):
    study, output = finished
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained again"))
    again = ablation_study(*arguments(backbone, data, output), **OPTIONS)
    assert again.results == study.results
    with pytest.raises(ValueError, match=r"augmentation.*--overwrite"):
        ablation_study(*arguments(backbone, data, output), **{**OPTIONS, "augmentation_name": "thrice"})


def test_a_stopped_run_goes_on_where_it_was(finished, backbone, data, tmp_path, monkeypatch, capsys):
    train, trained = training_run.run_training, []

    def interrupted(recipe, args, *rows):
        trained.append(args.output_dir.split("/")[-2])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(recipe, args, *rows)

    monkeypatch.setattr(training_run, "run_training", interrupted)
    options = {**OPTIONS, "sources": ("human",), "augment": (False,)}
    assert run_command(lambda: ablation_study(*arguments(backbone, data, tmp_path), **options)) == 130
    assert "same command" in capsys.readouterr().err
    study = ablation_study(*arguments(backbone, data, tmp_path), **options)
    assert trained == ["human-seed0", "human-seed1", "human-seed1"]
    assert study.results["cells"][0]["by_seed"] == pytest.approx(finished[0].results["cells"][0]["by_seed"], abs=1e-6)


def test_the_library_s_augmentation_is_looked_up_when_it_is_used(data, monkeypatch):
    made = types.ModuleType("hf_emo_dist.augmentation")

    class DiMEAug:
        def __init__(self, **settings):
            self.settings = settings

        def augment(self, rows):
            return (self.settings, rows)

    made.DiMEAug = DiMEAug
    monkeypatch.setitem(sys.modules, "hf_emo_dist.augmentation", made)
    settings, rows = augmenter_of(None, "paper", "B")("rows", EMOTIONS, 7)
    assert rows == "rows" and settings == {"emotions": list(EMOTIONS), "seed": 7, "preset": "paper", "backbone": "B"}
    monkeypatch.setitem(sys.modules, "hf_emo_dist.augmentation", None)
    with pytest.raises(ModuleNotFoundError, match=r"--augment off"):
        augmenter_of(None, "default", None)("rows", EMOTIONS, 0)
    assert augmenter_of("math:pow", "default", None)(2, 3, *()) == 8
    for wrong in ("math", "math:nothing", "no_such_module:f"):
        with pytest.raises(ValueError, match="augment_with"):
            augmenter_of(wrong, "default", None)


def test_the_command(backbone, data, tmp_path, capsys):
    words = [
        "report",
        "ablation",
        "--sources",
        "synthetic",
        "--augment",
        "off",
        "--seeds",
        "3",
        "--num_resamples",
        "20",
        "--output",
        str(tmp_path),
    ]
    recipe = [
        "--backbone",
        str(backbone),
        "--dataset",
        str(data),
        "--use_cpu",
        "true",
        "--num_train_epochs",
        "1",
        "--report_to",
        "none",
    ]
    assert main([*words, "--", *recipe]) == 0
    assert "Lowest JS to the human votes: synthetic" in capsys.readouterr().out
    result = json.loads((tmp_path / "ablation.json").read_text())
    assert result["results"]["runs"][0]["train_rows"] == 11  # the row without a synthetic vote is left out
    assert main([*words, "--", *recipe, "--output_dir", "x"]) == 2
    assert "--output_dir is set by --output" in capsys.readouterr().err
