"""An adapter knows its backbone by what it holds, not by where it lies."""

import json
import shutil

import numpy as np
import pytest
import torch
from peft import get_peft_model
from quick import mostly_slow
from safetensors.torch import load_file, save_file
from tiny_data import TINY_EMOTIONS, tone
from trainer_setup import make_trainer
from transformers import AutoModelForAudioClassification, pipeline

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.base_content import OtherBaseError, base_content, differing_weights
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer


def make_adapter(model, processor, folder, rows=None):
    trainer = EmotionDistributionTrainer(
        model=model,
        args=EmotionDistributionTrainingArguments(
            str(folder), use_cpu=True, max_steps=2, learning_rate=0.05, disable_tqdm=True
        ),
        processing_class=processor,
        train_dataset=rows,
        peft_config=emotion_lora_config("paper"),
    )
    if rows is not None:
        trainer.train()
    trainer.save_model()
    return folder


@pytest.fixture
def base(tmp_path, tiny_backbone):
    return shutil.copytree(tiny_backbone, tmp_path / "base")


def load(folder, **options):
    return Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=TINY_EMOTIONS, **options)


@pytest.fixture
def adapter(base, tmp_path, tiny_processor, tiny_train):
    return make_adapter(load(base), tiny_processor, tmp_path / "adapter", tiny_train)


def change(folder, name, factor=1.001):
    weights = load_file(folder / "model.safetensors")
    weights[name] = weights[name] * factor
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})


LOADERS = {
    "load_emotion_model": load_emotion_model,
    "merged": lambda folder: load_emotion_model(folder, merge=True),
    "its class": Qwen2AudioForEmotionDistribution.from_pretrained,
    "AutoModel": AutoModelForAudioClassification.from_pretrained,
    "pipeline": lambda folder: pipeline("speech-emotion-distribution", model=str(folder)),
}


@pytest.mark.parametrize("loader", mostly_slow(LOADERS, "load_emotion_model", "merged"))
def test_a_backbone_of_the_same_shapes_with_other_weights_is_refused(adapter, base, loader):
    assert loader(adapter)
    change(base, "language_model.model.layers.0.self_attn.q_proj.weight")
    with pytest.raises(ValueError, match=r"trained on a backbone with other weights.*Mend: put back"):
        loader(adapter)


def test_so_does_a_model_that_is_there_already(adapter, base):
    again = load(base)
    again.load_adapter(adapter)
    emotions = TINY_EMOTIONS[::-1]
    with pytest.raises(ValueError, match="was trained for"):
        Qwen2AudioForEmotionDistribution.from_pretrained(base, emotions=emotions).load_adapter(str(adapter))
    merged, _ = load_emotion_model(adapter, merge=True)
    with pytest.raises(OtherBaseError, match=r"others in memory.*Mend: put back"):
        merged.load_adapter(adapter)
    change(base, "language_model.model.layers.0.self_attn.q_proj.weight")
    with pytest.raises(OtherBaseError, match=r"trained on a backbone with other weights.*Mend: put back"):
        load(base).load_adapter(str(adapter), adapter_kwargs={"local_files_only": True})


def test_any_weight_but_the_heads_counts(base):
    content = base_content(load(base))
    names = [name for name in load_file(base / "model.safetensors") if "lm_head" not in name]
    seen = {content}
    for name in names[::5]:
        change(base, name, 1.5 if "bias" in name or "norm" in name else 1.01)
        seen.add(base_content(load(base)))
    zeros = sum(not load_file(base / "model.safetensors")[name].any() for name in names[::5])
    assert len(seen) == 1 + len(names[::5]) - zeros


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_the_dtype_it_is_loaded_in_does_not(base, dtype):
    model = load(base, dtype=dtype)
    assert base_content(model) == base_content(load(base)) and differing_weights(model) == []


def test_nor_do_the_layout_and_the_dtype_of_the_files(base, tmp_path):
    content = base_content(load(base))
    checkpoint = tmp_path / "checkpoint"
    load(base).save_pretrained(checkpoint, max_shard_size="20KB")  # named as in the model, with a head, in shards
    assert len(list(checkpoint.glob("*.safetensors"))) > 1
    assert base_content(Qwen2AudioForEmotionDistribution.from_pretrained(checkpoint)) == content
    half = tmp_path / "half"
    load(base, dtype="bfloat16").save_pretrained(half)
    assert base_content(Qwen2AudioForEmotionDistribution.from_pretrained(half)) == content


def test_a_merged_model_in_memory_is_no_backbone_for_a_second_adapter(
    adapter, tmp_path, tiny_processor, tiny_train, tiny_validation
):
    """It would be loaded onto the unmerged one, with other answers and no word."""
    merged, processor = load_emotion_model(adapter, merge=True)
    with pytest.raises(OtherBaseError, match=r"weights of the backbone in memory are not those.*Mend: save"):
        make_adapter(merged, processor, tmp_path / "second", tiny_train)
    merged.save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    second = make_adapter(load(tmp_path / "merged"), processor, tmp_path / "second", tiny_train)
    named = json.loads((second / "adapter_config.json").read_text())["base_model_name_or_path"]
    assert named == str(tmp_path / "merged") and load_emotion_model(second)


@pytest.mark.slow
def test_nor_is_one_that_somebody_wrapped_beforehand(adapter, base, tmp_path, tiny_processor, tiny_train):
    merged, processor = load_emotion_model(adapter, merge=True)
    wrapped = get_peft_model(merged, emotion_lora_config("paper"))
    with pytest.raises(OtherBaseError, match=r"weights of the backbone in memory are not those.*Mend: save"):
        make_trainer(wrapped, processor, tmp_path / "second", tiny_train)
    for whole in (
        get_peft_model(load(base), emotion_lora_config("paper", bias="all")),
        load_emotion_model(adapter, trainable=True)[0],
    ):
        trainer = make_trainer(whole, processor, tmp_path / "whole", tiny_train)
        trainer.train()
        trainer.save_model()
        again = load_emotion_model(tmp_path / "whole", trainable=True)[0]
        make_trainer(again, processor, tmp_path / "again", tiny_train)


def test_nor_is_one_without_files(adapter, base, tmp_path, tiny_processor, tiny_train):
    for make in (
        lambda model: make_adapter(model, tiny_processor, tmp_path / "none"),
        lambda model: make_trainer(
            get_peft_model(model, emotion_lora_config("paper")), tiny_processor, tmp_path / "none", tiny_train
        ),
    ):
        with pytest.raises(OtherBaseError, match=r"in memory only.*Mend: save"):
            make(Qwen2AudioForEmotionDistribution.from_config(load(base).config))
    settings = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**settings, "base_model_name_or_path": None}))
    for loader in (load_emotion_model, Qwen2AudioForEmotionDistribution.from_pretrained):
        with pytest.raises(ValueError, match=r"does not say which backbone.*Mend"):
            loader(adapter)


def test_trained_weights_in_memory_are_none_either(base, tmp_path, tiny_processor):
    model = load(base)
    with torch.no_grad():
        model.model.multi_modal_projector.linear.weight.add_(0.01)
    with pytest.raises(OtherBaseError, match=r"first: model\.multi_modal_projector\.linear\.weight"):
        make_adapter(model, tiny_processor, tmp_path / "adapter")
    with torch.no_grad():
        model = load(base)
        model.head.classifier.weight.add_(0.01)  # saved with the adapter
    make_adapter(model, tiny_processor, tmp_path / "adapter")


def test_a_second_adapter_on_the_first_is_refused(adapter, tiny_processor, tmp_path):
    model, processor = load_emotion_model(adapter, trainable=True)
    with pytest.raises(ValueError, match="would put another one onto it"):
        make_adapter(model, processor, tmp_path / "second")


def test_adapters_of_0_1_do_not_say_and_load(adapter, base):
    file = adapter / "emotion_config.json"
    settings = json.loads(file.read_text())
    assert settings.pop("base_content").startswith("1:")
    file.write_text(json.dumps(settings))
    change(base, "language_model.model.layers.0.self_attn.q_proj.weight")
    model, _ = load_emotion_model(adapter, merge=True)
    assert not hasattr(model.config, "base_content")


def test_nothing_of_it_goes_into_what_is_merged(adapter, tmp_path):
    model, processor = load_emotion_model(adapter, merge=True)
    model.save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    assert "base_content" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    wave = tone(220, 0.4)
    inputs = processor(audio=[wave])
    again = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path / "merged").eval()
    with torch.no_grad():
        np.testing.assert_allclose(again(**inputs).logits, model(**inputs).logits, atol=1e-6)


def test_a_model_that_was_loaded_from_nowhere_has_none(tiny_model):
    config = tiny_model.config
    assert base_content(Qwen2AudioForEmotionDistribution(config)) is None
    assert base_content(tiny_model)
