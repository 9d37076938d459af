"""Label probabilities read off a server, through the real client: the truth of a tiny model, and what goes wrong."""

import asyncio
import json
import math
import re
import time

import pytest
from annotation_setup import annotator, dataset
from backend_setup import EMOTIONS, everything_about, member, noise, prompt
from datasets import load_dataset
from logprobs_server import END, VOCABULARY, LogprobsServer, TinyModel
from processes import Annotating

from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.readout.shown import written
from hf_emo_dist.annotation.run.run_report import RunReport
from hf_emo_dist.annotation.types import IN_FLIGHT, Answer, FatalError, PanelMember, TransientError
from hf_emo_dist.audio.clips import encode_wav
from hf_emo_dist.commands.main import main

LABELS = ("angry", "happy", "neutral", "sad")
PANEL = [{"focus": focus, "mode": "readout"} for focus in ("voice", "words", "subtle_cues")]
#: A model whose answers are labels, so that little is elsewhere.
LIKING = {"angry": 5.0, "hap": 5.0, "neut": 4.0, "sad": 4.5, "happiness": 3.0}


@pytest.fixture(scope="module")
def running():
    with LogprobsServer() as server:
        yield server


@pytest.fixture
def server(running, monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    fresh = LogprobsServer.__new__(LogprobsServer)
    LogprobsServer.__init__(fresh)
    for name in ("requests", "replies", "script", "prompts", "shared", "count", "most_shown", "shows_end", "continues",
                 "refuses", "alter", "latency"):  # fmt: skip
        setattr(running, name, getattr(fresh, name))
    running.model = TinyModel(liking=tuple(LIKING.items()))
    return running


def backend(server, **options):
    return OpenAIBackend("tiny", base_url=f"{server.url}/v1", **options)


def ask(asked, count=1, labels=LABELS, timeout_s=20.0, **settings):
    """Read `count` questions about one clip out, all at once; answers and exceptions."""

    async def run():
        clip = asked.prepare(encode_wav(noise()), "clip-1")
        shown = [prompt("readout", f"What do you hear? ({i})", labels) for i in range(count)]
        requests = [asked.render(one, member("readout", **settings), {}) for one in shown]
        try:
            return await asyncio.gather(*(asked.ask(r, clip, timeout_s) for r in requests), return_exceptions=True)
        finally:
            await asked.close()

    return asyncio.run(run())


def read(answer):
    assert isinstance(answer, Answer) and answer.failure is None, answer
    return {label: math.exp(value) for label, value in answer.log_probabilities.items()}


LABEL_SETS = {
    "one token and two": LABELS,
    "that begin alike": ("happy", "happiness", "sad"),
    "one begins others": ("sad", "sadness", "sadly", "angry"),
    "beyond ASCII": ("fée", "sad", "angry"),
}


@pytest.mark.parametrize("name", LABEL_SETS)
def test_a_read_out_is_the_models_own_probability(server, name):
    labels = LABEL_SETS[name]
    answers = ask(backend(server), 4, labels)
    for answer in answers:
        found = read(answer)
        request = next(r for r in server.requests if r.text.endswith(f"({answers.index(answer)})"))
        truth = server.truth(request, labels)
        low, high = sum(truth.values()) - 2e-3, sum(truth.values()) + 2e-3
        assert low <= sum(found.values()) <= high and sum(truth.values()) > 0.05
        assert found == pytest.approx(truth, abs=1.5e-3)  # 0.001 of the labels' mass may be left open
        bounds = answer.settings.get("bounds", {label: (found[label],) * 2 for label in labels})
        for label, value in truth.items():
            assert bounds[label][0] - 1e-6 <= value <= bounds[label][1] + 1e-6
        assert answer.text is None and answer.model_version == "tiny"


def test_what_is_certain_takes_one_request_and_what_is_not_one_a_beginning(server):
    server.model = TinyModel(liking=(("sad", 30.0),), to_end=30.0)
    first, second = ask(backend(server), 2)
    assert first.settings["requests"] == second.settings["requests"] == 1 and server.count == 2
    assert read(first)["sad"] == pytest.approx(1.0)
    assert first.settings["end_of_turn"] == "read" and "bounds" not in first.settings


def test_the_audio_stands_in_front_of_all_that_differs_and_is_shared(server, tmp_path):
    panel = [*PANEL, {"focus": "voice", "mode": "readout", "persona": "a nurse"}]
    annotator(backend(server), tmp_path / "v.sqlite", panel=panel, emotions=LABELS).annotate(dataset(3))
    for parts in server.prompts:
        assert parts[0][0] == "audio" and {kind for kind, _ in parts[1:]} == {"text"}
    clips = [parts[0] for parts in server.prompts]
    for place, clip in enumerate(clips):  # of each clip the first request alone finds nothing
        assert (server.shared[place] > 0) == (clip in clips[:place])
    # clip by clip: none comes back once others are asked about, but for those in flight
    assert all(request.system is None for request in server.requests)
    assert {json.dumps(r.config.get("response_format")) for r in server.requests} == {"null"}
    neutral = {"temperature": 1.0, "top_p": 1.0, "top_k": -1, "repetition_penalty": 1.0, "top_logprobs": 20}
    assert all(neutral.items() <= request.config.items() for request in server.requests)


def test_one_reply_in_the_ledger_whatever_it_took(server, tmp_path):
    run = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS)
    found, report = run.annotate(dataset(3))
    assert report.complete and report.requests == 9 < server.count
    records = list(run.ledger.records())
    assert len(records) == 9 and sum(record.settings["requests"] for record in records) == server.count
    for record in records:
        assert record.outcome == "ok" and record.label is None and record.settings["read"]
        assert sum(record.distribution.values()) == pytest.approx(1)
        assert record.prompt_tokens == 196 * record.settings["requests"]
        assert record.audio_tokens == 96 * record.settings["requests"]
    assert found["synthetic_votes"] == [[], [], []]
    sent = server.count
    assert run.annotate(dataset(3)).report.requests == 0 and server.count == sent


def test_temperatures_are_of_whole_answers_and_apart_in_the_ledger(server, tmp_path):
    panel = [{"focus": "voice", "mode": "readout", "temperature": heat} for heat in (0.5, 1.0)]
    run = annotator(backend(server), tmp_path / "v.sqlite", panel=panel, emotions=LABELS)
    run.annotate(dataset(1))
    cold, warm = sorted(run.ledger.records(), key=lambda record: record.temperature)
    squares = {label: share**2 for label, share in warm.distribution.items()}
    assert cold.distribution == pytest.approx({k: v / sum(squares.values()) for k, v in squares.items()}, abs=1e-6)


# --- what a server shows


def test_a_list_that_is_too_short_for_a_label_is_told_and_not_scaled_up(server):
    server.most_shown = 2
    (answer,) = ask(backend(server, top_logprobs=2))
    assert answer.failure == "cut_off" and answer.log_probabilities is None
    assert "--max-logprobs 100" in answer.detail and "top_logprobs=100" in answer.detail
    hidden = re.findall(r"'(\w+)'", answer.detail.partition(" not among")[0])
    assert hidden and set(hidden) < set(LABELS)
    truth = server.truth(server.requests[0], LABELS)
    for label, (low, high) in answer.settings["bounds"].items():
        assert low - 1e-6 <= truth[label] <= high + 1e-6


def test_a_label_that_is_cut_off_and_matters_little_is_left_out_with_its_bound(server):
    server.model = TinyModel(liking=(("sad", 9.0), ("angry", 8.0)), to_end=9.0)
    server.most_shown = 6
    (answer,) = ask(backend(server), labels=("angry", "sad", "bored"))
    assert set(read(answer)) == {"angry", "sad"}
    low, high = answer.settings["bounds"]["bored"]
    assert low == 0 < high < 0.01 and sum(read(answer).values()) < 1


def test_more_than_the_server_shows_is_asked_for_once(server):
    answers = ask(backend(server, top_logprobs=100), 3)
    refused = [status for _, status in server.replies if status == 400]
    assert 1 <= len(refused) <= 3  # those that were on their way
    assert {answer.settings["top_logprobs"] for answer in answers} == {20}
    assert all(r.config["top_logprobs"] == 20 for r in server.requests[3:])


def test_other_dresses_of_a_label_are_told_and_not_counted(server):
    server.model = TinyModel(liking=((" Sad", 6.0), ("sad", 5.0), ("Happy", 4.0), ("angry", 4.0)))
    (answer,) = ask(backend(server))
    truth = server.model.next(server.question(server.requests[0]), "")
    assert answer.settings["variants"][" Sad"] == pytest.approx(truth[" Sad"], rel=1e-4)
    assert read(answer)["sad"] <= truth["sad"] + 1e-9


def test_a_server_that_hides_the_end_tells_so(server):
    server.shows_end = False
    server.model = TinyModel(liking=tuple(LIKING.items()), to_end=9.0)
    (answer,) = ask(backend(server), labels=("angry", "sad"))
    assert answer.settings["end_of_turn"] == "not shown"
    question = server.question(server.requests[0])
    start = server.model.next(question, "")
    assert read(answer)["angry"] == pytest.approx(start["angry"], rel=1e-6)


@pytest.mark.parametrize("way", [False, "refused"])
def test_a_server_that_does_not_go_on_is_found_out(server, way):
    server.continues = way
    labels = ("sad", "angry")
    answers = [*ask(backend(server), 1, labels), *ask(backend(server), 1, ("happy", "hapless", "angry"))]
    # one label a beginning: that the answer ends with it is assumed, and told
    assert answers[0].failure is None and answers[0].settings["end_of_turn"].startswith("assumed")
    truth = server.truth(server.requests[0], labels)
    for label, (low, high) in answers[0].settings["bounds"].items():
        assert low - 1e-6 <= truth[label] <= high + 1e-6
    assert answers[1].failure == "cut_off" and "continue_final_message" in answers[1].detail


def test_fields_that_a_server_refuses_are_left_out(server):
    server.refuses = ("top_k", "min_p")
    answers = ask(backend(server), 2)
    assert [read(answer) for answer in answers]
    assert answers[0].settings["sampling"] == "the server's own"


ALTERED = {
    "no log-probabilities": (lambda choice: choice.update(logprobs=None), "label mode"),
    "logits": (lambda choice: choice["logprobs"]["content"][0]["top_logprobs"][0].update(logprob=21.0),
               "raw_logprobs"),
    "a token with two probabilities": (
        lambda choice: choice["logprobs"]["content"][0].update(
            logprob=choice["logprobs"]["content"][0]["logprob"] - 0.5), "raw_logprobs"),
    "a token above the list": (
        lambda choice: choice["logprobs"]["content"][0].update(token="else", bytes=None, logprob=0.0), "raw_logprobs"),
    "a thought": (lambda choice: choice["message"].update(reasoning_content="Let me listen."),
                  "enable_thinking"),
}  # fmt: skip


@pytest.mark.parametrize("case", ALTERED)
def test_a_server_that_cannot_be_read_is_refused_by_its_first_reply(server, tmp_path, case):
    server.alter, mend = ALTERED[case]
    _, report = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS).annotate(dataset(12))
    assert server.count == 1 and mend in report.stop_reason


def test_a_model_whose_data_says_that_it_shows_none_is_refused_before_anything_is_sent(server, tmp_path):
    for options in ({"capabilities": {"logprobs": False}}, {"capabilities": {"modes": ["label"]}}):
        with pytest.raises(ValueError, match=r"log-probabilities .* Mend: ask it in label mode"):
            annotator(backend(server, **options), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS)
    with pytest.raises(ValueError, match="log-probabilities"):
        annotator(OpenAIBackend("gpt-audio"), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS)
    assert server.count == 0


def test_openais_own_are_sent_their_own_fields():
    """No name that only other servers know; and no answer is given a beginning there."""
    asked = OpenAIBackend("gpt-audio", capabilities={"logprobs": True})
    config = asked.render(prompt("readout"), member("readout"), {})["config"]
    assert "readout" in asked.capabilities.modes and config["max_completion_tokens"] == 8
    assert not {"extra_body", "max_tokens", "response_format"} & set(config) and config["logprobs"] is True


ROUNDED = {  # how a server may write the logarithm of the token that it wrote, beside that in its list
    "to four digits": lambda value: round(value, 4),
    "to two": lambda value: round(value, 2),
    "as a text": str,
}


@pytest.mark.parametrize("how", ROUNDED)
def test_a_token_is_counted_once_however_its_own_logarithm_is_written(server, how):
    (wanted,) = ask(backend(server))

    def alter(choice):
        for entry in choice["logprobs"]["content"]:
            entry["logprob"] = ROUNDED[how](entry["logprob"])
            entry["bytes"] = None

    server.alter = alter
    (answer,) = ask(backend(server))
    assert read(answer) == pytest.approx(read(wanted), abs=1e-9)
    assert answer.settings.get("variants") == wanted.settings.get("variants")


def test_a_place_counts_a_token_once():
    listed = [{"token": t, "logprob": math.log(s)} for t, s in (("sad", 0.25), ("angry", 0.4), ("calm", 0.2))]
    entry = {"token": "sad", "logprob": round(math.log(0.25), 4), "top_logprobs": listed}
    place = written({"logprobs": {"content": [entry]}}, "sad").places[0]
    assert [round(share, 9) for _, share in place.tokens] == [0.25, 0.4, 0.2] and place.least == pytest.approx(0.2)


def test_a_server_that_shows_fewer_than_were_asked_for_is_told_so(server):
    def alter(choice):
        for entry in choice["logprobs"]["content"]:
            entry["top_logprobs"] = entry["top_logprobs"][:2]

    server.alter = alter
    (answer,) = ask(backend(server), labels=tuple(f"label{i}" for i in range(20)))
    assert answer.failure == "cut_off" and "not among the 2 likeliest tokens" in answer.detail
    assert "though 20 were asked for" in answer.detail and answer.settings["unread"] <= 1


def test_ends_that_were_assumed_are_told_in_the_summary(server, tmp_path):
    server.continues = False
    run = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=("sad", "angry"))
    report = run.annotate(dataset(3)).report
    assert report.masses.assumed == report.masses.number == 9
    assert "In 9 of them it was assumed that an answer ends with its label" in report.summary()
    again = RunReport.from_dict(json.loads(json.dumps(report.to_dict())))
    assert again.masses.assumed == 9 and again.masses.mean == pytest.approx(report.masses.mean)
    again.add(report)
    assert again.masses.number == 18


ODD = {
    "twice what there is": lambda choice: [
        entry["top_logprobs"].extend(entry["top_logprobs"]) for entry in choice["logprobs"]["content"]
    ],
    "NaN": lambda choice: choice["logprobs"]["content"][0].update(logprob=float("nan")),
    "words": lambda choice: choice["logprobs"]["content"][0].update(logprob="likely"),
    "null after others had them": lambda choice: choice.update(logprobs=None),
}


@pytest.mark.parametrize("case", ODD)
def test_one_odd_reply_is_no_vote_and_stops_nothing(server, tmp_path, case):
    seen = []

    def alter(choice):
        seen.append(1)
        if len(seen) == 10:
            ODD[case](choice)

    server.alter = alter
    run = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS, concurrency=1)
    _, report = run.annotate(dataset(6))
    assert report.stop_reason is None and report.votes == 17 and list(report.failures) == ["unreadable"]


def test_what_cannot_be_read_of_any_clip_stops_the_run_with_the_mend(server, tmp_path):
    server.most_shown = 1
    _, report = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS).annotate(dataset(20))
    assert report.stop_reason is not None and "--max-logprobs" in report.stop_reason
    assert report.votes == 0 and report.requests < 60


# --- what goes wrong on the way


def first_follow_up(request):
    return request.beginning != ""


WRONG = {
    "429": ("status", {"code": 429}, TransientError, "rate_limit"),
    "503": ("status", {"code": 503}, TransientError, "overloaded"),
    "a broken connection": ("reset_after", {}, TransientError, "connection"),
    "401": ("status", {"code": 401}, FatalError, "authentication"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_request_that_fails_fails_the_read_out_and_what_was_bought_is_paid(server, case):
    kind, options, expected, told = WRONG[case]
    server.fault(kind, when=first_follow_up, times=1, **options)
    (outcome,) = ask(backend(server))
    assert isinstance(outcome, expected) and told in (getattr(outcome, "kind", ""), getattr(outcome, "reason", ""))
    assert getattr(outcome, "billed", True)  # the first reply came


def test_a_read_out_has_one_time_out(server):
    server.fault("never", when=first_follow_up)
    (outcome,) = ask(backend(server), timeout_s=0.5)
    assert isinstance(outcome, TransientError) and outcome.kind == "timeout" and outcome.billed
    assert re.search(r"no reply in 0\.\d+ s", str(outcome)) and "Cancelled" not in str(outcome)


def test_a_run_goes_on_after_faults_and_every_read_out_is_the_same(server, tmp_path):
    alone = annotator(backend(server), tmp_path / "a.sqlite", panel=PANEL, emotions=LABELS)
    wanted, _ = alone.annotate(dataset(4))
    server.fault("status", when=lambda request: request.number % 7 == 0, times=5, code=503)
    run = annotator(backend(server), tmp_path / "b.sqlite", panel=PANEL, emotions=LABELS)
    found, report = run.annotate(dataset(4))
    assert report.complete and report.transport_errors["overloaded"] == 5
    for one, other in zip(found["synthetic_annotations"], wanted["synthetic_annotations"], strict=True):
        for a, b in zip(one, other, strict=True):
            assert a["distribution"] == pytest.approx(b["distribution"], abs=2e-3)


@pytest.mark.slow
def test_a_kill_between_two_requests_of_a_read_out_loses_that_one(server, tmp_path):
    path, rows = tmp_path / "v.sqlite", 5
    options = {"openai": "tiny", "panel": PANEL, "concurrency": 1, "today": None}
    for kill in range(3):
        first = server.count + 10
        server.fault("never", lambda request, first=first: request.beginning != "" and request.number >= first, times=1)
        process = Annotating(f"{server.url}/v1", path, rows, **options)
        while server.script[0][2]:  # until it was taken
            assert process.runs()
            time.sleep(0.01)
        process.kill()
        server.script.clear()
        with Ledger(path) as ledger:
            there = [record for record in ledger.records() if record.outcome == "ok"]
        assert len({record.key for record in there}) == len(there) >= kill
    outcome, _ = Annotating(f"{server.url}/v1", path, rows, **options).outcome()
    assert outcome["report"]["votes"] + outcome["report"]["stored_votes"] == rows * len(PANEL)
    with Ledger(path) as ledger:
        records = list(ledger.records())
    lost = [record for record in records if record.outcome != "ok"]
    assert len(lost) <= 3 and all(record.detail == IN_FLIGHT for record in lost)
    sent = sum(record.settings["requests"] for record in records if record.outcome == "ok")
    assert server.count - sent <= 3 * (2 * len(LABELS) + 2)


def test_another_model_in_a_further_reply_is_another_model(server, tmp_path):
    server.fault("model", when=first_follow_up)
    server.fault_model = lambda request: _renamed(server, request)
    (answer,) = ask(backend(server))
    del server.fault_model
    assert answer.model_version == "tiny-2"


def _renamed(server, request):
    reply = server.respond(request)
    reply.body = reply.body.replace(b'"model": "tiny"', b'"model": "tiny-2"')
    return reply


def test_no_secret_in_what_is_told(server, monkeypatch):
    key = "sk-very-secret-0123456789"
    monkeypatch.setenv("OPENAI_API_KEY", key)
    server.fault("echo_key", key=key)
    (outcome,) = ask(backend(server))
    assert key not in everything_about(outcome)


def test_the_estimate_has_a_request_more_for_each_label_at_most(server, tmp_path):
    run = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL, emotions=LABELS)
    estimate = run.estimate(dataset(5))
    run.annotate(dataset(5))
    used = sum(record.prompt_tokens for record in run.ledger.records())
    assert estimate.requests == 15 and estimate.prompt.high > estimate.prompt.low * 5
    assert all(record.assumed_tokens is None for record in run.ledger.records())
    assert used == 196 * (server.count)


def test_a_panel_of_labels_and_read_outs_asks_each_in_its_way(server, tmp_path):
    panel = [PanelMember("voice"), PanelMember("voice", mode="readout")]
    data, report = annotator(backend(server), tmp_path / "v.sqlite", panel=panel, emotions=EMOTIONS).annotate(
        dataset(4)
    )
    assert report.complete
    assert [{a["mode"] for a in row} for row in data["synthetic_annotations"]] == [{"label", "readout"}] * 4
    labels = [r for r in server.requests if "logprobs" not in r.config]
    assert len(labels) == 4 and all(request.system for request in labels)


def test_the_command_line_reads_a_panel_out(server, tmp_path, capsys):
    data, out = tmp_path / "data", tmp_path / "out"
    people = {"human_votes": ["sad", "sad", "angry"], "human_distribution": dict.fromkeys(LABELS, 0.0) | {"sad": 1.0}}
    rows = [{**row, **people, "speaker": f"s{i}"} for i, row in enumerate(dataset(6))]
    dataset(rows).to_parquet(data / "train.parquet")
    words = ["--backend", "openai", "--model", "tiny", "--backend_options", f"{{base_url: '{server.url}/v1'}}",
             "--mode", "readout", "--num_annotations", "5", "--ledger", str(tmp_path / "v.sqlite"),
             "--hearing_test", "false"]  # fmt: skip
    assert main(["estimate", str(data), *words]) == 0
    assert "30" in capsys.readouterr().out and server.count == 0
    assert main(["annotate", str(data), str(out), *words]) == 0
    told = capsys.readouterr().out
    assert "30 read-outs: on the labels is" in told
    found = load_dataset("parquet", data_files=str(out / "**" / "*.parquet"), split="train")
    for row in found:
        assert [a["mode"] for a in row["synthetic_annotations"]] == ["readout"] * 5
        assert sum(row["emotion_distribution"].values()) == pytest.approx(1, abs=1e-6)
    sent = server.count
    assert main(["annotate", str(data), str(tmp_path / "again"), *words]) == 0 and server.count == sent


@pytest.mark.parametrize(("by", "verdict"), [("text", "does not hear"), ("audio", "hears")])
def test_whether_a_server_hears_is_told_by_read_outs(server, tmp_path, by, verdict):
    server.question = lambda request: getattr(request, by)
    try:
        run = annotator(backend(server), tmp_path / "v.sqlite", panel=PANEL[:2], emotions=LABELS)
        assert run.hearing_test(dataset(20)).verdict == verdict
    finally:
        vars(server).pop("question")


def test_the_tiny_model_is_one_that_sampling_agrees_with():
    model, question = TinyModel(), "q"
    total = sum(model.next(question, "").values())
    assert total == pytest.approx(1) and set(model.next(question, "sad")) == set(VOCABULARY) and END in VOCABULARY
