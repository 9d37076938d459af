"""Who answers: deployments and gateways with names of their own, and models that are not there any more."""

import logging
from datetime import date

import pytest
from annotation_setup import annotator, dataset, generated, votes
from backend_setup import KEY, SERVICES, ask, member, prompt

from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.backends.openai import OpenAIBackend
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.run.run_report import AnnotationIncomplete
from hf_emo_dist.annotation.types import FatalError


@pytest.fixture(params=SERVICES)
def service(request):
    return SERVICES[request.param]


@pytest.fixture
def server(service, monkeypatch):
    with service.server_class(key=KEY, latency=0.05) as server:
        service.environment(monkeypatch, server)
        yield server


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "votes.sqlite"


CASES = {  # asked, answered, what is passed where
    "an Azure deployment": ("my-deployment", "gpt-audio-2025-08-28", {}, {"answers_as": "gpt-audio"}),
    "a gateway": ("openai/gpt-audio", "gpt-audio", {"answers_as": ["gpt-audio"]}, {}),
    "a list of names": ("mine", "b", {}, {"answers_as": ["a", "b"]}),
}


@pytest.mark.parametrize("asked, answered, of_backend, of_annotator", CASES.values(), ids=CASES)
def test_another_name_is_said_before_the_second_request_and_its_reply_is_not_lost(
    service, server, ledger, asked, answered, of_backend, of_annotator
):
    server.fault("other_model", model=answered)
    data = dataset(8)
    first = annotator(service.backend(model=asked), ledger, concurrency=8).annotate(data).report
    assert server.count == 1
    assert first.stop_reason.startswith(f"{asked!r} was asked, and {answered} answered.")
    assert f"answers_as={[answered]!r}" in first.mend and f"--answers_as {answered}" in first.mend
    assert "present name" in first.mend

    # As the mend says: all votes, and that of the first reply is not paid for again.
    named = annotator(service.backend(model=asked, **of_backend), ledger, concurrency=8, **of_annotator)
    result = named.annotate(data)
    assert result.report.complete and server.count == 8 * 3
    assert [len(found) for found in votes(result.dataset).values()] == [3] * 8
    records = list(Ledger(ledger).records())
    assert [record.outcome for record in records[:2]] == ["other_model", "ok"] and len(records) == 25
    assert records[1].cost_usd in (0.0, None) and records[1].prompt_tokens is None
    assert Ledger(ledger).spending().tokens == sum(
        r.prompt_tokens + r.output_tokens + (r.thinking_tokens or 0) for r in records if r.prompt_tokens
    )
    # another one is still none
    server.script.clear()
    server.fault("other_model", model="gpt-other")
    other = annotator(service.backend(model=asked, **of_backend), ledger, num_annotations=4, **of_annotator)
    assert "gpt-other answered" in other.annotate(data).report.stop_reason


def test_who_is_known_is_not_asked_alone_again(service, server, ledger):
    """One request alone a run, not one a batch: the first of the second batch do not wait for each other."""
    run = annotator(service.backend(), ledger, num_annotations=4, concurrency=8)
    data = dataset(8)
    run(data[:4])
    server.gate = 8  # whoever sends fewer at once waits for ever
    assert run.run(run.utterances(data.select(range(4, 6))), total=8)[0].votes == 8
    server.gate = 0
    # and a ledger with votes knows as well
    again = annotator(service.backend(), ledger, num_annotations=4, concurrency=8)
    server.gate = 8
    assert again.run(again.utterances(data), total=32)[0].votes == 8


def test_the_first_request_holds_nobody_when_it_fails(service, server, ledger):
    server.fault("never", when=1)
    result = annotator(service.backend(), ledger, timeout_s=0.3, concurrency=8).annotate(dataset(4))
    assert result.report.complete and result.report.votes == 12


def vertex(monkeypatch, server, model="gemini-2.5-pro", **options):
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_API_KEY", KEY)
    monkeypatch.setenv("GOOGLE_VERTEX_BASE_URL", server.url)
    for name in ("GOOGLE_CLOUD_PROJECT", "GOOGLE_CLOUD_LOCATION"):
        monkeypatch.delenv(name, raising=False)
    return GeminiBackend(model, **options)


RETIRED = {  # service, model, last day on which it is asked, what is said
    "the Developer API": ("gemini", "gemini-2.5-pro", date(2026, 11, 30), "gemini-3.8-flash answers its name"),
    "Vertex AI": ("vertex", "gemini-2.5-pro", date(2026, 10, 15), "its name answers 404"),
    "OpenAI": ("openai", "gpt-audio", date(2027, 1, 19), "such as gpt-audio-1.5"),
}


@pytest.mark.parametrize("kind, model, last, said", RETIRED.values(), ids=RETIRED)
def test_a_retired_model_is_not_asked(monkeypatch, ledger, kind, model, last, said, caplog):
    service = SERVICES["openai" if kind == "openai" else "gemini"]
    with service.server_class(key=KEY) as server:
        service.environment(monkeypatch, server)
        backend = vertex(monkeypatch, server, model) if kind == "vertex" else service.backend(model=model)
        if kind == "openai":  # a local server is not OpenAI, and its dates are not OpenAI's
            backend = service.backend(
                model=model, capabilities={"retired_on": date(2027, 1, 20), "replaced_by": "gpt-audio-1.5"}
            )
        day = last.replace(day=1)
        data = dataset(3)
        before = annotator(backend, ledger, num_annotations=2, today=day)
        assert before.estimate(data).no_vote == "" and before.annotate(data.select([0])).report.votes == 2
        sent = server.count

        after = date.fromordinal(last.toordinal() + 1)
        caplog.clear()
        run = annotator(backend, ledger, num_annotations=2, today=after)
        assert caplog.text.count("It is not asked") == 1
        estimate = run.estimate(data)
        assert estimate.requests == 4 and said in estimate.no_vote
        assert estimate.table().startswith("NO VOTE WOULD COME") and "NO VOTE WOULD COME" in estimate.summary()
        result = run.annotate(data)
        assert said in result.report.stop_reason + result.report.mend and "--capabilities" in result.report.mend
        assert [len(found) for found in votes(result.dataset).values()] == [2, 0, 0]
        assert result.report.requests == 0
        with pytest.raises(AnnotationIncomplete, match="hf-emo-dist models"):
            run(data[:3])
        with pytest.raises(AnnotationIncomplete):
            run.estimate(data, pilot=2)
        # what is all there is read as ever
        assert run.annotate(data.select([0])).report.complete
        assert run.estimate(data.select([0])).no_vote == ""
        assert server.count == sent, "something was sent"
        told = type(backend)(model, capabilities={"retired_on": None})
        assert annotator(told, ledger, num_annotations=2, today=after).annotate(data).report.complete


def test_dates_are_those_of_the_service_that_is_asked(monkeypatch):
    with SERVICES["gemini"].server_class(key=KEY) as server:
        SERVICES["gemini"].environment(monkeypatch, server)
        assert GeminiBackend("gemini-2.5-flash").capabilities.retired_on == date(2026, 12, 1)
        assert vertex(monkeypatch, server, "gemini-2.5-flash").capabilities.retired_on == date(2026, 10, 16)
    for name in ("OPENAI_BASE_URL",):
        monkeypatch.delenv(name, raising=False)
    assert OpenAIBackend("gpt-audio").capabilities.retired_on == date(2027, 1, 20)
    assert OpenAIBackend("gpt-audio", base_url="https://gateway.example/v1").capabilities.retired_on is None


def test_a_retired_name_on_vertex_answers_404_and_that_is_said(monkeypatch):
    with SERVICES["gemini"].server_class(key=KEY) as server:
        SERVICES["gemini"].environment(monkeypatch, server)
        server.fault("not_found")
        backend = vertex(monkeypatch, server)
        (found,) = ask(backend, backend.prepare(SERVICES["gemini"].clip()))
        assert isinstance(found, FatalError) and found.reason == "not_found"
        assert str(found) == (
            "There is no model 'gemini-2.5-pro' here: 404 NOT_FOUND: models/gemini-2.5-pro is not found for API "
            "version v1beta. It is listed as ending on 2026-10-16 on Vertex AI, where a retired name answers 404. "
            "Mend: pass model= with a current name, such as its successor gemini-3.8-flash; hf-emo-dist models lists "
            "them."
        )


def test_names_change_no_key(service, server):
    """A reply that was paid for under one name is found under the other."""
    plain, named = service.backend(), service.backend(answers_as=["x"], long_audio="truncate")
    assert plain.render(prompt(), member(), {}) == named.render(prompt(), member(), {})


def test_old_facts_are_told_once(service, server, ledger, caplog):
    caplog.set_level(logging.WARNING)
    run = annotator(service.backend(model=service.model), ledger, num_annotations=1, today=date(2026, 11, 26))
    run.estimate(dataset(1))
    run.annotate(dataset(1))
    told = [record.message for record in caplog.records if "Older than two months" in record.message]
    if service.name == "gemini":
        assert len(told) == 1 and "prices (https://ai.google.dev/gemini-api/docs/pricing, read 2026-07-01)" in told[0]
        assert "--prices" in told[0]
    else:  # of a server of one's own little is known
        assert not told
    assert len(generated(server)) <= 1
