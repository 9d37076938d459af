"""Every recipe's YAML is read as its users would read it, and takes a training step with a tiny model and tiny data."""

import json
import re
import shutil
from pathlib import Path

import audio_language_models
import pytest
import speech_encoders
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_data import as_dataset, tiny_rows

from hf_emo_dist.commands.configs import ACCELERATE_CONFIGS, CONFIGS, config_file, config_names
from hf_emo_dist.commands.train import options
from hf_emo_dist.emotions import PAPER_EMOTIONS
from hf_emo_dist.training.fine_tuning import parse_config, run_training

RECIPES = Path(__file__).parents[2] / "recipes"
NAMES = sorted(path.stem for path in CONFIGS.glob("*.yaml"))
# what needs a GPU, or takes longer than a test should
ELSEWHERE = {
    "fp16": "false",
    "bf16": "false",
    "tf32": "false",
    "use_cpu": "true",
    "load_in_4bit": "false",
    "attn_implementation": "sdpa",
    "model_dtype": "float32",
}
QUICK = {"max_steps": 1, "num_threads": 1, "dataloader_num_workers": 0, "disable_tqdm": "true"}


def parse(words):
    values = options().parse(words, "hf-emo-dist train")
    return parse_config(values.more, values.more_keys)


def command_line(name, folder, **changes):
    options = {**({} if torch.cuda.is_available() else ELSEWHERE), **QUICK, "output_dir": folder, **changes}
    return [
        "--config",
        name,
        *(str(part) for k, v in options.items() for part in (f"--{k}", v)),
    ]


@pytest.mark.parametrize(
    ("inside", "copies"), [(CONFIGS, RECIPES / "configs"), (ACCELERATE_CONFIGS, RECIPES / "accelerate_configs")]
)
def test_the_copies_beside_the_recipes_are_those_of_the_package(inside, copies):
    files = {path.relative_to(inside): path.read_bytes() for path in inside.rglob("*.yaml")}
    assert files == {path.relative_to(copies): path.read_bytes() for path in copies.rglob("*.yaml")} and files


def test_no_comment_names_a_file_that_a_wheel_lacks():
    for file in (*CONFIGS.rglob("*.yaml"), *ACCELERATE_CONFIGS.rglob("*.yaml")):
        assert not re.search(r"recipes/|dataset_scripts|metrics/", file.read_text()), file


def test_a_path_goes_before_a_name_and_an_unknown_one_lists_the_names(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert config_file("prepare/gemini") == CONFIGS / "prepare" / "gemini.yaml"
    assert config_file("ddp", ACCELERATE_CONFIGS).is_file()
    Path("mini").write_text("seed: 3\n")
    assert config_file("mini") == Path("mini")
    with pytest.raises(FileNotFoundError, match=r"mini, paper_iemocap, .*prepare/gemini"):
        config_file("minni")


@pytest.mark.parametrize("form", [["--config", "mini"], ["--config=mini"], ["--config", str(CONFIGS / "mini.yaml")]])
def test_every_form_of_config_is_read(form, tmp_path):
    _, args = parse([*form, "--output_dir", str(tmp_path), "--use_cpu", "true"])
    values = yaml.safe_load((CONFIGS / "mini.yaml").read_text())
    assert args.learning_rate == values["learning_rate"] and args.seed == values["seed"]


def test_the_promised_recipes_are_there():
    assert {"prepare/gemini", "prepare/openai_server", "prepare/paper", "prepare/quickstart"} <= set(config_names())
    wanted = {"quickstart", "encoder", "mini", "paper_iemocap", "paper_msp_podcast", "qwen2_audio_lora"}
    assert wanted | {"wavlm_large", "whisper_large_v3", "qwen2_5_omni_lora"} <= set(NAMES)


@pytest.fixture(scope="session")
def tiny_encoder(tmp_path_factory):
    """A tiny Whisper encoder in a folder of its own, as `encoder_config.json` and one safetensors file."""
    from transformers import WhisperConfig
    from transformers.models.whisper.modeling_whisper import WhisperEncoder

    folder = tmp_path_factory.mktemp("encoder")
    settings = {"num_mel_bins": 16, "encoder_layers": 2, "encoder_attention_heads": 2, "encoder_ffn_dim": 32,
                "d_model": 16, "max_source_positions": 1500}  # fmt: skip
    encoder = WhisperEncoder(WhisperConfig(**settings))
    save_file({name: value.half() for name, value in encoder.state_dict().items()}, folder / "weights.safetensors")
    (folder / "encoder_config.json").write_text(json.dumps(settings))
    return folder


#: recipe → a tiny random model of the class that it is for; the others are for Qwen2-Audio
BACKBONES = {
    "wavlm_large": speech_encoders.CASES["wavlm large"],
    "whisper_large_v3": speech_encoders.CASES["whisper"],
    "qwen2_5_omni_lora": audio_language_models.CASES["qwen2_5_omni"],
}


@pytest.mark.parametrize("name", NAMES)
def test_a_recipe_takes_a_training_step(tmp_path, tiny_backbone, tiny_encoder, name):
    if name in BACKBONES:
        tiny_backbone = BACKBONES[name].backbone(tmp_path / "backbone")
    elif name == "encoder":
        tiny_backbone = tiny_encoder
    changes = {"attn_implementation": "eager"} if name == "wavlm_large" else {}  # it has no other
    train, validation = (as_dataset(tiny_rows(8, seed=seed, emotions=PAPER_EMOTIONS)) for seed in (1, 2))
    recipe, args = parse(command_line(name, tmp_path / "out", backbone=tiny_backbone, **changes))
    scores = run_training(recipe, args, train, validation)
    assert scores["eval_num_examples"] == 8 and 0 <= scores["eval_js_divergence"] <= 1
    saved = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"train_results.json", "recipe.json", "training_args.json", "processor_config.json"} <= saved
    assert ("adapter_model.safetensors" if recipe.lora else "model.safetensors") in saved


#: Recipes in half precision, on a CPU too; and towers that are kept
IN_BF16 = {
    "wavlm_large": ("wavlm_large", {}),
    "whisper_large_v3": ("whisper_large_v3", {}),
    "qwen2_5_omni_lora": ("qwen2_5_omni_lora", {}),
    "the paper's head": ("mini", {"bf16": "true", "backbone": "qwen2_5_omni_lora"}),
    "kept tower": ("encoder", {"bf16": "true"}),
    "kept tower of a waveform": ("encoder", {"bf16": "true", "backbone": "wavlm_large"}),
}


@pytest.mark.parametrize(("name", "changes"), IN_BF16.values(), ids=IN_BF16.keys())
def test_a_model_trains_in_the_precision_that_its_recipe_says(tmp_path, tiny_encoder, name, changes):
    from hf_emo_dist.training.fine_tuning import finish_training, prepare_training

    said = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    model = BACKBONES.get(changes.get("backbone", name))
    changes = {
        **{key: said[key] for key in ("bf16", "model_dtype") if key in said},
        "attn_implementation": "eager",  # WavLM has no other
        "tower_cache_dir": tmp_path / "cache",
        **changes,
        "backbone": model.backbone(tmp_path / "backbone") if model else tiny_encoder,
        "max_steps": 2,
        "per_device_train_batch_size": 4,
    }
    train, validation = (as_dataset(tiny_rows(8, seed=seed, emotions=PAPER_EMOTIONS)) for seed in (1, 2))
    recipe, args = parse(command_line(name, tmp_path / "out", **changes))
    assert args.bf16
    trainer = prepare_training(recipe, args, train, validation)
    scores = finish_training(trainer, recipe)
    network = trainer.model.get_base_model() if recipe.lora else trainer.model
    if hasattr(network, "calibrate"):
        assert bool(network.head.calibrated) and network.head.center.isfinite().all()
    assert 0 <= scores["eval_js_divergence"] <= 1


@pytest.mark.parametrize("lora", ["none", "language_model"])
def test_a_backbone_with_an_adapter_of_its_own_is_trained_as_a_backbone(tmp_path, lora):
    from hf_emo_dist import load_emotion_model, predict_distributions

    backbone = tmp_path / "backbone"
    audio_language_models.CASES["granite_speech"].with_own_adapter(backbone)
    train, validation = (as_dataset(tiny_rows(8, seed=seed)) for seed in (1, 2))
    words = command_line(
        "mini", tmp_path / "out", backbone=backbone, emotions="angry,happy,sad", lora=lora, head="small",
        freeze_audio_tower="false", freeze_language_model="false", cache_audio_tower="false",
    )  # fmt: skip
    recipe, args = parse(words)
    scores = run_training(recipe, args, train, validation)
    assert ("adapter_model.safetensors" if recipe.lora else "model.safetensors") in {
        path.name for path in (tmp_path / "out").iterdir()
    }
    model, processor = load_emotion_model(tmp_path / "out")
    assert len(predict_distributions(model, processor, validation, progress=False)) == 8
    assert 0 <= scores["eval_js_divergence"] <= 1
    if recipe.lora:  # its base is the weights and the adapter beside them
        file = backbone / "adapter_model.safetensors"
        save_file({name: value + 1 for name, value in load_file(file).items()}, file, metadata={"format": "pt"})
        with pytest.raises(ValueError, match="trained on a backbone with other weights"):
            load_emotion_model(tmp_path / "out")


@pytest.mark.parametrize("name", NAMES)
def test_a_file_says_what_is_parsed(tmp_path, name):
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    recipe, args = parse(command_line(name, tmp_path))
    for key, value in values.items():
        if key not in ELSEWHERE and key not in QUICK and key != "report_to":  # none becomes an empty list
            found = getattr(recipe, key) if hasattr(recipe, key) else getattr(args, key)
            assert found == value or str(getattr(found, "value", found)) == str(value), key


@pytest.mark.parametrize("name", ["paper_iemocap", "paper_msp_podcast"])
def test_the_papers_hyperparameters(tmp_path, name):
    values = yaml.safe_load((CONFIGS / f"{name}.yaml").read_text())
    expected = {
        "lora": "paper",
        "lora_r": 8,
        "lora_alpha": 16,
        "lora_dropout": 0.2,
        "head_dropout": 0.15,
        "head_projection_dropout": 0.1,
        "loss_type": "js",
        "entropy_weight": 0.08,
        "perturb_waveforms": 0.3,
        "learning_rate": 2.5e-6,
        "lr_scheduler_type": "cosine_with_restarts",
        "warmup_steps": 0.15,
        "weight_decay": 0.03,
        "max_grad_norm": 3.0,
        "fp16": True,
        "per_device_train_batch_size": 8,
        "gradient_accumulation_steps": 8,
        "num_train_epochs": 60,
        "early_stopping_patience": 8,
        "metric_for_best_model": "eval_loss",
        "use_speaker": True,
        "emotions": ",".join(PAPER_EMOTIONS),
    }
    assert {key: values.get(key) for key in expected} == expected


def test_the_command_line_overrides_the_file(tmp_path):
    recipe, args = parse(command_line("mini", tmp_path, learning_rate=0.123, use_transcript="false"))
    assert args.learning_rate == 0.123 and not recipe.use_transcript
    assert recipe.freeze_audio_tower is yaml.safe_load((CONFIGS / "mini.yaml").read_text()).get(
        "freeze_audio_tower", False
    )


def test_labels_may_be_a_list_in_a_file(tmp_path):
    (tmp_path / "c.yaml").write_text("emotions: [angry, sad]\n")
    words = ["--config", str(tmp_path / "c.yaml"), "--output_dir", str(tmp_path), "--use_cpu", "true"]
    assert parse(words)[0].emotions == "angry,sad"
    assert parse([*words, "--emotions", "angry, fear"])[0].emotions == "angry,fear"


WRONG = {
    "an empty name": ("emotions: angry,sad,\n", "emotions 'angry,sad,' has an empty name"),
    "unknown key": ("learning_rat: 0.1\n", "learning_rat"),
    "unknown preset": ("lora: papper\n", "paper, language_model, all, attention, feed_forward"),
    "unknown loss": ("loss_type: jsd\n", "js, kl, soft_cross_entropy"),
    "4 bit without an adapter": ("load_in_4bit: true\n", "load_in_4bit trains only through an adapter"),
}


@pytest.mark.parametrize(("text", "message"), WRONG.values(), ids=WRONG.keys())
def test_a_wrong_file_is_refused(tmp_path, text, message):
    file = tmp_path / "wrong.yaml"
    file.write_text(f"output_dir: {tmp_path}\nuse_cpu: true\n{text}")
    with pytest.raises(ValueError, match=message):
        parse(["--config", str(file)])


def test_an_unknown_argument_is_refused(tmp_path):
    with pytest.raises(ValueError, match="learningrate"):
        parse(command_line("mini", tmp_path, learningrate=0.1))


def test_frozen_parts_stay_as_they_are(tmp_path, tiny_backbone, tiny_train, tiny_validation):
    from hf_emo_dist import load_emotion_model

    options = {"freeze_audio_tower": "true", "freeze_language_model": "true", "learning_rate": 0.1, "warmup_steps": 0}
    recipe, args = parse(command_line("quickstart", tmp_path / "out", backbone=tiny_backbone, **options))
    run_training(recipe, args, tiny_train, tiny_validation)
    model, _ = load_emotion_model(tmp_path / "out")
    before = load_file(tiny_backbone / "model.safetensors")
    state = model.state_dict()
    for key, value in before.items():
        same = key.replace("language_model.model.", "language_model.")
        if "lm_head" not in key:
            assert torch.equal(state[f"model.{same}"], value) != key.startswith("multi_modal_projector"), key


def test_an_encoder_s_folder_as_it_is_makes_a_checkpoint_that_needs_nothing_else(tmp_path, tiny_encoder, monkeypatch):
    from hf_emo_dist import load_emotion_model, predict_distributions

    folder = shutil.copytree(tiny_encoder, tmp_path / "encoder")
    train, validation = (as_dataset(tiny_rows(8, seed=seed)) for seed in (1, 2))
    recipe, args = parse(
        command_line("encoder", tmp_path / "out", backbone=folder, tower_cache_dir=tmp_path / "cache", max_steps=3)
    )
    run_training(recipe, args, train, validation)
    weights = load_file(folder / "weights.safetensors")
    shutil.rmtree(folder)
    model, processor = load_emotion_model(tmp_path / "out")
    state = model.state_dict()
    assert all(torch.equal(state[f"encoder.{name}"], value.float()) for name, value in weights.items())
    assert bool(model.head.calibrated) and processor.feature_extractor.feature_size == 16
    assert len(predict_distributions(model, processor, validation, progress=False)) == 8


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"freeze": "audio_tower"}, r"freeze=audio_tower: Whisper has no such part\. Mend: name some of encoder"),
        ({"lora": "paper"}, "not known for Whisper. Mend: use one of attention, feed_forward, all"),
        ({"lora": "attention"}, r"freeze=encoder keeps a part as it is, and lora=attention would train"),
        ({"pooling": "max"}, "use one of statistics, mean"),
    ],
)
def test_what_an_encoder_does_not_have_is_named(tmp_path, tiny_encoder, changes, message):
    train, validation = (as_dataset(tiny_rows(8, seed=seed)) for seed in (1, 2))
    words = command_line("encoder", tmp_path, backbone=tiny_encoder, cache_audio_tower="false", **changes)
    with pytest.raises(ValueError, match=message):
        run_training(*parse(words), train, validation)


def test_what_a_language_model_does_not_have_is_named(tmp_path, tiny_backbone):
    recipe, args = parse(command_line("mini", tmp_path, backbone=tiny_backbone, pooling="mean"))
    with pytest.raises(ValueError, match="pooling is nothing that Qwen2-Audio has"):
        run_training(recipe, args, as_dataset(tiny_rows(8, seed=1)))
