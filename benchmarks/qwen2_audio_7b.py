"""The 7B architecture with random weights on a GPU: LoRA training and inference, trimmed against stock, 2 to 30 s.

Baseline: the same model on features of 30 s with the stock tower, in the same run. Reported are clips a second, the
share of the card's measured bf16 matrix rate, and peak memory. Without a GPU it says so and stops; `--tiny` runs a tiny
model on the CPU, to check the script.
"""

import argparse
import gc
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from common import made_on, measured_rate, tower_macs
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.audio.qwen2_audio_tower import num_audio_tokens, num_mel_frames, padded_mel_frames
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.configuration import Qwen2AudioEmotionConfig
from hf_emo_dist.training.lora import emotion_lora_config

DURATIONS, TEXT_TOKENS, EMOTIONS = (2, 5, 11, 30), 120, ("angry", "happy", "neutral", "sad")
SEVEN_B: dict[str, Any] = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": 128,
        "d_model": 1280,
        "encoder_layers": 32,
        "encoder_attention_heads": 20,
        "encoder_ffn_dim": 5120,
    },
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 4096,
        "intermediate_size": 11008,
        "num_hidden_layers": 32,
        "num_attention_heads": 32,
        "num_key_value_heads": 32,
        "vocab_size": 156032,
        "max_position_embeddings": 8192,
    },
    "audio_token_index": 151646,
}
TINY: dict[str, Any] = {
    "audio_config": {
        "model_type": "qwen2_audio_encoder",
        "num_mel_bins": 16,
        "d_model": 32,
        "encoder_layers": 2,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 64,
    },
    "text_config": {
        "model_type": "qwen2",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "num_key_value_heads": 2,
        "vocab_size": 64,
    },
    "audio_token_index": 63,
}


def build(settings: dict[str, Any], device: str, dtype: torch.dtype, lora: bool) -> Any:
    """The model with random weights, made on the device."""
    config = Qwen2AudioEmotionConfig(emotions=list(EMOTIONS), **settings)
    with made_on(device, dtype):
        model = Qwen2AudioForEmotionDistribution(config)
    model.head.float()
    if lora:
        from peft import get_peft_model

        model = get_peft_model(model, emotion_lora_config("language_model"))
    return model


def batch_of(config: Any, seconds: float, size: int, stock: bool, device: str) -> dict[str, torch.Tensor]:
    """Random features and a prompt of 120 text tokens beside the audio tokens."""
    frames = min(3000, num_mel_frames(round(seconds * 16000)))
    padded = 3000 if stock else padded_mel_frames(frames)
    generator = torch.Generator().manual_seed(0)
    ids = torch.full((size, TEXT_TOKENS + num_audio_tokens(frames)), 5)
    ids[:, TEXT_TOKENS // 2 : TEXT_TOKENS // 2 + num_audio_tokens(frames)] = config.audio_token_id
    mask = torch.zeros(size, padded, dtype=torch.long)
    mask[:, :frames] = 1
    batch = {
        "input_ids": ids,
        "attention_mask": torch.ones_like(ids),
        "input_features": torch.randn(size, config.audio_config.num_mel_bins, padded, generator=generator),
        "feature_attention_mask": mask,
        "labels": torch.full((size, len(EMOTIONS)), 1 / len(EMOTIONS)),
    }
    return {name: value.to(device) for name, value in batch.items()}


def model_macs(config: Any, seconds: float, training: bool) -> float:
    """Multiply-adds of one clip. LoRA adds the backward pass through the language model's inputs, about once more."""
    frames = padded_mel_frames(min(3000, num_mel_frames(round(seconds * 16000))))
    text = config.text_config
    length, d = TEXT_TOKENS + frames // 4, text.hidden_size
    shared = text.num_key_value_heads / text.num_attention_heads
    layer = (2 + 2 * shared) * d * d * length + 3 * d * text.intermediate_size * length + d * length * length
    return tower_macs(config.audio_config, frames) + text.num_hidden_layers * layer * (2 if training else 1)


def clock(step: Callable[[], Any], repeats: int, device: str) -> tuple[float, float]:
    """Median seconds of a step and its peak memory in GiB (0 on the CPU)."""
    times = []
    for turn in range(repeats + 2):
        if turn == 2 and device == "cuda":
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        step()
        if device == "cuda":
            torch.cuda.synchronize()
        if turn >= 2:
            times.append(time.perf_counter() - start)
    return float(np.median(times)), torch.cuda.max_memory_allocated() / 2**30 if device == "cuda" else 0.0


def run(model: Any, stock: bool, training: bool, batch: dict[str, torch.Tensor], repeats: int) -> tuple[float, float]:
    """`clock` of a training step or of inference."""
    inner = model.get_base_model() if hasattr(model, "get_base_model") else model
    trimmed = type(inner.model.audio_tower)
    if stock:
        inner.model.audio_tower.__class__ = Qwen2AudioEncoder
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.0)
    model.train(training)

    def step() -> None:
        if not training:
            with torch.inference_mode():
                model(**{name: value for name, value in batch.items() if name != "labels"})
            return
        model(**batch).loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    try:
        return clock(step, repeats, batch["input_ids"].device.type)
    finally:
        inner.model.audio_tower.__class__ = trimmed


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on the CPU")
    args = parser.parse_args()
    if not args.tiny and not torch.cuda.is_available():
        print("skipped: no GPU here (the model takes 17 GB in bf16; --tiny checks the script on the CPU)")
        return
    device, dtype = ("cpu", torch.float32) if args.tiny else ("cuda", torch.bfloat16)
    rate = measured_rate(dtype, device, 256 if args.tiny else 8192)
    name = "the CPU, a tiny model" if args.tiny else torch.cuda.get_device_name()
    print(f"{name}: {rate * 2e-12:.3g} TFLOP/s measured in a {dtype} matrix product; batch {args.batch}")
    print("task       seconds  variant   clips/s  share of rate  peak GiB  ratio")
    for training in (False, True):
        model = build(TINY if args.tiny else SEVEN_B, device, dtype, lora=training)
        for seconds in DURATIONS:
            baseline = None
            for stock in (True, False):
                batch = batch_of(model.config, seconds, args.batch, stock, device)
                row = (
                    f"{'LoRA step' if training else 'inference':<10} {seconds:>7}  {'stock' if stock else 'trimmed':<8}"
                )
                try:
                    took, memory = run(model, stock, training, batch, args.repeats)
                except torch.cuda.OutOfMemoryError:
                    print(f"{row}  out of memory; use a smaller --batch")
                    torch.cuda.empty_cache()
                    continue
                baseline = took if stock else baseline
                # the same useful work for both, so that what stock spends on padding lowers its share
                share = args.batch * model_macs(model.config, seconds, training) / took / rate
                ratio = f"{baseline / took:.1f} x" if baseline else "-"
                print(f"{row} {args.batch / took:>8.1f} {share:>13.0%} {memory:>9.1f}  {ratio}")
        del model
        gc.collect()
        if device == "cuda":
            torch.cuda.empty_cache()


if __name__ == "__main__":
    main()
