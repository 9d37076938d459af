"""The console command `hf-emo-dist`: one subcommand a job, each a module beside this one.

A module that offers a subcommand has a function of the subcommand's name, whose parameters are the options; or, where
it takes more than one function, ``options()``, which returns the `Options`, and ``run(values)``. What a user can mend
is raised as ``ValueError``, ``OSError`` or ``ModuleNotFoundError``. A subcommand that has subcommands itself defines
``kinds()``, name to summary, and takes the name first: ``options(kind)``, ``run(kind, values)``. A module is imported
only when its subcommand is used.
"""

from __future__ import annotations

import importlib
import logging
import os
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from .. import __version__
from .._lazy import missing_extra
from ..data.full_disk import disk_full
from .terminal import Formatter, continued, guarded

logger = logging.getLogger(__name__)

#: What a wrong path, data set, column, clip, setting or a missing extra raises; anything else is a bug and keeps its
#: traceback.
KNOWN_ERRORS = (ValueError, OSError, ModuleNotFoundError)
#: subcommand → what it does in one line; the module has its name
COMMANDS = {
    "quickstart": "all of it on simulated speech, in a few minutes",
    "read": "turn your own table of votes, or a corpus, into a data set",
    "corpora": "what can be read: corpora, exports of labelling tools, and how votes and splits are chosen",
    "simulate": "write the simulated corpus, whose emotion distributions are known",
    "estimate": "tell what annotating a data set will cost, before anything is sent",
    "annotate": "have a model vote on a data set, combine the votes, write Parquet",
    "models": "what is known of the models that can be asked: prices, dates, what they honour",
    "ledger": "what annotating has cost and why votes are missing; export, merge, read replies again",
    "next-votes": "tell which utterances should get the next human votes",
    "augment": "balance a data set's training split by DiME-Aug",
    "backbone": "write a small backbone that trains on a CPU",
    "train": "fine-tune a backbone on a data set of votes",
    "evaluate": "score a checkpoint on a split, next to predictors that hear nothing",
    "temperature": "fit a checkpoint's temperature on the human votes of a split",
    "cross-validate": "score a training recipe on speaker-disjoint folds",
    "report": "studies of votes and models: tables, plots and one HTML page",
    "predict": "predict the distribution of perceived emotions for audio files",
    "demo": "a page to record or upload speech and see the distribution",
    "clip": "write one clip of a data set as a WAV file",
    "card": "write the card of a checkpoint or of a data set",
    "export": "write a speech encoder's checkpoint as one program, for torch.export or ONNX",
    "export-vllm": "write a checkpoint in the layout that vLLM serves as a classifier",
    "push": "push a model, votes, a data set or a metric to the Hub",
    "env": "show versions, device and settings, for a bug report",
}


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
        sys.stdout.write(_overview("hf-emo-dist COMMAND", about, COMMANDS))
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
        module = module_of(command)
        kind: tuple[str, ...] = ()
        if hasattr(module, "kinds"):
            kinds: Mapping[str, str] = module.kinds()
            if not words or words[0] in ("-h", "--help"):
                about = f"{COMMANDS[command][:1].upper()}{COMMANDS[command][1:]}."
                sys.stdout.write(_overview(f"{prog} WHAT", about, kinds))
                raise SystemExit(0 if words else 2)
            kind, words = (words[0],), words[1:]
            prog = f"{prog} {kind[0]}"
            if kind[0] not in kinds and ":" not in kind[0]:
                raise ValueError(f"There is no {command} {kind[0]!r}. Mend: one of {', '.join(kinds)}.")
        values = options_of(command, *kind).parse(words, prog)
        _set_up_logging()
        if hasattr(module, "run"):
            module.run(*kind, values)
        else:
            values.call(getattr(module, command))
    except ModuleNotFoundError as error:
        clear = missing_extra(command, error)
        if clear is error:
            raise
        raise clear from error


def module_of(command: str) -> Any:
    """The module of a subcommand."""
    return importlib.import_module(f".{command.replace('-', '_')}", __package__)


def options_of(command: str, *kind: str) -> Any:
    """The `Options` of a subcommand."""
    from .arguments import Options

    module = module_of(command)
    return module.options(*kind) if hasattr(module, "options") else Options(getattr(module, command))


def run_command(command: Callable[[], None]) -> int:
    """Run a command; returns its exit status: 0, 2 after an error that the user can mend, 130 after Ctrl-C."""
    with guarded():
        return _status_of(command)


def _status_of(command: Callable[[], None]) -> int:
    try:
        command()
    except KeyboardInterrupt as stop:
        told = f": {stop}" if str(stop) else ""  # what can be resumed says how
        sys.stderr.write(continued(f"stopped{told}") + "\n")
        return 130
    except Exception as error:
        full = disk_full(error, os.getcwd())
        if full is None and not isinstance(error, KNOWN_ERRORS):
            raise
        logger.debug("the command failed", exc_info=True)
        sys.stderr.write(continued(f"error: {full or error}") + "\n")
        return 2
    return 0


def _set_up_logging() -> None:
    """Show our own messages from INFO, everybody else's from WARNING, and none of the Hub client's retries."""
    from huggingface_hub.utils import logging as hub_logging

    handler = logging.StreamHandler()
    handler.setFormatter(Formatter("%(levelname)s %(name)s: %(message)s"))
    logging.basicConfig(handlers=[handler], level=logging.WARNING)
    logging.getLogger("hf_emo_dist").setLevel(logging.INFO)
    hub_logging.set_verbosity_error()  # they would bury the one message that counts


def _overview(prog: str, about: str, summaries: Mapping[str, str]) -> str:
    width = max(map(len, summaries))
    lines = "".join(f"  {name:<{width}}  {summary}\n" for name, summary in summaries.items())
    ending = f"{prog.rpartition(' ')[0]} {next(iter(summaries))} --help lists its options."
    return f"usage: {prog} ...\n\n{about}\n\n{lines}\n{ending}\n"
