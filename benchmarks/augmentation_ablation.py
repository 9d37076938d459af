"""Does balancing help? One new head and as many steps, on training data made unbalanced and balanced in several ways.

python benchmarks/augmentation_ablation.py --backbone my_backbone --output_dir my_ablation
python benchmarks/augmentation_ablation.py --backbone my_backbone --dataset my_dataset --rare happy,fear --output_dir
my_ablation

Without --dataset a simulated corpus is used, whose truth is known. Only the head is trained, on hidden states that are
computed once.
"""

import argparse
import copy
import json
from pathlib import Path

import numpy as np

from hf_emo_dist.augmentation import DiMEAug, add_features
from hf_emo_dist.data.opened import open_dataset
from hf_emo_dist.data.splits import folds_from_column
from hf_emo_dist.emotions import canonical_emotion
from hf_emo_dist.scores.bootstrap import bootstrap_interval
from hf_emo_dist.scores.divergences import jensen_shannon_divergence
from hf_emo_dist.votes import distributions_to_matrix, dominant

#: What is compared, and what each is called in the table; the first is what the others are compared with.
ARMS = {
    "none": "no augmentation",
    "oversampling": "oversampling to the default's class mass",
    "paper": "preset `paper`",
    "default": "default",
}


def names_in(text: str) -> list[str]:
    """The names in a comma separated list."""
    return [name.strip() for name in text.split(",") if name.strip()]


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--backbone", required=True, help="backbone or checkpoint; frozen but for a new head")
    parser.add_argument("--output_dir", required=True, type=Path, help="gets ablation.json and ablation.md")
    parser.add_argument("--dataset", help="data set with a fold column; a simulated corpus by default")
    parser.add_argument("--fold_column", default="fold")
    parser.add_argument("--num_utterances", type=int, default=2400, help="of the simulated corpus")
    parser.add_argument("--num_speakers", type=int, default=40, help="of the simulated corpus")
    parser.add_argument("--rare", type=names_in, default="angry,sad", help="emotions that are made rare")
    parser.add_argument("--keep", type=float, default=0.1, help="share of their training rows that is kept")
    parser.add_argument("--seeds", type=int, default=5, help="of what is kept, of the plan and of the head")
    parser.add_argument("--steps", type=int, default=300, help="optimizer steps of each run, whatever its data")
    parser.add_argument("--batch_size", type=int, default=16)
    return parser


def read_data(args):
    """The rows, pairs of (rows to train on, rows to test on), and what every table must say of them."""
    if args.dataset is None:
        from hf_emo_dist.corpora.simulated import simulate_corpus

        shares = {"train": 0.8, "test": 0.2}
        opened = open_dataset(simulate_corpus(args.num_utterances, args.num_speakers, splits=shares, seed=0))
        rows, size = opened.rows(), len(opened.rows("train"))
        return rows, [(np.arange(size), np.arange(size, len(rows)))], opened.notes()
    opened = open_dataset(args.dataset)
    rows = opened.heard()
    return rows, folds_from_column(rows, args.fold_column), opened.notes(rows)


def make_unbalanced(classes: np.ndarray, rare: list[int], keep: float, seed: int) -> np.ndarray:
    """The rows that are kept, sorted, when a share `keep` of the rows of the rare classes is, rounded up."""
    rng = np.random.default_rng(seed)
    kept = [np.flatnonzero(~np.isin(classes, rare))]
    for label in rare:
        rows = np.flatnonzero(classes == label)
        kept.append(rng.choice(rows, size=int(np.ceil(keep * len(rows))), replace=False))
    return np.sort(np.concatenate(kept))


def augmented(arm: str, train, emotions, seed: int, backbone):
    """The training rows of an arm."""
    if arm == "none":
        return train
    plan = DiMEAug(
        emotions=emotions,
        seed=seed,
        preset="paper" if arm == "paper" else "default",
        backbone=None if arm == "paper" else backbone,
    ).plan(train)
    if arm == "oversampling":  # the dominant source of each of the default's mixed rows, once more
        place = {row_id: i for i, row_id in enumerate(train["id"])}
        again = [place[row["id_i"] if row["mix_ratio"] >= 0.5 else row["id_j"]] for row in plan]
        return train.select([*range(len(train)), *again])
    return plan.joined(plan.map())


def frozen_states(model, processor, rows, batch_size: int = 16) -> list:
    """What the head sees of each row: the hidden states of its tokens, one float16 tensor (tokens, d) a row."""
    import torch
    from tqdm.auto import tqdm

    from hf_emo_dist.training.collator import EmotionDistributionCollator

    collate = EmotionDistributionCollator(processor, target_column=None)
    seen, states = [], []
    handle = model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    with torch.inference_mode():
        for start in tqdm(range(0, len(rows), batch_size), desc="hidden states"):
            batch = collate([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
            if "row_index" in batch:
                raise SystemExit("clips over 30 s are not supported here: leave them out")
            model(**{name: value.to(model.device) for name, value in batch.items()})
            states += [hidden[mask.bool()].half().cpu() for hidden, mask in zip(*seen.pop(), strict=True)]
    handle.remove()
    return states


def train_head(model, states, targets, test_states, *, steps: int, batch_size: int, seed: int) -> np.ndarray:
    """Train a new head and predict the test rows, (M, K); AdamW, warm-up, cosine as in `recipes/configs/mini.yaml`."""
    import torch

    from hf_emo_dist.modeling.head import EmotionDistributionHead
    from hf_emo_dist.modeling.losses import distribution_loss
    from hf_emo_dist.training.sampler import EmotionSampler

    def padded(chosen):
        hidden = torch.nn.utils.rnn.pad_sequence([state.float() for state in chosen], batch_first=True)
        lengths = torch.tensor([len(state) for state in chosen])
        return hidden, (torch.arange(hidden.shape[1])[None] < lengths[:, None]).long()

    def rows_in_order():
        sampler = EmotionSampler(len(states), batch_size, seed=seed)
        while True:
            yield from sampler
            sampler.set_epoch(sampler.epoch + 1)

    def rate(step: int) -> float:
        done = (step - warm) / max(1, steps - warm)
        return (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * done))

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = EmotionDistributionHead(copy.deepcopy(model.config)).train()
        for module in head.modules():  # as transformers initialises the model's own
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=0.02)
                torch.nn.init.zeros_(module.bias)
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-4, weight_decay=0.03)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, rate)
        goal, order = torch.from_numpy(np.asarray(targets, dtype=np.float32)), rows_in_order()
        for _ in range(steps):
            batch = [next(order) for _ in range(batch_size)]
            logits = head(*padded([states[row] for row in batch]))
            optimizer.zero_grad()
            distribution_loss(logits, goal[batch], "soft_cross_entropy").backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        head.eval()
        with torch.inference_mode():
            parts = [test_states[start : start + 32] for start in range(0, len(test_states), 32)]
            return torch.cat([head(*padded(part)).double().softmax(-1) for part in parts]).numpy()


def interval(values: np.ndarray, speakers: np.ndarray) -> dict[str, float]:
    """Mean over rows of each row's mean over the seeds that scored it (the others are NaN); interval over speakers."""
    scored = np.isfinite(values).any(axis=0)
    mean, low, high = bootstrap_interval(np.nanmean(values[:, scored], axis=0), speakers[scored])
    return {"js": mean, "low": low, "high": high, "by_seed": np.nanmean(values, axis=1).tolist()}


def compare(scores: dict[str, np.ndarray], speakers: np.ndarray, is_rare: np.ndarray) -> dict[str, dict]:
    """Each arm's scores (seeds, N) and its differences from the first arm and from the default, all rows and rare."""
    first = next(iter(scores))
    found: dict[str, dict] = {}
    for arm, values in scores.items():
        found[arm] = {}
        for part, mask in (("all", slice(None)), ("rare", is_rare)):
            mine, who = values[:, mask], speakers[mask]
            found[arm][part] = interval(mine, who)
            found[arm][f"{part}_minus_{first}"] = interval(mine - scores[first][:, mask], who)
            found[arm][f"{part}_default_minus"] = interval(scores["default"][:, mask] - mine, who)
    return found


def to_markdown(report: dict) -> str:
    """The table."""

    def shown(cell: dict, sign: str = "") -> str:
        return f"{cell['js']:{sign}.4f} [{cell['low']:{sign}.4f}, {cell['high']:{sign}.4f}]"

    def spread(cell: dict) -> str:
        better = sum(value < 0 for value in cell["by_seed"])
        return f"{shown(cell, '+')}; lower in {better} of {len(cell['by_seed'])} seeds"

    first = next(iter(ARMS))
    lines = [f"**{'; '.join(report['notes'])}**", ""] if report["notes"] else []
    lines += [
        f"JS divergence (base 2, lower is better) to `{report['scored_on']}` on unseen speakers, mean over "
        f"{report['seeds']} seeds; brackets: 95 % bootstrap intervals over speakers. Rare: rows whose dominant "
        f"emotion is {' or '.join(report['rare'])}.",
        "",
        f"| training data | rows | all | rare | all, minus {ARMS[first]} | rare, minus {ARMS[first]} |",
        "|---|---|---|---|---|---|",
    ]
    for arm, cells in report["arms"].items():
        differences = ["" if arm == first else spread(cells[f"{part}_minus_{first}"]) for part in ("all", "rare")]
        cells_shown = [ARMS[arm], f"{cells['rows']:.0f}", shown(cells["all"]), shown(cells["rare"]), *differences]
        lines.append(f"| {' | '.join(cells_shown)} |")
    for arm in ("oversampling", "paper"):
        pair = [shown(report["arms"][arm][f"{part}_default_minus"], "+") for part in ("all", "rare")]
        lines += ["", f"Default minus {ARMS[arm]}: all {pair[0]}, rare {pair[1]}."]
    return "\n".join(lines) + "\n"


def main(argv: list[str] | None = None) -> None:
    """Train and score every arm with every seed, and print the table."""
    parser = arguments()
    args = parser.parse_args(argv)
    if not args.rare or not 0 < args.keep <= 1 or min(args.seeds, args.steps, args.batch_size) < 1:
        parser.error("need an emotion in --rare, 0 < --keep <= 1, and --seeds, --steps and --batch_size from 1")
    data, folds, notes = read_data(args)
    emotions = list(data.features["emotion_distribution"])
    try:  # before anything is computed
        rare = [emotions.index(canonical_emotion(name, emotions)) for name in args.rare]
    except ValueError as error:
        parser.error(f"--rare: {error}")

    from transformers import AutoConfig

    from hf_emo_dist.modeling.backbones.qwen2_audio import Qwen2AudioForEmotionDistribution
    from hf_emo_dist.modeling.processing import EmotionDistributionProcessor

    given = {} if hasattr(AutoConfig.from_pretrained(args.backbone), "emotions") else {"emotions": emotions}
    model = Qwen2AudioForEmotionDistribution.from_pretrained(args.backbone, **given).eval()
    processor = EmotionDistributionProcessor.from_pretrained(args.backbone, **given, use_transcript=False)
    data = add_features(add_features(data, "paper"), "backbone", (model, processor))
    referred = "true_distribution" if "true_distribution" in data.column_names else "human_distribution"
    references = distributions_to_matrix(data[referred], emotions, column_name=referred)
    classes = dominant(distributions_to_matrix(data["emotion_distribution"], emotions))
    states = dict(zip(data["id"], frozen_states(model, processor, data), strict=True))
    scores = {arm: np.full((args.seeds, len(data)), np.nan) for arm in ARMS}
    sizes: dict[str, list[int]] = {arm: [] for arm in ARMS}
    for seed in range(args.seeds):
        train, test = folds[seed % len(folds)]
        kept = data.select(train[make_unbalanced(classes[train], rare, args.keep, seed)])
        for arm in ARMS:
            rows = augmented(arm, kept, emotions, seed, (model, processor))
            new = [place for place, row_id in enumerate(rows["id"]) if row_id not in states]
            made = frozen_states(model, processor, rows.select(new))
            known = {**states, **dict(zip(rows.select(new)["id"], made, strict=True))}
            predicted = train_head(
                model,
                [known[row_id] for row_id in rows["id"]],
                distributions_to_matrix(rows["emotion_distribution"], emotions),
                [states[data[int(i)]["id"]] for i in test],
                steps=args.steps,
                batch_size=args.batch_size,
                seed=seed,
            )
            scores[arm][seed, test] = jensen_shannon_divergence(predicted, references[test], base=2)
            sizes[arm].append(len(rows))
            print(f"seed {seed}, {arm}: {len(rows)} rows, JS {np.nanmean(scores[arm][seed]):.4f}", flush=True)
    speakers = np.array([str(speaker) for speaker in data["speaker"]])
    arms = compare(scores, speakers, np.isin(dominant(references), rare))
    report = {
        "notes": notes,
        "scored_on": referred,
        "settings": {name: str(value) if isinstance(value, Path) else value for name, value in vars(args).items()},
        "seeds": args.seeds,
        "rare": [emotions[k] for k in rare],
        "arms": {arm: {"rows": float(np.mean(sizes[arm])), **cells} for arm, cells in arms.items()},
    }
    args.output_dir.mkdir(parents=True, exist_ok=True)
    (args.output_dir / "ablation.json").write_text(json.dumps(report, indent=2) + "\n", encoding="utf-8")
    (args.output_dir / "ablation.md").write_text(to_markdown(report), encoding="utf-8")
    print(to_markdown(report))


if __name__ == "__main__":
    main()
