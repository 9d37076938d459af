"""The tables, findings and plot of an ablation: the honest one, and the paper's protocol marked as such."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ...evaluation.scoring import Bootstrap, interval_words, p_words
from ...scores.bootstrap import paired_permutation_test
from ...scores.divergences import bhattacharyya_coefficient, jensen_shannon_distance, jensen_shannon_divergence
from ...votes import distributions_to_matrix
from ..strata import cut_strata
from ..study import GREY, StudyTable, interval_plot, legend_below, panels, polished
from ..vote_table import FloatArray


def cell_scores(
    predictions: Mapping[tuple[str, bool], list[FloatArray]],
    references: FloatArray,
    speakers: Any,
    bootstrap: Bootstrap,
) -> list[dict[str, Any]]:
    """Scores of each cell, and its differences from the first one and from the same one without augmentation.

    `predictions` are by (source, augmented), one (N, K) a seed; `speakers` (N,) are resampled and flipped as a whole.
    """
    js = {
        cell: np.stack([jensen_shannon_divergence(p, references) for p in seeds]) for cell, seeds in predictions.items()
    }
    first = next(iter(js))
    cells = []
    for cell, values in js.items():
        rows = values.mean(axis=0)
        coefficient = np.mean([bhattacharyya_coefficient(p, references) for p in predictions[cell]], axis=0)
        found: dict[str, Any] = {
            "source": cell[0],
            "augmented": cell[1],
            "js_divergence": bootstrap.interval(rows, speakers, bounds="js_divergence"),
            "bhattacharyya_coefficient": bootstrap.interval(coefficient, speakers, bounds=(0.0, 1.0)),
            "by_seed": values.mean(axis=1).tolist(),
            "seed_deviation": float(values.mean(axis=1).std(ddof=1)) if len(values) > 1 else None,
        }
        for name, other in (("minus_first", first), ("minus_plain", (cell[0], False))):
            if other != cell and other in js:
                difference = js[other].mean(axis=0)
                found[name] = {
                    **bootstrap.interval(rows - difference, speakers, bounds=(-1.0, 1.0)),
                    "p_value": paired_permutation_test(rows, difference, speakers)["p_value"],
                }
        cells.append(found)
    return cells


def _cell_name(cell: dict[str, Any]) -> str:
    return cell["source"] + (", augmented" if cell["augmented"] else "")


def honest_table(cells: list[dict[str, Any]], floor: dict[str, float] | None, name: str) -> StudyTable:
    """All cells on the same human votes; `floor` is what the true distributions would be expected to score."""

    def difference(cell: dict[str, Any], key: str) -> str:
        if key not in cell:
            return "-"
        return f"{interval_words(cell[key], '+.3f')} ({p_words(cell[key]['p_value'])})"

    rows = [
        [
            cell["source"],
            "on" if cell["augmented"] else "off",
            interval_words(cell["js_divergence"]),
            "-" if cell["seed_deviation"] is None else f"{cell['seed_deviation']:.4f}",
            interval_words(cell["bhattacharyya_coefficient"]),
            difference(cell, "minus_first"),
            difference(cell, "minus_plain"),
        ]
        for cell in cells
    ]
    least = (
        ""
        if floor is None
        else f" The true distributions would be expected to score {interval_words(floor)} against so few votes."
    )
    return StudyTable(
        "On human votes of the same test rows (base 2; JS lower, Bhattacharyya higher is better)",
        [
            "trained on",
            name,
            "JS divergence",
            "deviation over seeds",
            "Bhattacharyya",
            f"JS minus that of: {_cell_name(cells[0])}",
            "JS with minus without",
        ],
        rows,
        "Differences are of paired rows; below 0 is better." + least,
    )


def paper_table(
    predictions: Mapping[tuple[str, bool], list[FloatArray]],
    own_labels: Mapping[str, list[dict[str, float] | None]],
    emotions: Sequence[str],
) -> tuple[StudyTable, list[dict[str, Any]]]:
    """Each source against its own labels, and JS distance (base e) by thirds of the normalised entropy of these labels.

    A source without labels on the scored rows, such as synthetic votes that were asked for on training rows only, has
    no figure.
    """
    rows, found = [], []
    for (source, augmented), seeds in predictions.items():
        kept = [place for place, target in enumerate(own_labels[source]) if target is not None]
        if not kept:
            rows.append([source, "on" if augmented else "off", "-", "-", "no own labels on these rows", "0"])
            continue
        target = distributions_to_matrix([own_labels[source][place] for place in kept], emotions)
        strata = cut_strata(target, normalized=True)
        js = np.mean([jensen_shannon_divergence(p[kept], target) for p in seeds], axis=0)
        distance = np.mean([jensen_shannon_distance(p[kept], target, math.e) for p in seeds], axis=0)
        coefficient = np.mean([bhattacharyya_coefficient(p[kept], target) for p in seeds])
        by = {name: float(distance[strata.index == place].mean()) for place, name in enumerate(strata.names)}
        found.append(
            {
                "source": source,
                "augmented": augmented,
                "js_divergence": float(js.mean()),
                "bhattacharyya_coefficient": float(coefficient),
                "js_distance_nats": by,
            }
        )
        told = ", ".join(f"{name} {value:.3f}" for name, value in by.items())
        rows.append(
            [source, "on" if augmented else "off", f"{js.mean():.3f}", f"{coefficient:.3f}", told, str(len(kept))]
        )
    table = StudyTable(
        "PAPER PROTOCOL (arXiv 2601.14620): each source against its OWN labels; rows are not comparable with one "
        "another",
        ["trained on", "augmented", "JS divergence", "Bhattacharyya", "JS distance (natural log) by ambiguity", "rows"],
        rows,
        "A source whose labels are easy to predict scores well here, whether or not they are what people hear. Strata: "
        "thirds by rank of entropy over the logarithm of the labels present, of the source's own labels (the values "
        "themselves where there are few).",
    )
    return table, found


def findings(cells: list[dict[str, Any]]) -> list[str]:
    """The best cell, and what interval and sign flips, which few speakers do not bend, tell apart from the first."""
    best = min(cells, key=lambda cell: cell["js_divergence"]["value"])
    lines = [f"Lowest JS to the human votes: {_cell_name(best)}, {interval_words(best['js_divergence'])}."]
    for cell in cells[1:]:
        if "minus_first" in cell:
            change = cell["minus_first"]
            sure = change["p_value"] < 0.05
            told = "not told apart from"
            if sure and change["high"] < 0:
                told = "better than"
            elif sure and change["low"] > 0:
                told = "worse than"
            lines.append(
                f"{_cell_name(cell)} is {told} {_cell_name(cells[0])} ({interval_words(change, '+.3f')}, "
                f"{p_words(change['p_value'])})."
            )
    return lines


def ablation_plot(cells: list[dict[str, Any]], notes: list[str], name: str) -> Any:
    """Figure of every cell's interval and its single seeds."""
    sources = list(dict.fromkeys(cell["source"] for cell in cells))
    nan = dict.fromkeys(("value", "low", "high"), math.nan)
    series = {}
    for augmented in dict.fromkeys(cell["augmented"] for cell in cells):
        by = {cell["source"]: cell["js_divergence"] for cell in cells if cell["augmented"] == augmented}
        series[f"with {name}" if augmented else f"without {name}"] = [by.get(source, nan) for source in sources]
    figure, axes = panels(1, ["js"], notes, "Training targets on the same human votes", (5.2, 3.2))
    axis = axes[0][0]
    interval_plot(axis, series, sources, "JS divergence to human votes")
    width = 0.7 / len(series)
    for cell in cells:
        place = list(dict.fromkeys(c["augmented"] for c in cells)).index(cell["augmented"])
        x = sources.index(cell["source"]) + (place - (len(series) - 1) / 2) * width + 0.06
        if len(cell["by_seed"]) > 1:
            axis.plot([x] * len(cell["by_seed"]), cell["by_seed"], "_", color=GREY, markersize=7)
    legend_below(figure, axis)
    return polished(figure)
