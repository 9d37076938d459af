import json
import re
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoConfig, Qwen2AudioForConditionalGeneration, Qwen2AudioModel

from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.configuration import Qwen2AudioEmotionConfig

LANGUAGE = "model.language_model."


def plain(folder):
    """The backbone's weights under the names of transformers 5.23's classes."""
    weights = {}
    for key, value in load_file(folder / "model.safetensors").items():
        key = re.sub(r"^language_model\.model\.", LANGUAGE, key)
        key = re.sub(r"^language_model\.lm_head", "lm_head", key)
        weights[re.sub(r"^(audio_tower|multi_modal_projector)", r"model.\1", key)] = value
    return weights


def rename(weights, language, lm_head="language_model.lm_head", outer=""):
    out = {}
    for key, value in weights.items():
        if key.startswith(LANGUAGE):
            key = language + key.removeprefix(LANGUAGE)
        elif key.startswith("lm_head"):
            key = lm_head + key.removeprefix("lm_head")
        else:
            key = outer + key.removeprefix("model.")
        out[key] = value
    return out


def shards(weights, folder):
    names = sorted(weights)
    index = {}
    for i, part in enumerate((names[::2], names[1::2])):
        file = f"model-{i + 1:05d}-of-00002.safetensors"
        save_file({name: weights[name] for name in part}, folder / file, metadata={"format": "pt"})
        index.update(dict.fromkeys(part, file))
    body = {"metadata": {"total_size": 1}, "weight_map": index}
    (folder / "model.safetensors.index.json").write_text(json.dumps(body))


LAYOUTS = {
    "Hub since 2024, also saved by 5.23": lambda w: rename(w, "language_model.model."),
    "5.23 with save_original_format=False": lambda w: w,
    "5.18 to 5.22": lambda w: rename(w, "language_model.model.model."),
    "headless Qwen2AudioModel": lambda w: {
        key: value for key, value in rename(w, "language_model.").items() if "lm_head" not in key
    },
}


def backbone(tmp_path, source, weights, sharded=False):
    folder = tmp_path / "backbone"
    shutil.copytree(source, folder)
    (folder / "model.safetensors").unlink()
    if sharded:
        shards(weights, folder)
    else:
        save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def assert_backbone_is(model, weights):
    state = model.state_dict()
    ours = {key for key in state if not key.startswith("head.")}
    assert ours == {key for key in weights if not key.startswith("lm_head")}
    for key in ours:
        assert torch.equal(state[key], weights[key]), key


@pytest.mark.parametrize("sharded", [False, True], ids=["one file", "sharded"])
@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS.keys())
def test_every_layout_loads_with_only_the_head_new(tmp_path, tiny_backbone, tiny_emotions, layout, sharded):
    weights = plain(tiny_backbone)
    folder = backbone(tmp_path, tiny_backbone, layout(weights), sharded)
    model, info = Qwen2AudioForEmotionDistribution.from_pretrained(
        folder, emotions=tiny_emotions, output_loading_info=True
    )
    assert_backbone_is(model, weights)
    assert info["missing_keys"] and all(key.startswith("head.") for key in info["missing_keys"])
    assert not info["unexpected_keys"] and not info["mismatched_keys"]
    assert model.config.emotions == tiny_emotions
    assert not [name for name, _ in model.named_parameters() if "lm_head" in name]


@pytest.mark.parametrize("original_format", [True, False])
def test_what_todays_transformers_saves_loads(tmp_path, tiny_backbone, tiny_emotions, original_format):
    stock = Qwen2AudioForConditionalGeneration.from_pretrained(tiny_backbone)
    stock.save_pretrained(tmp_path / "saved", save_original_format=original_format)
    model = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path / "saved", emotions=tiny_emotions)
    assert_backbone_is(model, plain(tiny_backbone))


def test_a_saved_headless_model_loads(tmp_path, tiny_backbone, tiny_emotions):
    stock = Qwen2AudioModel.from_pretrained(tiny_backbone)
    stock.save_pretrained(tmp_path / "saved")
    model = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path / "saved", emotions=tiny_emotions)
    assert_backbone_is(model, plain(tiny_backbone))


@pytest.mark.parametrize("lost", ["self_attn.q_proj.weight", "embed_tokens.weight", "conv2.bias", "linear.weight"])
@pytest.mark.parametrize("layout", list(LAYOUTS.values())[:3], ids=list(LAYOUTS)[:3])
def test_a_missing_backbone_weight_is_an_error(tmp_path, tiny_backbone, tiny_emotions, layout, lost):
    weights = layout(plain(tiny_backbone))
    gone = next(key for key in weights if key.endswith(lost))
    del weights[gone]
    folder = backbone(tmp_path, tiny_backbone, weights)
    with pytest.raises(RuntimeError, match=r"lacks 1 weights .*stay random") as error:
        Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=tiny_emotions)
    assert lost in str(error.value)


def test_a_weight_of_another_shape_is_an_error(tmp_path, tiny_backbone, tiny_emotions):
    weights = plain(tiny_backbone)
    weights["model.multi_modal_projector.linear.weight"] = torch.zeros(16, 8)
    folder = backbone(tmp_path, tiny_backbone, weights)
    for options in ({}, {"ignore_mismatched_sizes": True}):
        with pytest.raises(RuntimeError, match=r"linear.weight"):
            Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=tiny_emotions, **options)


def test_only_safetensors_are_read(tmp_path, tiny_backbone, tiny_emotions):
    folder = backbone(tmp_path, tiny_backbone, {"x": torch.zeros(1)})
    (folder / "model.safetensors").unlink()
    torch.save(plain(tiny_backbone), folder / "pytorch_model.bin")
    with pytest.raises(OSError, match="safetensors"):
        Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=tiny_emotions)


def test_old_configuration_fields_survive(tmp_path, tiny_backbone, tiny_emotions):
    folder = backbone(tmp_path, tiny_backbone, plain(tiny_backbone))
    config = json.loads((folder / "config.json").read_text())
    config["text_config"].pop("rope_parameters", None)
    config["text_config"].update(rope_theta=12345.0, rms_norm_eps=1e-5)
    config["torch_dtype"] = "bfloat16"
    config.pop("dtype", None)
    (folder / "config.json").write_text(json.dumps(config))
    model = Qwen2AudioForEmotionDistribution.from_pretrained(folder, emotions=tiny_emotions)
    stock = Qwen2AudioModel.from_pretrained(folder)
    assert model.config.text_config.rope_parameters == stock.config.text_config.rope_parameters
    assert model.config.text_config.rope_parameters["rope_theta"] == 12345.0
    assert model.config.text_config.rms_norm_eps == 1e-5
    assert model.dtype == stock.dtype == torch.bfloat16
    assert {parameter.dtype for parameter in model.head.parameters()} == {torch.float32}


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_head_stays_in_float32(tiny_backbone, tiny_emotions, dtype):
    model = Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=tiny_emotions, dtype=dtype)
    assert {p.dtype for p in model.model.parameters()} == {dtype}
    assert {p.dtype for p in model.head.parameters()} == {torch.float32}


def test_a_half_precision_checkpoint_keeps_its_float32_head(tmp_path, tiny_backbone, tiny_emotions):
    model = Qwen2AudioForEmotionDistribution.from_pretrained(
        tiny_backbone, emotions=tiny_emotions, dtype=torch.bfloat16
    )
    model.save_pretrained(tmp_path)
    loaded = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path)
    for (name, a), b in zip(model.state_dict().items(), loaded.state_dict().values(), strict=True):
        assert a.dtype == b.dtype and torch.equal(a, b), name


@pytest.mark.parametrize("count", [2, 20])
def test_any_number_of_emotions(tmp_path, tiny_backbone, count):
    emotions = [f"feeling{i}" for i in range(count)]
    model = Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=emotions)
    assert model.head.classifier.out_features == count == model.config.num_labels
    model.save_pretrained(tmp_path)
    assert Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path).config.emotions == tuple(emotions)


@pytest.mark.parametrize("shard", [None, "20KB"])
def test_a_checkpoint_loads_as_it_was_saved(tmp_path, tiny_model, tiny_emotions, shard):
    tiny_model.save_pretrained(tmp_path, **({"max_shard_size": shard} if shard else {}))
    assert not [f.name for f in tmp_path.iterdir() if f.suffix not in (".json", ".safetensors")]
    for options in ({}, {"emotions": tiny_emotions}, {"head_dropout": 0.5}):
        loaded, info = Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, output_loading_info=True, **options)
        assert loaded.config.emotions == tiny_emotions
        assert not info["missing_keys"]
        for (name, a), b in zip(tiny_model.state_dict().items(), loaded.state_dict().values(), strict=True):
            assert torch.equal(a, b), name


def test_a_checkpoint_without_part_of_its_head_is_an_error(tmp_path, tiny_model):
    tiny_model.save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    del weights["head.norm.weight"]
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(RuntimeError, match=r"head\.norm\.weight"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path)


def test_settings_can_be_given_when_loading(tmp_path, tiny_backbone, tiny_emotions, tiny_model):
    new = Qwen2AudioForEmotionDistribution.from_pretrained(
        tiny_backbone, emotions=tiny_emotions, loss_type="kl", head_dropout=0.0, head_hidden_size=4
    )
    assert (new.config.loss_type, new.head.residual[-1].p, new.head.classifier.in_features) == ("kl", 0.0, 4)
    tiny_model.save_pretrained(tmp_path)
    assert Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, loss_type="kl").config.loss_type == "kl"
    with pytest.raises(ValueError, match="loss_type='jsd' is not known"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone, emotions=tiny_emotions, loss_type="jsd")
    with pytest.raises(ValueError, match="loss_type='jsd' is not known"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, loss_type="jsd")


def test_a_backbone_needs_emotions(tiny_backbone):
    with pytest.raises(ValueError, match=r'emotions=\["angry"'):
        Qwen2AudioForEmotionDistribution.from_pretrained(tiny_backbone)


@pytest.mark.parametrize("emotions", [("sad", "happy", "angry"), ("angry", "happy"), ("angry", "happy", "fear")])
def test_other_emotions_than_the_checkpoints_are_refused(tmp_path, tiny_model, emotions):
    tiny_model.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"was trained for .*'angry', 'happy', 'sad'.* in this order"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, emotions=emotions)


def swap_ids(config):
    config["id2label"]["0"], config["id2label"]["2"] = config["id2label"]["2"], config["id2label"]["0"]


def swap_labels(config):
    config["label2id"]["angry"], config["label2id"]["sad"] = 2, 0


def renumber(config):
    config["id2label"]["7"] = config["id2label"].pop("2")
    config["label2id"]["sad"] = 7


def rename_one(config):
    config["id2label"]["0"] = "fear"


@pytest.mark.parametrize("edit", [swap_ids, swap_labels, renumber, rename_one])
def test_labels_edited_by_hand_are_found(tmp_path, tiny_model, edit):
    tiny_model.save_pretrained(tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    edit(config)
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ValueError, match="id2label"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path)


def test_another_kind_of_model_is_refused(tmp_path):
    AutoConfig.for_model("whisper").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="is a whisper model; a Qwen2-Audio one is needed"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, emotions=["angry", "sad"])


@pytest.mark.parametrize("name", ["Qwen/Qwen2-Audio-7B-Instrukt", "no/such/folder/here", "nosuchname", "./nothing"])
def test_a_name_that_cannot_be_reached_gives_one_clear_error(name):
    with pytest.raises(OSError, match=f"No model could be loaded from '{re.escape(name)}'.*spelling"):
        Qwen2AudioForEmotionDistribution.from_pretrained(name, emotions=["angry", "sad"])


def test_an_empty_folder_gives_the_same_error(tmp_path):
    with pytest.raises(OSError, match="No model could be loaded from"):
        Qwen2AudioForEmotionDistribution.from_pretrained(tmp_path, emotions=["angry", "sad"])


def test_configuration_round_trip_and_order(tmp_path):
    config = Qwen2AudioEmotionConfig(emotions=["sad", "angry"], loss_type="kl", entropy_weight=0.08, head_hidden_size=4)
    config.save_pretrained(tmp_path)
    loaded = AutoConfig.from_pretrained(tmp_path)
    assert isinstance(loaded, Qwen2AudioEmotionConfig)
    assert loaded.emotions == ("sad", "angry")
    assert (loaded.loss_type, loaded.entropy_weight, loaded.head_hidden_size) == ("kl", 0.08, 4)
    for bad in (["angry"], ["angry", "angry"], []):
        with pytest.raises(ValueError):
            Qwen2AudioEmotionConfig(emotions=bad)
