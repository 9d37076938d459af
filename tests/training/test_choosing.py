"""The best checkpoint by each score, in the score's own direction, over one data set or several."""

import copy
import logging

import pytest
import torch
from quick import mostly_slow
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import make_args, make_trainer
from transformers import TrainerCallback

from hf_emo_dist import scores
from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments
from hf_emo_dist.training.choosing import is_greater_better
from hf_emo_dist.training.fine_tuning import parse_config

PER_EPOCH = {
    "eval_strategy": "epoch",
    "save_strategy": "epoch",
    "load_best_model_at_end": True,
    "num_train_epochs": 4,
    "learning_rate": 0.08,
    "lr_scheduler_type": "constant",
}
# written out: the table that is tested is not asked what it says
MORE_IS_BETTER = {
    "bhattacharyya_coefficient", "r2", "cosine_similarity", "intersection_similarity", "entropy_pearson",
    "entropy_spearman", "accuracy", "macro_f1", "weighted_f1", "multilabel_macro_f1", "uar", "log_likelihood_per_vote",
    "r2_angry", "r2_happy", "r2_sad",
}  # fmt: skip
JUDGE_NOBODY = {"entropy_prediction", "entropy_reference", "js_divergence_floor", "num_examples"}
COUNTS = [[3, 1, 1], [0, 4, 1], [1, 1, 3]]
SHARES = [[value / 5 for value in row] for row in COUNTS]
ALL = scores.compute_scores([[0.5, 0.3, 0.2], [0.1, 0.7, 0.2], [0.3, 0.3, 0.4]], SHARES, TINY_EMOTIONS, COUNTS)


def test_every_figure_has_a_direction():
    assert {name for name in ALL if scores.greater_is_better(name) is None} == JUDGE_NOBODY
    assert {name for name in ALL if scores.greater_is_better(name)} == MORE_IS_BETTER
    with pytest.raises(KeyError, match="js_div' is no figure"):
        scores.greater_is_better("js_div")


class AnotherModel(TrainerCallback):
    """Changes the classifier at the end of each epoch: a poor one, a better one, a poor one of another kind."""

    def on_epoch_end(self, args, state, control, model=None, **kwargs):
        torch.manual_seed(round(state.epoch))
        with torch.no_grad():
            model.head.classifier.weight.normal_(std=[20.0, 1.0, 5.0][round(state.epoch) - 1])
            model.head.classifier.bias.copy_(
                torch.tensor([[9.0, 0, 0], [0, 0, 0.2], [0, 3.0, 0]][round(state.epoch) - 1])
            )


@pytest.mark.parametrize(
    "score",
    mostly_slow(
        ["loss", *(name for name in ALL if name not in JUDGE_NOBODY)],
        "loss",
        "js_divergence",
        "accuracy",
        "log_likelihood_per_vote",
    ),
)
def test_the_best_checkpoint_by_each_score_is_kept(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, score
):
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train.select(range(4)), tiny_validation,
        metric_for_best_model=score, trainer_options={"callbacks": [AnotherModel()]},
        **{**PER_EPOCH, "learning_rate": 0.0, "num_train_epochs": 3},
    )  # fmt: skip
    trainer.train()
    name = f"eval_{score}"
    series = [entry[name] for entry in trainer.state.log_history if name in entry]
    best = max(series) if score in MORE_IS_BETTER else min(series)
    assert max(series) > min(series) + 0.01
    assert trainer.state.best_metric == best and trainer.evaluate()[name] == pytest.approx(best, abs=1e-6)


@pytest.mark.parametrize(("metric", "stops"), [("accuracy", 3), ("chebyshev_distance", 6)])
def test_early_stopping_counts_in_the_scores_direction(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, metric, stops
):
    """A score that falls from 0.9 on: it never improves where more is better, and always where less is."""
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation, metric_for_best_model=metric,
        early_stopping_patience=2, **{**PER_EPOCH, "num_train_epochs": 6},
    )  # fmt: skip
    falling = iter([0.9, 0.8, 0.7, 0.6, 0.5, 0.4])
    trainer.compute_metrics = lambda prediction: {metric: next(falling)}
    trainer.train()
    assert trainer.state.epoch == stops


def test_early_stopping_does_not_need_the_best_checkpoint_at_the_end(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    settings = {**PER_EPOCH, "num_train_epochs": 6, "learning_rate": 0.0, "load_best_model_at_end": False}
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation, early_stopping_patience=2, **settings
    )
    trainer.train()
    assert trainer.state.epoch == 3


WRONG = {
    "the other way round": ({"metric_for_best_model": "accuracy", "greater_is_better": False}, "keep the worst"),
    "it judges nobody": ({"metric_for_best_model": "entropy_prediction"}, "judges no model"),
    "misspelt": ({"metric_for_best_model": "js_divergance"}, "no score of hf_emo_dist"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_metric_nobody_can_choose_by_is_refused(tmp_path, changes, message):
    with pytest.raises(ValueError, match=message):
        make_args(tmp_path, **changes)


def test_a_metric_of_ones_own_says_its_direction(tmp_path):
    args = make_args(tmp_path, metric_for_best_model="mine", greater_is_better=True)
    assert args.greater_is_better and args.metric_for_best_model == "eval_mine"
    assert is_greater_better("eval_german_uar") and not is_greater_better("eval_german_loss")


@pytest.fixture
def sets(tiny_validation):
    return {"one": tiny_validation, "two": as_dataset(tiny_rows(6, seed=7))}


@pytest.mark.parametrize("metric", ["js_divergence", "uar", "two_js_divergence"])
def test_several_evaluation_sets_choose_together_or_one_of_them_does(
    tmp_path, tiny_model, tiny_processor, tiny_train, sets, metric
):
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, sets, metric_for_best_model=metric, **PER_EPOCH
    )
    trainer.train()
    assert trainer.state.epoch == 4 and trainer.state.best_model_checkpoint
    history = trainer.state.log_history
    score = metric.removeprefix("two_")
    ones, twos = ([entry[f"eval_{s}_{score}"] for entry in history if f"eval_{s}_{score}" in entry] for s in sets)
    series = twos if metric != score else [(a + b) / 2 for a, b in zip(ones, twos, strict=True)]
    best = max(series) if score in MORE_IS_BETTER else min(series)
    assert len(series) == 4 and trainer.state.best_metric == pytest.approx(best)
    found = trainer.evaluate()
    assert found[f"eval_{metric}"] == pytest.approx(best, abs=1e-6)
    assert found["eval_js_divergence"] == pytest.approx(
        (found["eval_one_js_divergence"] + found["eval_two_js_divergence"]) / 2
    )


def test_several_evaluation_sets_stop_early_once_an_evaluation(tmp_path, tiny_model, tiny_processor, tiny_train, sets):
    settings = {**PER_EPOCH, "num_train_epochs": 6, "learning_rate": 0.0, "early_stopping_patience": 2}
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, sets, **settings)
    trainer.train()
    assert trainer.state.epoch == 3


def test_a_set_that_is_not_there_is_refused_before_training(tmp_path, tiny_model, tiny_processor, tiny_train, sets):
    for data, metric, message in (
        (sets, "three_js_divergence", "one of the data sets one, two"),
        (sets["one"], "one_js_divergence", "no score that evaluation gives"),
        (sets["one"], "r2_fear", "no score that evaluation gives"),
    ):
        with pytest.raises(ValueError, match=message):
            make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, data, metric_for_best_model=metric)


def test_a_score_that_is_not_defined_chooses_nothing_and_loses_nothing(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, caplog
):
    """The correlation with an entropy that is the same for all rows."""
    certain = tiny_validation.select([0, 0, 0])
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, certain, metric_for_best_model="entropy_pearson", **PER_EPOCH
    )
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        trainer.train()
    assert trainer.state.epoch == 4 and "eval_entropy_pearson is not defined" in caplog.text
    assert list(tmp_path.glob("checkpoint-*/model.safetensors"))


def test_a_schedule_that_follows_the_score_knows_its_direction(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    settings = {**PER_EPOCH, "lr_scheduler_type": "reduce_lr_on_plateau", "num_train_epochs": 1}
    for metric, mode in (("accuracy", "max"), ("js_divergence", "min")):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, tiny_validation,
            metric_for_best_model=metric, **settings,
        )  # fmt: skip
        trainer.train()
        assert trainer.lr_scheduler.mode == mode
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation,
        metric_for_best_model="accuracy", lr_scheduler_kwargs={"mode": "min"}, **settings,
    )  # fmt: skip
    with pytest.raises(ValueError, match="Mend: leave mode out"):
        trainer.train()


STRATEGIES = {
    "neither": ({}, ("epoch", "epoch", True)),
    "saving by steps": ({"save_strategy": "steps", "save_steps": 4}, ("steps", "steps", True, 4, 4)),
    "evaluating by steps": ({"eval_strategy": "steps", "eval_steps": 2}, ("steps", "steps", True, 2, 2)),
    "every log": ({"eval_strategy": "steps", "logging_steps": 3}, ("steps", "steps", True, 3, 3)),
    "both by steps": (
        {"eval_strategy": "steps", "save_strategy": "steps", "eval_steps": 2},
        ("steps", "steps", True, 2, 2),
    ),
    "saved less often": (
        {"eval_strategy": "steps", "eval_steps": 2, "save_strategy": "steps", "save_steps": 6},
        ("steps", "steps", True, 2, 6),
    ),
    "not saved": ({"save_strategy": "no"}, ("epoch", "no", False)),
    "not evaluated": ({"eval_strategy": "no"}, ("no", "epoch", False)),
    "the best": ({"save_strategy": "best"}, ("epoch", "best", True)),
    "not loaded": (
        {"save_strategy": "steps", "eval_strategy": "epoch", "load_best_model_at_end": False},
        ("epoch", "steps", False),
    ),
}  # fmt: skip


@pytest.mark.parametrize(("given", "expected"), STRATEGIES.values(), ids=STRATEGIES.keys())
def test_what_is_not_said_of_evaluating_and_saving_follows(tmp_path, given, expected):
    words = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    for args in (
        EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, **given),
        parse_config(["--output_dir", str(tmp_path), "--use_cpu", "true", *words])[1],
    ):
        found = (args.eval_strategy, args.save_strategy, args.load_best_model_at_end, args.eval_steps, args.save_steps)
        assert found[: len(expected)] == expected


CLASHES = {
    "both said": ({"eval_strategy": "epoch", "save_strategy": "steps"}, "eval_strategy=epoch and save_strategy=steps"),
    "not saved": ({"save_strategy": "no", "load_best_model_at_end": True}, "eval_strategy=epoch and save_strategy=no"),
    "steps": (
        {"eval_strategy": "steps", "eval_steps": 3, "save_steps": 4},
        "save_steps=4 is no multiple of eval_steps=3",
    ),
}


@pytest.mark.parametrize(("given", "message"), CLASHES.values(), ids=CLASHES.keys())
def test_what_does_not_go_together_is_refused(tmp_path, given, message):
    with pytest.raises(ValueError, match=rf"{message}.*Mend"):
        EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, **given)


def test_a_strategy_that_is_not_known_is_refused(tmp_path):
    with pytest.raises(ValueError, match="epochs"):
        EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, eval_strategy="epochs")
