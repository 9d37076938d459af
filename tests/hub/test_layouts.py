"""Every layout survives a push and a pull, whatever the emotions, the head, the dtype and the shards."""

import copy

import numpy as np
import pytest
import torch
from hub_server import put
from tiny_data import tone

from hf_emo_dist import load_emotion_model, push_model
from hf_emo_dist.modeling.adapters import save_adapter_config
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

MANY = tuple(f"feeling {i:02d}" for i in range(20))
CASES = {
    "two": {"emotions": ("sad", "angry")},
    "twenty": {"emotions": MANY},
    "another order": {"emotions": ("sad", "angry", "happy")},
    "a wide head": {"emotions": ("angry", "sad"), "head_hidden_size": 40},
    "bf16": {"emotions": ("angry", "happy", "sad"), "dtype": torch.bfloat16},
    "shards": {"emotions": ("angry", "happy", "sad"), "shard": "60KB"},
}


@torch.no_grad()
def probabilities(model, processor):
    return model.eval()(**processor(audio=[tone(250, 0.3)])).logits.float().softmax(-1).numpy()


def made(case, backbone):
    options = {key: case[key] for key in ("head_hidden_size", "dtype") if key in case}
    with torch.random.fork_rng():
        torch.manual_seed(2)
        model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=case["emotions"], **options)
        torch.nn.init.normal_(model.head.classifier.weight, std=0.5)
    return model.eval(), EmotionDistributionProcessor.from_pretrained(backbone, emotions=case["emotions"])


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_full(hub, tmp_path, tiny_backbone, case):
    model, processor = made(case, tiny_backbone)
    model.save_pretrained(tmp_path / "m", **({"max_shard_size": case["shard"]} if "shard" in case else {}))
    processor.save_pretrained(tmp_path / "m")
    push_model(tmp_path / "m", "me/m")
    shards = [name for name in hub.repo("me/m").files if name.endswith(".safetensors")]
    assert len(shards) > 1 if "shard" in case else shards == ["model.safetensors"]
    again, processor = load_emotion_model("me/m")
    assert again.config.emotions == case["emotions"] == tuple(processor.emotions)
    assert again.model.dtype == model.model.dtype and again.head.classifier.weight.dtype == torch.float32
    np.testing.assert_allclose(probabilities(again, processor), probabilities(model, processor), atol=1e-6)


@pytest.mark.parametrize(
    "case", [CASES["twenty"], CASES["a wide head"], CASES["bf16"]], ids=["twenty", "a wide head", "bf16"]
)
def test_adapter_and_merged(hub, tmp_path, tiny_backbone, case):
    from peft import get_peft_model

    from hf_emo_dist.training.lora import emotion_lora_config

    put(hub, "me/backbone", tiny_backbone)
    base, processor = made(case, tiny_backbone)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        model = get_peft_model(copy.deepcopy(base), emotion_lora_config("all", init_lora_weights=False))
    model.save_pretrained(tmp_path / "m")
    save_adapter_config(model.config, tmp_path / "m")
    processor.save_pretrained(tmp_path / "m")
    wanted = probabilities(model, processor)
    assert np.abs(wanted - probabilities(base, processor)).max() > 1e-4
    dtype = {"dtype": case["dtype"]} if "dtype" in case else {}
    tolerance = 2e-2 if dtype else 1e-6  # folding into bf16 rounds
    push_model(tmp_path / "m", "me/adapter", base_model="me/backbone")
    again, other = load_emotion_model("me/adapter", **dtype)
    assert again.config.emotions == case["emotions"]
    np.testing.assert_allclose(probabilities(again, other), wanted, atol=1e-6)
    native = Qwen2AudioForEmotionDistribution.from_pretrained("me/adapter", **dtype)
    np.testing.assert_allclose(probabilities(native, other), wanted, atol=tolerance)
    native.save_pretrained(tmp_path / "n")
    assert (tmp_path / "n" / "emotion_config.json").is_file()
    push_model(tmp_path / "m", "me/merged", merge=True)
    merged, other = load_emotion_model("me/merged")
    np.testing.assert_allclose(probabilities(merged, other), wanted, atol=tolerance)


def test_pickles_are_not_read_from_the_hub(hub, full, adapter):
    push_model(full, "me/full")
    files = hub.repo("me/full").files
    files["pytorch_model.bin"] = files.pop("model.safetensors")
    with pytest.raises(OSError, match=r"me/full.*safetensors"):
        load_emotion_model("me/full")
    adapter_config = adapter / "adapter_config.json"
    assert adapter_config.is_file()
    (adapter / "adapter_model.safetensors").rename(adapter / "adapter_model.bin")
    for load in (load_emotion_model, Qwen2AudioForEmotionDistribution.from_pretrained):
        with pytest.raises(OSError, match="weights in other formats are not read"):
            load(adapter)


def test_device_dtype_and_four_bits(full, tiny_processor):
    model, _ = load_emotion_model(full, dtype="bfloat16", device="cpu")
    assert model.model.dtype == torch.bfloat16 and model.device.type == "cpu"
    with pytest.raises(ValueError, match="merge it first"):
        load_emotion_model(full, load_in_4bit=True, merge=True)
    if not torch.cuda.is_available():
        with pytest.raises((ModuleNotFoundError, ValueError), match=r"hf-emo-dist\[4bit\]|needs a GPU"):
            load_emotion_model(full, load_in_4bit=True)
