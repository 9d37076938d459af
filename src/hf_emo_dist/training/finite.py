"""A training whose loss, gradients or weights are no longer numbers stops, and says where it can go on from."""

from __future__ import annotations

import math
from typing import Any

import torch

from .checkpoints import last_whole_checkpoint

#: So often on end may mixed precision with a loss scale meet infinite gradients: it skips such steps and halves the
#: scale, which begins at 2 to the 16.
MAX_SKIPPED_STEPS = 20


class TrainingDivergedError(RuntimeError, ValueError):
    """The loss, a gradient, a weight or an answer of the model in training is NaN or infinite."""

    # also a ValueError: other settings mend it


def diverged(what: str, step: int, args: Any, folder: str) -> TrainingDivergedError:
    """The error to raise, with the step, the last checkpoint that is whole, and the mend.

    Args:
        what: What is not finite, as a sentence without its full stop.
        step: The optimizer step at which it was seen.
        args: The training arguments.
        folder: Where checkpoints are.
    """
    last = last_whole_checkpoint(folder, warn=False)
    kept = f"the last good checkpoint is {last}" if last else "no checkpoint was written before"
    mends = [f"a lower learning_rate (it is {args.learning_rate:g})"]
    head_rate = getattr(args, "head_learning_rate", None)
    if head_rate is not None:
        mends.append(f"a lower head_learning_rate (it is {head_rate:g})")
    if args.fp16:
        mends.append("bf16 instead of fp16")
    if not args.max_grad_norm:
        mends.append("max_grad_norm=1.0")
    else:
        mends.append("longer warmup_steps")
    return TrainingDivergedError(
        f"{what} at step {step}: training has diverged and was stopped; {kept}. Mend: {', or '.join(mends)}; then "
        "start again, or resume from that checkpoint where the cause lies after it."
    )


def is_finite(value: Any) -> bool:
    """Whether a number, or every value of a tensor, is finite."""
    return bool(torch.isfinite(value).all()) if isinstance(value, torch.Tensor) else math.isfinite(value)


def not_finite_weights(model: torch.nn.Module) -> list[str]:
    """Names of the trained weights that hold NaN or infinite values."""
    return [
        name
        for name, value in model.named_parameters()
        if value.requires_grad and value.is_floating_point() and not is_finite(value.detach())
    ]


def refuse_half_weights(model: torch.nn.Module) -> None:
    """Refuse to train weights that are stored in float16: Adam divides by squares that underflow there."""
    half = [name for name, value in model.named_parameters() if value.requires_grad and value.dtype == torch.float16]
    if half:
        raise ValueError(
            f"{len(half)} weights are to be trained in float16 (first: {half[0]}), which diverges within a few steps: "
            "squares of small gradients are 0 there. Mend: load the model with dtype float32 (--model_dtype float32) "
            "and train with bf16 or fp16 of the training arguments, or load it in bfloat16; or freeze them and train "
            "an adapter."
        )
