"""`recipes/train.py` and `hf-emo-dist train` as their users run them."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from safetensors.torch import load_file, save_file
from tiny_data import TINY_EMOTIONS, as_dataset, tiny_rows

from hf_emo_dist import load_emotion_model
from hf_emo_dist.commands.main import main

ROOT = Path(__file__).parents[2]
CONFIG = """
num_train_epochs: 2
per_device_train_batch_size: 4
learning_rate: 0.01
use_cpu: true
num_threads: 1
disable_tqdm: true
seed: 0
"""


@pytest.fixture(scope="module")
def tiny_folder(tmp_path_factory):
    from datasets import DatasetDict

    from hf_emo_dist.data.writing import write_dataset

    data = DatasetDict({"train": as_dataset(tiny_rows(8, seed=1)), "validation": as_dataset(tiny_rows(6, seed=2))})
    folder = tmp_path_factory.mktemp("train") / "data"
    return write_dataset(data, folder, description="Tones.", vote_source="Simulated.", emotions=TINY_EMOTIONS)


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    file = tmp_path_factory.mktemp("config") / "tiny.yaml"
    file.write_text(CONFIG)
    return file


def run_main(capsys, *arguments):
    """Exit status of the command in this process, and what it printed."""
    status = main(["train", *map(str, arguments)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_train_from_the_command_line_end_to_end(tmp_path, tiny_backbone, tiny_folder, config):
    out = tmp_path / "out"
    options = {"config": config, "backbone": tiny_backbone, "dataset": tiny_folder, "output_dir": out, "lora": "all"}
    done = subprocess.run(
        [sys.executable, ROOT / "recipes" / "train.py", *(str(p) for k, v in options.items() for p in (f"--{k}", v))],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert f"checkpoint: {out}" in done.stdout and "eval_js_divergence: 0." in done.stdout
    assert "Traceback" not in done.stderr
    results = json.loads((out / "train_results.json").read_text())
    assert results["eval_num_examples"] == 6 and f"{results['eval_js_divergence']:.4f}" in done.stdout
    assert json.loads((out / "recipe.json").read_text())["lora"] == "all"
    model, processor = load_emotion_model(out)
    assert model.config.emotions == TINY_EMOTIONS == tuple(processor.emotions)


def incomplete(backbone, folder):
    shutil.copytree(backbone, folder)
    weights = load_file(folder / "model.safetensors")
    del weights["language_model.model.norm.weight"]
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


def silent(folder):
    """Data with a clip that holds nothing."""
    from datasets import DatasetDict

    from hf_emo_dist.audio.clips import encode_flac
    from hf_emo_dist.data.writing import write_dataset

    rows = tiny_rows(4)
    rows[2]["audio"]["bytes"] = encode_flac([0.0] * 8000)
    data = DatasetDict({"train": as_dataset(rows), "validation": as_dataset(tiny_rows(4, seed=2))})
    return write_dataset(data, folder, description="Tones.", vote_source="Simulated.", emotions=TINY_EMOTIONS)


WRONG = {
    "mistyped backbone": ({"backbone": "Qwen/Qwen2-Audio-7B-Instrukt"}, "Qwen/Qwen2-Audio-7B-Instrukt"),
    "mistyped folder": ({"backbone": "./no-such-backbone"}, "./no-such-backbone"),
    "backbone without a weight": ({"backbone": incomplete}, "norm.weight"),
    "no backbone": ({"backbone": None}, "--backbone"),
    "no data": ({"dataset": None}, "--dataset"),
    "mistyped data": ({"dataset": "./no-such-data"}, "./no-such-data"),
    "no such split": ({"validation_split": "dev"}, "no split 'dev': there are train, validation"),
    "other emotions": ({"emotions": "angry,happy,fear"}, "fear"),
    "unknown preset": ({"lora": "papper"}, "paper, language_model, all"),
    "unknown loss": ({"loss_type": "jsd"}, "js, kl, soft_cross_entropy"),
    "a silent clip": ({"dataset": silent}, "clip-0-02"),
    "missing configuration": ({"config": "no-such.yaml"}, "no-such.yaml"),
}


@pytest.mark.parametrize(("changes", "message"), WRONG.values(), ids=WRONG.keys())
def test_what_is_wrong_is_said_in_one_line_before_training(
    tmp_path, tiny_backbone, tiny_folder, config, capsys, changes, message
):
    options = {"config": config, "backbone": tiny_backbone, "dataset": tiny_folder, "output_dir": tmp_path / "out"}
    for key, value in changes.items():
        if value is incomplete:
            value = incomplete(tiny_backbone, tmp_path / "backbone")
        elif value is silent:
            value = silent(tmp_path / "data")
        options[key] = value
    arguments = [part for key, value in options.items() if value is not None for part in (f"--{key}", value)]
    status, out, err = run_main(capsys, *arguments)
    assert status == 2
    errors = [line for line in err.splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and message in err[err.index("error: ") :]
    assert "Traceback" not in err and "checkpoint:" not in out
    assert not list((tmp_path / "out").glob("checkpoint-*")) and not list((tmp_path / "out").glob("*.safetensors"))


def test_an_earlier_run_is_not_overwritten_but_can_be_continued(tmp_path, tiny_backbone, tiny_folder, config, capsys):
    options = ["--config", config, "--backbone", tiny_backbone, "--dataset", tiny_folder]
    options += ["--output_dir", tmp_path / "o"]
    assert run_main(capsys, *options, "--max_steps", 2)[0] == 0
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}
    status, _, err = run_main(capsys, *options)
    assert status == 2 and "--resume_from_checkpoint true" in err and "Traceback" not in err
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "o").iterdir()}
    status, out, _ = run_main(capsys, *options, "--resume_from_checkpoint", "true")
    assert status == 0 and "checkpoint:" in out
    assert json.loads((tmp_path / "o" / "trainer_state.json").read_text())["global_step"] == 4


def test_two_runs_do_not_train_into_one_folder(tmp_path, capsys, tiny_backbone, data_folder):
    from concurrent.futures import ThreadPoolExecutor

    from hf_emo_dist.commands.main import main
    from hf_emo_dist.data.output import one_run
    from hf_emo_dist.evaluation.resuming import resumable

    words = ["train", "--output_dir", str(tmp_path / "out"), "--use_cpu", "--backbone", str(tiny_backbone)]
    # in another thread: who holds it may hold it again
    with one_run(tmp_path / "out"), ThreadPoolExecutor(1) as other:
        assert other.submit(main, [*words, "--dataset", str(data_folder)]).result() == 2
        assert "Another run is writing" in capsys.readouterr().err
        with pytest.raises(BlockingIOError, match="Another run"):
            other.submit(resumable(tmp_path / "out").__enter__).result()
