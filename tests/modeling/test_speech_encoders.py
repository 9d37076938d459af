"""Speech encoders: what they compute is what transformers' own classes compute, whatever the batch around a clip."""

import json
import os
import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers
from peft import get_peft_model
from safetensors.torch import load_file, save_file
from speech_encoders import CASES, FAMILIES
from tiny_data import TINY_EMOTIONS, tone

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling import backbones
from hf_emo_dist.modeling.adapters import save_adapter_config
from hf_emo_dist.modeling.backbones.speech_encoder import SpeechEncoderForEmotionDistribution
from hf_emo_dist.modeling.bare_encoder import bare_encoder_config
from hf_emo_dist.modeling.base_content import base_content
from hf_emo_dist.modeling.model import EmotionDistributionModel, IncompleteWeightsError
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.lora import emotion_lora_config

SECONDS = [0.021, 0.3, 0.9, 0.05, 0.6, 0.4013, 0.033, 1.2]
CLIPS = [tone(100 + 60 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]


@pytest.fixture(scope="module", params=CASES.values(), ids=CASES.keys())
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.backbone(tmp_path_factory.mktemp("encoder") / "backbone")


def load(folder, **options):
    torch.manual_seed(1)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, **options).eval()
    with torch.no_grad():  # an untrained head answers nearly the same to everything
        for parameter in model.head.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)


@pytest.mark.parametrize("weighted", [True, False])
@torch.no_grad()
def test_logits_are_those_of_the_stock_class(case, tmp_path, weighted):
    stock = case.stock(case.stock_head, use_weighted_layer_sum=weighted, num_labels=3)
    stock.save_pretrained(tmp_path)
    case.feature_extractor().save_pretrained(tmp_path)
    model, processor = load(tmp_path, pooling="mean", use_weighted_layer_sum=weighted)
    model.head.load_state_dict(
        {name: value for name, value in stock.state_dict().items() if name in model.head.state_dict()}
    )
    if case.family == "whisper":
        # on less the stock encoder attends to the silence that it pads with
        inputs = processor(audio=[tone(200, 30.0)])
        expected = stock(inputs["input_features"]).logits
    else:
        # a clip by itself: among others, padding leaks into some of the stock classes
        clips = [processor(audio=[clip]) for clip in CLIPS[1:4]]
        expected = torch.cat([stock(**inputs).logits for inputs in clips])
        inputs = processor(audio=CLIPS[1:4])
    torch.testing.assert_close(model(**inputs).logits, expected, atol=2e-5, rtol=1e-4)
    assert len(expected) == 1 or expected.std(0).max() > 1e-2


@pytest.mark.parametrize("options", [{}, {"average_frames": 1}, {"pooling": "mean"}, {"use_weighted_layer_sum": False}])
@torch.no_grad()
def test_a_batch_of_eight_equals_eight_batches_of_one(folder, options):
    model, processor = load(folder, **options)
    batch = model(**processor(audio=CLIPS)).logits
    single = torch.cat([model(**processor(audio=[clip])).logits for clip in CLIPS])
    torch.testing.assert_close(batch, single, atol=1e-5, rtol=1e-5)
    assert (batch[:, None] - batch[None]).abs().amax(-1)[~torch.eye(8, dtype=bool)].min() > 1e-4  # all differ


@pytest.mark.parametrize("name", ["wav2vec2", "hubert", "wavlm", "unispeech-sat", "data2vec-audio"])
@torch.no_grad()
def test_padding_leaks_into_the_stock_class(name, tmp_path):
    """Why there are masked modules: should transformers mend it, they can go."""
    case = CASES[name]
    stock = case.stock(case.stock_head, num_labels=3)
    _, processor = load(case.backbone(tmp_path))
    batch = stock(**processor(audio=CLIPS)).logits
    single = torch.cat([stock(**processor(audio=[clip])).logits for clip in CLIPS])
    assert (batch - single).abs().max() > 1e-3


@torch.no_grad()
def test_tokens_are_the_encoder_s_frames(folder):
    model, processor = load(folder, average_frames=1)
    for clip in [*CLIPS, np.zeros(160 * 7 + 1, np.float32)]:
        inputs = processor(audio=[clip])
        mask = model.states(inputs[model.main_input_name], inputs["attention_mask"])[1]
        assert mask.sum() == processor.num_tokens(len(clip)) >= 1


# --- loading


@pytest.mark.parametrize("head", ["Model", "ForSequenceClassification", "ForCTC", "ForConditionalGeneration"])
def test_every_layout_of_a_backbone_loads_with_only_the_head_new(case, tmp_path, head):
    if not hasattr(__import__("transformers"), case.name + head):
        pytest.skip(f"transformers has no {case.name}{head}")
    case.backbone(tmp_path, head)
    model, info = EmotionDistributionModel.from_pretrained(
        tmp_path, emotions=TINY_EMOTIONS, output_loading_info=True, dtype="float32"
    )
    assert all(key.startswith("head.") for key in info["missing_keys"]) and info["missing_keys"]
    saved = load_file(tmp_path / "model.safetensors")
    for name, value in model.encoder.state_dict().items():
        # a norm's two factors have had two names
        old = name.replace("parametrizations.weight.original0", "weight_g")
        old = old.replace("parametrizations.weight.original1", "weight_v")
        found = [key for key in saved if key.endswith((f".{name}", f".{old}")) or key in (name, old)]
        assert any(torch.equal(saved[key], value) for key in found), name


def test_a_missing_weight_of_the_encoder_is_an_error(folder, tmp_path):
    weights = load_file(folder / "model.safetensors")
    gone = next(name for name in weights if "layers.1." in name and "decoder" not in name)
    del weights[gone]
    for name in os.listdir(folder):
        if name.endswith(".json"):
            (tmp_path / name).write_bytes((folder / name).read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(IncompleteWeightsError, match="lacks 1 weights"):
        EmotionDistributionModel.from_pretrained(tmp_path, emotions=TINY_EMOTIONS)


def test_layers_are_not_dropped_and_the_head_stays_in_float32(folder):
    model, _ = load(folder, dtype=torch.bfloat16)
    own = model.config.encoder_config
    assert getattr(own, "layerdrop", 0.0) == getattr(own, "encoder_layerdrop", 0.0) == 0.0
    assert {value.dtype for value in model.encoder.parameters()} == {torch.bfloat16}
    assert {value.dtype for value in model.head.parameters()} == {torch.float32}


def bare(tmp_path, **changes):
    settings = {"num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 24,
                "d_model": 16, "max_source_positions": 1500, **changes}  # fmt: skip
    weights = {key: value.half() for key, value in FAMILIES["whisper"].stock().encoder.state_dict().items()}
    tmp_path.mkdir()
    save_file(weights, tmp_path / "fp16.safetensors")
    (tmp_path / "encoder_config.json").write_text(json.dumps(settings))
    return tmp_path, weights


def test_a_folder_with_an_encoder_alone(tmp_path):
    folder, weights = bare(tmp_path / "encoder")
    model, processor = load(folder)
    assert model.family == "whisper" and model.dtype == torch.float32
    assert all(torch.equal(model.encoder.state_dict()[key], value.float()) for key, value in weights.items())
    assert processor.feature_extractor.feature_size == 16
    (folder / "fp16.safetensors").unlink()
    with pytest.raises(OSError, match=r"no \.safetensors file"):
        load(folder)
    (folder / "encoder_config.json").write_text("{}")
    with pytest.raises(ValueError, match="names no model_type that is known"):
        bare_encoder_config(folder, {})


def test_an_adapter_on_an_encoder_alone_comes_back(tmp_path):
    folder, _ = bare(tmp_path / "encoder")
    model, processor = load(folder)
    adapted = get_peft_model(model, emotion_lora_config("all", model=model, init_lora_weights=False)).eval()
    adapted.save_pretrained(tmp_path / "adapter")
    save_adapter_config(model.config, tmp_path / "adapter", base_content(model))
    processor.save_pretrained(tmp_path / "adapter")
    again, its_processor = load_emotion_model(tmp_path / "adapter")
    with torch.no_grad():
        torch.testing.assert_close(again(**its_processor(audio=CLIPS)).logits, adapted(**processor(audio=CLIPS)).logits)


@pytest.mark.parametrize("task", ["speech-emotion-distribution", "audio-classification"])
def test_pipelines_say_that_an_adapter_is_of_other_weights(tmp_path, task):
    case = CASES["whisper"]
    model, processor = load(case.backbone(tmp_path / "backbone"))
    get_peft_model(model, emotion_lora_config("all", model=model)).save_pretrained(tmp_path / "adapter")
    save_adapter_config(model.config, tmp_path / "adapter", "1:of another")
    processor.save_pretrained(tmp_path / "adapter")
    with pytest.raises(ValueError, match=r"was trained on a backbone with other weights than those in '.*backbone'"):
        transformers.pipeline(task, model=str(tmp_path / "adapter"))
    # what was refused says nothing of a model that is loaded next
    stock = case.stock("ForAudioClassification")
    with pytest.raises(ValueError, match="what was loaded is a WhisperForAudioClassification"):
        transformers.pipeline("speech-emotion-distribution", model=stock, feature_extractor=case.feature_extractor())


@pytest.mark.skipif(
    not Path(os.environ.get("HF_EMO_DIST_TEST_DATA", "../shared/data"), "whisper_base_encoder").is_dir(),
    reason="whisper_base_encoder is not here",
)
@torch.no_grad()
def test_half_precision_of_what_is_kept_is_within_a_thousandth():
    folder = Path(os.environ.get("HF_EMO_DIST_TEST_DATA", "../shared/data"), "whisper_base_encoder")
    torch.manual_seed(0)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS).eval()
    processor = EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)
    model.head.classifier.weight.mul_(20)
    inputs = processor(audio=[tone(200, 1.0), tone(500, 0.7)])
    model.calibrate([inputs])
    kept, counts = model.cached_outputs(inputs)
    assert kept.dtype == torch.float16
    again = model(audio_embeddings=kept, audio_counts=torch.tensor(counts)).logits.softmax(-1)
    torch.testing.assert_close(again, model(**inputs).logits.softmax(-1), atol=1e-3, rtol=0)


# --- training


def test_a_frozen_encoder_stays_in_evaluation_mode_and_has_no_gradients(folder):
    model, processor = load(folder)
    inputs = processor(audio=CLIPS[:2])
    model.train()
    assert model.encoder.training and model.states(inputs[model.main_input_name], inputs["attention_mask"])[0].grad_fn
    model.freeze(["encoder"])
    model.train()
    assert not model.encoder.training and model.head.training
    states = [model.states(inputs[model.main_input_name], inputs["attention_mask"])[0] for _ in range(2)]
    assert states[0].grad_fn is None and torch.equal(*states)


def test_gradient_checkpointing_gives_the_same_gradients(folder):
    gradients = []
    for checkpointing in (False, True):
        model, processor = load(folder)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        for name in ("hidden_dropout", "attention_dropout", "activation_dropout", "dropout", "mask_time_prob"):
            if hasattr(model.encoder.config, name):
                setattr(model.encoder.config, name, 0.0)
        model.requires_grad_(True)
        if checkpointing:
            model.gradient_checkpointing_enable()
        model.train()
        model(**processor(audio=CLIPS[1:4]), labels=torch.tensor([[0.6, 0.3, 0.1]] * 3)).loss.backward()
        gradients.append({name: value.grad for name, value in model.named_parameters() if value.grad is not None})
    assert gradients[0].keys() == gradients[1].keys() and len(gradients[0]) > 20
    for name, value in gradients[0].items():
        torch.testing.assert_close(gradients[1][name], value, atol=1e-6, rtol=1e-4, msg=name)


def test_calibration_standardises_each_layer(folder):
    model, processor = load(folder)
    inputs = processor(audio=CLIPS)
    model.calibrate([inputs])
    states, mask = model.states(inputs[model.main_input_name], inputs["attention_mask"])
    seen = (states[mask.bool()] - model.head.center) * model.head.scale
    assert model.is_calibrated and seen.mean(0).abs().max() < 1e-2
    changing = states[mask.bool()].std(0) > 0.02 * model.head.center.abs() + 2e-3
    assert changing.float().mean() > 0.5
    torch.testing.assert_close(seen.std(0)[changing], torch.ones(int(changing.sum())), atol=2e-2, rtol=0)


# --- transcripts


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory):
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    words = ["[PAD]", "[CLS]", "[SEP]", "[UNK]", "kids", "are", "talking", "i", "am", "so", "glad"]
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate(words)}, "[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 1), ("[SEP]", 2)])
    folder = tmp_path_factory.mktemp("text") / "bert"
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token="[PAD]", model_max_length=32).save_pretrained(folder)
    torch.manual_seed(0)
    config = BertConfig(vocab_size=len(words), hidden_size=12, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=16)  # fmt: skip
    model = BertModel(config)
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    model.save_pretrained(folder)
    return folder


WORDS = ["kids are talking", None, "i am so glad", "", "glad", None, "so so so", "kids"]


@pytest.mark.parametrize("pooling", ["statistics", "mean"])
@torch.no_grad()
def test_transcripts_are_read_beside_the_audio(folder, text_encoder, tmp_path, pooling):
    torch.manual_seed(1)
    options = {"emotions": TINY_EMOTIONS, "text_encoder": text_encoder}
    model = EmotionDistributionModel.from_pretrained(folder, pooling=pooling, **options).eval()
    processor = EmotionDistributionProcessor.from_pretrained(folder, **options)
    model.head.classifier.weight.mul_(20)
    stock = load_file(text_encoder / "model.safetensors")
    assert all(torch.equal(value, stock[name]) for name, value in model.text_encoder.state_dict().items())
    assert not any(value.requires_grad for value in model.text_encoder.parameters())
    batch = model(**processor(audio=CLIPS, transcript=WORDS)).logits
    single = [model(**processor(audio=[c], transcript=[w])).logits for c, w in zip(CLIPS, WORDS, strict=True)]
    torch.testing.assert_close(batch, torch.cat(single), atol=1e-5, rtol=1e-5)
    silent = model(**processor(audio=CLIPS)).logits
    heard = [i for i, words in enumerate(WORDS) if words]
    changed = (batch - silent).abs().amax(1)
    assert changed[heard].min() > 1e-4 and changed[[1, 3, 5]].max() < 1e-5
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    assert str(text_encoder) not in "".join(path.read_text() for path in tmp_path.glob("*.json"))
    again = EmotionDistributionModel.from_pretrained(tmp_path).eval()
    inputs = EmotionDistributionProcessor.from_pretrained(tmp_path)(audio=CLIPS, transcript=WORDS)
    assert torch.equal(again(**inputs).logits, batch)


# --- a family of the user's own

# the file that CONTRIBUTING shows
TOY, LINE = re.search(
    r"`src/hf_emo_dist/modeling/backbones/toy\.py`.*?```python\n(.*?)```\nThe line, in `FAMILIES`[^:]+: `([^`]+)`",
    (Path(__file__).parents[2] / "CONTRIBUTING.md").read_text(encoding="utf-8"),
    flags=re.DOTALL,
).groups()


@pytest.fixture
def toy(tmp_path, monkeypatch):
    (tmp_path / "toy.py").write_text(TOY)
    monkeypatch.syspath_prepend(str(tmp_path))
    import toy

    toy.ToyModel(toy.ToyConfig()).save_pretrained(tmp_path / "backbone")
    yield tmp_path
    sys.modules.pop("toy")


def check_toy(folder, out, **options):
    model, processor = (
        EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, **options).eval(),
        EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS, **options),
    )
    assert type(model).__name__ == "ToyForEmotionDistribution"
    assert isinstance(model, SpeechEncoderForEmotionDistribution)
    model.save_pretrained(out)
    processor.save_pretrained(out)
    again = EmotionDistributionModel.from_pretrained(out, **options).eval()
    inputs = EmotionDistributionProcessor.from_pretrained(out, **options)(audio=CLIPS)
    assert torch.equal(again(**inputs).logits, model(**inputs).logits)


def test_a_family_is_one_file_and_one_line(toy, monkeypatch):
    with pytest.raises(ValueError, match=r"is a toy model, which no family.*pass family='module:Name'"):
        EmotionDistributionModel.from_pretrained(toy / "backbone", emotions=TINY_EMOTIONS)
    monkeypatch.setattr(backbones, "__path__", [*backbones.__path__, str(toy)])
    for name, place in eval(f"{{{LINE}}}").items():
        monkeypatch.setitem(backbones.FAMILIES, name, place)
    check_toy(toy / "backbone", toy / "out")


def test_a_family_of_the_users_own_by_module_and_name(toy):
    check_toy(toy / "backbone", toy / "out", family="toy:ToyForEmotionDistribution")
