"""What would end a preparation after the votes are bought is found before one request is sent."""

import sys
from pathlib import Path

import pytest

from hf_emo_dist.annotation.backends.simulated import SimulatedBackend
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset
from hf_emo_dist.preparation.early_checks import check_before_paying
from hf_emo_dist.preparation.prepare import PrepareSettings, prepare_dataset

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from openai_server import OpenAIServer


@pytest.fixture(scope="module")
def splits():
    return simulate_corpus(24, 6, seed=0)


@pytest.fixture(scope="module")
def corpus(splits, tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(splits, folder, description="simulated", vote_source="SIMULATED votes.")
    return folder


@pytest.fixture
def nobody_asked(monkeypatch):
    async def ask(*_):
        raise AssertionError("a request was sent")

    monkeypatch.setattr(SimulatedBackend, "ask", ask)


def with_column(splits, name, values):
    """The splits with another column: `values` of a split's name and rows."""
    return {
        split: rows.remove_columns([name] if name in rows.column_names else []).add_column(name, values(split, rows))
        for split, rows in splits.items()
    }


def entries(**changed):
    kept = {"label": "sad", "distribution": None, "model": "m", "focus": "f", "temperature": 1.0, "mode": "label"}
    return lambda _, rows: [[{**kept, "replicate": 0, "key": "k", **changed}]] * len(rows)


LEXICAL = {"augment": "default", "augment_features": "lexical", "augment_target": 3}
# what is wrong: options, a column and its values, the message
CASES = {
    "a misspelt target": ({**LEXICAL, "augment_target": {"sda": 5}}, None, "Unknown emotion 'sda'.*Did you mean 'sad'"),
    "a target in words": ({**LEXICAL, "augment_target": {"sad": "many"}}, None, "whole numbers of rows"),
    "half a row": ({**LEXICAL, "augment_target": {"sad": 1.5}}, None, "whole numbers of rows"),
    "another target": ({**LEXICAL, "augment_target": "mas"}, None, "'mass', 'dominant', got 'mas'"),
    "a seed in words": ({**LEXICAL, "augment_seed": "x"}, None, "`seed` is 'x'"),
    "fewer clips than none": ({**LEXICAL, "augment_examples": -1}, None, "augment_examples=-1"),
    "a mixer that mixes nothing": ({**LEXICAL, "augment_mixing": "json:dumps"}, None, "does not mix two clips"),
    "a mixer of one number": ({**LEXICAL, "augment_mixing": "builtins:pow"}, None, "does not mix two clips"),
    "speakers that nobody knows": (
        {**LEXICAL, "augment_speakers": "different"},
        ("speaker", lambda _, rows: [None] * len(rows)),
        "needs a column 'speaker'",
    ),
    "rows that were mixed": (
        LEXICAL,
        ("mixed_from", lambda _, rows: [["a", "b"], *[None] * (len(rows) - 1)]),
        "rows were mixed already",
    ),
    "no ids to augment by": (
        LEXICAL,
        ("id", lambda split, rows: [f"{split}-{i}" if i else None for i in range(len(rows))]),
        "None is no id|None is in",
    ),
    "features that are no numbers": (
        {**LEXICAL, "augment_features": "vector"},
        ("vector", lambda _, rows: [[float("nan")] * 3] * len(rows)),
        "No row has finite features",
    ),
    "features of unlike lengths": (
        {**LEXICAL, "augment_features": "vector"},
        ("vector", lambda _, rows: [[1.0] * (1 + (i == len(rows) - 1)) for i in range(len(rows))]),
        "2 numbers, where others have 1|1 numbers, where others have 2",
    ),
    "emotions that are too few": ({"emotions": ["angry", "sad"]}, None, "Unknown emotion '(neutral|happy)'"),
    "a vote for something else": (
        {},
        ("human_votes", lambda _, rows: [["sad"]] * (len(rows) - 1) + [["bored"]]),
        "Unknown emotion 'bored'",
    ),
    "votes that are numbers": ({}, ("human_votes", lambda _, rows: [[1]] * len(rows)), "Votes must be labels"),
    "weights of other votes": (
        {"combine": "pool"},
        ("human_vote_weights", lambda _, rows: [[1.0]] * len(rows)),
        "votes but 1 weights",
    ),
    "ids that repeat": ({}, ("id", lambda _, rows: ["a"] * len(rows)), "'a' is in 'train' and again in 'train'"),
    "ids of two splits": (
        {},
        ("id", lambda _, rows: [str(i) for i in range(len(rows))]),
        "'0' is in 'train' and again in 'validation'",
    ),
    "nobody's rows, to be dropped": (
        {"empty": "drop"},
        ("human_votes", lambda split, rows: [["sad"] if split == "train" else []] * len(rows)),
        "--empty drop would leave none",
    ),
    "annotations of another form": (
        {},
        ("synthetic_annotations", lambda _, rows: [[{"emotion": "sad"}]] * len(rows)),
        "no list of entries with label",
    ),
    "annotations that are words": (
        {},
        ("synthetic_annotations", lambda _, rows: ["sad"] * len(rows)),
        "no list of entries",
    ),
    "annotations with numbers": ({}, ("synthetic_annotations", entries(model=3)), r"wrong: model\)"),
    "annotations of something else": ({}, ("synthetic_annotations", entries(label="bored")), "Unknown emotion 'bored'"),
    "transcripts that are numbers": ({}, ("transcript", lambda _, rows: [7] * len(rows)), "its transcript is 7"),
    "a split that is not there": ({"annotate_splits": ["dev"]}, None, "annotate_splits names dev"),
    "no column for the annotator": ({"backend_options": {"column": "mood"}}, None, "No column 'mood'"),
    "a combiner that is not there": ({"combiner": "nowhere.json"}, None, "There is no combiner at nowhere.json"),
    "a pilot": ({"pilot": 5}, None, "hf-emo-dist estimate .* --pilot 5"),
}


@pytest.mark.parametrize("options, column, problem", CASES.values(), ids=CASES)
def test_it_is_found_before_anybody_is_asked(splits, corpus, tmp_path, nobody_asked, options, column, problem):
    opened = splits if column is None else with_column(splits, *column)
    options = {"backend": "simulated", "num_annotations": 2, "ledger": str(tmp_path / "v.sqlite"), **options}
    with pytest.raises((ValueError, OSError), match=problem):
        settings = PrepareSettings(dataset=str(corpus), output=str(tmp_path / "out"), **options)
        if column is not None:
            settings.open = lambda: Opened(opened)
        prepare_dataset(settings)
    assert not (tmp_path / "v.sqlite").exists() and not (tmp_path / "out").exists()
    assert [path.name for path in tmp_path.iterdir()] == []  # nothing is left of a rehearsal


def Opened(splits):
    from hf_emo_dist.data.opened import OpenedDataset

    return OpenedDataset("the data", splits)


def test_nothing_is_said_or_left_where_nothing_is_wrong(splits, tmp_path, caplog, capfd):
    caplog.set_level("INFO")
    settings = PrepareSettings(augment="default", augment_features="lexical", augment_target={"sad": 20})
    assert check_before_paying(settings, settings, Opened(splits), ["train"], tmp_path / "out") is None
    assert not caplog.records and list(tmp_path.iterdir()) == [] and not capfd.readouterr().err
    for name in ("language", "corpus"):  # of a form that no card shows
        odd = with_column(splits, name, lambda _, rows: [["en"]] * len(rows))
        check_before_paying(settings, settings, Opened(odd), ["train"], tmp_path / "out")


def test_a_place_that_cannot_be_written_is_missed_first(corpus, tmp_path, nobody_asked):
    (tmp_path / "file").write_text("x")
    settings = PrepareSettings(dataset=str(corpus), output=str(tmp_path / "file" / "out"), backend="simulated")
    with pytest.raises(OSError, match=r"cannot be written.*Mend: choose another output folder"):
        prepare_dataset(settings)


# --- the source is never the output


def test_no_command_replaces_what_it_reads(corpus, tmp_path, capsys):
    before = {path: path.stat().st_mtime_ns for path in corpus.rglob("*")}
    (tmp_path / "link").symlink_to(corpus)
    shard = next((corpus / "data").glob("train-*"))
    for words in (
        ["annotate", str(corpus), str(corpus), "--backend", "simulated", "--limit", "2"],
        ["annotate", str(corpus), str(tmp_path / "link"), "--backend", "simulated"],
        ["annotate", str(tmp_path / "link"), f"{corpus}/../{corpus.name}/", "--backend", "none"],
        ["annotate", str(shard), str(corpus), "--backend", "none"],
        ["augment", str(corpus), str(corpus)],
        ["read", "table", str(corpus / "README.md"), str(corpus), str(corpus)],
        ["read", "iemocap", str(corpus), str(corpus)],
    ):
        assert main([*words, "--overwrite"]) == 2
        assert "is where the source" in capsys.readouterr().err, words
    assert {path: path.stat().st_mtime_ns for path in corpus.rglob("*")} == before


# --- a key that is not there


@pytest.mark.parametrize("backend, name", [("gemini", "GEMINI_API_KEY"), ("openai", "OPENAI_API_KEY")])
def test_a_missing_key_is_said_first_and_is_no_run_cut_short(corpus, tmp_path, monkeypatch, capsys, backend, name):
    for variable in ("GEMINI_API_KEY", "GOOGLE_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("hf_emo_dist.preparation.prepare.check_clips", lambda *_, **__: pytest.fail("checks audio"))
    words = ["annotate", str(corpus), str(tmp_path / "out"), "--backend", backend, "--model", "m"]
    assert main([*words, "--ledger", str(tmp_path / "v.sqlite")]) == 2
    assert f"Mend: set {name}" in capsys.readouterr().err
    assert not (tmp_path / "v.sqlite").exists()


@pytest.mark.parametrize("place", ["a folder", "a device", "no SQLite file", "in a file"])
def test_a_ledger_that_cannot_be_is_said_before_clips_are_checked(corpus, tmp_path, monkeypatch, capsys, place):
    monkeypatch.setattr("hf_emo_dist.preparation.prepare.check_clips", lambda *_, **__: pytest.fail("checks audio"))
    ledger = tmp_path / "v.sqlite"
    if place == "a folder":
        ledger.mkdir()
    elif place == "a device":
        ledger.symlink_to("/dev/zero")
    else:
        ledger.write_text("votes of another kind")
    ledger = ledger / "v.sqlite" if place == "in a file" else ledger
    words = ["annotate", str(corpus), str(tmp_path / "out"), "--backend", "simulated", "--ledger", str(ledger)]
    assert main(words) == 2
    told = capsys.readouterr().err
    assert told.startswith("error: ") and "v.sqlite" in told and "Mend: " in told
    assert not (tmp_path / "out").exists()


def test_a_full_ledger_needs_no_key(corpus, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    words = ["annotate", str(corpus), str(tmp_path / "out"), "--backend", "openai", "--model", "m", "--overwrite"]
    words += ["--ledger", str(tmp_path / "v.sqlite"), "--num_annotations", "1", "--no_hearing_test"]
    with OpenAIServer() as server:
        monkeypatch.setattr("hf_emo_dist.annotation.backends.openai._URL", f"{server.url}/v1")
        # as OpenAI's own server, which wants a key
        monkeypatch.setattr("hf_emo_dist.annotation.backends.openai.OpenAIBackend.check_ready", needs_a_key)
        assert main(words) == 0, capsys.readouterr().err
        sent = server.count
        monkeypatch.delenv("OPENAI_API_KEY")
        assert main(words) == 0, capsys.readouterr().err
        assert server.count == sent == len(load_emotion_dataset(corpus, "train"))
        assert main([*words, "--num_annotations", "2"]) == 2 and server.count == sent
        assert "There is no key" in capsys.readouterr().err


def needs_a_key(self):
    import os

    from hf_emo_dist.annotation.types import FatalError

    if not os.environ.get("OPENAI_API_KEY"):
        raise FatalError("authentication", "There is no key.", "set it.")
