"""What an outcome means for its clip, the cap, the rate and the run, through the real clients."""

import asyncio
import hashlib
import json
import time

import pytest
from annotation_setup import KEY, annotator, clip, dataset, gemini, generated, reset, votes
from backend_setup import KEY_NAMES
from gemini_server import GeminiServer
from limited import Capacity
from openai_server import OpenAIServer
from quick import mostly_slow
from scripted import ScriptedBackend

from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.ledger.ledger import Claim, Ledger
from hf_emo_dist.annotation.run.charging import charge
from hf_emo_dist.annotation.run.evidence import WINDOW
from hf_emo_dist.annotation.run.judging import MEANINGS
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete, RunReport
from hf_emo_dist.annotation.types import FAILURES, Answer, Record, TransientError, Usage


class Asked:
    """A server and the annotators that ask it."""

    def __init__(self, server, ledger, monkeypatch):
        self.server, self.ledger = server, ledger
        self.openai = isinstance(server, OpenAIServer)

    def __call__(self, ledger=None, **options):
        if not self.openai:
            return annotator(gemini(self.server), ledger or self.ledger, **options)
        prices = {
            "text_in": 2.5,
            "audio_in": 32.0,
            "output": 10.0,
        }  # of which nothing is known for an address of one's own
        backend = OpenAIBackend("gpt-audio", base_url=self.server.url + "/v1", capabilities={"prices": prices})
        return annotator(backend, ledger or self.ledger, **options)

    def final(self):
        return [record for record in Ledger(self.ledger).records() if record.outcome != "ok" and record.final]


@pytest.fixture(scope="module")
def servers():
    with GeminiServer() as one, OpenAIServer() as two:
        yield {"gemini": one, "openai": two}


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "votes.sqlite"


@pytest.fixture(params=["gemini", "openai"])
def asked(request, servers, ledger, monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    return Asked(reset(servers[request.param]), ledger, monkeypatch)


@pytest.fixture
def google(servers, ledger, monkeypatch):
    return Asked(reset(servers["gemini"]), ledger, monkeypatch)


def after(number):
    return lambda request: request.number > number


def of_clip(*numbers):
    hashes = {hashlib.sha256(clip(number)).hexdigest() for number in numbers}
    return lambda request: request.audio in hashes


# --- whose failure it is ----------------------------------------------------------------------------------------------

EVERYBODY = {
    "402": ("status", {"code": 402}, "402"),
    "403": ("forbidden", {}, "permission"),
    "404": ("not_found", {}, "404"),
    "400": ("bad_request", {}, "Unable to process"),
    "422": ("status", {"code": 422}, "422"),
    "what is no reply": ("body", {"body": b"<html>Log in</html>"}, "Log in"),
}


@pytest.mark.parametrize("fault, options, words", EVERYBODY.values(), ids=EVERYBODY)
def test_what_begins_in_the_midst_of_a_run_is_nobodys_clip(asked, fault, options, words):
    """Thirty good replies, then the same for all: nothing of it is final, and the same call goes on afterwards."""
    data = dataset(20)
    asked.server.fault(fault, after(30), **options)
    asked.server.latency = 0.01
    first = asked(concurrency=4).annotate(data).report
    assert not first.complete and words in first.stop_reason, first.stop_reason
    assert first.votes == 30 and not first.failures and not asked.final()
    assert len(asked.server.requests) < 70 and "No answer yet" in first.summary()
    reset(asked.server)
    again = asked(concurrency=4).annotate(data).report
    assert again.complete and again.votes == 30 and again.requests == 30 and again.stored_votes == 30


@pytest.mark.parametrize("options", [{}, {"batched": True, "batch_size": 10}], ids=["unbatched", "tens"])
@pytest.mark.parametrize("fault", ["bad_request", "forbidden"])
def test_the_guards_hold_over_batches(google, fault, options):
    google.server.fault(fault)
    with pytest.raises(AnnotationIncomplete):
        dataset(30).map(google(), **options)
    assert len(google.server.requests) < 40 and not google.final()
    google.server.script.clear()
    found = dataset(30).map(google(), **options)
    assert [len(entry) for entry in votes(found).values()] == [3] * 30


@pytest.mark.parametrize("fault, options", [("status", {"code": 500}), ("reset_after", {}), ("bad_request", {})])
def test_five_clips_of_a_service_that_is_not_there_are_not_final(asked, fault, options):
    asked.server.fault(fault, **options)
    report = asked(max_tries=2, patience_s=0.3).annotate(dataset(5)).report
    assert not report.complete and report.stop_reason and not report.failures and not asked.final()
    reset(asked.server)
    assert asked().annotate(dataset(5)).report.votes == 15


def test_a_dead_port_is_never_final(ledger):
    backend = OpenAIBackend("gpt-audio", base_url="http://127.0.0.1:9/v1")
    report = annotator(backend, ledger, max_tries=2, patience_s=0.3).annotate(dataset(5)).report
    assert not report.complete and report.cost_usd == 0 and not any(r.final for r in Ledger(ledger).records())


OWN = {
    "403": ("status", {"code": 403}, "rejected"),
    "400": ("bad_request", {}, "rejected"),
    "500": ("status", {"code": 500}, "server"),
    "503": ("status", {"code": 503}, "overloaded"),
    "a time-out": ("never", {}, "timeout"),
    "what is no reply": ("body", {"body": b"[]"}, "unreadable"),
}


@pytest.mark.parametrize("fault, options, outcome", OWN.values(), ids=OWN)
@pytest.mark.parametrize("place", [0, 3, 7], ids=["first", "middle", "last"])
def test_what_one_clip_meets_is_its_own(google, fault, options, outcome, place):
    google.server.fault(fault, of_clip(place), **options)
    run = {"max_tries": 2, "timeout_s": 0.2, "concurrency": 4, "first_backoff_s": 0.01}
    report = google(**run).annotate(dataset(8)).report
    assert report.complete and report.votes == 21, report.summary()
    assert report.failures == {outcome: [f"u{place:03d}"] * 3} and len(google.final()) == 3
    server = google.server
    before = server.count
    again = google(**run).annotate(dataset(8)).report
    assert again.complete and server.count == before and again.failures == report.failures


def test_one_clips_own_refusal_does_not_stop_a_map_of_single_rows(google):
    google.server.fault("forbidden", of_clip(0, 4))
    found = dataset(8).map(google())
    assert [len(entry) for entry in votes(found).values()] == [0, 3, 3, 3, 0, 3, 3, 3]
    # The first one had nobody beside it; the second had.
    assert {record.row_id for record in google.final()} == {"u004"}
    again = google().annotate(dataset(8)).report
    assert again.complete and {record.row_id for record in google.final()} == {"u000", "u004"}


def test_the_word_of_another_process_counts(google):
    """Who has nobody beside it asks the ledger whether others are answered meanwhile."""
    google.server.fault("bad_request", of_clip(0))
    google.server.latency = 0.05
    Ledger(google.ledger)

    async def both():
        return await asyncio.gather(
            asyncio.to_thread(lambda: google().annotate(dataset(1)).report),
            asyncio.to_thread(lambda: google(concurrency=1).annotate(dataset(dataset(12).to_list()[1:])).report),
        )

    alone, other = asyncio.run(both())
    assert other.complete and other.votes == 33
    # What of it is final by the time depends on when the other one's answers came; nothing but that clip's ever is.
    assert all((record.row_id, record.outcome) == ("u000", "rejected") for record in google.final())
    assert not alone.votes


def test_a_run_in_which_most_tries_bring_no_vote_stops(google):
    google.server.fault("text", lambda request: request.number % 3, text="It is hard to say, really.")
    report = google(num_annotations=4, concurrency=16).annotate(dataset(120)).report
    assert not report.complete and "brought no vote" in report.stop_reason and "hard to say" in report.stop_reason
    assert WINDOW <= report.requests < WINDOW + 40
    whole = google(num_annotations=4, max_failure_rate=1).annotate(dataset(120)).report
    # What came since the last vote is asked again: it is not known to be its clip's.
    again = sum(map(len, report.unfinished.values()))
    assert whole.complete and again < 40 and whole.requests == 480 - report.requests + again


NO_VOTE = {
    "empty": ("no_text", {}, "no text"),
    "out of credits": ("text", {"text": "You have run out of credits. Please top up."}, "run out of credits"),
    "no candidates": ("no_candidates", {}, "empty"),
    "withheld": ("safety", {}, "blocked"),
}


@pytest.mark.parametrize("fault, options, words", NO_VOTE.values(), ids=NO_VOTE)
def test_replies_without_a_vote_that_begin_in_the_midst_are_nobodys_clips(asked, fault, options, words):
    """They are paid for and stored, and asked again when it is mended; that run had fewer tries than the window."""
    data = dataset(20)
    asked.server.fault(fault, after(30), **options)
    asked.server.latency = 0.01
    first = asked(concurrency=4).annotate(data).report
    assert not first.complete and "answers nobody with a vote" in first.stop_reason, first.stop_reason
    # A race between two that are sent together: what was asked before the last vote is a clip's.
    assert first.votes == 30 and sum(map(len, first.failures.values())) == len(asked.final()) <= 3
    assert len(asked.server.requests) < 60 and sum(map(len, first.unfinished.values())) >= 8
    assert Ledger(asked.ledger).spending().replies == len(asked.server.requests)
    reset(asked.server)
    again = asked(concurrency=4).annotate(data).report
    assert again.complete and again.votes == again.requests == 30 - len(asked.final())


def test_a_short_run_in_which_most_requests_bring_no_vote_is_not_complete(google):
    google.server.fault("no_text", lambda request: request.number % 5 > 1)
    report = google(concurrency=2).annotate(dataset(12)).report
    assert not report.complete and "% of the last requests brought no vote" in report.stop_reason
    assert report.requests == 36 and report.unfinished["empty"] and "angry" not in report.stop_reason
    reset(google.server)
    again = google().annotate(dataset(12)).report
    assert again.complete and again.votes == len(report.unfinished["empty"])


def test_clips_that_get_no_vote_among_others_that_do_are_final(google):
    google.server.fault("no_text", of_clip(0, 3, 7))
    report = google(concurrency=4).annotate(dataset(8)).report
    assert report.complete and report.votes == 15 and report.requests == 24
    assert len(google.final()) == 9 and Ledger(google.ledger).spending().reserved_tokens == 0
    assert google().annotate(dataset(8)).report.requests == 0


def test_a_model_that_changes_in_the_midst_of_a_run_is_asked_again(asked):
    asked.server.fault("other_model", after(20), model="another-one")
    asked.server.latency = 0.01
    first = asked(concurrency=4).annotate(dataset(20)).report
    assert "another-one answered" in first.stop_reason and first.votes == 20 and not first.failures
    reset(asked.server)
    again = asked().annotate(dataset(20)).report
    assert again.complete and again.votes == again.requests == 40


def test_other_models_replies_are_won_back_unpaid(asked):
    asked.server.fault("other_model", after(20), model="another-one")
    asked.server.latency = 0.01
    first = asked(concurrency=4).annotate(dataset(20)).report
    kept = len(first.unfinished["other_model"])
    again = asked(answers_as=["another-one"]).annotate(dataset(20)).report
    assert again.complete and kept >= 1 and again.requests == 40 - kept


MEMBERS = [{"focus": "the melody"}, {"focus": "the loudness"}, {"focus": "the tempo"}]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("way", ["annotate", "map"])
def test_a_member_that_the_service_refuses_is_told_and_nothing_of_it_is_final(asked, place, way):
    """Others are answered all the while: it is not the clips, though it is all of them."""
    if asked.openai:
        asked.server.fault("bad_request", lambda request: MEMBERS[place]["focus"] in request.text)
    else:
        asked.server.fault("no_text", lambda request: MEMBERS[place]["focus"] in request.text)
    data = dataset(30)

    def once():
        if way == "annotate":
            return asked(panel=MEMBERS, concurrency=4).annotate(data).report
        with pytest.raises(AnnotationIncomplete) as caught:
            data.map(asked(panel=MEMBERS, concurrency=4), batched=True)
        return caught.value.report

    report = once()
    if way == "annotate" and place == 0:  # nobody else was asked before it
        assert "answers nobody" in report.stop_reason and not report.failures and not asked.final()
        return
    assert "a member of the panel gets no vote" in report.stop_reason and MEMBERS[place]["focus"] in report.stop_reason
    assert "change that member" in report.mend and not report.failures and not asked.final()
    assert report.votes == 60 and sum(map(len, report.unfinished.values())) < 30
    reset(asked.server)
    again = asked(panel=MEMBERS).annotate(data).report
    assert again.complete and again.votes == again.requests == 30


def test_few_clips_that_a_member_is_refused_are_not_final_either(google):
    google.server.fault("bad_request", lambda request: "the loudness" in request.text)
    report = google(panel=MEMBERS).annotate(dataset(4)).report
    assert not report.complete and report.votes == 8 and not google.final()
    assert report.unfinished == {"rejected": report.unfinished["rejected"]} and len(google.server.requests) < 20


@pytest.mark.parametrize("fault", ["forbidden", "not_found"])
def test_a_few_more_clips_are_asked_before_a_run_is_stopped_from_the_start(google, fault):
    """Those that are first in the order are refused for themselves."""
    denied = set()

    def own(request):
        if len(denied) < 3:
            denied.add(request.audio)
        return request.audio in denied

    google.server.fault(fault, own)
    report = google().annotate(dataset(20)).report
    assert report.complete and report.votes == 51 and report.failures.keys() == {"rejected"}


def test_a_rerun_asks_others_first(google):
    google.server.fault("forbidden")
    first = google().annotate(dataset(20)).report
    assert not first.complete and len(google.server.requests) == 4
    denied = {request.audio for request in google.server.requests}
    reset(google.server).fault("forbidden", lambda request: request.audio in denied)
    again = google().annotate(dataset(20)).report
    assert google.server.requests[0].audio not in denied
    assert again.complete and again.votes == 48 and len(google.final()) == 12


def test_where_most_clips_are_refused_for_themselves_the_same_call_comes_to_an_end(google):
    def own(request):
        return int(request.audio[:2], 16) % 5 < 3

    google.server.fault("bad_request", own)
    data, reports = dataset(40), []
    while not reports or not reports[-1].complete:
        reports.append(google(num_annotations=8).annotate(data).report)
        assert len(reports) < 5
    assert "brought no vote" in reports[0].stop_reason
    refused = {request.audio for request in google.server.requests if own(request)}
    assert len(google.final()) == 8 * len(refused) > 160
    controls = sum(not own(request) for request in google.server.requests) - 8 * (40 - len(refused))
    assert controls <= 8 * len(reports)
    assert google(num_annotations=8).annotate(data).report.requests == 0


def test_who_is_killed_before_the_last_word_has_paid_for_nothing_that_is_final(ledger):
    """A reply is in the ledger at once, and open: nobody asks for it meanwhile, and nobody takes it for its clip's."""
    backend = ScriptedBackend(lambda number, *_: Answer(None, "empty", usage=Usage(100, 50, 0, 0)))
    run = annotator(backend, ledger)
    (job, *_) = [job for row in run.utterances(dataset(1)) for job in run.jobs(row, RunReport())]
    mine, other = Ledger(ledger), Ledger(ledger)
    mine.reserve([Claim(job.key, 0.5, 100)])
    mine.store_open(Record(job.key, "empty", prompt_tokens=100, cost_usd=0.1, final=False))
    assert other.reserve([Claim(job.key)]).busy == [job.key] and other.spending().reserved_cost_usd == 0
    mine.close()
    assert not next(other.records()).final and other.reserve([Claim(job.key)]).granted == [job.key]
    other.confirm([job.key])
    assert next(other.records()).final and other.reserve([Claim(job.key)]).stored.keys() == {job.key}


def test_a_backends_own_exception_is_said_and_never_asked_twice(ledger):
    def script(number, request, audio):
        return KeyError("mood") if audio.digest == broken else "happy"

    backend = ScriptedBackend(script)
    broken = backend.prepare({"bytes": clip(1), "path": None}).digest
    report = annotator(backend, ledger).annotate(dataset(6)).report
    assert report.complete and report.failures == {"error": ["u001"] * 3} and backend.sent in (18, 19)
    assert {r.detail for r in Ledger(ledger).records() if r.outcome == "error"} == {"KeyError: 'mood'"}
    always = ScriptedBackend(lambda *_: asyncio.InvalidStateError())
    stopped = annotator(always, ledger.with_name("two"), concurrency=4).annotate(dataset(30)).report
    assert "InvalidStateError" in stopped.stop_reason and not stopped.complete and always.sent < 40
    assert not any(record.final for record in Ledger(ledger.with_name("two")).records())


def test_a_client_that_cancels_itself_has_lost_its_connection(ledger):
    backend = ScriptedBackend(lambda number, *_: asyncio.CancelledError() if number % 5 == 1 else "happy")
    report = annotator(backend, ledger).annotate(dataset(4)).report
    assert report.complete and report.votes == 12 and report.transport_errors["connection"] > 0


def test_every_meaning_is_of_a_known_outcome():
    kinds = set(MEANINGS) - {"answer", "no vote", "fatal", "payment"}
    assert kinds <= set(FAILURES)


# --- what it costs ----------------------------------------------------------------------------------------------------

# The most that one reply of the server can cost: 4,096 tokens at $2.50 a million, and the prompt.
DEAREST = 0.0115
USAGES = {
    "nothing": None,
    "negative": {"promptTokenCount": -4_000_000_000, "candidatesTokenCount": 1},
    "negative thoughts": {"promptTokenCount": 196, "candidatesTokenCount": 3, "thoughtsTokenCount": -4096},
    "absurd": {"promptTokenCount": 10**12, "candidatesTokenCount": 10**12},
    "no output": {"promptTokenCount": 196},
    "thoughts in the total alone": {"promptTokenCount": 196, "candidatesTokenCount": 3, "totalTokenCount": 196 + 4096},
    "a total beyond the bound": {"promptTokenCount": 196, "candidatesTokenCount": 3, "totalTokenCount": 10**9},
    "thoughts alone": {"thoughtsTokenCount": 4000},
    "zero": {"promptTokenCount": 0, "candidatesTokenCount": 0, "totalTokenCount": 0},
    "words": {"promptTokenCount": "many", "candidatesTokenCount": "3"},
}


@pytest.mark.parametrize("usage", USAGES.values(), ids=USAGES)
@pytest.mark.parametrize("cap", [{"max_cost_usd": 0.05}, {"max_tokens": 20_000}], ids=["dollars", "tokens"])
def test_a_cap_holds_whatever_replies_say(google, usage, cap):
    """The server generates all that it may, and says otherwise."""

    def without(request):
        reply = google.server.generated(request)
        body = json.loads(reply.body)
        body.pop("usageMetadata")
        reply.body = json.dumps(body if usage is None else {**body, "usageMetadata": usage}).encode()
        return reply

    google.server.fault_usage = without
    google.server.fault("usage")
    report = google(concurrency=4, **cap).annotate(dataset(30)).report
    assert "budget is used up" in report.stop_reason
    replies = len(google.server.requests)
    spent = Ledger(google.ledger).spending()
    if "max_cost_usd" in cap:
        assert replies * DEAREST <= 0.05 + 4 * DEAREST and 0.03 < spent.cost_usd <= 0.05
    else:
        assert replies * 4096 <= 20_000 + 4 * 4096 and 12_000 < spent.tokens <= 20_000
    if usage is not None and usage.get("totalTokenCount") == 196 + 4096:  # it was stated, in its way
        assert {record.thinking_tokens for record in Ledger(google.ledger).records()} == {4093}
        return
    assert report.assumed_tokens > 0 and "Not stated by the service" in report.summary()
    assert all(record.assumed_usd > 0 for record in Ledger(google.ledger).records())


LATE = {"time-outs": ("slow", {"seconds": 0.6}), "broken connections": ("reset_after", {})}


@pytest.mark.parametrize("fault, options", LATE.values(), ids=LATE)
def test_a_cap_holds_for_replies_that_nobody_received(asked, fault, options):
    """What the server generated after we had left is paid for all the same."""
    cap = 0.05
    # OpenAI's server counts 96 tokens of audio, and 512 may be written.
    dearest = 96 * 32e-6 + 100 * 2.5e-6 + 512 * 10e-6 if asked.openai else DEAREST
    asked.server.fault(fault, **options)
    run = asked(concurrency=4, timeout_s=0.1, max_cost_usd=cap, max_tries=20, patience_s=5.0, max_failure_rate=1)
    report = run.annotate(dataset(30)).report
    assert not report.complete and "budget is used up" in report.stop_reason, report.stop_reason
    assert len(asked.server.requests) * dearest <= cap + 4 * dearest
    spent = Ledger(asked.ledger).spending()
    assert spent.cost_usd <= cap and report.cost_usd == pytest.approx(spent.cost_usd) == report.assumed_usd
    # On a busy machine one may be given up before the server has read it.
    assert report.charged_tries >= len(asked.server.requests) and spent.reserved_cost_usd == 0
    assert not asked.final()


CHARGES = {
    "as stated": (Usage(200, 100, 10, 5), 0.0, 0),
    "nothing": (Usage(), 1.0, 1600),
    "no output": (Usage(200, 100, 10, None), 490 / 1600, 490),
    "no prompt": (Usage(None, None, 10, 5), 1100 / 1600, 1100),
    "negative": (Usage(-200, 100, 10, 5), 1.0, 1600),
    "more than was asked": (Usage(9000, 100, 10, 5), 1.0, 1600),
    "fewer than were heard": (Usage(10, 10, 10, 5), 1.0, 1600),
}


@pytest.mark.parametrize("stated, share, tokens", CHARGES.values(), ids=CHARGES)
def test_what_is_not_stated_is_charged_as_the_bound(stated, share, tokens):
    from test_runner import priced

    bound = Usage(1100, 400, 0, 500)
    found = charge(stated, bound, priced(), seconds=3.0, text="sad")
    assert found.assumed_usd == pytest.approx(share * 1600e-6) and found.assumed_tokens == tokens
    assert found.cost_usd == pytest.approx((tokens + found.usage.total) * 1e-6)


def test_prices_that_have_ended_still_hold_the_cap():
    import datetime
    from dataclasses import replace

    from test_runner import priced

    ended = replace(priced().prices[0], until=datetime.date(2026, 1, 2))
    bound = Usage(1100, 400, 0, 500)
    assert charge(Usage(), bound, replace(priced(), prices=(ended,))).cost_usd == pytest.approx(1600e-6)


# --- how fast ---------------------------------------------------------------------------------------------------------

OVERLOADS = {
    **{str(code): (code, 20.0, None) for code in (429, 500, 502, 503, 529)},
    "a queue": (None, 0.4, None),
    "a queue behind a proxy": (504, 20.0, 0.15),
}


@pytest.mark.parametrize("code, timeout_s, gives_up_s", mostly_slow(OVERLOADS, "429", "a queue"))
def test_an_overloaded_service_loses_nothing_and_is_not_hammered(google, code, timeout_s, gives_up_s):
    """It works on 8 at once, and 64 may be in flight."""
    with Capacity(google.server, 8, 0.05, code, gives_up_s) as capacity:
        run = google(concurrency=64, timeout_s=timeout_s, num_annotations=6)
        report = run.annotate(dataset(50)).report
    assert report.complete and report.votes == 300 and not report.failures, report.summary()
    assert len(generated(google.server)) < 1.5 * 300
    # 1.0 to 1.1 of the requests on a quiet machine; a busy one adds time-outs of its own
    assert capacity.worked < 1.5 * 300


@pytest.mark.parametrize("code", [429, 500, 503, 504])
def test_no_wait_beyond_patience_hangs_a_run(google, code):
    google.server.fault("status", lambda request: request.number == 10, code=code, headers={"retry-after": "100000"})
    began = time.monotonic()
    report = google(concurrency=4, patience_s=5.0).annotate(dataset(20)).report
    assert "asks to wait 100000 s" in report.stop_reason and "patience_s" in report.mend
    assert time.monotonic() - began < 5 and 9 <= report.votes < 20 and not google.final()


def test_the_rate_climbs_to_what_the_service_takes(google):
    with Capacity(google.server, 1000, 0.2):
        run = google(num_annotations=10)
        report = run.annotate(dataset(80)).report
    assert report.votes == 800 == report.requests
    # From 16; a busy machine makes latency grow too, which ends the climb before it is at 128.
    assert run._evidence.pace.allowed > 32


def test_a_batch_goes_on_at_the_pace_of_the_last_one(ledger):
    backend = ScriptedBackend(lambda *_: (0.01, "happy"))
    run = annotator(backend, ledger, num_annotations=10)
    dataset(8).map(run, batched=True)  # pickled for its fingerprint, and still the same
    run.annotate(dataset(30))
    assert backend.most_flying > 16


# --- the ledger -------------------------------------------------------------------------------------------------------


def test_a_pause_that_was_written_by_a_clock_that_is_ahead_does_not_hold(ledger):
    now = [1.7e9]
    ours, ahead = Ledger(ledger, clock=lambda: now[0]), Ledger(ledger, clock=lambda: now[0] + 86_400)
    from hf_emo_dist.annotation.ledger.ledger import Claim, Limits

    ahead.pause("s", 20)
    first = ours.reserve([Claim("a")], Limits(scope="s"))
    assert first.deferred and first.wait_s == pytest.approx(20)
    now[0] += 21
    assert ours.reserve([Claim("a")], Limits(scope="s")).granted
    ahead.pause("s", 1e9)
    assert ours.reserve([Claim("b")], Limits(scope="s")).wait_s <= 3600


def test_what_is_not_final_is_asked_again_and_known_as_such(ledger):
    script = {"down": True}
    backend = ScriptedBackend(lambda *_: TransientError("server", "down") if script["down"] else "happy")
    run = annotator(backend, ledger, max_tries=1)
    assert not run.annotate(dataset(2)).report.complete
    rows = Ledger(ledger).to_dataset()
    assert set(rows["final"]) == {0} and Ledger(ledger.with_name("copy")).import_dataset(rows) == len(rows)
    assert Ledger(ledger.with_name("merged")).merge(ledger) == len(rows)
    for path in ("copy", "merged"):
        assert not any(record.final for record in Ledger(ledger.with_name(path)).records())
    script["down"] = False
    assert run.annotate(dataset(2)).report.votes == 6


def test_an_answer_in_time_is_measured_from_when_it_left(ledger):
    """What a backend measures goes before what the runner saw: the wait for its turn says nothing of the service."""
    backend = ScriptedBackend(lambda *_: (0.05, Answer("happy", latency_s=0.01)))
    annotator(backend, ledger).annotate(dataset(1))
    assert {record.latency_s for record in Ledger(ledger).records()} == {0.01}


def test_the_key_is_nowhere_in_what_was_refused(google):
    google.server.fault("echo_key", key=KEY)
    report = google().annotate(dataset(6)).report
    assert not report.complete and KEY not in report.summary()
    assert all(KEY not in record.detail for record in Ledger(google.ledger).records())


def test_an_outage_in_the_midst_of_a_run_is_waited_for(google):
    """For as long as `patience_s`, by single controls; then everything comes in."""
    down = {"until": None}

    def fails(request):
        if request.number == 40:
            down["until"] = time.monotonic() + 1.0
        return down["until"] is not None and time.monotonic() < down["until"]

    google.server.fault("status", fails, code=500)
    google.server.latency = 0.02
    report = google(concurrency=8, max_tries=2, num_annotations=2, max_failure_rate=1).annotate(dataset(60)).report
    assert report.complete and report.votes == 120 and not report.failures, report.summary()


def test_what_is_computed_here_is_nobodys_bill(ledger):
    """A local model that counts no tokens: nothing is assumed of it, and no cap on tokens is used up."""
    backend = ScriptedBackend(lambda *_: Answer("happy", usage=Usage(0, 0, 0, 0)))
    report = annotator(backend, ledger, max_tokens=5_000).annotate(dataset(10)).report
    assert report.complete and report.assumed_tokens == 0 and report.cost_usd == 0
    assert "Not stated" not in report.summary()
