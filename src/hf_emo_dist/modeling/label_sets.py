"""A checkpoint that goes on with other emotions: what it has learnt of those it knows is kept."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..emotions import validate_emotions

logger = logging.getLogger(__name__)


def change_emotions(model: Any, emotions: Sequence[str]) -> list[str]:
    """Give a model another set or order of emotions, in place, and keep everything but the rows of new ones.

    The classifier's rows of emotions that the model knows are copied by name; those of new ones are initialised as a
    new head's are. All other weights stay.

    Args:
        model: A model with a head whose last layer is `head.classifier`, without an adapter.
        emotions: The new labels, in the order of the logits.

    Returns:
        The emotions whose rows are new.

    Raises:
        ValueError: No emotion is common to both, so that a new head would be as good; or the model has an adapter.

    Example:
        >>> change_emotions(model, ["angry", "sad", "fear"])  # doctest: +SKIP
        ['fear']
    """
    names, before = list(validate_emotions(emotions)), list(model.config.emotions)
    if names == before:
        return []
    if getattr(model, "peft_config", None):
        raise ValueError(
            f"an adapter for {before} cannot go on with {names}. Mend: merge it first "
            "(load_emotion_model(name, merge=True)) and save model and processor into a folder."
        )
    common = [name for name in names if name in before]
    if not common:
        raise ValueError(
            f"none of {names} is among the checkpoint's emotions, {before}: nothing of its head could be kept. Mend: "
            "start from its backbone, or correct the names."
        )
    old: nn.Linear = model.head.classifier
    new = nn.Linear(
        old.in_features, len(names), bias=old.bias is not None, device=old.weight.device, dtype=old.weight.dtype
    )
    rows = torch.tensor([names.index(name) for name in common])
    kept = torch.tensor([before.index(name) for name in common])
    with torch.no_grad():
        new.weight[rows] = old.weight[kept]
        if old.bias is not None:
            new.bias[rows] = old.bias[kept]
    new.train(old.training)
    model.head.classifier = new
    model.config.id2label = dict(enumerate(names))
    model.config.label2id = {name: index for index, name in enumerate(names)}
    model.config.calibration = None  # a temperature for the emotions that there were
    if hasattr(model, "num_labels"):
        model.num_labels = len(names)
    fresh = [name for name in names if name not in before]
    gone = [name for name in before if name not in names]
    logger.warning(
        "the checkpoint answers with %s and goes on with %s: %s kept by name%s%s; all other weights stay",
        ", ".join(before),
        ", ".join(names),
        ", ".join(common),
        f", {', '.join(fresh)} new" if fresh else "",
        f", {', '.join(gone)} dropped" if gone else "",
    )
    return fresh
