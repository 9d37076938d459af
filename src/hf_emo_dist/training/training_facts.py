"""`training_facts.json`: what a model card says of a training that only the training knows — its data, machine and versions."""

from __future__ import annotations

import importlib.metadata
import json
import os
import platform
from pathlib import Path
from typing import Any

import torch

from ..data.data_facts import about_folder, data_facts

__all__ = ["TRAINING_FACTS_NAME", "hardware", "training_facts", "versions", "write_training_facts"]

TRAINING_FACTS_NAME = "training_facts.json"
PACKAGES = ("hf-emo-dist", "torch", "transformers", "peft", "accelerate", "datasets", "huggingface-hub", "safetensors")


def versions() -> dict[str, str]:
    """Python's and the packages' versions, those that are installed.

    Example:
        >>> versions()["python"].startswith("3.")
        True
    """
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    from .. import __version__

    return {**found, "hf-emo-dist": __version__}


def hardware(num_processes: int = 1) -> str:
    """The device that torch computes on here, in words."""
    if torch.cuda.is_available():
        count = max(1, num_processes)
        return f"{count} x {torch.cuda.get_device_name(0)}" if count > 1 else torch.cuda.get_device_name(0)
    if torch.backends.mps.is_available():
        return f"Apple GPU ({platform.machine()})"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return f"CPU, {cores} cores ({platform.machine()})"


def training_facts(trainer: Any, recipe: Any = None) -> dict[str, Any]:
    """Data, machine and versions of a training, ready for JSON.

    Args:
        trainer: an `EmotionDistributionTrainer`.
        recipe: the `RecipeArguments` where a recipe was run; it names the data set.
    """
    splits = {}
    for name, rows in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        if rows is not None and not isinstance(rows, dict):
            splits[getattr(recipe, f"{name}_split", name)] = getattr(rows, "dataset", rows)
    data = data_facts(splits)
    source = getattr(recipe, "dataset", None)
    if source is not None:
        # said here, where the paths hold: seen from another folder, data/mine could be the name of a repository
        data |= {"dataset": str(source), "dataset_is_local": Path(source).exists(), "revision": recipe.dataset_revision}
        if Path(source).is_dir():
            data |= about_folder(source)
            preparation = Path(source) / "preparation.json"
            if preparation.is_file():
                data["preparation"] = json.loads(preparation.read_text(encoding="utf-8"))
    on_cpu = trainer.args.device.type == "cpu"
    machine = (
        f"CPU, {torch.get_num_threads()} threads ({platform.machine()})"
        if on_cpu
        else hardware(trainer.args.world_size)
    )
    model = trainer.accelerator.unwrap_model(trainer.model)
    backbone = getattr(recipe, "backbone", None) or getattr(model, "name_or_path", None) or ""
    return {
        "data": data,
        "backbone": str(backbone),
        "backbone_is_local": bool(backbone) and Path(backbone).exists(),
        "hardware": machine,
        "num_processes": trainer.args.world_size,
        "versions": versions(),
    }


def write_training_facts(trainer: Any, recipe: Any = None) -> Path:
    """Writes them into the output folder of a training and returns the file."""
    file = Path(str(trainer.args.output_dir)) / TRAINING_FACTS_NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(training_facts(trainer, recipe), indent=2) + "\n", encoding="utf-8")
    return file
