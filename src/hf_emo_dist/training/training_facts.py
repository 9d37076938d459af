"""`training_facts.json`: what only a training knows of what its model's card says: data, machine, versions."""

from __future__ import annotations

import importlib.metadata
import platform
from pathlib import Path
from typing import Any

import torch

from ..data.data_facts import ABOUT, about_folder, data_facts
from ..data.output import write_json
from ..data.preparation_file import read_preparation

TRAINING_FACTS_NAME = "training_facts.json"
PACKAGES = ("hf-emo-dist", "torch", "transformers", "peft", "accelerate", "datasets", "huggingface-hub", "safetensors")


def versions() -> dict[str, str]:
    """Return Python's version and the packages', of those that are installed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    from .. import __version__

    return {**found, "hf-emo-dist": __version__}


def training_facts(trainer: Any, recipe: Any = None) -> dict[str, Any]:
    """Gather data, machine and versions of a training, ready for JSON; a recipe names the data set."""
    splits = {}
    for name, rows in (("train", trainer.train_dataset), ("validation", trainer.eval_dataset)):
        if rows is not None and not isinstance(rows, dict):
            splits[getattr(recipe, f"{name}_split", name)] = getattr(rows, "dataset", rows)
    data = data_facts(splits)
    source = getattr(recipe, "dataset", None)
    if source is not None:
        # said here, where the paths hold: seen from another folder, data/mine could be the name of a repository
        data |= {"dataset": str(source), "dataset_is_local": Path(source).exists(), "revision": recipe.dataset_revision}
        opened = trainer.opened
        if opened is None and Path(source).is_dir():  # rows that somebody chose from it, such as a fold's
            data |= about_folder(source)
            data["preparation"] = read_preparation(source)
        elif opened is not None:
            data |= {key: opened.card[key] for key in ABOUT if key in opened.card}
            data["preparation"] = opened.preparation
    device, processes = trainer.args.device.type, trainer.args.world_size
    if device == "cuda":
        hardware = (f"{processes} x " if processes > 1 else "") + torch.cuda.get_device_name(0)
    elif device == "cpu":
        hardware = f"CPU, {torch.get_num_threads()} threads ({platform.machine()})"
    else:
        hardware = f"{'Apple GPU' if device == 'mps' else device} ({platform.machine()})"
    model = trainer.accelerator.unwrap_model(trainer.model)
    backbone = getattr(recipe, "backbone", None) or getattr(model, "name_or_path", None) or ""
    return {
        "data": data,
        "backbone": str(backbone),
        "backbone_is_local": bool(backbone) and Path(backbone).exists(),
        "hardware": hardware,
        "num_processes": processes,
        "versions": versions(),
    }


def write_training_facts(trainer: Any, recipe: Any = None) -> Path:
    """Write them into the output folder of a training and return the file."""
    return write_json(Path(str(trainer.args.output_dir)) / TRAINING_FACTS_NAME, training_facts(trainer, recipe))
