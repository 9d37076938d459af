"""The hearing test against local servers that hear, hear a little, or drop the audio, through the real client."""

import hashlib
import json
from datetime import date

import pytest
from annotation_setup import annotator, dataset
from hearing_server import HearingServer, backend, rows
from http_server import EMOTIONS, fingerprint

from hf_emo_dist.annotation.backends.simulated import SimulatedBackend
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete

PRICES = {"prices": {"text_in": 1, "audio_in": 2, "output": 4}}


@pytest.fixture(autouse=True)
def key(monkeypatch):
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-not-a-key")


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "votes.sqlite"


def lazy(heard, by_words):
    """Hears, and goes by the words all the same unless it hears anger."""
    return heard if heard == "angry" else by_words


STATED = {"num_annotations": 0, "num_distributions": 5}
SERVERS = {  # kind, noise, rows, options of the annotator, verdict
    "hears": ("hears", 0.0, {}, {}, "hears"),
    "hears, noisy": ("hears", 0.4, {}, {"num_annotations": 10}, "hears"),
    "hears, and goes mostly by the words": (lazy, 0.0, {}, {}, "hears"),
    "hears, states shares": ("hears", 0.0, {}, STATED, "hears"),
    "hears, four of five neutral": ("hears", 0.1, {"mostly": "neutral"}, {}, "hears"),
    "hears, four of five neutral, not known who": ("hears", 0.0, {"mostly": "neutral", "votes": False}, {}, "hears"),
    "hears, one annotator": ("hears", 0.0, {}, {"num_annotations": 1}, "hears"),
    "hears, no words": ("hears", 0.0, {"transcript": False}, {}, "hears"),
    "deaf, constant": ("constant", 0.0, {}, {}, "does not hear"),
    "deaf, by the words": ("words", 0.0, {}, {}, "does not hear"),
    "deaf, states shares that differ": ("constant", 0.0, {}, STATED, "does not hear"),
    "deaf, shares by the words": ("words", 0.0, {}, STATED, "does not hear"),
    "deaf, one annotator": ("words", 0.0, {}, {"num_annotations": 1}, "does not hear"),
    "deaf, no words": ("constant", 0.0, {"transcript": False}, {}, "does not hear"),
    "deaf, first on the list": ("first", 0.0, {}, {}, "does not hear"),
    "deaf, first on the list, not known what it is": ("first", 0.0, {"votes": False}, {}, "does not hear"),
    "deaf, by a hash of the text": ("prompt", 0.0, {}, {}, "does not hear"),
    "deaf, and noisy": ("constant", 0.5, {}, {}, "undecided"),
}


@pytest.mark.parametrize("kind, noise, content, options, verdict", SERVERS.values(), ids=SERVERS)
def test_servers(ledger, kind, noise, content, options, verdict):
    data = dataset(rows(60, **content))
    with HearingServer(kind, noise) as server:
        asked = annotator(backend(server, capabilities=PRICES), ledger, **options)
        found = asked.hearing_test(data)
        assert found.verdict == verdict, found.summary()
        assert found.clips <= 20 and len({r.audio for r in server.requests}) <= 80
        sent = server.count
        # All of it is in the ledger: asked again, it costs nothing and says the same.
        assert annotator(backend(server, capabilities=PRICES), ledger, **options).hearing_test(data) == found
        assert server.count == sent
        records = list(Ledger(ledger).records())
        assert len({record.key for record in records}) == len(records) == sent
        own = [record for record in records if record.plan == asked.plan]
        assert len(records) - len(own) == found.requests
        assert found.cost_usd == pytest.approx(sum(r.cost_usd for r in records if r.plan != asked.plan))
        # The others are nobody's votes; the run finds those that are.
        result = asked.annotate(data, hearing_test=True)
        assert result.report.hearing_test == found
        if found.stops:
            assert server.count == sent and not result.report.complete
            assert "does not hear" in result.report.stop_reason and "--no_hearing_test" in result.report.mend
            assert found.model in result.report.summary() and "of its own" in result.report.summary()
        else:
            assert result.report.complete and server.count == 60 * len(asked.members) + found.requests
            assert {len(row) for row in result.dataset["synthetic_annotations"]} == {len(asked.members)}


@pytest.mark.slow
@pytest.mark.parametrize(
    "kind, verdict", [("hears", "hears"), ("words", "does not hear"), ("constant", "does not hear")]
)
def test_over_seeds(tmp_path, kind, verdict):
    """Corpora and noises: who hears passes 19 of 20 at least and is never stopped; who does not is always caught."""
    found, seeds = [], 20 if kind == "hears" else 6
    for seed in range(seeds):
        data = dataset([{**row, "id": f"{seed}-{row['id']}"} for row in rows(46)])
        with HearingServer(kind, 0.2 if kind == "hears" else 0.0, seed) as server:
            asked = annotator(backend(server), tmp_path / f"{seed}.sqlite", num_annotations=10)
            found.append(asked.hearing_test(data))
    verdicts = [test.verdict for test in found]
    assert verdicts.count(verdict) >= (19 if kind == "hears" else seeds), verdicts
    if kind == "hears":
        assert "does not hear" not in verdicts
    assert max(test.clips for test in found) <= 20


def test_a_deaf_server_is_left_before_the_cap_is_spent(ledger):
    data = dataset(rows(60))
    options = {"num_annotations": 10, "max_cost_usd": 1.0}
    with HearingServer("words") as server:
        asked = annotator(backend(server, capabilities=PRICES), ledger, **options)
        result = asked.annotate(data, hearing_test=True)
        assert not result.report.complete and result.report.hearing_test.verdict == "does not hear"
        assert server.count == 100  # 20 clips: 60 votes that the run wants, and 40 of the test
        assert Ledger(ledger).spending().cost_usd < 0.05
        # Whoever knows better goes on, and pays for nothing twice.
        assert asked.annotate(data).report.complete and server.count == 600 + 40


def test_replicates_are_bought_where_only_they_tell_the_noise(ledger):
    class Server(HearingServer):
        """With noise of every single request, also of one that was made before."""

        def answer(self, request):
            chance = fingerprint("noise", request.number)
            return EMOTIONS[chance // 20 % 4] if chance % 20 == 0 else super().answer(request)

    data = dataset(rows(46))
    with Server("first") as server:
        asked = annotator(backend(server, capabilities=PRICES), ledger, num_annotations=10, concurrency=1)
        high = asked.estimate(data, hearing_test=True).hearing_requests.high
        found = asked.hearing_test(data)
        assert found.verdict == "does not hear", found.summary()
        assert found.requests == high == 80 and server.count == 140 and found.members == 1
        assert 0.8 < found.stay_again < 1 and "asked the very same again" in found.summary()
        bodies = [(request.audio, request.text, request.system) for request in server.requests]
        assert len(set(bodies)) == 140 - 40  # the replicates, word for word
        votes = asked.annotate(data).dataset["synthetic_annotations"]
        assert {len(row) for row in votes} == {10} and server.count == 460 + 80  # and are nobody's votes


def test_a_hearing_server_that_is_rate_limited(ledger):
    with HearingServer("hears", 0.2) as server:
        server.fault("rate_limit", when=range(5, 60, 2), retry_after_ms=10)
        result = annotator(backend(server), ledger, requests_per_minute=60_000).annotate(
            dataset(rows(46)), hearing_test=True
        )
    assert result.report.complete and result.report.hearing_test.verdict == "hears"


def test_a_cap_that_is_too_small_for_it(ledger):
    data = dataset(rows(46))
    with HearingServer("words") as server:
        small = {"max_cost_usd": 0.03, "num_annotations": 10}
        result = annotator(backend(server, capabilities=PRICES), ledger, **small).annotate(data, hearing_test=True)
        report = result.report
        assert not report.complete and "budget" in report.stop_reason
        assert report.hearing_test.verdict == "undecided" and "budget" in report.hearing_test.reason
        assert Ledger(ledger).spending().cost_usd <= 0.03
        with pytest.raises(AnnotationIncomplete, match="budget"):
            annotator(backend(server, capabilities=PRICES), ledger, **small).hearing_test(data)
        # with more money it goes on from there
        sent = server.count
        found = annotator(backend(server, capabilities=PRICES), ledger, max_cost_usd=3, num_annotations=10)
        assert found.hearing_test(data).verdict == "does not hear" and server.count == 100 > sent


FAILURES = {
    "some clips": (lambda r: r.number % 7 == 3, "does not hear", "words"),
    "all silence, hearing": (lambda r: r.quiet, "hears", "hears"),
    "all silence, deaf": (lambda r: r.quiet, "undecided", "words"),
}


@pytest.mark.parametrize("when, verdict, kind", FAILURES.values(), ids=FAILURES)
def test_failures_among_the_replies(ledger, when, verdict, kind):
    class Server(HearingServer):
        def understand(self, request):
            super().understand(request)
            request.quiet = request.audio not in clips

    data = rows(60)
    clips = {hashlib.sha256(row["audio"]["bytes"]).hexdigest() for row in data}
    with Server(kind) as server:
        server.fault("refusal", when=when)
        found = annotator(backend(server), ledger, num_annotations=10).hearing_test(dataset(data))
    assert found.verdict == verdict, found.summary()


def test_what_is_not_tested_says_why(ledger):
    with HearingServer() as server:
        few = annotator(backend(server), ledger).annotate(dataset(rows(7)), hearing_test=True).report
        assert few.complete and "skipped (7 clips can be compared, and it takes 8)" in few.summary()
        known = {"capabilities": {"retired_on": date(2026, 1, 1)}}
        assert annotator(backend(server, **known), ledger).hearing_test(dataset(rows(20))).reason == "nobody is asked"
        with pytest.raises(ValueError, match="from 8"):
            annotator(backend(server), ledger).hearing_test(dataset(rows(20)), clips=3)
    shares = {"true_distribution": {"angry": 1.0, "happy": 0.0, "neutral": 0.0, "sad": 0.0}}
    simulated = annotator(SimulatedBackend(), ledger).hearing_test(dataset([{**row, **shares} for row in rows(20)]))
    assert simulated.verdict == "skipped" and "by design" in simulated.summary()


def test_a_finished_ledger_is_not_asked_anew(ledger):
    data = dataset(rows(30))
    with HearingServer("words") as server:
        annotator(backend(server), ledger).annotate(data)
        sent = server.count
        found = annotator(backend(server), ledger).hearing_test(data)
        assert found.verdict == "skipped" and "all replies" in found.reason and server.count == sent
        assert annotator(backend(server), ledger, num_annotations=4).hearing_test(data).stops  # one more is wanted
        sent = server.count
        assert annotator(backend(server), ledger).hearing_test(data).stops and server.count == sent


def test_an_estimate_has_it(ledger):
    data = dataset(rows(60))
    with HearingServer() as server:
        asked = annotator(backend(server, capabilities=PRICES), ledger, num_annotations=10)
        without, with_it = asked.estimate(data), asked.estimate(data, hearing_test=True)
        assert (with_it.hearing_requests.low, with_it.hearing_requests.high) == (16, 80)
        assert with_it.requests == without.requests == 600
        assert with_it.cost_usd.high == pytest.approx(without.cost_usd.high * 680 / 600, rel=1e-3)
        assert "and 16 to 80 of the hearing test" in with_it.table() and "hearing" not in without.table()
        assert server.count == 0
        asked.annotate(data, hearing_test=True)
        assert asked.estimate(data, hearing_test=True).hearing_requests.high == 0


def test_the_report_is_json(ledger):
    with HearingServer() as server:
        report = annotator(backend(server), ledger).annotate(dataset(rows(20)), hearing_test=True).report
    told = json.loads(json.dumps(report.to_dict()))["hearing_test"]
    assert told["verdict"] == "hears" and told["agreement"]["own"] == 1 and told["answers"]["silence"] >= 8


def test_each_model_of_a_panel_is_tested(ledger):
    data = dataset(rows(46))
    with HearingServer() as hearing, HearingServer("words") as deaf:

        def members(server, model):
            options = {"base_url": f"{server.url}/v1"}
            return [
                {"focus": focus, "backend": "openai", "model": model, "backend_options": options}
                for focus in ("voice", "words")
            ]

        both = [*members(hearing, "good"), *members(deaf, "deaf")]
        asked = annotator(backend(hearing), ledger, panel=both)
        report = asked.annotate(data, hearing_test=True).report
        assert not report.complete and "deaf does not hear" in report.stop_reason
        assert deaf.count == 80 and hearing.count < 80
        asked = annotator(backend(hearing), ledger, panel=[*members(hearing, "good"), *members(hearing, "better")])
        report = asked.annotate(data, hearing_test=True).report
        assert report.complete and {r.hearing_test.verdict for r in report.by_model.values()} == {"hears"}
        assert "Hearing test: hears (better" in report.summary()
        assert asked.estimate(data, hearing_test=True).hearing_requests.high == 0
