import copy
import json
import logging

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model
from quick import mostly_slow
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import changed, largest_difference, make_args, make_trainer, weights, without_dropout

from hf_emo_dist import load_emotion_model
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.modeling.prediction import predict_distributions
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.scores.summary import compute_scores
from hf_emo_dist.training.lora import emotion_lora_config, paper_lora_config
from hf_emo_dist.training.trainer import EmotionDistributionTrainer

PER_EPOCH = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}


def test_it_can_overfit_sixteen_clips(tmp_path):
    rows = tiny_rows(16, seed=5, seconds=(0.2, 0.3))
    for i, row in enumerate(rows):
        target = {name: float(k == i % 3) for k, name in enumerate(TINY_EMOTIONS)}
        row.update(emotion_distribution=target, human_distribution=target, transcript=None)
    backbone = build_mini_backbone(tmp_path / "b", hidden_size=32, audio_layers=1, text_layers=1, num_mel_bins=16)
    torch.manual_seed(0)
    trainer = make_trainer(
        without_dropout(Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=TINY_EMOTIONS)),
        EmotionDistributionProcessor.from_pretrained(backbone, emotions=TINY_EMOTIONS),
        tmp_path / "out",
        as_dataset(rows),
        per_device_train_batch_size=8,
        num_train_epochs=90,
        learning_rate=3e-3,
        lr_scheduler_type="constant_with_warmup",
        warmup_steps=10,
    )
    trainer.train()
    losses = [entry["loss"] for entry in trainer.state.log_history if "loss" in entry]
    assert losses[0] > 0.15 and losses[-1] < 0.01


def test_evaluation_reports_the_scores_of_compute_scores(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_validation)
    found = trainer.evaluate()
    names = tiny_processor.emotions
    predictions = predict_distributions(tiny_model, tiny_processor, tiny_validation, progress=False)
    references = np.array([[row["human_distribution"][name] for name in names] for row in tiny_validation])
    counts = np.array([[row["human_votes"].count(name) for name in names] for row in tiny_validation])
    expected = compute_scores(predictions, references, emotions=names, counts=counts)
    assert {"js_divergence", "bhattacharyya_coefficient", "log_likelihood_per_vote", "num_examples"} <= expected.keys()
    for name, value in expected.items():
        assert found[f"eval_{name}"] == pytest.approx(value, rel=1e-4), name
    assert found["eval_loss"] == pytest.approx(expected["js_divergence"] * np.log(2), rel=1e-4)
    few = trainer.evaluate(tiny_validation.select(range(3)))
    assert few["eval_num_examples"] == 3
    prediction = trainer.predict(tiny_validation)
    np.testing.assert_allclose(
        torch.from_numpy(prediction.predictions).double().softmax(-1).numpy(), predictions, atol=1e-5
    )


def test_training_reads_the_target_and_evaluation_the_human_votes(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    """What synthetic votes say about validation rows changes no score, and no weight."""
    nonsense = {"angry": 1.0, "happy": 0.0, "sad": 0.0}
    poisoned = changed(tiny_validation, emotion_distribution=nonsense, synthetic_votes=["angry"] * 50)
    results = []
    for name, evaluation in (("clean", tiny_validation), ("poisoned", poisoned)):
        trainer = make_trainer(
            copy.deepcopy(tiny_model), tiny_processor, tmp_path / name, tiny_train, evaluation, **PER_EPOCH
        )
        trainer.train()
        scores = trainer.evaluate()
        results.append(
            (weights(trainer), {k: v for k, v in scores.items() if "second" not in k and "runtime" not in k})
        )
    assert largest_difference(results[0][0], results[1][0]) == 0
    assert results[0][1] == results[1][1]
    # while the target of training rows does matter
    other = make_trainer(
        copy.deepcopy(tiny_model),
        tiny_processor,
        tmp_path / "other",
        changed(tiny_train, emotion_distribution=nonsense),
        tiny_validation,
    )
    other.train()
    assert largest_difference(results[0][0], weights(other)) > 1e-3


def test_another_target_must_be_named_and_is_logged(tmp_path, tiny_model, tiny_processor, tiny_train, caplog):
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train)
        assert not caplog.records
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, target_column="human_distribution")
    assert "training on `human_distribution`" in caplog.text


def test_shared_speakers_are_warned_about(tmp_path, tiny_model, tiny_processor, tiny_train, caplog):
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_train.select(range(4)))
    assert "not about unseen speakers" in caplog.text


def test_votes_of_synthetic_annotators_count_where_asked_and_in_training_alone(
    tmp_path, tiny_model, tiny_processor, tiny_train
):
    """Nor is what a target is worth a number of votes: it changes no likelihood."""
    train = changed(tiny_train, synthetic_votes=["sad", "sad"], emotion_concentration=40.0)

    def end(data, **changes):
        model = copy.deepcopy(tiny_model)
        trainer = make_trainer(model, tiny_processor, tmp_path, data, loss_type="dirichlet_multinomial", **changes)
        trainer.train()
        return weights(trainer)

    human = end(tiny_train)
    assert largest_difference(human, end(train)) == 0
    assert largest_difference(human, end(train, count_synthetic_votes=True)) > 1e-4
    about_people = {"count_synthetic_votes": True, "target_column": "human_distribution"}
    assert largest_difference(human, end(train, **about_people)) == 0
    scores = [
        make_trainer(tiny_model, tiny_processor, tmp_path, None, data, loss_type="dirichlet_multinomial").evaluate()
        for data in (tiny_train, train)
    ]
    assert scores[0]["eval_loss"] == scores[1]["eval_loss"]


def test_rows_weigh_by_what_their_targets_are_worth_in_training_alone(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    """Rows that are worth next to nothing leave the weights as if they were not there; scores do not weigh rows."""
    half = tiny_train.select(range(8))
    told = half.add_column("emotion_concentration", [9.0] * 4 + [1e-12] * 4)
    ends, scores = [], []
    for data, kappa in ((told, 1.0), (half.select(range(4)), None), (told, None)):
        model = without_dropout(copy.deepcopy(tiny_model))
        options = {"optim": "sgd", "learning_rate": 0.5, "per_device_train_batch_size": 8, "max_grad_norm": 0.0}
        trainer = make_trainer(
            model, tiny_processor, tmp_path, data, tiny_validation, concentration_weight=kappa, **options
        )
        scores.append(trainer.evaluate()["eval_loss"])
        trainer.train()
        ends.append(weights(trainer))
    assert largest_difference(ends[0], ends[1]) <= 1e-6 < 1e-4 < largest_difference(ends[0], ends[2])
    assert scores[0] == scores[1] == scores[2]


@pytest.mark.parametrize("metric", mostly_slow(["eval_js_divergence", "js_divergence", "eval_loss"], "js_divergence"))
def test_the_best_checkpoint_is_loaded_at_the_end(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, metric
):
    trainer = make_trainer(
        tiny_model,
        tiny_processor,
        tmp_path,
        tiny_train,
        tiny_validation,
        num_train_epochs=4,
        learning_rate=0.05,
        metric_for_best_model=metric,
        **PER_EPOCH,
    )
    trainer.train()
    name = metric if metric.startswith("eval_") else f"eval_{metric}"
    series = [entry[name] for entry in trainer.state.log_history if name in entry]
    assert len(series) == 4 and trainer.state.best_metric == min(series)
    assert trainer.evaluate()[name] == pytest.approx(min(series), abs=1e-6)


def test_early_stopping_ends_a_run_that_does_not_improve(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    settings = {**PER_EPOCH, "num_train_epochs": 6, "learning_rate": 0.0}
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path / "a", tiny_train, tiny_validation, early_stopping_patience=2, **settings
    )
    trainer.train()
    assert trainer.state.epoch == 3
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path / "b", tiny_train, tiny_validation, early_stopping_patience=0, **settings
    )
    trainer.train()
    assert trainer.state.epoch == 6


def test_the_defaults_are_those_of_the_task(tmp_path):
    from hf_emo_dist.training.arguments import EmotionDistributionTrainingArguments

    args = EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True)
    assert (args.metric_for_best_model, args.greater_is_better) == ("eval_js_divergence", False)
    assert (args.early_stopping_patience, args.load_best_model_at_end) == (8, True)
    assert args.eval_strategy == args.save_strategy == "epoch" and not args.remove_unused_columns
    with pytest.raises(ValueError, match="loss_type='jsd' is not known"):
        EmotionDistributionTrainingArguments(str(tmp_path), use_cpu=True, loss_type="jsd")


def test_without_validation_data_training_runs_and_saves(tmp_path, tiny_model, tiny_processor, tiny_train):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, None, **PER_EPOCH)
    trainer.train()
    trainer.save_model()
    assert (tmp_path / "model.safetensors").is_file() and trainer.state.global_step == 4


def test_several_evaluation_sets(tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation):
    sets = {"one": tiny_validation, "two": tiny_validation.select(range(4))}
    scores = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, sets).evaluate()
    assert scores["eval_one_num_examples"] == 8 and scores["eval_two_num_examples"] == 4


def predictions_of(model, processor, data):
    return predict_distributions(model.eval(), processor, data, progress=False)


def test_a_saved_model_gives_the_trained_ones_predictions(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation
):
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, loss_type="kl", entropy_weight=0.01)
    trainer.train()
    trainer.save_model()
    model, processor = load_emotion_model(tmp_path)
    assert not model.training and model.config.loss_type == "kl" and model.config.entropy_weight == 0.01
    np.testing.assert_array_equal(
        predictions_of(model, processor, tiny_validation),
        predictions_of(trainer.model, tiny_processor, tiny_validation),
    )


@pytest.mark.parametrize("preset", ["paper", "language_model", "all"])
def test_a_saved_adapter_gives_the_trained_ones_predictions(
    tmp_path, tiny_model, tiny_backbone, tiny_processor, tiny_train, tiny_validation, preset
):
    untrained = predictions_of(tiny_model, tiny_processor, tiny_validation)
    trainer = make_trainer(
        tiny_model,
        tiny_processor,
        tmp_path,
        tiny_train,
        trainer_options={"peft_config": emotion_lora_config(preset)},
        num_train_epochs=2,
    )
    trainer.train()
    trainer.save_model()
    names = {path.name for path in tmp_path.iterdir()}
    assert {"adapter_config.json", "adapter_model.safetensors", "emotion_config.json"} <= names
    assert "config.json" not in names and "model.safetensors" not in names
    trained = predictions_of(trainer.model, tiny_processor, tiny_validation)
    assert np.abs(trained - untrained).max() > 1e-3
    torch.manual_seed(123)  # a head that reloads random would show
    model, processor = load_emotion_model(tmp_path)
    np.testing.assert_allclose(predictions_of(model, processor, tiny_validation), trained, atol=1e-6)
    merged, processor = load_emotion_model(tmp_path, merge=True)
    np.testing.assert_allclose(predictions_of(merged, processor, tiny_validation), trained, atol=1e-5)


def test_the_head_is_saved_with_any_adapter(tmp_path, tiny_model, tiny_processor, tiny_train, caplog):
    plain = LoraConfig(r=2, target_modules=["q_proj"])
    with pytest.raises(ValueError, match=r"modules_to_save=\['head'\]"):
        make_trainer(get_peft_model(copy.deepcopy(tiny_model), plain), tiny_processor, tmp_path, tiny_train)
    plain = LoraConfig(r=2, target_modules=["q_proj"])
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, trainer_options={"peft_config": plain})
    assert "added to modules_to_save" in caplog.text
    trainer.save_model()
    model, processor = load_emotion_model(tmp_path)
    np.testing.assert_allclose(
        predictions_of(model, processor, tiny_train), predictions_of(trainer.model, processor, tiny_train), atol=1e-6
    )


def test_the_best_adapter_is_loaded_at_the_end(tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation):
    trainer = make_trainer(
        tiny_model,
        tiny_processor,
        tmp_path,
        tiny_train,
        tiny_validation,
        trainer_options={"peft_config": paper_lora_config()},
        num_train_epochs=3,
        learning_rate=0.05,
        **PER_EPOCH,
    )
    trainer.train()
    series = [e["eval_js_divergence"] for e in trainer.state.log_history if "eval_js_divergence" in e]
    assert trainer.evaluate()["eval_js_divergence"] == pytest.approx(min(series), abs=1e-6)
    checkpoint = next(tmp_path.glob("checkpoint-*"))
    assert (checkpoint / "emotion_config.json").is_file() and load_emotion_model(checkpoint)


@pytest.mark.parametrize("lora", [False, True])
def test_no_pickled_arguments_and_no_secrets_are_written(tmp_path, tiny_model, tiny_processor, tiny_train, lora):
    secret = "hf_" + "secretsecretsecret"
    trainer = make_trainer(
        tiny_model,
        tiny_processor,
        tmp_path,
        tiny_train.select(range(4)),
        trainer_options={"peft_config": paper_lora_config()} if lora else None,
        save_strategy="steps",
        save_steps=1,
        hub_token=secret,
    )
    trainer.train()
    trainer.save_model()
    assert not list(tmp_path.rglob("training_args.bin"))
    files = list(tmp_path.rglob("training_args.json"))
    assert len(files) == 2
    arguments = json.loads(files[0].read_text())
    assert arguments["learning_rate"] == 0.01 and arguments["target_column"] == "emotion_distribution"
    for path in tmp_path.rglob("*"):
        assert path.is_dir() or secret.encode() not in path.read_bytes(), path


def test_a_stream_can_be_trained_on(tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation):
    stream = tiny_train.to_iterable_dataset(num_shards=2).shuffle(seed=0, buffer_size=8)
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, stream, tiny_validation, max_steps=3, num_train_epochs=1
    )
    before = weights(trainer)
    trainer.train()
    assert trainer.state.global_step == 3 and largest_difference(before, weights(trainer)) > 1e-3
    assert trainer.evaluate()["eval_num_examples"] == 8


def test_long_recordings_are_trained_on_in_windows(tmp_path, tiny_model, tiny_backbone, tiny_emotions):
    from hf_emo_dist.audio.clips import encode_flac

    rows = tiny_rows(4)
    rows[1]["audio"]["bytes"] = encode_flac(np.tile(np.sin(np.arange(16000) / 9).astype(np.float32), 31))
    processor = EmotionDistributionProcessor.from_pretrained(tiny_backbone, emotions=tiny_emotions, long_audio="window")
    data = as_dataset(rows)
    trainer = make_trainer(tiny_model, processor, tmp_path, data, data)
    trainer.train()
    assert trainer.evaluate()["eval_num_examples"] == 4


def test_lora_with_activation_checkpointing_trains(tmp_path, tiny_model, tiny_processor, tiny_train):
    ends = []
    for checkpointing in (False, True):
        torch.manual_seed(0)
        trainer = make_trainer(
            without_dropout(copy.deepcopy(tiny_model)),
            tiny_processor,
            tmp_path,
            tiny_train,
            trainer_options={"peft_config": emotion_lora_config("language_model", lora_dropout=0.0)},
            activation_checkpointing=checkpointing,
            optim="sgd",
            learning_rate=0.5,
        )
        before = weights(trainer)
        trainer.train()
        after = weights(trainer)
        adapters = [name for name in after if "lora_B" in name]
        assert max((after[n] - before[n]).abs().max() for n in adapters) > 0
        ends.append({name: after[name] for name in adapters})
    assert largest_difference(*ends) < 1e-5


def test_the_trainers_own_arguments_are_passed_on(tmp_path, tiny_model, tiny_processor, tiny_train):
    optimizer = torch.optim.SGD(tiny_model.parameters(), lr=0.1)
    trainer = EmotionDistributionTrainer(
        model=tiny_model,
        args=make_args(tmp_path),
        processing_class=tiny_processor,
        train_dataset=tiny_train,
        eval_dataset=tiny_train,
        compute_metrics=lambda prediction: {"mine": 1.0},
        optimizers=(optimizer, None),
    )
    trainer.train()
    assert trainer.evaluate()["eval_mine"] == 1.0 and trainer.optimizer.optimizer is optimizer
