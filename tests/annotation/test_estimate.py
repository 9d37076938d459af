"""Estimates: nothing is sent, the ledger counts, a pilot narrows them, and the price is that of the table."""

from datetime import date

import pytest
from scripted import ScriptedBackend
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows

from hf_emo_dist.annotation.annotator import Annotator
from hf_emo_dist.annotation.capabilities import ModelCapabilities, Prices, Thinking
from hf_emo_dist.annotation.run.estimate import Span, usage_at_most
from hf_emo_dist.annotation.run.run_report import RunReport
from hf_emo_dist.annotation.types import Answer, Usage

PRICED = ModelCapabilities(
    "scripted-1",
    known=True,
    audio=True,
    audio_tokens_per_second=32.0,
    thinking=Thinking("level", "low", ("low", "high")),
    prices=(Prices(1.0, 2.0, 10.0, date(2026, 1, 1), "a made-up list"),),
)


def strings(request):
    return [request["system"], request["text"], *request, *request["emotions"], request["mode"]]


def make(tmp_path, **options):
    def script(number, request, audio):
        audio_tokens = round(32 * audio.seconds)
        words = len(" ".join(strings(request)).encode()) // 4
        usage = Usage(words + audio_tokens, audio_tokens, 100 + number % 5, 2)
        return Answer("sad", model_version="scripted-1", usage=usage)

    options = {"emotions": TINY_EMOTIONS, "num_annotations": 4, "progress": False, **options}
    return Annotator(ScriptedBackend(script, capabilities=PRICED), ledger=tmp_path / "v.sqlite", **options)


def test_an_estimate_sends_nothing_and_holds_what_comes(tmp_path):
    rows = as_dataset(tiny_rows(12))
    mine = make(tmp_path)
    before = mine.estimate(rows)
    assert (before.rows, before.requests, before.stored, mine.backend.sent) == (12, 48, 0, 0)
    report = mine.annotate(rows).report
    assert before.cost_usd.low <= report.cost_usd <= before.cost_usd.high
    for kind in ("prompt", "audio", "thinking", "output"):
        assert getattr(before, kind).low <= report.tokens[kind] <= getattr(before, kind).high, kind
    after = mine.estimate(rows)
    assert (after.requests, after.stored, after.cost_usd) == (0, 48, Span(0, 0))


def test_a_pilot_is_paid_once_and_narrows_the_estimate(tmp_path):
    rows = as_dataset(tiny_rows(12))
    mine = make(tmp_path)
    assumed = mine.estimate(rows)
    measured = mine.estimate(rows, pilot=3)
    assert mine.backend.sent == 12 and measured.requests == 36 and measured.pilot == 12
    for kind in ("prompt", "thinking", "cost_usd"):
        wide, narrow = getattr(assumed, kind), getattr(measured, kind)
        assert narrow.high - narrow.low < wide.high - wide.low, kind
    assert mine.estimate(rows, pilot=3) == measured and mine.backend.sent == 12
    report = mine.annotate(rows, pilot=3).report
    assert mine.backend.sent == 48 and report.estimate == measured
    assert measured.cost_usd.low <= report.cost_usd <= measured.cost_usd.high
    assert "Expected: 36 requests" in report.summary()


def test_an_estimate_can_be_read(tmp_path):
    mine = make(tmp_path)
    rows = tiny_rows(2)
    rows[0]["audio"] = {"bytes": b"no audio", "path": "bad.wav"}
    estimate = mine.estimate(as_dataset(rows))
    text = estimate.table()
    assert "a made-up list" in text and rows[0]["id"] in text and "4 to scripted-1" in text
    assert estimate.to_dict()["prompt"] == [estimate.prompt.low, estimate.prompt.high]


def test_without_a_price_the_cost_is_unknown(tmp_path):
    mine = Annotator(ScriptedBackend(), emotions=TINY_EMOTIONS, ledger=tmp_path / "v.sqlite", progress=False)
    estimate = mine.estimate(as_dataset(tiny_rows(2)))
    assert estimate.cost_usd is None and "no price" in estimate.table() and "no price" in estimate.summary()


def test_rates_bound_the_time(tmp_path):
    rows = as_dataset(tiny_rows(12))
    assert make(tmp_path, requests_per_minute=12).estimate(rows).seconds.low == pytest.approx(240)
    assert make(tmp_path).estimate(rows).seconds.high < 240


def test_a_claim_is_an_upper_bound(tmp_path):
    mine = make(tmp_path)
    (row,) = tiny_rows(1)
    from hf_emo_dist.annotation.reading import read_batch

    (utterance,), _ = read_batch(row, "audio")
    job = mine.jobs(utterance, RunReport())[0]
    job.clip.prepared = job.clip.prepare()
    claim = job.claim(PRICED)
    record = mine.annotate(as_dataset([row])).report
    assert claim.tokens > sum(record.tokens[k] for k in ("prompt", "thinking", "output")) / 4
    assert claim.cost_usd > record.cost_usd / 4


@pytest.mark.parametrize(
    ("request_", "limit"),
    [
        ({}, 2048),
        ({"config": {"max_output_tokens": 64}}, 64),
        ({"max_completion_tokens": 5}, 5),
        ({"a": {"max_tokens": None}}, 2048),
    ],
)
def test_the_limit_is_found_in_a_request(request_, limit):
    assert usage_at_most(request_, 1.0, PRICED).output_tokens == limit


@pytest.mark.parametrize("pilot", [-1, True])
def test_a_wrong_pilot_is_refused(tmp_path, pilot):
    with pytest.raises(ValueError, match="pilot"):
        make(tmp_path).estimate(as_dataset(tiny_rows(2)), pilot=pilot)
