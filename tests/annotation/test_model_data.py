"""The files on models: sound, dated, and refused with the place of the mistake where they are not."""

import re
from datetime import date, timedelta

import pytest
import yaml

from hf_emo_dist.annotation.capabilities import (
    DEFAULT_GEMINI_MODEL,
    PAPER_GEMINI_MODEL,
    ModelCapabilities,
    Prices,
    Thinking,
)
from hf_emo_dist.annotation.model_data import (
    FOLDER,
    OLD_AFTER_DAYS,
    SERVICES,
    ModelDataError,
    capabilities_of,
    described_old,
    models_table,
    old_facts,
    read_service,
    resolve_capabilities,
    service_data,
)

MODELS = {(service, name): has for service in SERVICES for name, has in service_data(service).models.items()}


def test_every_file_is_of_a_service():
    assert {path.stem for path in FOLDER.glob("*.yaml")} == set(SERVICES)
    assert all(service_data(name).name == name for name in SERVICES)
    assert all("https://" in service_data(name).terms for name in ("gemini", "vertex", "openai"))


@pytest.mark.parametrize("key", MODELS, ids="/".join)
def test_the_data_are_sound(key):
    has = MODELS[key]
    assert has.model == key[1] and has.known and has.audio
    for price in has.prices:
        assert min(price.text_in, price.audio_in, price.output) > 0
        assert price.source.startswith("https://")
        assert price.until is None or price.until > price.as_of + timedelta(days=1)
    if has.thinking.levels:
        assert has.thinking.least == has.thinking.levels[0]
    # Each fact that is not the default of a model that nothing is known about says where it stands.
    plain = ModelCapabilities(has.model)
    told = {name for name in vars(plain) if getattr(has, name) != getattr(plain, name)}
    assert told - {"known", "notes", "sources"} <= set(dict(has.sources))
    assert all(cite.address.startswith("https://") for _, cite in has.sources)


def test_the_default_model_is_current_and_the_papers_ends():
    default, paper = capabilities_of("gemini", DEFAULT_GEMINI_MODEL), capabilities_of("gemini", PAPER_GEMINI_MODEL)
    assert default.known and default.audio and default.retired_on is None
    assert paper.temperature and paper.replaced_by == "gemini-3.8-flash"


@pytest.mark.parametrize(
    ("service", "model", "last", "answered_by"),
    [
        ("gemini", "gemini-2.5-pro", date(2026, 11, 30), "gemini-3.8-flash"),
        ("gemini", "gemini-2.5-flash-002", date(2026, 11, 30), "gemini-3.5-flash-lite"),
        ("gemini", "gemini-2.5-pro-preview-05-06", date(2025, 12, 1), None),
        ("gemini", "gemini-3.1-flash-lite", date(2027, 5, 6), None),
        ("vertex", "publishers/google/models/gemini-2.5-pro", date(2026, 10, 15), "nobody"),
        ("vertex", "gemini-2.5-flash-lite", date(2026, 10, 15), "nobody"),
        ("openai", "gpt-audio-2025-08-28", date(2027, 1, 19), None),
    ],
)
def test_each_service_has_dates_of_its_own(service, model, last, answered_by):
    has = capabilities_of(service, model)
    assert not has.is_retired(last) and has.is_retired(last + timedelta(days=1)) and has.answered_by == answered_by
    assert str(has.retired_on) in has.retirement()


def test_vertex_takes_from_the_other_what_is_not_said_of_it_and_no_dates():
    here, there = capabilities_of("vertex", "gemini-2.5-pro"), capabilities_of("gemini", "gemini-2.5-pro")
    assert (here.prices, here.thinking, here.temperature) == (there.prices, there.thinking, there.temperature)
    assert (here.logprobs, there.logprobs) == (True, False)
    assert capabilities_of("vertex", "gemini-3.8-flash").retired_on is None
    assert not capabilities_of("vertex", "gemini-4-argon").known  # nobody said that it is there


def test_unknown_is_unknown():
    for service, model in (("gemini", "gemini-9-flash"), ("openai", "gpt-9"), ("openai-compatible", "my-model")):
        has = capabilities_of(service, model)
        assert not has.known and has.model == model and has.structured == "none" and has.prices == ()
    # a name of the other service is not looked up
    assert not capabilities_of("openai", "gemini-2.5-pro").known
    assert capabilities_of("gemini", "models/gemini-2.5-pro-002").known
    assert capabilities_of("openai-compatible", "QWEN2-AUDIO-7B-INSTRUCT").longest_clip_s == 30
    with pytest.raises(ModelDataError, match=r"azure.*gemini, vertex"):
        service_data("azure")


def test_users_describe_models():
    own = ModelCapabilities("mine", temperature=True)
    assert resolve_capabilities("openai", "mine", own) is own
    given = {
        "structured": "enum",
        "thinking": {"kind": "level", "least": "low", "levels": ["low", "high"]},
        "prices": {"text_in": 1, "audio_in": 2, "output": 3.5},
        "retired_on": None,
        "audio_formats": ["flac"],
    }
    has = resolve_capabilities("gemini", "gemini-2.5-pro", given)
    assert has.structured == "enum" and has.known and has.retired_on is None and has.audio_formats == ("flac",)
    assert has.thinking == Thinking("level", "low", ("low", "high"))
    assert has.prices == (Prices(1.0, 2.0, 3.5),) and has.prices[0].described() == "prices given by the user"
    # What the user says is of today.
    assert not {"prices", "structured"} & set(old_facts(has, date(2030, 1, 1)))


WRONG = {
    "an unknown name": ({"temprature": True}, "temprature.*known are.*temperature"),
    "another type": ({"temperature": "yes"}, "temperature is 'yes'. Mend: true or false"),
    "a wrong word": ({"structured": "xml"}, "structured is 'xml'. Mend: one of enum, json_schema, none"),
    "no day": ({"retired_on": "soon"}, "retired_on is 'soon'. Mend: a day"),
    "a price that is missing": ({"prices": {"text_in": 1, "output": 3}}, "prices.*Mend: text_in, audio_in and output"),
    "a negative price": ({"prices": {"text_in": -1, "audio_in": 1, "output": 3}}, "prices.*Mend: a number from 0"),
    "no number": ({"audio_tokens_per_second": float("nan")}, "Mend: a number from 0"),
    "an unknown mode": ({"modes": ["label", "song"]}, "modes.*some of label, distribution"),
    "nothing where there must be something": ({"temperature": None}, "temperature is None"),
    "a way of thinking": ({"thinking": {"kind": "deep"}}, "thinking.*one of none, budget, level"),
}


@pytest.mark.parametrize("given, message", WRONG.values(), ids=WRONG)
def test_wrong_facts_are_named(given, message):
    with pytest.raises(ModelDataError, match=message):
        resolve_capabilities("openai", "mine", given)


FILE = {
    "service": "openai",
    "sources": {"page": {"address": "https://example.org", "read": date(2026, 11, 1)}},
    "models": {"m": {"audio": {"is": True, "source": "page"}}},
}
PRICE = {"text_in": 1, "audio_in": 1, "output": 2, "source": "page"}
BROKEN = {
    "no source": ({"m": {"audio": {"is": True}}}, "m, audio.*no source"),
    "a bare value": ({"m": {"audio": True}}, "m, audio.*no source"),
    "an unknown source": ({"m": {"audio": {"is": True, "source": "hearsay"}}}, "'hearsay'.*one of page"),
    "an unknown fact": ({"m": {"smell": {"is": True, "source": "page"}}}, "unknown name: smell"),
    "prices without source": ({"m": {"prices": [{"text_in": 1, "audio_in": 1, "output": 2}]}}, "no source None"),
    "prices out of order": ({"m": {"prices": [PRICE, {**PRICE, "until": date(2026, 12, 1)}]}}, "order of their dates"),
}


@pytest.mark.parametrize("models, message", BROKEN.values(), ids=BROKEN)
def test_a_broken_file_is_refused_with_the_place(tmp_path, models, message):
    path = tmp_path / "openai.yaml"
    path.write_text(yaml.safe_dump({**FILE, "models": models}))
    with pytest.raises(ModelDataError, match=message):
        read_service(path)


def test_a_source_has_an_address_and_a_day(tmp_path):
    path = tmp_path / "openai.yaml"
    for source in ({"address": "https://example.org"}, {"address": "https://example.org", "read": "lately"}):
        path.write_text(yaml.safe_dump({**FILE, "sources": {"page": source}}))
        with pytest.raises(ModelDataError, match=r"source page.*Mend"):
            read_service(path)
    path.write_text("service: [")
    with pytest.raises(ModelDataError, match="not YAML"):
        read_service(path)


def test_facts_grow_old(tmp_path):
    path = tmp_path / "openai.yaml"
    path.write_text(yaml.safe_dump({**FILE, "models": {"m": {**FILE["models"]["m"], "prices": [PRICE]}}}))
    has = read_service(path).models["m"]
    read = date(2026, 11, 1)
    assert old_facts(has, read + timedelta(days=OLD_AFTER_DAYS)) == {}
    old = old_facts(has, read + timedelta(days=OLD_AFTER_DAYS + 1))
    assert set(old) == {"audio", "prices"}
    assert described_old(old) == "audio, prices (https://example.org, read 2026-11-01)"


def test_the_table_says_what_is_not_known():
    table = models_table(SERVICES, date(2026, 12, 1))
    line = next(line for line in table.splitlines() if line.startswith("gemini-4-argon"))
    assert "4.00, 4.00, 20.00" in line and "not known" in line
    assert "2.00, 2.00, 10.00 until 2026-11-30, then 4.00, 4.00, 20.00" in table
    retired = [line.split()[0] for line in table.splitlines() if "(RETIRED)" in line]
    assert retired.count("gemini-2.5-pro") == 2 and "gpt-audio" not in retired
    assert re.search(r"Older than two months on 2026-12-01.*\n- gemini-2.5-pro: prices", table)
    assert "Older" not in models_table(["openai"], date(2026, 12, 1))
