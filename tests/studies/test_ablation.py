"""The ablation on tones with simulated synthetic votes: whole, stopped and resumed, and what it refuses."""

import sys

import numpy as np
import pytest
from tiny_setup import EMOTIONS, make_rows

from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset
from hf_emo_dist.evaluation.refitted_targets import Targets, with_targets
from hf_emo_dist.studies.ablation.ablation import DIME_AUG, ablation, augmenter_of, divide
from hf_emo_dist.studies.ablation.sources import FITTED, source_targets, targets_of_parts
from hf_emo_dist.training import fine_tuning as training_run
from hf_emo_dist.votes import distributions_to_matrix


def written(splits, folder):
    from datasets import DatasetDict

    about = {"description": "Tones.", "vote_source": "Simulated votes on tones.", "emotions": EMOTIONS}
    return write_dataset(DatasetDict(splits), folder, **about)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Train, validation and test with synthetic labels that are drawn from the truth; one row has none."""
    from datasets import Value

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
    return written(splits, tmp_path_factory.mktemp("ablation") / "data")


def twice(rows, emotions, seed):
    """An augmentation that is none: the rows again under other names."""
    from datasets import concatenate_datasets

    again = rows.remove_columns("id").add_column("id", [f"{name}-{seed}" for name in rows["id"]])
    return concatenate_datasets([rows, again.select_columns(rows.column_names)])


def recipe(backbone, data):
    words = ["--backbone", str(backbone), "--dataset", str(data), "--use_cpu", "true", "--num_train_epochs", "1"]
    return [*words, "--report_to", "none", "--learning_rate", "1e-3"]


OPTIONS = {"sources": ("human", "pooled"), "seeds": (0,), "augment_with": twice, "num_resamples": 50}


@pytest.fixture(scope="module")
def finished(backbone, data, tmp_path_factory):
    output = tmp_path_factory.mktemp("cells")
    return ablation(*recipe(backbone, data), output=output, **OPTIONS), output


def test_targets_of_each_source(data):
    train = load_emotion_dataset(data, "train")
    rows = list(train)
    for source in ("human", "synthetic", "pooled"):
        found = source_targets(train, EMOTIONS, source)
        for place, row in enumerate(rows):
            pool = (row["human_votes"] if source != "synthetic" else []) + (
                row["synthetic_votes"] if source != "human" else []
            )
            expected = {name: pool.count(name) / len(pool) for name in EMOTIONS} if pool else None
            assert found[place] == (expected if expected is None else pytest.approx(expected))
    synthetic = source_targets(train, EMOTIONS, "synthetic")
    made = with_targets(train, Targets(synthetic), EMOTIONS)
    assert len(made) == len(train) - 1 and made["id"][1] == train["id"][2]
    assert made["human_distribution"] == [row["human_distribution"] for row in rows if row["synthetic_votes"]]
    matrix = distributions_to_matrix(made["emotion_distribution"], EMOTIONS)
    assert np.allclose(matrix, distributions_to_matrix([target for target in synthetic if target], EMOTIONS))
    with pytest.raises(ValueError, match="needs synthetic votes"):
        source_targets(train.remove_columns("synthetic_votes"), EMOTIONS, "pooled")


@pytest.fixture(scope="module")
def votes(data):
    """All rows without audio, the first half for training and a quarter to score on; the rest chooses checkpoints."""
    from datasets import concatenate_datasets

    rows = concatenate_datasets([part.remove_columns("audio") for part in load_emotion_dataset(data).values()])
    return rows, np.arange(0, 14), np.arange(21, 28)


def turned_round(rows, places):
    """The rows, those of some places with every vote turned into another one."""
    other = dict(zip(EMOTIONS, np.roll(EMOTIONS, 1).tolist(), strict=True))

    def turn(row, place):
        names = ("human_votes", "synthetic_votes")
        return {name: [other[vote] for vote in row[name]] if place in places else row[name] for name in names}

    return rows.map(turn, with_indices=True)


@pytest.mark.parametrize("source", FITTED)
def test_a_fitted_target_comes_of_training_rows_alone(votes, source):
    rows, train, test = votes
    (found,) = targets_of_parts(rows, EMOTIONS, source, [(train, test)])
    (other,) = targets_of_parts(turned_round(rows, set(range(14, 28))), EMOTIONS, source, [(train, test)])
    assert found.learnt == other.learnt and found.digest == other.digest
    assert found.own != other.own  # of the scored rows by their own votes, as the paper's protocol has it
    (changed,) = targets_of_parts(turned_round(rows, {0, 1}), EMOTIONS, source, [(train, test)])
    assert changed.digest != found.digest
    # what is learnt from two rows shapes the targets of others
    assert changed.learnt.distributions[2:] != found.learnt.distributions[2:]
    matrix = found.learnt.matrix(EMOTIONS, rows["id"][:14])
    assert np.allclose(matrix.sum(axis=1), 1) and min(found.learnt.concentrations) > 6  # six people have voted
    alone = targets_of_parts(rows.remove_columns("synthetic_votes"), EMOTIONS, "smoothed", [(train, test)])
    assert (found.learnt == alone[0].learnt) == (source == "smoothed")


def test_a_distribution_column_is_a_source(votes):
    rows, train, test = votes
    (found,) = targets_of_parts(rows, EMOTIONS, "column:true_distribution", [(train, test)])
    assert found.learnt.distributions == [rows[int(place)]["true_distribution"] for place in train]
    assert found.learnt.concentrations is None


def test_the_default_has_a_posterior_and_rows_may_weigh_by_it(backbone, data, tmp_path, monkeypatch):
    train, met = training_run.run_training, []
    monkeypatch.setattr(training_run, "run_training", lambda *a: met.append(a[2]) or train(*a))
    words = [*recipe(backbone, data), "--concentration_weight", "5"]
    options = {"sources": ("posterior",), "seeds": (0,), "augment": "off", "num_resamples": 50}
    study = ablation(*words, output=tmp_path, **options)
    assert min(met[0]["emotion_concentration"]) > 6
    assert "posterior: fitted on the training rows alone" in study.facts["fitted targets"]
    assert study.tables[1].rows[0][0] == "posterior" and len(study.results["paper_protocol"]) == 1
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained again"))
    assert ablation(*words, output=tmp_path, **options).results == study.results
    with pytest.raises(ValueError, match=r"concentration_weight.*--overwrite"):
        ablation(*recipe(backbone, data), output=tmp_path, **options)


def test_no_floor_of_votes_that_nothing_is_scored_against(finished, backbone, data, tmp_path, monkeypatch):
    """Where `human_distribution` is of other votes than `human_votes`, held out from targets, theirs is not known."""
    assert "js_divergence_floor" in finished[0].results
    splits = {
        name: rows.map(lambda row: {"human_votes": row["human_votes"][:3]})
        for name, rows in load_emotion_dataset(data).items()
    }
    options = {**OPTIONS, "sources": ("human",), "augment": "off"}
    study = ablation(*recipe(backbone, written(splits, tmp_path / "data")), output=tmp_path / "out", **options)
    assert "js_divergence_floor" not in study.results


def test_one_table_with_every_cell_on_the_same_human_votes(finished):
    study, output = finished
    cells = {(cell["source"], cell["augmented"]): cell for cell in study.results["cells"]}
    assert set(cells) == {(source, augmented) for source in ("human", "pooled") for augmented in (False, True)}
    for cell in cells.values():
        js = cell["js_divergence"]
        assert js["low"] <= js["value"] <= js["high"] and js["value"] == pytest.approx(np.mean(cell["by_seed"]))
    assert "minus_first" not in cells["human", False] and cells["pooled", True]["minus_plain"]["p_value"] <= 1
    rows = {(run["source"], run["augmented"]): run["train_rows"] for run in study.results["runs"]}
    assert rows == {("human", False): 12, ("human", True): 24, ("pooled", False): 12, ("pooled", True): 24}
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
    again = ablation(*recipe(backbone, data), output=output, **OPTIONS)
    assert again.results == study.results
    with pytest.raises(ValueError, match=r"augmentation.*--overwrite"):
        ablation(
            *recipe(backbone, data), output=output, **{**OPTIONS, "augment_with": lambda rows, emotions, seed: rows}
        )


def test_a_stopped_run_goes_on_where_it_was(finished, backbone, data, tmp_path, monkeypatch):
    train, trained = training_run.run_training, []

    def interrupted(recipe, args, *rows):
        trained.append(args.output_dir.split("/")[-2])
        if len(trained) == 2:
            raise KeyboardInterrupt
        return train(recipe, args, *rows)

    monkeypatch.setattr(training_run, "run_training", interrupted)
    options = {**OPTIONS, "sources": ("human",), "augment": "off", "seeds": (0, 1)}
    with pytest.raises(KeyboardInterrupt, match="run the same command"):
        ablation(*recipe(backbone, data), output=tmp_path, **options)
    study = ablation(*recipe(backbone, data), output=tmp_path, **options)
    assert trained == ["human-seed0", "human-seed1", "human-seed1"]
    (cell,) = study.results["cells"]
    assert cell["by_seed"][0] == pytest.approx(finished[0].results["cells"][0]["by_seed"][0], abs=1e-6)
    assert cell["seed_deviation"] == pytest.approx(np.std(cell["by_seed"], ddof=1)) and cell["seed_deviation"] > 0


def test_the_library_s_augmentation(backbone, data, tmp_path):
    """DiME-Aug itself: mixed rows of training rows alone, the targets of the cell's source mixed like the audio."""
    train = load_emotion_dataset(data, "train")
    targets = source_targets(train, EMOTIONS, "synthetic")
    augment, name = augmenter_of(DIME_AUG, "default", str(backbone))
    rows = augment(with_targets(train, Targets(targets), EMOTIONS), EMOTIONS, 7)
    assert name == DIME_AUG
    before = {row["id"]: target for row, target in zip(train, targets, strict=True) if target}
    mixed = [row for row in rows if row["mixed_from"]]
    assert mixed and len(rows) == len(before) + len(mixed)
    for row in mixed:
        first, second = (before[name] for name in row["mixed_from"])
        for emotion in EMOTIONS:
            expected = row["mix_ratio"] * first[emotion] + (1 - row["mix_ratio"]) * second[emotion]
            assert row["emotion_distribution"][emotion] == pytest.approx(expected, abs=1e-6)
    options = {**OPTIONS, "sources": ("pooled",), "augment": "on", "augment_with": DIME_AUG}
    study = ablation(*recipe(backbone, data), output=tmp_path, **options)
    (run,) = study.results["runs"]
    assert run["train_rows"] > len(train)


def test_another_augmentation_by_name():
    function, name = augmenter_of("math:pow", "default", None)
    assert function(2, 3) == 8 and name == "math:pow"
    for wrong in ("math", "math:nothing", "no_such_module:f"):
        with pytest.raises(ValueError, match=r"(?i)augmentation .*Mend"):
            augmenter_of(wrong, "default", None)


def test_what_does_not_fit_is_said_before_training(backbone, data, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained"))
    words = recipe(backbone, data)

    def refused(error, match, words=words, **changed):
        with pytest.raises(error, match=match):
            ablation(*words, output=tmp_path, **{"sources": ("human",), **changed})

    refused(ValueError, "Nothing says how to train", words=[])
    refused(ValueError, "--output_dir is set by --output", words=[*words, "--output_dir", "x"])
    refused(ValueError, "no dataset. Mend: add --dataset", words=[*words[:2], *words[4:]])
    refused(ValueError, "leave --target_column out", words=[*words, "--target_column", "human_distribution"])
    refused(ValueError, "nothing to compare", seeds=())
    refused(ValueError, "`preset` must be one of", augment_preset="nope")
    refused(ValueError, "'none' is not known. Mend: one of human", sources=("none",))
    refused(ValueError, "'combined' of 0.1 is called 'pooled'. Mend", sources=("human", "combined"))
    refused(ValueError, "no column 'nothing'. Mend: name one of", sources=("column:nothing",))
    weighted = [*words, "--concentration_weight", "5"]
    refused(ValueError, "the source 'human' does not say. Mend", words=weighted, sources=("posterior", "human"))
    monkeypatch.setitem(sys.modules, "faiss", None)
    refused(ModuleNotFoundError, r"hf-emo-dist\[augment\]")


@pytest.mark.slow
def test_folds_score_every_row_once_by_models_that_never_met_its_speaker(backbone, data, tmp_path, monkeypatch):
    """Three folds; the splits are put together, and the validation speakers are those of no cell's training."""
    train, met = training_run.run_training, []

    def watched(recipe, args, rows, validation):
        met.append((set(rows["speaker"]), set(validation["speaker"])))
        return train(recipe, args, rows, validation)

    monkeypatch.setattr(training_run, "run_training", watched)
    options = {**OPTIONS, "augment": "off", "num_folds": 3, "validation_speakers": 1}
    study = ablation(*recipe(backbone, data), output=tmp_path, **options)
    assert "3-fold" in study.facts["split"] and "28 rows" in study.facts["split"]
    everyone = {f"s{i}" for i in range(7)}
    tested = [everyone - learnt - choosing for learnt, choosing in met]
    assert met[:3] == met[3:]  # the same for both sources
    assert set().union(*tested[:3]) == everyone and sum(map(len, tested[:3])) == 7
    assert all(len(choosing) == 1 and not choosing & learnt for learnt, choosing in met)
    runs = study.results["runs"]
    assert [run["part"] for run in runs] == ["fold0", "fold1", "fold2"] * 2
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained again"))
    assert ablation(*recipe(backbone, data), output=tmp_path, **options).results == study.results
    with pytest.raises(ValueError, match=r"folds.*--overwrite"):
        ablation(*recipe(backbone, data), output=tmp_path, **{**options, "seed": 1})
    for wrong, words in (
        ({"fold_column": "fold"}, "both given"),
        ({"num_folds": None, "fold_column": "session"}, "session"),
        ({"num_folds": 99}, "number of speakers"),
        ({"num_folds": 0}, "number of speakers"),
        ({"validation_speakers": 4}, "from 1 to"),
        ({"validation_speakers": 0}, "from 1 to"),
    ):
        with pytest.raises(ValueError, match=words):
            ablation(*recipe(backbone, data), output=tmp_path, **{**options, **wrong})


def test_synthetic_votes_on_the_training_split_alone(backbone, data, tmp_path):
    """As `hf-emo-dist annotate` does by default: trained on, and no figure by the paper's protocol of own labels."""

    def unheard(batch):
        return {"synthetic_votes": [[] for _ in batch["id"]]}

    splits = {
        name: rows if name == "train" else rows.map(unheard, batched=True)
        for name, rows in load_emotion_dataset(data).items()
    }
    folder = written(splits, tmp_path / "data")
    options = {**OPTIONS, "sources": ("human", "synthetic"), "augment": "off"}
    study = ablation(*recipe(backbone, folder), output=tmp_path, **options)
    assert {cell["source"] for cell in study.results["cells"]} == {"human", "synthetic"}
    assert [row["source"] for row in study.results["paper_protocol"]] == ["human"]
    assert "no own labels" in study.tables[1].rows[1][4]
    assert "1 of 12 training rows have no synthetic votes" in study.notes


def test_synthetic_votes_that_training_has_none_of_are_missed_before_training(backbone, data, tmp_path, monkeypatch):
    monkeypatch.setattr(training_run, "run_training", lambda *a, **k: pytest.fail("trained"))
    splits = load_emotion_dataset(data)
    bare = splits["train"].map(lambda batch: {"synthetic_votes": [[] for _ in batch["id"]]}, batched=True)
    folder = written({**splits, "train": bare}, tmp_path / "data")
    options = {**OPTIONS, "sources": ("human", "synthetic")}
    with pytest.raises(ValueError, match="No training row has votes for 'synthetic'"):
        ablation(*recipe(backbone, folder), output=tmp_path, **options)


def test_mixed_rows_of_the_data_set_have_no_votes_and_are_left_out(backbone, data, tmp_path, monkeypatch):
    """What `annotate --augment default` wrote: every cell trains on the same rows as without it."""
    from hf_emo_dist.augmentation.dime import DiMEAug

    splits = load_emotion_dataset(data)
    prepared = {**splits, "train": DiMEAug(emotions=EMOTIONS, seed=0).augment(splits["train"])}
    assert len(prepared["train"]) > 12
    folder = written(prepared, tmp_path / "data")
    opened = open_dataset(folder)
    for options in ({}, {"num_folds": 2}):
        division = divide(opened, ("train", "validation", "test"), **options)
        assert len(division.rows) == 28 and not any(division.rows["mixed_from"])
        assert sum(len(part.test) for part in division.parts) == len(division.scored)
    met, train = [], training_run.run_training
    monkeypatch.setattr(training_run, "run_training", lambda *a: met.append(list(a[2]["id"])) or train(*a))
    options = {**OPTIONS, "sources": ("human",), "augment": "off"}
    ablation(*recipe(backbone, folder), output=tmp_path / "out", **options)
    assert met == [list(splits["train"]["id"])]


def test_a_difference_is_claimed_where_interval_and_sign_flips_agree():
    from hf_emo_dist.studies.ablation.cell_tables import findings

    def cell(source, **change):
        return {
            "source": source,
            "augmented": False,
            "js_divergence": {"value": 0.2, "low": 0.1, "high": 0.3},
            **({"minus_first": change} if change else {}),
        }

    lines = findings(
        [
            cell("human"),
            cell("pooled", value=-0.02, low=-0.03, high=-0.01, p_value=0.03),
            cell("synthetic", value=-0.02, low=-0.03, high=-0.001, p_value=0.09),
            cell("synthetic", value=0.02, low=0.01, high=0.03, p_value=0.0001),
            cell("synthetic", value=0.02, low=-0.01, high=0.03, p_value=0.04),
        ]
    )
    assert [next(word for word in ("better", "worse", "not told apart") if word in line) for line in lines[1:]] == [
        "better",
        "not told apart",
        "worse",
        "not told apart",
    ]
    assert "p < 0.001" in lines[3]
