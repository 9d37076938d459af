"""`hf-emo-dist annotate` that is cut short: by a cap, Ctrl-C or failures; what is written then, and what is said."""

import json
import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from openai_server import OpenAIServer

MEMBERS = 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(24, 6, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    with OpenAIServer() as running:
        yield running


@pytest.fixture
def annotate(corpus, tmp_path, server, capsys):
    def run(*words):
        options = ["--backend", "openai", "--model", "m", "--backend_options", f"{{base_url: '{server.url}/v1'}}"]
        options += ["--ledger", str(tmp_path / "votes.sqlite"), "--num_annotations", str(MEMBERS), "--no_hearing_test"]
        try:
            status = main(["annotate", str(corpus), str(tmp_path / "out"), *options, *words])
        except SystemExit as stop:
            status = stop.code
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return run


def written(tmp_path):
    """Votes by split, what `preparation.json` says is missing, and the card."""
    votes = {split: [len(row) for row in rows["synthetic_votes"]] for split, rows in load(tmp_path).items()}
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    return votes, done.get("partial"), (tmp_path / "out" / "README.md").read_text()


def load(tmp_path):
    return load_emotion_dataset(tmp_path / "out")


def test_a_cap_writes_what_there_is_and_says_so_everywhere(annotate, server, tmp_path):
    cap = ["--max_tokens", "12000", "--concurrency", "4", "--annotate_splits", "all"]
    status, shown = annotate(*cap)
    assert status == 3 and "STOPPED: the budget is used up" in shown and "--write_partial" in shown
    assert not (tmp_path / "out").exists() and 24 < server.count < 24 * MEMBERS
    paid = server.count
    status, shown = annotate(*cap, "--write_partial")
    assert status == 3 and "NOT COMPLETE" in shown and "--overwrite" in shown and server.count == paid
    votes, partial, card = written(tmp_path)
    everywhere = [number for numbers in votes.values() for number in numbers]
    assert max(everywhere) - min(everywhere) <= 1 and sum(everywhere) == paid  # the splits alike, too
    assert partial["wanted_a_clip"] == MEMBERS and "budget" in partial["why"]
    assert partial["clips_by_votes"] == {str(number): clips for number, clips in sorted(Counter(everywhere).items())}
    assert "NOT COMPLETE" in card and "**Not complete:**" in card and f"of {MEMBERS} wanted" in card
    rows = load(tmp_path)["train"]
    assert all(value is not None for value in rows["emotion_concentration"])
    # The same command goes on, and the data set is whole then.
    status, shown = annotate("--annotate_splits", "all", "--overwrite")
    assert status == 0 and server.count == 24 * MEMBERS, shown
    votes, partial, card = written(tmp_path)
    assert {number for numbers in votes.values() for number in numbers} == {MEMBERS} and partial is None
    assert "NOT COMPLETE" not in card and "Not complete" not in card


def test_ctrl_c_writes_what_there_is(annotate, server, tmp_path):
    def interrupt(request):
        if request.number == 30:
            os.kill(os.getpid(), signal.SIGINT)
        return False

    server.fault("never", interrupt)
    server.latency = 0.005
    status, shown = annotate("--write_partial", "--concurrency", "2")
    votes, partial, card = written(tmp_path)
    assert status == 3 and "it was interrupted" in shown and partial["why"] == "it was interrupted."
    assert 30 <= sum(votes["train"]) == server.count < 40 and max(votes["train"]) - min(votes["train"]) <= 1
    assert votes["test"] == [0] * len(votes["test"]) and "it was interrupted" in card


def test_nothing_is_written_where_there_are_no_votes(annotate, server, tmp_path):
    server.fault("status", code=402)
    status, shown = annotate("--write_partial")
    assert status == 3 and "wants to be paid" in shown and not (tmp_path / "out").exists()


@pytest.mark.parametrize("rate", [None, 1])
def test_a_run_most_of_whose_tries_bring_no_vote_stops(annotate, server, rate):
    server.fault("text", lambda request: request.number % 3, text="I would rather not say what this is.")
    wanted = 16 * 20
    words = [
        "--num_annotations",
        "20",
        "--concurrency",
        "4",
        *([] if rate is None else ["--max_failure_rate", str(rate)]),
    ]
    status, shown = annotate(*words)
    if rate is None:
        assert status == 3 and "of the last 200 tries brought no vote" in shown and "max_failure_rate=1" in shown
        assert 200 <= server.count < 230
    else:
        assert status == 0 and server.count == wanted
