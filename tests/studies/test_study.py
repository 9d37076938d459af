"""What all studies share: reading votes, the report files, the HTML page."""

import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.commands.report import STUDIES
from hf_emo_dist.evaluation.study_plots import interval_plot, panels, polished
from hf_emo_dist.studies.inputs import predictions_for
from hf_emo_dist.studies.study import Plot, Study, StudyTable
from hf_emo_dist.studies.study_html import study_page
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
    assert table.annotations.label.tolist() == [1, -1]
    assert table.annotations.distribution.tolist() == [[0, 1], [0.2, 0.8]]
    assert table.annotations.focus.tolist() == ["tone", "words"]
    assert "simulated data" in table.notes and "1 raters gave several tags: the first counts" in table.notes
    with pytest.raises(ValueError, match="no synthetic votes"):
        read_vote_table_without_synthetic(tmp_path)


def read_vote_table_without_synthetic(folder):
    (folder / "v.csv").write_text("clip,angry,sad\na,1,2\n")
    return read_vote_table(folder / "v.csv").labels("synthetic")


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


def test_predictions_are_matched_by_id(tmp_path):
    from hf_emo_dist.evaluation.checkpoint import write_predictions

    path = write_predictions(
        tmp_path / "p.parquet",
        [{"id": "a"}, {"id": "b"}],
        ["angry", "sad"],
        {"predicted_distribution": np.array([[0.2, 0.8], [1.0, 0.0]])},
    )
    assert predictions_for(path, ["b", "a"], ["sad", "angry"]).tolist() == [[0, 1], [0.8, 0.2]]
    with pytest.raises(ValueError, match="lacks 1 of 2 rows: c"):
        predictions_for(path, ["a", "c"], ["angry", "sad"])


# --- the command


@pytest.mark.parametrize("name", STUDIES)
def test_every_study_has_help(name, capsys):
    with pytest.raises(SystemExit) as stop:
        main(["report", name, "--help"])
    assert stop.value.code == 0 and "--output" in capsys.readouterr().out


def test_what_does_not_fit_ends_in_one_line(tmp_path, capsys):
    (tmp_path / "v.csv").write_text("clip,angry,sad\na,1,2\nb,2,2\n")
    source = str(tmp_path / "v.csv")
    for words, message in (
        (["saturation", source, "--where", "x"], "COLUMN=VALUE"),
        (["saturation", source], "curve needs 4 votes"),
        (["saturation", source, source], "Two sources"),
        (["strata", source, "--by", "clip"], "--stratify_by"),
        (["ablation"], "Nothing says how to train"),
        (["cross-corpus", "--test", "x"], "NAME=SOURCE"),
    ):
        assert main(["report", *words, "--output", str(tmp_path / "out")]) == 2
        assert message in capsys.readouterr().err
