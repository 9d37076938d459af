"""`hf-emo-dist annotate` tests the hearing first, says what it found wherever annotation is told of, and stops."""

import json
import os
import sys
from pathlib import Path

import pytest

from hf_emo_dist.commands.main import main
from hf_emo_dist.data.writing import write_dataset

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from hearing_server import HearingServer, rows
from tiny_data import as_dataset


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    from datasets import DatasetDict

    def shares(row):
        return {name: row["human_votes"].count(name) / 3 for name in ("angry", "happy", "neutral", "sad")}

    full = [{**row, "speaker": f"s{i}", "human_distribution": shares(row)} for i, row in enumerate(rows(30))]
    full = [{**row, "emotion_distribution": row["human_distribution"]} for row in full]
    folder = tmp_path_factory.mktemp("corpus") / "data"
    splits = {"validation": as_dataset(full[:4]), "train": as_dataset(full[4:])}
    write_dataset(DatasetDict(splits), folder, description="tones", vote_source="SIMULATED votes.")
    return folder


@pytest.fixture
def annotate(corpus, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)

    def run(server, *words, command="annotate"):
        place = [str(tmp_path / "out")] if command == "annotate" else []
        place += ["--backend", "openai", "--model", "my-model", "--ledger", str(tmp_path / "votes.sqlite")]
        place += ["--backend_options", f"{{base_url: '{server.url}/v1'}}", "--num_annotations", "3"]
        try:
            status = main([command, str(corpus), *place, *words])
        except SystemExit as stop:
            status = stop.code
        shown = capsys.readouterr()
        return status, shown.out + shown.err

    return run


def test_a_deaf_server_stops_it_with_status_3(annotate, tmp_path):
    with HearingServer("words") as server:
        status, shown = annotate(server, "--annotate_splits", "all")
        assert status == 3 and "my-model does not hear" in shown and "--no_hearing_test" in shown
        assert server.count == 100 and not (tmp_path / "out").exists()
        status, shown = annotate(server, "--annotate_splits", "all")
        assert status == 3 and server.count == 100
        status, shown = annotate(server, "--annotate_splits", "all", "--no_hearing_test")
        assert status == 0 and "Hearing test" not in shown
    told = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    assert told["hearing_test"] is None
    assert "Does the model hear" not in (tmp_path / "out" / "README.md").read_text()


def test_a_hearing_one_is_told_of_in_the_report_the_file_and_the_card(annotate, tmp_path):
    with HearingServer() as server:
        status, shown = annotate(server, command="estimate")
        assert status == 0 and "and 16 to 40 of the hearing test" in shown
        status, shown = annotate(server)
        assert status == 0 and "Hearing test: hears (my-model, p = 0.00" in shown, shown
        assert server.count == 3 * 26 + 16
    told = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]["hearing_test"]
    assert told["verdict"] == "hears" and told["requests"] == 16 and told["clips"] == 8
    card = (tmp_path / "out" / "README.md").read_text()
    assert "Does the model hear? | hears, p = 0.00" in card and "1 with its own audio, 0 with another clip's" in card
    assert os.environ["OPENAI_API_KEY"] not in json.dumps(told)


def test_the_simulated_backend_hears_nothing_and_says_so(tmp_path, capsys):
    from hf_emo_dist.corpora.simulated import simulate_corpus

    write_dataset(simulate_corpus(30, 4, seed=0), tmp_path / "data", description="s", vote_source="SIMULATED votes.")
    ledger = ["--backend", "simulated", "--ledger", str(tmp_path / "votes.sqlite"), "--num_annotations", "2"]
    assert main(["annotate", str(tmp_path / "data"), str(tmp_path / "out"), *ledger]) == 0
    assert "Hearing test: skipped (simulated annotators hear nothing by design)" in capsys.readouterr().out
    assert "skipped (simulated annotators" in (tmp_path / "out" / "README.md").read_text()
