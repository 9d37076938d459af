"""What must hold for every family of backbones, in one table: a new family is one line in `families`."""

import copy
import json

import numpy as np
import pytest
import torch
import trainer_setup
from hub_server import put
from quick import mostly_slow
from speech_encoders import FAMILIES as ENCODERS
from tiny_data import TINY_EMOTIONS, tone
from transformers import AutoConfig, AutoModelForAudioClassification, AutoProcessor, TrainerCallback, pipeline

from hf_emo_dist import load_emotion_model, predict_distributions, push_model
from hf_emo_dist.augmentation.features import column_matrix, compute_features
from hf_emo_dist.evaluation.baselines import tower_features
from hf_emo_dist.hub.cards.model_card import model_card
from hf_emo_dist.hub.cards.model_facts import gather_model_facts
from hf_emo_dist.modeling.backbones import family_class
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.pipeline import SpeechEmotionDistributionPipeline
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.training.lora import emotion_lora_config


def mini(folder):
    return build_mini_backbone(folder, hidden_size=16, audio_layers=1, text_layers=1, num_mel_bins=16)


#: `model_type` → what writes a tiny random backbone of it into a folder
FAMILIES = {**{name: case.backbone for name, case in ENCODERS.items()}, "qwen2_audio": mini}
SECONDS = [0.021, 0.3, 0.9, 0.05, 0.6, 0.4013, 0.033, 1.2]
CLIPS = [tone(100 + 60 * i, seconds, seed=i) for i, seconds in enumerate(SECONDS)]


#: of each kind of input one encoder, and an audio-language model; the others are asked the same among the slow tests
QUICK = ("wavlm", "whisper", "wav2vec2-bert", "qwen2_audio")


@pytest.fixture(
    scope="module", params=[pytest.param(name, marks=() if name in QUICK else pytest.mark.slow) for name in FAMILIES]
)
def family(request):
    return request.param


@pytest.fixture(scope="module")
def folder(family, tmp_path_factory):
    return FAMILIES[family](tmp_path_factory.mktemp("family") / "backbone")


def load(folder, **options):
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = EmotionDistributionModel.from_pretrained(folder, emotions=TINY_EMOTIONS, **options).eval()
        with torch.no_grad():  # an untrained head answers nearly the same to everything
            model.head.classifier.weight.mul_(20)
    return model, EmotionDistributionProcessor.from_pretrained(folder, emotions=TINY_EMOTIONS)


@pytest.fixture
def loaded(folder):
    return load(folder)


@torch.no_grad()
def logits(model, processor, clips=CLIPS):
    return model(**processor(audio=list(clips))).logits


def hears(model):
    """The name of the part that hears the audio."""
    return next(name for name, part in model.backbone_parts().items() if part is model.cached_part)


def lora(model, **options):
    preset = "all" if "all" in model.lora_targets else next(iter(model.lora_targets))
    return emotion_lora_config(preset, model=model, **options)


# --- what the model answers


def test_the_family_is_found(family, loaded):
    model, processor = loaded
    assert type(model) is family_class(family) and isinstance(processor, model.processor_class)
    assert model.config.backbone_type == model.family == processor.family == family


def test_a_batch_of_eight_equals_eight_batches_of_one(loaded):
    batch = logits(*loaded)
    torch.testing.assert_close(batch, torch.cat([logits(*loaded, [clip]) for clip in CLIPS]), atol=1e-5, rtol=1e-5)


def test_swapping_the_audio_of_two_rows_swaps_their_answers(loaded):
    one, two = tone(150, 0.4), tone(900, 0.4)
    before, after = logits(*loaded, [one, two]), logits(*loaded, [two, one])
    torch.testing.assert_close(before, after.flip(0), atol=1e-5, rtol=1e-5)
    assert ((before - after).abs().amax(1) > 1e-4).all()


def test_a_long_recording_is_the_mean_of_its_windows(loaded):
    model, processor = loaded
    processor.long_audio = "window"
    wave = np.concatenate([tone(150, 25), tone(600, 20)])
    parts = np.array_split(wave, 2)
    weight = torch.tensor([len(part) for part in parts], dtype=torch.float64) / len(wave)
    expected = (weight[:, None] * logits(model, processor, parts).double().softmax(-1)).sum(0)
    torch.testing.assert_close(logits(model, processor, [wave])[0].double().softmax(-1), expected, atol=1e-5, rtol=0)


# --- files


def test_a_checkpoint_is_complete_and_answers_alike(loaded, tmp_path):
    model, processor = loaded
    model.save_pretrained(tmp_path)
    processor.save_pretrained(tmp_path)
    again = [
        load_emotion_model(tmp_path),
        (AutoModelForAudioClassification.from_pretrained(tmp_path).eval(), AutoProcessor.from_pretrained(tmp_path)),
    ]
    for other in again:
        assert type(other[0]) is type(model) and type(other[1]) is type(processor)
        assert torch.equal(logits(*other), logits(model, processor))
    assert type(AutoConfig.from_pretrained(tmp_path)) is type(model.config)
    with pytest.raises(ValueError, match="in this order"):
        EmotionDistributionModel.from_pretrained(tmp_path, emotions=TINY_EMOTIONS[::-1])


def test_every_weight_of_an_adapter_is_trained(loaded):
    from peft import get_peft_model

    model, processor = loaded
    for preset in model.lora_targets:
        adapted = get_peft_model(
            copy.deepcopy(model), emotion_lora_config(preset, model=model, init_lora_weights=False, lora_dropout=0.0)
        )
        labels = torch.tensor([[0.6, 0.3, 0.1]] * 3)
        adapted(**processor(audio=CLIPS[1:4]), labels=labels).loss.backward()
        dead = [
            name for name, value in adapted.named_parameters()
            if "lora_" in name and (value.grad is None or value.grad.abs().max() == 0)
        ]  # fmt: skip
        assert not dead, (preset, dead)


def test_an_adapter_saves_loads_and_merges(loaded, tmp_path, tiny_train):
    model, processor = loaded
    trainer = trainer_setup.make_trainer(
        model, processor, tmp_path, tiny_train, trainer_options={"peft_config": lora(model)}, num_train_epochs=2
    )
    trainer.train()
    trainer.save_model()
    trained = trainer.accelerator.unwrap_model(trainer.model).eval()
    expected = logits(trained, processor)
    assert (expected - logits(*load(model.loaded_from[0]))).abs().max() > 1e-3
    for merge in (False, True):
        torch.testing.assert_close(logits(*load_emotion_model(tmp_path, merge=merge)), expected, atol=1e-5, rtol=1e-5)
    again = EmotionDistributionModel.from_pretrained(tmp_path).eval()
    torch.testing.assert_close(logits(again, processor), expected, atol=1e-5, rtol=1e-5)


# --- training


def test_it_overfits_sixteen_clips(loaded, tmp_path, tiny_train):
    model, processor = loaded
    trainer = trainer_setup.make_trainer(
        trainer_setup.without_dropout(model),
        processor,
        tmp_path,
        tiny_train,
        tiny_train,
        num_train_epochs=120,
        per_device_train_batch_size=16,
        learning_rate=2e-3,
        lr_scheduler_type="cosine",
        max_grad_norm=1.0,
        logging_strategy="no",
    )
    before = trainer.evaluate()["eval_loss"]
    trainer.train()
    assert (after := trainer.evaluate()["eval_loss"]) < 0.15 * before, (before, after)


class Interrupt(TrainerCallback):
    """Ends training after a step, as a job's time limit would."""

    def __init__(self, step):
        self.step = step

    def on_step_end(self, args, state, control, **kwargs):
        if state.global_step == self.step:
            control.should_save = control.should_training_stop = True


WAYS = {
    "all weights": {},
    "adapter": {"lora": True},
    "token batches": {"max_audio_tokens_per_batch": 60, "frozen": True},
    "cache": {"cache_audio_tower": True, "frozen": True},
}


def train(folder, out, rows, interrupt=None, resume=None, lora_preset=False, frozen=False, **changes):
    model, processor = load(folder)
    if frozen:
        model.freeze([hears(model)])
    with torch.random.fork_rng():
        torch.manual_seed(3 if resume else 2)
        trainer = trainer_setup.make_trainer(
            model,
            processor,
            out,
            rows,
            trainer_options={
                "peft_config": lora(model) if lora_preset else None,
                "callbacks": [Interrupt(interrupt)] if interrupt else None,
            },
            **{"num_train_epochs": 2, "learning_rate": 1e-3, **changes},
        )
        trainer.train(resume_from_checkpoint=resume)
    return trainer


@pytest.mark.parametrize("way", mostly_slow(WAYS.keys(), "cache"))
def test_an_interrupted_run_ends_with_the_same_weights(folder, tmp_path, tiny_train, way):
    changes = dict(WAYS[way])
    changes["lora_preset"] = changes.pop("lora", False)
    if "cache_audio_tower" in changes:
        changes["tower_cache_dir"] = str(tmp_path / "cache")
    rows = tiny_train.select(range(15))
    torch.manual_seed(2)
    whole = train(folder, tmp_path / "whole", rows, **changes)
    train(folder, tmp_path / "parts", rows, interrupt=3, **changes)
    resumed = train(folder, tmp_path / "parts", rows, resume=True, **changes)
    assert whole.state.global_step == resumed.state.global_step > 3
    ends = [
        {name: value for name, value in trainer_setup.weights(trainer).items() if "lora_" in name or "head." in name}
        for trainer in (whole, resumed)
    ]
    # an adapter's first weights are drawn, and what is resumed has those that were saved
    assert trainer_setup.largest_difference(*ends) <= 1e-7


def test_token_batches_keep_to_the_budget(loaded, tmp_path, tiny_train):
    model, processor = loaded
    seen = []
    model.register_forward_pre_hook(
        lambda module, args, kwargs: seen.append(kwargs[model.audio_input_names[1]].sum(1).tolist()), with_kwargs=True
    )
    tokens = [processor.num_tokens(int(seconds * 16000)) for seconds in (0.15, 0.5)]
    budget = 4 * tokens[1]
    trainer = trainer_setup.make_trainer(
        model, processor, tmp_path, tiny_train, max_audio_tokens_per_batch=budget, num_train_epochs=1
    )
    from hf_emo_dist.training import calibration

    trainer.remove_callback(calibration.CalibrateHead)
    trainer.train()
    assert sum(map(len, seen)) == 16 and len({len(lengths) for lengths in seen}) > 1
    steps_a_token = max(max(lengths) for lengths in seen) / max(tokens)
    assert all(len(lengths) * max(lengths) <= 1.1 * budget * steps_a_token for lengths in seen)


def test_a_frozen_part_runs_once_a_clip_and_training_comes_to_the_same(folder, tmp_path, tiny_train, tiny_validation):
    runs, scores = {}, {}
    for cached in (False, True):
        model, processor = load(folder)
        model.freeze([hears(model)])
        clips = []
        trainer = trainer_setup.make_trainer(
            trainer_setup.without_dropout(model),
            processor,
            tmp_path / str(cached),
            tiny_train,
            tiny_validation,
            num_train_epochs=3,
            cache_audio_tower=cached,
            tower_cache_dir=str(tmp_path / "cache"),
        )
        part = model.cached_part
        part.register_forward_hook(lambda module, args, output, clips=clips: clips.append(_batch(output)))
        trainer.train()
        scores[cached] = trainer.evaluate()["eval_js_divergence"]
        runs[cached] = sum(clips)
    assert scores[True] == pytest.approx(scores[False], abs=1e-3)
    calibrating = 16 if hasattr(model, "calibrate") else 0
    assert runs[True] == 24 + calibrating < runs[False]


def _batch(output):
    return len(output.last_hidden_state)


def test_predictions_are_the_model_s(loaded, tiny_validation):
    model, processor = loaded
    found = predict_distributions(model, processor, tiny_validation, batch_size=3, progress=False)
    with torch.no_grad():
        expected = model(**processor.from_rows([tiny_validation[1]])).logits.double().softmax(-1)[0]
    np.testing.assert_allclose(found[1], expected.numpy(), atol=1e-5)


def test_features_of_what_is_heard(loaded, folder, tiny_validation):
    model, processor = loaded
    together, alone = (tower_features(model, processor, tiny_validation, n, progress=False) for n in (4, 1))
    np.testing.assert_allclose(together, alone, atol=2e-3)  # a frozen encoder's states are kept in half precision
    rows = tiny_validation.select(range(3))
    by_folder, by_model = (
        column_matrix(compute_features(rows, "backbone", source), "dime_features_backbone")
        for source in (str(folder), (model, processor))
    )
    assert np.array_equal(by_folder, by_model) and by_folder.shape == (3, together.shape[-1])
    assert np.isfinite(by_folder).all() and np.ptp(by_folder, axis=0).max() > 1e-3
    if model.family == "qwen2_audio":
        assert together.ndim == 2
    else:  # of the regression each layer, of DiME-Aug the mean of all
        assert together.shape == (len(tiny_validation), model.head.scale.shape[0], model.head.scale.shape[1])
        whole = torch.from_numpy(together[:3]).double()
        each = torch.nn.functional.layer_norm(whole, whole.shape[-1:])
        np.testing.assert_allclose(by_folder, each.mean(1).numpy(), atol=5e-3)


def test_features_of_windows_are_averaged_by_duration(loaded):
    model, processor = loaded
    processor.long_audio = "window"
    wave = np.concatenate([tone(150, 25), tone(600, 20)])
    rows = [
        {"id": str(i), "audio": {"array": clip, "sampling_rate": 16000}}
        for i, clip in enumerate([wave, *np.array_split(wave, 2)])
    ]
    whole, first, second = tower_features(model, processor, rows, progress=False)
    np.testing.assert_allclose(whole, (first + second) / 2, atol=2e-3)


# --- Hub, pipelines, card


@pytest.fixture
def checkpoints(folder, loaded, tmp_path, tiny_train):
    """A full checkpoint, and an adapter with a head of its own."""
    model, processor = loaded
    model.save_pretrained(tmp_path / "full")
    processor.save_pretrained(tmp_path / "full")
    adapted = train(folder, tmp_path / "adapter", tiny_train.select(range(8)), lora_preset=True, num_train_epochs=1)
    adapted.save_model()
    return {name: tmp_path / name for name in ("full", "adapter")}


def test_push_and_pull(hub, folder, checkpoints):
    put(hub, "me/backbone", folder)
    push_model(checkpoints["full"], "me/full")
    push_model(checkpoints["adapter"], "me/adapter", base_model="me/backbone")
    for name, path in checkpoints.items():
        torch.testing.assert_close(
            logits(*load_emotion_model(f"me/{name}")), logits(*load_emotion_model(path)), atol=1e-6, rtol=1e-6
        )
        files = hub.repo(f"me/{name}").files
        assert "README.md" in files and not any(str(path.parent).encode() in blob.data for blob in files.values())


@pytest.mark.parametrize("name", ["full", "adapter"])
def test_both_pipelines(checkpoints, name):
    model, processor = load_emotion_model(checkpoints[name])
    expected = logits(model, processor, CLIPS[:2]).double().softmax(-1).numpy()
    for task in ("speech-emotion-distribution", "audio-classification"):
        pipe = pipeline(task, model=str(checkpoints[name]))
        assert type(pipe) is SpeechEmotionDistributionPipeline
        for answer, wanted in zip(pipe(CLIPS[:2]), expected, strict=True):
            found = {entry["label"]: entry["score"] for entry in answer}
            np.testing.assert_allclose([found[emotion] for emotion in TINY_EMOTIONS], wanted, atol=1e-5)


def test_the_card_says_what_it_is(family, checkpoints):
    for name, path in checkpoints.items():
        card = model_card(gather_model_facts(path, repo_id=f"me/{name}"))
        assert f"(`{family}`)" in card and all(f"`{emotion}`" in card for emotion in TINY_EMOTIONS)
        assert ("| Prompt |" in card) == ('"transcript": "Well."' in card) == (family == "qwen2_audio")
        assert ("pooling" in card) == (family in ENCODERS)
        assert json.loads((path / "processor_config.json").read_text())["family"] == family
