"""Audio-language models in training: every family, from its backbone's files to a pipeline on the Hub."""

import copy

import pytest
import torch
from audio_language_models import CASES
from test_trainer_exactness import Interrupt
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import largest_difference, make_trainer, weights, without_dropout

from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

ROWS = tiny_rows(16, seed=1)


QUICK = ("voxtral", "qwen2_5_omni")


@pytest.fixture(
    scope="module",
    params=[pytest.param(case, marks=() if name in QUICK else pytest.mark.slow) for name, case in CASES.items()],
    ids=CASES.keys(),
)
def case(request):
    return request.param


@pytest.fixture(scope="module")
def folder(case, tmp_path_factory):
    return case.backbone(tmp_path_factory.mktemp("model") / "backbone")


@pytest.fixture(scope="module")
def loaded(folder):
    torch.manual_seed(0)
    model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, head="small")
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)


@pytest.fixture
def model(loaded):
    return copy.deepcopy(loaded[0])


@pytest.fixture
def processor(loaded):
    return loaded[1]


def train_set(size):
    return as_dataset(ROWS[:size])


def test_it_overfits_sixteen_clips(model, processor, tmp_path):
    model.freeze(["audio_tower"])  # which has only the noise of a start in it, and is kept: Voxtral's hears 30 s a clip
    trainer = make_trainer(
        without_dropout(model), processor, tmp_path, train_set(16), train_set(16),
        max_steps=120, per_device_train_batch_size=16, learning_rate=3e-3, warmup_steps=10, logging_steps=40,
        lr_scheduler_type="cosine", cache_audio_tower=True, tower_cache_dir=str(tmp_path / "cache"),
    )  # fmt: skip
    before = trainer.evaluate()
    trainer.train()
    after = trainer.evaluate()
    assert after["eval_js_divergence"] < 0.25 * before["eval_js_divergence"]


def test_a_run_resumes_exactly(model, processor, tmp_path):
    def run(name, interrupt=None, resume=None):
        trainer = make_trainer(
            copy.deepcopy(model), processor, tmp_path / name, train_set(6), per_device_train_batch_size=2, max_steps=4,
            trainer_options={"callbacks": [Interrupt(interrupt)]} if interrupt else None,
        )  # fmt: skip
        trainer.train(resume_from_checkpoint=resume)
        return trainer

    whole = run("whole")
    first = run("parts", interrupt=2)
    resumed = run("parts", resume=str(tmp_path / "parts" / "checkpoint-2"))
    assert largest_difference(weights(first), weights(whole)) > 1e-4
    assert largest_difference(weights(resumed), weights(whole)) <= 1e-6


def test_token_batches_count_the_family_s_tokens(model, processor, tmp_path):
    budget = 2 * processor.num_tokens(8000)
    trainer = make_trainer(model, processor, tmp_path, train_set(16), max_audio_tokens_per_batch=budget)
    sizes = []
    for batch in trainer.get_train_dataloader():
        tokens = (batch["input_ids"] == model.config.audio_token_id).sum(1)
        assert len(tokens) * tokens.max() <= budget
        sizes.append(len(tokens))
    assert sum(sizes) == 16 and max(sizes) > 1


def test_what_a_frozen_tower_gives_is_kept(model, processor, tmp_path):
    model.freeze(["audio_tower"])
    runs, results = [], []
    for options in ({}, {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "cache")}):
        again = copy.deepcopy(model)
        clips = []
        again.part("audio_tower").register_forward_pre_hook(lambda module, args, kept=clips: kept.append(1))
        torch.manual_seed(0)
        trainer = make_trainer(
            without_dropout(again), processor, tmp_path / str(len(runs)), train_set(6), num_train_epochs=2,
            per_device_train_batch_size=3, optim="sgd", learning_rate=0.1, **options,
        )  # fmt: skip
        trainer.train()
        runs.append(len(clips))
        results.append(weights(trainer))
    assert largest_difference(*results) <= 1e-5
    assert runs[1] == runs[0] / 2  # the second epoch is read from the disk
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 6
