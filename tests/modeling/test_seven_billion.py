"""The real 7B architecture without its weights: shards that are holes, but for what lets a clip be heard."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import transformers

from hf_emo_dist.modeling.mini import SPECIAL_TOKENS, byte_level_tokenizer

pytestmark = pytest.mark.slow
TENSORS, LOGICAL_BYTES, SHARDS = 876, 16_794_189_824, 5
# of Qwen/Qwen2-Audio-7B-Instruct
CONFIG = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder", "num_mel_bins": 128, "d_model": 1280, "encoder_layers": 32,
        "encoder_attention_heads": 20, "encoder_ffn_dim": 5120,
    },
    "text_config": {
        "model_type": "qwen2", "hidden_size": 4096, "intermediate_size": 11008, "num_hidden_layers": 32,
        "num_attention_heads": 32, "num_key_value_heads": 32, "vocab_size": 156032, "max_position_embeddings": 8192,
        "rms_norm_eps": 1e-5,
    },
}  # fmt: skip
# tensors of which the first rows are not zero: the way from the features to the language model's residual stream
HEARD = ("audio_tower.conv1.weight", "audio_tower.conv2.weight", "multi_modal_projector.linear.weight")
ROWS = 64


def hub_names(config):
    """Name → shape, as the checkpoint on the Hub has them."""
    with torch.device("meta"):
        model = transformers.Qwen2AudioForConditionalGeneration(config)
    names = {}
    for name, value in model.state_dict().items():
        name = name.removeprefix("model.").replace("language_model.", "language_model.model.")
        names[name.replace("lm_head", "language_model.lm_head")] = tuple(value.shape)
    return names


def write_sparse_shards(folder, names):
    """Write safetensors whose data are holes, with ones in norms and noise in the first rows of `HEARD`."""
    noise = np.random.default_rng(0)
    order = sorted(names)
    weight_map = {}
    for shard in range(SHARDS):
        file = folder / f"model-{shard + 1:05d}-of-{SHARDS:05d}.safetensors"
        header, offset = {"__metadata__": {"format": "pt"}}, 0
        for name in order[shard::SHARDS]:
            size = 2 * math.prod(names[name])
            header[name] = {"dtype": "BF16", "shape": names[name], "data_offsets": [offset, offset + size]}
            offset += size
            weight_map[name] = file.name
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with file.open("wb") as stream:
            stream.write(len(text).to_bytes(8, "little") + text)
            start = stream.tell()
            stream.truncate(start + offset)
            for name, about in header.items():
                if "norm" in name and name.endswith("weight"):
                    values = torch.ones(names[name])
                elif name in HEARD:
                    values = torch.from_numpy(0.02 * noise.standard_normal((ROWS, *names[name][1:])))
                else:
                    continue
                stream.seek(start + about["data_offsets"][0])
                stream.write(values.to(torch.bfloat16).contiguous().view(torch.uint8).numpy().tobytes())
    index = {"metadata": {"total_size": 2 * sum(map(math.prod, names.values()))}, "weight_map": weight_map}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


# in a process of its own, whose memory is measured
HEAR = """
import json, resource, sys, time
import torch
from hf_emo_dist.modeling.model import EmotionDistributionModel
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor
sys.path.insert(0, sys.argv[3])
from tiny_data import tone

torch.set_num_threads(1)
emotions = ["angry", "happy", "neutral", "sad"]
started = time.perf_counter()
model, info = EmotionDistributionModel.from_pretrained(
    sys.argv[1], emotions=emotions, output_loading_info=True, dtype=torch.bfloat16,
    device_map={"model.audio_tower": "disk", "model.language_model": "disk", "model.multi_modal_projector": "cpu",
                "head": "cpu"},
    offload_folder=sys.argv[2], head="small",
)
loaded = time.perf_counter() - started
processor = EmotionDistributionProcessor.from_pretrained(sys.argv[1], emotions=emotions)
with torch.no_grad():
    torch.manual_seed(0)
    clips = [processor(audio=[tone(pitch, 2.0)], transcript=["Well."]) for pitch in (150, 900)]
    logits = [model(**clip).logits[0].tolist() for clip in clips]
print(json.dumps({
    "type": type(model).__name__,
    "missing": sorted(info["missing_keys"]), "unexpected": sorted(info["unexpected_keys"]),
    "parameters": sum(p.numel() for p in model.parameters()), "head": sum(p.numel() for p in model.head.parameters()),
    "logits": logits, "load_s": loaded, "hear_s": time.perf_counter() - started - loaded,
    "gigabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
}))
"""


def test_the_7b_loads_with_only_the_head_missing_and_hears(tmp_path):
    folder = tmp_path / "backbone"
    folder.mkdir()
    tokenizer = byte_level_tokenizer()
    audio_token = tokenizer.convert_tokens_to_ids(SPECIAL_TOKENS[3])
    config = transformers.Qwen2AudioConfig(**CONFIG, audio_token_index=audio_token)
    names = hub_names(config)
    write_sparse_shards(folder, names)
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    transformers.WhisperFeatureExtractor(feature_size=128).save_pretrained(folder)
    shards = list(folder.glob("*.safetensors"))
    assert len(names) == TENSORS and 2 * sum(map(math.prod, names.values())) == LOGICAL_BYTES
    assert (
        sum(file.stat().st_blocks * 512 for file in shards)
        < 20e6
        < LOGICAL_BYTES
        < sum(f.stat().st_size for f in shards)
    )
    work = Path(__file__).parents[1]
    run = subprocess.run(
        [sys.executable, "-c", HEAR, str(folder), str(tmp_path / "offload"), str(work)],
        capture_output=True, text=True, timeout=900, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    found = json.loads(run.stdout.splitlines()[-1])
    assert found["type"] == "Qwen2AudioForEmotionDistribution" and not found["unexpected"]
    assert found["missing"] and all(name.startswith("head.") for name in found["missing"])
    assert found["parameters"] > 7.7e9
    logits = np.array(found["logits"])
    assert np.isfinite(logits).all() and np.abs(logits[0] - logits[1]).max() > 1e-4
    assert found["gigabytes"] < 8
