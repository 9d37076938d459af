"""A whole training step of a small model, trimmed against stock: same weights, same clips, one run.

Baseline: the same step (features, forward, backward, optimizer) with features of 30 s and the stock tower. Time is the median; peak memory is
measured in a process of its own for each variant, less what the process held before the first step.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from common import DATA, medians, speech, verdict
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.modeling import (
    EmotionDistributionProcessor,
    Qwen2AudioForEmotionDistribution,
    build_mini_backbone,
    use_trimmed_audio_tower,
)

EMOTIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad"]


class Step:
    """A training step; `stock` runs the tower on 30 s."""

    def __init__(self, backbone: str, stock: bool, frozen: bool, batch: int) -> None:
        torch.manual_seed(0)
        self.model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS)
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        tower = self.model.model.audio_tower
        if frozen:
            tower.requires_grad_(False)
        if stock:
            tower.__class__ = Qwen2AudioEncoder
        self.model.train()
        self.processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS)
        if stock:
            self.processor.padded_samples = lambda samples: 480000
        self.clips, self.kind = speech(batch)
        # words that fill the prompt to some 120 tokens, of which about 20 to 100 are a usual transcript's
        self.words = ["It is eleven o'clock, and the dogs are sitting by the door again."] * batch
        self.targets = torch.from_numpy(np.random.default_rng(0).dirichlet([1.0] * len(EMOTIONS), batch)).float()
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=0.0
        )  # the weights stay, so that both variants can be compared

    def inputs(self) -> Any:
        """What the collator makes, without decoding files."""
        return self.processor(audio=self.clips, transcript=self.words)

    def __call__(self) -> float:
        """One step; returns the loss."""
        loss = self.model(**self.inputs(), labels=self.targets).loss
        loss.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        return float(loss.detach())

    def gradient(self) -> torch.Tensor:
        """All gradients of the step, flat."""
        self.model(**self.inputs(), labels=self.targets).loss.backward()
        found = [p.grad.flatten() for p in self.model.parameters() if p.grad is not None]
        self.optimizer.zero_grad()
        return torch.cat(found).double()


def peak_memory() -> int:
    """Peak resident memory of this process, in KiB."""
    status = Path("/proc/self/status")
    if status.is_file():  # ru_maxrss of a started process also counts what its parent held when starting it
        return next(int(line.split()[1]) for line in status.read_text().splitlines() if line.startswith("VmHWM"))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def measure_memory(args: argparse.Namespace) -> None:
    """In a process of its own: how far the peak of resident memory rises over what model, data and optimizer take."""
    step = Step(args.backbone, args.memory == "stock", args.frozen, args.batch)
    before = peak_memory()
    for _ in range(2):
        step()
    print(json.dumps({"before": before, "peak": peak_memory()}))


def memory(args: argparse.Namespace, backbone: str, variant: str, frozen: bool) -> dict[str, int]:
    """`measure_memory` of a variant, in KiB."""
    command = [sys.executable, __file__, "--memory", variant, "--backbone", backbone, "--batch", str(args.batch)]
    done = subprocess.run(command + ["--frozen"] * frozen, capture_output=True, text=True, check=True)
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--backbone", help="Default: a mini backbone, of Whisper tiny's weights if they are there.")
    parser.add_argument("--memory", choices=["stock", "trimmed"], help=argparse.SUPPRESS)
    parser.add_argument("--frozen", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        measure_memory(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        whisper = DATA / "whisper_tiny_en_encoder"
        backbone = args.backbone or str(
            build_mini_backbone(
                Path(folder) / "mini", whisper=whisper if whisper.is_dir() else None, hidden_size=384, audio_layers=4
            )
        )
        for frozen, target in ((False, 5), (True, 3)):
            stock, trimmed = (Step(backbone, kind, frozen, args.batch) for kind in (True, False))
            use_trimmed_audio_tower(trimmed.model)
            if not frozen:
                inputs = trimmed.inputs()
                text = int((inputs["input_ids"] != trimmed.processor.audio_token_id).sum(1).max())
                print(f"{args.batch} {trimmed.kind}, {torch.get_num_threads()} thread(s)")
                print(f"prompts of {inputs['input_ids'].shape[1]} tokens, {text} of them text")
            a, b = stock.gradient(), trimmed.gradient()
            took = medians({"stock": stock, "trimmed": trimmed}, args.repeats)
            del stock, trimmed
            print(
                f"{'frozen' if frozen else 'trainable'} tower: stock {took['stock']:.2f} s, trimmed {took['trimmed']:.2f} s a step"
            )
            print(f"  time: {verdict(took['stock'] / took['trimmed'], target)}")
            print(f"  gradients within {float((a - b).norm() / a.norm()):.1e} (relative L2)")
            peaks = {name: memory(args, backbone, name, frozen) for name in ("stock", "trimmed")}
            whole = peaks["stock"]["peak"] / peaks["trimmed"]["peak"]
            rise = {name: peak["peak"] - peak["before"] for name, peak in peaks.items()}
            print(
                f"  peak memory of the whole process: {peaks['stock']['peak'] / 1024:.0f} MiB, "
                f"{peaks['trimmed']['peak'] / 1024:.0f} MiB: {verdict(whole, 2)}"
            )
            print(
                f"  of that by the step: {rise['stock'] / 1024:.0f} MiB, {rise['trimmed'] / 1024:.0f} MiB: "
                f"{verdict(rise['stock'] / max(1, rise['trimmed']), 2)}"
            )


if __name__ == "__main__":
    main()
