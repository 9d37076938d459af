"""The best checkpoint of a training that is gone on with: found wherever its folder is by now, and looked at."""

import copy
import json
import logging
import os
import re
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from safetensors.torch import load_file
from trainer_setup import largest_difference, make_trainer, weights

from hf_emo_dist._checkpoint_files import FACTS_NAME
from hf_emo_dist.data.output import write_json
from hf_emo_dist.training.best_checkpoint import best_at_resume

STATE = "trainer_state.json"
PER_EPOCH = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}


def cut(path):
    path.write_bytes(path.read_bytes()[:-20])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.fixture(scope="module")
def first_is_best(tmp_path_factory, _tiny_model, _tiny_processor, tiny_train, tiny_validation):
    """A training of two epochs whose scores get worse, so that its best checkpoint is not its last."""
    folder = tmp_path_factory.mktemp("best") / "g"
    trainer = worsening(folder, _tiny_model, _tiny_processor, tiny_train, tiny_validation, 2)
    trainer.train()
    return folder


def worsening(folder, model, processor, train, validation, epochs, **args):
    scores = iter(range(1 if epochs == 2 else 3, 9))
    return make_trainer(
        copy.deepcopy(model), processor, folder, train, validation,
        trainer_options={"compute_metrics": lambda _: {"js_divergence": float(next(scores))}},
        **{**PER_EPOCH, "learning_rate": 1e-2, "num_train_epochs": epochs, "save_total_limit": 9, **args},
    )  # fmt: skip


def by_another_name(folder):
    return Path(os.path.relpath(folder))


BESTS = {
    "moved": (None, by_another_name, None, 4),
    "damaged": (lambda f: flip(f / "checkpoint-4" / "model.safetensors"), None, "does not hold.*checkpoint-8", 8),
    "cut": (lambda f: cut(f / "checkpoint-4" / "model.safetensors"), None, "breaks off.*checkpoint-8", 8),
    "optimizer damaged": (lambda f: flip(f / "checkpoint-4" / "optimizer.pt"), None, None, 4),
}


@pytest.mark.parametrize(("damage", "name", "said", "best"), BESTS.values(), ids=BESTS.keys())
def test_the_best_checkpoint_is_looked_for_and_looked_at_before_training_goes_on(
    tmp_path, first_is_best, tiny_model, tiny_processor, tiny_train, tiny_validation, caplog, damage, name, said, best
):
    folder = Path(shutil.copytree(first_is_best, tmp_path / "moved"))
    state = folder / "checkpoint-8" / STATE
    there = json.loads(state.read_text())
    assert there["best_global_step"] == 4
    write_json(state, {**there, "best_model_checkpoint": "gone/checkpoint-4"})
    (folder / "checkpoint-8" / FACTS_NAME).unlink()  # of the state as it was
    if damage is not None:
        damage(folder)
    named = folder if name is None else name(folder)
    resumed = worsening(named, tiny_model, tiny_processor, tiny_train, tiny_validation, 3)
    with caplog.at_level(logging.WARNING):
        resumed.train(resume_from_checkpoint=True)
    told = [r.getMessage() for r in caplog.records if "best checkpoint" in r.getMessage()]
    assert len(told) == (said is not None) and (said is None or re.search(said, told[0]))
    assert Path(resumed.state.best_model_checkpoint) == named / f"checkpoint-{best}"
    assert largest_difference(weights(resumed), load_file(folder / f"checkpoint-{best}" / "model.safetensors")) == 0


def test_a_best_checkpoint_that_is_gone_is_said_before_training(
    tmp_path, first_is_best, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    folder = Path(shutil.copytree(first_is_best, tmp_path / "moved"))
    shutil.rmtree(folder / "checkpoint-4")
    args = SimpleNamespace(load_best_model_at_end=True, metric_for_best_model="js_divergence", greater_is_better=False)
    state = folder / "checkpoint-8" / STATE
    write_json(state, {**json.loads(state.read_text()), "best_model_checkpoint": "gone/checkpoint-4"})
    with pytest.raises(ValueError, match=r"checkpoint-4 .* is neither beside .*Mend: copy checkpoint-4 back.*or add"):
        best_at_resume(str(folder / "checkpoint-8"), str(folder), args)
    args.load_best_model_at_end = False
    assert best_at_resume(str(folder / "checkpoint-8"), str(folder), args).folder is None


def test_weights_that_are_damaged_at_the_end_cost_no_final_model(
    tmp_path, first_is_best, tiny_model, tiny_processor, tiny_train, tiny_validation, caplog
):
    folder = Path(shutil.copytree(first_is_best, tmp_path / "end"))
    trainer = worsening(folder, tiny_model, tiny_processor, tiny_train, tiny_validation, 3)
    trainer.state.log_history = [{"step": 4, "eval_js_divergence": 1.0}, {"step": 8, "eval_js_divergence": 2.0}]
    trainer.state.global_step = 8
    for step, best in ((4, folder / "checkpoint-8"), (8, None)):
        flip(folder / f"checkpoint-{step}" / "model.safetensors")
        trainer.state.best_model_checkpoint = str(folder / "checkpoint-4")
        trainer._load_best_model()
        assert trainer.state.best_model_checkpoint == (best and str(best))
    assert "the last weights take its place" in caplog.text
