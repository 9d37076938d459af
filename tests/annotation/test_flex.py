"""The flex tier through the real client: asked, charged as it was served, retried or sent at the standard tier."""

import pytest
from annotation_setup import annotator, dataset, gemini, generated, reset, votes
from gemini_server import GeminiServer

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.backends.gemini import GeminiBackend
from hf_emo_dist.annotation.ledger.ledger import Ledger

ROWS, MEMBERS = 4, 3
# 100 tokens of text, 96 of audio, 43 of output, at the prices of gemini-2.5-flash
FULL = (100 * 0.30 + 96 * 1.00 + 43 * 2.50) / 1e6


@pytest.fixture(scope="module")
def running():
    with GeminiServer() as server:
        yield server


@pytest.fixture
def server(running):
    return reset(running)


@pytest.fixture
def ledger(tmp_path):
    return tmp_path / "votes.sqlite"


def flex(server, ledger, **options):
    return annotator(gemini(server, service_tier="flex"), ledger, **options)


def tiers(ledger):
    return {(record.settings.get("service_tier"), record.settings.get("asked_tier")) for record in records(ledger)}


def records(ledger):
    with Ledger(ledger) as opened:
        return list(opened.records())


def test_half_the_price_and_the_same_votes(server, ledger, tmp_path):
    found, report = flex(server, ledger).annotate(dataset(ROWS))
    assert {request.tier for request in generated(server)} == {"flex"}
    assert {request.headers.get("x-server-timeout") for request in generated(server)} == {"1200"}
    assert tiers(ledger) == {("flex", None)} and report.tiers == {"flex": 12} and "tier: flex (12)" in report.summary()
    assert report.cost_usd == pytest.approx(12 * FULL / 2) and len(generated(server)) == 12
    # The same key: what was bought at the one tier is not bought again at the other.
    again = annotator(gemini(server), ledger).annotate(dataset(ROWS))
    assert len(generated(server)) == 12 and votes(again.dataset) == votes(found)
    standard = annotator(gemini(server), tmp_path / "other.sqlite").annotate(dataset(ROWS))
    assert votes(standard.dataset) == votes(found) and standard.report.cost_usd == pytest.approx(12 * FULL)
    assert {request.tier for request in generated(server)[12:]} == {"standard"} and not standard.report.tiers


@pytest.mark.parametrize(
    ("said", "share", "tier"),
    [
        ({"header": "standard"}, 1, ("standard", "flex")),
        ({"header": "FLEX"}, 0.5, ("flex", None)),
        ({"serviceTier": "standard"}, 1, ("standard", "flex")),
        ({"trafficType": "ON_DEMAND_FLEX"}, 0.5, ("flex", None)),
        ({"trafficType": "ON_DEMAND"}, 1, ("standard", "flex")),
        ({"header": "paid"}, 0.5, ("flex", None)),  # no tier that is known: as it was asked
    ],
)
def test_the_tier_that_served_a_reply_decides_its_price(server, ledger, said, share, tier):
    server.fault("served", **said)
    report = flex(server, ledger).annotate(dataset(ROWS)).report
    assert report.cost_usd == pytest.approx(12 * FULL * share) and tiers(ledger) == {tier}


@pytest.mark.parametrize("fault", ["shed", "rate_limit"])
def test_what_is_shed_is_sent_again(server, ledger, fault):
    server.fault(fault, times=3)
    report = flex(server, ledger).annotate(dataset(ROWS)).report
    assert report.complete and report.votes == 12 and tiers(ledger) == {("flex", None)}
    assert report.cost_usd == pytest.approx(12 * FULL / 2) and report.requests == 15


@pytest.mark.parametrize("fault", ["shed", "rate_limit"])
def test_what_is_shed_goes_to_the_standard_tier_at_the_users_word(server, ledger, fault):
    server.fault(fault, when=lambda request: request.tier == "flex")
    report = flex(server, ledger, when_shed="standard").annotate(dataset(ROWS)).report
    assert report.complete and report.votes == 12 and tiers(ledger) == {("standard", "flex")}
    assert report.cost_usd == pytest.approx(12 * FULL) and report.requests == 24
    assert sum(report.transport_errors.values()) == 12


def test_a_cap_holds_where_all_is_served_at_the_full_price(server, ledger):
    server.fault("served", header="standard")
    cap = 6.5 * FULL
    mine = annotator(gemini(server, service_tier="flex", max_output_tokens=64), ledger, max_cost_usd=cap, concurrency=1)
    report = mine.annotate(dataset(ROWS)).report
    assert not report.complete and Ledger(ledger).spending().cost_usd <= cap and report.votes >= 4


def test_waiting_is_longer_by_default(server, ledger):
    standard, patient = annotator(gemini(server), ledger), flex(server, ledger)
    assert (standard.settings.timeout_s, standard.settings.patience_s) == (120, 600)
    assert (patient.settings.timeout_s, patient.settings.patience_s) == (1200, 3600)
    assert flex(server, ledger, timeout_s=5.0).settings.timeout_s == 5.0
    assert patient.describe()["service_tier"] == "flex" and "service_tier" not in standard.describe()
    assert patient.plan == standard.plan


def test_the_estimate_shows_three_prices(server, ledger):
    estimate = flex(server, ledger).estimate(dataset(ROWS))
    standard = estimate.tiers["standard"]
    assert estimate.tiers["flex"] == estimate.tiers["batch"] == standard * 0.5 == estimate.cost_usd
    assert "at the flex tier" in estimate.table() and "--batch: within a day" in estimate.table()
    assert estimate.seconds.high > annotator(gemini(server), ledger).estimate(dataset(ROWS)).seconds.high
    assert estimate.to_dict()["tiers"]["standard"] == [standard.low, standard.high]


def test_where_nothing_is_known_of_the_tier_it_is_refused(monkeypatch):
    with pytest.raises(ValueError, match=r"not known that 'gemini-9'.*flex_price: 0.5"):
        GeminiBackend("gemini-9", service_tier="flex")
    assert GeminiBackend("gemini-9", service_tier="flex", capabilities={"flex_price": 0.4}).service_tier == "flex"
    monkeypatch.setenv("GOOGLE_GENAI_USE_VERTEXAI", "true")
    monkeypatch.setenv("GOOGLE_CLOUD_PROJECT", "mine")
    with pytest.raises(ValueError, match="Vertex AI"):
        GeminiBackend(service_tier="flex")
    with pytest.raises(ValueError, match="when_shed"):
        Annotator("simulated", when_shed="cry")
