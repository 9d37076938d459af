"""`hf-emo-dist cross-validate`: a training recipe scored by speaker-disjoint cross-validation."""

from __future__ import annotations

import sys

from ..evaluation.cross_validation import cross_validate
from .arguments import Options, Values
from .train import training_options, training_parts


def options() -> Options:
    """Those of `cross_validate`, and those of training."""
    return training_options(
        cross_validate,
        without=("recipe", "args"),
        about="Score a training recipe by speaker-disjoint cross-validation, next to simple predictors on the same "
        "folds. Needed are --backbone, --dataset and --output_dir. The same command goes on with a stopped run.",
    )


def run(values: Values) -> None:
    """Cross-validate, and print the table."""
    import transformers

    transformers.logging.set_verbosity_warning()
    if values["protocol"] is not None:
        for name in ("num_folds", "validation_speakers"):
            if name in values.given:
                raise ValueError(
                    f"--{name} makes folds, and --protocol {values['protocol']} has its own. Mend: give one of them."
                )
    if values["fold_column"] is not None and "num_folds" in values.given:
        raise ValueError(
            "--num_folds makes folds, and --fold_column names folds that are there. Mend: give one of them."
        )
    recipe, args = training_parts(values)
    report = values.call(cross_validate, recipe, args)
    sys.stdout.write(
        f"{report.to_markdown()}\nwritten to {args.output_dir}: cross_validation.json, cross_validation.md, "
        "predictions.parquet, two plots\n"
    )
