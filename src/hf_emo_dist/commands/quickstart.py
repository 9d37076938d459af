"""`hf-emo-dist quickstart`: every step of the way on simulated speech, each by the command that a user would type."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from ..data.output import check_folder

#: What it writes into its folder, and may replace there.
_WRITTEN = (
    *("data", "prepared", "votes.sqlite", "votes.sqlite-wal", "votes.sqlite-shm", "backbone", "model", "report"),
    *("clip.wav", "scores.json", "scores.md", "predictions.parquet", "reliability.png"),
    "predicted_against_target.png",
)
#: What `accelerate launch` is told, so that it asks nobody and reads no settings of the machine.
_ONE_PROCESS = (
    *("--num_processes", "1", "--num_machines", "1"),
    *("--mixed_precision", "no", "--dynamo_backend", "no", "--cpu"),
)


def quickstart(
    *,
    output: str = "quickstart_output",
    num_utterances: int = 1200,
    num_speakers: int = 30,
    hidden_size: int = 96,
    num_train_epochs: float | None = None,
    overwrite: bool = False,
) -> None:
    """Go all the way on simulated speech: data, votes of simulated annotators, a small encoder, training, scores and
    plots, a prediction.

    It needs no key, no network and no GPU, and takes a few minutes on two cores. Each step is a command that is printed
    before it runs.

    Args:
        output: Folder to write.
        num_utterances: Clips of simulated speech.
        num_speakers: Simulated speakers.
        hidden_size: Width of the encoder.
        num_train_epochs: Passes over the training data. Default: the 16 of the configuration.
        overwrite: Replace what an earlier quickstart wrote into the folder.
    """
    folder = Path(output).expanduser()
    if folder.exists() and any(folder.iterdir()):
        if not overwrite:
            raise FileExistsError(
                f"{output} is not empty. Mend: --output FOLDER, or --overwrite to replace an earlier quickstart."
            )
        _check_written(folder)
        for name in _WRITTEN:
            path = folder / name
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
    data, prepared, backbone, model = (f"{output}/{name}" for name in ("data", "prepared", "backbone", "model"))
    _step("simulate", data, "--num_utterances", num_utterances, "--num_speakers", num_speakers)
    _step("annotate", data, prepared, "--config", "prepare/quickstart", "--ledger", f"{output}/votes.sqlite")
    _step("backbone", backbone, "--encoder_only", "--hidden_size", hidden_size)
    _step(
        *("train", "--config", "quickstart", "--backbone", backbone, "--dataset", prepared, "--output_dir", model),
        *(() if num_train_epochs is None else ("--num_train_epochs", num_train_epochs)),
        launch=("accelerate.commands.launch", *_ONE_PROCESS, "-m", "hf_emo_dist"),
    )
    _step("evaluate", model, prepared, "--split", "test", "--output", f"{output}/scores.json")
    _step(
        *("report", "strata", f"quickstart={prepared}", "--split", "test", "--train_split", "train"),
        *("--predictions", f"{output}/predictions.parquet", "--output", f"{output}/report"),
    )
    _step("clip", prepared, "--split", "test", "--output", f"{output}/clip.wav")
    _step("predict", f"{output}/clip.wav", "--model", model)
    sys.stdout.write(
        f"Look at {output}/reliability.png and {output}/predicted_against_target.png; the checkpoint is "
        f"{output}/model.\n"
        f"Open {output}/report/strata.html in a browser: where listeners agree and where they do not.\n"
    )


def _check_written(folder: Path) -> None:
    """Refuse to delete what no quickstart wrote: a folder of this name may be somebody's work."""
    for name in ("data", "prepared"):
        check_folder(folder / name, overwrite=True)
    for name, ours in (("backbone", "*config.json"), ("model", "c*"), ("report", "strata.*")):
        inside = list((folder / name).iterdir()) if (folder / name).is_dir() else []
        if inside and not any((folder / name).glob(ours)):
            raise FileExistsError(
                f"{folder / name} was not written by a quickstart (it has {inside[0].name}). Mend: --output FOLDER."
            )


def _step(*words: object, launch: Sequence[str] = ("hf_emo_dist",)) -> None:
    # A process of its own, as the user would start it: threads, caches and memory of one step do not reach the next.
    texts = list(map(str, words))
    shown = ["hf-emo-dist"] if launch[0] == "hf_emo_dist" else ["accelerate", "launch", *launch[1:]]
    sys.stdout.write(f"$ {shlex.join([*shown, *texts])}\n")
    sys.stdout.flush()
    status = subprocess.call([sys.executable, "-m", *launch, *texts])
    if status:
        raise SystemExit(status)
