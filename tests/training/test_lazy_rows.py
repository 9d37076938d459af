"""The trainer on rows that are mixed as they are read."""

import copy

import pytest
from trainer_setup import largest_difference, make_trainer, weights, without_dropout

from hf_emo_dist import DiMEAug


@pytest.fixture(scope="module")
def plan(tiny_train):
    return DiMEAug(features="lexical", target=12, neighbours="any").plan(tiny_train)


def test_the_trainer_tells_of_the_epoch(plan, tmp_path, tiny_model, tiny_processor, monkeypatch):
    from hf_emo_dist.augmentation.lazy import LazyMixer

    told = []
    monkeypatch.setattr(LazyMixer, "set_epoch", lambda self, epoch: told.append(epoch))
    for epochs, rows in ((3, plan.lazy().dataset()), (2, plan.lazy().iterable_dataset())):
        told.clear()
        steps = {"max_steps": 8} if epochs == 2 else {}
        make_trainer(tiny_model, tiny_processor, tmp_path / str(epochs), rows, num_train_epochs=epochs, **steps).train()
        assert sorted(set(told)) == list(range(epochs))


def test_training_on_lazy_rows_resumes_exactly(plan, tmp_path, tiny_model, tiny_processor):
    model = without_dropout(tiny_model)

    def run(folder, **changes):
        trainer = make_trainer(copy.deepcopy(model), tiny_processor, folder, plan.lazy().dataset(), **settings)
        trainer.train(**changes)
        return weights(trainer)

    settings = {"num_train_epochs": 2, "save_strategy": "steps", "save_steps": 5, "save_total_limit": None}
    whole = run(tmp_path)
    assert largest_difference(whole, run(tmp_path, resume_from_checkpoint=str(tmp_path / "checkpoint-10"))) == 0
