"""`hf-emo-dist annotate DATASET OUTPUT`, and what it shares with `estimate`."""

from __future__ import annotations

import sys

from ..annotation.run.run_report import AnnotationIncomplete
from ..annotation.shares import Share
from ..annotation.types import FatalError
from ..engines.choice import EngineChoice
from ..preparation.prepare import PrepareSettings, estimate_preparation, prepare_dataset
from .arguments import Options, Values
from .augment import MOVED
from .configs import config_names


def options() -> Options:
    """Those of `PrepareSettings`, and where it runs."""
    return Options(
        PrepareSettings,
        EngineChoice,
        placed=("dataset", "output"),
        moved=MOVED,
        about="Check the audio, have a model vote as further annotators, combine the votes, and write a data set.",
        epilog=f"Settings of the package's own: --config {', '.join(name for name in config_names() if '/' in name)}.",
    )


def run(values: Values) -> None:
    """Check audio, annotate, combine votes and write; with `--dry_run` tell what annotating will take."""
    settings = values.call(PrepareSettings)
    with values.call(EngineChoice).open():
        annotating(settings)


def annotating(settings: PrepareSettings) -> None:
    """Prepare a data set, or with `dry_run` tell what annotating it will take; status 3 when a run had to stop, whether
    or not what there is was written."""
    try:
        if settings.dry_run:
            for split, estimate in estimate_preparation(settings).items():
                sys.stdout.write(f"{split}:\n{estimate.table()}\n")
            return
        reports = prepare_dataset(settings)
    except AnnotationIncomplete as stop:
        told = "the same command goes on from there. To write what there is: --write_partial."
        sys.stderr.write(f"{stop.report.summary()}\nEvery reply that came is in the ledger; {told}\n")
        raise SystemExit(3) from None
    except FatalError as error:
        raise ValueError(str(error)) from error
    share = Share.own()
    who = "" if share.of == 1 else f"process {share.rank + 1} of {share.of}, "
    for split, report in reports.items():
        sys.stdout.write(f"{who}{split}: {report.summary()}\n")
    if share.rank:  # one of several processes writes
        return
    sys.stdout.write(f"Wrote {settings.output}\n")
    if not all(report.complete for report in reports.values()):
        sys.stderr.write(
            "NOT COMPLETE: votes are missing, which its card says. The same command with --overwrite goes on from "
            "there.\n"
        )
        raise SystemExit(3)
