"""A panel whose members name their own models: each as if it was asked alone, all on one ledger and under one cap."""

import os
import pickle
import signal
from collections import Counter

import pytest
from annotation_setup import annotator, dataset, gemini, generated
from gemini_server import GeminiServer
from openai_server import OpenAIServer
from scripted import ScriptedBackend

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends import BackendChoice, OpenAIBackend
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.panel import by_model
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete
from hf_emo_dist.annotation.types import Answer, Usage

ROWS = 5
#: Their prices are known, their last days are not over, and they are no longer of today's date.
FLASH, AUDIO = "gemini-2.5-flash", "my-audio"


@pytest.fixture
def servers(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")
    with GeminiServer() as google, OpenAIServer() as other:
        yield google, other


def panel_of(server, tmp_path):
    path = tmp_path / "panel.yaml"
    path.write_text(
        f"""
- focus: voice
- &other {{focus: voice, backend: openai, model: {AUDIO}, backend_options: {{base_url: '{server.url}/v1'}}}}
- {{focus: words, temperature: 0.7}}
- {{<<: *other, focus: words}}
- *other
"""
    )
    return path


def votes_by_model(data):
    return [Counter(entry["model"] for entry in row["synthetic_annotations"]) for row in data]


def openai(server, model=AUDIO):
    return OpenAIBackend(model, base_url=f"{server.url}/v1")


def test_each_model_is_asked_as_if_alone_and_what_was_bought_so_counts(servers, tmp_path):
    google, other = servers
    path = tmp_path / "v.sqlite"
    alone = [
        annotator(gemini(google), path, panel=[{"focus": "voice"}, {"focus": "words", "temperature": 0.7}]),
        annotator(openai(other), path, panel=[{"focus": focus} for focus in ("voice", "words", "voice")]),
    ]
    for one in alone[1:]:
        one.annotate(dataset(ROWS))
    sent = other.count
    both = annotator(gemini(google), path, panel=panel_of(other, tmp_path))
    found = both.annotate(dataset(ROWS))
    assert other.count == sent == 3 * ROWS and len(generated(google)) == 2 * ROWS  # nothing is paid for again
    assert votes_by_model(found.dataset) == [{FLASH: 2, AUDIO: 3}] * ROWS
    assert [one.plan for one in both.asked] == [one.plan for one in alone]
    report = found.report
    assert report.complete and set(report.by_model) == {FLASH, AUDIO} and report.rows == ROWS
    assert (report.votes, report.stored_votes, report.requests) == (2 * ROWS, 3 * ROWS, 2 * ROWS)
    assert f"{FLASH}: {ROWS} utterances: {2 * ROWS} new votes" in report.summary()
    # And the other way round: alone, nothing is left to buy. Batches, too.
    assert alone[0].annotate(dataset(ROWS)).report.requests == 0
    mapped = dataset(ROWS).map(both, batched=True, batch_size=2)
    assert mapped["synthetic_annotations"][:] == found.dataset["synthetic_annotations"][:]
    assert len(generated(google)) == 2 * ROWS and other.count == sent
    assert both.describe()["model"] == FLASH and [one["model"] for one in both.describe()["others"]] == [AUDIO]
    assert both.stored(dataset(ROWS))["synthetic_votes"][:] == found.dataset["synthetic_votes"][:]
    both.close()
    assert both.annotate(dataset(ROWS)).report.complete


def test_a_service_that_is_down_stops_its_own_members_alone(servers, tmp_path):
    google, other = servers
    path, panel = tmp_path / "v.sqlite", panel_of(other, tmp_path)
    other.fault("status", code=402)
    found = annotator(gemini(google), path, panel=panel).annotate(dataset(ROWS))
    assert votes_by_model(found.dataset) == [{FLASH: 2}] * ROWS
    report = found.report
    assert not report.complete and report.by_model[FLASH].complete and AUDIO in report.stop_reason
    assert "wants to be paid" in report.stop_reason and FLASH not in report.stop_reason
    assert report.votes_a_clip == {2: ROWS, 5: 0}
    with pytest.raises(AnnotationIncomplete, match="wants to be paid"):
        dataset(ROWS).map(annotator(gemini(google), path, panel=panel), batched=True)
    other.script.clear()
    before = other.count, len(generated(google))
    found = annotator(gemini(google), path, panel=panel).annotate(dataset(ROWS))
    assert found.report.complete and votes_by_model(found.dataset) == [{FLASH: 2, AUDIO: 3}] * ROWS
    assert (other.count, len(generated(google))) == (before[0] + 3 * ROWS, before[1])


def two(first, second):
    """A panel of two members for each of two scripted models."""
    return [{"focus": focus, "backend": backend} for focus in ("voice", "words") for backend in (first, second)]


def test_the_cap_is_common_to_all(tmp_path):
    def bill(number, request, audio):
        return 0.001, Answer("happy", usage=Usage(150, 50, 30, 20))

    first, second = ScriptedBackend(bill, "one"), ScriptedBackend(bill, "two")
    run = annotator(first, tmp_path / "v.sqlite", panel=two(first, second), max_tokens=60000, concurrency=2)
    report = run.annotate(dataset(100)).report
    spent = Ledger(tmp_path / "v.sqlite").spending()
    assert 60000 - 3000 <= spent.tokens <= 60000 and spent.tokens == 200 * (first.sent + second.sent)
    assert min(first.sent, second.sent) > 5 and report.stop_reason.startswith("the budget is used up")
    assert report.votes == first.sent + second.sent and spent.reserved_tokens == 0


def test_ctrl_c_stops_all_of_them(tmp_path):
    def interrupting(number, request, audio):
        if number == 10:
            os.kill(os.getpid(), signal.SIGINT)
        return 0.003, "happy"

    first, second = ScriptedBackend(interrupting, "one"), ScriptedBackend(lambda *_: (0.003, "sad"), "two")
    run = annotator(first, tmp_path / "v.sqlite", panel=two(first, second), concurrency=2)
    report = run.annotate(dataset(200)).report
    assert report.stop_reason == "it was interrupted." and first.sent < 400 and second.sent < 400
    assert report.votes == first.sent + second.sent == len(Ledger(tmp_path / "v.sqlite"))


def test_a_row_that_cannot_be_read_ends_all_of_them_after_what_is_in_flight_is_stored(tmp_path):
    first, second = (ScriptedBackend(lambda *_: (0.002, "sad"), name) for name in ("one", "two"))
    run = annotator(first, tmp_path / "v.sqlite", panel=two(first, second), concurrency=2)
    content = [{"id": f"r{i}", "audio": row["audio"], "transcript": "hm"} for i, row in enumerate(dataset(200))]
    utterances = list(run.utterances(dataset(content)))
    utterances[150].transcript = 3
    with pytest.raises(AttributeError):
        run.run(utterances, total=None)
    ledger = Ledger(tmp_path / "v.sqlite")
    assert len(ledger) == first.sent + second.sent and ledger.spending().reserved_tokens == 0


def test_the_estimate_tells_each_model_and_all(servers, tmp_path):
    google, other = servers
    run = annotator(gemini(google), tmp_path / "v.sqlite", panel=panel_of(other, tmp_path))
    estimate = run.estimate(dataset(ROWS))
    assert estimate.requests == 5 * ROWS and estimate.cost_usd is None and "no price for one" in estimate.table()
    assert {name: one.requests for name, one in estimate.by_model.items()} == {FLASH: 2 * ROWS, AUDIO: 3 * ROWS}
    assert f"{2 * ROWS} to {FLASH}" in estimate.table() and estimate.to_dict()["by_model"][AUDIO]["requests"] == 15
    assert other.count == 0 and not generated(google)
    piloted = run.estimate(dataset(ROWS), pilot=2)
    assert piloted.pilot == 10 and other.count == 6 and len(generated(google)) == 4


def test_what_was_said_of_one_model_is_not_taken_to_hold_for_another():
    prices = {"text_in": 1, "audio_in": 1, "output": 4}
    options = {"base_url": "http://host:8000/v1", "answers_as": "x", "capabilities": {"prices": prices}}
    main = BackendChoice("openai", "a", options)
    own, other, third = by_model(
        main,
        [
            {"focus": "voice"},
            {"focus": "voice", "model": "b"},
            {"focus": "words", "backend": "openai", "model": "c", "backend_options": {"base_url": "http://c/v1"}},
            {"focus": "words", "model": "a"},
        ],
        "default",
    )
    assert (own.named, other.named, third.named) == (False, True, True) and len(own.members) == 2
    assert [part.backend.endpoint for part in (own, other, third)] == ["http://host:8000/v1"] * 2 + ["http://c/v1"]
    assert own.backend.answers_as == ("x",) and other.backend.answers_as == () == third.backend.answers_as
    assert own.backend.capabilities.prices and not other.backend.capabilities.prices


def test_members_that_are_alike_are_told_apart_within_their_model_alone(tmp_path):
    first, second = ScriptedBackend(model="one"), ScriptedBackend(model="two")
    panel = [{"focus": "voice", "backend": first}] * 2 + [{"focus": "voice", "backend": second}]
    run = annotator("gemini", tmp_path / "v.sqlite", panel=panel)
    assert [[member.replicate for member in one.members] for one in run.asked] == [[0, 1], [0]]
    assert run.annotate(dataset(2)).report.votes == 6
    again = pickle.loads(pickle.dumps(run))
    assert [one.backend.model for one in again.asked] == ["one", "two"] and again.annotate(dataset(2)).report.votes == 0


def test_a_member_may_name_another_model_of_the_same_service(tmp_path, monkeypatch):
    monkeypatch.setenv("GEMINI_API_KEY", "not-a-key")
    run = Annotator(ledger=tmp_path / "v.sqlite", panel=[{"focus": "voice"}, {"focus": "voice", "model": FLASH}])
    assert [one.backend.model for one in run.asked] == ["gemini-3.8-flash", FLASH]
    # No member asks the main one: it is not made.
    run = Annotator("openai", ledger=tmp_path / "v.sqlite", panel=[{"focus": "voice", "model": "b"}])
    assert run.backend.model == "b" and not run.others


WRONG = {
    "a model and no backend": ([{"focus": "voice", "model": "b"}], "names a model and no backend"),
    "an unknown backend": ([{"focus": "voice", "backend": "gemeni"}], "Annotator 0: Unknown backend 'gemeni'"),
    "an option of no backend": (
        [{"focus": "voice"}, {"focus": "voice", "backend": "gemini", "backend_options": {"colour": 1}}],
        "Annotator 1: What was given does not fit the backend",
    ),
    "options that are none": (
        [{"focus": "voice", "backend": "gemini", "backend_options": "url"}],
        "`backend_options` is 'url'",
    ),
    "one model in two ways": (
        [
            {"focus": "voice", "backend": "gemini", "model": FLASH},
            {"focus": "words", "backend": "gemini", "model": FLASH, "backend_options": {"thinking": 0}},
        ],
        f"Annotator 1 asks {FLASH} in another way",
    ),
    "no focus": ([{"focus": "voice"}, {"backend": "gemini"}], "Annotator 1: it has no focus"),
    "an unknown field": ([{"focus": "voice", "backend": "gemini", "tone": 1}], "Annotator 0 has unknown fields: tone"),
    "a price that is none": (
        [{"focus": "voice", "backend": "gemini", "prices": {"text_in": 1}}],
        "Annotator 0: .*text_in, audio_in and output",
    ),
}


@pytest.mark.parametrize("panel, problem", WRONG.values(), ids=WRONG)
def test_a_wrong_panel_is_told_by_its_member(tmp_path, panel, problem):
    with pytest.raises(ValueError, match=problem):
        annotator(ScriptedBackend(), tmp_path / "v.sqlite", panel=panel)
