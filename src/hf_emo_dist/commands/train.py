"""`hf-emo-dist train`: what `recipes/train.py` does, in one process."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from .running import KNOWN_ERRORS

__all__ = ["TAKES_MORE", "add_arguments", "run", "train"]

logger = logging.getLogger(__name__)

#: Arguments that the parser does not know are handed on: the training arguments of transformers, all of them.
TAKES_MORE = True
SHOWN = ("eval_js_divergence", "eval_bhattacharyya_coefficient", "eval_log_likelihood_per_vote")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the arguments of the subcommand that a newcomer needs."""
    parser.description = (
        "Fine-tunes a backbone to predict emotion distributions. Every training argument of transformers can be added (--num_train_epochs 3, "
        "--learning_rate 1e-4, --push_to_hub true, ...). On several GPUs: accelerate launch -m hf_emo_dist train ..."
    )
    parser.add_argument("--config", help="YAML file with any of the arguments; the command line goes first")
    parser.add_argument(
        "--backbone", help="Qwen2-Audio backbone: a Hub id, or a folder that recipes/mini_backbone.py wrote"
    )
    parser.add_argument("--dataset", help="data set: a folder that dataset_scripts/ wrote, or a Hub id")
    parser.add_argument("--output_dir", help="folder for checkpoints, card and figures")
    parser.add_argument("--emotions", help="emotions in order, comma separated (default: those of the data)")
    parser.add_argument("--lora", help="train an adapter: paper, language_model or all (default: train all weights)")


def run(args: argparse.Namespace) -> None:
    """Trains, and prints the scores on the validation data."""
    words = list(args.more)
    for name in ("config", "backbone", "dataset", "output_dir", "emotions", "lora"):
        value = getattr(args, name)
        if value is not None:
            words += [f"--{name}", value]
    train(words)


def train(argv: Sequence[str] | None = None) -> None:
    """Trains with the arguments of a recipe.

    Raises:
        ValueError, OSError: what a user can mend, before the first step.
        SystemExit: with status 1 when the training itself fails; the traceback is logged.
    """
    import transformers

    from ..training.fine_tuning import finish_training, parse_config, prepare_training

    transformers.logging.set_verbosity_warning()
    recipe, args = parse_config(argv)
    trainer = prepare_training(recipe, args)
    try:
        scores = finish_training(trainer, recipe)
    except KNOWN_ERRORS as error:  # no setting that can be mended: everything was checked before
        logger.exception("the training failed")
        raise SystemExit(1) from error
    if trainer.is_world_process_zero():
        sys.stdout.write(f"checkpoint: {args.output_dir}\n")
        for name in SHOWN:
            if name in scores:
                sys.stdout.write(f"{name}: {scores[name]:.4f}\n")
