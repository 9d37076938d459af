"""CONTRIBUTING's new files do what it says: each with one line in one table, nothing else changed."""

import re
import sys
from pathlib import Path
from types import MappingProxyType

import numpy as np
import pytest
from scipy.spatial import distance
from tiny_data import as_dataset, tiny_rows

from hf_emo_dist import Annotator, compute_scores, corpora
from hf_emo_dist.annotation import backends
from hf_emo_dist.audio import encode_wav
from hf_emo_dist.commands import read, report  # noqa: F401 - before a line is added: what they hold is put back
from hf_emo_dist.commands.main import main
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.scores import summary

TEXT = (Path(__file__).parents[1] / "CONTRIBUTING.md").read_text(encoding="utf-8")


@pytest.fixture
def new_file(monkeypatch, tmp_path):
    """Puts the file that CONTRIBUTING shows into its room, as if it had been written there."""

    def write(name: str) -> Path:
        path, code = re.search(
            rf"`src/hf_emo_dist/([a-z_/]+/{name}\.py)`[^\n]*\n```python\n(.*?)```", TEXT, flags=re.DOTALL
        ).groups()
        folder = tmp_path / "rooms" / Path(path).parent
        folder.mkdir(parents=True)
        (folder / f"{name}.py").write_text(code, encoding="utf-8")
        room = "hf_emo_dist." + ".".join(Path(path).parent.parts)
        module = sys.modules[room]
        monkeypatch.setattr(module, "__path__", [*module.__path__, str(folder)])
        monkeypatch.delitem(sys.modules, f"{room}.{name}", raising=False)
        return folder / f"{name}.py"

    return write


def line(table: str) -> str:
    """The line that CONTRIBUTING adds to a table, as it stands there."""
    return " ".join(re.search(rf"in\s+`{table}`\s+of\s+`[^`]+`:\s+`([^`]+)`", TEXT)[1].split())


@pytest.fixture
def new_line(monkeypatch):
    """Adds the line that CONTRIBUTING shows to a table, wherever it has been imported."""

    def add(module, table: str, **names) -> None:
        old = getattr(module, table)
        new = MappingProxyType({**old, **eval(f"{{{line(table)}}}", names)})
        for name, holder in list(sys.modules.items()):
            if name.startswith("hf_emo_dist") and vars(holder).get(table) is old:
                monkeypatch.setattr(holder, table, new)

    return add


def ratings(folder: Path) -> Path:
    folder.mkdir()
    wave = np.sin(np.linspace(0, 900, 16000)).astype(np.float32) / 2
    for name in ("ab1", "cd1", "ef1"):
        (folder / f"{name}.wav").write_bytes(encode_wav(wave))
    rows = "ab1.wav,r1,sad\nab1.wav,r2,Neutral\nab1.wav,r2,sad\ncd1.wav,r1,happy\ncd1.wav,r2,wistful\ngh1.wav,r1,sad\n"
    (folder / "ratings.csv").write_text(f"file,rater,emotion\n{rows}", encoding="utf-8")
    return folder


def test_a_corpus(new_file, new_line, tmp_path, capsys):
    new_file("ratings")
    new_line(corpora, "CORPORA")
    source = ratings(tmp_path / "source")
    assert main(["read", "ratings", str(source), str(tmp_path / "out"), "--emotions", "happy, neutral, sad"]) == 0
    rows = load_emotion_dataset(tmp_path / "out", "train")
    assert rows["human_votes"][:] == [["sad", "neutral"], ["happy"]]
    assert rows["human_raters"][:] == [["r1", "r2"], ["r1"]]
    told = (tmp_path / "out" / "reading_report.json").read_text()
    for reason in ("unknown_label", "duplicate_rater", "no_audio", "no_labels"):
        assert reason in told
    (tmp_path / "empty").mkdir()
    assert main(["read", "ratings", str(tmp_path / "empty"), str(tmp_path / "none")]) == 2
    assert "is not Ratings: there is no ratings.csv. Mend" in capsys.readouterr().err


def test_a_corpus_of_the_users_own(new_file, monkeypatch, tmp_path):
    file = new_file("ratings")
    monkeypatch.syspath_prepend(str(file.parent))
    out = tmp_path / "out"
    assert main(["read", "ratings:read_ratings", str(ratings(tmp_path / "source")), str(out)]) == 0
    assert len(load_emotion_dataset(out, "train")) == 2


def test_a_backend(new_file, new_line, monkeypatch, tmp_path):
    file = new_file("coin")
    new_line(backends, "BACKENDS")
    rows = as_dataset(tiny_rows(6))
    votes = {}
    monkeypatch.syspath_prepend(str(file.parent))
    for name in ("coin", "coin:CoinBackend"):
        ledger = tmp_path / f"{len(votes)}.sqlite"
        with_votes = Annotator(name, num_annotations=4, ledger=ledger, progress=False).annotate(rows).dataset
        votes[name] = with_votes["synthetic_votes"][:]
        assert {len(given) for given in votes[name]} == {4}
    assert votes["coin"] == votes["coin:CoinBackend"] and len({label for given in votes["coin"] for label in given}) > 1


def test_a_score(new_file, new_line):
    new_file("hellinger")
    from hf_emo_dist.scores.hellinger import hellinger_distance

    new_line(summary, "SCORES", _of=summary._of, hellinger_distance=hellinger_distance)
    p, q = np.array([[0.5, 0.5], [0.9, 0.1]]), np.array([[0.25, 0.75], [1.0, 0.0]])
    expected = [distance.euclidean(np.sqrt(a), np.sqrt(b)) / np.sqrt(2) for a, b in zip(p, q, strict=True)]
    assert hellinger_distance(p, q) == pytest.approx(expected)
    assert compute_scores(p, q)["hellinger_distance"] == pytest.approx(np.mean(expected))


@pytest.fixture
def votes(tmp_path):
    (tmp_path / "votes.csv").write_text("clip,actor,angry,sad\na,x,2,1\nb,y,1,0\n", encoding="utf-8")
    return tmp_path / "votes.csv"


@pytest.mark.parametrize("name", ["vote-numbers", "vote_numbers:vote_numbers"])
def test_a_study(new_file, new_line, monkeypatch, tmp_path, capsys, votes, name):
    from hf_emo_dist import studies

    file = new_file("vote_numbers")
    new_line(studies, "STUDIES")
    monkeypatch.syspath_prepend(str(file.parent))
    assert main(["report", name, f"mine={votes}", "--least", "2", "--output", str(tmp_path / "out")]) == 0
    assert "mine: 50% of the utterances have 2 votes or more." in capsys.readouterr().out
    assert (tmp_path / "out" / "vote_numbers.html").is_file()
