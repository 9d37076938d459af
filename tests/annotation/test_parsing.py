"""Replies: read strictly, with the reason where there is no vote."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hf_emo_dist.annotation.parsing import SUM_TOLERANCE, read_reply

EMOTIONS = ("angry", "happy", "neutral", "sad")

LABELS = [
    ("angry", "ok", "angry"),
    (" Anger.\n", "ok", "angry"),
    ('"sad"', "ok", "sad"),
    ('{"emotion": "happy"}', "ok", "happy"),
    ('["neutral"]', "ok", "neutral"),
    ('```json\n"sad"\n```', "ok", "sad"),
    ("**NEUTRAL**", "ok", "neutral"),
    ("traurig", "outside", None),
    ("surprise", "outside", None),
    ("悲しい", "outside", None),
    ("", "empty", None),
    (None, "empty", None),
    ('{"emotion": "hap', "unparseable", None),
    ("The speaker does not sound happy at all", "unparseable", None),
    ("angry, sad", "unparseable", None),
    ('{"emotion": 3}', "unparseable", None),
    ('{"a": "happy", "b": "sad"}', "unparseable", None),
]


@pytest.mark.parametrize(("text", "outcome", "label"), LABELS)
def test_labels(text, outcome, label):
    reading = read_reply(text, "label", EMOTIONS)
    assert (reading.outcome, reading.label, reading.distribution) == (outcome, label, None)
    assert bool(reading.detail) == (outcome != "ok")


def test_the_paper_takes_the_first_label_that_it_finds():
    assert read_reply("I hear sadness? No: happy, a bit angry", "label", EMOTIONS, lenient=True).label == "sad"
    assert read_reply("traurig", "label", EMOTIONS, lenient=True).outcome == "outside"
    assert read_reply('{"emotion": "hap', "label", EMOTIONS, lenient=True).outcome == "unparseable"


DISTRIBUTIONS = [
    ('{"angry": 0.5, "happy": 0.5, "neutral": 0, "sad": 0}', "ok"),
    ('{"angry": 50, "happy": 50}', "ok"),
    ('{"shares": {"Anger": 1}}', "ok"),
    ('Here it is: {"sad": 1.0}', "ok"),
    ('{"sad": 1.0, "surprise": 0}', "ok"),
    ('{"angry": 0.3, "sad": 0.4}', "bad_sum"),
    ("{}", "bad_sum"),
    ('{"sad": 0.5, "surprise": 0.5}', "outside"),
    ('{"sad": -1, "angry": 2}', "unparseable"),
    ('{"sad": "much"}', "unparseable"),
    ('{"sad": NaN}', "unparseable"),
    ('{"sad": true}', "unparseable"),
    ('{"sad": 0.5, "sadness": 0.5}', "unparseable"),
    ('{"sad": 0.5, "ang', "unparseable"),
    ("[0.5, 0.5]", "unparseable"),
    ("sad", "unparseable"),
    ("", "empty"),
]


@pytest.mark.parametrize(("text", "outcome"), DISTRIBUTIONS)
def test_distributions(text, outcome):
    reading = read_reply(text, "distribution", EMOTIONS)
    assert reading.outcome == outcome and reading.label is None
    if outcome == "ok":
        assert tuple(reading.distribution) == EMOTIONS
        assert sum(reading.distribution.values()) == pytest.approx(1, abs=1e-12)
    else:
        assert reading.distribution is None and reading.detail


@given(st.lists(st.floats(0.01, 1), min_size=4, max_size=4), st.floats(0.8, 1.2))
def test_a_distribution_near_1_is_divided_by_its_sum_and_no_other_is(shares, factor):
    total = sum(shares)
    stated = {name: share / total * factor for name, share in zip(EMOTIONS, shares, strict=True)}
    reading = read_reply(json.dumps(stated), "distribution", EMOTIONS)
    if abs(factor - 1) < SUM_TOLERANCE - 1e-9:
        for name, share in zip(EMOTIONS, shares, strict=True):
            assert reading.distribution[name] == pytest.approx(share / total, rel=1e-9)
    elif abs(factor - 1) > SUM_TOLERANCE + 1e-9:
        assert reading.outcome == "bad_sum"


@given(st.text(max_size=200), st.sampled_from(["label", "distribution"]), st.booleans())
def test_no_reply_raises(text, mode, lenient):
    reading = read_reply(text, mode, EMOTIONS, lenient)
    assert (reading.outcome == "ok") == (reading.label is not None or reading.distribution is not None)
