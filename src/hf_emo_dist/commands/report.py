"""`hf-emo-dist report STUDY …`: the studies as commands; each writes JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from .. import studies
from ..data.output import claimed_file
from .arguments import Options, Values
from .option import summary_of


def kinds() -> Mapping[str, str]:
    """The studies; `module:function` of the user's own is one, too."""
    return {name: summary for name, (_, summary) in studies.STUDIES.items()}


def options(study: str) -> Options:
    """Where to write, and those of the study's function."""
    function = studies.study_of(study)
    return Options(_place if _goes_on(function) else _place_once, function, about=summary_of(function))


def run(study: str, values: Values) -> None:
    """Run a study, write its report and print its findings."""
    function = studies.study_of(study)
    overwrite = _goes_on(function) or values["overwrite"]
    with claimed_file(Path(values["output"]) / f"{study.rpartition(':')[2].replace('-', '_')}.html", overwrite):
        found = values.call(function)
        page = found.save(values["output"], overwrite)
    sys.stdout.write("\n".join([found.title, *found.notes, *(f"- {line}" for line in found.findings)]) + "\n")
    plots = " and the plots as PNG and PDF" if found.plots else ""
    sys.stdout.write(f"written: {page}, and beside it {found.kind}.json, {found.kind}.md{plots}\n")


def _goes_on(function: Callable[..., Any]) -> bool:
    """Whether a study goes on where it was stopped, and so writes its own report anew; its --overwrite is another."""
    return "overwrite" in inspect.signature(function).parameters


def _place(*, output: str) -> None:
    """Say where.

    Args:
        output: Folder for the report; made if needed.
    """


def _place_once(*, output: str, overwrite: bool = False) -> None:
    """Say where.

    Args:
        output: Folder for the report; made if needed.
        overwrite: Replace a report that is in the folder.
    """
