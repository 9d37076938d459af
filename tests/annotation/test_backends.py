"""Gemini and OpenAI backends through their real clients, against local servers: one table of cases for both."""

import asyncio
import gc
import gzip
import hashlib
import itertools
import json
import logging
import os
import pickle
import subprocess
import sys
import time

import pytest
from backend_setup import EMOTIONS, KEY, KEY_NAMES, SERVICES, ask, everything_about, member, prompt
from http_server import label_for, shares_for

from hf_emo_dist.annotation.backends._remote import (
    endpoint_of,
    is_loopback,
    retry_after,
    scrub,
    send_in_turn,
    wait_in_words,
)
from hf_emo_dist.annotation.types import Answer, FatalError, TransientError, canonical_json


@pytest.fixture(params=SERVICES)
def service(request):
    return SERVICES[request.param]


@pytest.fixture
def server(service, monkeypatch):
    with service.server_class(key=KEY) as server:
        service.environment(monkeypatch, server)
        yield server


@pytest.fixture
def audio(service):
    return service.backend().prepare(service.clip(), "clip-1")


def answer(failure=None, text=None):
    return ("answer", failure, text)


def transient(kind, retry_after=None):
    return ("transient", kind, retry_after)


def fatal(reason, mend):
    return ("fatal", reason, mend)


def said(code, message):
    """An error in the body of a reply."""
    return {"error": {"code": code, "message": message, "status": "X"}}


HTML = {"content-type": "text/html"}
BOMB = gzip.compress(bytes(200_000_000), 1)
CASES = {
    "429 with a delay": ("rate_limit", {"retry_after": 7}, transient("rate_limit", 7.0)),
    "429 without": ("rate_limit", {}, transient("rate_limit")),
    "quota of the day": ("rate_limit", {"per_day": True}, fatal("quota", "ledger")),
    "500": ("status", {"code": 500}, transient("server")),
    "502, no JSON": ("body", {"code": 502, "body": b"<html>Bad gateway</html>", "headers": HTML}, transient("server")),
    "503": ("status", {"code": 503, "headers": {"retry-after": "3"}}, transient("overloaded", 3.0)),
    "529": ("status", {"code": 529}, transient("overloaded")),
    "429, the wait in words": ("status", {"code": 429, "body": said(429, "Please retry in 47.1s.")},
                               transient("rate_limit", 47.1)),
    "429, a date by a clock an hour off": (
        "status", {"code": 429, "headers": {"retry-after": "Fri, 01 Jan 2027 11:00:20 GMT",
                                            "date": "Fri, 01 Jan 2027 11:00:00 GMT"}}, transient("rate_limit", 20.0)),
    "402": ("status", {"code": 402}, fatal("payment", "credit")),
    "200 with an error inside": ("body", {"body": said(429, "Slow down, try again in 2 s")},
                                 transient("rate_limit", 2.0)),
    "200 with an overload inside": ("body", {"body": said(503, "Overloaded.")}, transient("overloaded")),
    "200 with an error that has no code": ("body", {"body": {"error": "upstream"}}, transient("server")),
    "200 with no credit inside": ("body", {"body": said(402, "Insufficient credits")}, fatal("payment", "credit")),
    "an endless body": ("body", {"body": b"x" * 9_000_000}, answer("unreadable")),
    "a body that unpacks to gigabytes": (
        "body", {"body": BOMB, "headers": {"content-encoding": "gzip"}}, answer("unreadable")),
    "an endless error": ("body", {"code": 500, "body": b"x" * 9_000_000}, answer("unreadable")),
    "deep JSON": ("body", {"body": b"[" * 200_000}, answer("unreadable")),
    "brackets in a text": ("text", {"text": "[" * 100_000}, answer(text="[" * 100_000)),
    "sent on to another host": (
        "status", {"code": 307, "headers": {"location": "http://elsewhere.example/v1?key=x"}},
        fatal("setup", "server's address")),
    "504": ("status", {"code": 504}, transient("timeout")),
    "524": ("status", {"code": 524}, transient("timeout")),
    "408": ("status", {"code": 408}, transient("timeout")),
    "reset before": ("reset_before", {}, transient("connection")),
    "reset after": ("reset_after", {}, transient("connection")),
    "reset in the middle": ("reset_middle", {}, transient("connection")),
    "truncated JSON": ("truncated_json", {}, answer("unreadable")),
    "JSON of another kind": ("body", {"body": b"[1, 2]"}, answer("unreadable")),
    "no JSON": ("body", {"body": b"OK", "headers": {"content-type": "text/plain"}}, answer("unreadable")),
    "empty candidates": ("no_candidates", {}, answer("empty")),
    "no text": ("no_text", {}, answer("empty")),
    "safety block": ("safety", {}, answer("blocked")),
    "thinking used up the tokens": ("max_tokens", {}, answer("truncated")),
    "another model": ("other_model", {"model": "somebody-else"}, answer()),
    "a label outside the list": ("text", {"text": "joyful"}, answer(text="joyful")),
    "another language and case": ("text", {"text": "WÜTEND"}, answer(text="WÜTEND")),
    "400 for a clip": ("bad_request", {}, answer("rejected")),
    "401": ("unauthorized", {}, fatal("authentication", "API_KEY")),
    "403": ("forbidden", {}, fatal("permission", "project")),
    "404": ("not_found", {}, fatal("not_found", "model=")),
    "invalid key": ("invalid_key", {}, fatal("authentication", "API_KEY")),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_goes_wrong_is_told_apart(service, server, audio, case):
    kind, options, (form, what, more) = CASES[case]
    server.fault(kind, times=1, **options)
    found, *_ = ask(service.backend(), audio)
    if form == "answer":
        assert isinstance(found, Answer), found
        assert found.failure == what
        assert more is None or found.text == more
        assert what is None or found.detail
    elif form == "transient":
        assert isinstance(found, TransientError), found
        assert (found.kind, found.retry_after) == (what, more)
    else:
        assert isinstance(found, FatalError), found
        assert found.reason == what and more in found.mend and found.mend in str(found)
    assert server.count == 1  # the client retries nothing by itself


def test_whether_a_try_may_have_been_billed(service, server, audio, monkeypatch):
    """What was never sent was not; what was sent, and broke off or was late, may have been."""
    billed = {}
    for fault, options in {"never": {}, "reset_after": {}, "status": {"code": 500}}.items():
        server.script.clear()
        server.fault(fault, **options)
        (found,) = ask(service.backend(), audio, timeout_s=0.3)
        billed[fault] = found.billed
    assert billed == {"never": True, "reset_after": True, "status": False}
    monkeypatch.setenv(service.url_name, "http://127.0.0.1:9/v1")
    (found,) = ask(service.backend(), audio)
    assert (found.kind, found.billed) == ("connection", False)


def test_a_server_that_sends_on_gets_no_second_request(service, server, audio):
    with service.server_class() as elsewhere:
        server.fault("status", code=307, headers={"location": elsewhere.url + "/v1/x"})
        (found,) = ask(service.backend(), audio)
        assert isinstance(found, FatalError) and elsewhere.count == 0 and "127.0.0.1" in str(found)
        # a client that was given sends no key on either
        (found,) = ask(service.backend(client=given_client(service, server)), audio)
        assert isinstance(found, FatalError) and elsewhere.count == 0


def test_the_next_request_after_a_fault_works(service, server, audio):
    backend = service.backend()
    for kind in ("reset_after", "truncated_json", "reset_middle", "safety"):
        server.fault(kind, times=1)

    async def run():
        request, outcomes = backend.render(prompt(), member(), {}), []
        for _ in range(5):
            try:
                outcomes.append((await backend.ask(request, audio, 5)).failure)
            except TransientError as error:
                outcomes.append(error.kind)
        await backend.close()
        return outcomes

    assert asyncio.run(run()) == ["connection", "unreadable", "connection", "blocked", None]


def test_a_server_that_is_silent_or_gone_is_left_in_time(service, server, audio, monkeypatch):
    server.fault("never")
    start = time.perf_counter()
    (found,) = ask(service.backend(), audio, timeout_s=0.3)
    assert (type(found), found.kind) == (TransientError, "timeout")
    assert time.perf_counter() - start < 3
    monkeypatch.setenv(service.url_name, "http://127.0.0.1:9/v1")  # nobody listens on the discard port
    (found,) = ask(service.backend(), audio)
    assert (type(found), found.kind) == (TransientError, "connection")


@pytest.mark.parametrize("mode", ["label", "distribution"])
def test_audio_arrives_intact_and_the_reply_comes_back(service, server, mode):
    backend = service.backend()
    clip = service.clip(seed=3)
    audio = backend.prepare(clip, "clip-3")
    (found,) = ask(backend, audio, mode=mode, temperature=0.4)
    (sent,) = server.requests
    digest = hashlib.sha256(clip).hexdigest()
    assert (sent.audio, sent.mime, sent.key_ok) == (digest, audio.mime, True)
    assert (sent.system, sent.text) == ("You listen.", "What do you hear? (0)")
    if mode == "label":
        assert found.text == label_for(digest, sent.text, EMOTIONS)
    elif backend.capabilities.structured != "none":
        assert json.loads(found.text) == shares_for(digest, sent.text, EMOTIONS)
    assert found.model_version == service.model
    assert (found.usage.prompt_tokens, found.usage.audio_tokens, found.usage.output_tokens) == (196, 96, 3)
    assert found.settings["temperature"] == sent.config["temperature"] == 0.4


def test_only_what_the_model_honours_is_sent(service, server):
    backend = service.backend(capabilities={"temperature": False, "seed": False})
    audio = backend.prepare(service.clip())
    request = backend.render(prompt(), member(temperature=0.4, replicate=2), {})
    assert not {"temperature", "seed"} & set(request["config"])
    (found,) = ask(backend, audio, temperature=0.4, replicate=2)
    assert not {"temperature", "seed"} & (set(server.requests[0].config) | set(found.settings))
    seeded = service.backend(capabilities={"seed": True})
    requests = [canonical_json(seeded.render(prompt(), member(replicate=i), {})) for i in range(3)]
    assert len(set(requests)) == 3
    ask(seeded, audio, replicate=2)
    assert server.requests[-1].config["seed"] == 2


def test_a_request_holds_neither_audio_nor_keys_and_is_the_same_for_the_same(service, server):
    one, two = (service.backend().render(prompt(), member(), {"id": "x"}) for _ in range(2))
    assert canonical_json(one) == canonical_json(two)
    assert KEY not in canonical_json(one)
    assert one["model"] == service.model and one["text"] in canonical_json(one)


def test_sixty_four_at_once(service, server, audio):
    server.gate = 64  # a client with fewer connections waits for ever
    found = ask(service.backend(), audio, count=64, timeout_s=30)
    assert server.count == 64
    # no reply goes to another request
    for i, entry in enumerate(found):
        assert entry.text == label_for(audio.digest, f"What do you hear? ({i})", EMOTIONS)


def test_two_event_loops_one_after_the_other(service, server, audio):
    backend = service.backend()
    first = ask(backend, audio, close=False)  # as a notebook does that is interrupted
    second = ask(backend, audio)
    assert first[0].text == second[0].text
    assert server.count == 2
    gc.collect()
    deadline = time.monotonic() + 5
    while server.connections and time.monotonic() < deadline:
        time.sleep(0.01)
    assert server.connections == 0


def test_a_closed_backend_opens_again(service, server, audio):
    backend = service.backend()
    for _ in range(2):
        (found,) = ask(backend, audio)
        assert found.failure is None


def given_client(service, server, key=KEY):
    if service.name == "gemini":
        from google import genai

        return genai.Client(api_key=key, http_options={"base_url": server.url})
    from openai import AsyncOpenAI

    return AsyncOpenAI(api_key=key, base_url=server.url + "/v1")


def test_a_given_client_is_used_and_left_open(service, server, audio, monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    client = given_client(service, server)
    backend = service.backend(client=client)
    assert backend.endpoint.startswith(server.url) and KEY in backend.secrets()
    for _ in range(2):
        (found,) = ask(backend, audio)
        assert found.failure is None
    # a retry of its own would hide the server's delay, and count twice against a rate
    server.fault("status", code=503)
    (found,) = ask(backend, audio)
    assert isinstance(found, TransientError) and server.count == 3
    assert KEY not in everything_about(backend)


def test_a_pickle_has_no_client_and_takes_the_environments(service, server, audio, monkeypatch):
    backend = service.backend()
    state = pickle.dumps(backend)
    ask(backend, audio, close=False)
    assert pickle.dumps(backend) == state, "use changes the fingerprint"
    (found,) = ask(pickle.loads(state), audio)
    assert found.failure is None

    lost = pickle.loads(pickle.dumps(service.backend(client=given_client(service, server))))
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    (found,) = ask(lost, audio)
    assert isinstance(found, FatalError) and "worker processes" in str(found) and "num_proc=1" in found.mend


def test_an_environment_that_names_another_server_is_refused(service, server, audio, monkeypatch):
    backend = service.backend()
    monkeypatch.setenv(service.url_name, "https://elsewhere.example/v1")
    (found,) = ask(backend, audio)
    assert isinstance(found, FatalError) and "elsewhere.example" in str(found)
    assert server.count == 0


def test_no_key_is_said_before_anything_is_sent(service, monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    backend = service.backend()  # a full ledger needs no key
    assert backend.endpoint.startswith("https://") and backend.destination and "https://" in backend.terms
    (found,) = ask(backend, backend.prepare(service.clip()))
    assert isinstance(found, FatalError) and found.reason == "authentication"
    assert service.key_name in found.mend and "client=" in found.mend


def test_keys_are_nowhere(service, server, audio, caplog, monkeypatch):
    caplog.set_level(logging.DEBUG)
    user = "https://user:pass-word-1@127.0.0.1:9/v1?key=query-secret-1"
    backend = service.backend()
    things = [backend]
    server.fault("echo_key", when=1, key=KEY)
    server.fault("text", when=2, text=f"angry {KEY}")
    server.fault("reset_after", when=3)
    server.fault("truncated_json", when=4)
    server.fault("bad_request", when=5)
    for _ in range(6):
        things += ask(backend, audio)
    assert len([thing for thing in things if isinstance(thing, Exception)]) == 2
    monkeypatch.setenv(service.url_name, user)
    hidden = service.backend()
    assert set(hidden.secrets()) >= {KEY, "pass-word-1", "key=query-secret-1"}
    things += [hidden, *ask(hidden, audio)]
    assert isinstance(things[-1], TransientError)
    for thing in things:
        shown = everything_about(thing)
        for secret in (KEY, "pass-word-1", "query-secret-1"):
            assert secret not in shown, thing
    assert KEY not in caplog.text and "pass-word-1" not in caplog.text
    assert "[secret]" in str(things[1]) and "[secret]" in things[2].text


def test_a_fork_opens_connections_of_its_own(service, server, audio):
    backend = service.backend()
    ask(backend, audio, close=False)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            (found,) = ask(backend, audio)
            status = 0 if found.failure is None else 2
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    (found,) = ask(backend, audio)
    assert found.failure is None and server.count == 3


def test_a_missing_client_names_what_to_install(service, server):
    module = {"gemini": "google.genai", "openai": "openai"}[service.name]
    code = f"""
import sys, asyncio
sys.modules[{module!r}] = None
from hf_emo_dist.annotation import backends
from hf_emo_dist.annotation.types import PreparedAudio
backend = getattr(backends, {service.backend_class.__name__!r})("m")
try:
    asyncio.run(backend.ask({{"config": {{}}}}, PreparedAudio(b"", "audio/wav", 1.0, "d"), 1.0))
except ModuleNotFoundError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert f"pip install 'hf-emo-dist[{service.extra}]'" in done.stdout, done.stderr
    assert server.count == 0


def test_cancelling_frees_the_turn(service, server, audio):
    server.fault("never", when=range(1, 9))
    backend = service.backend()

    async def run():
        request = backend.render(prompt(), member(), {})
        tasks = [asyncio.create_task(backend.ask(request, audio, 60)) for _ in range(8)]
        while server.count < 8:
            await asyncio.sleep(0.01)
        late = [asyncio.create_task(backend.ask(request, audio, 60)) for _ in range(3)]
        await asyncio.sleep(0)
        for task in (*tasks, *late):
            task.cancel()
        done = await asyncio.gather(*tasks, *late, return_exceptions=True)
        assert all(isinstance(entry, asyncio.CancelledError) for entry in done)
        found = await backend.ask(request, audio, 5)
        await backend.close()
        return found

    assert asyncio.run(run()).failure is None


def test_openai_servers_without_keys(monkeypatch):
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    with SERVICES["openai"].server_class() as server:
        url = server.url + "/v1"
        backend = SERVICES["openai"].backend(
            model="Qwen/Qwen2-Audio-7B-Instruct", base_url=url, capabilities={"structured": "json_schema"}
        )
        assert backend.destination is None and backend.endpoint == url
        audio = backend.prepare(SERVICES["openai"].clip())
        (found,) = ask(pickle.loads(pickle.dumps(backend)), audio, temperature=0.7, replicate=3)
        assert json.loads(found.text)["emotion"] in EMOTIONS
        config = server.requests[0].config
        assert (config["temperature"], config["seed"], config["max_tokens"]) == (0.7, 3, 512)
        schema = config["response_format"]["json_schema"]
        assert schema["strict"] and schema["schema"]["additionalProperties"] is False
        (found,) = ask(backend, audio, mode="distribution")
        assert json.loads(found.text) == shares_for(audio.digest, "What do you hear? (0)", EMOTIONS)
        server.fault("refusal")
        (found,) = ask(backend, audio)
        assert (found.text, found.failure) == (None, "refused") and "judge" in found.detail


PARTS = {
    "a list of parts": ({"content": [{"type": "text", "text": "sa"}, {"type": "text", "text": "d"}, 7]}, "sad"),
    "a number": ({"content": 7}, None),
    "no message": (None, None),
}


@pytest.mark.parametrize("message, text", PARTS.values(), ids=PARTS)
def test_content_of_openai_in_other_forms(monkeypatch, message, text):
    service = SERVICES["openai"]
    with service.server_class(key=KEY) as server:
        service.environment(monkeypatch, server)
        audio = service.backend().prepare(service.clip())
        body = {"object": "chat.completion", "model": "gpt-audio", "usage": {"prompt_tokens": "many"},
                "choices": [{"message": message, "finish_reason": "stop"}]}  # fmt: skip
        server.fault("body", body=body, times=1)
        (found,) = ask(service.backend(), audio)
        assert (found.text, found.failure) == (text, None if text else "empty")
        assert found.usage.prompt_tokens is None  # what is no count is not stated
        for usage, thinking in (
            ({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 213}, 200),  # reasoning, in the total alone
            ({"prompt_tokens": 10, "completion_tokens": 3, "total_tokens": 5}, None),
            ({"completion_tokens": 3, "total_tokens": 213}, None),
        ):
            server.fault("body", body={**body, "usage": usage}, times=1)
            (found,) = ask(service.backend(), audio)
            assert (found.usage.output_tokens, found.usage.thinking_tokens) == (3, thinking)
        body["choices"] = [{"finish_reason": "error", "error": {"code": 429, "message": "slow down"}}]
        server.fault("body", body=body, times=1)
        (found,) = ask(service.backend(), audio)
        assert isinstance(found, TransientError) and found.kind == "rate_limit"
        body["choices"] = [{"finish_reason": "error", "message": {"content": "sad"}}]
        server.fault("body", body=body, times=1)
        (found,) = ask(service.backend(), audio)
        assert isinstance(found, TransientError) and (found.kind, found.billed) == ("server", True)


def test_openais_own_models_get_its_own_names(monkeypatch):
    service = SERVICES["openai"]
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    backend = service.backend()
    assert backend.destination == "OpenAI"
    assert backend.render(prompt(), member(temperature=0.5), {})["config"] == {
        "max_completion_tokens": 512,
        "modalities": ["text"],
        "temperature": 0.5,
    }
    elsewhere = service.backend(base_url="https://notopenai.com/v1")
    assert elsewhere.destination == "the server at notopenai.com" and "OpenAI" not in elsewhere.terms


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        (scrub("key=abcdef is wrong, abc is not", ["abcdef", "abc"]), "key=[secret] is wrong, abc is not"),
        (scrub("x" * 600, []), "x" * 499 + "…"),
        (retry_after({"Retry-After": "7"}), 7.0),
        (retry_after({"retry-after-ms": "1500", "Retry-After": "7"}), 1.5),
        (retry_after({"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"}), 0.0),
        (retry_after({"Retry-After": "soon"}), None),
        (retry_after({"Retry-After": "inf"}), None),
        *(
            (wait_in_words(text), seconds)
            for text, seconds in {
                "Please retry in 47 s": 47.0,
                "try again in 1m30s.": 90.0,
                "Please try again in 500ms": 0.5,
                "Retry after 2 seconds": 2.0,
                "retry in 1h2m": 3720.0,
                "Please retry later; code 47 s": None,
            }.items()
        ),
        (endpoint_of("https://me:pass@Example.org/v1/?key=1"), "https://example.org/v1"),
        (endpoint_of("http://[::1]:8000/"), "http://[::1]:8000"),
        ([is_loopback(f"http://{host}:1/v1") for host in ("localhost", "127.0.0.9", "[::1]")], [True] * 3),
        ([is_loopback(f"https://{host}") for host in ("example.org", "localhost.org", "10.0.0.1")], [False] * 3),
    ],
)
def test_what_backends_share(found, wanted):
    assert found == wanted


@pytest.mark.parametrize("url", ["https://user:pass@host/v1", "https://host/v1?key=abc"])
def test_an_address_with_a_secret_is_not_taken(url):
    with pytest.raises(ValueError, match="OPENAI_BASE_URL"):
        SERVICES["openai"].backend(base_url=url)


def test_the_loop_gets_a_turn_between_two_builds():
    events = []

    async def send(name):
        events.append(name)  # what comes before the first await is the building
        await asyncio.sleep(0.02)
        return name

    async def main():
        async def tick():
            while True:
                events.append("tick")
                await asyncio.sleep(0)

        turn, ticker = asyncio.Lock(), asyncio.create_task(tick())
        found = await asyncio.gather(*(send_in_turn(turn, lambda i=i: send(i), 1.0) for i in range(8)))
        with pytest.raises(TimeoutError):
            await send_in_turn(turn, lambda: send(8), 0.001)
        ticker.cancel()
        return found

    found = asyncio.run(main())
    assert [name for name, _ in found] == list(range(8))
    # from when each left: the first of them did not wait for the building of the others
    assert all(0.02 <= seconds < 0.2 for _, seconds in found)
    builds = [i for i, event in enumerate(events) if event != "tick"]
    assert all(later - earlier > 1 for earlier, later in itertools.pairwise(builds)), events[:40]
