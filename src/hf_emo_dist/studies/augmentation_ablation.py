"""Does augmentation help? The same head, the same steps, on training data made unbalanced on purpose and augmented in several ways."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..augmentation.dime import DiMEAug, join
from ..augmentation.features import add_features
from ..corpora.simulated import simulate_corpus
from ..data.loading import emotions_of, load_emotion_dataset, read_vote_source
from ..data.rows import notes_about
from ..data.splits import folds_from_column
from ..evaluation.checkpoint import write_predictions
from ..evaluation.resuming import backbone_stamp, is_done, read_predictions, write_json
from ..scores.bootstrap import bootstrap_interval
from ..scores.divergences import jensen_shannon_divergence
from ..votes import distributions_to_matrix, dominant
from .head_training import frozen_states, train_head

__all__ = ["ARMS", "AblationArguments", "make_unbalanced", "run_ablation", "summarise"]

logger = logging.getLogger(__name__)

#: What is compared, and what each is called in the table.
ARMS = {
    "none": "no augmentation",
    "oversampling": "oversampling to the default's class mass",
    "paper": "preset `paper`",
    "default": "default",
    "embedding": "default plan, mixed in the embedding space",
}
_COUNTED_VERSION = 1


@dataclass
class AblationArguments:
    """What the ablation runs on."""

    backbone: str = field(metadata={"help": "Backbone or checkpoint, a folder or a Hub id; frozen but for a new head."})
    output_dir: str = field(metadata={"help": "Folder of the runs and the report; the same command goes on there."})
    dataset: str | None = field(
        default=None,
        metadata={"help": "Data set with a fold column. Default: a simulated corpus, whose truth is known."},
    )
    fold_column: str = field(default="fold", metadata={"help": "Column that names the folds of a data set."})
    num_utterances: int = field(default=2400, metadata={"help": "Rows of the simulated corpus."})
    num_speakers: int = field(default=40, metadata={"help": "Speakers of the simulated corpus."})
    rare: str = field(default="angry,sad", metadata={"help": "Emotions that are made rare, comma separated."})
    keep: float = field(default=0.1, metadata={"help": "Share of the rare emotions' training rows that is kept."})
    seeds: int = field(default=5, metadata={"help": "Seeds: of what is kept, of the plan, and of the head."})
    steps: int = field(default=300, metadata={"help": "Optimizer steps of each run, whatever its data."})
    batch_size: int = field(default=16, metadata={"help": "Rows a step."})
    arms: str = field(default=",".join(ARMS), metadata={"help": "What to compare, comma separated."})
    overwrite: bool = field(default=False, metadata={"help": "Run again what is there."})

    def __post_init__(self) -> None:
        unknown = [arm for arm in self.arms.split(",") if arm not in ARMS]
        if unknown:
            raise ValueError(f"arms={','.join(unknown)} is not known; use some of {', '.join(ARMS)}")
        if not 0 < self.keep <= 1 or self.seeds < 1 or self.steps < 1:
            raise ValueError(
                f"need 0 < keep <= 1, seeds >= 1 and steps >= 1, got {self.keep}, {self.seeds}, {self.steps}"
            )


def make_unbalanced(classes: np.ndarray, rare: Sequence[int], keep: float, seed: int) -> np.ndarray:
    """Rows that are kept when `keep` of the rows of the rare classes are: sorted indices, drawn by the seed.

    Args:
        classes: (N,) dominant class of each row.
        rare: classes to thin out.
        keep: share that is kept of each, rounded up.
        seed: of the draw.

    Example:
        >>> make_unbalanced(np.array([0] * 10 + [1] * 3), [0], 0.1, seed=0).tolist()
        [8, 10, 11, 12]
    """
    rng = np.random.default_rng(seed)
    kept = [np.flatnonzero(~np.isin(classes, list(rare)))]
    for label in rare:
        rows = np.flatnonzero(classes == label)
        kept.append(rng.choice(rows, size=int(np.ceil(keep * len(rows))), replace=False))
    return np.sort(np.concatenate(kept))


def run_ablation(args: AblationArguments) -> dict[str, Any]:
    """Trains and scores every arm with every seed, and writes `ablation.json` and `ablation.md`.

    A run that is done is not done again, so that a stopped ablation goes on.

    Returns:
        What `ablation.json` holds.

    Raises:
        ValueError, OSError: the data, the backbone or settings of an earlier run in the same folder do not fit.
    """
    from transformers import AutoConfig

    from ..modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
    from ..modeling.processing import EmotionDistributionProcessor

    data, folds, notes = _data(args)
    emotions = emotions_of(data)
    own = hasattr(AutoConfig.from_pretrained(args.backbone), "emotions")
    given: dict[str, Any] = {} if own else {"emotions": emotions}
    model = Qwen2AudioForEmotionDistribution.from_pretrained(args.backbone, **given).eval()
    processor = EmotionDistributionProcessor.from_pretrained(args.backbone, **given, use_transcript=False)
    data = add_features(add_features(data, "paper"), "backbone", (model, processor))
    referred = "true_distribution" if "true_distribution" in data.column_names else "human_distribution"
    targets = distributions_to_matrix(data["emotion_distribution"], emotions)
    references = distributions_to_matrix(data[referred], emotions, column_name=referred)
    rare = [emotions.index(name) for name in args.rare.split(",")]
    arms = args.arms.split(",")
    states: list[Any] | None = None
    out, runs = Path(args.output_dir), []
    settings = {
        **{
            name: value
            for name, value in asdict(args).items()
            if name not in ("output_dir", "overwrite", "arms", "seeds")
        },
        "backbone": backbone_stamp(args.backbone),
        "version": _COUNTED_VERSION,
    }
    for seed in range(args.seeds):
        train, test = folds[seed % len(folds)]
        kept = train[make_unbalanced(dominant(targets[train]), rare, args.keep, seed)]
        test_ids = [data["id"][int(i)] for i in test]
        for arm in arms:
            file, about = out / f"seed-{seed}" / f"{arm}.parquet", out / f"seed-{seed}" / f"{arm}.json"
            if args.overwrite or not is_done(file, about, settings):
                if states is None:
                    states = frozen_states(model, processor, data)
                rows, extra = _augmented(arm, data.select(kept), emotions, seed, model, processor)
                known = {row_id: states[int(i)] for row_id, i in zip(data.select(kept)["id"], kept, strict=True)}
                inputs, goals = _inputs(rows, known, emotions, model, processor, arm)
                predicted = train_head(
                    model,
                    inputs,
                    goals,
                    [states[int(i)] for i in test],
                    steps=args.steps,
                    batch_size=args.batch_size,
                    seed=seed,
                )
                write_json(about, {"settings": settings, "rows": len(goals), "mass": goals.sum(0).tolist(), **extra})
                write_predictions(file, data.select(test), emotions, {"predicted_distribution": predicted})
            detail = json.loads(about.read_text(encoding="utf-8"))
            runs.append((seed, arm, test, read_predictions(file, test_ids, emotions), detail))
            logger.info("seed %d, %s: done", seed, arm)
    report = summarise(runs, arms, references, data["speaker"][:], rare, emotions)
    report.update({"notes": notes, "scored_on": referred, "settings": settings, "seeds": args.seeds})
    write_json(out / "ablation.json", report)
    (out / "ablation.md").write_text(to_markdown(report), encoding="utf-8")
    return report


def _data(args: AblationArguments) -> tuple[Any, list[tuple[np.ndarray, np.ndarray]], list[str]]:
    from datasets import Dataset, concatenate_datasets

    if args.dataset is None:
        shares = {"train": 0.8, "test": 0.2}
        splits = simulate_corpus(args.num_utterances, args.num_speakers, splits=shares, seed=0)
        data = concatenate_datasets([splits["train"], splits["test"]])
        size = len(splits["train"])
        return data, [(np.arange(size), np.arange(size, len(data)))], notes_about(data)
    loaded = load_emotion_dataset(args.dataset)
    data = loaded if isinstance(loaded, Dataset) else concatenate_datasets(list(loaded.values()))
    source = read_vote_source(args.dataset) if Path(args.dataset).is_dir() else None
    return data, folds_from_column(data, args.fold_column), notes_about(data, source)


def _augmented(
    arm: str, train: Any, emotions: Sequence[str], seed: int, model: Any, processor: Any
) -> tuple[Any, dict[str, Any]]:
    """The training rows of an arm and the report of its plan."""
    if arm == "none":
        return train, {}
    if arm == "paper":
        plan = DiMEAug.paper(emotions=emotions, seed=seed).plan(train)
    else:
        plan = DiMEAug(emotions=emotions, seed=seed, backbone=(model, processor)).plan(train)
    about = {
        "plan": {key: value for key, value in plan.report.to_dict().items() if key not in ("settings", "left_out")}
    }
    if arm == "oversampling":
        # the dominant source of each of the default's mixed rows, once more
        place = {row_id: i for i, row_id in enumerate(train["id"])}
        again = [place[row["id_i"] if row["mix_ratio"] >= 0.5 else row["id_j"]] for row in plan.rows]
        return train.select([*range(len(train)), *again]), about
    return join(plan, space="embedding" if arm == "embedding" else "waveform"), about


def _inputs(
    rows: Any, known: dict[str, Any], emotions: Sequence[str], model: Any, processor: Any, arm: str
) -> tuple[list[Any], np.ndarray]:
    """Hidden states and targets of training rows; those of original rows are there already."""
    ids = rows["id"][:]
    new = [i for i, row_id in enumerate(ids) if row_id not in known]
    fresh = frozen_states(model, processor, rows.select(new), mix_embeddings=arm == "embedding") if new else []
    made = {ids[i]: state for i, state in zip(new, fresh, strict=True)}
    targets = distributions_to_matrix(rows["emotion_distribution"], emotions, ids=ids)
    return [known[row_id] if row_id in known else made[row_id] for row_id in ids], targets


def summarise(
    runs: Sequence[tuple[int, str, np.ndarray, np.ndarray, dict[str, Any]]],
    arms: Sequence[str],
    references: np.ndarray,
    speakers: Sequence[Any],
    rare: Sequence[int],
    emotions: Sequence[str],
) -> dict[str, Any]:
    """JS (base 2) of each arm, on all test rows and on those whose dominant emotion is rare, and paired differences.

    Intervals are bootstrap intervals over speakers of each row's mean over the seeds that scored it; beside them stands the spread over seeds.

    Args:
        runs: seed, arm, test rows, their predictions (M, K) and details of the run.
        arms: in the order of the table.
        references: (N, K) distributions that are predicted.
        speakers: N.
        rare: indices of the rare emotions.
        emotions: K labels.
    """
    size = len(references)
    total, times = {arm: np.zeros(size) for arm in arms}, {arm: np.zeros(size) for arm in arms}
    by_seed: dict[str, list[list[float]]] = {arm: [] for arm in arms}
    is_rare = np.isin(dominant(references), list(rare))
    rows: dict[str, list[int]] = {arm: [] for arm in arms}
    mass: dict[str, list[Any]] = {arm: [] for arm in arms}
    for _, arm, test, predicted, detail in runs:
        js = jensen_shannon_divergence(predicted, references[test], base=2)
        total[arm][test] += js
        times[arm][test] += 1
        by_seed[arm].append([float(js.mean()), float(js[is_rare[test]].mean())])
        rows[arm].append(detail["rows"])
        mass[arm].append(detail["mass"])
    names = np.array([str(speaker) for speaker in speakers])
    result: dict[str, Any] = {"emotions": list(emotions), "rare": [emotions[k] for k in rare], "arms": {}}
    for arm in arms:
        cells: dict[str, Any] = {"rows": float(np.mean(rows[arm])), "mass": np.mean(mass[arm], axis=0).tolist()}
        for place, (part, mask) in enumerate((("all", np.ones(size, bool)), ("rare", is_rare))):
            scored = mask & (times[arm] > 0)
            values = total[arm][scored] / times[arm][scored]
            mean, low, high = bootstrap_interval(values, names[scored])
            seeds = [entry[place] for entry in by_seed[arm]]
            cells[part] = {"js": mean, "low": low, "high": high, "by_seed": seeds}
            if arm != arms[0]:
                base = total[arms[0]][scored] / times[arms[0]][scored]
                mean, low, high = bootstrap_interval(values - base, names[scored])
                paired = np.array(seeds) - [entry[place] for entry in by_seed[arms[0]]]
                cells[f"{part}_difference"] = {"js": mean, "low": low, "high": high, "by_seed": paired.tolist()}
        result["arms"][arm] = cells
    if "default" in arms:
        result["default_minus"] = {}
        for arm in arms:
            if arm not in ("default", arms[0]):
                pair = {}
                for part, mask in (("all", np.ones(size, bool)), ("rare", is_rare)):
                    scored = mask & (times[arm] > 0)
                    values = (total["default"] - total[arm])[scored] / times[arm][scored]
                    mean, low, high = bootstrap_interval(values, names[scored])
                    pair[part] = {"js": mean, "low": low, "high": high}
                result["default_minus"][arm] = pair
    return result


def to_markdown(report: dict[str, Any]) -> str:
    """The table of an ablation, in Markdown."""

    def interval(cell: dict[str, Any], sign: str = "") -> str:
        return f"{cell['js']:{sign}.4f} [{cell['low']:{sign}.4f}, {cell['high']:{sign}.4f}]"

    def spread(cell: dict[str, Any]) -> str:
        better = sum(value < 0 for value in cell["by_seed"])
        return f"{interval(cell, '+')}; lower in {better} of {len(cell['by_seed'])} seeds"

    first = next(iter(report["arms"]))
    lines = [f"**{'; '.join(report['notes'])}**", ""] if report["notes"] else []
    lines += [
        f"JS divergence (base 2, lower is better) to `{report['scored_on']}` on unseen speakers, mean over {report['seeds']} seeds; brackets: 95 % "
        f"bootstrap intervals over speakers. Rare: rows whose dominant emotion is {' or '.join(report['rare'])}.",
        "",
        f"| training data | rows | all | rare | all, minus {ARMS[first]} | rare, minus {ARMS[first]} |",
        "|---|---|---|---|---|---|",
    ]
    for arm, cells in report["arms"].items():
        differences = [spread(cells[f"{part}_difference"]) if arm != first else "" for part in ("all", "rare")]
        lines.append(
            f"| {ARMS[arm]} | {cells['rows']:.0f} | {interval(cells['all'])} | {interval(cells['rare'])} | {differences[0]} | {differences[1]} |"
        )
    for arm, pair in report.get("default_minus", {}).items():
        lines += [
            "",
            f"Default minus {ARMS[arm]}: all {interval(pair['all'], '+')}, rare {interval(pair['rare'], '+')}.",
        ]
    return "\n".join(lines) + "\n"
