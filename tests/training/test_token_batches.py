import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from test_trainer_exactness import Interrupt
from trainer_setup import largest_difference, make_args, make_trainer, weights, worth

from hf_emo_dist.training.sampler import TokenBatchSampler, balancing_weights, tokens_and_clips

SIZES = st.integers(1, 300)
PROCESSES = st.integers(1, 4)


def rows_of(size, seed, windows=False):
    rng = np.random.default_rng(seed)
    seconds = rng.uniform(0.05, 70 if windows else 30, size) if seed % 2 else rng.gamma(2, 2, size).clip(0.05, 30)
    return tokens_and_clips(seconds, "window" if windows else "error")


def batches_of(rows, budget, epoch=0, **options):
    sampler = TokenBatchSampler(rows, budget, **options)
    sampler.set_epoch(epoch)
    np.random.seed(epoch)  # must not matter
    return list(sampler), len(sampler)


@settings(max_examples=80, deadline=None)
@given(SIZES, st.integers(1, 6000), PROCESSES, st.integers(0, 60), st.integers(0, 4), st.booleans())
def test_each_row_once_within_the_budget_in_a_known_number_of_batches(size, budget, processes, seed, epoch, windows):
    rows = rows_of(size, seed, windows)
    batches, count = batches_of(rows, budget, epoch, num_processes=processes, seed=seed)
    assert len(batches) == count and count % processes == 0 and all(batches)
    for batch in batches:
        assert len(batch) == 1 or rows[batch, 0].max() * rows[batch, 1].sum() <= budget
    seen = [row for batch in batches for row in batch]
    assert set(seen) == set(range(size))
    repeats = len(seen) - size
    assert repeats == 0 or (repeats < processes and all(len(batch) == 1 for batch in batches))
    assert batches == batches_of(rows, budget, epoch, num_processes=processes, seed=seed)[0]


@settings(max_examples=30, deadline=None)
@given(st.integers(40, 300), st.integers(1, 60))
def test_other_epochs_and_seeds_have_other_batches(size, seed):
    rows = rows_of(size, seed)
    drawn = [batches_of(rows, 3000, epoch, seed=s)[0] for epoch, s in ((0, 0), (1, 0), (0, 1))]
    assert drawn[0] != drawn[1] and drawn[0] != drawn[2]
    assert {len(batches) for batches in drawn[:2]} == {len(drawn[0])}
    assert {frozenset(batch) for batch in drawn[0]} != {frozenset(batch) for batch in drawn[1]}


@settings(max_examples=30, deadline=None)
@given(SIZES, st.integers(50, 6000), PROCESSES, st.integers(0, 60), st.integers(0, 6))
def test_balanced_draws_keep_the_budget_and_the_number_of_batches(size, budget, processes, seed, epoch):
    rows = rows_of(size, seed)
    drawing = balancing_weights(np.random.default_rng(seed).dirichlet(np.ones(3) * 0.1, size) + 1e-9)
    batches, count = batches_of(rows, budget, epoch, weights=drawing, num_processes=processes, seed=seed)
    assert len(batches) == count and count % processes == 0
    assert all(len(batch) == 1 or rows[batch, 0].max() * len(batch) <= budget for batch in batches)
    assert sum(map(len, batches)) >= 0.5 * size


def test_batches_are_full_and_little_is_padding():
    rows = tokens_and_clips(np.random.default_rng(0).gamma(4, 1.2, 4000).clip(0.3, 30))
    batches, count = batches_of(rows, 2000)
    filled = np.array([rows[batch, 0].max() * len(batch) for batch in batches])
    valid = np.array([rows[batch, 0].sum() for batch in batches])
    assert filled.mean() > 0.9 * 2000 and valid.sum() > 0.9 * filled.sum()
    assert count <= 1.15 * rows[:, 0].sum() / 2000
    means = np.array([rows[batch, 0].mean() for batch in batches])
    assert abs(np.corrcoef(means, np.arange(count))[0, 1]) < 0.3  # short and long ones in no order


def test_tokens_are_those_of_the_processor(tiny_processor):
    seconds = [0.0201, 0.5, 1.2345, 29.99, 30.0, 30.01, 75.3]
    tiny_processor.long_audio = "window"
    for value, (tokens, clips) in zip(seconds, tokens_and_clips(seconds, "window"), strict=True):
        wave = np.random.default_rng(0).standard_normal(int(value * 16000)).astype(np.float32)
        found = (tiny_processor(audio=[wave])["input_ids"] == tiny_processor.audio_token_id).sum(1)
        assert len(found) == clips and abs(found.max().item() - tokens) <= 1
    assert tokens_and_clips([75.3], "truncate").tolist() == [[750, 1]]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"max_audio_tokens_per_batch": 0}, "at least 1"),
        ({"max_audio_tokens_per_batch": 50, "auto_find_batch_size": True}, "choose one"),
        ({"max_audio_tokens_per_batch": 50, "check_audio": False}, "measures durations"),
    ],
)
def test_arguments_that_do_not_go_together_are_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_args(tmp_path, **changes)


def test_a_stream_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    with pytest.raises(ValueError, match="the training data is a stream"):
        make_trainer(
            tiny_model,
            tiny_processor,
            tmp_path,
            tiny_train.to_iterable_dataset(),
            max_audio_tokens_per_batch=50,
            max_steps=2,
        )


def run(folder, model, processor, train, interrupt=None, resume=None, **changes):
    trainer = make_trainer(
        copy.deepcopy(model),
        processor,
        folder,
        train,
        trainer_options={"callbacks": [Interrupt(interrupt)]} if interrupt else None,
        **{"num_train_epochs": 2, "max_audio_tokens_per_batch": 40, "gradient_accumulation_steps": 2, **changes},
    )
    trainer.train(resume_from_checkpoint=resume)
    return trainer


def test_a_training_step_sees_batches_of_the_budget(tmp_path, tiny_model, tiny_processor, tiny_train):
    shapes = []
    hook = tiny_model.register_forward_pre_hook(
        lambda module, args, kwargs: shapes.append(kwargs["input_ids"] == tiny_processor.audio_token_id),
        with_kwargs=True,
    )
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, max_audio_tokens_per_batch=40)
    trainer.train()
    hook.remove()
    assert len(shapes) == trainer.state.global_step and sum(map(len, shapes)) == 16
    assert all(len(places) * places.sum(1).max() <= 40 for places in shapes)
    assert len({len(places) for places in shapes}) > 1


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({}, marks=pytest.mark.slow),
        {"balanced_sampling": True},
        pytest.param({"dataloader_num_workers": 1}, marks=pytest.mark.slow),
    ],
)
def test_a_run_interrupted_in_an_epoch_ends_with_the_same_weights(
    tmp_path, tiny_model, tiny_processor, tiny_train, changes
):
    setup = (tiny_model, tiny_processor, tiny_train)
    whole = run(tmp_path / "whole", *setup, **changes)
    steps = whole.state.global_step
    assert steps >= 4
    for step in (1,) if "dataloader_num_workers" in changes else (1, steps - 1):
        folder = tmp_path / f"parts{step}"
        first = run(folder, *setup, interrupt=step, **changes)
        assert largest_difference(weights(first), weights(whole)) > 1e-4
        resumed = run(folder, *setup, resume=str(folder / f"checkpoint-{step}"), **changes)
        assert resumed.state.global_step == steps
        assert largest_difference(weights(resumed), weights(whole)) <= 1e-7


@pytest.mark.parametrize("kappa", [None, 5.0])
def test_every_row_weighs_the_same_in_a_step(tmp_path, tiny_model, tiny_processor, tiny_train, kappa):
    """One step over the whole epoch by token batches is one step on all rows at once; so it is with rows' weights."""
    ends = []
    tiny_train = worth(tiny_train)
    probe = make_trainer(copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, max_audio_tokens_per_batch=40)
    batches = len(probe.get_train_dataloader())
    for changes in (
        {"max_audio_tokens_per_batch": 40, "gradient_accumulation_steps": batches},
        {"per_device_train_batch_size": 16},
    ):
        model = copy.deepcopy(tiny_model)
        for module in model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        trainer = make_trainer(
            model,
            tiny_processor,
            tmp_path,
            tiny_train,
            optim="sgd",
            learning_rate=0.5,
            concentration_weight=kappa,
            **changes,
        )
        trainer.train()
        assert trainer.state.global_step == 1
        ends.append(weights(trainer))
    assert largest_difference(*ends) <= 1e-6
