"""`hf-emo-dist estimate DATASET`."""

from __future__ import annotations

from dataclasses import fields

from ..augmentation.augment_splits import AugmentationArguments
from ..engines.choice import EngineChoice
from ..preparation.prepare import PrepareSettings
from .annotate import annotating
from .arguments import Options, Values
from .augment import MOVED

#: What an estimate does not need; the YAML file of an annotation may say it all the same.
_WRITING = (
    *("output", "overwrite", "vote_source", "empty", "combine", "combine_weight", "combiner"),
    *("human_weight", "synthetic_weight", "distribution_weight"),
)


def options() -> Options:
    """Those of `PrepareSettings` that an estimate needs."""
    return Options(
        PrepareSettings,
        EngineChoice,
        without=("dry_run",),
        unseen=(*_WRITING, *(entry.name for part in (AugmentationArguments, EngineChoice) for entry in fields(part))),
        placed=("dataset",),
        moved=MOVED,
        about="Tell the requests, tokens, money and time that annotating will take. Nothing is sent, unless --pilot "
        "asks for it.",
    )


def run(values: Values) -> None:
    """Tell requests, tokens, money and time."""
    annotating(values.call(PrepareSettings, dry_run=True))
