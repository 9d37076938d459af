"""The console command `hf-emo-dist`: one subcommand a job, each a module beside this one.

A module that offers a subcommand defines ``options()``, which returns the `Options` made from the functions that it calls, and
``run(values)``; both raise what a user can mend as ``ValueError``, ``OSError`` or ``ModuleNotFoundError``. A subcommand that has
subcommands itself defines ``kinds()``, name to summary, and takes the name first: ``options(kind)``, ``run(kind, values)``. A module is
imported only when its subcommand is used.
"""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping, Sequence

from .. import __version__
from .._lazy import missing_extra
from .running import run_command, set_up_logging

#: subcommand → (module, what it does in one line)
COMMANDS: dict[str, tuple[str, str]] = {
    "quickstart": ("quickstart", "all of it on simulated speech in a few minutes: data, votes, training, scores, a prediction"),
    "read": ("read", "turn your own table of votes, or a corpus, into a data set"),
    "simulate": ("simulate", "write the simulated corpus, whose emotion distributions are known"),
    "estimate": ("estimate", "tell what annotating a data set will cost, before anything is sent"),
    "annotate": ("annotate", "have a model vote on a data set, combine the votes, write Parquet"),
    "augment": ("augment", "balance a data set's training split by DiME-Aug"),
    "backbone": ("backbone", "write a small backbone that trains on a CPU"),
    "train": ("train", "fine-tune a backbone on a data set of votes"),
    "evaluate": ("evaluate", "score a checkpoint on a split, next to predictors that hear nothing"),
    "cross-validate": ("cross_validate", "score a training recipe on speaker-disjoint folds"),
    "report": ("report", "studies of votes and models: tables, plots and one HTML page"),
    "predict": ("predict", "predict the distribution of perceived emotions for audio files"),
    "demo": ("demo", "a page to record or upload speech and see the distribution"),
    "clip": ("clip", "write one clip of a data set as a WAV file"),
    "card": ("card", "write the card of a checkpoint or of a data set"),
    "push": ("push", "push a model, votes, a data set or a metric to the Hub"),
    "env": ("env", "show versions, device and settings, for a bug report"),
}  # fmt: skip


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand and return its exit status: 0, 2 after an error that the user can mend, 130 after Ctrl-C.

    Example:
        >>> main([])  # doctest: +ELLIPSIS
        usage: hf-emo-dist COMMAND ...
        2
    """
    words = list(sys.argv[1:] if argv is None else argv)
    if not words or words[0] in ("-h", "--help"):
        about = "Speech emotion as a distribution over what listeners hear."
        summaries = {name: summary for name, (_, summary) in COMMANDS.items()}
        sys.stdout.write(_overview("hf-emo-dist COMMAND", about, summaries))
        return 0 if words else 2
    if words[0] == "--version":
        sys.stdout.write(f"hf-emo-dist {__version__}\n")
        return 0
    return run_command(lambda: _run(words[0], words[1:]))


def _run(command: str, words: Sequence[str]) -> None:
    if command not in COMMANDS:
        raise ValueError(f"There is no command {command!r}. Mend: one of {', '.join(COMMANDS)}.")
    prog = f"hf-emo-dist {command}"
    try:
        module = importlib.import_module(f".{COMMANDS[command][0]}", __package__)
        kind: tuple[str, ...] = ()
        if hasattr(module, "kinds"):
            kinds: Mapping[str, str] = module.kinds()
            if not words or words[0] in ("-h", "--help"):
                sys.stdout.write(
                    _overview(f"{prog} WHAT", f"{COMMANDS[command][1][:1].upper()}{COMMANDS[command][1][1:]}.", kinds)
                )
                raise SystemExit(0 if words else 2)
            kind, words = (words[0],), words[1:]
            prog = f"{prog} {kind[0]}"
            if kind[0] not in kinds and ":" not in kind[0]:
                raise ValueError(f"There is no {command} {kind[0]!r}. Mend: one of {', '.join(kinds)}.")
        values = module.options(*kind).parse(words, prog)
        set_up_logging()
        module.run(*kind, values)
    except ModuleNotFoundError as error:
        clear = missing_extra(command, error)
        raise clear if clear is error else clear from error


def _overview(prog: str, about: str, summaries: Mapping[str, str]) -> str:
    width = max(map(len, summaries))
    lines = [f"  {name:<{width}}  {summary}" for name, summary in summaries.items()]
    command = prog.rpartition(" ")
    return "\n".join(
        [
            f"usage: {prog} ...",
            "",
            about,
            "",
            *lines,
            "",
            f"{command[0]} {lines[0].split()[0]} --help lists its options.",
            "",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
