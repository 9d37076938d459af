"""Quantised backbones, as far as they can be tested without bitsandbytes and a GPU: what is handed over and written."""

import json
import shutil

import pytest
import torch
from tiny_data import TINY_EMOTIONS
from transformers import BitsAndBytesConfig, QuantoConfig
from transformers.modeling_utils import PreTrainedModel

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.quantization import check_head_is_whole, keep_head_whole
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer

GIVEN = {
    "4 bits": BitsAndBytesConfig(load_in_4bit=True),
    "8 bits": BitsAndBytesConfig(load_in_8bit=True),
    "others skipped": BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["multi_modal_projector"]),
    "the head skipped": BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["head"]),
    "another kind": QuantoConfig(weights="int8"),
    "as in a file": {"quant_method": "bitsandbytes", "load_in_4bit": True},
    "another kind, as in a file": {"quant_method": "quanto", "weights": "int8", "modules_to_not_convert": ["lm_head"]},
}


def skipped(config):
    values = config if isinstance(config, dict) else config.to_dict()
    return values.get("llm_int8_skip_modules") or values.get("modules_to_not_convert") or []


@pytest.mark.parametrize("given", GIVEN.values(), ids=GIVEN.keys())
def test_the_head_is_never_quantised(tiny_backbone, monkeypatch, given):
    before, handed = list(skipped(given)), {}

    def stop(cls, name, *args, **kwargs):
        handed.update(kwargs)
        raise KeyboardInterrupt  # quantising needs a library and a GPU

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(stop))
    with pytest.raises(KeyboardInterrupt):
        Qwen2AudioForEmotionDistribution.from_pretrained(
            tiny_backbone, emotions=TINY_EMOTIONS, quantization_config=given
        )
    after = skipped(handed["quantization_config"])
    assert after.count("head") == 1 and set(before) <= set(after)
    assert list(skipped(given)) == before  # the user's own is not changed


def test_a_head_that_was_quantised_all_the_same_is_refused(tiny_model):
    check_head_is_whole(tiny_model)
    weight = torch.zeros(3, 8, dtype=torch.uint8)
    tiny_model.head.classifier.weight = torch.nn.Parameter(weight, requires_grad=False)
    with pytest.raises(ValueError, match=r"first: head\.classifier\.weight.*Mend: list 'head'"):
        check_head_is_whole(tiny_model)
    assert keep_head_whole(None) is None


@pytest.fixture
def quantised(tmp_path, tiny_backbone, tiny_processor):
    """An adapter that was trained on a backbone in 4 bits, as its training machine held it."""
    model = Qwen2AudioForEmotionDistribution.from_pretrained(
        shutil.copytree(tiny_backbone, tmp_path / "base"), emotions=TINY_EMOTIONS
    )
    model.config.quantization_config = BitsAndBytesConfig(load_in_4bit=True, llm_int8_skip_modules=["head"])
    trainer = EmotionDistributionTrainer(
        model=model,
        args=EmotionDistributionTrainingArguments(str(tmp_path / "adapter"), use_cpu=True),
        processing_class=tiny_processor,
        peft_config=emotion_lora_config("paper"),
    )
    trainer.save_model()
    return tmp_path / "adapter"


def test_nothing_of_the_training_machine_goes_into_what_is_loaded(quantised, tmp_path):
    settings = json.loads((quantised / "emotion_config.json").read_text())
    written = json.dumps(settings)
    for word in ("quantization", "bitsandbytes", "4bit", "_name_or_path", "use_cache", str(tmp_path)):
        assert word not in written, word
    model, _ = load_emotion_model(quantised)
    assert not hasattr(model.config, "quantization_config")
    assert Qwen2AudioForEmotionDistribution.from_pretrained(quantised).config.emotions == TINY_EMOTIONS


def test_an_adapter_that_0_1_wrote_in_4_bits_loads(quantised):
    file = quantised / "emotion_config.json"
    settings = json.loads(file.read_text())
    settings["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True).to_dict()
    file.write_text(json.dumps(settings, default=str))
    model, _ = load_emotion_model(quantised, merge=True)
    assert not hasattr(model.config, "quantization_config")


def test_a_backbone_whose_files_are_quantised_stays_so(quantised, tmp_path):
    file = tmp_path / "base" / "config.json"
    config = json.loads(file.read_text())
    config["quantization_config"] = BitsAndBytesConfig(load_in_4bit=True).to_dict()
    file.write_text(json.dumps(config, default=str))
    with pytest.raises((ImportError, RuntimeError), match=r"(?i)bitsandbytes|gpu|cuda|accelerator"):
        load_emotion_model(quantised)
