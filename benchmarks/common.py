"""What the benchmarks share: clips, weights, clocks, and multiply-adds."""

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import Qwen2AudioEncoderConfig

from hf_emo_dist.modeling.mini import load_whisper_encoder

DATA = Path(os.environ.get("HF_EMO_DIST_TEST_DATA") or Path(__file__).parents[2] / "shared" / "data")
WHISPER_TINY = {
    "num_mel_bins": 80,
    "d_model": 384,
    "encoder_layers": 4,
    "encoder_attention_heads": 6,
    "encoder_ffn_dim": 1536,
}


def speech(count: int) -> tuple[list[np.ndarray], str]:
    """Clips of 2 to 6 s at 16 kHz, and what they are: real ones if HF_EMO_DIST_TEST_DATA has them, else simulated
    speech.
    """
    from hf_emo_dist.audio.clips import load_audio

    files = sorted((DATA / "ravdess" / "audio").glob("*.flac"))
    if files:
        step = max(1, len(files) // count)
        clips = [load_audio(str(path)) for path in files[::step][:count]]
        return clips, f"real clips (RAVDESS) of {describe(clips)}"
    rng = np.random.default_rng(0)
    clips = []
    for seconds in rng.uniform(2.5, 5.0, count):
        time_axis = np.arange(int(seconds * 16000)) / 16000
        voice = sum(np.sin(2 * np.pi * 120 * k * time_axis) / k for k in range(1, 20))
        clips.append((0.1 * voice * (1 + np.sin(2 * np.pi * 3 * time_axis))).astype(np.float32))
    return clips, f"artificial clips of {describe(clips)}"


def describe(clips: list[np.ndarray]) -> str:
    """The range of durations."""
    seconds = [len(clip) / 16000 for clip in clips]
    return f"{min(seconds):.1f} to {max(seconds):.1f} s"


def tower_weights() -> tuple[dict[str, Any], dict[str, torch.Tensor] | None, str]:
    """Shape and weights of Whisper tiny's encoder, the weights only if HF_EMO_DIST_TEST_DATA has them."""
    folder = DATA / "whisper_tiny_en_encoder"
    if folder.is_dir():
        settings, weights = load_whisper_encoder(folder)
        return settings, weights, "Whisper tiny's weights"
    return WHISPER_TINY, None, "random weights of Whisper tiny's shape"


@contextlib.contextmanager
def made_on(device: str, dtype: torch.dtype) -> Iterator[None]:
    """Make modules with seeded random weights on a device and in a precision, and nowhere else before."""
    torch.manual_seed(0)
    default = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.device(device):
            yield
    finally:
        torch.set_default_dtype(default)


def medians(
    functions: dict[str, Callable[[], Any]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each function. They take turns, so that a busy moment of the machine hits all of them."""
    times: dict[str, list[float]] = {name: [] for name in functions}
    for turn in range(repeats + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if turn:  # the first turn warms up
                times[name].append(clock() - start)
    return {name: float(np.median(values)) for name, values in times.items()}


def tower_macs(config: Qwen2AudioEncoderConfig, frames: int) -> float:
    """Multiply-adds of the tower's forward pass for one clip of so many mel frames."""
    d, length = config.d_model, frames // 2
    convolutions = 3 * config.num_mel_bins * d * frames + 3 * d * d * length
    layer = 4 * d * d * length + 2 * d * config.encoder_ffn_dim * length + 2 * d * length * length
    return convolutions + config.encoder_layers * layer


def measured_rate(dtype: torch.dtype = torch.float32, device: str = "cpu", size: int = 1536) -> float:
    """Multiply-adds a second of a large matrix product at its best of several: what the machine can do, measured."""
    a = torch.randn(size, size, device=device, dtype=dtype)
    best = float("inf")
    for _ in range(12):
        start = time.perf_counter()
        (a @ a)[0, 0].item()
        best = min(best, time.perf_counter() - start)
    return size**3 / best


def verdict(ratio: float, target: float) -> str:
    """The ratio beside its target."""
    return f"{ratio:.1f} x (target {target:g} x: {'met' if ratio >= target else 'MISSED'})"
