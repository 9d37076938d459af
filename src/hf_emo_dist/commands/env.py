"""`hf-emo-dist env`: versions, device and settings, to paste into a bug report; no path, name or token of the user."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys

PACKAGES = (
    "torch", "transformers", "peft", "accelerate", "trl", "datasets", "huggingface-hub", "hf-xet", "safetensors",
    "tokenizers", "evaluate", "numpy", "scipy", "soundfile", "soxr", "faiss-cpu", "librosa", "google-genai", "openai",
    "gradio", "bitsandbytes", "torchcodec",
)  # fmt: skip
SETTINGS = ("HF_HUB_OFFLINE", "HF_HUB_DISABLE_XET", "CUDA_VISIBLE_DEVICES", "OMP_NUM_THREADS", "TOKENIZERS_PARALLELISM")


def env() -> None:
    """Show versions, device and settings, to paste into a bug report."""
    from .. import __version__

    found = {
        "hf-emo-dist": __version__,
        "Python": f"{platform.python_version()} ({platform.python_implementation()})",
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
    }
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    found["cores"] = str(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count())
    try:
        import torch
    except ImportError:
        found["device"] = "torch is not installed: pip install 'hf-emo-dist[train]'"
    else:
        found["device"] = "CPU"
        if torch.cuda.is_available():
            names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
            found["device"] = f"{', '.join(names)} (CUDA {torch.version.cuda})"
    try:
        import soundfile

        found["libsndfile"] = soundfile.__libsndfile_version__
    except (ImportError, OSError) as error:
        found["libsndfile"] = f"missing ({type(error).__name__}): pip install 'hf-emo-dist[audio]'"
    from huggingface_hub import constants, get_token

    found["Hub"] = "huggingface.co" if constants.ENDPOINT == "https://huggingface.co" else "another endpoint"
    found["logged in to the Hub"] = "yes" if get_token() else "no"
    found |= {name: os.environ[name] for name in SETTINGS if name in os.environ}
    width = max(map(len, found))
    sys.stdout.writelines(f"{name:<{width}}  {value}\n" for name, value in found.items())
