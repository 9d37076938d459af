"""A training that is no longer one of numbers stops, with the step, the last good checkpoint and the mend."""

import copy
import json

import numpy as np
import pytest
import torch
from trainer_setup import make_trainer, weights
from transformers import TrainerCallback

from hf_emo_dist.modeling.prediction import predict_distributions
from hf_emo_dist.training.finite import MAX_SKIPPED_STEPS, TrainingDivergedError
from hf_emo_dist.training.lora import emotion_lora_config


class Poison(TrainerCallback):
    """Makes a weight, or a gradient, NaN at a step."""

    def __init__(self, step, what):
        self.step, self.what = step, what

    def on_step_begin(self, args, state, control, model=None, **kwargs):
        if self.what == "weight" and state.global_step + 1 == self.step:
            with torch.no_grad():
                model.head.classifier.weight[0, 0] = float("nan")

    def on_pre_optimizer_step(self, args, state, control, model=None, **kwargs):
        if self.what == "update" and state.global_step + 1 == self.step:
            model.head.classifier.weight.grad[0, 0] = float("inf")


def hook_gradient(model, step):
    seen = []

    def spoil(gradient):
        seen.append(1)
        return torch.full_like(gradient, float("inf")) if len(seen) == step else gradient

    model.head.classifier.weight.register_hook(spoil)


@pytest.mark.parametrize("max_grad_norm", [1.0, pytest.param(0.0, marks=pytest.mark.slow)])
@pytest.mark.parametrize(("what", "step"), [("weight", 3), ("gradient", 3), ("update", 4)])
def test_training_stops_at_the_first_number_that_is_none(
    tmp_path, tiny_model, tiny_processor, tiny_train, what, step, max_grad_norm
):
    if what == "gradient":
        hook_gradient(tiny_model, step)
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, save_strategy="steps", save_steps=2,
        max_grad_norm=max_grad_norm, trainer_options={"callbacks": [Poison(step, what)]},
    )  # fmt: skip
    with pytest.raises(
        TrainingDivergedError, match=rf"step {step}.*checkpoint-2\. Mend: a lower learning_rate"
    ) as error:
        trainer.train()
    assert isinstance(error.value, ValueError)
    logged = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert all(np.isfinite(logged)) and 0.0 not in logged
    assert [path.name for path in tmp_path.glob("checkpoint-*")] == ["checkpoint-2"]
    if what == "gradient":  # the step was not taken
        assert all(torch.isfinite(value).all() for value in weights(trainer).values())


def test_weights_that_are_no_numbers_are_not_saved(tmp_path, tiny_model, tiny_processor, tiny_train):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train)
    with torch.no_grad():
        trainer.model.head.classifier.bias[0] = float("inf")
    with pytest.raises(TrainingDivergedError, match=r"head\.classifier\.bias.*no checkpoint was written before"):
        trainer.save_model()
    assert not (tmp_path / "model.safetensors").exists()


def test_an_evaluation_that_answers_nan_stops(tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation)
    with torch.no_grad():
        trainer.model.head.classifier.weight.fill_(float("nan"))
    with pytest.raises(ValueError, match="the model answers NaN"):
        trainer.evaluate()
    with pytest.raises(ValueError, match=r"row 'clip-2-00': the model answers NaN.*Mend"):
        predict_distributions(trainer.model, tiny_processor, tiny_validation, progress=False)


def test_weights_in_float16_are_refused_unless_they_are_frozen(tmp_path, tiny_model, tiny_processor, tiny_train):
    """All weights in fp16 diverge after a few steps of Adam."""
    half = copy.deepcopy(tiny_model)
    half.model.half()
    with pytest.raises(ValueError, match=r"in float16.*Mend: .*float32"):
        make_trainer(half, tiny_processor, tmp_path, tiny_train).train()
    half.model.requires_grad_(False)
    make_trainer(half, tiny_processor, tmp_path, tiny_train).train()
    lora = {"peft_config": emotion_lora_config("language_model")}
    half = copy.deepcopy(tiny_model)
    half.model.half()
    make_trainer(half, tiny_processor, tmp_path, tiny_train, trainer_options=lora).train()


class Scaler:
    """As torch's, in that it is there."""

    def state_dict(self):
        return {}


def test_a_loss_scale_may_skip_steps_but_not_forever(tmp_path, tiny_model, tiny_processor, tiny_train):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train)
    trainer.accelerator.scaler = Scaler()
    model = trainer.model
    sum(value.sum() for value in model.head.parameters()).backward()
    for skipped in range(2 * MAX_SKIPPED_STEPS):  # one good step in between
        trainer._get_grad_norm(model, torch.tensor(float("inf") if skipped % MAX_SKIPPED_STEPS else 1.0))
    with pytest.raises(TrainingDivergedError, match=f"{MAX_SKIPPED_STEPS} steps on end"):
        trainer._get_grad_norm(model, torch.tensor(float("inf")))


def test_a_run_that_diverges_leaves_no_figures_behind(tmp_path, tiny_backbone, tiny_train, tiny_validation):
    from hf_emo_dist.training.fine_tuning import finish_training, parse_config, prepare_training

    words = ["--backbone", str(tiny_backbone), "--output_dir", str(tmp_path), "--use_cpu", "true", "--num_threads", "1"]
    recipe, args = parse_config([*words, "--learning_rate", "1e30", "--max_grad_norm", "0", "--num_train_epochs", "9"])
    trainer = prepare_training(recipe, args, tiny_train, tiny_validation)
    with pytest.raises(TrainingDivergedError):
        finish_training(trainer, recipe)
    assert not (tmp_path / "train_results.json").exists()
    for file in tmp_path.rglob("trainer_state.json"):
        assert np.isfinite([e["loss"] for e in json.loads(file.read_text())["log_history"] if "loss" in e]).all()
