"""Several processes give the gradient, the scores and the rows of one."""

import json
import os
import socket
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml
from accelerate.commands.config.config_args import load_config_from_file
from accelerate.data_loader import BatchSamplerShard
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from torch.utils.data import BatchSampler
from trainer_setup import largest_difference

from hf_emo_dist import load_emotion_model
from hf_emo_dist.training.collator import counted_rows
from hf_emo_dist.training.validation import warn_about_launch

ROOT = Path(__file__).parents[2]
HERE = Path(__file__).parent
CONFIGS = ROOT / "recipes" / "accelerate_configs"


@settings(deadline=None)
@given(size=st.integers(1, 60), batch=st.integers(1, 7), processes=st.integers(1, 5))
def test_every_row_of_accelerates_shards_counts_once(size, batch, processes):
    seen = Counter()
    for rank in range(processes):
        shard = list(BatchSamplerShard(BatchSampler(range(size), batch, False), processes, rank))
        for number, rows in enumerate(shard):
            last = number == len(shard) - 1
            seen.update(rows[: counted_rows(len(rows), size % (batch * processes), rank)] if last else rows)
    assert seen == Counter(range(size))


def test_a_launch_that_started_too_few_processes_is_reported_once(caplog):
    launched = {"ACCELERATE_USE_CPU": "True", "MASTER_PORT": "29500"}
    warn_about_launch(1, launched)
    assert (
        len(caplog.records) == 1 and "--multi_gpu --num_processes N -m hf_emo_dist train --use_cpu true" in caplog.text
    )
    caplog.clear()
    warn_about_launch(2, {**launched, "WORLD_SIZE": "2"})
    warn_about_launch(1, {"ACCELERATE_USE_CPU": "True"})
    warn_about_launch(1, {})
    assert not caplog.records


@pytest.mark.parametrize("name", ["cpu", "ddp", "fsdp2", "deepspeed_zero3"])
def test_accelerate_reads_the_configurations(name):
    config = load_config_from_file(str(CONFIGS / f"{name}.yaml"))
    kind = {"fsdp2": "FSDP", "deepspeed_zero3": "DEEPSPEED"}.get(name, "MULTI_GPU")
    assert config.distributed_type == kind and config.num_processes == 2
    assert config.use_cpu == (name == "cpu")


def test_fsdp_wraps_classes_that_the_model_has(tiny_model):
    config = yaml.safe_load((CONFIGS / "fsdp2.yaml").read_text())["fsdp_config"]
    names = config["fsdp_transformer_layer_cls_to_wrap"].split(",")
    pieces = [module for module in tiny_model.modules() if type(module).__name__ in names]
    assert {type(module).__name__ for module in pieces} == set(names)
    # every piece, and what is left, has one dtype also where the backbone is in half precision
    tiny_model.model.bfloat16()
    wrapped = {id(parameter) for module in pieces for parameter in module.parameters()}
    left = {parameter.dtype for parameter in tiny_model.parameters() if id(parameter) not in wrapped}
    assert len(left) == 1
    assert all(len({parameter.dtype for parameter in module.parameters()}) == 1 for module in pieces)


def launch(script, *arguments, processes=2, config="cpu.yaml"):
    """Runs a script of this folder in so many processes."""
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT / "tests"), str(HERE)])
    command = [sys.executable]
    if processes > 1:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        command += ["-m", "accelerate.commands.launch", "--config_file", CONFIGS / config]
        command += ["--num_processes", processes, "--main_process_port", port, "--mixed_precision", "no"]
    done = subprocess.run(
        [str(part) for part in [*command, HERE / script, *arguments]],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": path},
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]


CASES = {
    "13 rows, accumulated": (13, 8, 2, {}),  # the last step has 5 rows: batches of 2 and 2, 1 and a repeat
    # one process has no row of its own in the last step
    "9 rows, dirichlet": (9, 8, 1, {"loss_type": "dirichlet_multinomial"}),
    "LoRA, checkpointed": (
        5,
        4,
        1,
        {"lora": True, "activation_checkpointing": True, "activation_checkpointing_kwargs": {"use_reentrant": True}},
    ),
    "7 rows, weighted": (7, 4, 1, {"concentration_weight": 5.0}),  # the last batch of one process holds a repeat
    "a stream of 7 rows": (7, 4, 1, {"stream": True, "max_steps": 2}),
}
SHARDED = "13 rows, accumulated"


@pytest.fixture(scope="module")
def runs(tmp_path_factory, tiny_backbone):
    """The folders of what one process made, two, and two that shard the model."""
    folder = tmp_path_factory.mktemp("runs")
    sharded = json.dumps({SHARDED: CASES[SHARDED]})
    launch("distributed_worker.py", tiny_backbone, folder / "one", json.dumps(CASES), "cpu", processes=1)
    launch("distributed_worker.py", tiny_backbone, folder / "two", json.dumps(CASES), "cpu")
    launch("distributed_worker.py", tiny_backbone, folder / "fsdp2", sharded, "fsdp", config="fsdp2.yaml")
    return folder


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "kind"), [*((name, "two") for name in CASES), (SHARDED, "fsdp2")], ids=[*CASES, "FSDP2"]
)
def test_two_processes_give_what_one_gives(runs, name, kind):
    folders = [runs / "one" / name, runs / kind / name]
    one, two = (json.loads((folder / "found.json").read_text()) for folder in folders)
    one_gradients, two_gradients = (load_file(folder / "gradients.safetensors") for folder in folders)
    assert (one["processes"], two["processes"]) == (1, 2)
    assert one["steps"] == two["steps"] == 2
    assert one_gradients.keys() == two_gradients.keys()
    for weight, gradient in one_gradients.items():
        assert (gradient - two_gradients[weight]).norm() <= 1e-9 + 1e-5 * gradient.norm(), weight
    assert max(float(gradient.norm()) for gradient in one_gradients.values()) > 1e-3
    assert one["losses"] == pytest.approx(two["losses"], rel=1e-6)

    clock = ("runtime", "per_second")
    scores = {score: value for score, value in one["scores"].items() if not score.endswith(clock)}
    assert {score: two["scores"][score] for score in scores} == pytest.approx(scores, abs=1e-6)
    assert scores["eval_num_examples"] == CASES[name][0]
    # every row once and in order
    for found in (one, two):
        np.testing.assert_allclose(found["labels"], found["expected_labels"], atol=1e-6)
    np.testing.assert_allclose(one["predictions"], two["predictions"], atol=1e-6)
    saved = [load_emotion_model(folder)[0].state_dict() for folder in folders]
    # beside an adapter's trained head peft keeps the one it replaced, which is made anew
    saved = [{name: value for name, value in model.items() if "original_module" not in name} for model in saved]
    assert largest_difference(*saved) <= 1e-6


@pytest.mark.slow
def test_two_processes_resume_exactly_in_an_epoch(tmp_path, tiny_backbone):
    # by rows, where the last step of the resumed epoch has one row and repeats; by token budget, with one cache
    cache = {"cache_audio_tower": True, "tower_cache_dir": str(tmp_path / "cache")}
    variants = {"rows": {"per_device_train_batch_size": 2}, "tokens": {"max_audio_tokens_per_batch": 20, **cache}}
    launch("resume_worker.py", tiny_backbone, tmp_path, json.dumps(variants))
    for name in variants:
        ranks = [json.loads((tmp_path / f"rank{i}.json").read_text())[name] for i in range(2)]
        seen = Counter(ranks[0]["rows"] + ranks[1]["rows"])
        assert set(seen) == set(range(13)) and seen.total() == 2 * (16 if name == "rows" else 13)
        assert ranks[0]["steps"] == ranks[0]["resumed_steps"] == ranks[1]["resumed_steps"] >= 4
        assert max(rank["difference"] for rank in ranks) <= 1e-6, name
        assert ranks[0]["js"] == ranks[1]["js"]
    assert len(list((tmp_path / "cache").rglob("*.safetensors"))) == 20
