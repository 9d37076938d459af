"""`hf-emo-dist annotate --batch`, `--service_tier flex` and `ledger jobs` against a local server."""

import json
import sys
from pathlib import Path

import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from backend_setup import KEY, KEY_NAMES
from gemini_batches import BatchServer


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(8, 4, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder


@pytest.fixture
def server(monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GEMINI_API_KEY", KEY)
    with BatchServer(key=KEY) as running:
        monkeypatch.setenv("GOOGLE_GEMINI_BASE_URL", running.url)
        yield running


def run(capsys, *words):
    try:
        status = main([str(word) for word in words])
    except SystemExit as stop:
        status = stop.code
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def annotate(capsys, corpus, tmp_path, *words):
    ledger = ["--ledger", tmp_path / "votes.sqlite", "--num_annotations", 2, "--limit", 2, "--combine", "pool"]
    return run(capsys, "annotate", corpus, tmp_path / "out", *ledger, *words)


def test_submit_come_back_and_write(corpus, tmp_path, server, capsys):
    server.looks = 1
    status, shown = annotate(capsys, corpus, tmp_path, "--batch", "--annotate_splits", "all")
    assert status == 3 and "incomplete: 1 batch job with 12 requests" in shown and "same command goes on" in shown
    assert not (tmp_path / "out").exists()
    status, shown = run(capsys, "ledger", "jobs", tmp_path / "votes.sqlite")
    assert status == 0 and shown.count("running") == 1 and "12 requests are under way" in shown and KEY not in shown

    status, shown = annotate(capsys, corpus, tmp_path, "--batch", "--wait", "--annotate_splits", "all")
    assert status == 0 and "charged, at the tier: batch" in shown
    rows = load_emotion_dataset(tmp_path / "out")["train"]
    assert [len(row["synthetic_votes"]) for row in rows] == [2, 2]
    said = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    assert said["num_votes"] == 12 and said["cost_usd"] > 0
    assert sum(server.generated_lines.values()) == 12 and not server.files
    status, shown = run(capsys, "ledger", "jobs", tmp_path / "votes.sqlite")
    assert shown.count("collected") == 1 and "0 requests are under way" in shown


def test_jobs_can_be_cancelled(corpus, tmp_path, server, capsys):
    server.looks = 10
    annotate(capsys, corpus, tmp_path, "--batch")
    status, shown = run(capsys, "ledger", "jobs", tmp_path / "votes.sqlite", "--cancel", "all")
    assert status == 0 and "Asked to cancel hf-emo-dist-" in shown
    server.looks = 0
    status, shown = annotate(capsys, corpus, tmp_path, "--batch", "--wait")
    assert status == 0 and "it ended as JOB_STATE_CANCELLED" in shown and "2 of its requests have no reply" in shown
    assert set(server.generated_lines.values()) == {1}
    status, shown = run(capsys, "ledger", "jobs", tmp_path / "votes.sqlite", "--cancel", "b9")
    assert status != 0 and "No batch job 'b9' is under way" in shown


def test_flex_and_what_does_not_go_together(corpus, tmp_path, server, capsys):
    status, shown = annotate(capsys, corpus, tmp_path, "--dry_run", "--batch")
    assert status == 0 and "at the batch tier" in shown and "--service_tier flex" in shown
    status, shown = annotate(capsys, corpus, tmp_path, "--service_tier", "flex", "--when_shed", "standard")
    assert status == 0 and "at the tier: flex (4)" in shown
    assert json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]["service_tier"] == "flex"
    for words, told in (
        (["--batch", "--service_tier", "flex"], "one of the two"),
        (["--wait"], "wait=True is for batch jobs"),
        (["--batch", "--backend", "simulated"], "has no batch jobs here"),
        (["--service_tier", "flex", "--backend", "simulated"], "service_tier"),
    ):
        status, shown = annotate(capsys, corpus, tmp_path, "--overwrite", *words)
        assert status not in (0, 3) and told in shown and "Traceback" not in shown, words
