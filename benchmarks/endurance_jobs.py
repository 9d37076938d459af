"""The long jobs that `endurance.py` breaks: one row each in `JOBS`.

To add one: a `Job` with the words of its command, in which `{out}` is the output in the job's own folder, `{world}` the
folder of what all jobs share (see `build_world`), `{cell}` a name of its own; what counts of its result; and what it
keeps as its state.
"""

import csv
import hashlib
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

#: Keys of JSON files that say when, how fast, where or in how many runs, and not what; transformers' train_loss is of
#: the steps since the last start.
VOLATILE = (
    "train_loss",
    "seconds",
    "runtime",
    "per_second",
    "output_dir",
    "date",
    "versions",
    "hardware",
    "_dir",
    "path",
    "flos",
    "num_requests",
)


@dataclass(frozen=True)
class Job:
    """A command that takes long when the data is large, here on small data.

    Args:
        name: Its name in the table.
        words: Of the command.
        result: Patterns of the files below `{out}` (a file or a folder) that are its result. They are compared by
            content: Parquet by its rows, JSON without times and paths, everything else by its bytes.
        again: Words that the same command needs after a run that broke off, where it says so (`--overwrite true`).
        over: Words with which it writes over an output that is there.
        seams: Functions whose calls are events, `module:Class.name`.
        state: Patterns, below the job's folder, of files that it keeps to go on with.
        given: Patterns, below the world, of files that it reads which the package wrote.
        repo: Name of the repository that it pushes to, whose files are then its result.
        before: Words of commands that are run in its folder first.
    """

    name: str
    words: tuple[str, ...]
    result: tuple[str, ...]
    again: tuple[str, ...] = ()
    over: tuple[str, ...] = ()
    seams: tuple[str, ...] = ()
    state: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    repo: str | None = None
    before: tuple[tuple[str, ...], ...] = ()

    def command(self, world: Path, work: Path, *more: str) -> list[str]:
        """Its words for one run."""
        return [
            word.format(world=world, out=work / "out", work=work, cell=work.parent.name)
            for word in (*self.words, *more)
        ]

    def digests(self, work: Path) -> dict[str, str]:
        """What counts of its result, by file."""
        found = {}
        for pattern in self.result:
            for file in sorted(work.glob(pattern)):
                if file.is_file():
                    found[str(file.relative_to(work))] = digest(file)
        return found


def digest(file: Path) -> str:
    """A file's content as a short hash, without what is another in each run."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix == ".parquet":
            content = repr(pq.read_table(file).to_pylist()).encode()
        elif file.suffix == ".json":
            content = json.dumps(_lasting(json.loads(file.read_text())), sort_keys=True).encode()
        else:
            content = file.read_bytes()
    except (ValueError, OSError, pa.ArrowException):
        return "no whole file"  # under its final name
    return hashlib.sha256(content).hexdigest()[:16]


def _lasting(value: object) -> object:
    if isinstance(value, dict):
        return {key: _lasting(entry) for key, entry in value.items() if not any(word in key for word in VOLATILE)}
    if isinstance(value, list):
        return [_lasting(entry) for entry in value]
    if isinstance(value, float) and math.isfinite(value):
        return float(f"{value:.9g}")
    return value


def build_world(world: Path, run: Callable[[list[str]], None]) -> None:
    """Make what the jobs share: a table of clips and votes, a data set, a backbone, and a checkpoint trained from them.

    Args:
        world: The folder.
        run: Runs a command of `hf-emo-dist`.
    """
    run(["simulate", f"{world}/data", "--num_utterances", "48", "--num_speakers", "12"])
    run(["backbone", f"{world}/backbone", "--hidden_size", "16", "--audio_layers", "1", "--text_layers", "1",
         "--num_mel_bins", "16"])  # fmt: skip
    run([*_train(f"{world}/model"), "--num_train_epochs", "1"])
    run(["annotate", f"{world}/data", f"{world}/prepared", "--backend", "simulated", "--num_annotations", "2",
         "--ledger", f"{world}/votes.sqlite", "--hearing_test", "false"])  # fmt: skip
    for place in range(6):
        run(["clip", f"{world}/data", "--output", f"{world}/clips/{place}.wav", "--row", str(place)])
    with (world / "table.csv").open("w", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["file", "speaker", "angry", "happy", "sad"])
        rows.writerows([f"{place}.wav", f"s{place % 3}", place % 3, 2, (place + 1) % 2] for place in range(6))


def _train(out: str) -> list[str]:
    return ["train", "--backbone", "{world}/backbone".replace("{world}", str(Path(out).parent)), "--dataset",
            str(Path(out).parent / "data"), "--output_dir", out, "--use_cpu", "true", "--per_device_train_batch_size",
            "8", "--disable_tqdm", "true", "--num_threads", "1"]  # fmt: skip


TRAINING = ("--backbone", "{world}/backbone", "--dataset", "{world}/data", "--output_dir", "{out}", "--use_cpu", "true",
            "--per_device_train_batch_size", "8", "--num_train_epochs", "2", "--disable_tqdm", "true", "--num_threads",
            "1")  # fmt: skip
STEPS = ("transformers.trainer:Trainer.training_step", "torch:save", "safetensors.torch:save_file")
CHECKPOINT = ("model/model.safetensors", "model/config.json", "model/processor_config.json")

SIMULATED = (
    "--backend",
    "simulated",
    "--num_annotations",
    "2",
    "--ledger",
    "{work}/votes.sqlite",
    "--hearing_test",
    "false",
)
FEW = ("--augment_features", "lexical", "--augment_examples", "2")
PREPARED = ("out/data/*.parquet", "out/preparation.json")

JOBS = {
    job.name: job
    for job in (
        Job(
            "read",
            ("read", "table", "{world}/table.csv", "{world}/clips", "{out}"),
            ("out/data/*.parquet",),
            over=("--overwrite", "true"),
        ),
        Job(
            "train",
            ("train", *TRAINING, "--save_total_limit", "2"),
            ("out/model.safetensors", "out/train_results.json"),
            again=("--resume_from_checkpoint", "true"),
            seams=STEPS,
            state=("out/checkpoint-*/*",),
        ),
        Job(
            "cross-validate",
            ("cross-validate", *TRAINING, "--num_folds", "2", "--validation_speakers", "2", "--num_resamples", "50"),
            ("out/cross_validation.json", "out/predictions.parquet"),
            seams=STEPS,
            state=("out/regression.*", "out/fold-0/*.*"),
        ),
        Job(
            "report ablation",
            (
                "report",
                "ablation",
                "--output",
                "{out}",
                "--sources",
                "human",
                "--augment",
                "off",
                "--seeds",
                "0,1",
                "--num_resamples",
                "50",
                "--",
                *TRAINING[:4],
                *TRAINING[6:],
            ),
            ("out/ablation.json",),
            seams=STEPS,
            state=("out/cells/*/*.*",),
        ),
        Job(
            "annotate",
            ("annotate", "{world}/data", "{out}", *SIMULATED),
            PREPARED,
            over=("--overwrite", "true"),
            seams=("hf_emo_dist.annotation.backends.simulated:SimulatedBackend.ask",),
        ),
        Job(
            "combine",
            ("annotate", "{world}/prepared", "{out}", "--backend", "none", "--combine", "pool"),
            PREPARED,
            over=("--overwrite", "true"),
        ),
        Job(
            "augment",
            ("augment", "{world}/data", "{out}", "--augment", "paper", *FEW),
            (*PREPARED, "out/preparation/augmentation.json", "out/preparation/augmentation_plan.parquet"),
            over=("--overwrite", "true"),
            seams=("hf_emo_dist.augmentation.mixing:BetweenClassMixer.with_levels",),
        ),
        Job(
            "prepare",
            ("annotate", "{world}/data", "{out}", *SIMULATED, "--augment", "paper", *FEW),
            (*PREPARED, "out/preparation/augmentation.json", "out/preparation/augmentation_plan.parquet"),
            over=("--overwrite", "true"),
            seams=("hf_emo_dist.annotation.backends.simulated:SimulatedBackend.ask",),
        ),
        *(
            Job(
                f"predict as {form}",
                (
                    "predict",
                    "{world}/clips",
                    "--model",
                    "{world}/model",
                    "--format",
                    form,
                    "--output",
                    f"{{out}}/a.{form}",
                    "--batch_size",
                    "2",
                ),
                (f"out/a.{form}",),
                over=("--overwrite", "true"),
                seams=("hf_emo_dist.commands.partial_answers:PartialAnswers.add",),
                state=(f"out/a.{form}.partial",),
                given=CHECKPOINT,
            )
            for form in ("json", "csv")
        ),
        Job(
            "evaluate",
            (
                "evaluate",
                "{world}/model",
                "{world}/data",
                "--split",
                "test",
                "--output",
                "{out}/scores.json",
                "--num_resamples",
                "50",
                "--device",
                "cpu",
            ),
            ("out/scores.json", "out/scores.md", "out/predictions.parquet", "out/*.png"),
            over=("--overwrite", "true"),
            given=CHECKPOINT,
        ),
        Job(
            "backbone",
            ("backbone", "{out}", "--hidden_size", "16", "--num_mel_bins", "16"),
            ("out/*",),
            over=("--overwrite", "true"),
        ),
        Job(
            "report",
            ("report", "agreement", "data={world}/data", "--output", "{out}"),
            ("out/agreement.json", "out/*.png"),
            over=("--overwrite", "true"),
        ),
        Job(
            "push",
            ("push", "model", "{world}/model", "me/{cell}"),
            (),
            seams=("httpx2:Client.send",),
            given=CHECKPOINT,
            repo="me/{cell}",
        ),
    )
}
