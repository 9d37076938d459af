"""What should a model be trained on? Real speech, three borrowed human votes a clip and biased annotators beside them.

python benchmarks/combining_ravdess.py OUTPUT [--data DIR] [--backbone DIR]

Each clip of RAVDESS carries the voice votes of a CREMA-D clip of the same intended emotion (`votes.csv`, column
`donor`): they are BORROWED. Three of them, drawn by (seed, id), are the clip's `human_votes`; the votes that raters of
the donor's *face* gave are its `synthetic_votes`, of real, biased annotators. Everything is scored on the clip's other
votes, which no target has seen (but that of all votes), and beside it on all of its votes; nobody is scored by a model
that heard them. Checkpoints are chosen by the other votes of two training speakers, for every target alike.

The same targets train `mini.yaml` (`hf-emo-dist report ablation`) and a regression on the features of the frozen audio
tower. What is there is not trained again: the same command goes on with a stopped run.
"""

import argparse
import csv
import json
import shlex
from pathlib import Path

import numpy as np
from common import DATA

from hf_emo_dist.commands.configs import config_file
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.output import write_json, write_text
from hf_emo_dist.data.rows import row_ids
from hf_emo_dist.data.writing import build_dataset, row_features, write_dataset
from hf_emo_dist.evaluation.baselines import SoftLogisticRegression, tower_features
from hf_emo_dist.evaluation.resuming import predictions_for
from hf_emo_dist.evaluation.scoring import Bootstrap, interval_words, jsonable, p_words
from hf_emo_dist.evaluation.speaker_folds import folds_with_speakers
from hf_emo_dist.scores.bootstrap import UNBOUNDED, paired_permutation_test
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.scores.likelihood import unbiased_brier_score
from hf_emo_dist.studies.ablation.ablation import ablation
from hf_emo_dist.studies.ablation.sources import targets_of_parts
from hf_emo_dist.votes import vote_counts_matrix

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad")
ALL_VOTES = "all_votes_distribution"
#: Source of the ablation → what it is called in the table; the first is what the others are compared with.
SOURCES = {
    "human": "the human votes",
    "pooled": "pooled with the face votes, one for one",
    "smoothed": "the human votes, smoothed",
    "posterior": "posterior",
    f"column:{ALL_VOTES}": "all votes of the clip",
}


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path, help="gets the data, a folder a model, and the tables")
    parser.add_argument("--data", type=Path, default=DATA, help="holds ravdess, cremad_votes, whisper_tiny_en_encoder")
    parser.add_argument("--backbone", type=Path, help="default: made of whisper_tiny_en_encoder")
    parser.add_argument("--votes", type=int, default=3, help="human votes a clip that targets are made of")
    parser.add_argument("--kappa", type=float, default=5.0, help="of the row weight A / (A + kappa) on the posterior")
    parser.add_argument("--seed", type=int, default=0, help="of votes, folds' validation speakers and training")
    parser.add_argument("--sources", nargs="+", default=list(SOURCES), choices=list(SOURCES), metavar="SOURCE")
    parser.add_argument("--only", choices=["regression", "model"], help="default: both")
    parser.add_argument(
        "--training", type=shlex.split, default=[], help="further arguments of hf-emo-dist train, a text"
    )
    return parser


def votes_of(row: dict[str, str]) -> np.ndarray:
    """The counts (6,) of a row of a table of votes."""
    return np.array([int(row[name]) for name in EMOTIONS])


def labels_of(counts: np.ndarray) -> list[str]:
    """One label a vote."""
    return [name for name, number in zip(EMOTIONS, counts, strict=True) for _ in range(number)]


def shares_of(counts: np.ndarray) -> dict[str, float]:
    """The counts as a distribution."""
    return dict(zip(EMOTIONS, (counts / counts.sum()).tolist(), strict=True))


def drawn(counts: np.ndarray, number: int, seed: int, name: str) -> np.ndarray:
    """So many of a clip's votes, drawn without replacement by (seed, name); at least one is left to score on."""
    rng = np.random.default_rng([seed, *name.encode()])
    return rng.multivariate_hypergeometric(counts, min(number, int(counts.sum()) - 1))


def make_dataset(data: Path, folder: Path, votes: int, seed: int) -> Path:
    """Write the data set, each clip with its drawn votes, its other votes to score on, and its donor's face votes."""
    from datasets import Value

    def table(path: Path) -> list[dict[str, str]]:
        with open(path, newline="", encoding="utf-8") as file:
            return list(csv.DictReader(file))

    faces = {row["clip"]: row for row in table(data / "cremad_votes" / "votes.csv") if row["modality"] == "face"}
    rows = []
    for row in table(data / "ravdess" / "votes.csv"):
        name, counts = Path(row["file"]).stem, votes_of(row)
        human = drawn(counts, votes, seed, name)
        rows.append(
            {
                "id": name,
                "audio": {"bytes": (data / "ravdess" / "audio" / row["file"]).read_bytes(), "path": row["file"]},
                **{key: row[key] for key in ("transcript", "speaker", "intended", "intensity")},
                "fold": int(row["fold"]),
                "human_votes": labels_of(human),
                "other_votes": labels_of(counts - human),
                "all_votes": labels_of(counts),
                "synthetic_votes": labels_of(votes_of(faces[row["donor"]])),
                "human_distribution": shares_of(counts - human),
                "emotion_distribution": shares_of(human),
                ALL_VOTES: shares_of(counts),
            }
        )
    text, labels = Value("string"), {name: Value("float64") for name in EMOTIONS}
    extra = {"intended": text, "intensity": text, "fold": Value("int64"), ALL_VOTES: labels}
    extra |= {name: [text] for name in ("synthetic_votes", "other_votes", "all_votes")}
    return write_dataset(
        build_dataset(rows, row_features(EMOTIONS, extra)),
        folder,
        description=f"RAVDESS, {votes} votes a clip to train on; `human_distribution` is of the others, to score on.",
        vote_source="borrowed votes: of CREMA-D clips of the same intended emotion; annotators: raters of their faces",
        emotions=EMOTIONS,
        overwrite=True,
    )


def recipe(args: argparse.Namespace, data: Path, backbone: Path) -> list[str]:
    """How every model is trained."""
    words = [
        "--config",
        str(config_file("mini")),
        "--backbone",
        str(backbone),
        "--dataset",
        str(data),
        "--seed",
        str(args.seed),
    ]
    return [*words, *args.training]


def model_predictions(args: argparse.Namespace, data: Path, backbone: Path, rows, folds) -> dict[str, np.ndarray]:
    """Predictions (N, 6) of the models by source, and of the posterior with row weights."""
    runs = [(args.output / "models", args.sources, [])]
    if "posterior" in args.sources:
        weight = ["--concentration_weight", str(args.kappa)]
        runs.append((args.output / "models_weighted_rows", ["posterior"], weight))
    found: dict[str, np.ndarray] = {}
    for folder, sources, more in runs:
        ablation(
            *recipe(args, data, backbone),
            *more,
            output=folder,
            sources=sources,
            augment="off",
            seeds=[args.seed],
            fold_column="fold",
            seed=args.seed,
        )
        for source in sources:
            predicted = np.empty((len(rows), len(EMOTIONS)))
            for index, fold in enumerate(folds):
                cell = folder / "cells" / f"{source.replace(':', '-')}-seed{args.seed}-fold{index}"
                ids = [row_ids(rows)[place] for place in fold.test]
                predicted[fold.test] = predictions_for(cell / "predictions.parquet", ids, EMOTIONS)
            found[f"{source}, rows by A / (A + {args.kappa:g})" if more else source] = predicted
    return found


def regression_predictions(args: argparse.Namespace, backbone: Path, rows, folds, speakers) -> dict[str, np.ndarray]:
    """Predictions (N, 6) by source of a regression on frozen features: it chooses nothing by the validation speakers,
    and uses all rows of the other folds.
    """
    from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
    from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

    model = Qwen2AudioForEmotionDistribution.from_pretrained(backbone, emotions=EMOTIONS)
    processor = EmotionDistributionProcessor.from_pretrained(backbone, emotions=EMOTIONS, use_transcript=False)
    features = tower_features(model, processor, rows, 16)
    found = {}
    for source in args.sources:
        predicted = np.empty((len(rows), len(EMOTIONS)))
        parts = targets_of_parts(rows, EMOTIONS, source, [(fold.others, fold.test) for fold in folds])
        for fold, part in zip(folds, parts, strict=True):
            ids = [row_ids(rows)[place] for place in fold.others]
            fitted = SoftLogisticRegression(seed=args.seed).fit(
                features[fold.others], part.learnt.matrix(EMOTIONS, ids), speakers[fold.others]
            )
            predicted[fold.test] = fitted.predict(features[fold.test])
        found[source] = predicted
    return found


#: Figure → its title, its digits, and its values (N,) of predictions, counts of other votes and counts of all votes.
FIGURES = {
    "js_other_votes": ("JS, other votes", 4, lambda p, held, every: jensen_shannon_divergence(p, shares(held))),
    "js_all_votes": ("JS, all votes", 4, lambda p, held, every: jensen_shannon_divergence(p, shares(every))),
    "log_likelihood": ("log-likelihood a vote, other votes", 3, lambda p, held, every: likelihood(p, held)),
    "unbiased_brier": ("unbiased Brier, all votes", 4, lambda p, held, every: unbiased_brier_score(p, every)),
}


def shares(counts: np.ndarray) -> np.ndarray:
    """Counts (N, 6) as distributions."""
    return counts / counts.sum(axis=1, keepdims=True)


def likelihood(p: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """Log-likelihood (N,) of each row's votes, in nats a vote of the row; rows count alike."""
    return (shares(counts) * np.log(np.maximum(p, 1e-12))).sum(axis=1)


def table_of(
    predictions: dict[str, np.ndarray], held: np.ndarray, every: np.ndarray, speakers: np.ndarray
) -> tuple[list[str], dict[str, dict]]:
    """The lines of a table, and its figures; `held` and `every` are counts (N, 6) of the other and of all votes."""
    first, bootstrap = next(iter(predictions)), Bootstrap()
    found: dict[str, dict] = {}
    lines = [
        "| trained on | " + " | ".join(f"{title} | minus {first}" for title, _, _ in FIGURES.values()) + " |",
        "|---|" + "---|---|" * len(FIGURES),
    ]
    for source, predicted in predictions.items():
        name, _, more = source.partition(", rows by ")
        words, found[source] = [SOURCES[name] + (f", rows weighted by {more}" if more else "")], {}
        for figure, (_, digits, score) in FIGURES.items():
            values, base = score(predicted, held, every), score(predictions[first], held, every)
            cell = {
                **bootstrap.interval(values, speakers, bounds=UNBOUNDED),
                "minus_first": bootstrap.interval(values - base, speakers, bounds=UNBOUNDED),
            }
            told = "-"
            if source != first:
                cell["p_value"] = paired_permutation_test(values, base, speakers)["p_value"]
                told = f"{interval_words(cell['minus_first'], f'+.{digits}f')} ({p_words(cell['p_value'])})"
            found[source][figure] = cell
            words += [interval_words(cell, f".{digits}f"), told]
        lines.append(f"| {' | '.join(words)} |")
    return lines, found


def main(argv: list[str] | None = None) -> None:
    """Train and score on every kind of target, and print the tables."""
    args = arguments().parse_args(argv)
    if not (args.data / "ravdess" / "votes.csv").is_file():
        raise SystemExit(f"{args.data / 'ravdess'} is not here. Mend: --data, or HF_EMO_DIST_TEST_DATA.")
    backbone = args.backbone or args.output / "backbone"
    if not backbone.is_dir():
        from hf_emo_dist.modeling.mini import build_mini_backbone

        build_mini_backbone(backbone, args.data / "whisper_tiny_en_encoder")
    about = {"votes": args.votes, "seed": args.seed}
    folder, note = args.output / "data", args.output / "data.json"
    if not (folder.is_dir() and note.is_file() and json.loads(note.read_text(encoding="utf-8")) == about):
        make_dataset(args.data, folder, args.votes, args.seed)
        write_json(note, about)  # last: it says that this is done
    rows = open_dataset(folder).heard()
    folds, speakers = folds_with_speakers(rows, "fold", 0, 2, args.seed)
    held, every = (vote_counts_matrix(rows[name], EMOTIONS) for name in ("other_votes", "all_votes"))
    lines = [
        f"**Borrowed votes.** RAVDESS, {len(rows)} clips, {len(folds)} folds of whole speakers ({len(set(speakers))}); "
        f"{args.votes} votes a clip to train on; annotators: about ten raters of the donor's face. "
        "Scored on unseen speakers: JS divergence (base 2) and unbiased Brier, lower is better; log-likelihood, higher "
        "is better. JS against few votes rewards predictions that are sharper than what listeners hear; the others do "
        "not. 95 % bootstrap intervals over speakers, p by flipping the signs of whole speakers.",
    ]
    results = {}
    kinds = {
        "regression": lambda: regression_predictions(args, backbone, rows, folds, speakers),
        "model": lambda: model_predictions(args, folder, backbone, rows, folds),
    }
    titles = {"regression": "Regression on the frozen tower's features", "model": "`mini.yaml`, one seed"}
    for kind, predict in kinds.items():
        if args.only not in (None, kind):
            continue
        told, results[kind] = table_of(predict(), held, every, speakers)
        lines += ["", f"{titles[kind]}:", "", *told]
        print("\n".join([titles[kind], *told]), flush=True)
        write_text(args.output / "combining_ravdess.md", "\n".join(lines) + "\n")
        write_json(args.output / "combining_ravdess.json", jsonable(results))


if __name__ == "__main__":
    main()
