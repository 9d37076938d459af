from dataclasses import replace
from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emo_dist.annotation.capabilities import (
    DEFAULT_GEMINI_MODEL,
    MODELS,
    PAPER_GEMINI_MODEL,
    SERVICES,
    ModelCapabilities,
    capabilities_of,
    cost_usd,
    resolve_capabilities,
    same_family,
)
from hf_emo_dist.annotation.run.estimate import usage_at_most
from hf_emo_dist.annotation.types import Usage

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
]


@pytest.mark.parametrize("requested, answered", SAME)
def test_versions_of_a_model_are_one_family(requested, answered):
    assert same_family(requested, answered)


@pytest.mark.parametrize("requested, answered", OTHER)
def test_other_models_are_not(requested, answered):
    assert not same_family(requested, answered)


@given(st.text(max_size=30))
def test_every_name_is_of_its_own_family(name):
    assert same_family(name, name)


@given(st.sampled_from(sorted(MODELS)), st.sampled_from(sorted(MODELS)))
def test_models_of_the_table_are_families_of_their_own(one, other):
    assert same_family(one, other) == (one == other)


@given(st.text("abcXYZ/-0123456789.", max_size=20), st.text("abcXYZ/-0123456789.", max_size=20))
def test_names_of_other_servers_must_be_equal(one, other):
    assert same_family(one, other) == (one == other)


def test_the_default_model_is_current_and_the_papers_is_not():
    default, paper = capabilities_of("gemini", DEFAULT_GEMINI_MODEL), capabilities_of("gemini", PAPER_GEMINI_MODEL)
    assert default.known and default.audio and default.retired_on is None
    assert paper.temperature
    assert not paper.is_retired(date(2026, 11, 30)) and paper.is_retired(date(2026, 12, 1))
    assert paper.replaced_by == "gemini-3.8-flash"


def test_the_table_is_sound():
    for name, has in MODELS.items():
        assert has.model == name and has.known and has.audio, name
        ends = [price.until for price in has.prices]
        assert None not in ends[:-1] and ends[:-1] == sorted(ends[:-1]), name
        for price in has.prices:
            assert min(price.text_in, price.audio_in, price.output) > 0
            assert price.source.startswith("https://") and price.as_of <= date(2027, 12, 31)
        if has.thinking.levels:
            assert has.thinking.least == has.thinking.levels[0], name
    assert all("https://" in service.terms for service in SERVICES.values())


def test_prices_change_on_their_day():
    has = MODELS["gemini-3.8-flash"]
    usage = Usage(prompt_tokens=1_000_000, audio_tokens=400_000, thinking_tokens=600_000, output_tokens=400_000)
    assert cost_usd(usage, has, date(2026, 12, 31)) == pytest.approx(0.75 + 3.75)
    assert cost_usd(usage, has, date(2027, 1, 1)) == pytest.approx(1.50 + 7.50)
    ended = replace(has, prices=has.prices[:1])
    assert cost_usd(usage, ended, date(2027, 1, 1)) is None


def test_audio_has_its_own_price():
    has = MODELS["gpt-audio"]
    assert cost_usd(Usage(1_000_000, 250_000, None, 0), has, date(2026, 12, 1)) == pytest.approx(0.25 * 32 + 0.75 * 2.5)
    # untold audio is not taken for text
    assert cost_usd(Usage(1_000_000, None, None, 0), has, date(2026, 12, 1)) == pytest.approx(32)


def test_unknown_is_unknown():
    for service, model in (("gemini", "gemini-9-flash"), ("openai", "gpt-9"), ("openai-compatible", "my-model")):
        has = capabilities_of(service, model)
        assert not has.known and has.model == model and has.structured == "none" and has.prices == ()
        assert cost_usd(Usage(10, 5, 0, 1), has, date(2026, 12, 1)) is None
    assert cost_usd(Usage(), MODELS["gpt-audio"], date(2026, 12, 1)) is None
    # a name of the other service is not looked up
    assert not capabilities_of("openai", "gemini-2.5-pro").known
    assert capabilities_of("gemini", "models/gemini-2.5-pro-002").known


def test_users_describe_models():
    own = ModelCapabilities("mine", temperature=True)
    assert resolve_capabilities("openai", "mine", own) is own
    has = resolve_capabilities("gemini", "gemini-9-flash", {"structured": "enum"})
    assert has.structured == "enum" and has.known
    with pytest.raises(ValueError, match="temprature"):
        resolve_capabilities("gemini", "gemini-9-flash", {"temprature": True})


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


def test_prices_end_but_not_before_they_were_read():
    for has in MODELS.values():
        for price in has.prices:
            assert price.until is None or price.until > price.as_of + timedelta(days=1)
