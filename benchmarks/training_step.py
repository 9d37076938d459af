"""A whole training step of a small model, trimmed against stock: same weights, same clips, one run.

Baseline: the same step (features, forward, backward, optimizer) with features of 30 s and the stock tower. Time is the
median. Memory is measured in a process of its own for each variant, in two ways: tensors (weights, optimizer state and
batch, and the peak of what torch allocates in a step beside them, gradients included), which is what a GPU runs out of;
and the peak of the process's resident memory, with Python, torch and the allocator's gaps in it.
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
from torch.profiler import ProfilerActivity, profile
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

from hf_emo_dist.audio.qwen2_audio_tower import use_trimmed_audio_tower
from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

EMOTIONS = ["angry", "disgust", "fear", "happy", "neutral", "sad"]


VARIANTS = {  # what is trained, whether activations are checkpointed, and the target for time
    "trainable tower": ("all", False, 5),
    "frozen tower": ("language model", False, 3),
    "frozen tower, activation checkpointing": ("language model", True, 3),
    "frozen tower, only the head trained": ("head", False, 3),
}


class Step:
    """A training step; `stock` runs the tower on 30 s."""

    def __init__(self, backbone: str, stock: bool, variant: str, batch: int, transcript: bool = True) -> None:
        torch.manual_seed(0)
        trained, checkpointing, _ = VARIANTS[variant]
        self.model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS)
        for module in self.model.modules():
            if isinstance(module, torch.nn.Dropout):
                module.p = 0.0
        tower = self.model.model.audio_tower
        self.model.model.requires_grad_(trained != "head")
        if trained == "language model":
            tower.requires_grad_(False)
        if checkpointing:
            self.model.activation_checkpointing_enable()
        if stock:
            tower.__class__ = Qwen2AudioEncoder
        self.model.train()
        self.processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS)
        if stock:
            self.processor.padded_samples = lambda samples: 480000
        self.clips, self.kind = speech(batch)
        # words that fill the text of the prompt to some 120 tokens
        self.words = [
            "It is eleven o'clock, and the dogs are sitting by the door again." if transcript else None
        ] * batch
        self.targets = torch.from_numpy(np.random.default_rng(0).dirichlet([1.0] * len(EMOTIONS), batch)).float()
        parameters = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(
            parameters, lr=0.0
        )  # the weights stay, so that both variants can be compared

    def inputs(self) -> Any:
        """What the collator makes, without decoding files."""
        return self.processor(audio=self.clips, transcript=self.words)

    def __call__(self, inputs: Any = None) -> float:
        """One step; returns the loss."""
        loss = self.model(**(inputs or self.inputs()), labels=self.targets).loss
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


def tensor_memory(step: Step) -> int:
    """Bytes of tensors at the peak of a step: what is kept between steps, the batch, and the most beside them."""
    states = [value for state in step.optimizer.state.values() for value in state.values()]
    inputs = step.inputs()
    kept = [*step.model.parameters(), *step.model.buffers(), *states, *inputs.values()]
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        step(inputs)
    events = [event for event in profiler.profiler.kineto_results.events() if event.name() == "[memory]"]
    changes = [event.nbytes() for event in sorted(events, key=lambda event: event.start_ns())]
    return sum(tensor.nbytes for tensor in kept) + int(np.cumsum(changes).max())


def measure_memory(args: argparse.Namespace) -> None:
    """Measure memory in a process of its own: the peak of what is resident, and the tensors."""
    step = Step(args.backbone, args.memory == "stock", args.variant, args.batch, args.transcript)
    before = peak_memory()
    for _ in range(3):
        step()
    print(json.dumps({"before": before, "peak": peak_memory(), "tensors": tensor_memory(step) / 1024}))


def memory(args: argparse.Namespace, backbone: str, kind: str, variant: str) -> dict[str, float]:
    """`measure_memory` of a variant, in MiB."""
    command = [sys.executable, __file__, "--memory", kind, "--backbone", backbone, "--batch", str(args.batch)]
    command += ["--variant", variant, "--transcript" if args.transcript else "--no-transcript"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return {name: value / 1024 for name, value in json.loads(done.stdout.splitlines()[-1]).items()}


def main() -> None:
    """Prints the ratios."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--variant", choices=list(VARIANTS), help="Default: all, one after the other.")
    parser.add_argument("--transcript", action=argparse.BooleanOptionalAction, default=True, help="in the prompt")
    parser.add_argument("--backbone", help="Default: a mini backbone, of Whisper tiny's weights if they are there.")
    parser.add_argument("--memory", choices=["stock", "trimmed"], help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.memory:
        measure_memory(args)
        return
    with tempfile.TemporaryDirectory() as folder:
        whisper = DATA / "whisper_tiny_en_encoder"
        backbone = args.backbone or str(
            build_mini_backbone(
                Path(folder) / "mini",
                whisper=whisper if whisper.is_dir() else None,
                hidden_size=384,
                audio_layers=4,
                calibrate=False,
            )
        )
        for variant in [args.variant] if args.variant else VARIANTS:
            compare(args, backbone, variant)


def compare(args: argparse.Namespace, backbone: str, variant: str) -> None:
    """Prints the ratios of one variant."""
    stock, trimmed = (Step(backbone, kind, variant, args.batch, args.transcript) for kind in (True, False))
    use_trimmed_audio_tower(trimmed.model)
    inputs = trimmed.inputs()
    text = int((inputs["input_ids"] != trimmed.processor.audio_token_id).sum(1).max())
    print(f"{variant}: {args.batch} {trimmed.kind}, {torch.get_num_threads()} thread(s)")
    print(f"  prompts of {inputs['input_ids'].shape[1]} tokens, {text} of them text")
    a, b = stock.gradient(), trimmed.gradient()
    took = medians({"stock": stock, "trimmed": trimmed}, args.repeats)
    target = VARIANTS[variant][2]
    print(
        f"  a step: stock {took['stock']:.2f} s, trimmed {took['trimmed']:.2f} s: "
        f"{verdict(took['stock'] / took['trimmed'], target)}"
    )
    print(f"  gradients within {float((a - b).norm() / a.norm()):.1e} (relative L2)")
    del stock, trimmed
    peaks = {name: memory(args, backbone, name, variant) for name in ("stock", "trimmed")}
    for what, of in (
        ("tensors at the peak, weights included", lambda peak: peak["tensors"]),
        ("peak resident memory of the process", lambda peak: peak["peak"]),
        ("of that, above what it held before the first step", lambda peak: peak["peak"] - peak["before"]),
    ):
        found = {name: of(peak) for name, peak in peaks.items()}
        print(
            f"  {what}: {found['stock']:.0f} MiB, {found['trimmed']:.0f} MiB: "
            f"{verdict(found['stock'] / max(1, found['trimmed']), 2)}"
        )


if __name__ == "__main__":
    main()
