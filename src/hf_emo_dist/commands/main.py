"""The console command `hf-emo-dist`: one subcommand a job, each in the room that does it.

A module that offers a subcommand defines ``add_arguments(parser)`` and ``run(args)``, raises errors that a user can mend as
``ValueError``, ``OSError`` or ``ModuleNotFoundError``, and is imported only when its subcommand is used. With ``TAKES_MORE = True`` it
finds the arguments that its parser does not know in ``args.more``.
"""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from .._lazy import missing_extra

#: subcommand → (module, what it does in one line)
COMMANDS: dict[str, tuple[str, str]] = {
    "estimate": ("estimate", "tell what annotating a data set will cost, before anything is sent"),
    "annotate": ("annotate", "have a model vote on a data set, combine the votes, write Parquet"),
    "predict": ("predict", "predict the distribution of perceived emotions for audio files"),
    "demo": ("demo", "a page to record or upload speech and see the distribution"),
    "train": ("train", "fine-tune a backbone on a data set of votes"),
    "evaluate": ("evaluate", "score a checkpoint on a split, next to predictors that hear nothing"),
    "card": ("card", "write the card of a checkpoint or of a data set"),
    "push": ("push", "push a model, votes, a data set or a metric to the Hub"),
    "env": ("env", "show versions, device and settings, for a bug report"),
    "report": ("report", "studies of votes and models: tables, plots and one HTML page"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one subcommand and returns its exit status: 0, 2 after an error that the user can mend, 130 after Ctrl-C.

    Example:
        >>> main([])  # doctest: +ELLIPSIS
        usage: hf-emo-dist ...
        2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    name = next((word for word in words if not word.startswith("-")), None)
    parser = argparse.ArgumentParser(
        prog="hf-emo-dist", description="Speech emotion as a distribution over what listeners hear."
    )
    from .. import __version__

    parser.add_argument("--version", action="version", version=f"hf-emo-dist {__version__}")
    subparsers = parser.add_subparsers(dest="command", metavar="COMMAND", title="commands")
    run, takes_more = None, False
    for command, (module, summary) in COMMANDS.items():
        subparser = subparsers.add_parser(command, help=summary, description=summary, allow_abbrev=False)
        if command == name:
            try:
                offered = importlib.import_module(f".{module}", __package__)
            except ModuleNotFoundError as error:
                sys.stderr.write(f"error: {missing_extra(command, error)}\n")
                return 2
            offered.add_arguments(subparser)
            run, takes_more = offered.run, getattr(offered, "TAKES_MORE", False)
    args, more = parser.parse_known_args(words) if takes_more else (parser.parse_args(words), [])
    args.more = more
    if run is None:
        parser.print_help()
        return 2
    from .running import run_command, set_up_logging

    set_up_logging()
    return run_command(lambda: run(args))


if __name__ == "__main__":
    sys.exit(main())
