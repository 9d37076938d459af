import copy
import json
import os
import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file
from tiny_data import tone
from transformers import pipeline

from hf_emo_dist import load_emotion_model, push_model
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.calibration import store_calibration
from hf_emo_dist.modeling.pipeline import BrokenModelError
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
from hf_emo_dist.modeling.whole_files import write_digests


@torch.no_grad()
def logits(model, processor):
    # A copy, because weights that are mapped from a file lie where the file has them, and the last bit of a sum can
    # depend on where its terms lie in memory.
    return copy.deepcopy(model)(**processor(audio=[tone(200, 0.3)], transcript=["Well."])).logits


def test_a_full_checkpoint(full, tiny_model, tiny_processor):
    model, processor = load_emotion_model(full)
    assert type(model) is Qwen2AudioForEmotionDistribution and not model.training
    assert isinstance(processor, EmotionDistributionProcessor)
    assert torch.equal(logits(model, processor), logits(tiny_model, tiny_processor))
    half, _ = load_emotion_model(str(full), dtype=torch.bfloat16)
    assert half.model.dtype == torch.bfloat16


def test_an_adapter_and_its_merge(adapter):
    model, processor = load_emotion_model(adapter)
    assert type(model).__name__.startswith("Peft") and not model.training
    merged, _ = load_emotion_model(adapter, merge=True)
    assert type(merged) is Qwen2AudioForEmotionDistribution and not merged.training
    assert not [name for name, _ in merged.named_parameters() if "lora" in name or "modules_to_save" in name]
    torch.testing.assert_close(logits(merged, processor), logits(model, processor), atol=1e-5, rtol=0)
    assert model.config.emotions == ("angry", "happy", "sad") == merged.config.emotions


def test_a_merged_adapter_saves_as_a_full_checkpoint(adapter, tmp_path):
    merged, processor = load_emotion_model(adapter, merge=True)
    merged.save_pretrained(tmp_path / "merged")
    processor.save_pretrained(tmp_path / "merged")
    again, processor = load_emotion_model(tmp_path / "merged")
    assert torch.equal(logits(again, processor), logits(merged, processor))


def test_an_adapter_without_the_order_of_its_emotions(adapter):
    (adapter / "emotion_config.json").unlink()
    with pytest.raises(ValueError, match=r"without emotion_config\.json"):
        load_emotion_model(adapter)


def test_an_adapter_whose_head_is_missing(adapter):
    file = adapter / "adapter_model.safetensors"
    kept = {key: value for key, value in load_file(file).items() if "head" not in key}
    save_file(kept, file, metadata={"format": "pt"})
    with pytest.raises(ValueError, match="holds no head, which would stay random"):
        load_emotion_model(adapter)


def test_an_adapter_that_was_trained_without_the_head(adapter):
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "modules_to_save": None}))
    with pytest.raises(ValueError, match="holds no head, which would stay random"):
        load_emotion_model(adapter)


def test_an_adapter_in_pickle_is_not_read(adapter):
    file = adapter / "adapter_model.safetensors"
    torch.save(load_file(file), adapter / "adapter_model.bin")
    file.unlink()
    with pytest.raises(OSError, match="safetensors"):
        load_emotion_model(adapter)


def test_an_adapter_whose_backbone_is_gone(adapter):
    file = adapter / "adapter_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "base_model_name_or_path": "/no/such/backbone"}))
    with pytest.raises(OSError, match="/no/such/backbone"):
        load_emotion_model(adapter)


def test_labels_edited_by_hand(adapter, full, tiny_backbone):
    for file in (adapter / "emotion_config.json", full / "config.json"):
        config = json.loads(file.read_text())
        config["id2label"] = {"0": "sad", "1": "happy", "2": "angry"}
        file.write_text(json.dumps(config))
        with pytest.raises(ValueError, match="id2label"):
            load_emotion_model(file.parent)


def test_a_processor_of_other_emotions(full):
    file = full / "processor_config.json"
    config = json.loads(file.read_text())
    file.write_text(json.dumps({**config, "emotions": ["sad", "happy", "angry"]}))
    with pytest.raises(ValueError, match="its processor asks for"):
        load_emotion_model(full)


@pytest.mark.parametrize("name", ["you/no-such-checkpoint", "./nothing", "no/such/folder"])
def test_nothing_there(name):
    with pytest.raises(OSError, match=f"'{name}'"):
        load_emotion_model(name)


def test_a_folder_that_is_no_checkpoint(tmp_path):
    with pytest.raises(OSError, match=r"neither config\.json nor adapter_config\.json"):
        load_emotion_model(tmp_path)


def test_a_bare_backbone_is_no_checkpoint(tiny_backbone):
    with pytest.raises(ValueError, match="backbone without an emotion head"):
        load_emotion_model(tiny_backbone)


DAMAGES = {
    "cut": lambda data: data[: len(data) // 2],
    "zeros": lambda data: bytes(len(data)),
    "empty": lambda data: b"",
    "one bit of its beginning": lambda data: data[:1] + bytes([data[1] ^ 64]) + data[2:],
}
FILES = {
    "full": ("config.json", "model.safetensors", "processor_config.json", "tokenizer.json", "tokenizer_config.json"),
    "adapter": ("adapter_config.json", "emotion_config.json", "adapter_model.safetensors", "processor_config.json"),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES.keys())
@pytest.mark.parametrize(("kind", "name"), [(kind, name) for kind, names in FILES.items() for name in names])
def test_a_damaged_file_is_named_with_the_mend(request, kind, name, damage):
    file = request.getfixturevalue(kind) / name
    file.write_bytes(damage(file.read_bytes()))
    for load in (load_emotion_model, push_dry, *((change_temperature,) if name in SETTINGS else ())):
        if load is push_dry and name.startswith("tokenizer"):
            continue
        with pytest.raises(ValueError, match=rf"{name} is damaged \(.*\)\. Mend: \w+"):
            load(file.parent)


DEEP = "[" * 100_000
AUDIO = {"audio_config": [1]}
STRANGE = {
    "no vocabulary": ("full", "tokenizer.json", "{}"),
    "a vocabulary of another type": ("full", "tokenizer.json", {"added_tokens": 3}),
    "a model of another type": ("full", "tokenizer.json", {"model": []}),
    "tokens of another type": ("full", "tokenizer_config.json", {"added_tokens_decoder": [1]}),
    "features of another type": ("full", "processor_config.json", {"feature_extractor": [1]}),
    "emotions of another type": ("full", "processor_config.json", {"emotions": 7}),
    "an audio part of another type": ("full", "config.json", AUDIO),
    "an audio part of an adapter": ("adapter", "emotion_config.json", AUDIO),
    "sizes below zero": ("full", "config.json", {"text_config": {"model_type": "qwen2", "hidden_size": -8}}),
    "nested, config": ("full", "config.json", DEEP),
    "nested, tokenizer": ("full", "tokenizer.json", DEEP),
    "nested, processor": ("adapter", "processor_config.json", DEEP),
    "nested, adapter": ("adapter", "adapter_config.json", DEEP),
    "nested, facts": ("full", "checkpoint_facts.json", DEEP),
}


@pytest.mark.parametrize(("kind", "name", "content"), STRANGE.values(), ids=STRANGE.keys())
def test_settings_that_make_no_sense_are_about_their_file(request, kind, name, content):
    file = request.getfixturevalue(kind) / name
    said = f"{name} is damaged" if name != "tokenizer_config.json" else f"most likely it is this file or {name}"
    file.write_text(content if isinstance(content, str) else json.dumps({**json.loads(file.read_text()), **content}))
    for load in (load_emotion_model, push_dry):
        if load is push_dry and "sizes" in request.node.callspec.id:
            continue  # what is pushed is not built
        with pytest.raises(ValueError, match=rf"{said}.*\)\. Mend: \w+") as error:
            load(file.parent)
        assert str(file.parent) in str(error.value)


def remove(file):
    file.unlink()


def link_to_a_device(file):
    file.unlink()
    file.symlink_to("/dev/zero")


def pipe_in_its_place(file):
    file.unlink()
    os.mkfifo(file)


GONE = {
    "removed": (remove, "has no {name}"),
    "a device": (link_to_a_device, "{name} is damaged .it is a device"),
    "a named pipe": (pipe_in_its_place, "{name} is damaged .it is a named pipe"),
}


@pytest.mark.parametrize(("change", "said"), GONE.values(), ids=GONE.keys())
@pytest.mark.parametrize("name", ["processor_config.json", "tokenizer.json"])
def test_a_file_that_is_not_there_is_named_and_nothing_is_pushed(full, name, change, said):
    change(full / name)
    for load in (load_emotion_model, push_dry):
        with pytest.raises((OSError, ValueError), match=f"{said.format(name=name)}.*Mend: copy or download it again"):
            load(full)


SETTINGS = ("config.json", "emotion_config.json")


def push_dry(folder):
    push_model(folder, "me/model", dry_run=True, base_model="me/backbone")


def change_temperature(folder):
    store_calibration(folder, {"temperature": 1.5})


def test_so_is_one_of_the_backbone_that_an_adapter_names(adapter, tiny_backbone, tmp_path):
    base = shutil.copytree(tiny_backbone, tmp_path / "base")
    about = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps({**about, "base_model_name_or_path": str(base)}))
    for name in ("model.safetensors", "config.json"):
        whole = (base / name).read_bytes()
        (base / name).write_bytes(whole[:-100])
        for load, kind in ((load_emotion_model, ValueError), (pipe, BrokenModelError)):
            if (load, name) == (pipe, "config.json"):
                continue  # transformers reads it first, and its own message names it
            with pytest.raises(kind, match=rf"base/{name} is damaged"):
                load(adapter)
        (base / name).write_bytes(whole)
    load_emotion_model(adapter)


def pipe(folder):
    return pipeline("speech-emotion-distribution", model=str(folder))


def test_one_bit_of_weights_that_were_trained_here_is_found(full, caplog):
    """Their digests lie beside them; saved by hand, other weights are whole, too."""
    write_digests(full, {})
    load_emotion_model(full)
    file = full / "model.safetensors"
    content = bytearray(file.read_bytes())
    content[-8] ^= 1
    file.write_bytes(content)
    with pytest.raises(ValueError, match=r"model\.safetensors is damaged \(it does not hold what was written"):
        load_emotion_model(full)
    (full / "checkpoint_facts.json").unlink()
    model, _ = load_emotion_model(full)
    write_digests(full, {})
    model.head.classifier.bias.data += 1
    model.save_pretrained(full)
    load_emotion_model(full)
    write_digests(full, {})
    store_calibration(full, {"temperature": 1.5})
    load_emotion_model(full)
    assert "was changed" not in caplog.text
    (full / "config.json").write_text((full / "config.json").read_text() + " ")
    load_emotion_model(full)
    assert "config.json was changed since the training wrote it" in caplog.text
