"""Fixtures of tests/hub: the Hub's client in this process, talking to a server of ours; checkpoints of each layout.

Here and not in a second conftest.py: pytest takes two of that name for one where it is given several folders.
"""

import time
from types import SimpleNamespace

import pytest


@pytest.fixture(scope="session")
def hub_process():
    import hub_server

    with hub_server.running() as server:
        yield server


@pytest.fixture
def naps(monkeypatch):
    """How long was waited before a request was made again; nobody waits."""
    taken = []
    clock = SimpleNamespace(
        **{name: getattr(time, name) for name in ("time", "monotonic", "perf_counter")}, sleep=taken.append
    )
    for module in ("hf_emo_dist.hub.commit", "huggingface_hub.utils._http", "huggingface_hub.file_download"):
        monkeypatch.setattr(f"{module}.time", clock)
    return taken


@pytest.fixture
def hub(hub_process, monkeypatch, tmp_path_factory, naps):
    """An empty Hub whose client is logged in as `me`."""
    from huggingface_hub import constants

    server = hub_process
    with server.lock:
        for kept in (server.repos, server.large, server.parts, server.requests, server.faults, server.leaks):
            kept.clear()
        server.part_size = None
    cache = str(tmp_path_factory.mktemp("hub_cache"))
    monkeypatch.setattr(constants, "ENDPOINT", server.url)
    monkeypatch.setattr(
        constants, "HUGGINGFACE_CO_URL_TEMPLATE", server.url + "/{repo_id}/resolve/{revision}/{filename}"
    )
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", True)  # the server keeps large files as LFS does
    monkeypatch.setattr(constants, "HF_HUB_CACHE", cache)
    monkeypatch.setattr("huggingface_hub.hf_api.api.endpoint", server.url)  # peft's functions
    monkeypatch.setattr("transformers.utils.hub._hf_api", None)
    monkeypatch.setenv("HF_TOKEN", "hf_writes0000000000000000000000")
    return server


@pytest.fixture(scope="session")
def _adapter(tiny_backbone, _tiny_model, _tiny_processor, tmp_path_factory):
    """An adapter with weights and a head of its own, as the trainer saves it."""
    import copy

    import torch
    from peft import get_peft_model

    from hf_emo_dist.modeling.adapters import save_adapter_config
    from hf_emo_dist.training.lora import paper_lora_config

    folder = tmp_path_factory.mktemp("layouts") / "adapter"
    with torch.random.fork_rng():
        torch.manual_seed(1)
        model = get_peft_model(copy.deepcopy(_tiny_model), paper_lora_config(init_lora_weights=False))
        for name, weight in model.named_parameters():
            if "modules_to_save" in name:
                torch.nn.init.normal_(weight, std=0.2)
    model.save_pretrained(folder)
    (folder / "README.md").unlink()
    save_adapter_config(model.config, folder)
    _tiny_processor.save_pretrained(folder)
    return folder


@pytest.fixture
def adapter(_adapter, tmp_path):
    import shutil

    return shutil.copytree(_adapter, tmp_path / "adapter")


@pytest.fixture
def full(tmp_path, tiny_model, tiny_processor):
    tiny_model.save_pretrained(tmp_path / "full")
    tiny_processor.save_pretrained(tmp_path / "full")
    return tmp_path / "full"
