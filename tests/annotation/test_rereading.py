"""Stored replies read again: what changes, what it costs (nothing), and what is never replaced."""

import json

import pytest
from annotation_setup import EMOTIONS, KEY, annotator, dataset, gemini, generated, votes
from gemini_server import GeminiServer
from ledger_records import record

from hf_emo_dist.annotation import parsing
from hf_emo_dist.annotation.ledger.ledger import Ledger
from hf_emo_dist.annotation.parsing import PARSER_VERSION, Reading
from hf_emo_dist.annotation.rereading import read_again, reread

SHARES = {"angry": "10%", "happy": "20%", "neutral": "30%", "sad": "40%"}


@pytest.fixture
def ledger(tmp_path):
    with Ledger(tmp_path / "votes.sqlite") as opened:
        yield opened


FOUND = {  # outcome, mode, text, outcome now
    "a form that is clear": ("unparseable", "label", "Emotion: sad", "ok"),
    "shares in percent": ("unparseable", "distribution", json.dumps(SHARES), "ok"),
    "a sentence": ("unparseable", "label", "The speaker is not happy", None),
    "another reason": ("unparseable", "label", "<answer>furious</answer>", "outside"),
    "no text": ("unparseable", "label", None, None),
    "cut off, and told to": ("truncated", "label", "sad", "ok"),
}


@pytest.mark.parametrize("outcome, mode, text, now", FOUND.values(), ids=FOUND)
def test_a_reply_is_read_again(outcome, mode, text, now):
    old = record(1, outcome, mode=mode, text=text, row_id="u1", tries=3, latency_s=2.0)
    new = read_again(old, EMOTIONS)
    assert (new and new.outcome) == now
    if new is not None:
        assert (new.key, new.text, new.row_id, new.created) == (old.key, text, "u1", old.created)
        assert (new.cost_usd, new.prompt_tokens, new.output_tokens, new.tries, new.latency_s) == (
            0.0,
            None,
            None,
            0,
            None,
        )
        assert f"it was {outcome}" in new.detail
        assert new.settings == {**old.settings, "parser": PARSER_VERSION}
        assert read_again(new, EMOTIONS) is None


def test_another_model_is_read_only_when_it_may_answer():
    old = record(1, "other_model", text="sad")
    assert read_again(old, EMOTIONS) is None and read_again(old, EMOTIONS, answers_as=["x"]) is None
    assert read_again(old, EMOTIONS, answers_as=["m-001"]).label == "sad"


def test_a_ledger_is_read_again(ledger):
    """As 0.1 wrote it: its plans are not known."""
    ledger.store(
        [
            record(1, "unparseable", text="Emotion: sad"),
            record(2, "unparseable", text="not sad"),
            record(3, "truncated", text="sad"),
            record(4, "ok", text="Emotion: sad"),  # counts as happy
            record(5, "unparseable", text="sad。", plan="q"),
            record(5, "ok", plan="q"),  # has a vote since
            record(6, "empty", text=None),
        ]
    )
    spent = ledger.spending()
    assert reread(ledger).unknown == {"p" * 64: 2}
    dry = reread(ledger, emotions=EMOTIONS, dry_run=True)
    assert dry.changed == {("unparseable", "ok"): 1} and len(ledger) == 7
    found = reread(ledger, emotions=EMOTIONS)
    assert (found.votes, dict(found.unchanged)) == (1, {"unparseable": 1})
    assert "unparseable → ok: 1" in found.summary() and "1 votes won, nothing sent" in found.summary()
    after = ledger.spending()
    assert (after.cost_usd, after.tokens, after.replies) == (spent.cost_usd, spent.tokens, 8)
    assert reread(ledger, emotions=EMOTIONS).votes == 0

    told = reread(ledger, ["truncated", "ok"], EMOTIONS)
    assert told.votes == 1 and told.otherwise == 1, "a vote that is there is told of, and stays"
    labels = {
        entry.key: entry.label for entry in ledger.records() if entry.outcome == "ok" and entry.text == "Emotion: sad"
    }
    assert ledger.lookup([record(4).key])[record(4).key].label == "happy" and len(labels) == 2
    with pytest.raises(ValueError, match="unparsable"):
        reread(ledger, ["unparsable"], EMOTIONS)


def test_a_better_parser_wins_votes_and_the_same_call_uses_them(tmp_path, monkeypatch):
    data, path = dataset(3), tmp_path / "votes.sqlite"
    with GeminiServer(key=KEY) as server:
        server.fault("text", text="Emotion: sad")
        with monkeypatch.context() as as_before:
            as_before.setattr(parsing, "_read_label", lambda *_: Reading("unparseable", detail="as 0.1 read it"))
            run = annotator(gemini(server), path, num_distributions=1)
            assert run.annotate(data).report.failures["unparseable"]
            before = data.map(run, batched=True)
        assert not any(votes(before).values()) and len(generated(server)) == 12
        with Ledger(path) as ledger:  # what was asked for is in the ledger
            assert list(ledger.plans()) == [run.plan]
            found = reread(ledger)
        assert found.changed == {("unparseable", "ok"): 9} and found.unchanged == {"unparseable": 3}
        # neither `annotate` nor a cached `map` goes on without them, and nothing is sent
        assert (
            votes(run.annotate(data).dataset)
            == votes(data.map(run, batched=True))
            == {f"u{i:03}": ["sad"] * 3 for i in range(3)}
        )
        assert len(generated(server)) == 12


def test_plans_are_merged(tmp_path):
    with GeminiServer(key=KEY) as server:
        run = annotator(gemini(server), tmp_path / "a.sqlite", preset="paper", num_annotations=1)
        run.annotate(dataset(1))
    with Ledger(tmp_path / "b.sqlite") as other:
        other.merge(tmp_path / "a.sqlite")
        (plan,) = other.plans().values()
        assert plan.emotions == EMOTIONS and plan.lenient


def test_a_record_says_which_parser_read_it(tmp_path):
    with GeminiServer(key=KEY) as server:
        annotator(gemini(server), tmp_path / "a.sqlite", num_annotations=1).annotate(dataset(1))
    (found,) = Ledger(tmp_path / "a.sqlite").records()
    assert found.settings["parser"] == parsing.PARSER_VERSION
