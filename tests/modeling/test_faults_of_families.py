"""What keeps a training from going wrong holds for every family: bases by content, label sets, resuming, rates, NaN."""

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from speech_encoders import FAMILIES
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling.base_content import OtherBaseError, base_content, differing_weights
from hf_emo_dist.modeling.label_sets import change_emotions
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.finite import TrainingDivergedError
from hf_emo_dist.training.lora import emotion_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer

OTHER_ORDER = ("sad", "angry", "happy")


QUICK = ("wavlm", "whisper", "qwen2_audio")


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in (*FAMILIES, "qwen2_audio")],
)
def backbone(request, tmp_path_factory, tiny_backbone):
    if request.param == "qwen2_audio":
        return tiny_backbone
    return FAMILIES[request.param].backbone(tmp_path_factory.mktemp("family") / "backbone")


@pytest.fixture(scope="module")
def rows():
    return as_dataset(tiny_rows(6, seed=1, seconds=(0.3, 0.6)))


def load(folder, emotions=TINY_EMOTIONS):
    torch.manual_seed(0)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=emotions)
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=emotions)


def make(model, processor, folder, rows, lora=False, **changes):
    settings = {"max_steps": 2, "learning_rate": 1e-3, "save_strategy": "steps", "save_steps": 1, "logging_steps": 1}
    return EmotionDistributionTrainer(
        model=model,
        args=EmotionDistributionTrainingArguments(
            str(folder), use_cpu=True, disable_tqdm=True, eval_strategy="no", load_best_model_at_end=False,
            per_device_train_batch_size=3, **{**settings, **changes},
        ),
        processing_class=processor,
        train_dataset=rows,
        peft_config=emotion_lora_config("all", model=model) if lora else None,
    )  # fmt: skip


def test_an_adapter_knows_its_base(backbone, rows, tmp_path):
    base = shutil.copytree(backbone, tmp_path / "base")
    model, processor = load(base)
    content = base_content(model)
    assert content and differing_weights(model) == []
    trainer = make(model, processor, tmp_path / "adapter", rows, lora=True)
    trainer.train()
    trainer.save_model()
    merged, _ = load_emotion_model(tmp_path / "adapter", merge=True)
    assert differing_weights(merged)
    with pytest.raises(OtherBaseError, match="in memory are not those"):
        make(merged, processor, tmp_path / "second", rows, lora=True)
    merged.save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    again = EmotionDistributionModel.from_pretrained(tmp_path / "merged")
    assert differing_weights(again) == [] and base_content(again) != content
    weights = load_file(base / "model.safetensors")
    # an attention projection, which every model here has
    used = (name for name in weights if name.endswith(("q_proj.weight", "linear_q.weight")) and "decoder" not in name)
    name = next(used)
    save_file({**weights, name: weights[name] * 1.01}, base / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(OtherBaseError, match="trained on a backbone with other weights"):
        load_emotion_model(tmp_path / "adapter")


def test_another_label_set_keeps_the_rows_it_can(backbone):
    model, _ = load(backbone)
    before = model.head.classifier.weight.clone()
    assert change_emotions(model, ["sad", "fear", "angry"]) == ["fear"]
    after = model.head.classifier.weight
    assert torch.equal(after[0], before[2]) and torch.equal(after[2], before[0])


@pytest.mark.parametrize("lora", [pytest.param(False, marks=pytest.mark.slow), True])
def test_another_order_of_emotions_is_no_continuation(backbone, rows, tmp_path, lora):
    make(*load(backbone), tmp_path, rows, lora).train()
    with pytest.raises(ValueError, match=r"emotions: \['angry', 'happy', 'sad'\] there, \['sad', 'angry', 'happy'\]"):
        make(*load(backbone, OTHER_ORDER), tmp_path, rows, lora, max_steps=3).train(resume_from_checkpoint=True)
    resumed = make(*load(backbone), tmp_path, rows, lora, max_steps=3)
    resumed.train(resume_from_checkpoint=True)
    assert resumed.state.global_step == 3


def test_each_part_has_its_rate(backbone, rows, tmp_path):
    model, processor = load(backbone)
    trainer = make(model, processor, tmp_path, rows, learning_rate=1e-4, head_learning_rate=1e-2, layer_decay=0.5)
    trainer.create_optimizer()
    rates = {id(value): group["lr"] for group in trainer.optimizer.param_groups for value in group["params"]}
    assert {rates[id(value)] for value in model.head.parameters() if value.requires_grad} == {1e-2}
    layers = {
        name: rates[id(value)]
        for name, value in model.named_parameters()
        if name.endswith(("q_proj.weight", "linear_q.weight")) and id(value) in rates
    }
    lower = {rate for name, rate in layers.items() if ".layers.0." in name}
    assert layers and max(layers.values()) == pytest.approx(0.5e-4) and min(lower) <= 0.5e-4
    if any(".layers.1." in name for name in layers):
        assert min(lower) == pytest.approx(0.25e-4)


def test_a_number_that_is_none_stops_it(backbone, rows, tmp_path):
    model, processor = load(backbone)
    trainer = make(model, processor, tmp_path, rows)
    model.head.classifier.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(TrainingDivergedError, match="at step 1: training has diverged"):
        trainer.train()
    assert all(torch.isfinite(value).all() for value in model.parameters())
