"""What a plan does to a data set, before any audio is mixed: class mass before and after, also as a plot."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..data.figures import literal_text, write_figure
from ..distributions import FloatArray
from ..markdown import as_prose, as_text

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers
BEFORE, ADDED, WANTED = "#0072B2", "#E69F00", "#333333"


@dataclass
class PlanReport:
    """What a plan changes."""

    emotions: list[str]  # the order of all lists
    rows_before: int
    rows_added: int
    mass_before: list[float]  # expected class mass: the sum of the distributions, in utterances
    mass_after: list[float]
    counts_before: list[int]  # rows by dominant emotion
    counts_after: list[int]
    balance: list[float]  # what was aimed at, shares
    sources: int  # utterances that at least one planned row is mixed from
    uses_mean: float  # planned rows that a source stands in, each source weighed by its use
    uses_most: int
    unmet: dict[str, str] = field(default_factory=dict)  # emotion to the reason why its target was not reached
    left_out: dict[str, list[str]] = field(default_factory=dict)  # reason to the ids of rows that are not mixed
    warnings: list[str] = field(default_factory=list)
    index: str = "exact"
    recall: float | None = None  # share of the exact neighbours that the index found on a sample; None: all
    settings: dict[str, Any] = field(default_factory=dict)  # of DiMEAug

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self)

    def to_markdown(self) -> str:
        """The table of class mass, and everything a reader must know, in Markdown."""
        before, after = np.array(self.mass_before), np.array(self.mass_after)
        lines = [
            f"{self.rows_before} utterances, {self.rows_added} mixed rows from {self.sources} of them.",
            "",
            "| emotion | mass before | after | share before | after | wanted "
            "| rows by dominant emotion before | after |",
            "|---|---|---|---|---|---|---|---|",
        ]
        shares = before / max(before.sum(), 1e-12), after / max(after.sum(), 1e-12)
        for k, name in enumerate(self.emotions):
            lines.append(
                f"| {as_text(name)} | {before[k]:.1f} | {after[k]:.1f} | {shares[0][k]:.3f} | {shares[1][k]:.3f} "
                f"| {self.balance[k]:.3f} | {self.counts_before[k]} | {self.counts_after[k]} |"
            )
        if self.rows_added:
            lines += [
                "",
                f"A source stands in {self.uses_mean:.1f} planned rows on average, in {self.uses_most} at most.",
            ]
        if self.recall is not None:
            lines.append(f"Neighbours by {self.index}: {100 * self.recall:.1f} % of the exact ones on a sample.")
        lines += [f"Not reached: {as_text(name)}: {as_prose(reason)}." for name, reason in self.unmet.items()]
        for reason, ids in self.left_out.items():
            named = as_prose(", ".join(ids[:5]))
            lines.append(f"Left out, {as_prose(reason)}: {len(ids)} ({named}{', ...' if len(ids) > 5 else ''}).")
        lines += [f"Warning: {as_prose(text)}" for text in self.warnings]
        return "\n".join(lines) + "\n"

    def __str__(self) -> str:
        return self.to_markdown()


def redundancy_warnings(report: PlanReport, balance: FloatArray | None) -> list[str]:
    """Where a plan is redundant: it hardly changes the class mass, or repeats a few utterances."""
    # `balance` (K,) is what was asked for; None where rows by class were, and any change of the mass is meant
    if not report.rows_added:
        return []
    found: list[str] = []
    before, after = np.array(report.mass_before), np.array(report.mass_after)

    def distance(mass: FloatArray, wanted: FloatArray) -> float:
        return 0.5 * float(np.abs(mass / mass.sum() - wanted / wanted.sum()).sum())

    if balance is None:
        gain, told = distance(after, before), ""
    else:
        far = distance(before, balance), distance(after, balance)
        gain, told = far[0] - far[1], f" (distance to the wanted one {far[0]:.3f} before, {far[1]:.3f} after)"
    # a row can at most move its own share of the mass
    if gain < 0.1 * report.rows_added / (report.rows_before + report.rows_added):
        found.append(
            f"{report.rows_added} mixed rows hardly change the balance of the classes{told}: they are redundant, and "
            "may cost accuracy. Mend: lower target_ratio, or do not augment this data."
        )
    if report.uses_mean > 20:
        found.append(
            f"the mixed rows repeat few utterances: {report.sources} sources, each in {report.uses_mean:.0f} of them "
            "on average. Mend: lower target_ratio or max_repeats, or record more utterances of the rare emotions."
        )
    return found


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
    literal_text(figure)  # before it is measured
    figure.tight_layout(rect=(0, 0, 1, 1.0 - 0.02 * len(lines)))
    if path is not None:
        write_figure(figure, path, format="png")
    return figure
