"""The forms that tables of votes have: each gives the votes that stand in it, and none is lost."""

from __future__ import annotations

import json

import pytest
from table_files import clips, heard, understood, written

from hf_emo_dist.corpora import read_table
from hf_emo_dist.corpora.table.read import understand_table

#: What most of the tables below say.
SAID = {"a": {"angry": 2, "sad": 1}, "b": {"sad": 3}}

SHAPES = {
    "counts": ("file,angry,sad\na.wav,2,1\nb.wav,,3\n", {}),
    "marked counts": ("file,count::Angry,count::Sad\na.wav,2,1\nb.wav,0,3\n", {}),
    "counts with a word before": ("file,n_angry,votes.sad\na.wav,2,1\nb.wav,0,3\n", {}),
    "counts with a word after": ("file,Anger count,Sadness votes\na.wav,2,1\nb.wav,0,3\n", {}),
    "semicolons": ("sep=;\nfile;angry;sad\na.wav;2;1\nb.wav;0;3\n", {}),
    "trailing blanks": ("file,angry,sad,,\na.wav,2,1,,\nb.wav,0,3,,,\n", {}),
    "row numbers of pandas": (",file,angry,sad\n0,a.wav,2,1\n1,b.wav,0,3\n", {}),
    "UTF-16": ("file\tangry\tsad\na.wav\t2\t1\nb.wav\t0\t3\n".encode("utf-16"), {}),
    "old line ends": ("file,angry,sad\ra.wav,2,1\rb.wav,0,3\r", {}),
    "counts merged": (
        "file,anger,rage,sad\na.wav,1,1,1\nb.wav,0,0,3\n",
        {"merge": {"rage": "angry"}, "emotions": ["angry", "sad"]},
    ),
    "shares, number of raters": ("file,angry,sad\na.wav,0.667,0.333\nb.wav,0,1\n", {"num_raters": 3}),
    "shares, column of raters": ("file,n,angry,sad\na.wav,3,.67,.33\nb.wav,3,0,1\n", {"num_raters": "n"}),
    "percent": ("file,angry,sad\na.wav,66.7,33.3\nb.wav,0,100\n", {"num_raters": 3}),
    "percent with signs": ("file;angry;sad\na.wav;66,7 %;33,3 %\nb.wav;0%;100%\n", {"num_raters": 3}),
    "votes with |": ("file,votes\na.wav,angry|Anger|sad\nb.wav,sad|sad|sad\n", {}),
    "votes with ;": ("file,votes\na.wav,angry;angry;sad\nb.wav,sad; sad;sad;\n", {}),
    "votes with a comma": ('file,votes\na.wav,"angry, angry, sad"\nb.wav,"sad,sad,sad"\n', {}),
    "votes as Python wrote them": ("file;votes\na.wav;['angry', 'angry', 'sad']\nb.wav;['sad' 'sad' 'sad']\n", {}),
    "votes as JSON": ('file;votes\na.wav;["angry","angry","sad"]\nb.wav;["sad","sad","sad"]\n', {}),
    "counts as JSON": ('file;votes\na.wav;{"angry": 2, "sad": 1}\nb.wav;{"sad": 3}\n', {}),
    "a row a rating": (
        "file,rater,votes\na.wav,r1,angry\nb.wav,r1,sad\na.wav,r2,angry\na.wav,r3,sad\nb.wav,r2,sad\nb.wav,r3,sad\n",
        {},
    ),
    "a row a rating, of other names": (
        "Datei;Hörer;Gehört\na.wav;1;Wut\nb.wav;1;Trauer\na.wav;2;wut\na.wav;3;Trauer\nb.wav;2;Trauer\nb.wav;3;TRAUER\n",
        {
            "file_column": "datei",
            "rater_column": "Ho\u0308rer",
            "votes_column": ["Gehört"],
            "merge": {"Wut": "angry", "Trauer": "sad"},
        },
    ),
    "a row a rating, raters not named": (
        "file,votes\na.wav,angry\na.wav,angry\na.wav,sad\nb.wav,sad\nb.wav,sad\nb.wav,sad\n",
        {},
    ),
    "a row a rating, in columns of 0 and 1": (
        "file,rater,angry,sad\na.wav,1,1,0\na.wav,2,1,0\na.wav,3,0,1\nb.wav,1,0,1\nb.wav,2,0,1\nb.wav,3,0,1\n",
        {},
    ),
    "a column a rater": (
        "file,r1,r2,r3\na.wav,angry,sad,angry\nb.wav,sad,sad,sad\n",
        {"votes_column": ["r1", "r2", "r3"]},
    ),
    "a column a rater, by a star": (
        "file,r1,r2,r3\na.wav,angry,sad,angry\nb.wav,sad,sad,sad\n",
        {"votes_column": "r*"},
    ),
    "rows added": ("file,angry,sad\na.wav,2,0\na.wav,0,1\nb.wav,0,3\n", {"repeated": "add"}),
    "the last answer": ("file,angry,sad\na.wav,2,9\na.wav,2,1\nb.wav,0,3\n", {"repeated": "last"}),
}

STRUCTURED = {
    "list": ([["angry", "angry", "sad"], ["sad", "sad", "sad"]], {}),
    "counts": ([{"angry": 2, "sad": 1}, {"angry": None, "sad": 3}], {}),
    "pairs": ([[["angry", 2], ["sad", 1]], [["sad", 3]]], {}),
    "list of counts": (
        [[{"label": "angry", "count": 2}, {"label": "sad", "count": 1}], [{"label": "sad", "n": 3}]],
        {},
    ),
    "list of ratings": (
        [
            [{"label": "angry", "rater": "1"}, {"label": "angry", "rater": "2"}, {"label": "sad", "rater": "3"}],
            [{"label": "sad", "rater": str(n)} for n in range(3)],
        ],
        {},
    ),
    "shares": ([{"angry": 0.667, "sad": 0.333}, {"angry": 0.0, "sad": 1.0}], {"num_raters": 3}),
}


@pytest.mark.parametrize(("content", "options"), SHAPES.values(), ids=SHAPES)
def test_every_form_gives_the_votes_that_stand_in_it(tmp_path, content, options):
    reading = understood(tmp_path, content, **options)
    assert heard(reading) == SAID
    assert reading.votes.balance.adds_up
    assert set(reading.votes.emotions) == {"angry", "sad"}


@pytest.mark.parametrize("suffix", [".jsonl", ".json", ".parquet"])
@pytest.mark.parametrize("form", STRUCTURED)
def test_every_form_of_a_cell(tmp_path, form, suffix):
    if (form, suffix) == ("pairs", ".parquet"):
        pytest.skip("Parquet has no lists of text and numbers together")
    cells, options = STRUCTURED[form]
    rows = [{"file": name, "votes": cell} for name, cell in zip(("a.wav", "b.wav"), cells, strict=True)]
    assert heard(understood(tmp_path, rows, f"votes{suffix}", **options)) == SAID


def test_a_workbook_and_json_columns(tmp_path):
    pytest.importorskip("openpyxl", reason="the extra `tables` is not installed")
    rows = [["file", "angry", "sad", None], ["a.wav", 2, 1.0, None], [], ["b.wav", None, "3", None]]
    assert heard(understood(tmp_path, rows, "votes.xlsx")) == SAID
    assert heard(understood(tmp_path, {"Votes": rows, "Empty": []}, "votes.xlsx")) == SAID
    assert heard(understood(tmp_path, {"Notes": [["x"]], "Votes": rows}, "votes.xlsx", sheet="Votes")) == SAID


def test_json_by_columns(tmp_path):
    content = {"file": ["a.wav", "b.wav"], "angry": [2, 0], "sad": [1, 3]}
    assert heard(understood(tmp_path, content, "votes.json")) == SAID


def test_raters_are_kept_beside_their_votes(tmp_path):
    text = "file,rater,speaker,votes\na.wav,30.0,7,angry|sad\na.wav,r2,7.0,sad\nb.wav,30,nan,sad\n"
    path = written(tmp_path, text)
    rows = read_table(path, clips(tmp_path / "audio"), cache_dir=tmp_path / "cache", progress=False)["train"]
    assert rows["human_votes"][:] == [["angry", "sad", "sad"], ["sad"]]
    assert rows["human_raters"][:] == [["30", "30", "r2"], ["30"]]
    assert rows["human_vote_weights"][:] == [[0.5, 0.5, 1.0], [1.0]]
    assert rows["speaker"][:] == ["7", None]  # "nan" is nobody, and 7.0 is 7
    assert rows["human_distribution"][0] == {"angry": 0.25, "sad": 0.75}


def test_several_tags_of_one_person(tmp_path):
    text = "file,votes\na.wav,angry|sad\na.wav,sad\nb.wav,sad\n"
    assert heard(understood(tmp_path, text, several="tags")) == {"a": {"angry": 0.5, "sad": 1.5}, "b": {"sad": 1}}


@pytest.mark.parametrize(
    ("outside", "votes", "account"),
    [
        ("drop_vote", {"a": {"sad": 1}, "b": {"sad": 2}}, {"outside the emotions": 3}),
        ("other", {"a": {"other": 3, "sad": 1}, "b": {"sad": 2}}, {}),
        (
            "drop_utterance",
            {"b": {"sad": 2}},
            {"outside the emotions": 3, "a clip with a vote outside the emotions": 1},
        ),
    ],
)
def test_votes_outside_the_emotions_are_accounted_for(tmp_path, outside, votes, account):
    text = "file,sad,happy,surprise\na.wav,1,0,3\nb.wav,2,0,0\n"
    reading = understood(tmp_path, text, outside=outside, emotions=["sad", "happy"])
    assert heard(reading) == votes
    assert dict(reading.votes.balance.left_out) == account and reading.votes.balance.adds_up
    assert reading.report.outside == {"surprise": 3} or outside == "drop_utterance"


def test_columns_that_differ_within_a_clip_are_named_or_become_lists(tmp_path):
    text = "file,rater,votes,seconds,title\na.wav,1,sad,3,x\na.wav,2,angry,5,x\n"
    reading = understood(tmp_path, text)
    assert reading.varying == ["seconds"] and list(reading.own) == ["title"]
    assert "seconds" in reading.summary()
    assert understood(tmp_path, text, keep=["sec*"]).own["seconds"][0] == [[3, 5]]


def test_classes_are_their_labels(tmp_path):
    from datasets import ClassLabel, Dataset, Features, List, Value

    data = Dataset.from_dict(
        {"file": ["a.wav", "b.wav"], "votes": [[0, 1], [1]]},
        Features({"file": Value("string"), "votes": List(ClassLabel(names=["Sadness", "joy"]))}),
    )
    clips(tmp_path / "audio")
    data.to_parquet(tmp_path / "votes.parquet")
    reading = understand_table(tmp_path / "votes.parquet", tmp_path / "audio")
    assert heard(reading) == {"a": {"sad": 1, "joy": 1}, "b": {"joy": 1}}


def test_the_summary_is_one_screen_and_says_what_was_understood(tmp_path):
    lines = ["file,rater,votes,note,speaker,split"]
    lines += [
        f"{name}.wav,r{rater},{vote},n,s,dev" for name in "abc" for rater, vote in enumerate(("sad", "Joy", "Awe"))
    ]
    text = understood(tmp_path, "\n".join(lines), outside="drop_vote").summary()
    assert len(text.splitlines()) <= 14
    for told in (
        "9 rows, 3 clips",
        "one row a rating",
        "rater 'rater'",
        "Joy 3 -> joy",
        "Awe 3 -> left out",
        "9 in the table = 6 kept + 3 left out",
        "validation 3; 1 speakers",
        "note",
        "The first: a, votes.csv line 2 (a.wav): sad 1, joy 1",
    ):
        assert told in text


def test_a_clip_of_several_spellings_is_one(tmp_path):
    clips(tmp_path / "audio", ("Gespr\u00e4ch 1.wav",))
    lines = ["file,rater,votes"]
    names = ["Gespr\u00e4ch 1.wav", "Gespra\u0308ch 1.wav", ".\\Gespr\u00e4ch 1.wav", "Gespr%C3%A4ch%201.wav"]
    names += [f"file://{tmp_path}/audio/Gespr%C3%A4ch%201.wav", f"{tmp_path}/audio/Gespr\u00e4ch 1.wav"]
    lines += [f"{name},r{number},{'sad' if number % 2 else 'angry'}" for number, name in enumerate(names)]
    reading = understand_table(written(tmp_path, "\n".join(lines)), tmp_path / "audio")
    assert heard(reading) == {"Gespr\u00e4ch 1": {"angry": 3, "sad": 3}}
    assert reading.respelled == 4 and reading.report.counts() == {"path_spelling": 4}


def test_a_cell_of_rows_is_the_same_from_python_and_from_json():
    from hf_emo_dist.corpora.table.cells import read_cell

    for cell in (["sad", "angry"], {"sad": 2.0}, [{"label": "sad", "rater": "x"}], [["sad", 2]]):
        assert (
            read_cell(json.dumps(cell), str.isalpha)
            == read_cell(cell, str.isalpha)
            == read_cell(str(cell), str.isalpha)
        )
