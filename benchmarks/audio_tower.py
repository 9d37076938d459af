"""The audio tower on the clip against the stock tower on 30 s: same weights, same clips, one run.

Baseline: transformers' Qwen2AudioEncoder on 3,000 mel frames. The floor is the arithmetic: multiply-adds of the valid frames over
those of 3,000 frames.
"""

import time

import numpy as np
import torch
from transformers import Qwen2AudioEncoderConfig
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.modeling.audio_tower import TrimmedQwen2AudioEncoder, num_mel_frames, padded_mel_frames

BATCH, REPEATS = 8, 5


def macs(config: Qwen2AudioEncoderConfig, frames: int) -> float:
    """Multiply-adds of the tower for one clip of so many mel frames."""
    d, length = config.d_model, frames // 2
    convolutions = 3 * config.num_mel_bins * d * frames + 3 * d * d * length
    layer = 4 * d * d * length + 2 * d * config.encoder_ffn_dim * length + 2 * d * length * length
    return convolutions + config.encoder_layers * layer


def seconds(tower: torch.nn.Module, features: torch.Tensor) -> float:
    """Median time of a forward pass."""
    times = []
    with torch.inference_mode():
        for _ in range(REPEATS + 1):
            start = time.perf_counter()
            tower(features)
            times.append(time.perf_counter() - start)
    return float(np.median(times[1:]))


def main() -> None:
    """Prints the ratios."""
    torch.manual_seed(0)
    config = Qwen2AudioEncoderConfig(
        num_mel_bins=80, d_model=384, encoder_layers=4, encoder_attention_heads=6, encoder_ffn_dim=1536
    )
    stock = Qwen2AudioEncoder(config).eval()
    trimmed = TrimmedQwen2AudioEncoder(config).eval()
    trimmed.load_state_dict(stock.state_dict())
    baseline = seconds(stock, torch.randn(BATCH, config.num_mel_bins, 3000))
    print(f"stock tower on 30 s (Whisper-tiny shape), {BATCH} clips: {baseline:.3f} s")
    for duration in (2, 4, 6, 11, 30):
        frames = padded_mel_frames(num_mel_frames(duration * 16000))
        took = seconds(trimmed, torch.randn(BATCH, config.num_mel_bins, frames))
        floor = macs(config, 3000) / macs(config, frames)
        print(f"{duration:>3} s: {baseline / took:5.1f} x faster (by the arithmetic alone: {floor:5.1f} x)")


if __name__ == "__main__":
    main()
