"""Targets that a combiner was fitted for are fitted anew in every fold of a cross-validation, mixed rows with them."""

import json

import numpy as np
import pytest
from datasets import DatasetDict, concatenate_datasets
from test_cross_validation import EMOTIONS, OPTIONS, arguments
from tiny_setup import make_rows

from hf_emo_dist.augmentation.dime import DiMEAug
from hf_emo_dist.combining.combiner import VoteCombiner
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset
from hf_emo_dist.evaluation import cross_validation
from hf_emo_dist.evaluation.refitted_targets import combiner_of, combiner_settings, remixed

SETTINGS = {"method": "posterior", "agreement": 0.4}
# of the fold 0: it is tested by the model of the first fold, and trained on by that of the second
CORRUPTED = ("s0", "s2", "s4")


def prepared(folder, corrupted=(), settings=SETTINGS, augmented=True):
    """Tones with simulated synthetic votes and targets by a combiner, as the preparation leaves them."""
    from datasets import Value

    extra = {"intended": Value("string"), "fold": Value("int64"), "synthetic_votes": [Value("string")]}
    rows = make_rows([f"s{number}" for number in range(6)], clips=4)
    for place, row in enumerate(rows):
        rng = np.random.default_rng(place)
        row["synthetic_votes"] = rng.choice(EMOTIONS, 5, p=list(row["true_distribution"].values())).tolist()
        if row["speaker"] in corrupted:
            row["human_votes"] = ["sad"] * 6
            row["human_distribution"] = {name: float(name == "sad") for name in EMOTIONS}
    data = build_dataset(rows, row_features(EMOTIONS, extra, true_distribution=True))
    combiner = VoteCombiner(EMOTIONS, **settings).fit(data)
    made = combiner({name: data[name][:] for name in ("id", "human_votes", "synthetic_votes", "speaker")})
    data = data.remove_columns("emotion_distribution")
    for name in ("emotion_distribution", "emotion_concentration"):
        feature = row_features(EMOTIONS)["emotion_distribution"] if name[8:] == "distribution" else Value("float32")
        data = data.add_column(name, made[name], feature=feature)
    if augmented:
        # the same pairs whatever the votes are, so that only their targets differ
        plain = data.remove_columns("emotion_distribution").rename_column("true_distribution", "emotion_distribution")
        mixed = DiMEAug(emotions=EMOTIONS, seed=5, target=40).augment(plain).filter(lambda row: bool(row["mixed_from"]))
        target = dict(zip(data["id"], data["emotion_distribution"], strict=True))
        again = remixed(mixed, target)
        mixed = mixed.remove_columns("emotion_distribution").add_column(
            "emotion_distribution", again, feature=data.features["emotion_distribution"]
        )
        assert set(mixed["emotion_concentration"]) == {None}  # nobody has heard them
        data = concatenate_datasets([data.remove_columns("true_distribution"), mixed])

    def describe(part):
        (part / "preparation.json").write_text(
            json.dumps({"combine": {"method": settings["method"], "settings": settings}})
        )

    about = {"description": "Tones.", "vote_source": "Simulated votes on tones.", "emotions": EMOTIONS}
    return write_dataset(DatasetDict({"train": data}), folder, describe=describe, **about)


def validated(backbone, folder, output, monkeypatch, **options):
    """The report, and the targets that each fold would train on, by id; nothing is trained."""
    met = []

    def predicted(recipe, args, place, emotions, train, validation, test, settings, **rest):
        rows = train()
        worth = rows["emotion_concentration"][:]
        met.append(dict(zip(rows["id"], zip(rows["emotion_distribution"], worth, strict=True), strict=True)))
        return np.full((len(test), len(emotions)), 1 / len(emotions)), {"train_rows": len(rows)}

    monkeypatch.setattr(cross_validation, "predicted_by_training", predicted)
    settings = {**OPTIONS, "regression": False, **options}
    return cross_validation.cross_validate(*arguments(backbone, folder, output), **settings), met


def test_votes_of_a_test_fold_shape_no_target_of_its_training_rows(backbone, tmp_path, monkeypatch):
    clean, dirty = prepared(tmp_path / "clean"), prepared(tmp_path / "dirty", CORRUPTED)
    for refit in (True, False):
        (_, before), (report, after) = (
            validated(backbone, folder, tmp_path / f"{folder.name}{refit}", monkeypatch, refit=refit)
            for folder in (clean, dirty)
        )
        assert [set(fold) for fold in before] == [set(fold) for fold in after]
        assert any(worth is None for _, worth in before[0].values())  # mixed rows are among them
        assert (before[0] == after[0]) == refit  # all of them, of mixed rows too
        assert before[1] != after[1]  # these are trained on
        words = "fitted anew in every fold" if refit else "were fitted on votes of all folds"
        assert sum(words in note for note in report.notes) == 1


def test_targets_are_those_of_the_fold_s_rows_and_mixed_rows_follow(backbone, tmp_path, monkeypatch):
    folder = prepared(tmp_path / "data")
    report, met = validated(backbone, folder, tmp_path / "out", monkeypatch)
    opened = open_dataset(folder)
    everything = {row["id"]: row for row in opened.rows().remove_columns("audio")}
    mixed_rows = 0
    for fold, found in zip(report.folds, met, strict=True):
        out = {*fold["validation_speakers"], *fold["test_speakers"]}
        own = [row for row in everything.values() if not row["mixed_from"] and row["speaker"] not in out]
        combiner = VoteCombiner(EMOTIONS, **SETTINGS)
        names = ("id", "human_votes", "synthetic_votes", "speaker")
        votes = {name: [row[name] for row in own] for name in names}
        made = combiner.fit(votes)(votes)
        for row, target, worth in zip(own, made["emotion_distribution"], made["emotion_concentration"], strict=True):
            assert found[row["id"]][0] == pytest.approx(target, abs=1e-9)
            assert found[row["id"]][1] == pytest.approx(worth, rel=1e-6)
        for name in found.keys() - {row["id"] for row in own}:
            first, second = (found[source][0] for source in everything[name]["mixed_from"])
            share = everything[name]["mix_ratio"]
            expected = {emotion: share * first[emotion] + (1 - share) * second[emotion] for emotion in EMOTIONS}
            assert found[name][0] == pytest.approx(expected, abs=1e-9) and found[name][1] is None
            mixed_rows += 1
    assert mixed_rows


def test_simple_predictors_have_the_fold_s_targets_too(backbone, tmp_path, monkeypatch):
    """The mean predictor, and what knows a column, are those of targets fitted on all other rows."""
    folder = prepared(tmp_path / "data", augmented=False)
    report, _ = validated(backbone, folder, tmp_path / "out", monkeypatch)
    rows = open_dataset(folder).rows()
    columns = {name: rows[name][:] for name in ("id", "human_votes", "synthetic_votes", "speaker")}
    truth = cross_validation.scored_matrix(rows, EMOTIONS)
    js = []
    for fold in (0, 1):
        others = [place for place, own in enumerate(rows["fold"]) if own != fold]
        part = {name: [values[place] for place in others] for name, values in columns.items()}
        made = VoteCombiner(EMOTIONS, **SETTINGS).fit(part)(part)["emotion_distribution"]
        mean = np.mean([list(target.values()) for target in made], axis=0)
        test = [place for place, own in enumerate(rows["fold"]) if own == fold]
        js += cross_validation.jensen_shannon_divergence(np.tile(mean, (len(test), 1)), truth[test], base=2).tolist()
    assert report.predictors["mean_of_training_targets"]["js_divergence"] == pytest.approx(np.mean(js), abs=1e-9)


@pytest.mark.parametrize(
    ("combine", "columns", "expected"),
    [
        ({"method": "posterior", "settings": {"seed": 3}}, (), {"method": "posterior", "seed": 3}),
        ({"method": "weighted", "weight": 0.3, "weight_given": False}, (), {"method": "weighted"}),
        ({"method": "weighted", "weight": 0.3, "weight_given": True}, (), {"method": "weighted", "weight": 0.3}),
        ({"method": "human", "settings": {"empty": "error"}}, ("emotion_concentration", "synthetic_votes"), None),
        ({"method": "pool", "settings": {}}, ("emotion_concentration", "synthetic_votes"), None),
        ({"outside": "drop"}, (), None),  # as 0.1 left it
        (None, ("emotion_concentration", "synthetic_votes"), {"method": "posterior"}),
        (None, ("emotion_concentration",), None),
        (None, ("synthetic_votes",), None),
    ],
)
def test_who_says_that_targets_were_fitted(data_folder, combine, columns, expected):
    from dataclasses import replace

    opened = open_dataset(data_folder)
    values = {"emotion_concentration": 7.0, "synthetic_votes": ["sad"]}
    splits = dict(opened.splits)
    for name in columns:
        splits["train"] = splits["train"].add_column(name, [values[name]] * len(splits["train"]))
    preparation = {} if combine is None else {"combine": combine}
    assert combiner_settings(replace(opened, splits=splits, preparation=preparation)) == expected


def test_settings_of_another_version_are_refused():
    with pytest.raises(ValueError, match=r"preparation.json do not fit.*colour.*Mend"):
        combiner_of(EMOTIONS, {"method": "posterior", "colour": "red"})


def test_a_mixed_row_without_its_sources_share_is_named():
    rows = [{"id": "a"}, {"id": "m", "mixed_from": ["a", "a"], "mix_ratio": None}]
    with pytest.raises(ValueError, match=r"Row 'm'.*mix_ratio.*Mend"):
        remixed(rows, {"a": {"sad": 1.0}})
