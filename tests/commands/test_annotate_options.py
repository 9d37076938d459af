"""Options of `hf-emo-dist annotate` and `estimate` about names, models and panels, against a local server."""

import json
import sys
from pathlib import Path

import pytest

from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.commands.main import main
from hf_emo_dist.corpora.simulated import simulate_corpus
from hf_emo_dist.data.loading import load_emotion_dataset
from hf_emo_dist.data.writing import write_dataset

sys.path.append(str(Path(__file__).parents[1] / "annotation"))
from openai_server import OpenAIServer

PANEL = """
- focus: voice
- {focus: words, temperature: 0.7}
- {focus: Mind the pauses., mode: distribution, wording: 1, persona: a nurse}
- {focus: voice, replicate: 4}
"""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus") / "data"
    write_dataset(simulate_corpus(8, 4, seed=0), folder, description="simulated", vote_source="SIMULATED votes.")
    return folder


@pytest.fixture
def server(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    with OpenAIServer() as running:
        yield running


def run(capsys, command, corpus, tmp_path, server, *words):
    place = [str(tmp_path / "out")] if command == "annotate" else []
    place += ["--backend", "openai", "--backend_options", f"{{base_url: '{server.url}/v1'}}", "--limit", "2"]
    model = [] if "--model" in words else ["--model", "my-deployment"]
    status = main([command, str(corpus), *place, *model, "--ledger", str(tmp_path / "votes.sqlite"), *words])
    shown = capsys.readouterr()
    return status, shown.out + shown.err


def test_a_panel_a_price_and_a_name_from_the_command_line(corpus, tmp_path, server, capsys):
    server.fault("other_model", model="gpt-audio-2025-08-28")
    (tmp_path / "panel.yaml").write_text(PANEL)
    words = ["--panel", str(tmp_path / "panel.yaml"), "--max_cost_usd", "1"]
    words += ["--prices", "{text_in: 1, audio_in: 2, output: 4}", "--capabilities", "{structured: json_schema}"]
    with pytest.raises(SystemExit) as stop:
        run(capsys, "annotate", corpus, tmp_path, server, *words)
    assert stop.value.code == 3 and server.count == 1
    assert "--answers_as gpt-audio-2025-08-28" in capsys.readouterr().err

    server.script[0][3]["model"] = "gpt-audio-2025-08-28"
    status, shown = run(capsys, "annotate", corpus, tmp_path, server, *words, "--answers_as", "gpt-audio")
    assert status == 0, shown
    rows = load_emotion_dataset(tmp_path / "out", "train")
    assert server.count == 4 * len(rows)
    for row in rows:
        found = [(entry["focus"], entry["mode"], entry["replicate"]) for entry in row["synthetic_annotations"]]
        assert found == [
            ("voice", "label", 0),
            ("words", "label", 0),
            ("Mind the pauses.", "distribution", 0),
            ("voice", "label", 4),
        ]
    sent = server.requests[-1]
    assert "response_format" in sent.config and any("a nurse" in request.system for request in server.requests)
    costs = {round(record.cost_usd, 9) for record in Ledger(tmp_path / "votes.sqlite").records() if record.tries}
    assert costs == {round((100 * 1 + 96 * 2 + 3 * 4) / 1e6, 9)}
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())
    assert done["annotation"]["panel"][2]["persona"] == "a nurse"


def test_a_second_model_votes_on_what_the_first_has_left(corpus, tmp_path, server, capsys):
    """As the mend for a panel of several models says: one ledger, a run each, and all votes in the end."""
    few = ["--num_annotations", "2"]
    assert run(capsys, "annotate", corpus, tmp_path, server, *few)[0] == 0
    (tmp_path / "out").rename(tmp_path / "first")
    status, shown = run(capsys, "annotate", tmp_path / "first", tmp_path, server, *few, "--model", "another")
    assert status == 0, shown
    for row in load_emotion_dataset(tmp_path / "out", "train"):
        assert [entry["model"] for entry in row["synthetic_annotations"]] == ["my-deployment"] * 2 + ["another"] * 2
        assert len(row["synthetic_votes"]) == 4
    assert {record.model for record in Ledger(tmp_path / "votes.sqlite").records()} == {"my-deployment", "another"}


SEVERAL = """
- focus: voice
- {focus: words}
- &other {focus: voice, model: another, prices: {text_in: 1, audio_in: 1, output: 1}, answers_as: another-2026}
- {<<: *other, focus: words}
"""


def test_a_panel_of_several_models_from_the_command_line(corpus, tmp_path, server, capsys):
    server.fault("other_model", lambda request: request.model == "another", model="another-2026")
    (tmp_path / "panel.yaml").write_text(SEVERAL)
    words = ["--panel", str(tmp_path / "panel.yaml"), "--max_cost_usd", "1"]
    status, shown = run(capsys, "estimate", corpus, tmp_path, server, *words)
    assert status == 2 and "none are known for 'my-deployment'" in shown and server.count == 0
    words += ["--prices", "{text_in: 1, audio_in: 2, output: 4}"]
    status, shown = run(capsys, "estimate", corpus, tmp_path, server, *words)
    assert status == 0 and "4 to my-deployment" in shown and "4 to another" in shown and "all models" in shown
    status, shown = run(capsys, "annotate", corpus, tmp_path, server, *words)
    assert status == 0 and server.count == 8, shown
    rows = load_emotion_dataset(tmp_path / "out", "train")
    for row in rows:
        found = [(entry["model"], entry["focus"]) for entry in row["synthetic_annotations"]]
        models = ("my-deployment", "another-2026")
        assert found == [(model, focus) for model in models for focus in ("voice", "words")]
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    assert done["model"] == "my-deployment" and [one["model"] for one in done["others"]] == ["another"]
    assert done["model_versions"] == {"my-deployment": 4, "another-2026": 4}
    rates = {"my-deployment": (1, 2, 4), "another": (1, 1, 1)}
    paid = sum(2 * 2 * (100 * text + 96 * audio + 3 * out) / 1e6 for text, audio, out in rates.values())
    assert done["cost_usd"] == pytest.approx(paid)
    card = (tmp_path / "out" / "README.md").read_text()
    assert "synthetic votes by my-deployment and another, no person" in card
    assert "Panel of `my-deployment`" in card and "Panel of `another`" in card
    # One is down: the other's votes are written where that is asked for, and the status says that some are missing.
    server.script.insert(0, ["status", lambda request: request.model == "another", None, {"code": 402}])
    words += ["--ledger", str(tmp_path / "new.sqlite"), "--overwrite"]
    with pytest.raises(SystemExit) as stop:
        run(capsys, "annotate", corpus, tmp_path, server, *words, "--write_partial")
    assert stop.value.code == 3
    done = json.loads((tmp_path / "out" / "preparation.json").read_text())["annotation"]
    assert done["partial"]["clips_by_votes"] == {"2": 2} and done["partial"]["why"].startswith("another: ")


def test_an_estimate_says_that_no_vote_would_come(corpus, tmp_path, server, capsys):
    status, shown = run(
        capsys,
        "estimate",
        corpus,
        tmp_path,
        server,
        "--capabilities",
        "{retired_on: 2026-05-07, replaced_by: gpt-audio-1.5}",
    )
    assert status == 0 and "NO VOTE WOULD COME" in shown and "gpt-audio-1.5" in shown and "2026-05-07" in shown
    status, shown = run(capsys, "estimate", corpus, tmp_path, server)
    assert status == 0 and "NO VOTE" not in shown
    assert server.count == 0


def test_a_clip_that_is_longer_than_the_model_hears(corpus, tmp_path, server, capsys):
    heard = ["--capabilities", "{longest_clip_s: 0.5}", "--num_annotations", "1"]
    status, shown = run(capsys, "estimate", corpus, tmp_path, server, *heard)
    assert status == 0 and "cannot be sent    2 clips" in shown and "--long_audio truncate" in shown
    status, shown = run(capsys, "estimate", corpus, tmp_path, server, *heard, "--long_audio", "truncate")
    assert status == 0 and "cannot be sent" not in shown
    status, shown = run(capsys, "annotate", corpus, tmp_path, server, *heard, "--long_audio", "truncate")
    assert status == 0 and server.count == 2, shown


WRONG = {
    "a fact": (["--capabilities", "{temprature: true}"], "temprature. Mend: known are"),
    "a price": (["--prices", "{text_in: 1}"], "text_in, audio_in and output"),
    "no panel file": (["--panel", "nowhere.yaml"], "No panel file at nowhere.yaml"),
    "another way with long clips": (["--long_audio", "window"], "error, truncate"),
}


@pytest.mark.parametrize("words, message", WRONG.values(), ids=WRONG)
def test_mistakes_are_named_before_anything_is_sent(corpus, tmp_path, server, capsys, words, message):
    status, shown = run(capsys, "estimate", corpus, tmp_path, server, *words)
    assert status == 2 and message in shown and server.count == 0


OUT_OF_CREDITS = {"402": 30, "402 from the first request on": 0, "a gateway's 400": 30}


@pytest.mark.parametrize("words, good", OUT_OF_CREDITS.items(), ids=OUT_OF_CREDITS)
def test_a_run_whose_credits_end_is_incomplete_and_the_same_command_goes_on(tmp_path, server, capsys, words, good):
    source = tmp_path / "data"
    write_dataset(simulate_corpus(40, 4, seed=0), source, description="simulated", vote_source="SIMULATED votes.")
    wanted = 3 * len(load_emotion_dataset(source)["train"])
    fault, options = ("status", {"code": 402}) if "402" in words else ("bad_request", {})
    server.fault(fault, lambda asked: asked.number > good, **options)
    call = ["--answers_as", "gpt-audio", "--limit", "40", "--num_annotations", "3", "--no_hearing_test"]
    with pytest.raises(SystemExit) as stop:
        run(capsys, "annotate", source, tmp_path, server, *call)
    shown = capsys.readouterr().err
    assert stop.value.code == 3 and "the service answers nobody" in shown
    assert "the same command goes on from there" in shown and not (tmp_path / "out").exists()
    records = Ledger(tmp_path / "votes.sqlite").records()
    assert not any(record.final for record in records if record.outcome != "ok")
    server.script.clear()
    asked = server.count
    status, shown = run(capsys, "annotate", source, tmp_path, server, *call)
    assert status == 0, shown
    assert server.count - asked == wanted - good > 0
    assert sum(map(len, load_emotion_dataset(tmp_path / "out")["train"]["synthetic_annotations"])) == wanted
