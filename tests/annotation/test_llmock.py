"""The backends judged by llmock, a server that others wrote: its protocol, its faults, and its verdict on the client.

The verdict alone proves little (it can pass a client that gave up), so the votes are counted too.
"""

import asyncio
import json

import pytest
from backend_setup import EMOTIONS, KEY, KEY_NAMES, SERVICES, member, prompt

from hf_emo_dist.annotation.types import Answer, FatalError, TransientError

pytest.importorskip("llmock", reason="llmock is not installed: pip install llmock==0.2.2")

from llmock.scenarios import Fail
from llmock.testing import LLMockServer
from llmock.verdict import judge


@pytest.fixture(params=["gemini", "openai"])
def service(request, monkeypatch):
    service = SERVICES[request.param]
    for name in KEY_NAMES:
        monkeypatch.delenv(name, raising=False)
    with LLMockServer() as server:
        monkeypatch.setenv(service.key_name, KEY)
        monkeypatch.setenv(service.url_name, server.base_url(service.name))
        monkeypatch.setenv("GOOGLE_GENAI_API_VERSION", "v1beta")  # the one that llmock speaks
        service.mock = server
        yield service


async def until_answered(backend, request, audio, attempts=6):
    """What a runner does, at its simplest: wait as long as the server asks, or longer each time."""
    for attempt in range(attempts):
        try:
            return await backend.ask(request, audio, 10)
        except TransientError as error:
            last = error
            await asyncio.sleep(max(error.retry_after or 0.0, 0.1 * 2**attempt))
    raise last


def run(service, count, structured="none"):
    async def main():
        backend = service.backend(capabilities={"structured": structured})
        audio = backend.prepare(service.clip(), "clip")
        requests = [backend.render(prompt(text=f"What do you hear? ({i})"), member(), {}) for i in range(count)]
        try:
            return await asyncio.gather(*(until_answered(backend, request, audio) for request in requests))
        finally:
            await backend.close()

    return asyncio.run(main())


def test_every_vote_is_had_in_spite_of_faults(service):
    scenarios = service.mock.state.scenarios
    scenarios.add(Fail(429, retry_after=1.0, times=2), Fail(503, times=2), Fail(500, times=1))
    found = run(service, 10)
    assert len(found) == 10 and all(isinstance(entry, Answer) and entry.text for entry in found)
    # its Gemini does not say which model answered
    assert {entry.model_version for entry in found} <= {service.model, None}
    records = service.mock.state.journal.records(wait=2.0)
    verdict = judge(records)
    assert verdict.faults == 5 and len(records) == 15
    verdict.assert_ok()


def test_an_enum_comes_back_in_quotes(service):
    structured = {"gemini": "enum", "openai": "json_schema"}[service.name]
    (found,) = run(service, 1, structured)
    label = json.loads(found.text)
    assert (label["emotion"] if service.name == "openai" else label) in EMOTIONS


@pytest.mark.parametrize("status, reason", [(401, "authentication"), (403, "permission"), (404, "not_found")])
def test_what_cannot_be_mended_by_waiting_is_sent_once(service, status, reason):
    service.mock.state.scenarios.add(Fail(status, times=None))
    with pytest.raises(FatalError) as caught:
        run(service, 1)
    assert caught.value.reason == reason
    records = service.mock.state.journal.records(wait=2.0)
    assert len(records) == 1
    judge(records).assert_ok()
