"""What does a backbone bring on new speakers? One table over folds of speakers, and seconds a step.

python benchmarks/backbones.py OUTPUT [--data DIR | --dataset FOLDER] [--arms ARM …] [--seeds 0 1 2]

RAVDESS with the votes of CREMA-D clips of the same intended emotion: they are BORROWED. Every arm is what `hf-emo-dist
cross-validate --fold_column fold …` trains, on all but the fold's speakers, two of whom choose the checkpoint;
`--print_commands` shows each as that command. Beside them on the same folds: a regression on the mean states of the
encoder's best layer, where layer and penalty are chosen by a cross-validation inside the training speakers, the same on
the layer that was best in hindsight, the mean of the training targets, and what knowing intended emotion and intensity
would give. What is there is not computed again: the same command goes on with a stopped run, and other arms can be
added later.
"""

import argparse
import json
import shlex
import statistics
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from common import DATA, verdict
from transformers import PrinterCallback, TrainerCallback

from hf_emo_dist.commands.configs import config_file
from hf_emo_dist.commands.main import main as hf_emo_dist
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.output import write_json, write_text
from hf_emo_dist.data.targets import scored_matrix
from hf_emo_dist.evaluation.baselines import SoftLogisticRegression, tower_features
from hf_emo_dist.evaluation.cross_validation import CrossValidationReport, cross_validate
from hf_emo_dist.evaluation.resuming import backbone_stamp
from hf_emo_dist.evaluation.scoring import Bootstrap, interval_words, jsonable, p_words, share_words
from hf_emo_dist.evaluation.speaker_folds import folds_with_speakers
from hf_emo_dist.modeling.mini import build_mini_backbone
from hf_emo_dist.scores.bootstrap import paired_permutation_test
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.training.fine_tuning import parse_config, prepare_training

KNOWN = ["intended", "intensity"]
VALIDATION_SPEAKERS = 2
LORA = (
    "--freeze none --cache_audio_tower false --lora attention --lora_dropout 0.05 --learning_rate 5e-4 "
    "--head_learning_rate 1e-3 --per_device_train_batch_size 8 --num_train_epochs"
)


@dataclass(frozen=True)
class Arm:
    """A row of the table that is trained: its title, recipe, encoder's folder, and further words of the command."""

    title: str
    config: str
    encoder: str
    more: str = ""
    all_seeds: bool = False


TINY, BASE = "whisper_tiny_en_encoder", "whisper_base_encoder"
NAMES = {TINY: "Whisper tiny.en", BASE: "Whisper base"}
#: The epochs of LoRA are what a quarter of an hour of one core allows, too few to be its best; no score chose them.
ARMS = {
    "mini": Arm("`mini.yaml`, Whisper tiny.en and a small language model", "mini", TINY),
    "tiny": Arm("`encoder.yaml`, Whisper tiny.en, frozen", "encoder", TINY),
    "base": Arm("`encoder.yaml`, Whisper base, frozen", "encoder", BASE, all_seeds=True),
    "tiny_lora": Arm("`encoder.yaml`, Whisper tiny.en, LoRA on attention, 4 epochs", "encoder", TINY, f"{LORA} 4"),
    "base_lora": Arm("`encoder.yaml`, Whisper base, LoRA on attention, 2 epochs", "encoder", BASE, f"{LORA} 2"),
}
REGRESSION_OF = {"tiny": TINY, "base": BASE}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="gets data, backbone, a folder an arm, and the table")
    parser.add_argument("--data", type=Path, default=DATA, help=f"holds ravdess, {TINY} and {BASE}")
    parser.add_argument("--dataset", type=Path, help="a data set with a column fold; default: read from --data")
    parser.add_argument("--arms", nargs="*", default=list(ARMS), choices=list(ARMS), metavar="ARM")
    parser.add_argument(
        "--seeds", type=int, nargs="+", default=[0, 1, 2], help="of Whisper base, frozen; others: first"
    )
    parser.add_argument("--num_threads", type=int, default=1)
    parser.add_argument("--speed", action=argparse.BooleanOptionalAction, default=True, help="time steps, too")
    parser.add_argument("--speed_clips", type=int, default=96)
    parser.add_argument("--training", type=shlex.split, default=[], help="further arguments of every arm, a text")
    parser.add_argument("--print_commands", action="store_true", help="show each arm's command, and stop")
    return parser


def make_dataset(data: Path, folder: Path) -> Path:
    """Read clips and borrowed votes, once."""
    if not folder.is_dir():
        words = ["read", "table", data / "ravdess" / "votes.csv", data / "ravdess" / "audio", folder]
        words += ["--vote_source", "borrowed votes: of CREMA-D clips of the same intended emotion"]
        if hf_emo_dist([str(word) for word in words]):
            raise SystemExit(f"{data / 'ravdess'} cannot be read. Mend: --data, or --dataset with a column fold.")
    return folder


def words_of(args: argparse.Namespace, name: str, seed: int) -> list[str]:
    """The arguments of `hf-emo-dist train` of an arm, without its output folder."""
    arm = ARMS[name]
    backbone = args.output / "mini_backbone" if arm.config == "mini" else args.data / arm.encoder
    words = ["--config", arm.config, "--backbone", str(backbone), "--dataset", str(args.dataset), *arm.more.split()]
    words += ["--seed", str(seed), "--num_threads", str(args.num_threads)]
    return [*words, "--tower_cache_dir", str(args.output / "tower_cache"), *args.training]


def folder_of(args: argparse.Namespace, name: str, seed: int) -> Path:
    """Where an arm's predictions are."""
    return args.output / "arms" / f"{name}-seed{seed}"


def parsed(words: list[str], output: Path) -> tuple[Any, Any]:
    """Recipe and training arguments, as the commands make them."""
    at = words.index("--config") + 1
    words = [*words[:at], str(config_file(words[at])), *words[at + 1 :]]
    return parse_config([*words, "--output_dir", str(output), "--disable_tqdm", "true"])


def command_of(args: argparse.Namespace, name: str, seed: int) -> str:
    """An arm as a command line."""
    words = ["hf-emo-dist", "cross-validate", *words_of(args, name, seed), "--output_dir"]
    words += [str(folder_of(args, name, seed)), "--fold_column", "fold"]
    words += ["--validation_speakers", str(VALIDATION_SPEAKERS), "--ceiling_columns", ",".join(KNOWN)]
    return shlex.join([*words, *([] if name in REGRESSION_OF else ["--regression", "false"])])


def trained(args: argparse.Namespace, name: str, seed: int) -> CrossValidationReport:
    """The report on an arm, which is trained where it was not before."""
    recipe, training = parsed(words_of(args, name, seed), folder_of(args, name, seed))
    return cross_validate(
        recipe,
        training,
        fold_column="fold",
        validation_speakers=VALIDATION_SPEAKERS,
        ceiling_columns=KNOWN,
        regression=name in REGRESSION_OF and seed == args.seeds[0],
    )


def layer_curve(args: argparse.Namespace, name: str, rows: Any, folds: Any, speakers: Any, emotions: Any) -> np.ndarray:
    """JS (layers, N) of the regression on each layer alone, its penalty chosen inside the training speakers."""
    from hf_emo_dist.training.fine_tuning import load_model

    file = args.output / f"layers_{name}.json"
    recipe, _ = parsed(words_of(args, name, args.seeds[0]), args.output)
    about = {"backbone": backbone_stamp(recipe.backbone), "ids": rows["id"][:], "seed": args.seeds[0]}
    if file.is_file():
        known = json.loads(file.read_text(encoding="utf-8"))
        if known["about"] == about:
            return np.array(known["js"])
    features = tower_features(*load_model(recipe, emotions), rows, 16)
    targets, references = (scored_matrix(rows, emotions, c) for c in ("emotion_distribution", "human_distribution"))
    found = np.empty((features.shape[1], len(rows)))
    for layer in range(len(found)):
        for fold in folds:
            fitted = SoftLogisticRegression(seed=args.seeds[0])
            fitted.fit(features[fold.others, layer], targets[fold.others], speakers[fold.others])
            predicted = fitted.predict(features[fold.test, layer])
            found[layer, fold.test] = jensen_shannon_divergence(predicted, references[fold.test])
    write_json(file, {"about": about, "js": found.tolist()})
    return found


class Clock(TrainerCallback):
    """CPU seconds of each epoch: runs do not take turns, and other work would hit one of them."""

    def __init__(self) -> None:
        self.epochs: list[float] = []
        self.start = 0.0

    def on_epoch_begin(self, *args: object, **kwargs: object) -> None:
        """Start the clock."""
        self.start = time.process_time()

    def on_epoch_end(self, *args: object, **kwargs: object) -> None:
        """Stop the clock."""
        self.epochs.append(time.process_time() - self.start)


def seconds_a_step(args: argparse.Namespace, name: str, rows: Any, cached: bool) -> float:
    """Seconds of a training step with all that belongs to it: reading, features, forward, backward, optimizer."""
    quiet = "--num_train_epochs 3 --eval_strategy no --save_strategy no --load_best_model_at_end false"
    words = [*words_of(args, name, 0), *quiet.split(), "--logging_strategy", "no", "--check_audio", "false"]
    recipe, training = parsed([*words, "--cache_audio_tower", str(cached).lower()], args.output / "speed")
    trainer = prepare_training(recipe, training, rows, None)
    clock = Clock()
    trainer.add_callback(clock)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    # the first epoch warms up, and fills the cache
    return statistics.mean(clock.epochs[1:]) / -(-len(rows) // training.per_device_train_batch_size)


def speed(args: argparse.Namespace, rows: Any) -> dict[str, dict[str, float]]:
    """CPU seconds of a step by arm, without and with kept states: the least of three runs, which go round."""
    rows = rows.select(range(0, len(rows), max(1, len(rows) // args.speed_clips)))
    found: dict[str, dict[str, float]] = {}
    for _ in range(3):
        for name in ("mini", "tiny", "base"):
            for kind, cached in (("computed", False), ("kept", True)):
                took = seconds_a_step(args, name, rows, cached)
                cell = found.setdefault(name, {})
                cell[kind] = min(took, cell.get(kind, took))
    return found


def speed_lines(found: dict[str, dict[str, float]], threads: int) -> list[str]:
    """The lines of the table of steps."""
    lines = [
        "",
        f"A step on 16 clips, CPU seconds ({threads} thread{'s' * (threads > 1)}), all of it from reading to the "
        "optimizer, the least of three runs that went round in one process:",
        "",
        "| | states computed | mini's over it | states kept on disk (the recipes' default) | mini's over it |",
        "|---|---|---|---|---|",
    ]
    for name, cell in found.items():
        ratio = {kind: found["mini"][kind] / took for kind, took in cell.items()}
        told = ["", ""] if name == "mini" else [f"{ratio['computed']:.1f} x", verdict(ratio["kept"], 2)]
        lines.append(
            f"| {ARMS[name].title} | {cell['computed']:.3f} s | {told[0]} | {cell['kept']:.3f} s | {told[1]} |"
        )
    return lines


class Table:
    """The rows of the table, each by the JS of every row of the data set."""

    def __init__(self, speakers: np.ndarray, mean: np.ndarray, ceiling: np.ndarray) -> None:
        self.speakers, self.mean, self.ceiling, self.bootstrap = speakers, mean, ceiling, Bootstrap()
        self.lines = ["| | JS | minus the regression on that encoder | gap closed | what |", "|---|---|---|---|---|"]
        self.found: dict[str, dict[str, Any]] = {}

    def add(
        self, name: str, title: str, js: np.ndarray, rival: np.ndarray | None = None, what: str = "", **more: Any
    ) -> None:
        """Add a row."""
        cell: dict[str, Any] = {"js": self.bootstrap.interval(js, self.speakers, bounds="js_divergence"), **more}
        told = share = ""
        if rival is not None:
            cell["minus_regression"] = self.bootstrap.interval(js - rival, self.speakers, bounds=(-1.0, 1.0))
            cell["p_value"] = paired_permutation_test(js, rival, self.speakers)["p_value"]
            told = f"{interval_words(cell['minus_regression'], '+.4f')}, {p_words(cell['p_value'])}"
        if js is not self.mean and js is not self.ceiling:
            cell["gap_closed"] = self.bootstrap.ratio(self.mean - js, self.mean - self.ceiling, self.speakers)
            share = share_words(cell["gap_closed"])
        self.found[name] = cell
        self.lines.append(f"| {title} | {interval_words(cell['js'], '.4f')} | {told} | {share} | {what} |")


def make_table(args: argparse.Namespace, rows: Any, emotions: Any) -> tuple[list[str], dict[str, Any]]:
    """Train what is asked for, and tell it; regressions come with the frozen arms."""
    folds, speakers = folds_with_speakers(rows, "fold", 0, VALIDATION_SPEAKERS, args.seeds[0])
    reports: dict[str, list[CrossValidationReport]] = {}
    for name in args.arms:
        seeds = args.seeds if ARMS[name].all_seeds else args.seeds[:1]
        reports[name] = []
        for seed in seeds:
            reports[name].append(trained(args, name, seed))
            got = reports[name][-1].predictors["model"]["js_divergence"]
            print(f"{name}, seed {seed}: JS {got:.4f}", flush=True)
    every = next(iter(reports.values()))[0]
    mean, ceiling = (every.js_divergence[name] for name in ("mean_of_training_targets", "ceiling"))
    table = Table(speakers, mean, ceiling)
    table.add("mean", "mean of the training targets", mean)
    rivals: dict[str, np.ndarray] = {}
    for name, encoder in REGRESSION_OF.items():
        if name not in reports:
            continue
        report = reports[name][0]
        rivals[encoder] = report.js_divergence["regression"]
        layers = [fold["regression_layer"] for fold in report.folds]
        told = f"layer {', '.join(map(str, layers))} of 0 to {{}}, chosen inside the training speakers"
        curve = layer_curve(args, name, rows, folds, speakers, emotions)
        best = int(curve.mean(1).argmin())
        table.add(
            f"regression_{name}", f"regression, {NAMES[encoder]}, layer chosen inside", rivals[encoder],
            what=told.format(len(curve) - 1), layers=layers,
        )  # fmt: skip
        table.add(
            f"regression_{name}_hindsight", f"regression, {NAMES[encoder]}, layer in hindsight", curve[best],
            rivals[encoder], f"layer {best}, the best on the scored speakers themselves", layer=best,
            js_by_layer=curve.mean(1).tolist(),
        )  # fmt: skip
    for name, found in reports.items():
        js = [report.js_divergence["model"] for report in found]
        each = ", ".join(f"{values.mean():.4f}" for values in js)
        told = f"mean of {len(js)} seeds, each {each}" if len(js) > 1 else ""
        table.add(
            name, ARMS[name].title, np.mean(js, axis=0), rivals.get(ARMS[name].encoder), told,
            js_by_seed=[float(values.mean()) for values in js],
        )  # fmt: skip
    table.add("ceiling", f"knowing {' and '.join(KNOWN)}", ceiling)
    head = [
        f"**Borrowed votes.** RAVDESS, {len(rows)} clips, {len(folds)} folds of whole speakers "
        f"({len(set(speakers))}); nobody is scored by a model that heard them. JS divergence (base 2) to the votes, "
        f"lower is better; 95 % bootstrap intervals over speakers, p by flipping the signs of whole speakers. "
        f"Models train without {VALIDATION_SPEAKERS} of the other folds' speakers, who choose the checkpoint; "
        "regressions use them. Gap closed: from the mean to knowing intended emotion and intensity. Seed "
        f"{args.seeds[0]} where nothing else is said.",
        "",
    ]
    return [*head, *table.lines], table.found


def main(argv: list[str] | None = None) -> None:
    """Train, score, time, and print the tables."""
    args = arguments().parse_args(argv)
    if not args.print_commands and not all((args.data / name).is_dir() for name in (TINY, BASE)):
        raise SystemExit(f"{args.data} lacks {TINY} or {BASE}. Mend: --data, or HF_EMO_DIST_TEST_DATA.")
    given = args.dataset
    args.dataset = given or args.output / "data"
    if args.print_commands:
        for name in args.arms:
            print(command_of(args, name, args.seeds[0]))
        return
    if given is None:
        make_dataset(args.data, args.dataset)
    if not (args.output / "mini_backbone").is_dir():
        build_mini_backbone(args.output / "mini_backbone", args.data / TINY)
    opened = open_dataset(args.dataset)
    rows, emotions = opened.heard(), opened.emotions("emotion_distribution")
    command = shlex.join(["python", "benchmarks/backbones.py", *(sys.argv[1:] if argv is None else argv)])
    lines: list[str] = [f"`{command}`"]
    results: dict[str, Any] = {"command": command, "votes": "borrowed"}
    if args.arms:
        told, results["arms"] = make_table(args, rows, emotions)
        lines += ["", *told]
    file = args.output / "speed.json"
    if args.speed and not file.is_file():
        write_json(file, speed(args, rows))
    if file.is_file():
        results["speed"] = json.loads(file.read_text(encoding="utf-8"))
        lines += speed_lines(results["speed"], args.num_threads)
    print("\n".join(lines), flush=True)
    write_text(args.output / "backbones.md", "\n".join(lines) + "\n")
    write_json(args.output / "backbones.json", jsonable(results))


if __name__ == "__main__":
    main()
