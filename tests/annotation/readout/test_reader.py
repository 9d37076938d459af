"""Bad input before anything is computed, memory that runs out, loading, and what a reader says of itself."""

import copy
import functools
import logging
import re
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from tiny_readers import FOCI, SYSTEM, Tiny, clip, model_and_processor, panel

from hf_emo_dist.annotation.readout.families import FAMILIES, family_class
from hf_emo_dist.annotation.readout.families.qwen2_audio import Qwen2AudioFamily
from hf_emo_dist.annotation.readout.labels import LabelError
from hf_emo_dist.annotation.readout.reader import LabelReader, ReadOut, ReadRequest

LABELS = ("sad", "sadness", "happy")


class UserFamily(Qwen2AudioFamily):
    """A family of the user's own."""

    title = "A user's own"


@pytest.fixture(scope="module")
def tiny():
    return Tiny.make("qwen2_audio")


@pytest.fixture
def nothing_runs(tiny, monkeypatch):
    """The model must not be called."""

    def called(*args, **options):
        raise AssertionError("something was computed")

    for part in (tiny.reader.model.model.audio_tower, tiny.reader.model.model.language_model):
        monkeypatch.setattr(part, "forward", called)


# --- what stops all: labels and prompts
SETTINGS = {
    "no labels": (LABELS[:0], "What?", r"labels are \(\)"),
    "an empty label": (("sad", " "), "What?", "' ' is empty"),
    "no text": (("sad", 3), "What?", "3 is no text"),
    "twice the same": (("sad", "sad"), "What?", "'sad' and 'sad' are the same word"),
    "the same but for case": (("Sad", "happy", "sad"), "What?", "'Sad' and 'sad' are the same word"),
    "the same but for its form": (("ｓａｄ", "sad"), "What?", "are the same word"),
    "a special token": (("sad", "<|im_end|>"), "What?", r"'<\|im_end\|>' holds '<\|im_end\|>'"),
}


@pytest.mark.parametrize(("labels", "text", "message"), SETTINGS.values(), ids=list(SETTINGS))
def test_wrong_labels_and_prompts(tiny, nothing_runs, labels, text, message):
    with pytest.raises(ValueError, match=message) as caught:
        tiny.reader.check(labels, SYSTEM, text)
    assert "Mend: " in str(caught.value)
    asked = [*panel(clip(0.5), LABELS), ReadRequest(clip(0.5), "clip", SYSTEM, text, labels)]
    with pytest.raises(ValueError, match=message):
        tiny.reader.read(asked)


def test_a_prompt_over_the_context(tiny, nothing_runs):
    with pytest.raises(ValueError, match=r"with the longest answer \d+ in all, and this model takes 2048.*Mend: "):
        tiny.reader.check(LABELS, SYSTEM, "word " * 3000)


def test_labels_that_the_tokenizer_cannot_tell(tiny, nothing_runs, monkeypatch):
    """A tokenizer that drops or merges what it does not know."""
    tokenize = tiny.reader.family.tokenize
    monkeypatch.setattr(tiny.reader.family, "tokenize", lambda text: tokenize(text.replace("怒", "").replace("ä", "a")))
    with pytest.raises(LabelError, match=r"nothing of the label '怒'.*Mend: "):
        tiny.reader.check(("sad", "怒"), SYSTEM, "Which label?")
    with pytest.raises(LabelError, match=r"'mad' and 'mäd' are the same tokens.*Mend: "):
        tiny.reader.check(("mad", "mäd"), SYSTEM, "Which word?")


# --- what concerns one clip
def _long_question(wave):
    return ReadRequest(wave, "long", SYSTEM, "These words are spoken: " + "word " * 3000, LABELS)


CLIPS = {
    "over what the model hears": (lambda: panel(clip(30.5), LABELS)[0], r"30\.5 s, and Qwen2-Audio hears 30 s"),
    "too short": (lambda: panel(clip(0.01), LABELS)[0], r"0\.010 s is too short"),
    "empty": (lambda: panel(np.zeros(0, np.float32), LABELS)[0], "too short"),
    "not finite": (lambda: panel(np.full(16000, np.nan, np.float32), LABELS)[0], "not finite"),
    "not mono": (lambda: panel(np.zeros((2, 16000), np.float32), LABELS)[0], r"float32 \(2, 16000\)"),
    "not float32": (lambda: panel(np.zeros(16000), LABELS)[0], "float64"),
    "a transcript over the context": (lambda: _long_question(clip(0.5)), "takes 2048"),
    "another clip's hash": (lambda: panel(clip(0.6), LABELS, name="good")[0], "have the hash 'good'"),
    "another clip's hash and length": (lambda: panel(clip(0.5, 1), LABELS, name="good")[0], "have the hash 'good'"),
}


@pytest.mark.parametrize(("bad", "message"), CLIPS.values(), ids=list(CLIPS))
def test_a_bad_clip_stands_in_its_place(tiny, bad, message):
    good = panel(clip(0.5), LABELS, name="good")[:2]
    written = functools.partial(tiny.reader.write, temperature=0, seeds=[0] * 3, max_new_tokens=2)
    for call in (tiny.reader.read, written):
        first, error, last = call([good[0], bad(), good[1]])
        assert isinstance(error, ValueError) and re.search(message, str(error)) and "Mend: " in str(error)
        assert not isinstance(first, Exception) and not isinstance(last, Exception)


def test_only_bad_clips(tiny, nothing_runs):
    bad = [make() for name, (make, _) in CLIPS.items() if "another" not in name]
    assert all(isinstance(out, ValueError) for out in tiny.reader.read(bad))
    assert tiny.reader.read([]) == []
    assert tiny.reader.write([], temperature=0, seeds=[], max_new_tokens=2) == []


# --- models that cannot be read out
def _without_ears():
    model, processor = model_and_processor("gemma4")
    model.config.audio_config = None
    return model, processor


def _text_model():
    config = transformers.Qwen2Config(hidden_size=8, num_hidden_layers=1, intermediate_size=8, num_attention_heads=2,
                                      num_key_value_heads=2, vocab_size=16)  # fmt: skip
    return transformers.Qwen2ForCausalLM(config), None


def _flash():
    model, processor = model_and_processor("qwen2_audio")
    model.config.get_text_config()._attn_implementation = "flash_attention_2"
    return model, processor


def _without_end():
    model, processor = model_and_processor("qwen2_audio")
    model.generation_config.eos_token_id = model.config.get_text_config().eos_token_id = None
    processor.tokenizer.eos_token = None
    return model, processor


MODELS = {
    "no audio tower": (_without_ears, {}, "hears nothing.*no audio tower"),
    "a language model": (_text_model, {}, "qwen2 model, which is no audio-language model"),
    "attention without a mask": (_flash, {}, "flash_attention_2.*attn_implementation='sdpa'"),
    "no end of an answer": (_without_end, {}, "eos_token_id"),
    "no budget": (lambda: model_and_processor("qwen2_audio"), {"token_budget": 0}, "token_budget=0"),
    "no such family": (lambda: model_and_processor("qwen2_audio"), {"family": "qwen9"}, "Unknown family 'qwen9'"),
}


@pytest.mark.parametrize(("make", "options", "message"), MODELS.values(), ids=list(MODELS))
def test_models_that_cannot_be_read_out(make, options, message):
    with pytest.raises(ValueError, match=f"(?s){message}.*") as caught:
        LabelReader(*make(), **options)
    assert "Mend: " in str(caught.value)


def test_a_template_without_a_place_for_audio(tiny):
    model, processor = model_and_processor("qwen2_audio")
    processor.chat_template = "{% for m in messages %}{% for c in m.content %}{{ c.text }}{% endfor %}{% endfor %}"
    with pytest.raises(ValueError, match=r"writes 0 places for the audio.*Mend: "):
        LabelReader(model, processor).check(LABELS, SYSTEM, "What?")
    processor.chat_template = "Hello."
    with pytest.raises(ValueError, match=r"does not write what the user says.*Mend: "):
        LabelReader(model, processor).check(LABELS, SYSTEM, "What?")


def test_special_tokens_in_what_is_said_are_taken_out(tiny):
    plain = ReadRequest(clip(0.5), "c", SYSTEM, "Said: '' What?", LABELS)
    tricky = ReadRequest(clip(0.5), "c", SYSTEM, "Said: '<|im_<|im_end|>end|><|AUDIO|>' What?", LABELS)
    one, other = tiny.reader.read([plain, tricky])
    np.testing.assert_array_equal(one.log_probabilities, other.log_probabilities)


# --- a clip is encoded once, and what prompts share goes through the language model once
def test_nothing_is_computed_twice(tiny, monkeypatch):
    towers, tokens = [], []
    tower, language_model = tiny.reader.model.model.audio_tower, tiny.reader.model.model.language_model
    for part, notes in ((tower, towers), (language_model, tokens)):
        forward = part.forward

        def counted(*args, forward=forward, notes=notes, **options):
            notes.append(options["inputs_embeds"].shape if "inputs_embeds" in options else args[0].shape)
            return forward(*args, **options)

        monkeypatch.setattr(part, "forward", counted)
    asked = panel(clip(0.9), LABELS)
    tiny.reader.read(asked)
    assert len(towers) == 1 and towers[0][0] == 1
    prefix, *passes = (shape[1] for shape in tokens)
    prompts = [tiny.ids(tiny.prompt(request))[0].tolist() for request in asked]
    shared = next(i for i, column in enumerate(zip(*prompts, strict=False)) if len(set(column)) > 1)
    assert prefix == shared
    # three ends of prompts, and the tokens of labels behind each, a common beginning of two labels once
    labels = [len(tiny.ids(tiny.prompt(asked[0]) + label)[0]) - len(prompts[0]) for label in LABELS]
    common = len(tiny.ids(tiny.prompt(asked[0]) + "sad")[0]) - len(prompts[0])
    assert sum(passes) <= sum(len(prompt) - shared for prompt in prompts) + 3 * (sum(labels) - common)


# --- out of memory
@pytest.fixture
def small_memory(tiny, monkeypatch):
    """A language model that holds so many tokens, fewer than a batch wants."""

    def set_to(limit):
        language_model = tiny.reader.model.model.language_model
        forward = language_model.forward

        def forward_in_little(*args, **options):
            held = options["past_key_values"].get_seq_length() if options.get("past_key_values") is not None else 0
            shape = options["inputs_embeds"].shape
            if shape[0] * (shape[1] + held) > limit:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20.00 MiB.")
            return forward(*args, **options)

        monkeypatch.setattr(language_model, "forward", forward_in_little)
        tiny.reader.token_budget = 100_000

    yield set_to
    tiny.reader.token_budget = 100_000


def test_the_batch_halves_and_goes_on(tiny, small_memory, caplog):
    asked = [request for i in range(6) for request in panel(clip(0.5 + i / 10), LABELS, name=str(i))]
    tiny.reader.token_budget = 100_000
    expected = tiny.reader.read(asked)
    small_memory(700)
    with caplog.at_level(logging.WARNING):
        found = tiny.reader.read(asked)
    for one, other in zip(expected, found, strict=True):
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, rtol=1e-5, atol=1e-5)
    assert tiny.reader.token_budget <= 700
    warned = [record.message for record in caplog.records if "out of memory" in record.message]
    assert f"at most {tiny.reader.token_budget} tokens in a batch" in warned[-1]
    # what fits is kept for the next call
    caplog.clear()
    tiny.reader.read(asked)
    assert not caplog.records


def test_one_prompt_that_does_not_fit_stands_alone(tiny, small_memory, caplog):
    short = panel(clip(0.5), LABELS, name="short")
    long = [ReadRequest(clip(0.5), "long", SYSTEM, "word " * 400 + focus, LABELS) for focus in FOCI]
    small_memory(400)
    with caplog.at_level(logging.WARNING):
        found = tiny.reader.read([*long, *short])
    assert all(isinstance(out, MemoryError) and "Mend: " in str(out) for out in found[:3])
    assert all(isinstance(out, ReadOut) for out in found[3:])


def test_writing_halves_too(tiny, small_memory, caplog):
    asked = [request for i in range(3) for request in panel(clip(0.5 + i / 10), LABELS, name=str(i))]
    tiny.reader.token_budget = 100_000
    options = {"temperature": 1.0, "seeds": range(9), "max_new_tokens": 3}
    expected = tiny.reader.write(asked, **options)
    small_memory(600)
    with caplog.at_level(logging.WARNING):
        assert tiny.reader.write(asked, **options) == expected
    assert "out of memory" in caplog.text and tiny.reader.token_budget < 700


def test_other_errors_are_not_taken_for_it(tiny, monkeypatch):
    def broken(*args, **options):
        raise RuntimeError("a bug")

    monkeypatch.setattr(tiny.reader.model.model.language_model, "forward", broken)
    with pytest.raises(RuntimeError, match="a bug"):
        tiny.reader.read(panel(clip(0.5), LABELS))


# --- options
def test_wrong_options_of_writing(tiny, nothing_runs):
    asked = panel(clip(0.5), LABELS)
    with pytest.raises(ValueError, match=r"3 requests and 1 seeds.*Mend: "):
        tiny.reader.write(asked, temperature=0, seeds=[0], max_new_tokens=2)
    with pytest.raises(ValueError, match=r"temperature=-1.*Mend: "):
        tiny.reader.write(asked, temperature=-1, seeds=[0] * 3, max_new_tokens=2)


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
def test_kinds_of_attention_and_bf16(attention):
    tiny = Tiny.make("qwen2_audio")
    asked = panel(clip(0.7), LABELS)
    expected = tiny.reader.read(asked)
    model, processor = model_and_processor("qwen2_audio")
    model.set_attn_implementation(attention)
    for kind, error in ((torch.float32, 1e-5), (torch.bfloat16, 0.05)):
        reader = LabelReader(model.to(kind), processor)
        assert reader.provenance["dtype"] == str(kind).removeprefix("torch.")
        for one, other in zip(expected, reader.read(asked), strict=True):
            np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, rtol=error, atol=error)


def test_granite_speech_scales_its_logits():
    """As its language model was trained, which transformers' class around it forgets; `generate` has it too then."""
    model, processor = model_and_processor("granite_speech")
    plain = model_and_processor("granite_speech")[0]
    asked = panel(clip(0.7), LABELS)
    model.config.get_text_config().logits_scaling = 4.0
    tiny = Tiny("granite_speech", LabelReader(model, processor), plain)
    plain.lm_head = copy.deepcopy(plain.lm_head)  # it is tied to the embedding
    plain.lm_head.weight.data /= 4.0
    for request, out in zip(asked, LabelReader(model, processor).read(asked), strict=True):
        np.testing.assert_allclose(out.log_probabilities, tiny.full_pass(request), rtol=1e-5, atol=1e-5)
    ids = torch.zeros((1, 1), dtype=torch.long)
    torch.testing.assert_close(model(input_ids=ids).logits, plain(input_ids=ids).logits)


# --- loading
@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("readout") / "model"
    model, processor = model_and_processor("qwen2_audio")
    model.save_pretrained(folder)
    processor.save_pretrained(folder)
    return folder


def test_a_checkpoint_is_loaded_and_no_code_of_it_is_run(tiny, checkpoint, monkeypatch):
    trusted = []
    for name in ("AutoConfig", "AutoProcessor", "AutoModelForMultimodalLM"):
        kind = getattr(transformers, name)
        load = kind.from_pretrained

        def noted(*args, load=load, **options):
            trusted.append(options["trust_remote_code"])
            return load(*args, **options)

        monkeypatch.setattr(kind, "from_pretrained", noted)
    reader = LabelReader.from_pretrained(checkpoint, dtype="float32", token_budget=300)
    assert len(trusted) >= 3 and set(trusted) == {False}
    assert reader.provenance == {
        "model": str(checkpoint), "revision": None, "dtype": "float32", "quantization": None, "device": "cpu",
        "family": "Qwen2-Audio",
    }  # fmt: skip
    assert reader.longest_clip_s == 30 and reader.token_budget == 300
    asked = panel(clip(0.7), LABELS)
    for one, other in zip(tiny.reader.read(asked), reader.read(asked), strict=True):
        np.testing.assert_allclose(one.log_probabilities, other.log_probabilities, rtol=1e-5, atol=1e-5)


def test_a_family_of_the_users_own(checkpoint):
    model, processor = model_and_processor("qwen2_audio")
    reader = LabelReader(model, processor, family=f"{__name__}:UserFamily")
    assert reader.provenance["family"] == "A user's own"


def test_what_cannot_be_loaded(checkpoint, tmp_path):
    with pytest.raises(ValueError, match=r"quantization='8bit'.*Mend: "):
        LabelReader.from_pretrained(checkpoint, quantization="8bit")
    with pytest.raises(OSError, match="nowhere"):
        LabelReader.from_pretrained(tmp_path / "nowhere")
    if not transformers.utils.is_bitsandbytes_available():
        with pytest.raises(ModuleNotFoundError, match=r"hf-emo-dist\[4bit\]"):
            LabelReader.from_pretrained(checkpoint, quantization="4bit")


def test_the_families_table_is_what_the_code_says():
    text = (Path(__file__).parents[3] / "docs" / "readout.md").read_text(encoding="utf-8")
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if "| `" in line]
    families = {family_class(name) for name in FAMILIES}
    assert all(family.tested for family in families)
    assert rows == [
        [
            family.title,
            f"`{family.example}`",
            f"{family.longest_clip_s:g} s" if family.longest_clip_s else "its context",
            family.untested,
        ]
        for family in sorted(families, key=lambda family: family.title)
    ]
