"""`hf-emo-dist estimate DATASET`."""

from __future__ import annotations

import argparse
from dataclasses import fields, replace

from ..augmentation.augment_splits import AugmentationArguments
from ..preparation.settings import PrepareSettings
from .arguments import add_dataclass_arguments, from_arguments

__all__ = ["add_arguments", "run"]

#: What an estimate does not need.
_WITHOUT = (
    "dry_run",
    "output",
    "overwrite",
    "human_weight",
    "synthetic_weight",
    "distribution_weight",
    "empty",
    "vote_source",
    *(entry.name for entry in fields(AugmentationArguments)),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `PrepareSettings` that an estimate needs."""
    add_dataclass_arguments(parser, PrepareSettings, positional=("dataset",), without=_WITHOUT)


def run(args: argparse.Namespace) -> None:
    """Tells requests, tokens, money and time; nothing is sent, unless --pilot asks for it."""
    from .preparing import prepare

    prepare(replace(from_arguments(args, PrepareSettings), dry_run=True))
