"""Whatever the batches are cut into, and wherever a run is interrupted, the weights are the same."""

import copy

import pytest
import torch
from quick import mostly_slow
from trainer_setup import largest_difference, make_trainer, weights, without_dropout, worth
from transformers import TrainerCallback

from hf_emo_dist.training.lora import emotion_lora_config


def accumulated(model, processor, folder, train, size, steps, **changes):
    lora = changes.pop("lora", None)
    trainer = make_trainer(
        without_dropout(copy.deepcopy(model)),
        processor,
        folder,
        train,
        trainer_options={"peft_config": emotion_lora_config(lora, lora_dropout=0.0)} if lora else None,
        per_device_train_batch_size=size,
        gradient_accumulation_steps=steps,
        optim="sgd",  # Adam turns rounding in gradients that are zero by construction into full steps
        learning_rate=0.5,
        **{"num_train_epochs": 1, **changes},
    )
    trainer.train()
    norms = [entry["grad_norm"] for entry in trainer.state.log_history if "grad_norm" in entry]
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    return weights(trainer), norms, losses


@pytest.mark.parametrize(
    ("rows", "changes"),
    mostly_slow(
        {
            "16 rows": (16, {}),
            "13 rows": (13, {}),  # the last step has batches of 2, 2 and 1 against one of 5
            "9 rows, kl": (9, {"loss_type": "kl", "entropy_weight": 0.08}),
            "dirichlet": (13, {"loss_type": "dirichlet_multinomial"}),
            "lora": (13, {"lora": "all"}),
            "balanced": (16, {"balanced_sampling": True, "group_by_duration": False}),
            "row weights": (13, {"concentration_weight": 5.0, "entropy_weight": 0.08}),
        },
        "13 rows",
        "lora",
        "row weights",
    ),
)
def test_two_times_four_is_eight_times_one(tmp_path, tiny_model, tiny_processor, tiny_train, rows, changes):
    train = tiny_train.select(range(rows))
    if "concentration_weight" in changes:
        train = worth(train)
    start = {name: value.clone() for name, value in tiny_model.state_dict().items()}
    big, big_norms, big_losses = accumulated(tiny_model, tiny_processor, tmp_path / "8x1", train, 8, 1, **dict(changes))
    small, norms, losses = accumulated(tiny_model, tiny_processor, tmp_path / "2x4", train, 2, 4, **dict(changes))
    assert len(norms) == len(big_norms) == 2
    assert norms == pytest.approx(big_norms, rel=1e-4)
    assert losses == pytest.approx(big_losses, rel=1e-4)
    assert largest_difference(big, small) <= 1e-6
    if "lora" not in changes:
        assert largest_difference(big, start) > 1e-3


class Interrupt(TrainerCallback):
    """Ends training after a step, as a job's time limit would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


VARIANTS = {
    "by duration": {},
    "balanced": {"balanced_sampling": True},
    "plain order, accumulated": {
        "group_by_duration": False,
        "per_device_train_batch_size": 2,
        "gradient_accumulation_steps": 2,
    },
    "workers": {"dataloader_num_workers": 1},
}


@pytest.mark.parametrize(
    ("changes", "step"),
    [
        pytest.param(VARIANTS[name], step, marks=() if step == 2 else pytest.mark.slow)
        for name in VARIANTS
        for step in ((6,) if name == "workers" else (2, 6))
    ],
)
def test_a_run_interrupted_in_an_epoch_ends_with_the_same_weights(
    tmp_path, tiny_model, tiny_processor, tiny_train, changes, step
):
    assert tiny_model.head.residual[-1].p > 0  # dropout is on

    def run(folder, interrupt=None, resume=None):
        trainer = make_trainer(
            copy.deepcopy(tiny_model),
            tiny_processor,
            tmp_path / folder,
            tiny_train.select(range(15)),
            trainer_options={"callbacks": [Interrupt(interrupt)]} if interrupt else None,
            **{"num_train_epochs": 2, "lr_scheduler_type": "cosine", "warmup_steps": 0.1, **changes},
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole")
    assert whole.state.global_step == 8
    first = run("parts", interrupt=step)
    assert first.state.global_step == step
    resumed = run("parts", resume=str(tmp_path / "parts" / f"checkpoint-{step}"))
    assert resumed.state.global_step == 8
    assert largest_difference(weights(first), weights(whole)) > 1e-4
    assert largest_difference(weights(resumed), weights(whole)) <= 1e-7


def test_a_lora_run_resumes_with_the_same_weights(tmp_path, tiny_model, tiny_processor, tiny_train):
    def run(folder, interrupt=None, resume=None):
        trainer = make_trainer(
            copy.deepcopy(tiny_model),
            tiny_processor,
            tmp_path / folder,
            tiny_train,
            trainer_options={
                "peft_config": emotion_lora_config("all"),
                "callbacks": [Interrupt(interrupt)] if interrupt else None,
            },
            num_train_epochs=2,
        )
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    torch.manual_seed(0)
    whole = run("whole")
    torch.manual_seed(0)
    run("parts", interrupt=3)
    torch.manual_seed(1)
    resumed = run("parts", resume=True)
    assert largest_difference(weights(resumed), weights(whole)) <= 1e-7


def test_the_same_seed_gives_the_same_weights(tmp_path, tiny_model, tiny_processor, tiny_train):
    ends = []
    for seed in (0, 0, 1):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train.select(range(8)), seed=seed
        )
        trainer.train()
        ends.append(weights(trainer))
    assert largest_difference(ends[0], ends[1]) == 0
    assert largest_difference(ends[0], ends[2]) > 1e-5
