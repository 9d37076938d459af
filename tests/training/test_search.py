"""`model_init` and `hyperparameter_search`, with a backend of the smallest kind in optuna's place."""

import copy
import importlib.machinery
import json
import sys
import types

import pytest
import torch
from trainer_setup import largest_difference, make_trainer, weights

from hf_emo_dist.training.lora import emotion_lora_config


class Trial:
    """One choice of arguments."""

    def __init__(self, number):
        self.number, self.params, self.reported = number, {}, []

    def suggest_categorical(self, name, choices):
        self.params[name] = choices[self.number % len(choices)]
        return self.params[name]

    def report(self, value, step):
        self.reported.append(value)

    def should_prune(self):
        return False


class Study:
    """Tries the choices in their order."""

    def __init__(self, direction):
        self.direction, self.trials, self.values = direction, [], []

    def _is_multi_objective(self):
        return False

    def optimize(self, objective, n_trials, **kwargs):
        for number in range(n_trials):
            trial = Trial(number)
            trial.study = self
            self.values.append(objective(trial))
            self.trials.append(trial)
        best = (max if self.direction == "maximize" else min)(self.values)
        self.best_trial = self.trials[self.values.index(best)]
        self.best_trial.value = best


@pytest.fixture
def optuna(monkeypatch):
    """In optuna's place: what is tested is what our trainer hands to a backend, and what it makes of a trial."""
    studies = []

    def create_study(direction=None, directions=None, **kwargs):
        studies.append(Study(direction))
        return studies[-1]

    module = types.ModuleType("optuna")
    module.__spec__ = importlib.machinery.ModuleSpec("optuna", None)
    module.trial = types.SimpleNamespace(BaseTrial=Trial)
    module.create_study, module.TrialPruned, module.Trial = create_study, RuntimeError, Trial
    monkeypatch.setitem(sys.modules, "optuna", module)
    monkeypatch.setattr("transformers.hyperparameter_search.is_optuna_available", lambda: True)
    monkeypatch.setattr("transformers.trainer_utils.is_optuna_available", lambda: True, raising=False)
    module.studies = studies
    return module


def searching(tiny_model, processor, folder, train, evaluation, **changes):
    options = {"model_init": lambda: copy.deepcopy(tiny_model), **changes.pop("trainer_options", {})}
    settings = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    return make_trainer(None, processor, folder, train, evaluation, options, **{**settings, **changes})


@pytest.mark.parametrize("lora", [pytest.param(False, marks=pytest.mark.slow), True])
def test_every_training_starts_with_a_model_that_was_made_anew(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, lora
):
    options = {"peft_config": emotion_lora_config("language_model")} if lora else {}
    trainer = searching(
        tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation, loss_type="kl", trainer_options=options
    )
    assert trainer.evaluate()["eval_js_divergence"] > 0
    ends = []
    for _ in range(2):
        trainer.train()
        assert trainer.model.config.loss_type == "kl" and hasattr(trainer.model, "peft_config") == lora
        ends.append(weights(trainer))
    assert largest_difference(*ends) == 0
    plain = make_trainer(
        copy.deepcopy(tiny_model), tiny_processor, tmp_path / "plain", tiny_train, tiny_validation, loss_type="kl",
        eval_strategy="epoch", save_strategy="epoch", load_best_model_at_end=True,
    )  # fmt: skip
    plain.train()
    if not lora:
        assert largest_difference(ends[0], weights(plain)) == 0


def test_a_model_or_a_function_that_makes_one(tmp_path, tiny_model, tiny_processor, tiny_train):
    for options in ({}, {"model_init": lambda: tiny_model}):
        model = tiny_model if options else None
        with pytest.raises(ValueError, match="either model or model_init"):
            make_trainer(model, tiny_processor, tmp_path, tiny_train, trainer_options=options)


@pytest.mark.parametrize(
    ("metric", "direction"),
    [pytest.param("js_divergence", "minimize", marks=pytest.mark.slow), ("accuracy", "maximize")],
)
def test_a_search_goes_in_the_scores_direction(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, optuna, metric, direction
):
    trainer = searching(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation, metric_for_best_model=metric)
    best = trainer.hyperparameter_search(
        lambda trial: {
            "learning_rate": trial.suggest_categorical("learning_rate", [1e-30, 1e-3, 3e-2]),
            "head_learning_rate": trial.suggest_categorical("head_learning_rate", [1e-30, 1e-3, 3e-2]),
            "loss_type": trial.suggest_categorical("loss_type", ["js", "kl", "soft_cross_entropy"]),
        },
        n_trials=3,
        backend="optuna",
    )
    (study,) = optuna.studies
    assert study.direction == direction and len(study.values) == 3 and len(set(study.values)) > 1
    assert best.objective == (max if direction == "maximize" else min)(study.values)
    assert set(best.hyperparameters) == {"learning_rate", "head_learning_rate", "loss_type"}
    written = {path.parts[-3]: json.loads(path.read_text()) for path in tmp_path.glob("run-*/checkpoint-*/config.json")}
    found = {run: config.get("loss_type", "js") for run, config in written.items()}
    assert found == {"run-0": "js", "run-1": "kl", "run-2": "soft_cross_entropy"}
    assert trainer.args.head_learning_rate == 3e-2


WRONG = {
    "the worst": ({"direction": "maximize"}, {}, "would look for the worst eval_js_divergence"),
    "no direction": ({"compute_objective": lambda metrics: metrics["eval_loss"]}, {}, "direction is missing"),
    "no such argument": ({}, {"learning_rat": 1.0}, "learning_rat, which are no training arguments"),
    "made ready before": ({}, {"target_column": "human_distribution"}, "target_column cannot be searched for"),
    "votes": ({}, {"loss_type": "dirichlet_multinomial"}, "the data was made ready without them"),
}


@pytest.mark.parametrize(("options", "chosen", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_search_that_would_be_of_no_use_is_refused(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, optuna, options, chosen, message
):
    trainer = searching(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation)
    with pytest.raises(ValueError, match=message):
        trainer.hyperparameter_search(lambda trial: chosen, n_trials=1, backend="optuna", **options)


def test_the_tower_cache_follows_the_model_that_was_made(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    towers = []

    def make():
        model = copy.deepcopy(tiny_model)
        model.model.audio_tower.requires_grad_(False)
        with torch.no_grad():
            model.model.audio_tower.conv1.weight.mul_(1 + len(towers))
        return model

    trainer = searching(
        tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation, cache_audio_tower=True,
        tower_cache_dir=str(tmp_path / "cache"), trainer_options={"model_init": make},
    )  # fmt: skip
    for _ in range(2):
        towers.append(trainer._tower_cache.tower)
        trainer.train()
    assert len({*towers, trainer._tower_cache.tower}) == 3
