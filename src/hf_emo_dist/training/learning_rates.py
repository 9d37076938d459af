"""A learning rate for each part: the head's own, and smaller ones for lower layers."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from torch import nn

logger = logging.getLogger(__name__)

STACKS = ("layers", "layer", "blocks", "h")  # what transformers' models call their list of layers


def learning_rates(model: Any, args: Any) -> dict[int, float]:
    """The learning rate of each weight, by `id`, where it is not `learning_rate`.

    The head has `head_learning_rate`. With `layer_decay` d, layer i of n has ``learning_rate * d ** (n - i)`` (i from
    0), what comes before the layers ``d ** (n + 1)``, and what comes after them ``learning_rate``, as in ELECTRA
    (arXiv 2003.10555). Where a model has several stacks of layers, such as an audio tower and a language model, each is
    counted by itself.

    Args:
        model: The model, or a `PeftModel` around it.
        args: The training arguments.

    Raises:
        ValueError: `layer_decay` is set, and there is an adapter, or no weight of a layer is trained.
    """
    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    rates: dict[int, float] = {}
    if args.layer_decay is not None:
        if hasattr(model, "peft_config") or getattr(network, "peft_config", None):
            raise ValueError(
                "layer_decay is for training all weights, and an adapter is trained here. Mend: leave it out, or train "
                "without lora."
            )
        exponents = dict(_exponents(network))
        if not any(value.requires_grad for name, value in network.named_parameters() if exponents.get(name)):
            raise ValueError(
                f"layer_decay={args.layer_decay} has no effect: none of the weights that it slows down is trained. "
                "Mend: leave it out, or leave freeze=encoder (freeze_audio_tower, freeze_language_model) out."
            )
        for name, value in network.named_parameters():
            rates[id(value)] = args.learning_rate * args.layer_decay ** exponents.get(name, 0)
    if args.layer_decay is not None or args.head_learning_rate is not None:
        rate = args.learning_rate if args.head_learning_rate is None else args.head_learning_rate
        rates.update((id(value), rate) for value in network.head.parameters())
    return rates


def split_groups(optimizer: Any, rates: Mapping[int, float]) -> None:
    """Split an optimizer's groups, before its first step, so that each weight has its own rate.

    Args:
        optimizer: As transformers made it: with and without weight decay.
        rates: What `learning_rates` gave.

    Raises:
        ValueError: The optimizer does not hold the model's weights as they are.
    """
    held = {id(value) for group in optimizer.param_groups for value in group["params"]}
    if not held & rates.keys():
        raise ValueError(
            "head_learning_rate and layer_decay need an optimizer of the model's own weights, which this one or this "
            "way of sharing them out over processes does not have. Mend: leave both out, or use optim=adamw_torch."
        )
    groups = []
    for group in optimizer.param_groups:
        by_rate: dict[float, list[Any]] = {}
        for value in group["params"]:
            by_rate.setdefault(rates.get(id(value), group["lr"]), []).append(value)
        groups += [{**group, "params": values, "lr": rate} for rate, values in by_rate.items()]
    base = optimizer.defaults["lr"]
    # the first group's rate is the one that is logged
    optimizer.param_groups = sorted(groups, key=lambda group: group["lr"] != base)
    logger.info(
        "learning rates: %s",
        ", ".join(f"{group['lr']:.3g} ({sum(p.numel() for p in group['params'])} weights)" for group in groups),
    )


def _exponents(network: Any) -> Iterator[tuple[str, int]]:
    """How many times each weight's rate is decayed, by its name; only those that are."""
    stacks = {
        name: len(module)
        for name, module in network.named_modules()
        if isinstance(module, nn.ModuleList)
        and name.rpartition(".")[2] in STACKS
        # convolutions of positions, as data2vec-audio has them, are no layers
        and any(isinstance(part, nn.Linear) for part in module.modules())
    }
    # a list of layers inside a layer of another is a part of that layer
    stacks = {name: n for name, n in stacks.items() if not any(name.startswith(f"{other}.") for other in stacks)}
    if not stacks:
        raise ValueError("layer_decay needs a model with a list of layers, and none was found. Mend: leave it out.")
    parts = {_part(name, stacks): name for name in stacks}
    below = {part: True for part in parts}  # names come in the order in which the model was built
    for name, _ in network.named_parameters():
        if name.startswith("head."):
            continue
        part = next((part for part in parts if name.startswith(part)), None)
        if part is None:
            continue
        stack = parts[part]
        if name.startswith(f"{stack}."):
            below[part] = False
            layer = int(name.removeprefix(f"{stack}.").partition(".")[0])
            yield name, stacks[stack] - layer
        elif below[part]:
            yield name, stacks[stack] + 1


def _part(stack: str, stacks: Mapping[str, int]) -> str:
    """What belongs to a stack: the model, or where there are several stacks, the part of it that no other shares."""
    if len(stacks) == 1:
        return ""
    words = stack.split(".")
    for length in range(len(words)):
        prefix = "".join(f"{word}." for word in words[:length])
        if not any(other != stack and other.startswith(prefix) for other in stacks):
            return prefix
    return f"{stack}."
