"""From a data set with human votes to one with more: by the recipe's function, its command line and its YAML files."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import yaml

from hf_emo_dist import VoteCombiner
from hf_emo_dist.commands import annotate
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import folder_card, load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.preparation.prepare import PrepareSettings, prepare_dataset

CONFIGS = Path(annotate.__file__).parent / "configs" / "prepare"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(24, 6, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder


def settings(corpus, tmp_path, **options):
    options = {"backend": "simulated", "num_annotations": 4, "ledger": str(tmp_path / "votes.sqlite"), **options}
    return PrepareSettings(dataset=str(corpus), output=str(tmp_path / "out"), **options)


def test_votes_are_added_combined_and_written(corpus, tmp_path):
    reports = prepare_dataset(settings(corpus, tmp_path))
    before, after = load_emotion_dataset(corpus), load_emotion_dataset(tmp_path / "out")
    assert list(reports) == ["train"] and set(before) == set(after)
    for split in before:
        assert before[split]["id"][:] == after[split]["id"][:]
        assert before[split]["human_distribution"][:] == after[split]["human_distribution"][:]
        assert before[split][0]["audio"]["bytes"] == after[split][0]["audio"]["bytes"]
        assert {len(votes) for votes in after[split]["synthetic_votes"]} == ({4} if split == "train" else {0})
    combiner = VoteCombiner.load(tmp_path / "out" / "combiner.json")  # the targets are what it makes of these votes
    for rows in after.values():
        made = combiner(rows[:])
        assert rows["emotion_distribution"][:] == made["emotion_distribution"]
        assert rows["emotion_concentration"][:] == pytest.approx(made["emotion_concentration"])
    source = folder_card(tmp_path / "out")["vote_source"]
    assert source.startswith("SIMULATED votes.") and "synthetic votes by a stated rater model, SIMULATED" in source


def test_what_was_done_is_written_beside_it_without_paths(corpus, tmp_path):
    prepare_dataset(settings(corpus, tmp_path, num_distributions=1, combine="pool", synthetic_weight=0.5))
    text = (tmp_path / "out" / "preparation.json").read_text()
    done = json.loads(text)
    rows = len(load_emotion_dataset(corpus, "train"))
    assert done["annotation"]["num_votes"] == 5 * rows and len(done["annotation"]["panel"]) == 5
    assert done["annotation"]["model_versions"] == {done["annotation"]["model"]: 5 * rows}
    counts = done["splits"]["train"]
    assert (counts["synthetic_votes"], counts["stated_distributions"]) == (4 * rows, rows)
    assert done["combine"]["method"] == "pool" and done["combine"]["settings"]["synthetic_weight"] == 0.5
    assert str(tmp_path) not in text and str(corpus) not in text


def test_the_training_split_is_augmented_last_and_told_of(corpus, tmp_path):
    pytest.importorskip("faiss")
    before = load_emotion_dataset(corpus)
    options = {"augment": "default", "augment_features": "lexical", "augment_target": 6, "overwrite": True}
    for _ in range(2):  # once more over its own output
        prepare_dataset(settings(corpus, tmp_path, **options))
    after = load_emotion_dataset(tmp_path / "out")
    assert [len(after[split]) - len(before[split]) for split in ("train", "validation", "test")] == [6, 0, 0]
    mixed = after["train"].select(range(len(before["train"]), len(after["train"])))
    assert all(len(row["mixed_from"]) == 2 and not row["human_votes"] and not row["synthetic_votes"] for row in mixed)
    assert mixed["emotion_concentration"][:] == [None] * 6
    assert min(after["train"]["emotion_concentration"][: len(before["train"])]) > 3  # people's votes and more
    # What is mixed is the combined targets, not the human votes alone.
    targets = dict(zip(after["train"]["id"][:], after["train"]["emotion_distribution"][:], strict=True))
    row = mixed[0]
    first, second = (targets[source] for source in row["mixed_from"])
    share = row["mix_ratio"]
    assert row["emotion_distribution"]["sad"] == pytest.approx(
        share * first["sad"] + (1 - share) * second["sad"], abs=1e-6
    )
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert done["dime_aug"]["num_mixed"] == 6 and done["dime_aug"]["preset"] == "default"
    names = {path.name for path in (tmp_path / "out" / "preparation").iterdir()}
    assert {"class_mass.png", "mixed_clips.html", "augmentation_plan.parquet", "augmentation.json"} <= names
    assert "DiME-Aug" in (tmp_path / "out" / "README.md").read_text()


def test_a_second_run_asks_nothing_and_gives_the_same(corpus, tmp_path):
    (first,) = prepare_dataset(settings(corpus, tmp_path)).values()
    (second,) = prepare_dataset(settings(corpus, tmp_path, overwrite=True)).values()
    assert (first.votes, first.stored_votes) == (second.stored_votes, second.votes) and second.requests == 0
    history = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    assert history["num_requests"] == 0 and sum(history["model_versions"].values()) == first.votes


def test_without_a_backend_targets_are_the_human_votes(corpus, tmp_path, caplog):
    caplog.set_level("INFO")
    assert prepare_dataset(settings(corpus, tmp_path, backend="none")) == {}
    out = load_emotion_dataset(tmp_path / "out")
    assert "synthetic_votes" not in out["train"].column_names
    assert out["train"]["emotion_distribution"][:] == out["train"]["human_distribution"][:]
    assert "emotion_concentration" not in out["train"].column_names
    assert not (tmp_path / "out" / "combiner.json").exists()
    assert "There are no synthetic votes" in caplog.text
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert done["combine"]["method"] == "human" and done["combine"]["data"] == ["simulated data"]


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"annotate_splits": ["training"]}, "annotate_splits names training"),
        ({"annotate_splits": "train"}, "is one text. Mend: a list of names"),
        ({"retry_failed": ["sometimes"]}, "retry_failed must be"),
        ({"backend": "gemeni"}, "Unknown backend 'gemeni'.*module:Name"),
        ({"backend_options": {"colour": "red"}}, "does not fit the backend"),
        ({"backend_options": {"column": "no_such_column"}}, "no_such_column"),
        ({"emotions": ["angry"]}, "at least two"),
        ({"limit": 0}, "limit"),
        ({"augment": "maybe"}, "augment='maybe'"),
    ],
)
def test_wrong_settings_are_explained_and_nothing_is_written(corpus, tmp_path, options, problem):
    with pytest.raises(ValueError, match=problem):
        prepare_dataset(settings(corpus, tmp_path, **options))
    assert not (tmp_path / "out").exists()


def test_a_split_that_is_to_be_augmented_is_missed_before_anybody_is_asked(corpus, tmp_path):
    rows = load_emotion_dataset(corpus, "validation")
    write_dataset({"validation": rows}, tmp_path / "data", description="x", vote_source="SIMULATED votes.")
    wanted = settings(tmp_path / "data", tmp_path, augment="default", annotate_splits=["validation"])
    with pytest.raises(ValueError, match="no split 'train' to augment"):
        prepare_dataset(wanted)
    assert not (tmp_path / "votes.sqlite").exists()


@pytest.mark.parametrize(
    ("options", "without", "problem"),
    [
        ({"augment_features": "mood"}, None, "no column 'mood' of features"),
        ({"augment_features": "speaker"}, None, "must hold lists of numbers"),
        ({"augment_backbone": "/nothing/there"}, None, "backbone '/nothing/there' cannot be loaded"),
        ({}, "faiss", r"hf-emo-dist\[augment\]"),
        ({}, "librosa", r"hf-emo-dist\[augment\]"),
        ({}, "matplotlib", r"hf-emo-dist\[reports\]"),
    ],
)
def test_what_augmenting_needs_is_missed_before_anybody_is_asked(
    corpus, tmp_path, monkeypatch, options, without, problem
):
    if without:
        monkeypatch.setitem(sys.modules, without, None)
    with pytest.raises((ValueError, OSError, ModuleNotFoundError), match=problem):
        prepare_dataset(settings(corpus, tmp_path, augment="default", **options))
    assert not (tmp_path / "votes.sqlite").exists() and not (tmp_path / "out").exists()


def test_an_output_folder_in_use_is_refused_before_anybody_is_asked(corpus, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine.txt").write_text("x")
    with pytest.raises(FileExistsError, match="overwrite=True"):
        prepare_dataset(settings(corpus, tmp_path))
    assert not (tmp_path / "votes.sqlite").exists()


def test_the_command_line_estimates_annotates_and_stops_at_a_cap(corpus, tmp_path, capsys):
    ledger = ["--backend", "simulated", "--ledger", str(tmp_path / "votes.sqlite"), "--num_annotations", "4"]
    assert main(["estimate", str(corpus), *ledger]) == 0
    assert "replies wanted" in capsys.readouterr().out
    out = str(tmp_path / "out")
    with pytest.raises(SystemExit) as stop:
        main(["annotate", str(corpus), out, *ledger, "--max_tokens", "1"])
    assert stop.value.code == 3 and "STOPPED: the budget is used up" in capsys.readouterr().err
    assert main(["annotate", str(corpus), out, *ledger]) == 0
    assert f"Wrote {out}" in capsys.readouterr().out
    assert main(["annotate", str(corpus), out, *ledger]) == 2
    assert "is not empty" in capsys.readouterr().err


def test_the_command_line_names_what_is_missing(capsys, tmp_path):
    assert main(["annotate", "--backend", "simulated"]) == 2
    assert "output is missing" in capsys.readouterr().err
    for words, problem in (
        (["--emotions", "a,b,"], "has an empty name"),
        (["--retry_failed", "a,"], "has an empty name"),
    ):
        assert main(["annotate", str(tmp_path), str(tmp_path / "out"), "--backend", "simulated", *words]) == 2
        assert problem in capsys.readouterr().err
    assert main(["estimate", str(tmp_path / "nowhere")]) == 2
    assert "nowhere" in capsys.readouterr().err


@pytest.mark.parametrize("name", sorted(path.stem for path in CONFIGS.glob("*.yaml")))
def test_every_configuration_makes_an_annotator(name, tmp_path, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "not-a-key")
    file = CONFIGS / f"{name}.yaml"
    values = yaml.safe_load(file.read_text())
    words = ["d", "o", "--config", f"prepare/{name}", "--ledger", str(tmp_path / "v.sqlite")]
    read = annotate.options().parse(words, "annotate").call(PrepareSettings)
    annotator = read.annotator(("angry", "sad"))
    number = values["num_annotations"] if "panel" not in values else len(values["panel"])
    assert annotator.answers_a_clip == number and annotator.backend.name == values["backend"]


def test_a_card_that_says_restricted_is_obeyed_and_handed_on(corpus, tmp_path, monkeypatch):
    copy = tmp_path / "copy"
    shutil.copytree(corpus, copy)
    card = (copy / "README.md").read_text()
    (copy / "README.md").write_text(card.replace("vote_source:", "restricted: true\nvote_source:", 1))
    prepare_dataset(settings(copy, tmp_path))
    assert json.loads((tmp_path / "out" / "preparation.json").read_text())["source"]["restricted"] is True
    monkeypatch.setattr("hf_emo_dist.annotation.backends.simulated.SimulatedBackend.destination", "a server")
    with pytest.raises(ValueError, match=r"marked as restricted.*a server.*Mend.*--allow_upload"):
        prepare_dataset(settings(copy, tmp_path, overwrite=True))
