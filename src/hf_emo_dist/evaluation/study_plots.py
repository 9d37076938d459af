"""The frame of the studies' figures: panels in rows and columns, and intervals side by side."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from .plots import BLUE, GREY, ORANGE

if TYPE_CHECKING:
    from matplotlib.figure import Figure

__all__ = ["COLOURS", "interval_plot", "legend_below", "panels", "polished", "slanted"]

# Okabe and Ito's colours in an order in which neighbours differ in lightness too
COLOURS = (BLUE, ORANGE, "#009E73", "#CC79A7", "#56B4E9", "#E69F00", "#000000", GREY)


def panels(
    rows: int, columns: Sequence[str], notes: Sequence[str], title: str, size: tuple[float, float] = (3.4, 2.7)
) -> tuple[Figure, list[list[Any]]]:
    """An empty figure with a title and the notes under it, and its axes by row and column."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    width = max(size[0] * len(columns) + 0.4, 5.0)
    lines = [title, *textwrap.wrap("; ".join(notes), width=int(12 * width))]
    height = size[1] * rows + 0.45 + 0.22 * len(lines)
    figure = Figure(figsize=(width, height), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle("\n".join(lines), fontsize=10)
    axes = figure.subplots(rows, len(columns), squeeze=False)
    return figure, [list(row) for row in axes]


def polished(figure: Figure) -> Figure:
    """The figure with sizes of text that fit small panels; after everything is drawn, since titles and labels bring their own."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(9)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
    return figure


def interval_plot(
    axis: Any, series: Mapping[str, Sequence[dict[str, float]]], groups: Sequence[str], ylabel: str, zero: bool = False
) -> None:
    """Draw estimates with intervals: one colour and mark a series, side by side in each group."""
    marks = "osD^vPX*"
    width = 0.7 / max(len(series), 1)
    for place, (name, estimates) in enumerate(series.items()):
        x = np.arange(len(groups)) + (place - (len(series) - 1) / 2) * width
        values = np.array([[e["value"], e["low"], e["high"]] for e in estimates], dtype=np.float64)
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
