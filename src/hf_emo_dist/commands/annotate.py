"""`hf-emo-dist annotate DATASET OUTPUT`."""

from __future__ import annotations

import argparse

from ..preparation.settings import PrepareSettings
from .arguments import add_dataclass_arguments, from_arguments

__all__ = ["add_arguments", "run"]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `PrepareSettings`."""
    add_dataclass_arguments(parser, PrepareSettings, positional=("dataset", "output"))


def run(args: argparse.Namespace) -> None:
    """Checks audio, annotates, combines votes and writes."""
    from .preparing import prepare

    prepare(from_arguments(args, PrepareSettings))
