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
    # in another dress, and as clear
    ("“sad”", "ok", "sad"),
    ("„Sad“.", "ok", "sad"),
    ("«sad»", "ok", "sad"),
    ("「sad」", "ok", "sad"),
    ("sad。", "ok", "sad"),
    ("- sad", "ok", "sad"),
    ('"Sad".', "ok", "sad"),
    ("Emotion: sad", "ok", "sad"),
    ("**Emotion:** Sadness", "ok", "sad"),
    ("Final answer: “sad”", "ok", "sad"),
    ("Emotion： sad", "ok", "sad"),
    ("Emotion: sad\nConfidence: 0.8", "ok", "sad"),
    ("<think>Is it happy or angry? No.</think>sad", "ok", "sad"),
    ("Happy? Hardly.\n</think>\n\nsad", "ok", "sad"),
    ("<answer>sad</answer>", "ok", "sad"),
    ("<think>hm</think>\n<answer>Emotion: sad</answer></s>", "ok", "sad"),
    ("sad</s>", "ok", "sad"),
    ("sad<|im_end|>", "ok", "sad"),
    ("sad<end_of_turn>\n", "ok", "sad"),
    ('{"emotion":"sad","confidence":0.8}', "ok", "sad"),
    ('{"emotion": "sad", "reason": "a sad voice"}', "ok", "sad"),
    ('{"result": {"label": "sad"}, "time": 3}', "unparseable", None),
    ('Here is the JSON:\n```json\n{"emotion": "sad"}\n```', "ok", "sad"),
    ('{"emotion": "sad"} because the voice trembles', "ok", "sad"),
    ("Emotion: surprise", "outside", None),
    ("The emotion is sad.", "ok", "sad"),
    ("The speaker's emotion is: **sad**", "ok", "sad"),
    ("My answer is sad", "ok", "sad"),
    ("1. sad", "ok", "sad"),
    ("2) Sad.", "ok", "sad"),
    ("ＳＡＤ", "ok", "sad"),
    ("Ｅｍｏｔｉｏｎ：ｓａｄ", "ok", "sad"),
    ("sad\u200b", "ok", "sad"),
    ("\ufeffs\u200dad", "ok", "sad"),
    ("{'emotion': 'sad'}", "ok", "sad"),
    ("{'emotion': 'sad', 'confidence': 0.9}", "ok", "sad"),
    ("['sad']", "ok", "sad"),
    ('"sad"\n\nExplanation: voice is low.', "ok", "sad"),
    ("Emotion: sad\n\n**Reasoning:** The voice is low.\nIt trembles, too.", "ok", "sad"),
    ("sad\nBecause of the sad voice", "ok", "sad"),
    ("The emotion is not sad.", "unparseable", None),
    ("The emotion is sad or angry", "unparseable", None),
    ("The emotion is sad?", "unparseable", None),
    ("The emotion is surprise", "outside", None),
    ('He said: "The emotion is sad"', "unparseable", None),
    ("1. sad\n2. angry", "unparseable", None),
    ("1. sad 2. angry", "unparseable", None),
    ("sad ＡＮＧＲＹ", "unparseable", None),
    ("Emotion: sad\nReason: not ＡＮＧＲＹ", "unparseable", None),
    ("{'emotion': 'sad', 'emotion': 'angry'}", "unparseable", None),
    ("{'emotion': 'sad', 'second': 'angry'}", "unparseable", None),
    ("{'transcript': 'Sad.'}", "unparseable", None),
    ('"sad"\n\nExplanation: voice is low, or angry.', "unparseable", None),
    ("sad\nThe voice is low.", "unparseable", None),
    ("sad?\nExplanation: who knows.", "unparseable", None),
    # a vote about nothing is none
    ('{"emotion":"neutral","note":"no audio received"}', "refused", None),
    ("neutral\nReason: No audio was provided.", "refused", None),
    ("I'm sorry, but I cannot listen to audio. neutral", "refused", None),
    ("The audio clip was not attached. Emotion: neutral", "refused", None),
    ("I didn't receive any audio", "refused", None),
    ('{"emotion": "neutral", "reason": "the audio file is missing"}', "refused", None),
    ('{"emotion": "neutral", "reason": "there is no strong emotion in the audio provided"}', "ok", "neutral"),
    ('{"emotion": "neutral", "reason": "a silent recording, no speech"}', "ok", "neutral"),
    ('{"emotion": "sad", "reason": "the voice is not raised, no audible joy"}', "ok", "sad"),
    # two are named, or it is denied, asked, or what somebody said
    ("sad or angry", "unparseable", None),
    ("sad/angry", "unparseable", None),
    ("sad\nangry", "unparseable", None),
    ("not sad", "unparseable", None),
    ("≠ sad", "unparseable", None),
    ("sad?", "unparseable", None),
    ("“Sad?”", "unparseable", None),
    ("Emotion: sad, angry", "unparseable", None),
    ("Emotion: sad\nEmotion: angry", "unparseable", None),
    ("Emotion: sad\nReason: not angry", "unparseable", None),
    ("Not happy: sad", "unparseable", None),
    ('{"emotion": "sad", "emotion": "angry"}', "unparseable", None),
    ('{"emotion": "sad", "second": "angry"}', "unparseable", None),
    ('{"emotion": "sad", "label": "angry"}', "unparseable", None),
    ('{"sad": "angry"}', "unparseable", None),
    ('Not angry: {"emotion": "sad"}', "unparseable", None),
    ("<think>It may be sad", "unparseable", None),
    ("<think>sad</think>", "empty", None),
    ("<answer>sad</answer><answer>angry</answer>", "unparseable", None),
    ("sad angry</s>", "unparseable", None),
    ("Transcript: sad", "unparseable", None),
    ('{"transcript": "Sad."}', "unparseable", None),
    ('{"spoken_words": "Sad."}', "unparseable", None),
    ("Speaker 1: happy", "unparseable", None),
    ("The speaker says “I am so happy”", "unparseable", None),
    ('"I am so happy"', "unparseable", None),
    ("[" * 100_000, "unparseable", None),
    ("</s>" * 20_000, "outside", None),
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
    assert read_reply("Emotion: sad\nReason: not angry", "label", EMOTIONS, lenient=True).label == "sad"
    assert read_reply("<think>It may be angry", "label", EMOTIONS, lenient=True).label == "angry"


DISTRIBUTIONS = [
    ('{"angry": 0.5, "happy": 0.5, "neutral": 0, "sad": 0}', "ok"),
    ('{"angry": 50, "happy": 50}', "ok"),
    ('{"shares": {"Anger": 1}}', "ok"),
    ('Here it is: {"sad": 1.0}', "ok"),
    ('{"sad": 1.0, "surprise": 0}', "ok"),
    ('{"angry": "0.5", "sad": "0.5"}', "ok"),
    ('{"angry": "10%", "sad": "90 %"}', "ok"),
    ('{"angry": "50", "sad": 50}', "ok"),
    ('{"angry": 0.5, "sad": 0.5, "confidence": 0.8}', "ok"),
    ('{"distribution": {"sad": 1}, "reason": "tears"}', "ok"),
    ('<think>{"angry": 1}</think>{"sad": 1}</s>', "ok"),
    ("Angry: 10%\nSad: 90%", "ok"),
    ("{'angry': 0.1, 'sad': 0.9}", "ok"),
    ('{"ａｎｇｒｙ": ０.1, "sad\u200b": 0.9}', "ok"),
    ("{'sad': 0.5, 'sad': 0.5}", "unparseable"),
    ('{"sad": 1.0, "note": "no audio was received"}', "refused"),
    ('{"angry": "50%", "sad": 0.6}', "bad_sum"),
    ('{"angry": "about 10%", "sad": "90%"}', "unparseable"),
    ('{"sad": 0.5, "sad": 0.5}', "unparseable"),
    ('{"sad": "1e0"}', "unparseable"),
    ('{"sad": ' + "1" * 5000 + "}", "unparseable"),
    ('{"a": {"sad": 1}, "b": {"angry": 1}}', "outside"),
    ("Angry: 1", "unparseable"),
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


def test_names_that_are_full_width_themselves_are_read():
    assert read_reply("ｓａｄ", "label", ("ｓａｄ", "happy")).label == "ｓａｄ"


DRESSES = [
    "{}", "“{}”", "„{}“", "«{}»", "{}。", "{}.", "**{}**", "Emotion: {}", "Label: {}\nConfidence: 0.9", "- {}",
    "<think>hm</think>{}", "<answer>{}</answer>", "{}</s>", '{{"emotion": "{}"}}', '{{"emotion": "{}", "sure": 0.8}}',
    "The emotion is {}.", "1. {}", "{{'emotion': '{}'}}", "{}\n\nExplanation: so it sounds.", "\u200b{}\ufeff",
    "```json\n{{\"emotion\": \"{}\"}}\n```", "Here: {{\"emotion\": \"{}\"}}",
]  # fmt: skip
NAMES = st.sampled_from(EMOTIONS)


@given(NAMES, st.sampled_from(DRESSES), st.sampled_from([str.lower, str.upper, str.title]))
def test_one_name_in_any_dress_is_read(name, dress, case):
    assert read_reply(dress.format(case(name)), "label", EMOTIONS).label == name


@given(
    st.lists(NAMES, min_size=2, max_size=4, unique=True),
    st.sampled_from([" ", ", ", "/", "\n", " or ", ": ", "; ", '", "', '": "', "</s>", "» «", "\nEmotion: ", "。"]),
    st.sampled_from(DRESSES),
)
def test_two_names_are_never_one_label(names, joint, dress):
    """Whatever the dress, outside of reasoning in tags of its own."""
    reading = read_reply(dress.format(joint.join(names)), "label", EMOTIONS)
    assert reading.label is None and reading.outcome != "ok"


@given(
    NAMES,
    st.sampled_from(["I am so {}.", "{}?", "I'm not {}", "You look {} today", "{} {} land", "Oh {}, oh dear"]),
    st.sampled_from(
        ["{}", '"{}"', "“{}”", 'The words are "{}"', "Transcript: {}", '{{"transcript": "{}"}}', "He said: {}"]
    ),
)
def test_a_transcript_that_is_quoted_back_is_no_answer(name, words, quoted):
    assert read_reply(quoted.format(words.format(name, "happy")), "label", EMOTIONS).label is None


@given(st.text(alphabet="angryhapsdeutl:\"'{}[]<>/.,“” \n</think>", max_size=60))
def test_what_is_read_is_named_and_nothing_else_is(text):
    reading = read_reply(text, "label", EMOTIONS)
    if reading.label is not None:
        outside = text.rpartition("</think>")[2].lower()
        assert {name for name in EMOTIONS if name in outside} <= {reading.label}
