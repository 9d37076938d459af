"""What every study hands over: findings, tables, plots and the facts behind them, written as JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import json
import platform
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..evaluation.scoring import jsonable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plot", "Study", "StudyTable", "versions"]

# Reported where they are loaded: what was not used says nothing about a figure.
_PACKAGES = ("numpy", "scipy", "matplotlib", "torch", "transformers", "datasets", "peft", "scikit-learn")


def versions() -> dict[str, str]:
    """Versions of Python, of this package and of the packages that are loaded.

    Example:
        >>> list(versions())[:2]
        ['python', 'hf-emo-dist']
    """
    from .. import __version__

    found = {"python": platform.python_version(), "hf-emo-dist": __version__}
    for package in _PACKAGES:
        if {"scikit-learn": "sklearn"}.get(package, package) in sys.modules:
            try:
                found[package] = version(package)
            except PackageNotFoundError:
                continue
    return found


@dataclass(frozen=True)
class StudyTable:
    """A table of text.

    Attributes:
        title: What it shows.
        columns: Headings.
        rows: Cells, as many a row as there are headings.
        note: How to read it.
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def to_markdown(self) -> str:
        """The table in Markdown.

        Example:
            >>> print(StudyTable("t", ["a", "b"], [["1", "x|y"]]).to_markdown())
            **t**
            <BLANKLINE>
            | a | b |
            |---|---|
            | 1 | x\\|y |
        """
        lines = [f"**{self.title}**", "", _line(self.columns), "|" + "---|" * len(self.columns)]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines + (["", self.note] if self.note else []))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in cells) + " |"


@dataclass(frozen=True)
class Plot:
    """A figure, the stem of its files, and what one sees in it."""

    name: str
    figure: Figure
    caption: str


@dataclass
class Study:
    """The outcome of a study.

    Attributes:
        kind: Stem of the files, such as ``saturation``.
        title: Heading.
        notes: What a reader must know before the figures, such as ``simulated data``.
        findings: Sentences.
        facts: Data, split, protocol, seeds; `versions` are added.
        tables: Tables.
        plots: Plots.
        results: Every number, for JSON.
    """

    kind: str
    title: str
    facts: dict[str, str]
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    tables: list[StudyTable] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)

    def all_facts(self) -> dict[str, str]:
        """The facts, with the versions."""
        return {**self.facts, "versions": ", ".join(f"{name} {number}" for name, number in versions().items())}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON (NaN becomes null)."""
        about = {"study": self.kind, "title": self.title, "notes": self.notes, "findings": self.findings}
        return dict(jsonable({**about, "facts": self.all_facts(), "results": self.results}))

    def to_markdown(self) -> str:
        """Notes, findings, tables and facts, in Markdown."""
        parts = [f"# {self.title}"]
        parts += [f"**{'; '.join(self.notes)}**"] if self.notes else []
        parts += ["\n".join(f"- {finding}" for finding in self.findings)] if self.findings else []
        parts += [table.to_markdown() for table in self.tables]
        parts += [f"![{plot.caption}]({plot.name}.png)\n\n{plot.caption}" for plot in self.plots]
        parts.append("\n".join(f"- {name}: {value}" for name, value in self.all_facts().items()))
        return "\n\n".join(parts) + "\n"

    def save(self, folder: str | Path) -> Path:
        """Write `<kind>.json`, `<kind>.md`, `<kind>.html`, and each plot as PNG and PDF; the folder is made if needed.

        Returns:
            The path of the HTML page, which needs no other file.
        """
        from .study_html import study_page

        target = Path(folder)
        target.mkdir(parents=True, exist_ok=True)
        for plot in self.plots:
            plot.figure.savefig(target / f"{plot.name}.png", format="png", dpi=150)
            # without a date, so that the same figures give the same file
            plot.figure.savefig(target / f"{plot.name}.pdf", format="pdf", metadata={"CreationDate": None})
        (target / f"{self.kind}.md").write_text(self.to_markdown(), encoding="utf-8")
        (target / f"{self.kind}.json").write_text(
            json.dumps(self.to_dict(), indent=2, allow_nan=False) + "\n", encoding="utf-8"
        )
        page = target / f"{self.kind}.html"
        page.write_text(study_page(self), encoding="utf-8")
        return page
