"""Names of models, and what a reply costs."""

from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emo_dist.annotation.capabilities import cost_usd, may_answer, same_family
from hf_emo_dist.annotation.model_data import SERVICES, capabilities_of, service_data
from hf_emo_dist.annotation.run.estimate import usage_at_most
from hf_emo_dist.annotation.types import Usage

MODELS = {(service, name): has for service in SERVICES for name, has in service_data(service).models.items()}
SAME = [
    ("gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini-2.5-pro", "gemini-2.5-pro-002"),
    ("gemini-2.5-pro", "gemini-2.5-pro-preview-06-05"),
    ("gemini-2.5-pro", "gemini-2.5-pro-exp-0827"),
    ("gemini-2.5-pro-001", "gemini-2.5-pro-002"),
    ("gemini-2.5-flash", "gemini-2.5-flash-preview-09-2025"),
    ("models/gemini-2.5-pro", "gemini-2.5-pro"),
    ("gemini-2.5-pro", "models/gemini-2.5-pro"),
    ("publishers/google/models/gemini-3.8-flash", "gemini-3.8-flash"),
    ("projects/p/locations/l/publishers/google/models/gemini-3.8-flash", "gemini-3.8-flash-001"),
    ("gemini-3.1-pro-preview", "gemini-3.1-pro"),
    ("gemini-flash-latest", "gemini-3.8-flash"),
    ("gemini-flash-latest", "gemini-2.5-flash-preview-09-2025"),
    ("gemini-flash-latest", "gemini-flash-latest"),
    ("gemini-flash-lite-latest", "gemini-3.5-flash-lite"),
    ("gpt-audio", "gpt-audio-2025-08-28"),
    ("gpt-audio-1.5", "gpt-audio-1.5"),
    ("gpt-4o-audio-preview", "gpt-4o-audio-preview-2024-12-17"),
    ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B-Instruct"),
]
OTHER = [
    ("gemini-2.5-flash", "gemini-2.5-flash-lite"),
    ("gemini-2.5-flash-lite", "gemini-2.5-flash"),
    ("gemini-2.5-pro", "gemini-2.5-flash"),
    ("gemini-2.5-pro", "gemini-3.8-flash"),
    ("gemini-2.5-pro", "gemini-2.5-pro-preview-tts"),
    ("gemini-2.5-flash", "gemini-2.5-flash-image"),
    ("gemini-2.5-flash", "gemini-3.5-flash"),
    ("gemini-3-flash", "gemini-3.1-flash"),
    ("gemini-flash-latest", "gemini-3.5-flash-lite"),
    ("gemini-flash-latest", "gemini-3.1-pro"),
    ("gemini-flash-lite-latest", "gemini-3.8-flash"),
    ("gemini-3.8-flash", "gemini-flash-latest"),
    ("gpt-audio", "gpt-audio-mini"),
    ("gpt-audio", "gpt-audio-1.5"),
    ("gpt-audio", "gpt-audio-mini-2025-10-06"),
    ("qwen/Qwen2-Audio-7B-Instruct", "Qwen/Qwen2-Audio-7B-Instruct"),
    ("Qwen/Qwen2-Audio-7B-Instruct", "Qwen2-Audio-7B-Instruct"),
    ("my-model-001", "my-model-002"),
    ("my-model", "my-model-2025-01-01"),
    ("openai/gpt-audio", "gpt-audio"),
]


@pytest.mark.parametrize("requested, answered", SAME)
def test_versions_of_a_model_are_one_family(requested, answered):
    assert same_family(requested, answered)


@pytest.mark.parametrize("requested, answered", OTHER)
def test_other_models_are_not(requested, answered):
    assert not same_family(requested, answered)
    assert may_answer(requested, answered, ["x", answered])


def test_whoever_may_answer_may_answer_in_any_version():
    assert may_answer("my-deployment", "gpt-audio-2025-08-28", ["gpt-audio"])
    assert not may_answer("my-deployment", "gpt-audio-mini-2025-10-06", ["gpt-audio"])


@given(st.text(max_size=30))
def test_every_name_is_of_its_own_family(name):
    assert same_family(name, name)


@given(st.sampled_from(sorted(MODELS)), st.sampled_from(sorted(MODELS)))
def test_models_of_a_file_are_families_of_their_own(one, other):
    versions = "gemini-2.5-pro-preview-05-06"  # of gemini-2.5-pro, with an end of its own
    if versions not in (one[1], other[1]):
        assert same_family(one[1], other[1]) == (one[1] == other[1])


@given(st.text("abcXYZ/-0123456789.", max_size=20), st.text("abcXYZ/-0123456789.", max_size=20))
def test_names_of_other_servers_must_be_equal(one, other):
    assert same_family(one, other) == (one == other)


def test_prices_change_on_their_day():
    has = capabilities_of("gemini", "gemini-3.8-flash")
    usage = Usage(prompt_tokens=1_000_000, audio_tokens=400_000, thinking_tokens=600_000, output_tokens=400_000)
    assert cost_usd(usage, has, date(2026, 12, 31)) == pytest.approx(0.75 + 3.75)
    assert cost_usd(usage, has, date(2027, 1, 1)) == pytest.approx(1.50 + 7.50)
    ended = replace(has, prices=has.prices[:1])
    assert cost_usd(usage, ended, date(2027, 1, 1)) is None
    argon = capabilities_of("gemini", "gemini-4-argon")
    assert cost_usd(usage, argon, date(2026, 11, 30)) == pytest.approx(2 + 10)
    assert cost_usd(usage, argon, date(2026, 12, 1)) == pytest.approx(4 + 20)


def test_audio_has_its_own_price():
    has = capabilities_of("openai", "gpt-audio")
    assert cost_usd(Usage(1_000_000, 250_000, None, 0), has, date(2026, 12, 1)) == pytest.approx(0.25 * 32 + 0.75 * 2.5)
    # untold audio is not taken for text
    assert cost_usd(Usage(1_000_000, None, None, 0), has, date(2026, 12, 1)) == pytest.approx(32)
    assert cost_usd(Usage(), has, date(2026, 12, 1)) is None


@given(
    text=st.text(max_size=300),
    seconds=st.floats(0, 600),
    share=st.floats(0, 1),
    output=st.integers(0, 4096),
    day=st.dates(date(2026, 10, 1), date(2027, 12, 31)),
    name=st.sampled_from([name for name, has in MODELS.items() if has.audio_tokens_per_second and has.prices]),
)
def test_no_reply_costs_more_than_was_reserved(text, seconds, share, output, day, name):
    has = MODELS[name]
    bound = usage_at_most({"text": text, "max_tokens": 4096}, seconds, has)
    audio = round(seconds * has.audio_tokens_per_second)
    thinking = round(share * output)
    used = Usage(len(text.encode()) + 64 + audio, audio, thinking, output - thinking)
    assert cost_usd(used, has, day) <= cost_usd(bound, has, day) + 1e-12
