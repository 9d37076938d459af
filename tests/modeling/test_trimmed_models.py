"""The trimmed tower inside the stock generating model, in every precision and attention, and no silent slow path."""

import copy
import logging

import numpy as np
import pytest
import torch
from tiny_data import tone
from transformers import (
    AttentionInterface,
    AutoProcessor,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)
from transformers.models.qwen2_audio.configuration_qwen2_audio import Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder
from transformers.utils import is_flash_attn_2_available

from hf_emo_dist.audio.clips import load_audio
from hf_emo_dist.audio.qwen2_audio_tower import TrimmedQwen2AudioEncoder, encode_audio
from hf_emo_dist.modeling import audio_kwargs_for, use_trimmed_audio_tower
from hf_emo_dist.modeling.mini import load_whisper_encoder

CLIPS = [tone(200, 0.93), tone(400, 1.8, seed=1), tone(300, 0.0301, seed=2)]
PROMPTS = [
    f"<|im_start|>user\n<|audio_bos|><|AUDIO|><|audio_eos|>{text}<|im_end|>\n<|im_start|>assistant\n"
    for text in ("What do listeners hear?", "Hm?", "Words: one, two.")
]


def stock_model(backbone, dtype=torch.float32, attention="sdpa"):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = Qwen2AudioForConditionalGeneration.from_pretrained(
            backbone, dtype=torch.float32, attn_implementation=attention
        )
        for parameter in model.parameters():
            if parameter.ndim > 1:  # outputs that depend on the audio
                torch.nn.init.normal_(parameter, std=0.15)
    return model.to(dtype).eval()


def processor_of(backbone):
    ours = AutoProcessor.from_pretrained(backbone)
    return Qwen2AudioProcessor(ours.feature_extractor, ours.tokenizer)


def inputs_of(processor, clips=CLIPS, prompts=PROMPTS, padding_side="left", **kwargs):
    processor.tokenizer.padding_side = padding_side
    return processor(text=prompts, audio=clips, sampling_rate=16000, padding=True, return_tensors="pt", **kwargs)


def relative(found, expected):
    return float((found.double() - expected.double()).norm() / expected.double().norm())


# what two orders of the same sums differ by in a dtype
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-5, torch.bfloat16: 3e-2, torch.float16: 5e-3}


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_the_stock_model_gives_the_same_logits_on_short_features(tiny_backbone, dtype, attention):
    stock, processor = stock_model(tiny_backbone, dtype, attention), processor_of(tiny_backbone)
    long = inputs_of(processor)
    assert long["input_features"].shape[-1] == 3000
    ours = use_trimmed_audio_tower(copy.deepcopy(stock))
    short = inputs_of(processor, audio_kwargs=audio_kwargs_for(CLIPS, ours))
    assert short["input_features"].shape[-1] == 182
    torch.testing.assert_close(short["input_ids"], long["input_ids"])
    with torch.no_grad():
        expected, found = stock(**long).logits, ours(**short).logits
        again = ours(**long).logits
    valid = long["attention_mask"].bool()
    assert relative(found[valid], expected[valid]) <= TOLERANCE[dtype]
    assert relative(again[valid], expected[valid]) <= TOLERANCE[dtype]
    # and the audio matters
    swapped = inputs_of(processor, clips=[CLIPS[0][::-1] * 0.1, *CLIPS[1:]])
    with torch.no_grad():
        assert relative(stock(**swapped).logits[0][valid[0]], expected[0][valid[0]]) > 10 * TOLERANCE[dtype]


@pytest.mark.parametrize("count", [1, 3], ids=["one clip", "three clips"])
def test_generate_gives_the_stock_tokens(tiny_backbone, count):
    stock, processor = stock_model(tiny_backbone), processor_of(tiny_backbone)
    clips, prompts = CLIPS[:count], PROMPTS[:count]
    options = {"max_new_tokens": 12, "min_new_tokens": 12, "do_sample": False}
    expected = stock.generate(**inputs_of(processor, clips, prompts), **options)
    ours = use_trimmed_audio_tower(stock)
    assert ours is stock and isinstance(ours.model.audio_tower, TrimmedQwen2AudioEncoder)
    short = inputs_of(processor, clips, prompts, audio_kwargs=audio_kwargs_for(clips))
    found = ours.generate(**short, **options)
    assert short["input_features"].shape[-1] < 200
    assert found.tolist() == expected.tolist()
    other = inputs_of(processor, [clip[::-1] * 0.2 for clip in clips], prompts, audio_kwargs=audio_kwargs_for(clips))
    assert ours.generate(**other, **options).tolist() != expected.tolist()


def test_a_converted_model_saves_as_a_stock_one(tiny_backbone, tmp_path):
    model = use_trimmed_audio_tower(stock_model(tiny_backbone))
    model.save_pretrained(tmp_path)
    again = Qwen2AudioForConditionalGeneration.from_pretrained(tmp_path)
    assert type(again.model.audio_tower) is Qwen2AudioEncoder
    for name, value in again.state_dict().items():
        assert torch.equal(value, model.state_dict()[name])


@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16], ids=str)
def test_gradients_and_activation_checkpointing(tiny_backbone, dtype, attention):
    stock, processor = stock_model(tiny_backbone, dtype, attention), processor_of(tiny_backbone)
    ours = use_trimmed_audio_tower(copy.deepcopy(stock))
    # on the left, padding has no key to attend to, of which eager attention makes NaN in float64
    long = inputs_of(processor, padding_side="right")
    short = inputs_of(processor, padding_side="right", audio_kwargs=audio_kwargs_for(CLIPS))
    checkpointed = copy.deepcopy(ours)
    checkpointed.activation_checkpointing_enable()
    found = []
    for model, inputs in ((stock, long), (ours, short), (checkpointed, short)):
        calls = []
        hook = model.model.audio_tower.layers[0].fc1.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        model.train()(**inputs, use_cache=False).logits.float().square().mean().backward()
        hook.remove()
        tower = model.model.audio_tower
        found.append((len(calls), {n: p.grad for n, p in tower.named_parameters() if p.grad is not None}))
    assert [calls for calls, _ in found] == [1, 1, 2]  # with checkpointing the layer runs again in the backward pass
    expected = found[0][1]
    scale = max(gradient.double().norm() for gradient in expected.values())
    assert scale > 0
    for _, gradients in found[1:]:
        assert gradients.keys() == expected.keys()
        for name, gradient in gradients.items():
            # a softmax ignores what is added to all keys: such gradients are rounding, to be measured against the
            # others
            error = (gradient.double() - expected[name].double()).norm()
            assert error <= TOLERANCE[dtype] * (expected[name].double().norm() + 0.1 * scale), name


@pytest.mark.gpu
@pytest.mark.skipif(
    not (torch.cuda.is_available() and is_flash_attn_2_available()), reason="needs a GPU and the package flash-attn"
)
def test_flash_attention(tiny_backbone):
    stock = stock_model(tiny_backbone, torch.bfloat16, "flash_attention_2").cuda()
    processor = processor_of(tiny_backbone)
    long = inputs_of(processor).to("cuda")
    ours = use_trimmed_audio_tower(copy.deepcopy(stock))
    short = inputs_of(processor, audio_kwargs=audio_kwargs_for(CLIPS)).to("cuda")
    valid = long["attention_mask"].bool()
    with torch.no_grad():
        assert relative(ours(**short).logits[valid], stock(**long).logits[valid]) <= TOLERANCE[torch.bfloat16]


@pytest.fixture(scope="module")
def real_clips(real_data):
    folder = real_data / "ravdess" / "audio"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    clips = [load_audio(str(path)) for path in sorted(folder.glob("*.flac"))[:400:50]]
    assert all(1.9 < len(clip) / 16000 < 6.1 for clip in clips)
    return clips


@pytest.fixture(scope="module")
def whisper(real_data):
    folder = real_data / "whisper_tiny_en_encoder"
    if not folder.is_dir():
        pytest.skip(f"no {folder}")
    settings, weights = load_whisper_encoder(folder)
    config = Qwen2AudioEncoderConfig(**settings)
    config._attn_implementation = "sdpa"
    stock = Qwen2AudioEncoder(config).eval()
    stock.load_state_dict({name: weights[name] for name in stock.state_dict()})
    ours = TrimmedQwen2AudioEncoder(config).eval()
    ours.load_state_dict(stock.state_dict())
    return stock, ours


@pytest.mark.parametrize(("dtype", "bound"), [(torch.float32, 1e-5), (torch.float64, None)], ids=str)
def test_whisper_weights_on_real_speech(whisper, real_clips, dtype, bound):
    stock, ours = (copy.deepcopy(tower).to(dtype) for tower in whisper)
    extractor = WhisperFeatureExtractor(feature_size=stock.config.num_mel_bins)
    clips = real_clips if bound else real_clips[:2]

    def encoded(tower, **padding):
        options = {"sampling_rate": 16000, "return_attention_mask": True, "return_tensors": "pt", **padding}
        features = extractor(clips, **options)
        with torch.no_grad():
            return features["attention_mask"], encode_audio(
                tower, features["input_features"].to(dtype), features["attention_mask"]
            )

    long_mask, expected = encoded(stock)
    short_mask, found = encoded(ours, **audio_kwargs_for(clips))
    assert short_mask.shape[-1] < 700 and long_mask.shape[-1] == 3000
    assert torch.equal(short_mask.sum(-1), long_mask.sum(-1))
    if bound:
        assert relative(found, expected) <= bound
    else:
        torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


# ---- no silent slow path ----


def unmasked_attention(module, query, key, value, attention_mask, scaling=None, dropout=0.0, **kwargs):
    """An attention that attends to padding, as one that a user registered might."""
    weights = (query @ key.transpose(2, 3) * scaling).softmax(-1)
    return (weights @ value).transpose(1, 2).contiguous(), weights


def warnings_of(caplog):
    return [record for record in caplog.records if "30 s a clip" in record.getMessage()]


def test_an_unknown_attention_stays_on_30_s_with_one_warning(tiny_backbone, tiny_model, tiny_processor, caplog):
    AttentionInterface.register("unmasked", unmasked_attention)
    inputs = tiny_processor(audio=CLIPS)
    assert inputs["input_features"].shape[-1] == 182
    with caplog.at_level(logging.WARNING), torch.no_grad():
        before = tiny_model(**inputs).logits
        assert not warnings_of(caplog)
        tiny_model.model.audio_tower.set_attn_implementation("unmasked")
        seen = []
        hook = tiny_model.model.audio_tower.register_forward_pre_hook(lambda _, args: seen.append(args[0].shape[-1]))
        found = tiny_model(**inputs).logits
        tiny_model(**inputs)
        hook.remove()
    assert seen == [3000, 3000]
    assert len(warnings_of(caplog)) == 1 and "'unmasked'" in caplog.text
    assert torch.isfinite(found).all() and not torch.equal(found, before)

    # what the stock tower makes of it on 30 s
    stock = Qwen2AudioEncoder(tiny_model.model.audio_tower.config).eval()
    stock.load_state_dict(tiny_model.model.audio_tower.state_dict())
    features = tiny_processor.feature_extractor(
        CLIPS, sampling_rate=16000, return_attention_mask=True, return_tensors="pt"
    )
    tiny_model.model.audio_tower = stock
    with torch.no_grad():
        expected = tiny_model(
            **{
                **inputs,
                "input_features": features["input_features"],
                "feature_attention_mask": features["attention_mask"],
            }
        ).logits
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)

    caplog.clear()
    with caplog.at_level(logging.WARNING):
        model = stock_model(tiny_backbone)
        model.model.audio_tower.set_attn_implementation("unmasked")
        assert type(use_trimmed_audio_tower(model).model.audio_tower) is Qwen2AudioEncoder
        use_trimmed_audio_tower(model)
    assert len(warnings_of(caplog)) == 1 and "'unmasked'" in caplog.text
    assert audio_kwargs_for(CLIPS, model)["max_length"] == 480000


def test_attention_changed_after_the_conversion_is_refused(tiny_backbone):
    AttentionInterface.register("unmasked", unmasked_attention)
    model, processor = use_trimmed_audio_tower(stock_model(tiny_backbone)), processor_of(tiny_backbone)
    model.model.audio_tower.set_attn_implementation("unmasked")
    with pytest.raises(ValueError, match=r"'unmasked' is not known.*3000 frames"):
        model(**inputs_of(processor, audio_kwargs=audio_kwargs_for(CLIPS)))


def test_a_stock_tower_in_our_model_runs_on_30_s_with_one_warning(tiny_model, tiny_processor, caplog):
    inputs = tiny_processor(audio=CLIPS)
    with torch.no_grad():
        expected = tiny_model(**inputs).logits
        stock = Qwen2AudioEncoder(tiny_model.model.audio_tower.config).eval()
        stock.load_state_dict(tiny_model.model.audio_tower.state_dict())
        tiny_model.model.audio_tower = stock
        with caplog.at_level(logging.WARNING):
            found = [tiny_model(**inputs).logits for _ in range(2)]
    assert len(warnings_of(caplog)) == 1 and "use_trimmed_audio_tower" in caplog.text
    for logits in found:
        torch.testing.assert_close(logits, expected, atol=1e-5, rtol=1e-5)
    caplog.clear()
    with caplog.at_level(logging.WARNING), torch.no_grad():
        torch.testing.assert_close(use_trimmed_audio_tower(tiny_model)(**inputs).logits, expected, atol=0, rtol=0)
    assert not warnings_of(caplog)


class OwnTower(Qwen2AudioEncoder):
    """A tower whose forward we know nothing about."""


def test_a_tower_of_another_class_is_left_alone_with_one_warning(tiny_backbone, caplog):
    model = stock_model(tiny_backbone)
    model.model.audio_tower.__class__ = OwnTower
    with caplog.at_level(logging.WARNING):
        use_trimmed_audio_tower(use_trimmed_audio_tower(model))
    assert type(model.model.audio_tower) is OwnTower
    assert len(warnings_of(caplog)) == 1 and "OwnTower" in caplog.text


def test_a_model_without_a_tower_is_refused(tiny_model):
    with pytest.raises(ValueError, match="no Qwen2-Audio tower"):
        use_trimmed_audio_tower(tiny_model.model.language_model)


def test_lengths_for_the_processor_cover_the_longest_clip():
    for samples in (1, 320, 16000, 16001, 479999, 480000):
        kwargs = audio_kwargs_for([np.zeros(samples), np.zeros(100)])
        assert samples <= kwargs["max_length"] <= 480000 and kwargs["max_length"] % 320 == 0
