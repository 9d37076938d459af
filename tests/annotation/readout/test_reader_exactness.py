"""What is read off is what separate full forward passes and `generate` give: families, clips, foci, labels, batches."""

import numpy as np
import pytest
import torch
from tiny_readers import FOCI, Tiny, clip, panel
from transformers import GenerationConfig, LogitsProcessorList

from hf_emo_dist.annotation.readout.labels import label_tokens

FAST = ("qwen2_audio", "gemma4")
SLOW = ("audioflamingo3", "qwen2_5_omni", "voxtral", "granite_speech", "phi4_multimodal")
#: Labels, and what holds of their tokens.
LABELS = {
    "common first tokens": (("happy", "happily", "harm"), lambda a, b, c: a[0] == b[0] and len({a, b, c}) == 3),
    "one begins another": (("sad", "sadness", "sadnesses"), lambda a, b, c: b[: len(a)] == a and c[: len(b)] == b),
    "one token": (("a", "b", "c"), lambda *labels: {len(label) for label in labels} == {1}),
    "many tokens": (("bittersweet, quietly", "contempt of everybody"), lambda *labels: min(map(len, labels)) > 8),
    "a single label": (("angry",), lambda *labels: True),
    "not of Latin letters": (("怒り", "悲しみ"), lambda *labels: True),
}
#: Tokens in a batch, and of a panel in one pass: all in one; clips in several batches; each clip in several passes;
#: each prompt by itself.
BUDGETS = {"one pass": (100_000, None), "batches": (500, 100), "passes": (150, None), "alone": (1, 1)}
CLIPS = {"a": clip(0.9), "b": clip(1.7, 1), "c": clip(0.41, 2)}
#: As the model hears them; of log-probabilities of up to -40 in float32
TOLERANCE = {"rtol": 1e-5, "atol": 1e-5}


def case_table():
    """Every set of labels about some clip, with other foci and clips beside it in the same call."""
    asked = []
    for number, (labels, _) in enumerate(LABELS.values()):
        name = "abc"[number % 3]
        foci = FOCI if number < 2 else FOCI[number % 3 :][:1]
        asked += panel(CLIPS[name], labels, foci, name)
    # another system prompt, before the audio: nothing of it is shared
    return asked + panel(CLIPS["a"], ("sad", "sadness"), FOCI[:1], "a", system="You listen for the first time.")


@pytest.fixture(scope="module", params=[*FAST, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def tiny(request):
    return Tiny.make(request.param)


@pytest.fixture(scope="module")
def expected(tiny):
    return [tiny.full_pass(request) for request in case_table()]


@pytest.mark.parametrize("budget", BUDGETS.values(), ids=list(BUDGETS))
def test_full_forward_passes(tiny, expected, budget):
    requests = case_table()
    tiny.reader.token_budget, tiny.reader._at_once = budget
    found = tiny.reader.read(requests)
    for request, out, values in zip(requests, found, expected, strict=True):
        np.testing.assert_allclose(out.log_probabilities, values, **TOLERANCE)
        shares = np.exp(values - np.logaddexp.reduce(values))
        np.testing.assert_allclose(
            np.exp(out.log_probabilities - np.logaddexp.reduce(out.log_probabilities)), shares, rtol=0, atol=1e-5
        )
        assert out.prompt_tokens == tiny.ids(tiny.prompt(request)).shape[1]


def test_the_table_has_what_it_says(tiny):
    for labels, holds in LABELS.values():
        family = tiny.reader.family
        assert holds(*label_tokens(family.tokenize, family.render("You.", "What?"), labels))


def test_batch_of_one_and_of_all(tiny):
    requests = case_table()
    tiny.reader.token_budget, tiny.reader._at_once = BUDGETS["one pass"]
    together = tiny.reader.read(requests)
    for request, out in zip(requests, together, strict=True):
        (alone,) = tiny.reader.read([request])
        np.testing.assert_allclose(alone.log_probabilities, out.log_probabilities, **TOLERANCE)


def test_order_of_requests_and_of_labels(tiny):
    requests = case_table()
    tiny.reader.token_budget, tiny.reader._at_once = BUDGETS["one pass"]
    straight = tiny.reader.read(requests)
    back = tiny.reader.read(requests[::-1])[::-1]
    for one, other in zip(straight, back, strict=True):
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, **TOLERANCE)
    # the same question with the labels listed in another order: only the places change
    request = requests[0]
    turned = type(request)(request.samples, request.clip, request.system, request.text, request.labels[::-1])
    (out,) = tiny.reader.read([turned])
    np.testing.assert_allclose(out.log_probabilities[::-1], straight[0].log_probabilities, **TOLERANCE)


def test_other_audio_another_read_out(tiny):
    """The clip is heard: swapped clips swap what is read."""
    tiny.reader.token_budget, tiny.reader._at_once = BUDGETS["one pass"]
    labels = LABELS["one begins another"][0]
    first = tiny.reader.read(panel(CLIPS["a"], labels, name="a") + panel(CLIPS["b"], labels, name="b"))
    other = tiny.reader.read(panel(CLIPS["b"], labels, name="a") + panel(CLIPS["a"], labels, name="b"))
    for here, there in zip(first, other[3:] + other[:3], strict=True):
        np.testing.assert_allclose(here.log_probabilities, there.log_probabilities, **TOLERANCE)
    assert (
        min(np.abs(a.log_probabilities - b.log_probabilities).max() for a, b in zip(first[:3], first[3:], strict=True))
        > 1e-3
    )


class _Forced:
    """A logits processor that lets `generate` write one sequence."""

    def __init__(self, tokens):
        self.tokens, self.place = tokens, 0

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, -torch.inf)
        forced[:, self.tokens[self.place]] = 0.0
        self.place += 1
        return forced


def test_generate_with_forced_labels(tiny):
    request = panel(CLIPS["a"], LABELS["one begins another"][0], name="a")[1]
    (out,) = tiny.reader.read([request])
    ids = tiny.ids(tiny.prompt(request))
    for label, value, number in zip(request.labels, out.log_probabilities, out.label_tokens, strict=True):
        tokens = [*tiny.ids(tiny.prompt(request) + label)[0, ids.shape[1] :].tolist(), tiny.reader.closing[0]]
        assert len(tokens) == number
        written = tiny.stock.generate(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            **tiny.stock_inputs(request.samples),
            logits_processor=LogitsProcessorList([_Forced(tokens)]),
            generation_config=GenerationConfig(
                max_new_tokens=number, eos_token_id=list(tiny.reader.closing), pad_token_id=0, do_sample=False,
                output_logits=True, return_dict_in_generate=True,
            ),
        )  # fmt: skip
        assert written.sequences[0, ids.shape[1] :].tolist() == tokens
        steps = [logits[0].double().log_softmax(-1) for logits in written.logits]
        forced = sum(step[token] for step, token in zip(steps[:-1], tokens[:-1], strict=True))
        forced += steps[-1][list(tiny.reader.closing)].logsumexp(-1)
        np.testing.assert_allclose(value, float(forced), **TOLERANCE)


def test_greedy_answers_of_one_and_of_eight(tiny):
    requests = case_table()[2:10]
    together = tiny.reader.write(requests, temperature=0, seeds=range(8), max_new_tokens=6)
    assert together == [
        text for r in requests for text in tiny.reader.write([r], temperature=0, seeds=[5], max_new_tokens=6)
    ]
    assert len(set(together)) > 2
    # and they are those of transformers' own model, which is not trimmed
    ids = tiny.ids(tiny.prompt(requests[0]))
    written = tiny.stock.generate(
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        **tiny.stock_inputs(requests[0].samples),
        generation_config=GenerationConfig(
            max_new_tokens=6, eos_token_id=list(tiny.reader.closing), pad_token_id=0, do_sample=False
        ),
    )
    assert together[0] == tiny.reader.family.tokenizer.decode(written[0, ids.shape[1] :], skip_special_tokens=True)


def test_drawn_answers_follow_their_seeds_and_the_read_out(tiny):
    """Chi-square of sampled labels against what is read out, in a model that mostly says them."""
    from scipy.stats import chisquare

    request = panel(CLIPS["c"], ("a", "b", "ba"), ("Voice.",), "c")[0]
    family = tiny.reader.family
    ids = {token for tokens in label_tokens(family.tokenize, tiny.prompt(request), request.labels) for token in tokens}
    bias = torch.full((tiny.stock.lm_head.out_features,), -50.0)
    bias[:250] = 0.0  # letters; what lies above may be written and is not seen in a text
    bias[list(ids)], bias[list(tiny.reader.closing)] = 9.0, 9.3
    hook = family.model.lm_head.register_forward_hook(lambda module, inputs, output: output / 3 + bias)
    try:
        (out,) = tiny.reader.read([request])
        number = 250
        drawn = tiny.reader.write([request] * number, temperature=None, seeds=range(number), max_new_tokens=3)
        again = tiny.reader.write([request] * 3, temperature=None, seeds=[7, 5, 7], max_new_tokens=3)
    finally:
        hook.remove()
    assert again == [drawn[7], drawn[5], drawn[7]]
    shares = np.exp(out.log_probabilities)
    assert 0.15 < shares.sum() < 0.9
    counts = [drawn.count(label) for label in request.labels]
    observed, wanted = [*counts, number - sum(counts)], [*shares * number, (1 - shares.sum()) * number]
    assert chisquare(observed, wanted).pvalue > 0.01
