"""`training_facts.json`: what only a training knows of what its model's card says: data, machine, versions."""

from __future__ import annotations

import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import torch

from ..data.data_facts import about_folder, data_facts

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
        if Path(source).is_dir():
            data |= about_folder(source)
            preparation = Path(source) / "preparation.json"
            if preparation.is_file():
                data["preparation"] = json.loads(preparation.read_text(encoding="utf-8"))
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
    file = Path(str(trainer.args.output_dir)) / TRAINING_FACTS_NAME
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(training_facts(trainer, recipe), indent=2) + "\n", encoding="utf-8")
    return file
