"""What every study hands over: findings, tables, plots and facts, as JSON, Markdown, PNG, PDF and one HTML page."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import sys
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.figures import png_of, write_figure
from ..data.output import output_files, write_json, write_text
from ..evaluation.plots import BLUE, GREY, ORANGE, polished
from ..evaluation.scoring import jsonable
from ..markdown import as_prose, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["Plot", "Study", "StudyTable", "interval_plot", "legend_below", "panels", "polished", "slanted"]

# Reported where they are loaded: what was not used says nothing about a figure.
_PACKAGES = ("numpy", "scipy", "matplotlib", "torch", "transformers", "datasets", "peft", "scikit-learn")
# Okabe and Ito's colours in an order in which neighbours differ in lightness too
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", GREY)


@dataclass(frozen=True)
class StudyTable:
    """A table of text; its note says how to read it.

    Example:
        >>> print(StudyTable("t", ["a", "b"], [["1", "x|y"]]).to_markdown())
        **t**
        <BLANKLINE>
        | a | b |
        |---|---|
        | 1 | x\\|y |
    """

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    note: str = ""

    def to_markdown(self) -> str:
        """The table in Markdown."""
        lines = [f"**{as_prose(self.title)}**", "", _line(self.columns), "|" + "---|" * len(self.columns)]
        lines += [_line(row) for row in self.rows]
        return "\n".join(lines + (["", as_prose(self.note)] if self.note else []))


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(as_prose(cell).replace("|", "\\|") for cell in cells) + " |"


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
        facts: Data, split, protocol, seeds; versions are added.
        notes: What a reader must know before the figures, such as ``simulated data``.
        findings: Sentences.
        tables: Tables.
        plots: Plots.
        results: Every number, for JSON.
        sections: HTML of the page's own, after the tables; whoever makes it escapes what it shows.
        style: CSS for these, after the pages' own.
        script: JavaScript for these; the page lets no other run.
        private: Whether the page is for its owner alone, because it holds recordings or replies.
    """

    kind: str
    title: str
    facts: dict[str, str]
    notes: list[str] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    tables: list[StudyTable] = field(default_factory=list)
    plots: list[Plot] = field(default_factory=list)
    results: dict[str, Any] = field(default_factory=dict)
    sections: list[str] = field(default_factory=list)
    style: str = ""
    script: str = ""
    private: bool = False

    def all_facts(self) -> dict[str, str]:
        """The facts, with the versions of Python, of this package and of the packages that are loaded."""
        from .. import __version__

        found = [f"python {platform.python_version()}", f"hf-emo-dist {__version__}"]
        for package in _PACKAGES:
            if module := sys.modules.get({"scikit-learn": "sklearn"}.get(package, package)):
                found.append(f"{package} {getattr(module, '__version__', 'unknown')}")
        return {**self.facts, "versions": ", ".join(found)}

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON (NaN becomes null)."""
        about = {"study": self.kind, "title": self.title, "notes": self.notes, "findings": self.findings}
        return dict(jsonable({**about, "facts": self.all_facts(), "results": self.results}))

    def to_markdown(self) -> str:
        """Notes, findings, tables and facts, in Markdown."""
        parts = [f"# {as_prose(self.title)}"]
        parts += [f"**{as_prose('; '.join(self.notes))}**"] if self.notes else []
        parts += ["\n".join(f"- {as_prose(finding)}" for finding in self.findings)] if self.findings else []
        parts += [table.to_markdown() for table in self.tables]
        parts += [f"![{as_text(plot.caption)}]({plot.name}.png)\n\n{as_prose(plot.caption)}" for plot in self.plots]
        parts.append("\n".join(f"- {as_prose(name)}: {as_prose(value)}" for name, value in self.all_facts().items()))
        return "\n\n".join(parts) + "\n"

    def save(self, folder: str | Path, overwrite: bool = True) -> Path:
        """Write `<kind>.json`, `<kind>.md`, `<kind>.html`, and each plot as PNG and PDF; the folder is made if needed.

        They come as one set: where the page is, the other files are its own.

        Args:
            folder: Where they are written.
            overwrite: Whether files that are there may be replaced.

        Returns:
            The path of the HTML page, which needs no other file.

        Raises:
            FileExistsError: One is there, and `overwrite` is false.
            BlockingIOError: Another run is writing them.
        """
        page = Path(folder).expanduser() / f"{self.kind}.html"
        with output_files(page, overwrite, private=self.private) as part:
            for plot in self.plots:
                # without a date, so that the same figures give the same file
                for kind, options in (("png", {"dpi": 150}), ("pdf", {"metadata": {"CreationDate": None}})):
                    write_figure(plot.figure, part / f"{plot.name}.{kind}", format=kind, **options)
            write_text(part / f"{self.kind}.md", self.to_markdown())
            write_json(part / f"{self.kind}.json", self.to_dict())
            write_text(part / page.name, study_page(self))
        return page


# --- the page: one file without anything fetched, that prints well; no script but the study's own

_STYLE = """
:root { color-scheme: light; --ink: #1b1f24; --soft: #59636e; --line: #d1d9e0; --mark: #0072b2; }
body { font: 16px/1.5 system-ui, sans-serif; color: var(--ink); background: #fff; margin: 0 auto; max-width: 68rem;
  padding: 1.5rem 1.2rem 4rem; }
h1 { font-size: 1.6rem; line-height: 1.25; margin: 0 0 .8rem; }
h2 { font-size: 1.15rem; margin: 2.2rem 0 .6rem; }
.warning { border-left: .3rem solid #d55e00; background: #fdf3ec; padding: .6rem .9rem; font-weight: 600; }
.findings { border-left: .3rem solid var(--mark); background: #eef5fa; padding: .4rem .9rem .4rem 2rem;
  margin: 1rem 0; }
.findings li { margin: .3rem 0; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .85rem; font-variant-numeric: tabular-nums; }
th, td { padding: .32rem .55rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
td.prose { min-width: 14rem; }
th { border-bottom: 2px solid var(--ink); }
caption { caption-side: top; text-align: left; font-weight: 600; padding: .4rem 0; }
.note, figcaption { color: var(--soft); font-size: .88rem; max-width: 55rem; }
@media print { body { max-width: none; padding: 0; } .scroll { overflow: visible; } table { font-size: .7rem; } }
figure { margin: 1.4rem 0; }
img { max-width: 100%; height: auto; }
dl { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; font-size: .9rem; }
dt { color: var(--soft); }
dd { margin: 0; overflow-wrap: anywhere; }
"""


def study_page(study: Study) -> str:
    """The page as text; names from data sets are escaped."""
    title = escape(study.title)
    parts = [f"<h1>{title}</h1>"]
    if study.notes:
        parts.append(f'<p class="warning">{escape("; ".join(study.notes))}</p>')
    if study.findings:
        items = "".join(f"<li>{escape(finding)}</li>" for finding in study.findings)
        parts.append(f'<ul class="findings">{items}</ul>')
    parts += [_figure(plot) for plot in study.plots]
    parts += [_table(table) for table in study.tables]
    parts += study.sections
    facts = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in study.all_facts().items())
    parts.append(f"<h2>Data, split, protocol</h2><dl>{facts}</dl>")
    if study.script:
        parts.append(f"<script>{study.script}</script>")
    style = _STYLE + study.style
    # nothing from elsewhere may be loaded or run, whatever the data holds
    policy = f"default-src 'none'; img-src data:; media-src data:; style-src {_hash_of(style)}; "
    policy += f"script-src {_hash_of(study.script)}; base-uri 'none'; form-action 'none'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _hash_of(code: str) -> str:
    """The one style sheet or script that a Content-Security-Policy lets through."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(code.encode()).digest()).decode()}'"


def _figure(plot: Plot) -> str:
    data = base64.b64encode(png_of(plot.figure)).decode("ascii")
    caption = escape(plot.caption)
    return (
        f'<figure><img alt="{caption}" src="data:image/png;base64,{data}"><figcaption>{caption}</figcaption></figure>'
    )


# Cells longer than this are prose, which needs some width; those up to that stay on a line.
_PROSE, _SHORT = 48, 16


def _cell(value: object) -> str:
    """A table cell; where room is short, lines break before an interval and a p-value and not within."""
    whole = r".+" if len(str(value)) <= _SHORT else r"\[[^\]]*\]|\(p [^)]*\)"
    text = re.sub(whole, lambda part: part.group().replace(" ", "\u00a0"), str(value))
    return f"<td{' class=prose' if len(text) > _PROSE else ''}>{escape(text)}</td>"


def _table(table: StudyTable) -> str:
    head = "".join(f'<th scope="col">{escape(str(name))}</th>' for name in table.columns)
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    note = f'<p class="note">{escape(table.note)}</p>' if table.note else ""
    return (
        f'<div class="scroll"><table><caption>{escape(table.title)}</caption><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{note}"
    )


# --- the frame of the plots: panels in rows and columns, and intervals side by side


def panels(
    rows: int, columns: Sequence[str], notes: Sequence[str], title: str, size: tuple[float, float] = (3.4, 2.7)
) -> tuple[Figure, list[list[Any]]]:
    """An empty figure with a title and the notes under it, and its axes by row and column."""
    from matplotlib.figure import Figure

    width = max(size[0] * len(columns) + 0.4, 5.0)
    lines = [title, *textwrap.wrap("; ".join(notes), width=int(12 * width))]
    height = size[1] * rows + 0.45 + 0.22 * len(lines)
    figure = Figure(figsize=(width, height), layout="constrained")
    figure.suptitle("\n".join(lines), fontsize=10)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    return figure, [list(row) for row in axes]


def interval_plot(
    axis: Any, series: Mapping[str, Sequence[dict[str, float]]], groups: Sequence[str], ylabel: str, zero: bool = False
) -> None:
    """Draw estimates with intervals: one colour and mark a series, side by side in each group."""
    marks = "osD^vPX*"
    width = 0.7 / max(len(series), 1)
    for place, (name, estimates) in enumerate(series.items()):
        x = np.arange(len(groups)) + (place - (len(series) - 1) / 2) * width
        values = np.array([[e["value"], e["low"], e["high"]] for e in estimates], dtype=np.float64).reshape(-1, 3)
        spread = np.abs(np.nan_to_num(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]])))
        axis.errorbar(
            x,
            values[:, 0],
            spread,
            fmt=marks[place % len(marks)],
            color=COLOURS[place % len(COLOURS)],
            markersize=4.5,
            linewidth=1.2,
            label=name,
        )
    if zero:
        axis.axhline(0, color=GREY, linewidth=0.8)
    axis.set_xticks(np.arange(len(groups)), groups)
    axis.set_ylabel(ylabel)
    axis.set_xlim(-0.6, len(groups) - 0.4)


def legend_below(figure: Figure, axis: Any) -> None:
    """The legend of an axis under the panels, where it hides nothing."""
    handles, labels = axis.get_legend_handles_labels()
    columns = max(1, min(len(labels), int(12 * figure.get_figwidth() / (4 + max(map(len, labels))))))
    figure.legend(handles, labels, loc="outside lower center", ncols=columns, frameon=False, fontsize=8)


def slanted(axis: Any) -> None:
    """Turn the names under an axis, so that long ones do not run into each other."""
    for label in axis.get_xticklabels():
        label.set(rotation=35, ha="right", rotation_mode="anchor")
