"""The plot of class mass before and after."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..data.output import output_file
from .plan_report import PlanReport

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers
BEFORE, ADDED, WANTED = "#0072B2", "#E69F00", "#333333"


def class_mass_plot(report: PlanReport, path: str | Path | None = None, *, notes: Sequence[str] = ()) -> Figure:
    """Expected class mass and rows by dominant emotion, before and added, with the wanted shares; a PNG at `path`.

    >>> report = PlanReport(["angry", "sad"], 4, 1, [3.0, 1.0], [3.0, 2.0], [3, 1], [3, 2], [0.5, 0.5], 2, 1.0, 1)
    >>> class_mass_plot(report).get_suptitle().splitlines()[0]
    'Class mass: 4 utterances and 1 mixed row'
    """
    # by the object interface: a library leaves the state of pyplot alone
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    names = report.emotions
    width = max(7.5, 1.1 * len(names) + 4)
    figure = Figure(figsize=(width, 4.0), dpi=110)
    FigureCanvasAgg(figure)
    rows = f"{report.rows_added} mixed row{'' if report.rows_added == 1 else 's'}"
    lines = [f"Class mass: {report.rows_before} utterances and {rows}"]
    if notes:
        lines += textwrap.wrap("; ".join(notes), width=int(12 * width))
    figure.suptitle("\n".join(lines), fontsize=11, y=0.985)
    places = np.arange(len(names))
    panels = (
        ("sum of the distributions", np.array(report.mass_before), np.array(report.mass_after)),
        ("rows by dominant emotion", np.array(report.counts_before, float), np.array(report.counts_after, float)),
    )
    axes = figure.subplots(1, 2)
    wanted = np.array(report.balance) * sum(report.mass_after)
    for axis, (title, before, after) in zip(axes, panels, strict=True):
        axis.bar(places, before, width=0.62, color=BEFORE, label="before")
        axis.bar(
            places,
            after - before,
            bottom=before,
            width=0.62,
            color=ADDED,
            hatch="///",
            edgecolor="white",
            label="mixed rows",
        )
        top = float(max(after.max(), 1.0))
        for place, (low, high) in enumerate(zip(before, after, strict=True)):
            text = f"{low:.0f}" if round(high) == round(low) else f"{low:.0f} → {high:.0f}"
            # above the wanted balance where that runs just over the bar
            line = wanted[place] if axis is axes[0] and 0 <= wanted[place] - high < 0.1 * top else high
            axis.text(place, line + 0.015 * top, text, ha="center", va="bottom", fontsize=8)
        axis.set_xticks(places, names, rotation=30 if len(names) > 4 else 0, ha="right" if len(names) > 4 else "center")
        axis.set_title(title, fontsize=10)
        axis.tick_params(labelsize=8)
        axis.spines[["top", "right"]].set_visible(False)
    axes[0].hlines(
        wanted, places - 0.4, places + 0.4, color=WANTED, linewidth=1.4, linestyle="--", label="wanted balance"
    )
    axes[0].set_ylim(0, 1.3 * max(*report.mass_after, *wanted, 1.0))
    axes[1].set_ylim(0, 1.3 * max(*report.counts_after, 1.0))
    axes[0].set_ylabel("utterances", fontsize=8)
    axes[0].legend(frameon=False, fontsize=8, ncols=3, loc="upper center", columnspacing=1.0, handlelength=1.5)
    axes[1].legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    figure.tight_layout(rect=(0, 0, 1, 1.0 - 0.02 * len(lines)))
    if path is not None:
        with output_file(path) as part:
            figure.savefig(part, format="png")
    return figure
