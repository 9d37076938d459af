"""Each option is honoured, or refused with what to do instead."""

import copy
import logging

import pytest
import torch
from peft import LoraConfig, get_peft_model
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows
from trainer_setup import largest_difference, make_args, make_trainer, weights, without_dropout

from hf_emo_dist import load_emotion_model
from hf_emo_dist.augmentation.perturbation import WaveformPerturbation
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.head import average_windows
from hf_emo_dist.modeling.losses import distribution_loss
from hf_emo_dist.modeling.prediction import predict_distributions
from hf_emo_dist.training.collator import longest_durations
from hf_emo_dist.training.fine_tuning import parse_config, prepare_training
from hf_emo_dist.training.lora import emotion_lora_config


def own_loss(outputs, labels, num_items_in_batch=None):
    return ((outputs.logits.softmax(-1) - labels) ** 2).sum() / num_items_in_batch


REFUSED = {
    "label smoothing": ({"label_smoothing_factor": 0.1}, "label_smoothing_factor=0.1"),
    "another sampler": ({"train_sampling_strategy": "group_by_length"}, "train_sampling_strategy='group_by_length'"),
    "label names": ({"label_names": ["labels"]}, "label_names has no effect"),
    "columns removed": ({"remove_unused_columns": True}, "remove_unused_columns=True"),
    "inputs for scores": ({"include_for_metrics": ["inputs"]}, r"include_for_metrics=\['inputs'\]"),
    "losses for scores": ({"include_for_metrics": ["loss"]}, r"include_for_metrics=\['loss'\]"),
    "batches of scores": ({"eval_do_concat_batches": False}, "eval_do_concat_batches=False"),
    "scores a batch": ({"batch_eval_metrics": True}, "batch_eval_metrics=True"),
    "no scores": (
        {"prediction_loss_only": True},
        "prediction_loss_only=True gives eval_loss and no eval_js_divergence",
    ),
    "short batches": ({"dataloader_drop_last": True, "max_audio_tokens_per_batch": 99}, "dataloader_drop_last"),
}


@pytest.mark.parametrize(("changes", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_would_have_no_effect_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train, changes, message):
    with pytest.raises(ValueError, match=rf"{message}.*Mend"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, **changes)


NO_DATA_SETS = {
    "none by name": (lambda rows: {}, "holds no data set"),
    "a list": (lambda rows: [rows, rows], "eval_dataset is a list"),
    "a list by name": (lambda rows: {"a": [rows]}, "eval_dataset is a list"),
}


@pytest.mark.parametrize(("make", "message"), NO_DATA_SETS.values(), ids=NO_DATA_SETS.keys())
def test_what_cannot_be_evaluated_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train, make, message):
    with pytest.raises(ValueError, match=rf"{message}.*Mend"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, make(tiny_train), eval_strategy="epoch")
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, tiny_train)
    with pytest.raises(ValueError, match=rf"{message}.*Mend"):
        trainer.evaluate(make(tiny_train))


def test_options_of_evaluation_that_are_of_use_are_taken(tmp_path, tiny_model, tiny_processor, tiny_train):
    seen = []

    def own(prediction, compute_result=True):
        seen.append(prediction.losses is not None)
        return {"mine": 1.0}

    saved = {"eval_strategy": "epoch", "save_strategy": "epoch", "load_best_model_at_end": True}
    for changes, options in (
        ({"prediction_loss_only": True, "metric_for_best_model": "loss"}, {}),
        ({"include_for_metrics": ["loss"], "batch_eval_metrics": True, "metric_for_best_model": "mine",
          "greater_is_better": True}, {"compute_metrics": own}),
    ):  # fmt: skip
        trainer = make_trainer(
            tiny_model, tiny_processor, tmp_path, tiny_train, tiny_train, options, **saved, **changes
        )
        trainer.train()
        assert trainer.state.best_model_checkpoint
    assert all(seen) and seen


def test_balanced_sampling_of_a_stream_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    stream = tiny_train.to_iterable_dataset()
    with pytest.raises(ValueError, match="balanced_sampling needs all rows"):
        make_trainer(tiny_model, tiny_processor, tmp_path, stream, max_steps=2, balanced_sampling=True)


def test_perturbation_without_ids_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    """It is drawn from them: no clip would be changed, and the card would say 0.3."""
    with pytest.raises(ValueError, match=r"no `id` column.*Mend: add one"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train.remove_columns("id"), perturb_waveforms=0.3)


@pytest.mark.parametrize("option", [{"loss_type": "kl"}, {"entropy_weight": 0.1}])
def test_a_loss_of_ones_own_replaces_the_models(tmp_path, tiny_model, tiny_processor, tiny_train, option):
    own = {"trainer_options": {"compute_loss_func": own_loss}}
    with pytest.raises(ValueError, match="compute_loss_func replaces the model's loss"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, **own, **option)


@pytest.mark.parametrize("rows", [16, 13])
def test_a_loss_of_ones_own_is_the_same_however_batches_are_cut(tmp_path, tiny_model, tiny_processor, tiny_train, rows):
    ends, losses = [], []
    for size, steps in ((8, 1), (2, 4)):
        trainer = make_trainer(
            without_dropout(copy.deepcopy(tiny_model)), tiny_processor, tmp_path, tiny_train.select(range(rows)),
            trainer_options={"compute_loss_func": own_loss}, per_device_train_batch_size=size,
            gradient_accumulation_steps=steps, optim="sgd", learning_rate=0.5,
        )  # fmt: skip
        trainer.train()
        ends.append(weights(trainer))
        losses.append([entry["loss"] for entry in trainer.state.log_history if "loss" in entry])
    assert largest_difference(*ends) <= 1e-6 and losses[0] == pytest.approx(losses[1], rel=1e-4)
    other = make_trainer(copy.deepcopy(tiny_model), tiny_processor, tmp_path, tiny_train, optim="sgd")
    other.train()
    assert largest_difference(ends[0], weights(other)) > 1e-4


def test_a_task_type_of_peft_is_refused(tmp_path, tiny_model, tiny_processor, tiny_train):
    config = emotion_lora_config("paper", task_type="SEQ_CLS")
    with pytest.raises(ValueError, match=r"task_type='SEQ_CLS'.*Mend: leave task_type out"):
        make_trainer(tiny_model, tiny_processor, tmp_path, tiny_train, trainer_options={"peft_config": config})
    wrapped = get_peft_model(tiny_model, LoraConfig(r=2, target_modules=["q_proj"], task_type="SEQ_CLS"))
    with pytest.raises(ValueError, match="task_type='SEQ_CLS'"):
        make_trainer(wrapped, tiny_processor, tmp_path, tiny_train)


@pytest.mark.parametrize("options", [{"use_dora": True}, {"use_rslora": True}], ids=str)
def test_every_kind_of_lora_comes_back_from_its_folder(
    tmp_path, tiny_model, tiny_processor, tiny_train, tiny_validation, options
):
    config = emotion_lora_config("all", **options)
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, tiny_train, trainer_options={"peft_config": config}, num_train_epochs=2
    )
    trainer.train()
    trainer.save_model()

    def answers(model):
        return torch.from_numpy(predict_distributions(model.eval(), tiny_processor, tiny_validation, progress=False))

    trained = answers(trainer.model)
    for model in (
        load_emotion_model(tmp_path)[0],
        load_emotion_model(tmp_path, merge=True)[0],
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path),
    ):
        torch.testing.assert_close(answers(model), trained, atol=1e-5, rtol=0)


def test_losses_and_windows_follow_the_logits_to_their_device():
    """`meta` stands for a second GPU."""
    logits = torch.zeros(2, 3, device="meta")
    for loss in ("js", "kl", "soft_cross_entropy", "dirichlet_multinomial"):
        weighted = distribution_loss(logits, torch.full((2, 3), 1 / 3), loss, 0.1, torch.ones(2))
        assert weighted.device.type == distribution_loss(logits, torch.ones(2, 3), loss).device.type == "meta"
    assert average_windows(logits, torch.tensor([0, 0]), torch.ones(2)).shape == (1, 3)


def test_emotions_may_be_a_list_in_yaml(tmp_path):
    for text in ("[angry, happy, sad]", "angry,happy,sad", "\n- angry\n- happy\n- sad"):
        file = tmp_path / "list.yaml"
        file.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\nemotions: {text}\n")
        recipe, _ = parse_config(["--config", str(file)])
        assert recipe.label_set == ["angry", "happy", "sad"]
    file.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\nemotions: [angry, no]\n")  # YAML's word for False
    with pytest.raises(ValueError, match=r"emotions.*False.*Mend: .*quotes"):
        parse_config(["--config", str(file)])


RECIPES = {
    "rank without lora": (["--lora_r", "16"], "lora_r would have no effect without lora"),
    "frozen, and adapted": (["--lora", "paper", "--freeze_audio_tower", "true"], "freeze_audio_tower keeps a part"),
    "decay with lora": (["--lora", "paper", "--layer_decay", "0.9"], "layer_decay is for training all weights"),
}


@pytest.mark.parametrize(("words", "message"), RECIPES.values(), ids=RECIPES.keys())
def test_options_of_a_recipe_that_contradict_are_refused(tmp_path, tiny_backbone, tiny_train, words, message):
    words = [*words, "--backbone", str(tiny_backbone), "--output_dir", str(tmp_path), "--use_cpu", "true"]
    with pytest.raises(ValueError, match=rf"{message}.*Mend"):
        prepare_training(*parse_config([*words, "--num_threads", "1"]), tiny_train).train()


def test_rows_over_the_token_budget_are_named(tmp_path, tiny_model, tiny_processor, tiny_train, caplog):
    rows = [*tiny_rows(8, seed=1), *tiny_rows(1, seed=3, seconds=(2.0, 2.1))]
    rows[-1]["id"] = "mix-long"
    trainer = make_trainer(tiny_model, tiny_processor, tmp_path, as_dataset(rows), max_audio_tokens_per_batch=30)
    with caplog.at_level(logging.WARNING, "hf_emo_dist"):
        trainer.train()
    assert "1 training rows have more audio tokens than max_audio_tokens_per_batch=30 (mix-long" in caplog.text


def test_a_data_set_that_changes_tempo_itself_keeps_the_budget(tmp_path, tiny_model, tiny_processor):
    """As a lazy mixer with a perturbation does: it was measured in one epoch, and clips are longer in another."""
    data = as_dataset(tiny_rows(12, seed=1, seconds=(0.3, 0.8)))
    drawn = data.with_transform(WaveformPerturbation(p=1.0, semitones=0.0, tempo=(0.5, 1.5), seed=0))
    trainer = make_trainer(
        tiny_model, tiny_processor, tmp_path, drawn, max_audio_tokens_per_batch=90, num_train_epochs=3
    )
    sizes, step = [], trainer.training_step

    def measured(model, inputs, *rest):
        tokens = (inputs["input_ids"] == model.config.audio_token_id).sum(1)
        sizes.append(int(tokens.max()) * len(tokens))
        return step(model, inputs, *rest)

    trainer.training_step = measured
    trainer.train()
    assert max(sizes) <= 90
    slow = longest_durations(torch.tensor([2.0]).numpy(), None, drawn)
    assert slow[0] == pytest.approx(2.0 * 1.5 / 0.5)
    assert longest_durations(torch.tensor([2.0]).numpy(), None, data)[0] == 2.0


def test_an_adapter_as_the_backbone_goes_on_being_trained(tmp_path, tiny_backbone, tiny_train, tiny_validation):
    base = ["--use_cpu", "true", "--num_threads", "1", "--per_device_train_batch_size", "4"]
    first = [*base, "--backbone", str(tiny_backbone), "--output_dir", str(tmp_path / "first"), "--lora", "all"]
    from hf_emo_dist.training.fine_tuning import finish_training, run_training

    run_training(*parse_config(first), tiny_train, tiny_validation)
    second = [*base, "--backbone", str(tmp_path / "first"), "--output_dir", str(tmp_path / "second")]
    recipe, args = parse_config(second)
    trainer = prepare_training(recipe, args, tiny_train, tiny_validation)
    before = weights(trainer)
    finish_training(trainer, recipe)
    after = weights(trainer)
    moved = {name for name in after if not torch.equal(after[name], before[name])}
    assert any("lora_B" in name for name in moved) and any(".head." in name for name in moved)
    assert all("lora_" in name or ".head." in name for name in moved)
    model, processor = load_emotion_model(tmp_path / "second")
    told = predict_distributions(model, processor, tiny_validation, progress=False)
    assert abs(told - predict_distributions(trainer.model, processor, tiny_validation, progress=False)).max() < 1e-6
    for words, message in (
        (["--lora", "paper"], "is an adapter, and lora=paper would train another one"),
        (["--emotions", "sad,angry,happy"], "is an adapter for"),
        (["--head_dropout", "0.5"], "head_dropout cannot be changed"),
    ):
        with pytest.raises(ValueError, match=message):
            third = [*words, "--output_dir", str(tmp_path / "third")]
            prepare_training(*parse_config([*second, *third]), tiny_train, tiny_validation)
    # as the class loads it, for predicting
    loaded = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path / "first")
    with pytest.raises(ValueError, match="loaded with an adapter for predicting"):
        make_trainer(loaded, processor, tmp_path / "third", tiny_train).train()
    with pytest.raises(ValueError, match="no weight of this model is trainable"):
        make_trainer(load_emotion_model(tmp_path / "first")[0], processor, tmp_path / "third", tiny_train).train()


def test_a_checkpoint_goes_on_with_its_own_prompt(tmp_path, tiny_backbone, tiny_train, tiny_validation):
    from hf_emo_dist.training.fine_tuning import run_training

    base = ["--use_cpu", "true", "--num_threads", "1", "--per_device_train_batch_size", "8"]
    first = [*base, "--backbone", str(tiny_backbone), "--output_dir", str(tmp_path / "first")]
    words = ["--use_transcript", "false", "--long_audio", "window", "--head_dropout", "0.3"]
    run_training(*parse_config([*first, *words]), tiny_train, tiny_validation)
    second = [*base, "--backbone", str(tmp_path / "first"), "--output_dir", str(tmp_path / "second")]
    trainer = prepare_training(*parse_config(second), tiny_train)
    processor = trainer.processing_class
    assert (processor.use_transcript, processor.long_audio, processor.use_speaker) == (False, "window", False)
    assert trainer.model.config.head_dropout == 0.3 and trainer.emotions == TINY_EMOTIONS
    other = prepare_training(*parse_config([*second, "--use_transcript", "true"]), tiny_train)
    assert other.processing_class.use_transcript


def test_a_rate_that_is_none_is_refused(tmp_path):
    for changes in ({"head_learning_rate": 0.0}, {"layer_decay": float("nan")}, {"layer_decay": 1.5}):
        with pytest.raises(ValueError, match=r"Mend: give a number"):
            make_args(tmp_path, **changes)
