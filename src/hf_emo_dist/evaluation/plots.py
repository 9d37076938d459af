"""Plots of predicted distributions against what listeners said, by matplotlib's object interface: no pyplot state."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from ..data.figures import literal_text, write_figure
from ..emotions import validate_emotions

if TYPE_CHECKING:
    from matplotlib.figure import Figure

# Okabe and Ito's colours, told apart by colour-blind readers
BLUE, ORANGE, GREY = "#0072B2", "#D55E00", "#8A8A8A"
GROUP_PLOT = "by_group.png"
# Bins of predicted probability
BINS = 10


def write_plots(
    predictions: ArrayLike,
    targets: ArrayLike,
    emotions: Sequence[str],
    folder: Path,
    split: str | None,
    notes: Sequence[str],
) -> None:
    """Write both plots, under the names by which cards and commands know them."""
    for name, plot in (
        ("reliability", reliability_plot),
        ("predicted_against_target", predicted_against_target_plot),
    ):
        plot(predictions, targets, emotions, folder / f"{name}.png", split=split, notes=notes)


def polished(figure: Figure, title_size: float = 9) -> Figure:
    """The figure with text that fits small panels; last of all, since titles and labels bring their own sizes."""
    for axis in figure.axes:
        axis.spines[["top", "right"]].set_visible(False)
        axis.tick_params(labelsize=8)
        axis.title.set_fontsize(title_size)
        axis.xaxis.label.set_fontsize(8)
        axis.yaxis.label.set_fontsize(8)
    return literal_text(figure)


def reliability_curve(p: np.ndarray, q: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Mean prediction, mean human share (NaN where empty) and count by bins of predicted probability."""
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    count = np.bincount(bins, minlength=BINS)
    with np.errstate(invalid="ignore"):
        mean = np.bincount(bins, weights=p, minlength=BINS) / count
        share = np.bincount(bins, weights=q, minlength=BINS) / count
    return mean, share, count


def reliability_plot(
    predictions: ArrayLike,
    targets: ArrayLike,
    emotions: Sequence[str],
    path: str | Path | None = None,
    *,
    split: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Reliability diagram for soft labels: human share by predicted probability, pooled and by emotion, with counts.

    Where a prediction says 0.3, three tenths of the votes should be for that emotion.

    Args:
        predictions: (N, K) distributions.
        targets: (N, K) human distributions.
        emotions: K labels.
        path: Where to write the PNG; `None` writes nothing.
        split: Name of the split, for the title.
        notes: Shown under the title, such as `simulated data`.

    Returns:
        The figure.

    Raises:
        ValueError: The arrays do not have shape (N, K).

    Example:
        >>> reliability_plot([[0.2, 0.8]], [[0.0, 1.0]], ["angry", "sad"], notes=["simulated data"]).get_suptitle()
        'Reliability of predicted shares, 1 utterance\\nsimulated data'
    """
    p, q, names = _checked(predictions, targets, emotions)
    figure, cells = _grid(len(names) + 1, "Reliability of predicted shares", len(p), split, notes)
    panels = [("all emotions", p.ravel(), q.ravel(), ORANGE)]
    panels += [(name, p[:, i], q[:, i], BLUE) for i, name in enumerate(names)]
    width = 1.0 / BINS
    for cell, (name, predicted, shares, colour) in zip(cells, panels, strict=False):
        parts = cell.subgridspec(2, 1, height_ratios=(3.2, 1), hspace=0.08)
        axis, below = figure.add_subplot(parts[0]), figure.add_subplot(parts[1])
        mean, share, count = reliability_curve(predicted, shares)
        filled = count > 0
        axis.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axis.plot(mean[filled], share[filled], "-o", color=colour, markersize=4.5, linewidth=1.5, clip_on=False)
        axis.set(xlim=(0, 1), ylim=(0, 1), title=name, xticks=[])
        axis.set_ylabel("human share")
        below.bar((np.arange(BINS) + 0.5) * width, count, width=0.85 * width, color=colour, alpha=0.55)
        below.set_yscale("symlog", linthresh=1)
        below.set(xlim=(0, 1), ylim=(0, max(2.0, 1.6 * count.max())))
        below.set_xlabel("predicted probability")
        below.set_ylabel("count")
        ticks = [1, 10 ** max(1, int(np.log10(max(count.max(), 10))))]
        below.set_yticks(ticks, [str(tick) for tick in ticks])
        below.minorticks_off()
    return _saved(figure, path)


def predicted_against_target_plot(
    predictions: ArrayLike,
    targets: ArrayLike,
    emotions: Sequence[str],
    path: str | Path | None = None,
    *,
    split: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """Predicted probability against human share, a panel an emotion, and the mean of both by emotion as bars.

    Human shares of a few votes take few values, so points are moved sideways by up to 0.012, always the same way, to
    show how many there are. Arguments and errors as for :func:`reliability_plot`.

    Example:
        >>> len(predicted_against_target_plot([[0.2, 0.8]], [[0.0, 1.0]], ["angry", "sad"]).axes)
        3
    """
    p, q, names = _checked(predictions, targets, emotions)
    figure, cells = _grid(len(names) + 1, "Predicted against human shares", len(p), split, notes)
    rng = np.random.default_rng(0)
    alpha = float(np.clip(60 / len(p), 0.15, 0.7))
    for i, name in enumerate(names):
        axis = figure.add_subplot(cells[i])
        moved = q[:, i] + rng.uniform(-0.012, 0.012, size=len(q))
        axis.plot([0, 1], [0, 1], "--", color=GREY, linewidth=1)
        axis.scatter(moved, p[:, i], s=14, color=BLUE, alpha=alpha, linewidths=0)
        varies = len(p) > 2 and q[:, i].std() > 0 and p[:, i].std() > 0
        correlation = f" (r = {np.corrcoef(q[:, i], p[:, i])[0, 1]:.2f})" if varies else ""
        axis.set(xlim=(-0.03, 1.03), ylim=(-0.03, 1.03), title=f"{name}{correlation}")
        axis.set_xlabel("human share")
        axis.set_ylabel("predicted")
    axis = figure.add_subplot(cells[len(names)])
    places = np.arange(len(names))
    axis.bar(places - 0.2, q.mean(axis=0), width=0.38, color=ORANGE, label="human")
    axis.bar(places + 0.2, p.mean(axis=0), width=0.38, color=BLUE, label="predicted", hatch="///", edgecolor="white")
    axis.set_xticks(places, names, rotation=40, ha="right")
    top = max(float(q.mean(axis=0).max()), float(p.mean(axis=0).max()))
    axis.set(title="means", ylabel="mean share", ylim=(0, 1.3 * top))
    axis.legend(frameon=False, fontsize=8, ncols=2, loc="upper center")
    return _saved(figure, path)


def group_plot(
    by: Mapping[str, Any],
    path: str | Path | None = None,
    *,
    split: str | None = None,
    notes: Sequence[str] = (),
) -> Figure:
    """JS divergence by group with intervals over speakers, a panel a column, beside the mean predictor's.

    A group that is too small to be compared is an empty mark without an interval.

    Args:
        by: What `scores_by_group` gave.
        path: Where to write the PNG; `None` writes nothing.
        split: Name of the split, for the title.
        notes: Shown under the title, such as `simulated data`.

    Returns:
        The figure.
    """
    count = sum(group["num_examples"] for group in next(iter(by.values()))["groups"].values())
    figure, cells = _grid(len(by), "JS divergence by group", count, split, notes)
    for cell, (column, found) in zip(cells, by.items(), strict=True):
        axis = figure.add_subplot(cell)
        groups = found["groups"]
        for place, group in enumerate(groups.values()):
            score = group["scores"]["js_divergence"]
            whole = group["too_small"] is None
            spread = [[score["value"] - score["low"]], [score["high"] - score["value"]]]
            axis.errorbar(
                [place],
                [score["value"]],
                np.nan_to_num(np.abs(spread)),
                fmt="o",
                color=BLUE,
                markersize=5,
                linewidth=1.4,
                markerfacecolor=BLUE if whole else "white",
            )
            if group["mean_predictor"] is not None:
                axis.plot([place - 0.25, place + 0.25], [group["mean_predictor"]] * 2, color=GREY, linewidth=1.4)
        names = [f"{name}\n(n = {group['num_examples']})" for name, group in groups.items()]
        axis.set_xticks(np.arange(len(names)), names)
        if len(names) > 4:
            for label in axis.get_xticklabels():
                label.set(rotation=35, ha="right", rotation_mode="anchor")
        axis.set(title=column, xlim=(-0.6, len(names) - 0.4))
        axis.set_ylim(0, min(1.0, 1.15 * axis.get_ylim()[1]))
        axis.set_ylabel("JS divergence (grey: mean predictor)")
    return _saved(figure, path)


def _checked(
    predictions: ArrayLike, targets: ArrayLike, emotions: Sequence[str]
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    names = validate_emotions(emotions)
    p, q = np.asarray(predictions, dtype=np.float64), np.asarray(targets, dtype=np.float64)
    if p.ndim != 2 or p.shape != q.shape or p.shape[1] != len(names) or len(p) == 0:
        raise ValueError(f"shapes {p.shape} and {q.shape} do not fit. Mend: (N, {len(names)}) for both.")
    if not (np.isfinite(p).all() and np.isfinite(q).all()):
        raise ValueError("predictions and targets must be finite. Mend: leave rows with NaN out.")
    return p, q, names


def _grid(panels: int, title: str, count: int, split: str | None, notes: Sequence[str]) -> tuple[Figure, list[Any]]:
    """An empty figure with its title, and one grid cell a panel, row by row."""
    from matplotlib.figure import Figure

    columns = panels if panels <= 3 else -(-panels // 2) if panels <= 8 else 4
    rows = -(-panels // columns)
    size = (3.2 * columns + 0.4, 3.3 * rows + 1.0)
    figure = Figure(figsize=size, dpi=110)
    utterances = f"{count} utterance{'' if count == 1 else 's'}"
    # a split's name, or words such as "4-fold cross-validation"
    where = "" if not split else f", {split}" if " " in split else f", split {split!r}"
    lines = [f"{title}, {utterances}{where}"]
    if notes:
        lines += textwrap.wrap("; ".join(notes), width=int(13 * size[0]))
    figure.suptitle("\n".join(lines), fontsize=11, y=1 - 0.12 / size[1])
    top = 1 - (0.55 + 0.2 * len(lines)) / size[1]
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.65 / size[0],
        right=1 - 0.15 / size[0],
        bottom=0.75 / size[1],
        top=top,
        wspace=0.32,
        hspace=0.48,
    )
    return figure, [grid[i // columns, i % columns] for i in range(panels)]


def _saved(figure: Figure, path: str | Path | None) -> Figure:
    polished(figure, title_size=10)
    if path is not None:
        write_figure(figure, path, format="png")
    return figure
