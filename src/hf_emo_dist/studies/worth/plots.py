"""The plots of the study of worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ..study import COLOURS, interval_plot, legend_below, panels, polished, slanted
from .targets import FIGURES, METHODS

# Heat maps side by side at most.
_ACROSS = 3


def targets_plot(targets: Mapping[str, Any], notes: Sequence[str]) -> Any:
    """Each figure by number of human votes, a series a method."""
    figure, axes = panels(1, list(FIGURES), notes, "Targets, scored on human votes that were held out", (4.4, 3.3))
    for axis, (key, title) in zip(axes[0], FIGURES.items(), strict=True):
        series = {told: [found[name][key] for found in targets.values()] for name, told in METHODS.items()}
        interval_plot(axis, series, list(targets), title)
        axis.set_xlabel("human votes a row")
        axis.set_ylim(bottom=0)
    legend_below(figure, axes[0][0])
    return polished(figure)


def answers_plot(annotators: Mapping[str, Any], notes: Sequence[str]) -> Any:
    """Worth in human votes by number of answers, a line an annotator."""
    figure, axes = panels(1, ["answers"], notes, "What answers are worth", (5.6, 3.3))
    axis = axes[0][0]
    for place, (name, found) in enumerate(annotators.items()):
        best = found["recommended"]
        if best is None:
            continue
        colour = COLOURS[place % len(COLOURS)]
        axis.plot(np.arange(1, len(best["worth"]) + 1), best["worth"], color=colour, label=name)
        counts = [float(count) for count in found["worth"]]
        values = np.array([[each["value"], each["low"], each["high"]] for each in found["worth"].values()])
        spread = np.abs(np.nan_to_num(np.stack([values[:, 0] - values[:, 1], values[:, 2] - values[:, 0]])))
        axis.errorbar(counts, values[:, 0], spread, fmt="o", color=colour, markersize=4, linewidth=1)
        if best["number"]:
            axis.axvline(best["number"], color=colour, linestyle=":", linewidth=1)
            axis.axvspan(best["low"], best["high"], color=colour, alpha=0.08, linewidth=0)
    axis.set_xlabel("answers a row")
    axis.set_ylabel("worth in human votes")
    axis.set_ylim(bottom=0)
    legend_below(figure, axis)
    return polished(figure)


def confusion_plot(annotators: Mapping[str, Any], notes: Sequence[str]) -> Any:
    """What listeners hear by what each annotator answers, a heat map each."""
    names = list(annotators)
    across = min(len(names), _ACROSS)
    rows = -(-len(names) // across)
    figure, axes = panels(rows, [""] * across, notes, "What listeners hear where an annotator answers", (3.6, 3.3))
    for place, axis in enumerate([axis for row in axes for axis in row]):
        if place >= len(names):
            axis.set_axis_off()
            continue
        found = annotators[names[place]]
        labels = list(found["heard_as"])
        table = np.array([[row[label] for label in labels] for row in found["heard_as"].values()])
        axis.imshow(table, cmap="Blues", vmin=0, vmax=1)
        if len(labels) <= 10:
            for (row, column), value in np.ndenumerate(table):
                if value >= 0.05:
                    colour = "white" if value > 0.55 else "black"
                    axis.text(column, row, f"{100 * value:.0f}", ha="center", va="center", fontsize=6, color=colour)
        axis.set_xticks(range(len(labels)), labels)
        axis.set_yticks(range(len(labels)), labels)
        slanted(axis)
        axis.set(xlabel="heard, %", ylabel="answered", title=_title(names[place], found))
    return polished(figure)


def seen_worth(found: Mapping[str, Any]) -> tuple[str, dict[str, float]]:
    """The largest number of answers that rows usually have and whose worth is known, and that worth."""
    counts = [count for count in found["worth"] if float(count) <= found["usual"]]
    count = counts[-1] if counts else next(iter(found["worth"]))
    return count, found["worth"][count]


def _title(name: str, found: Mapping[str, Any]) -> str:
    number, value = seen_worth(found)
    told = f"{number} answer{'s' * (number != '1')}: {value['value']:.2f} human votes"
    return f"{name}\n{told}" + (", so that little was learnt" if value["value"] < 0.05 else "")
