"""What only Gemini has: schemas, thinking, safety settings, the Files API, Vertex AI, its own error forms."""

import asyncio
import contextlib
import hashlib
import logging
import pickle
import sys

import pytest
from backend_setup import EMOTIONS, KEY, KEY_NAMES, SERVICES, ask, member, noise, prompt
from gemini_server import GeminiServer

from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.types import Answer, FatalError, TransientError
from hf_emo_dist.audio.clips import encode_flac
from hf_emo_dist.audio.decoding import AudioError


@pytest.fixture
def server(monkeypatch):
    with GeminiServer(key=KEY) as server:
        SERVICES["gemini"].environment(monkeypatch, server)
        yield server


AUDIO = GeminiBackend().prepare(encode_flac(noise()), "clip")


def sent(server, backend, **settings):
    (found,) = ask(backend, AUDIO, **settings)
    assert found.failure is None, found
    return server.requests[-1].config


def test_the_form_of_the_answer_is_a_schema(server):
    config = sent(server, GeminiBackend(), mode="label")
    assert config["responseMimeType"] == "text/x.enum"
    assert config["responseSchema"] == {"type": "STRING", "enum": list(EMOTIONS)}
    config = sent(server, GeminiBackend(), mode="distribution")
    schema = config["responseSchema"]
    assert config["responseMimeType"] == "application/json" and schema["type"] == "OBJECT"
    assert schema["required"] == schema["propertyOrdering"] == list(EMOTIONS)
    assert {entry["type"] for entry in schema["properties"].values()} == {"NUMBER"}
    assert (schema["properties"]["sad"]["minimum"], schema["properties"]["sad"]["maximum"]) == (0, 1)
    config = sent(server, GeminiBackend(capabilities={"structured": "json_schema"}), mode="label")
    assert config["responseMimeType"] == "application/json" and config["responseSchema"]["enum"] == list(EMOTIONS)
    config = sent(server, GeminiBackend("gemini-9-flash"), mode="label")
    assert not {"responseSchema", "responseMimeType", "thinkingConfig", "temperature"} & set(config)


THINKING = {
    ("gemini-3.8-flash", None): {"thinkingLevel": "LOW"},
    ("gemini-3.8-flash", "high"): {"thinkingLevel": "HIGH"},
    ("gemini-3.8-flash", "default"): None,
    ("gemini-3.5-flash", None): {"thinkingLevel": "MINIMAL"},
    ("gemini-3.5-flash-lite", None): None,
    ("gemini-2.5-pro", None): {"thinkingBudget": 128},
    ("gemini-2.5-pro", -1): {"thinkingBudget": -1},
    ("gemini-2.5-flash", None): {"thinkingBudget": 0},
    ("gemini-9-flash", None): None,
    ("gemini-9-flash", "low"): {"thinkingLevel": "LOW"},
}


@pytest.mark.parametrize("model, thinking", THINKING)
def test_thinking_is_least_unless_asked_for(server, model, thinking):
    assert sent(server, GeminiBackend(model, thinking=thinking)).get("thinkingConfig") == THINKING[model, thinking]


@pytest.mark.parametrize(
    "model, thinking",
    [("gemini-2.5-pro", 0), ("gemini-2.5-pro", "low"), ("gemini-3.8-flash", "minimal"), ("gemini-3.8-flash", 100)],
)
def test_thinking_that_the_model_has_not_is_refused(model, thinking):
    with pytest.raises(ValueError, match="thinking"):
        GeminiBackend(model, thinking=thinking)


def test_gemini_3_gets_no_temperature(server):
    config = sent(server, GeminiBackend("gemini-3.8-flash"), temperature=0.3, replicate=1)
    assert not {"temperature", "topP", "topK", "seed", "candidateCount"} & set(config)


@pytest.mark.parametrize("safety, threshold", [("none", "BLOCK_NONE"), ("high", "BLOCK_ONLY_HIGH"), ("default", None)])
def test_safety_settings(server, safety, threshold):
    sent(server, GeminiBackend(safety=safety))
    settings = server.requests[-1].safety
    assert settings is None if threshold is None else {entry["threshold"] for entry in settings} == {threshold}
    with pytest.raises(ValueError, match="safety"):
        GeminiBackend(safety="some")


def test_output_is_capped(server):
    assert sent(server, GeminiBackend())["maxOutputTokens"] == 4096
    assert sent(server, GeminiBackend(max_output_tokens=100))["maxOutputTokens"] == 100


@pytest.mark.filterwarnings("ignore:SOMETHING_NEW")
def test_replies_and_errors_of_its_own(server):
    backend = GeminiBackend()
    server.fault("rate_limit", when=1, retry_delay=34.5, retry_after=90)
    server.fault("blocked_prompt", when=2)
    server.fault("safety", when=3, reason="RECITATION")
    server.fault("max_tokens", when=4)
    server.fault("safety", when=5, reason="SOMETHING_NEW")
    quota = {"error": {"code": 429, "status": "RESOURCE_EXHAUSTED", "message": "quota", "details": [
        {"@type": "type.googleapis.com/google.rpc.QuotaFailure", "violations": [{"quotaId": "Free", "quotaValue": "0"}]}
    ]}}  # fmt: skip
    server.fault("status", when=6, code=429, body=quota)
    where = {"error": {"code": 400, "status": "FAILED_PRECONDITION", "message": "User location is not supported."}}
    server.fault("status", when=7, code=400, body=where)
    found = [ask(backend, AUDIO)[0] for _ in range(7)]
    assert (
        isinstance(found[0], TransientError) and found[0].retry_after == 34.5
    )  # what Google says goes before the header
    assert [entry.failure for entry in found[1:5]] == ["blocked", "withheld", "truncated", "withheld"]
    assert "RECITATION" in found[2].detail and "4096" in found[3].detail and "SOMETHING_NEW" in found[4].detail
    assert found[3].usage.thinking_tokens == 4096
    assert isinstance(found[5], FatalError) and found[5].reason == "quota"
    assert isinstance(found[6], FatalError) and found[6].reason == "permission"


def test_thoughts_are_not_the_answer(server):
    parts = [{"text": "Let me think: sad?", "thought": True}, {"text": "hap"}, {"text": "py"}]
    server.fault_thoughts = lambda request: server.generated(request, parts=parts)
    server.fault("thoughts")
    (found,) = ask(GeminiBackend(), AUDIO)
    assert found.text == "happy"


# -- the Files API -----------------------------------------------------------------------------------------------------


@pytest.fixture
def small_inline(server):
    """A backend for which the clip is too large to go inside a request."""
    backend = GeminiBackend(capabilities={"max_inline_bytes": 101_000})
    assert not backend._fits_inline(AUDIO)
    return backend


def generated(server):
    return [request for request in server.requests if "generateContent" in request.path]


def test_a_large_clip_is_uploaded_once_for_all_members(server, small_inline):
    found = ask(small_inline, AUDIO, count=10)
    assert {entry.failure for entry in found} == {None}
    requests = generated(server)
    assert len(requests) == 10
    assert {request.where for request in requests} == {"file"}, "used before it was ready"
    assert {request.audio for request in requests} == {hashlib.sha256(AUDIO.data).hexdigest()}
    assert len([r for r in server.requests if r.headers.get("x-goog-upload-command") == "start"]) == 1
    assert server.deleted == ["files/f1"] and not server.files


def test_inline_and_file_give_the_same_request(small_inline):
    assert small_inline.render(prompt(), member(), {}) == GeminiBackend().render(prompt(), member(), {})


def test_a_file_that_is_gone_is_uploaded_again(server, small_inline):
    async def run():
        request = small_inline.render(prompt(), member(), {})
        assert (await small_inline.ask(request, AUDIO, 5)).failure is None
        server.files.clear()  # as after 48 hours
        with pytest.raises(TransientError) as caught:
            await small_inline.ask(request, AUDIO, 5)
        assert caught.value.kind == "server"
        assert (await small_inline.ask(request, AUDIO, 5)).failure is None
        await small_inline.close()

    asyncio.run(run())
    assert len(server.deleted) == 1


def test_an_upload_that_fails_is_tried_again_and_not_kept(server, small_inline):
    final = {"x-goog-upload-status": "final"}  # without it the client tries for seven seconds
    server.fault("status", when=lambda request: "/upload/" in request.path, times=1, code=503, headers=final)
    (found,) = ask(small_inline, AUDIO)
    assert isinstance(found, TransientError) and found.kind == "overloaded"
    assert [entry.failure for entry in ask(small_inline, AUDIO, count=3)] == [None] * 3


def test_files_that_nobody_waits_for_make_room(server, small_inline, caplog):
    async def run():
        small_inline._connect().uploads._most_bytes = 2 * len(AUDIO.data)
        for seed in range(4):
            clip = small_inline.prepare(encode_flac(noise(seed=seed)), seed)
            for _ in range(3):  # as the runner does: a connection that was kept open may have been closed meanwhile
                with contextlib.suppress(TransientError):
                    found = await small_inline.ask(small_inline.render(prompt(), member(), {}), clip, 5)
                    break
            assert found.failure is None
        await asyncio.sleep(0.2)
        kept = len(server.files)
        server.fault("status", when=lambda request: request.method == "DELETE", code=500)
        caplog.set_level(logging.INFO)
        await small_inline.close()
        return kept

    assert asyncio.run(run()) <= 2
    assert "not deleted" in caplog.text


def test_a_reply_does_not_wait_for_a_file_to_be_deleted(server, small_inline):
    server.fault("never", when=lambda request: request.method == "DELETE")

    async def run():
        uploads = small_inline._connect().uploads
        uploads._most_bytes = 0
        found = await asyncio.wait_for(small_inline.ask(small_inline.render(prompt(), member(), {}), AUDIO, 5), 5)
        for task in uploads._deletions:
            task.cancel()
        return found

    assert asyncio.run(run()).failure is None


# -- Vertex AI ---------------------------------------------------------------------------------------------------------


def test_vertex_is_told_apart_by_project_and_location(monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    with pytest.raises(FatalError, match="GOOGLE_CLOUD_PROJECT"):
        GeminiBackend()
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", "europe-west4")
    backend = GeminiBackend(capabilities={"max_inline_bytes": 101_000})
    assert backend.endpoint == "https://europe-west4-aiplatform.googleapis.com/projects/mine/locations/europe-west4"
    assert "Vertex" in backend.destination and "cloud.google.com" in backend.terms
    with pytest.raises(AudioError, match=r"'a'.*Files API"):
        backend.prepare(encode_flac(noise()), "a")


@pytest.mark.parametrize("location", [None, "us-central1", "eu"])
def test_the_environments_client_is_where_the_backend_said(monkeypatch, location):
    genai = pytest.importorskip("google.genai")
    from google.oauth2.credentials import Credentials

    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "1")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    if location:
        monkeypatch.setenv("GOOGLE_CLOUD_LOCATION", location)
    planned = GeminiBackend().endpoint
    given = GeminiBackend(client=genai.Client(credentials=Credentials("token-of-mine")))
    assert planned == given.endpoint and given.vertex
    assert "token-of-mine" in given.secrets()
    assert b"token-of-mine" not in pickle.dumps(given)


def test_vertex_without_credentials_says_how_to_get_them(monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", "/nowhere.json")
    (found,) = ask(GeminiBackend(), AUDIO)
    assert isinstance(found, FatalError) and found.reason == "authentication" and "gcloud auth" in found.mend


def test_a_fake_client_will_do(server):
    class Models:
        async def generate_content(self, model, contents, config):
            raise ValueError("no such thing")

    class Fake:
        aio = type("Aio", (), {"models": Models()})()

    backend = GeminiBackend(client=Fake())
    assert backend.endpoint.startswith("client:") and backend.endpoint.endswith("Fake")
    (found,) = ask(backend, AUDIO)
    assert isinstance(found, FatalError) and found.reason == "setup"


def test_a_client_without_aiohttp_names_what_to_install(server, monkeypatch):
    monkeypatch.setitem(sys.modules, "aiohttp", None)
    (found,) = ask(GeminiBackend(), AUDIO)
    assert isinstance(found, ModuleNotFoundError) and "'hf-emo-dist[annotate]'" in str(found)


def test_answers_do_not_depend_on_the_order(server):
    texts = [prompt(text=f"What do you hear? ({i})") for i in range(6)]
    backend = GeminiBackend()
    one = ask(backend, AUDIO, prompts=texts)
    two = ask(backend, AUDIO, prompts=texts[::-1])[::-1]
    assert [entry.text for entry in one] == [entry.text for entry in two]
    assert all(isinstance(entry, Answer) for entry in one)
