import csv
import json
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import speech_encoders
from datasets import Dataset

from hf_emo_dist.data.output import write_json
from hf_emo_dist.evaluation import cross_validation
from hf_emo_dist.evaluation.checkpoint import write_predictions
from hf_emo_dist.evaluation.cross_validation import (
    cell_means,
    compare_predictors,
    cross_validate,
    standard_error,
)
from hf_emo_dist.evaluation.resuming import Cell, predictions_for
from hf_emo_dist.evaluation.scoring import Bootstrap
from hf_emo_dist.evaluation.speaker_folds import folds_with_speakers
from hf_emo_dist.training import fine_tuning as training_run
from hf_emo_dist.training.fine_tuning import parse_config

EMOTIONS = ("angry", "happy", "sad")


def test_validation_speakers_come_from_the_training_rows_and_are_reproducible():
    rows = Dataset.from_dict({"speaker": list("aabbccdd"), "fold": list("00112233")})
    drawn = []
    for seed in range(10):
        folds, speakers = folds_with_speakers(rows, "fold", 0, 2, seed)
        again, _ = folds_with_speakers(rows, "fold", 0, 2, seed)
        for fold, same in zip(folds, again, strict=True):
            assert fold.validation_speakers == same.validation_speakers and len(fold.validation_speakers) == 2
            assert set(speakers[fold.choosing]) == set(fold.validation_speakers)
            assert sorted([*fold.learnt, *fold.choosing]) == sorted(fold.others)
            assert not set(fold.others) & set(fold.test)
            drawn.append(tuple(fold.validation_speakers))
    assert len(set(drawn)) > 1


def test_cells_use_training_rows_alone():
    targets = np.array([[1.0, 0.0], [0.0, 1.0], [0.2, 0.8], [0.9, 0.1]])
    predicted, unseen = cell_means(targets, ["x", "x", "y", "z"], np.array([0, 1]), np.array([2, 3]))
    assert predicted.tolist() == [[0.5, 0.5], [0.5, 0.5]] and unseen == ["y", "z"]


def test_comparison_gives_gap_and_differences_over_speakers():
    rng = np.random.default_rng(0)
    q = rng.dirichlet(np.ones(3), 60)
    speakers = np.repeat([f"s{i}" for i in range(6)], 10)
    mean = np.broadcast_to(q.mean(axis=0), q.shape)
    report = compare_predictors(
        {"mean_of_training_targets": mean, "model": 0.5 * q + 0.5 * mean, "ceiling": q},
        q,
        speakers,
        EMOTIONS,
        Bootstrap(200),
        ceiling_title="knowing it all",
        notes=["borrowed votes"],
    )
    gap = report.gap_closed["model"]
    assert 0.5 < gap["low"] <= gap["value"] <= gap["high"] < 1
    assert report.differences["model_minus_mean_of_training_targets"]["high"] < 0
    table = report.to_markdown()
    assert "borrowed votes" in table and "knowing it all" in table and "regression" not in table.split("(1)")[-1]
    js = report.js_divergence["model"].reshape(6, 10).mean(axis=1)
    assert report.predictors["model"]["js_standard_error"] == pytest.approx(js.std(ddof=1) / np.sqrt(6))
    assert np.isnan(standard_error(np.ones(3), np.array(["a", "a", "a"])))


def arguments(backbone, data_folder, output, *more):
    return parse_config(
        [
            *("--backbone", str(backbone), "--dataset", str(data_folder), "--output_dir", str(output)),
            *("--use_cpu", "true", "--num_train_epochs", "1", "--report_to", "none", "--learning_rate", "1e-3", *more),
        ]
    )


OPTIONS = {"fold_column": "fold", "validation_speakers": 1, "ceiling_columns": ["intended"], "num_resamples": 50}


@pytest.fixture(scope="module")
def finished(backbone, data_folder, tmp_path_factory):
    output = tmp_path_factory.mktemp("cv")
    report = cross_validate(*arguments(backbone, data_folder, output), **OPTIONS)
    return report, output


def test_every_row_is_predicted_by_a_model_that_heard_nobody_of_its_fold(finished):
    report, output = finished
    rows = pq.read_table(output / "predictions.parquet").to_pylist()
    assert len(rows) == 22 and {row["fold"] for row in rows} == {0, 1}
    assert np.mean([row["js_divergence"] for row in rows]) == pytest.approx(report.predictors["model"]["js_divergence"])
    for fold in report.folds:
        tested = {row["speaker"] for row in rows if row["fold"] == fold["fold"]}
        assert tested == set(fold["test_speakers"])
        assert not tested & set(fold["validation_speakers"])
        assert fold["train_rows"] + fold["test_rows"] < 22


def test_the_report_is_complete(finished):
    report, output = finished
    scores = json.loads((output / "cross_validation.json").read_text())
    assert set(scores["predictors"]) == {"uniform", "mean_of_training_targets", "regression", "model", "ceiling"}
    assert {"model", "regression"} == set(scores["gap_closed"])
    assert scores["js_divergence"] == pytest.approx(report.predictors["model"]["js_divergence"])
    table = (output / "cross_validation.md").read_text()
    for words in ("simulated data", "knowing intended", "frozen tower features", "validation speakers", "2-fold"):
        assert words in table
    assert (output / "reliability.png").is_file()
    assert not list(output.glob("fold-*/checkpoint"))


def test_finished_folds_are_not_trained_again(finished, backbone, data_folder, monkeypatch):
    before, output = finished
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained again"))
    again = cross_validate(*arguments(backbone, data_folder, output, "--logging_steps", "7"), **OPTIONS)
    assert again.to_dict() == before.to_dict()


def test_of_a_speech_encoder_the_regression_chooses_its_layer_in_every_fold(data_folder, tmp_path, monkeypatch):
    backbone = speech_encoders.CASES["whisper"].backbone(tmp_path / "backbone")
    args = arguments(backbone, data_folder, tmp_path / "cv", "--freeze", "encoder")

    def uniform(recipe, args, folder, emotions, train, validation, test, *rest, **options):
        return np.full((len(test), len(emotions)), 1 / len(emotions)), {}

    monkeypatch.setattr(cross_validation, "predicted_by_training", uniform)
    report = cross_validate(*args, **OPTIONS)
    layers = [fold["regression_layer"] for fold in report.folds]
    assert len(layers) == 2 and set(layers) <= {0, 1, 2}
    assert f"one layer, chosen among those speakers: {layers[0]}, {layers[1]}." in report.to_markdown()
    monkeypatch.setattr(cross_validation, "tower_features", lambda *a: pytest.fail("computed again"))
    assert cross_validate(*args, **OPTIONS).to_dict() == report.to_dict()


def test_predictions_of_other_settings_are_refused_by_name(finished, backbone, data_folder):
    _, output = finished
    changed = arguments(backbone, data_folder, output, "--weight_decay", "0.5")
    with pytest.raises(ValueError, match=r"weight_decay.*--overwrite"):
        cross_validate(*changed, **OPTIONS)


ONE = ([{"id": "a"}, {"id": "b"}], ["angry", "sad"], np.array([[0.2, 0.8], [1.0, 0.0]]))


def test_options_that_came_or_went_with_a_newer_version_count_where_they_are_on(tmp_path):
    cell = Cell(tmp_path / "predictions.parquet", tmp_path / "cell.json")
    write_predictions(cell.file, *ONE[:2], {"predicted_distribution": ONE[2]})
    write_json(cell.about, {"settings": {"learning_rate": 0.1, "source": None}})  # as 0.2 wrote it
    assert cell.done({"learning_rate": 0.1, "source": None, "perturb_waveforms": 0.0, "new": None})
    write_json(cell.about, {"settings": {"learning_rate": 0.1, "source": None, "mix_embeddings": False}})
    assert cell.done({"learning_rate": 0.1, "source": None})
    for settings, name in (
        ({"learning_rate": 0.1, "source": None, "perturb_waveforms": 0.3}, "perturb_waveforms"),
        ({"learning_rate": 0.1, "source": "human"}, "source"),
        ({"source": None}, "learning_rate"),
    ):
        with pytest.raises(ValueError, match=rf"\({name}\)"):
            cell.done(settings)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 4
    file.write_bytes(content)


def another_value(file):
    file.write_text(file.read_text().replace("0.1", "0.7", 1))


BROKEN = {
    "about cut": (lambda cell: cell.about.write_bytes(cell.about.read_bytes()[:-30]), "cell.json is damaged"),
    "about empty": (lambda cell: cell.about.write_bytes(b""), "cell.json is damaged"),
    "one bit of it": (lambda cell: flip(cell.about), "cell.json is damaged"),
    "another value": (lambda cell: another_value(cell.about), "does not hold what was written"),
    "without settings": (lambda cell: write_json(cell.about, {"detail": {}}), "it has no 'settings'"),
    "predictions cut": (lambda cell: cell.file.write_bytes(cell.file.read_bytes()[:-30]), "predictions.parquet is"),
    "one bit of them": (lambda cell: flip(cell.file), "predictions.parquet is damaged"),
    "no predictions": (lambda cell: cell.file.unlink(), None),
    "killed before they were done": (lambda cell: cell.begin({"rate": 0.1}), None),
}


@pytest.mark.parametrize(("damage", "said"), BROKEN.values(), ids=BROKEN.keys())
def test_a_damaged_cell_is_computed_again_and_named(tmp_path, caplog, damage, said):
    cell = Cell(tmp_path / "predictions.parquet", tmp_path / "cell.json")
    cell.begin({"rate": 0.1})
    assert cell.done({"rate": 0.1}) is None
    cell.write(*ONE, {"rate": 0.1}, detail={"train_rows": 3})
    assert cell.done({"rate": 0.1})["detail"] == {"train_rows": 3} and not caplog.records
    damage(cell)
    assert cell.done({"rate": 0.1}) is None
    assert (said is None and not caplog.records) or (said in caplog.text and "computed again" in caplog.text)


def test_predictions_are_matched_by_id(tmp_path):
    path = write_predictions(
        tmp_path / "p.parquet",
        [{"id": "a"}, {"id": "b"}],
        ["angry", "sad"],
        {"predicted_distribution": np.array([[0.2, 0.8], [1.0, 0.0]])},
    )
    assert predictions_for(path, ["b", "a"], ["sad", "angry"]).tolist() == [[0, 1], [0.8, 0.2]]
    with pytest.raises(ValueError, match="lacks 1 of 2 rows: c"):
        predictions_for(path, ["a", "c"], ["angry", "sad"])
    with pytest.raises(FileNotFoundError, match="hf-emo-dist evaluate"):
        predictions_for(tmp_path / "nothing", ["a"], ["angry", "sad"])


def test_a_stopped_run_goes_on_where_it_was(finished, backbone, data_folder, tmp_path, monkeypatch):
    train, trained = training_run.run_training, []

    def interrupted(recipe, args, *data):
        trained.append(args.output_dir)
        if len(trained) == 2:
            (tmp_path / "fold-1" / "checkpoint").mkdir(parents=True)
            raise KeyboardInterrupt
        return train(recipe, args, *data)

    monkeypatch.setattr(training_run, "run_training", interrupted)
    with pytest.raises(KeyboardInterrupt, match=f"{tmp_path}; run the same command to go on"):
        cross_validate(*arguments(backbone, data_folder, tmp_path), **OPTIONS)
    assert (tmp_path / "fold-0" / "predictions.parquet").is_file()
    report = cross_validate(*arguments(backbone, data_folder, tmp_path), **OPTIONS)
    assert [path.split("/")[-2] for path in trained] == ["fold-0", "fold-1", "fold-1"]
    # stopping and going on gives what the uninterrupted run gave
    whole = finished[0].js_divergence["model"]
    assert np.allclose(report.js_divergence["model"], whole, atol=1e-6)


def test_whatever_does_not_fit_is_said_before_training(backbone, data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained"))
    for options, words in (
        ({"validation_speakers": 3}, "validation_speakers=3"),
        ({"fold_column": "nothing"}, "nothing"),
        ({"ceiling_columns": ["mood"]}, "mood"),
        ({"fold_column": None, "num_folds": 9}, "9"),
        ({"num_resamples": 0}, "num_resamples=0"),
    ):
        with pytest.raises(ValueError, match=words):
            cross_validate(*arguments(backbone, data_folder, tmp_path), **{**OPTIONS, **options})
    recipe, args = arguments(backbone, data_folder, tmp_path)
    recipe.dataset = None
    with pytest.raises(ValueError, match="--dataset"):
        cross_validate(recipe, args)


def test_mixed_rows_are_trained_on_where_their_sources_are_and_never_scored(
    finished, backbone, data_folder, tmp_path, monkeypatch
):
    """What `annotate --augment default` writes: the training split with DiME-Aug's rows beside the others."""
    from datasets import DatasetDict

    from hf_emo_dist import DiMEAug, load_emotion_dataset, write_dataset

    splits = load_emotion_dataset(data_folder)
    made = DiMEAug(emotions=EMOTIONS, seed=5).augment(splits["train"])
    mixed = {row["id"]: set(row["mixed_from"]) for row in made if row["mixed_from"]}
    assert mixed
    folder = write_dataset(
        DatasetDict({**splits, "train": made}),
        tmp_path / "mixed",
        description="Tones.",
        vote_source="Simulated votes on tones.",
        emotions=EMOTIONS,
    )
    train, met = training_run.run_training, []

    def watched(recipe, args, rows, validation):
        met.append((set(rows["id"]), set(validation["id"])))
        return train(recipe, args, rows, validation)

    monkeypatch.setattr(training_run, "run_training", watched)
    report = cross_validate(*arguments(backbone, folder, tmp_path / "out"), **OPTIONS)
    rows = pq.read_table(tmp_path / "out" / "predictions.parquet").to_pylist()
    assert [row["id"] for row in rows] == [name for split in splits.values() for name in split["id"]]
    speaker_of = {row["id"]: row["speaker"] for row in rows}
    for (learnt, choosing), fold in zip(met, report.folds, strict=True):
        assert not choosing & set(mixed) and {speaker_of[name] for name in choosing} == set(fold["validation_speakers"])
        originals = learnt - set(mixed)
        assert learnt & set(mixed) == {name for name, sources in mixed.items() if sources <= originals}
    assert any(learnt & set(mixed) for learnt, _ in met)
    assert any("mixed rows" in note for note in report.notes)
    # what chooses nothing and trains on no mixed row is as it was without them
    for name in ("uniform", "mean_of_training_targets", "regression", "ceiling"):
        assert report.predictors[name] == finished[0].predictors[name]


def test_constants_on_real_votes_give_the_known_figures():
    folder = Path(os.environ.get("HF_EMO_DIST_TEST_DATA", Path(__file__).parents[3] / "shared" / "data")) / "ravdess"
    if not (folder / "votes.csv").is_file():
        pytest.skip(f"{folder / 'votes.csv'} is not here; set HF_EMO_DIST_TEST_DATA")
    with open(folder / "votes.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = ("angry", "disgust", "fear", "happy", "neutral", "sad")
    q = np.array([[float(row[name]) for name in names] for row in rows])
    q /= q.sum(axis=1, keepdims=True)
    folds = np.array([row["fold"] for row in rows])
    cells = [(row["intended"], row["intensity"]) for row in rows]
    mean, known = np.empty_like(q), np.empty_like(q)
    for fold in np.unique(folds):
        train, test = np.flatnonzero(folds != fold), np.flatnonzero(folds == fold)
        mean[test] = q[train].mean(axis=0)
        known[test], unseen = cell_means(q, cells, train, test)
        assert unseen == []
    predictions = {"uniform": np.full_like(q, 1 / 6), "mean_of_training_targets": mean, "ceiling": known}
    speakers = np.array([row["speaker"] for row in rows])
    report = compare_predictors(predictions, q, speakers, names, Bootstrap(20))
    found = {
        name: (round(scores["js_divergence"], 3), round(scores["bhattacharyya_coefficient"], 2))
        for name, scores in report.predictors.items()
    }
    assert found == {"uniform": (0.386, 0.65), "mean_of_training_targets": (0.328, 0.70), "ceiling": (0.206, 0.82)}
    assert report.predictors["ceiling"]["js_standard_error"] == pytest.approx(0.005, abs=0.001)


# --- a protocol of the field


def renamed(data_folder, target, speakers, **columns):
    """The tones with other speakers, one a name of the old ones in their order."""
    from datasets import DatasetDict, concatenate_datasets

    from hf_emo_dist import load_emotion_dataset, write_dataset

    rows = concatenate_datasets(list(load_emotion_dataset(data_folder).values()))
    names = dict(zip(sorted(set(rows["speaker"])), speakers, strict=True))
    rows = rows.map(lambda row: {"speaker": names[row["speaker"]], **columns})
    return write_dataset(
        DatasetDict({"train": rows}),
        target,
        description="Tones.",
        vote_source="Simulated votes on tones.",
        emotions=EMOTIONS,
    )


# two of the first fold, two of the second, one of the third, one of the fifth
ACTORS = ["1001", "cremad-1018", "1019", "1036", "1037", "1091"]


@pytest.mark.slow
def test_a_protocol_has_folds_and_figures_of_its_own(backbone, data_folder, tmp_path, monkeypatch):
    folder = renamed(data_folder, tmp_path / "data", ACTORS, corpus="cremad", modality="voice", late_responses="drop")
    train, met = training_run.run_training, []

    def watched(recipe, args, rows, validation):
        met.append((set(rows["speaker"]), set(validation["speaker"]), rows["emotion_distribution"][:]))
        return train(recipe, args, rows, validation)

    monkeypatch.setattr(training_run, "run_training", watched)
    options = {"protocol": "emo_superb", "ceiling_columns": ["intended"], "num_resamples": 50}
    report = cross_validate(*arguments(backbone, folder, tmp_path / "out"), **options, smooth_targets=True)
    tested = [set(fold["test_speakers"]) for fold in report.folds]
    assert tested == [set(ACTORS[:2]), set(ACTORS[2:4]), {"1037"}, {"1091"}]
    # the next fold that has rows chooses, and the others are learnt from
    assert [choosing for _, choosing, _ in met] == [tested[1], tested[2], tested[3], tested[0]]
    assert [learnt for learnt, _, _ in met] == [set(ACTORS) - tested[k] - tested[(k + 1) % 4] for k in range(4)]
    least = min(share for _, _, targets in met for row in targets for share in row.values())
    assert least == pytest.approx(0.05 / 2)  # smoothed: K = 3
    # the same code as `hf-emo-dist report folds`, on the same rows
    from hf_emo_dist.studies import Sources
    from hf_emo_dist.studies.folds import folds

    same = {"protocol": "emo_superb", "known": ["intended"], "num_resamples": 50, "seed": 42}  # of training
    study = folds(Sources([str(folder)]), **same)
    figures = json.loads((tmp_path / "out" / "cross_validation.json").read_text())["protocol"]["figures"]
    for name in ("uniform", "mean_of_other_folds", "known", "floor"):
        for figure, found in study.results[name].items():
            assert figures[name][figure] == pytest.approx(found), (name, figure)
    assert figures["model"]["js_divergence"]["value"] == pytest.approx(report.predictors["model"]["js_divergence"])
    assert [fold["model"]["js_divergence"] for fold in figures["folds"]]
    assert "3 emotions where emo_superb has 6" in report.protocol["notes"][0]
    late = "votes: they leave out responses later than 10 s, which emo_superb keeps"
    assert late in study.notes and late in report.notes
    table = report.to_markdown()
    assert late in table
    assert "By the protocol emo_superb" in table and "mean of the other folds" in table and "floor" in table
    # other targets are other settings
    with pytest.raises(ValueError, match=r"smooth_targets.*--overwrite"):
        cross_validate(*arguments(backbone, folder, tmp_path / "out"), **options)


def test_what_does_not_fit_a_protocol_is_said_before_training(backbone, data_folder, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained"))
    for number, (speakers, columns, options, words) in enumerate(
        (
            (ACTORS, {"modality": "face"}, {}, "rows with modality 'voice', and there are some with face"),
            (ACTORS, {"corpus": "ravdess"}, {}, "protocol of cremad, and there are rows of ravdess"),
            ([*ACTORS[:5], "s5"], {}, {}, "Speaker 's5' is none of cremad's"),
            (["1001", "1002", "1003", "1019", "1020", "1021"], {}, {}, "only 2 folds"),
            (ACTORS, {}, {"fold_column": "fold"}, "folds of its own"),
            (ACTORS, {}, {"protocol": None, "smooth_targets": True}, "Mend: name the protocol"),
        )
    ):
        folder = renamed(data_folder, tmp_path / f"data{number}", speakers, **columns)
        with pytest.raises(ValueError, match=words):
            cross_validate(
                *arguments(backbone, folder, tmp_path / "out"),
                **{"protocol": "emo_superb", "num_resamples": 10, **options},
            )


@pytest.mark.parametrize("option", ["num_folds", "validation_speakers", "fold_column"])
def test_the_command_takes_a_protocol_or_folds_of_ones_own(option, tmp_path, capsys):
    from hf_emo_dist.commands.main import main

    words = [
        "cross-validate",
        "--backbone",
        "b",
        "--dataset",
        "d",
        "--output_dir",
        str(tmp_path),
        "--report_to",
        "none",
    ]
    value = "fold" if option == "fold_column" else "3"
    assert main([*words, "--protocol", "emo_superb", f"--{option}", value]) == 2
    assert "Mend" in capsys.readouterr().err
