"""`hf-emo-dist read CORPUS SOURCE OUTPUT`: the readers as they are typed."""

import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from datasets import load_dataset
from huggingface_hub.errors import LocalEntryNotFoundError

sys.path.insert(0, str(Path(__file__).parents[1] / "corpora"))

import corpus_files
from corpus_files import cremad, emozionalmente, iemocap

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora import CORPORA, find_reader
from hf_emo_dist.data.loading import folder_card, load_emotion_dataset
from hf_emo_dist.data.splits import check_splits


def run(name, *words):
    return main(["read", name, *map(str, words)])


@pytest.mark.parametrize("name", sorted(CORPORA))
def test_every_reader_writes_a_folder_that_load_dataset_opens(tmp_path, name, capsys):
    source, output, info = getattr(corpus_files, name)(tmp_path / name), tmp_path / "out", find_reader(name).info
    assert run(name, source, output, "--split", "own", "--num_proc", 2) == 0
    out = capsys.readouterr().out
    assert "utterances kept" in out and "Cite:" in out
    dataset = load_dataset(str(output))
    rows = [row for split in dataset.values() for row in split.remove_columns("audio")]
    assert rows and {row["corpus"] for row in rows} == {name}
    assert {row["restricted"] for row in rows} == {info.restricted}
    loaded = load_emotion_dataset(output)
    assert all(row["audio"]["bytes"][:4] == b"RIFF" for split in loaded.values() for row in split)
    report = json.loads((output / "reading_report.json").read_text())
    assert report["kept"] == len(rows) and (output / "reading_report.txt").read_text().startswith(f"{len(rows)} utt")
    assert str(tmp_path) not in (output / "reading_report.json").read_text()
    card = (output / "README.md").read_text()
    assert "**Cite:**" in card and ("**Restricted:**" in card) == info.restricted
    assert ("human_distribution" in card) == info.has_votes
    assert folder_card(output)["vote_source"]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([name, "out"])  # nothing is left behind


def test_the_paper_preset_and_the_default_of_iemocap(tmp_path, capsys):
    source = iemocap(tmp_path / "iemocap")
    assert run("iemocap", source, tmp_path / "folds", "--emotions", "angry,happy,neutral,sad", "--merge_excited") == 0
    rows = load_emotion_dataset(tmp_path / "folds", "train")
    assert set(rows["fold"]) == {1, 2}
    check_splits(rows, fold_column="fold")
    assert "excited for happy" in (tmp_path / "folds" / "README.md").read_text()
    # one utterance of the fixture has votes for the four alone: too few for three splits
    assert run("iemocap", source, tmp_path / "paper", "--preset", "paper") == 2
    assert "too few" in capsys.readouterr().err
    assert not (tmp_path / "paper").exists()
    assert run("iemocap", source, tmp_path / "random", "--split", "paper_random") == 0
    card = (tmp_path / "random" / "README.md").read_text()
    assert "Split: `paper_random`" in card and "not those of unseen speakers" in card


def test_the_card_of_a_corpus_without_votes_names_the_merged_labels(tmp_path):
    source = corpus_files.ravdess(tmp_path / "ravdess")
    assert run("ravdess", source, tmp_path / "out", "--merge", "calm=neutral,fearful=sad") == 0
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Emotions: angry, happy, neutral, sad, disgust, surprise. They were acted on request." in card


def test_options_reach_the_reader(tmp_path):
    source = cremad(tmp_path / "cremad")
    words = ["--modality", "face", "--split", "folds", "--num_folds", 2, "--test_fold", 1, "--merge", "angry=sad"]
    assert run("cremad", source, tmp_path / "out", *words, "--check_audio", "--max_shard_size", "1KB") == 0
    dataset = load_emotion_dataset(tmp_path / "out")
    assert set(dataset) == {"train", "test"}
    assert sorted(row["human_votes"][0] for split in dataset.values() for row in split) == ["happy", "sad"]
    check_splits(dataset)


def test_a_folder_in_use_is_refused_before_anything_is_read(tmp_path, capsys, monkeypatch):
    source, output = emozionalmente(tmp_path / "emozionalmente"), tmp_path / "out"
    assert run("emozionalmente", source, output) == 0
    monkeypatch.setattr("hf_emo_dist.corpora.emozionalmente._utterances", lambda *_: pytest.fail("read"))
    assert run("emozionalmente", source, output) == 2
    assert "not empty" in capsys.readouterr().err
    monkeypatch.undo()
    assert run("emozionalmente", source, output, "--overwrite", "--limit", 2) == 0
    assert json.loads((output / "reading_report.json").read_text())["not_drawn"] == 1
    (output / "thesis.tex").write_text("years of work")
    assert run("emozionalmente", source, output, "--overwrite") == 2


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--merge", "excited"], "--merge 'excited' is not NAME=VALUE"),
        (["--fractions", "1"], "--fractions '1' is not NAME=VALUE"),
        (["--max_shard_size", "huge"], "--max_shard_size 'huge' is no size"),
        (["--emotions", "angry,sad,"], "has an empty name"),
        (["--emotions", "angry,bored"], "has no label for bored"),
        (["--split", "random"], "--split must be one of own, speaker, session"),
    ],
)
def test_malformed_words_are_refused_before_anything_is_read(tmp_path, words, message, capsys):
    assert run("iemocap", iemocap(tmp_path / "iemocap"), tmp_path / "out", *words) == 2
    assert message in capsys.readouterr().err and not (tmp_path / "out").exists()


class FakeHub:
    """Stands in for HfApi."""

    def __init__(self):
        self.calls, self.public = [], False

    def __call__(self, **_):
        return self

    def whoami(self):
        return {"name": "me"}

    def create_repo(self, repo_id, **words):
        self.calls.append(("create_repo", repo_id, words["repo_type"], words["private"]))
        return SimpleNamespace(repo_id=repo_id)

    def repo_info(self, repo_id, repo_type):
        return SimpleNamespace(private=not self.public)

    def list_repo_files(self, repo_id, **_):
        return []

    def hf_hub_download(self, *_, **__):
        raise LocalEntryNotFoundError("no README there")

    def create_commit(self, repo_id, operations, **_):
        self.calls.append(("create_commit", repo_id, sorted(operation.path_in_repo for operation in operations)))
        return SimpleNamespace(oid="0", pr_url=None, commit_url=f"https://hub/{repo_id}")


@pytest.fixture
def hub(monkeypatch):
    fake = FakeHub()
    monkeypatch.setattr("huggingface_hub.HfApi", fake)
    return fake


def test_pushing_is_private_by_default(tmp_path, hub, capsys):
    source = emozionalmente(tmp_path / "emozionalmente")
    assert run("emozionalmente", source, tmp_path / "out", "--push_to_hub", "me/votes") == 0
    assert hub.calls[0] == ("create_repo", "me/votes", "dataset", True)
    name, repo_id, files = hub.calls[1]
    assert (name, repo_id) == ("create_commit", "me/votes")
    assert "README.md" in files and "data/train-00000-of-00001.parquet" in files
    assert not [file for file in files if file.startswith("reading_report")]
    assert "Uploaded to https://hub/me/votes" in capsys.readouterr().out
    assert run("emozionalmente", source, tmp_path / "more", "--push_to_hub", "me/votes", "--public") == 0
    assert hub.calls[2][3] is False


def test_restricted_corpora_are_never_pushed_publicly(tmp_path, hub, capsys):
    source = iemocap(tmp_path / "iemocap")
    assert run("iemocap", source, tmp_path / "out", "--push_to_hub", "me/secret", "--public") == 2
    assert "unrecognized arguments: --public" in capsys.readouterr().err
    hub.public = True
    assert run("iemocap", source, tmp_path / "out", "--push_to_hub", "me/secret") == 2
    assert "is public" in capsys.readouterr().err
    assert [call[0] for call in hub.calls] == ["create_repo"]
    from hf_emo_dist.hub.push_data import check_push

    with pytest.raises(ValueError, match="never pushed publicly"):
        check_push("me/secret", private=False, restricted=True)


def test_a_wrong_id_or_a_missing_login_is_found_before_reading(tmp_path, capsys, monkeypatch):
    source = emozionalmente(tmp_path / "emozionalmente")
    monkeypatch.setattr("hf_emo_dist.corpora.emozionalmente._utterances", lambda *_: pytest.fail("read"))
    assert run("emozionalmente", source, tmp_path / "out", "--push_to_hub", "a/b/c") == 2
    assert "not a Hub id" in capsys.readouterr().err
    assert run("emozionalmente", source, tmp_path / "out", "--push_to_hub", "me/votes") == 2
    assert "hf auth login" in capsys.readouterr().err


OWN = """
from hf_emo_dist.corpora import CorpusInfo, corpus_reader, read_emodb

INFO = CorpusInfo(name="mine", title="Mine", language="de", emotions=("angry", "sad"), license="other",
                  terms="Mine.", citation="Me.", vote_source="Nobody voted.", has_votes=False)

@corpus_reader(INFO)
def read_mine(source, *, loud: bool = False, report=None, **options):
    \"\"\"Read mine.

    Args:
        source: The folder.
        loud: Only the loud ones.
        report: Receives what is left out.
    \"\"\"
    print("loud" if loud else "all")
    return read_emodb(source, report=report, **options)
"""


def test_a_reader_of_the_user_s_own_is_a_command_too(tmp_path, monkeypatch, capsys):
    (tmp_path / "my_corpus.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [path for path in sys.path if path])
    assert run("my_corpus:read_mine", corpus_files.emodb(tmp_path / "emodb"), "out", "--loud") == 0
    assert "loud" in capsys.readouterr().out and "Mine." in (tmp_path / "out" / "README.md").read_text()
    assert run("my_corpus:read_yours", tmp_path / "emodb", "out") == 2
    assert "read_yours" in capsys.readouterr().err
    assert run("iemocapp", tmp_path, "out") == 2
    assert "Mend: one of table, dataset" in capsys.readouterr().err
