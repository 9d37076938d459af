"""Labels read off the 7B architecture with random weights on a GPU: a panel of ten, shared against naive.

Shared: a clip is encoded once, and what the ten prompts have in common goes through the language model once. Naive: the
same reader asked as if every prompt were about a clip of its own, so that each has the trimmed tower and its whole
prompt to itself, in batches of the same budget. Both in the same run on the same weights, in bf16. Reported are clips a
second, tokens a second and peak memory, on 2 to 30 s. Without a GPU it says so and stops; `--tiny` runs a tiny model on
the CPU, to check the script.
"""

import argparse
import time
from typing import Any

import numpy as np
import torch
from common import made_on
from qwen2_audio_7b import SEVEN_B, TINY
from readout import TEN, label_mode, panel, tokenizer_for
from transformers import (
    Qwen2AudioConfig,
    Qwen2AudioForConditionalGeneration,
    Qwen2AudioProcessor,
    WhisperFeatureExtractor,
)

from hf_emo_dist.annotation.readout.reader import LabelReader, ReadRequest

DURATIONS = (2, 5, 11, 30)


def build(settings: dict[str, Any], device: str, dtype: torch.dtype) -> LabelReader:
    """A reader of a model with random weights, made on the device."""
    tokenizer = tokenizer_for([part for system, text, _ in panel(TEN) + label_mode(TEN) for part in (system, text)])
    text = {**settings["text_config"], "eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    text["vocab_size"] = max(text["vocab_size"], len(tokenizer))
    text["max_position_embeddings"] = 8192
    config = Qwen2AudioConfig(
        audio_config=settings["audio_config"],
        text_config=text,
        audio_token_id=tokenizer.convert_tokens_to_ids("<|AUDIO|>"),
    )
    with made_on(device, dtype):
        model = Qwen2AudioForConditionalGeneration(config)
    extractor = WhisperFeatureExtractor(feature_size=settings["audio_config"]["num_mel_bins"])
    return LabelReader(model, Qwen2AudioProcessor(extractor, tokenizer))


def requests_of(seconds: float, clips: int, shared: bool, members: Any) -> list[ReadRequest]:
    """Every member asked about every clip; where nothing is shared, each about a clip of its own name."""
    rng = np.random.default_rng(0)
    waves = [0.1 * rng.standard_normal(round(seconds * 16000)).astype(np.float32) for _ in range(clips)]
    return [
        ReadRequest(wave, f"{i}" if shared else f"{i}-{j}", *member)
        for i, wave in enumerate(waves)
        for j, member in enumerate(members(TEN))
    ]


def clock(reader: LabelReader, asked: list[ReadRequest], repeats: int) -> tuple[float, float, list[Any]]:
    """Median seconds of a call, its peak memory in GiB (0 on the CPU), and what was read."""
    cuda = reader.model.device.type == "cuda"
    times, outs = [], []
    for turn in range(repeats + 1):
        if turn == 1 and cuda:
            torch.cuda.reset_peak_memory_stats()
        start = time.perf_counter()
        outs = reader.read(asked)
        if cuda:
            torch.cuda.synchronize()
        if turn:
            times.append(time.perf_counter() - start)
    return float(np.median(times)), torch.cuda.max_memory_allocated() / 2**30 if cuda else 0.0, outs


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=16)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--token_budget", type=int, default=16384)
    parser.add_argument("--tiny", action="store_true", help="a tiny model, on the CPU")
    args = parser.parse_args()
    if not args.tiny and not torch.cuda.is_available():
        print("skipped: no GPU here (the model takes 17 GB in bf16; --tiny checks the script on the CPU)")
        return
    device, dtype = ("cpu", torch.float32) if args.tiny else ("cuda", torch.bfloat16)
    name = "the CPU, a tiny model" if args.tiny else torch.cuda.get_device_name()
    reader = build(TINY if args.tiny else SEVEN_B, device, dtype)
    print(f"{name}, {dtype}, a panel of {TEN}, {args.clips} clips a call, {args.token_budget} tokens a batch")
    print("prompts                     seconds  variant  clips/s  read-outs/s  peak GiB  ratio  most apart")
    for kind, members in (("the default read-outs", panel), ("prompts of label mode", label_mode)):
        for seconds in DURATIONS:
            baseline, first = None, []
            for shared in (False, True):
                reader.token_budget = args.token_budget
                took, memory, outs = clock(reader, requests_of(seconds, args.clips, shared, members), args.repeats)
                baseline, first = (took, outs) if not shared else (baseline, first)
                apart = max(
                    float(np.abs(a.log_probabilities - b.log_probabilities).max())
                    for a, b in zip(first, outs, strict=True)
                )
                ratio = f"{baseline / took:.1f} x" if shared and baseline else "-"
                print(
                    f"{kind:<27} {seconds:>7}  {'shared' if shared else 'naive':<7} {args.clips / took:>8.1f} "
                    f"{args.clips * TEN / took:>12.1f} {memory:>9.1f} {ratio:>6}  {apart:.1e}"
                )


if __name__ == "__main__":
    main()
