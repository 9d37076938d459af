"""`hf-emo-dist report STUDY …`: the studies as commands; each writes JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import sys
from collections.abc import Mapping

from .. import studies
from .arguments import Options, Values
from .option import summary_of


def kinds() -> Mapping[str, str]:
    """The studies; `module:function` of the user's own is one, too."""
    return {name: summary for name, (_, summary) in studies.STUDIES.items()}


def options(study: str) -> Options:
    """Where to write, and those of the study's function."""
    function = studies.study_of(study)
    return Options(_place, function, about=summary_of(function))


def run(study: str, values: Values) -> None:
    """Run a study, write its report and print its findings."""
    found = values.call(studies.study_of(study))
    page = found.save(values["output"])
    sys.stdout.write("\n".join([found.title, *found.notes, *(f"- {line}" for line in found.findings)]) + "\n")
    plots = " and the plots as PNG and PDF" if found.plots else ""
    sys.stdout.write(f"written: {page}, and beside it {found.kind}.json, {found.kind}.md{plots}\n")


def _place(*, output: str) -> None:
    """Say where.

    Args:
        output: Folder for the report; made if needed.
    """
