"""Targets of a whole data set: who is learnt from, what is written of it, what is refused before anybody is paid."""

import json
import logging
import re

import numpy as np
import pytest

from hf_emo_dist import VoteCombiner
from hf_emo_dist.commands import annotate
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.preparation.prepare import PrepareSettings, estimate_preparation, prepare_dataset


@pytest.fixture(scope="module")
def splits():
    return simulate_corpus(36, 9, seed=0)


def written(splits, folder, edit=None, only=None):
    """A folder of the splits, rows of some of them edited."""
    changed = {
        name: rows.map(edit) if edit is not None and (only is None or name in only) else rows
        for name, rows in splits.items()
    }
    write_dataset(changed, folder, description="simulated", vote_source="SIMULATED votes.", emotions=EMOTIONS)
    return folder


EMOTIONS = ["angry", "happy", "neutral", "sad"]


def settings(data, folder, **options):
    options = {"backend": "simulated", "num_annotations": 4, "ledger": str(folder / "votes.sqlite"), **options}
    return PrepareSettings(dataset=str(data), output=str(folder / "out"), **options)


def prepared(data, folder, **options):
    """Rows by split, what `preparation.json` says of combining, and the combiner's file."""
    prepare_dataset(settings(data, folder, **options))
    about = json.loads((folder / "out" / "preparation.json").read_text())["combine"]
    file = folder / "out" / "combiner.json"
    return load_emotion_dataset(folder / "out"), about, json.loads(file.read_text()) if file.is_file() else None


@pytest.fixture(scope="module")
def default(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("default")
    data = written(splits, folder / "data")
    return folder, data, *prepared(data, folder, annotate_splits=["all"])


def test_the_default_is_a_posterior_fitted_on_training_rows(default, splits):
    folder, _, rows, about, combiner = default
    train = splits["train"]
    assert about["method"] == "posterior" and combiner["fitted"]["method"] == "posterior"
    assert about["settings"] == {"agreement": 0.35, "empty": "error", "seed": 0}
    learnt = about["fitted_on"]
    assert (learnt["split"], learnt["rows"], learnt["left_out"]) == ("train", len(train), 0)
    assert learnt["speakers"] == len(set(train["speaker"])) and learnt["votes"] == sum(map(len, train["human_votes"]))
    ((name, worth),) = about["worth"].items()
    assert name.startswith("simulated") and list(worth) == ["1", "5", "10"]
    assert all(low <= value <= high for value, low, high in worth.values())
    assert len(about["gain_over_human"]) == 3 and about["verdict"].endswith("over human votes alone.")
    assert about["data"] == ["simulated data", "simulated annotators"]
    assert str(folder) not in json.dumps(about)
    for split in rows.values():
        voted = np.array([len(votes) for votes in split["human_votes"]])
        assert (np.array(split["emotion_concentration"]) > voted).all()
    readme = (folder / "out" / "README.md").read_text()
    assert "Dirichlet posterior" in readme and "10 answers" in readme and about["verdict"][:30] in readme


def corrupted(row):
    mass = row["true_distribution"]
    return {
        "human_votes": ["angry"] * len(row["human_votes"]),
        "true_distribution": dict(zip(mass, [*list(mass.values())[1:], mass[next(iter(mass))]], strict=True)),
    }


def test_nothing_is_learnt_from_rows_that_are_scored(default, splits, tmp_path):
    _, _, rows, about, combiner = default
    data = written(splits, tmp_path / "data", corrupted, only=("validation", "test"))
    others = prepared(data, tmp_path, annotate_splits=["all"])
    for column in ("emotion_distribution", "emotion_concentration", "human_distribution", "synthetic_votes"):
        assert others[0]["train"][column][:] == rows["train"][column][:]
        if column != "emotion_concentration":  # they were corrupted indeed
            assert others[0]["test"][column][:] != rows["test"][column][:]
    assert others[1] == about and others[2] == combiner


def test_nothing_is_learnt_from_speakers_that_are_scored(splits, tmp_path, caplog):
    caplog.set_level(logging.INFO)
    shared = splits["train"][0]["speaker"]
    theirs = [row == shared for row in splits["train"]["speaker"]]
    mixed = {
        **splits,
        "test": splits["test"].map(lambda row, i: {"speaker": shared} if i == 0 else {}, with_indices=True),
    }
    found = []
    for name, edit in (("plain", None), ("corrupted", lambda row: corrupted(row) if row["speaker"] == shared else {})):
        (tmp_path / name).mkdir()
        data = written(mixed, tmp_path / name / "data", edit, only=("train",))
        found.append(prepared(data, tmp_path / name))
    (rows, about, combiner), (changed, _, same) = found
    assert combiner == same and about["fitted_on"]["left_out"] == sum(theirs) > 0
    assert about["fitted_on"]["rows"] == len(theirs) - sum(theirs)
    told = f"{sum(theirs)} rows of 'train' were not fitted on: their speakers are in other splits, too."
    assert told in about["notes"] and told in caplog.text
    targets = rows["train"]["emotion_distribution"], changed["train"]["emotion_distribution"]
    differ = np.array([one != other for one, other in zip(*targets, strict=True)])
    assert not differ[~np.array(theirs)].any() and differ[theirs].any()


def test_pooling_counts_every_vote_once_and_clears_what_another_method_wrote(default, tmp_path):
    folder = default[0]
    rows, about, combiner = prepared(folder / "out", tmp_path, combine="pool", ledger=str(folder / "votes.sqlite"))
    row = rows["train"][0]
    votes = row["human_votes"] + row["synthetic_votes"]
    assert row["emotion_distribution"]["sad"] == pytest.approx(votes.count("sad") / len(votes))
    assert combiner is None and "emotion_concentration" not in rows["train"].column_names
    weights = {name: 1.0 for name in ("human_weight", "synthetic_weight", "distribution_weight")}
    assert about["settings"] == {"empty": "error", **weights}
    assert "Pooled one for one" in (tmp_path / "out" / "README.md").read_text()


def test_one_weight_is_fitted_or_given(default, tmp_path):
    for name, options in (("fitted", {}), ("given", {"combine_weight": 0.125})):
        (tmp_path / name).mkdir()
        rows, about, combiner = prepared(default[1], tmp_path / name, combine="weighted", **options)
        assert about["weight_given"] == bool(options) and about["weight"] == combiner["fitted"]["weight"] > 0
        assert about["weight"] == options.get("combine_weight", about["weight"])
        row = rows["train"][0]
        alone = sum(combiner["fitted"]["alone"])
        wanted = alone + len(row["human_votes"]) + about["weight"] * len(row["synthetic_votes"])
        assert row["emotion_concentration"] == pytest.approx(wanted, rel=1e-5)
        assert f"({about['weight']:,.3g}, {name})" in (tmp_path / name / "out" / "README.md").read_text()


def test_a_saved_combiner_is_used_as_it_is_whatever_its_order(default, tmp_path):
    folder, data, rows, _, saved = default
    turned = VoteCombiner(EMOTIONS[::-1], seed=3).fit(rows["train"])
    turned.save(tmp_path / "turned.json")
    (tmp_path / "same").mkdir()
    same, about, copied = prepared(data, tmp_path / "same", combiner=str(folder / "out" / "combiner.json"))
    assert same["train"]["emotion_distribution"][:] == rows["train"]["emotion_distribution"][:]
    assert copied == saved and any("fitted elsewhere" in note for note in about["notes"])
    assert "split" not in about["fitted_on"] and str(folder) not in json.dumps(about)
    found, _, _ = prepared(data, tmp_path, combiner=str(tmp_path / "turned.json"), empty="prior")
    assert list(found["train"].features["emotion_distribution"]) == EMOTIONS
    made = turned(found["test"][:])
    assert found["test"]["emotion_distribution"][:] == made["emotion_distribution"]


@pytest.mark.parametrize(
    ("number", "note"),
    [(0, "No row has a human vote, so that nothing could be measured"), (1, "No row has two human votes")],
)
def test_few_human_votes_are_a_stated_fallback(splits, tmp_path, number, note):
    data = written(splits, tmp_path / "data", lambda row: {"human_votes": row["human_votes"][:number]})
    rows, about, _ = prepared(data, tmp_path, empty="prior")
    assert any(note in told for told in about["notes"])
    assert None not in rows["test"]["emotion_distribution"][:]
    assert (rows["train"]["human_distribution"][0] is None) == (number == 0)
    readme = (tmp_path / "out" / "README.md").read_text()
    assert f"| Mind | {note[:20]}" in readme


def test_one_speaker_and_one_split_are_enough(splits, tmp_path):
    speaker = splits["validation"][0]["speaker"]
    rows = splits["validation"].filter(lambda row: row["speaker"] == speaker)
    data = written({"validation": rows}, tmp_path / "data")
    found, about, combiner = prepared(data, tmp_path, annotate_splits=["validation"])
    assert about["fitted_on"]["split"] == "validation" and any("one split, 'validation'" in n for n in about["notes"])
    assert "only one speaker" in about["verdict"] and "gain_over_human" not in about
    ((value, low, high),) = [worth["5"] for worth in about["worth"].values()]
    assert value > 0 and low is None and high is None
    assert VoteCombiner.from_dict(combiner)(found["validation"][:])["emotion_concentration"][0] > 0


def test_a_row_that_nobody_voted_on(splits, tmp_path):
    silent = splits["test"][1]["id"]
    data = written(splits, tmp_path / "data", lambda row: {"human_votes": []} if row["id"] == silent else {})
    with pytest.raises(ValueError, match=rf"1 rows of 'test' have no votes.*{silent}.*--empty drop or --empty prior"):
        prepare_dataset(settings(data, tmp_path))
    assert not (tmp_path / "votes.sqlite").exists()
    for empty in ("drop", "prior", "uniform"):
        (tmp_path / empty).mkdir()
        rows, _, combiner = prepared(data, tmp_path / empty, empty=empty)
        kept = [row for row in rows["test"] if row["id"] == silent]
        assert len(kept) == (empty != "drop")
        if kept:
            mean = np.array(combiner["fitted"]["alone"]) / sum(combiner["fitted"]["alone"])
            assert list(kept[0]["emotion_distribution"].values()) == pytest.approx(mean)
            assert kept[0]["human_distribution"] is None
    for combine, backend in (("pool", "simulated"), ("posterior", "none")):  # a vote would not help, or nobody is asked
        with pytest.raises(ValueError, match="1 rows of 'test' have no human votes"):
            prepare_dataset(settings(data, tmp_path, combine=combine, backend=backend))
    with pytest.raises(ValueError, match=r"no prior is fitted.*Mend: leave them out, or --empty drop"):
        prepare_dataset(settings(data, tmp_path, empty="prior", backend="none"))


#: Settings of PrepareSettings, and what the error says.
WRONG = [
    ({"combine": "mean"}, "combine must be posterior, weighted, pool"),
    ({"combine": "pool", "combine_weight": 0.1}, "belongs to combine weighted, and combine is pool. Mend"),
    ({"combine_weight": 0.1}, "belongs to combine weighted, and combine is posterior. Mend: --combine weighted"),
    ({"combine": "weighted", "combine_weight": -0.1}, "combine_weight=-0.1 is no weight. Mend: a number from 0 up"),
    ({"combine": "weighted", "combine_weight": float("nan")}, "combine_weight=nan is no weight"),
    ({"synthetic_weight": 0.5}, "synthetic_weight=0.5 belongs to combine pool, and combine is posterior. Mend"),
    ({"synthetic_weight": 1.0}, "synthetic_weight=1 belongs to combine pool"),
    ({"human_weight": 2.0, "combine": "weighted"}, "human_weight=2 belongs to combine pool, and combine is weighted"),
    ({"distribution_weight": 2.0}, "distribution_weight=2 belongs to combine pool"),
    ({"synthetic_weight": -1.0, "combine": "pool"}, "synthetic_weight=-1 is no weight. Mend: a number from 0 up"),
    ({"agreement": 1.5}, "agreement=1.5 is no Fleiss' kappa. Mend: between 0 and 1"),
    ({"agreement": 0.5, "combine": "pool"}, "agreement=0.5 is for fitting, and combine is pool. Mend: leave it out"),
    ({"empty": "maybe"}, "empty must be error, drop, prior, uniform"),
    ({"empty": "prior", "combine": "pool"}, "not known with combine pool. Mend: empty must be error, drop, uniform"),
    ({"combiner": "nowhere.json"}, "There is no combiner at nowhere.json. Mend: the combiner.json of a folder"),
    ({"combiner": "{folder}/data/README.md"}, "README.md is damaged"),
    ({"combiner": "{folder}/other.json"}, "was fitted for calm, sad, and the data is of angry, .*sad. Mend"),
    ({"combiner": "{folder}/out/combiner.json", "combine": "weighted"}, "is of the method posterior. Mend: leave one"),
    ({"combiner": "{folder}/out/combiner.json", "agreement": 0.5}, "combine is that of the combiner. Mend: leave"),
    ({"combiner": "{folder}/out/combiner.json", "combine_weight": 0.5}, "combine_weight and combiner do not go"),
    ({"annotate_splits": ["test"]}, "'train' has no synthetic votes and annotate_splits leaves it out.*Mend"),
]  # fmt: skip


@pytest.mark.parametrize(("options", "problem"), WRONG)
def test_what_does_not_go_together_is_said_before_anybody_is_paid(default, tmp_path, options, problem):
    folder, data, *_ = default
    other = VoteCombiner(["calm", "sad"]).fit_counts([[1, 2], [2, 1]], {})
    other.save(folder / "other.json")
    options = {k: v.format(folder=folder) if isinstance(v, str) else v for k, v in options.items()}
    with pytest.raises((ValueError, OSError), match=problem):
        prepare_dataset(settings(data, tmp_path, **options))
    assert not (tmp_path / "votes.sqlite").exists() and not (tmp_path / "out").exists()


def test_data_that_cannot_be_combined_is_refused_before_anybody_is_paid(splits, tmp_path):
    def one(row):
        return {"speaker": "one"}

    def other(row):
        return {"human_votes": ["calm"]}

    cases = {
        "shared": (splits, one, "Every speaker of 'train' is in .*, too.*Mend: splits of whole speakers"),
        "no_train": ({"dev": splits["validation"], "test": splits["test"]}, None, "There is no split 'train' to learn"),
        "label": (splits, other, "calm"),
    }  # fmt: skip
    for name, (rows, edit, problem) in cases.items():
        (tmp_path / name).mkdir()
        data = written(rows, tmp_path / name / "data", edit)
        with pytest.raises(ValueError, match=problem):
            prepare_dataset(settings(data, tmp_path / name, annotate_splits=["all"]))
        assert not (tmp_path / name / "votes.sqlite").exists()
    # what needs nothing learnt goes on
    about = prepared(tmp_path / "shared" / "data", tmp_path, combine="weighted", combine_weight=0.1)[1]
    assert about["weight"] == 0.1 and about["fitted_on"]["rows"] == 0
    about = prepared(tmp_path / "no_train" / "data", tmp_path, combine="pool", annotate_splits=["all"], overwrite=True)
    assert about[1]["method"] == "pool"


@pytest.mark.parametrize("words", [["--preset", "paper"], ["--config", "prepare/paper", "--backend", "simulated"]])
def test_the_paper_preset_pools(words):
    def read(*more):
        values = annotate.options().parse(["d", "o", *words, "--max_cost_usd", "none", *more], "annotate")
        return values.call(PrepareSettings).combine

    assert read() == "pool" and read("--combine", "posterior") == "posterior"
    assert annotate.options().parse(["d", "o"], "annotate").call(PrepareSettings).combine == "posterior"


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"pilot": 32, "num_annotations": 4}, r"simulated-rater.*: \d+ answers an utterance .*simulated annotators"),
        ({"pilot": 29}, "cannot be told from this pilot: 29 of its 29 training rows .* it takes 30. Mend: a larger"),
        ({"pilot": 32, "num_annotations": 1}, "0 of its 32 rows have two answers or more.*Mend: --num_annotations 5"),
    ],
)  # fmt: skip
def test_a_pilot_says_how_many_answers_to_buy(tmp_path_factory, tmp_path, options, told):
    folder = tmp_path_factory.getbasetemp() / "pilots"
    if not folder.exists():
        written(simulate_corpus(60, 9, seed=1), folder)
    (estimate,) = estimate_preparation(settings(folder, tmp_path, **options)).values()
    (line,) = [line for line in estimate.table().splitlines() if line.startswith("answers to buy")]
    assert line.partition("answers to buy    ")[2] == estimate.advice[0]
    assert re.search(told, line)


def test_the_command_shows_what_the_pilot_says_and_asks_nobody_twice(default, tmp_path, capsys):
    words = [str(default[1]), "--backend", "simulated", "--ledger", str(tmp_path / "v.sqlite"), "--pilot", "5"]
    assert main(["estimate", *words]) == 0
    assert "answers to buy    cannot be told" in capsys.readouterr().out
    assert main(["annotate", *words[:1], str(tmp_path / "o"), *words[1:], "--dry_run"]) == 0
    assert "50 are in the ledger" in capsys.readouterr().out and not (tmp_path / "o").exists()
    assert main(["estimate", *words[:-2]]) == 0
    assert "answers to buy" not in capsys.readouterr().out
