"""`hf-emo-dist report STUDY …`: the studies as commands; each writes JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Mapping

from ..studies import STUDIES, study_of
from .arguments import Options, Values

__all__ = ["kinds", "options", "run"]


def kinds() -> Mapping[str, str]:
    """The studies; `module:function` of the user's own is one, too."""
    return {name: summary for name, (_, summary) in STUDIES.items()}


def options(study: str) -> Options:
    """Those of the study's function, and where to write."""
    return Options(study_of(study), _place, without=() if study in STUDIES else (), about=_about(study))


def run(study: str, values: Values) -> None:
    """Run a study, write its report and print its findings."""
    function = study_of(study)
    takes_output = "output" in inspect.signature(function).parameters
    found = values.call(function, **({"output": values["output"]} if takes_output else {}))
    page = found.save(values["output"])
    sys.stdout.write("\n".join([found.title, *found.notes, *(f"- {line}" for line in found.findings)]) + "\n")
    sys.stdout.write(
        f"written: {page}, and beside it {found.kind}.json, {found.kind}.md and the plots as PNG and PDF\n"
    )


def _about(study: str) -> str | None:
    return STUDIES[study][1].capitalize() + "." if study in STUDIES else None


def _place(*, output: str) -> None:
    """Say where.

    Args:
        output: Folder for the report; made if needed.
    """
