"""What all studies share: reading votes, the report files, the HTML page."""

import inspect
import json
import re
import sys
from dataclasses import fields, is_dataclass, replace
from html.parser import HTMLParser
from typing import get_type_hints

import numpy as np
import pytest

from hf_emo_dist.studies import STUDIES, Plot, Sources, Study, StudyTable, study_of
from hf_emo_dist.studies.study import interval_plot, panels, polished, study_page
from hf_emo_dist.studies.vote_table import read_vote_table, shuffle_votes


@pytest.fixture
def study():
    figure, axes = panels(1, ["a"], ["simulated data"], "Title")
    interval_plot(axes[0][0], {"x": [{"value": 0.5, "low": 0.4, "high": 0.6}]}, ["one"], "y")
    return Study(
        "demo",
        "A <study>",
        {"data": "two & two", "split": "test", "protocol": "p", "seeds": "0"},
        ["simulated data"],
        ["x < y"],
        [StudyTable("T", ["a|b", "c"], [["<script>alert(1)</script>", "1"]], "note")],
        [Plot("demo", polished(figure), "what one sees")],
        {"value": np.float64(0.5), "missing": float("nan")},
    )


def test_every_file_is_written_and_says_what_it_is(study, tmp_path):
    page = study.save(tmp_path / "new")
    assert sorted(path.name for path in page.parent.iterdir()) == [
        "demo.html",
        "demo.json",
        "demo.md",
        "demo.pdf",
        "demo.png",
    ]
    content = json.loads((page.parent / "demo.json").read_text())
    assert content["results"] == {"value": 0.5, "missing": None}
    assert {"data", "split", "protocol", "seeds", "versions"} <= set(content["facts"])
    for text in (page.read_text(), (page.parent / "demo.md").read_text()):
        for words in ("simulated data", "protocol", "split", "seeds", "python 3", "hf-emo-dist", "numpy"):
            assert words in text
    assert (page.parent / "demo.pdf").read_bytes().startswith(b"%PDF")
    before = (page.parent / "demo.pdf").read_bytes()
    study.save(tmp_path / "new")
    assert (page.parent / "demo.pdf").read_bytes() == before


HARM = [
    "<img src=x onerror=alert(1)>", "a\n\n<script>alert(1)</script>", "\\\\<b>x</b>", "[x](javascript:alert(1))",
    "![x](http://evil.example/t.png)", "[x]: http://evil.example", "`<b>`", "x|<b>y", "&lt;b&gt;", "</h1><b>", "<!-- x",
    "x](http://evil.example/t.png)", "$$<b>$$", "http://evil.example/?x",
]  # fmt: skip


@pytest.mark.parametrize("harm", HARM)
def test_nothing_of_the_data_becomes_markup(harm, study):
    study = replace(
        study, title=harm, facts={harm: harm}, notes=[harm], findings=[harm],
        tables=[StudyTable(harm, [harm, "c"], [[harm, "1"]], harm)], plots=[replace(study.plots[0], caption=harm)],
    )  # fmt: skip
    text = study.to_markdown()
    markdown = pytest.importorskip("markdown_it")
    shown = markdown.MarkdownIt("gfm-like", {"html": True, "linkify": False}).render(text)
    tags = Tags()
    tags.feed(shown)
    assert set(tags.found) <= {"h1", "p", "strong", "ul", "li", "table", "thead", "tbody", "tr", "th", "td", "img"}
    assert tags.found.count("img") == 1 and 'src="demo.png"' in shown and tags.found.count("th") == 2
    page = Tags()
    page.feed(study_page(study))
    assert {"script", "b"}.isdisjoint(page.found) and page.found.count("img") == 1


class Tags(HTMLParser):
    def __init__(self):
        super().__init__()
        self.found = []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)

    def handle_comment(self, data):
        self.found.append("comment")


def test_the_page_is_whole_by_itself_and_escapes_names(study):
    page = study_page(study)
    assert "<script" not in page and "&lt;script&gt;" in page and "A &lt;study&gt;" in page
    assert not re.findall(r'(?:src|href)="(?!data:)', page) and "url(" not in page

    class Balanced(HTMLParser):
        def __init__(self):
            super().__init__()
            self.stack = []

        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                self.stack.append(tag)
            if tag == "img":
                assert dict(attrs)["alt"]

        def handle_endtag(self, tag):
            assert self.stack.pop() == tag

    parser = Balanced()
    parser.feed(page)
    assert parser.stack == []


# --- votes


def test_a_table_of_counts(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text("\ufeffclip;actor;Anger;sad;level\r\na;x;2;1;hi\r\nb;y;0;3;lo\r\n", encoding="utf-8")
    table = read_vote_table(path)
    assert table.emotions == ("angry", "sad") and table.ids == ["a", "b"] and table.speakers() == ["x", "y"]
    assert table.counts().tolist() == [[2, 1], [0, 3]]
    assert table.where({"level": "lo"}).ids == ["b"] and not table.in_order
    with pytest.raises(ValueError, match="no column 'mood'"):
        table.where({"mood": "x"})
    with pytest.raises(ValueError, match="No row has level=mid"):
        table.where({"level": "mid"})
    with pytest.raises(FileNotFoundError, match="Mend"):
        read_vote_table(tmp_path / "none.csv")
    with pytest.raises(ValueError, match=r"without splits\. Mend"):
        read_vote_table(path, split="test")


def test_a_data_set_with_annotations_and_raters_who_give_several_tags(tmp_path):
    from datasets import Dataset, Value

    from hf_emo_dist.audio.clips import encode_flac
    from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset

    audio = {"bytes": encode_flac(np.zeros(800, dtype=np.float32)), "path": "a.flac"}
    shares = {"angry": 0.5, "sad": 0.5}
    row = {
        "id": "a",
        "audio": audio,
        "transcript": None,
        "speaker": "x",
        "human_votes": ["angry", "sad", "sad"],
        "human_vote_weights": [0.5, 0.5, 1.0],
        "human_raters": ["r1", "r1", "r2"],
        "human_distribution": shares,
        "emotion_distribution": shares,
        "synthetic_votes": ["sad"],
        "synthetic_annotations": [
            {"label": "sad", "distribution": None, "model": "m", "focus": "tone", "mode": "label"},
            {
                "label": None,
                "distribution": {"angry": 0.2, "sad": 0.8},
                "model": "m",
                "focus": "words",
                "mode": "distribution",
            },
            {"label": None, "distribution": None, "model": "m", "focus": "words", "mode": "label"},
        ],
    }
    struct = {"label": Value("string"), "distribution": {"angry": Value("float64"), "sad": Value("float64")}}
    struct |= dict.fromkeys(("model", "focus", "mode"), Value("string"))
    extra = {
        "synthetic_votes": [Value("string")],
        "synthetic_annotations": [struct],
        "human_vote_weights": [Value("float32")],
        "human_raters": [Value("string")],
    }
    dataset = build_dataset([row], row_features(("angry", "sad"), extra))
    assert isinstance(dataset, Dataset)
    from datasets import DatasetDict

    folder = write_dataset(
        DatasetDict(test=dataset),
        tmp_path / "data",
        description="d",
        vote_source="SIMULATED votes.",
        emotions=("angry", "sad"),
    )
    table = read_vote_table(folder, split="test")
    assert table.counts().tolist() == [[1, 1]] and table.counts("synthetic").tolist() == [[0, 1]]
    assert table.annotations.distribution.tolist() == [[0, 1], [0.2, 0.8]]
    assert table.annotations.focus.tolist() == ["tone", "words"]
    assert "simulated data" in table.notes and "1 raters gave several tags: the first counts" in table.notes
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\n")
    with pytest.raises(ValueError, match="no synthetic votes"):
        read_vote_table(tmp_path / "v.csv").labels("synthetic")


def test_sources_have_names_conditions_and_parts(tmp_path):
    source = tmp_path / "v.csv"
    source.write_text("clip,modality,angry,sad\na,face,1,2\nb,voice,2,2\nc,voice,0,3\n")
    assert list(Sources([str(source)]).tables) == ["v"]
    data = Sources([f"cremad={source}"], by="modality")
    assert {name: table.ids for name, table in data.tables.items()} == {
        "cremad, face": ["a"],
        "cremad, voice": ["b", "c"],
    }
    voice = Sources([f"cremad={source}"], where={"modality": "voice"})
    assert voice.one("Checks").ids == ["b", "c"] and voice.facts()["rows"] == "only modality=voice"
    for wrong, words in (
        (lambda: Sources([str(source), f"v={source}"]), "Two sources are named 'v'"),
        (lambda: data.one("Checks"), "Checks are of one corpus"),
    ):
        with pytest.raises(ValueError, match=words):
            wrong()


def test_a_data_set_is_opened_once(data_folder, monkeypatch):
    from hf_emo_dist.data import opened

    asked = []
    load = opened.load_emotion_dataset
    monkeypatch.setattr(opened, "load_emotion_dataset", lambda *a, **k: asked.append(a) or load(*a, **k))
    study = study_of("strata")(
        Sources([str(data_folder)], split="test", emotions=["angry", "happy", "sad"]),
        train_split="train",
        halves="no",
        num_resamples=10,
    )
    assert len(asked) == 1 and "simulated data" in study.notes and "training split" in study.facts["protocol"]


def test_shuffled_votes_are_the_same_votes():
    labels = np.array([[0, 1, 2, 3, -1, -1], [1, 1, 0, 2, 3, 3]])
    seen = set()
    for subset in range(50):
        shuffled = shuffle_votes(labels, ["a", "b"], seed=0, subset=subset)
        assert np.array_equal(np.sort(shuffled, axis=1), np.sort(labels, axis=1))
        assert (shuffled[0, 4:] == -1).all()
        seen.add(tuple(shuffled[0, :4]))
    assert len(seen) > 15
    firsts = [shuffle_votes(labels, ["a", "b"], 1, subset)[0, 0] for subset in range(400)]
    assert np.bincount(firsts, minlength=4) == pytest.approx(100, abs=35)


# --- the table, and what a study's function must be


OF_EVERY_STUDY = {"seed", "num_resamples"}


def documented(function):
    """What stands under `Args:`, by name."""
    text = inspect.cleandoc(function.__doc__ or "").partition("Args:\n")[2]
    text = re.split(r"\n(?=\S)", text)[0]
    found = re.findall(r"^    \*?(\w+): (.*(?:\n {8}.*)*)", text, re.MULTILINE)
    return {name: " ".join(words.split()) for name, words in found}


@pytest.mark.parametrize("name", STUDIES)
def test_the_options_of_a_study_are_its_documented_parameters(name):
    """The command line is made of them: hints that can be read, a text each, the same for what all have."""
    function = study_of(name)
    hints, texts = get_type_hints(function), documented(function)
    parameters = inspect.signature(function).parameters
    assert hints["return"] is Study and set(texts) == set(parameters) and set(parameters) >= OF_EVERY_STUDY
    assert all(text[:1].isupper() or text.startswith(("NAME=", "cpu", "A=B", "FILE")) for text in texts.values()), texts
    for parameter in parameters:
        if is_dataclass(hints[parameter]):
            expanded = hints[parameter]
            assert {field.name for field in fields(expanded)} == set(documented(expanded))
            assert not {field.name for field in fields(expanded)} & set(parameters)
    others = [documented(study_of(other)) for other in STUDIES]
    assert all(texts["num_resamples"] == other["num_resamples"] == "Bootstrap resamples." for other in others)


@pytest.mark.parametrize("name", STUDIES)
def test_no_resamples_are_refused_before_anything_is_read(name, tmp_path):
    function = study_of(name)
    needed = {
        "cross-corpus": ((), {"test": {"A": "nothing"}, "output": tmp_path}),
        "ablation": (("--backbone", "B"), {"output": tmp_path}),
    }
    words, options = needed.get(name, ((Sources(["nothing.csv"]),), {}))
    with pytest.raises(ValueError, match="num_resamples=0"):
        function(*words, num_resamples=0, **options)
    assert not list(tmp_path.iterdir())


def test_a_study_of_ones_own(tmp_path, monkeypatch):
    (tmp_path / "my_studies.py").write_text(
        "from hf_emo_dist.studies import Sources, Study\n"
        "def count(data: Sources, *, least: int = 1) -> Study:\n"
        "    return Study('count', 'Rows', data.facts(), results={'rows': len(data.one('Rows').ids), 'least': least})\n"
    )
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\nb,2,2\n")
    monkeypatch.chdir(tmp_path)
    study = study_of("my_studies:count")(Sources(["v.csv"]), least=2)
    assert study.results == {"rows": 2, "least": 2} and "angry, sad" in study.save(tmp_path / "out").read_text()
    with pytest.raises(ValueError, match=r"Unknown study 'satiation'.*'saturation'.*module:Name"):
        study_of("satiation")
    sys.modules.pop("my_studies")
