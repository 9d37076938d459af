"""Labels read along what is shown of the next tokens: against a model that is known whole, and oddities of servers."""

import json
import math

import pytest
from logprobs_server import END, TinyModel

from hf_emo_dist.annotation.backends._openai_readout import allowed_number
from hf_emo_dist.annotation.readout.shown import NotShown, written
from hf_emo_dist.annotation.readout.walking import Place, walk

LABEL_SETS = {
    "one token each": ("angry", "sad", "calm"),
    "several tokens": ("neutral", "happy", "fée"),
    "first tokens alike": ("happy", "happiness"),
    "a label that begins another": ("sad", "sadness", "sadly", "angry"),
    "one that cannot be said": ("angry", "bored"),
}


def place(model, question, beginning, most=None):
    ranked = sorted(model.next(question, beginning).items(), key=lambda item: -item[1])[:most]
    return Place(tuple((token.encode(), share) for token, share in ranked), ranked[-1][1])


def walked(model, labels, most=None, question="q"):
    """All places that labels pass, as a server would show them."""
    places = {b"": place(model, question, "", most)}
    while todo := walk(labels, places).open:
        places.update({text: place(model, question, text.decode(), most) for text in todo})
    return walk(labels, places), places


@pytest.mark.parametrize("name", LABEL_SETS)
def test_what_is_read_is_the_models_own_probability(name):
    labels = LABEL_SETS[name]
    for question in range(5):
        model = TinyModel()
        found, _ = walked(model, labels, question=str(question))
        for label in labels:
            assert found.read[label] == pytest.approx(model.probability(str(question), label), rel=1e-9)
        assert found.open == {} and found.unread == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("name", LABEL_SETS)
@pytest.mark.parametrize("most", [1, 3, 8])
def test_where_the_list_is_cut_off_the_truth_is_within_the_bounds(name, most):
    # Of labels that are spelled in one way; what else spells them is not in the vocabulary.
    labels = LABEL_SETS[name]
    for question in range(20):
        model = TinyModel()
        found, _ = walked(model, labels, most, str(question))
        for label, (low, high) in found.bounds.items():
            assert low - 1e-12 <= model.probability(str(question), label) <= high + 1e-12
        assert sum(found.taken.values()) <= 1


def test_what_is_open_lies_with_labels_that_begin_so_and_is_shared():
    model, labels = TinyModel(), ("sad", "sadness", "angry")
    found = walk(labels, {b"": place(model, "q", "")})
    shares = model.next("q", "")
    assert found.open == pytest.approx({b"sad": shares["sad"], b"angry": shares["angry"]})
    assert found.assumed == pytest.approx(shares["angry"]) and found.unread == pytest.approx(shares["sad"])
    assert found.taken == pytest.approx(
        {"sad": shares["sad"] / 2, "sadness": shares["sad"] / 2, "angry": shares["angry"]}
    )


def test_a_server_that_hides_the_end_tells_how_answers_begin():
    model, labels = TinyModel(), ("sad", "sadness", "angry")
    shown = {"sad": model.next("q", "sad")}
    shown["sad"].pop(END)
    places = {
        b"": place(model, "q", ""),
        b"sad": Place(tuple((token.encode(), share) for token, share in shown["sad"].items()), 0.0),
    }
    found = walk(labels, places, shows_ends=False)
    sad, ness = model.next("q", "")["sad"], model.next("q", "sad")["ness"]
    assert found.read == pytest.approx(
        {"sad": sad * (1 - ness), "sadness": sad * ness, "angry": model.next("q", "")["angry"]}
    )


def choice(*entries, reason="stop", message=None):
    return {
        "logprobs": {"content": [dict(entry) for entry in entries]},
        "finish_reason": reason,
        "message": message or {},
    }


def entry(token, logprob, *others, **more):
    listed = [{"token": t, "logprob": p} for t, p in ((token, logprob), *others)]
    return {"token": token, "logprob": logprob, "top_logprobs": listed, **more}


SAD = entry("sad", -0.1, ("glad", -3.0))
# what is in the reply, and what its refusal says and mends
NOT_SHOWN = {
    "no log-probabilities": ({"logprobs": None}, "label mode"),
    "none of the field": ({}, "label mode"),
    "null inside": ({"logprobs": {"content": None}}, "label mode"),
    "no alternatives": (choice({"token": "sad", "logprob": -0.1, "top_logprobs": []}), "label mode"),
    "above 0: logits": (choice(entry("sad", 17.5, ("glad", 12.0))), "raw_logprobs"),
    "infinite": (choice(entry("sad", math.inf, ("glad", -1.0))), "raw_logprobs"),
    "a sum above 1: logits below 0": (choice(entry("sad", -0.1, ("glad", -0.2))), "raw_logprobs"),
    "masked and scaled up": (choice(entry("sad", -0.105, ("glad", -2.303), ("The", -9999.0))), "raw_logprobs"),
    "the same with -inf": (choice(entry("sad", 0.0, ("glad", -math.inf))), "raw_logprobs"),
    "numbers of tokens": (choice(entry("token_id:17", -0.1, ("token_id:4", -3.0))), "token-ids"),
    "a thought as the first token": (choice(entry("<think>", -0.01, ("sad", -6.0))), "enable_thinking"),
    "a thought apart": (choice(SAD, message={"reasoning_content": "Hm."}), "enable_thinking"),
    "the same by another name": (choice(SAD, message={"reasoning": "Hm."}), "enable_thinking"),
}  # fmt: skip


@pytest.mark.parametrize("case", NOT_SHOWN)
def test_what_is_no_list_of_log_probabilities_is_said_with_its_mend(case):
    content, mend = NOT_SHOWN[case]
    with pytest.raises(NotShown, match=mend):
        written(json.loads(json.dumps(content)), "sad")


ODD = {
    "NaN": choice(entry("sad", math.nan, ("glad", -1.0))),
    "words": choice(entry("sad", "likely", ("glad", -1.0))),
    "no text": choice({"token": None, "logprob": -1.0, "top_logprobs": [{"token": "a", "logprob": -1.0}]}),
    "another form": {"logprobs": {"content": "sad"}},
    "a list of numbers": {"logprobs": {"content": [1, 2]}},
}


@pytest.mark.parametrize("case", ODD)
def test_an_odd_reply_is_unreadable_and_no_more(case):
    with pytest.raises(ValueError, match="log-probabilit") as caught:
        written(ODD[case], "sad")
    assert not isinstance(caught.value, NotShown)


READ = {
    "numbers as texts": (choice(entry("sad", "-0.1", ("glad", "-3"))), {b"sad": math.exp(-0.1), b"glad": math.exp(-3)}),
    "null beside numbers": (choice(entry("sad", -0.1, ("glad", None))), {b"sad": math.exp(-0.1)}),
    "a little above 0": (choice(entry("sad", 1e-5, ("glad", -12.0))), {b"sad": 1.0, b"glad": math.exp(-12)}),
    "an impossible one in a whole list": (choice(entry("sad", -1.0, ("glad", -9999.0))), {b"sad": math.exp(-1)}),
    "a token that was drawn and is not listed": (
        choice({"token": "odd", "logprob": -7.0, "top_logprobs": [{"token": "sad", "logprob": -0.1}]}),
        {b"sad": math.exp(-0.1), b"odd": math.exp(-7)},
    ),
    "half a letter": (
        choice({"token": "\\xc3", "logprob": -0.1, "bytes": [195],
                "top_logprobs": [{"token": "\\xc3", "logprob": -0.1, "bytes": [195]}]}), {b"\xc3": math.exp(-0.1)}),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_what_is_odd_and_can_be_read_is(case):
    content, tokens = READ[case]
    assert dict(written(content, "sad").places[0].tokens) == pytest.approx(tokens)


def test_the_token_that_was_drawn_is_no_bound_for_others():
    found = written(choice(entry("odd", -9.0, ("sad", -0.2), ("glad", -2.0))), "odd").places[0]
    assert found.least == pytest.approx(math.exp(-2.0))


ENDS = {
    "its own token": ((SAD, entry("<stop>", -0.1, ("ness", -3.0))), "sad", "stop", (b"<stop>", False)),
    "an empty text": ((SAD, entry("", -0.1, ("ness", -3.0))), "sad", "stop", (b"", False)),
    "not shown": ((SAD,), "sad", "stop", (None, True)),
    "broken off": ((SAD,), "sad", "length", (None, False)),
}


@pytest.mark.parametrize("case", ENDS)
def test_the_end_of_the_turn_is_learnt_from_an_answer(case):
    entries, text, reason, told = ENDS[case]
    found = written(choice(*entries, reason=reason), text)
    assert (found.end, found.hides_end) == told
    assert list(found.along(b"")) == [b"", b"sad"][: len(entries)]


@pytest.mark.parametrize(
    ("refusal", "asked", "allowed"),
    [
        ("400 BadRequestError: Requested sample logprobs of 1000, which is greater than max allowed: 20", 1000, 20),
        ("400 x: Invalid value for 'top_logprobs': must be less than or equal to 5.", 20, 5),
        ("400 x: top_logprobs must be between 0 and 20", 50, 20),
        ("400 x: too many logprobs", 20, 5),
        ("400 x: too many logprobs", 5, None),
        ("400 x: Requested sample logprobs of 20, which is greater than max allowed: 0", 20, None),
        ("400 x: 'logprobs' is not supported with this model", 20, None),
    ],
)
def test_how_many_are_allowed_is_read_from_the_refusal(refusal, asked, allowed):
    assert allowed_number(refusal, asked) == allowed
