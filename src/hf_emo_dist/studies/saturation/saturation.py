"""How many votes does an utterance need? Distance to a reference by number of votes, and what draws give."""

from __future__ import annotations

import logging
import math
from typing import Any, Literal

import numpy as np

from ...evaluation.plots import BLUE, GREY, ORANGE
from ...evaluation.scoring import Bootstrap, interval_words, p_words
from ..study import Plot, Study, StudyTable, legend_below, panels, polished
from ..vote_table import FloatArray, Sources, VoteTable
from .curves import (
    Curves,
    CurveSettings,
    Null,
    Order,
    Reference,
    fit_exponential,
    fit_hyperbola,
    saturation_curves,
)

logger = logging.getLogger(__name__)

#: Votes that the held-out reference has at least.
HELD_OUT = 3
#: A curve's shape differs from the null's where the test says so and the difference is at least this share of its fall.
MATERIAL, LEVEL = 0.02, 0.05
# Distance to the asymptote that counts as none, in the measure's own unit.
TOLERANCE = 0.01
MEASURES = {"js": "JS divergence", "correlation": "entropy correlation"}
_BOUNDS = {"js": (0.0, 1.0), "correlation": (-1.0, 1.0)}


def saturation(
    data: Sources,
    *,
    votes: Literal["human", "synthetic"] = "human",
    reference: Reference | None = None,
    order: Order = "random",
    null: Null = "auto",
    max_votes: int | None = None,
    num_subsets: int = 20,
    num_resamples: int = 200,
    seed: int = 0,
) -> Study:
    """Study how the distribution of the first n votes approaches its reference.

    Args:
        data: Votes.
        votes: Whose are counted: synthetic ones, against the human ones as arXiv 2601.14620 does, or human ones,
            subsampled.
        reference: What they are scored against: human for synthetic votes; for human ones held_out (votes that are not
            counted, the default) or full (all votes, among them the counted ones: the curve then ends at 0 by
            construction).
        order: Random subsets, or the order in which the votes were given.
        null: What independent draws come from: the full-vote mean of each row, or its posterior, which puts back the
            spread that a mean of few votes lacks.
        max_votes: Votes at most (default: what at least half of the rows have).
        num_subsets: Random subsets a row.
        num_resamples: Bootstrap resamples.
        seed: Of subsets, halves and the bootstrap.

    Raises:
        ValueError: A corpus has too few votes, or the arguments do not fit.
    """
    Bootstrap(num_resamples, seed)  # refuses 0
    for name, number, least in (("max_votes", max_votes, 4), ("num_subsets", num_subsets, 1)):
        if number is not None and number < least:
            raise ValueError(f"{name}={number} is too few. Mend: at least {least}.")
    target: Reference = reference or ("human" if votes == "synthetic" else "held_out")
    if (target == "human") != (votes == "synthetic"):
        raise ValueError(
            f"reference={target!r} does not go with {votes} votes. Mend: human for synthetic votes, held_out or full "
            "for human ones."
        )
    results: dict[str, Any] = {}
    tables = data.tables
    for name, table in tables.items():
        logger.info("saturation: %s, %d rows", name, len(table.ids))
        most, kept = _rows_with_votes(table, votes, target, max_votes, name)
        if order == "given" and not table.in_order:
            raise ValueError(f"{name}: counts have no order. Mend: use order='random', or data with a list of votes.")
        settings = CurveSettings(most, target, order, num_subsets, null, num_resamples, seed)
        speakers = kept.speakers()
        curves = saturation_curves(
            kept.labels(votes),
            len(table.emotions),
            settings,
            kept.ids,
            kept.labels("human") if target == "human" else None,
            speakers,
        )
        results[name] = {
            "rows": len(kept.ids),
            "left_out": len(table.ids) - len(kept.ids),
            **{measure: _measure(curves, measure) for measure in MEASURES},
            "num_speakers": None if speakers is None else len(set(speakers)),
        }
    told = data.facts()
    told["protocol"] = _protocol(votes, target, settings)
    told["seeds"] = f"seed {seed}; {num_subsets if order == 'random' else 1} orders a row, {num_resamples} resamples"
    notes = data.notes()
    if votes == "human":
        notes.append("human votes, subsampled: this is not about synthetic annotation")
    study = Study("saturation", "How many votes does an utterance need?", told, notes)
    study.results = {
        "votes": votes,
        "reference": target,
        "order": order,
        "null": settings.null_of(),
        "corpora": results,
    }
    study.findings = [line for name, result in results.items() for line in _findings(name, result)]
    study.tables = [_table(results, measure) for measure in MEASURES]
    caption = (
        f"Points: the first n {votes} votes, with 95 % intervals. Grey: independent draws, with the range of 95 % of "
        "redrawings. Line: the exponential; dotted: a + b/n. Dashed: the n of the exponential, its interval shaded."
    )
    study.plots = [Plot("saturation", _plot(results, notes), caption)]
    return study


def _rows_with_votes(
    table: VoteTable, votes: str, reference: str, max_votes: int | None, name: str
) -> tuple[int, VoteTable]:
    """The largest number of votes, and the rows that have as many (and a reference)."""
    number = (table.labels(votes) >= 0).sum(axis=1)
    if reference == "human":
        number = np.where((table.votes >= 0).any(axis=1), number, 0)
    spare = HELD_OUT if reference == "held_out" else 0
    most = max_votes
    if most is None:
        most = int(np.median(number[number > 0])) - spare if (number > 0).any() else 0
    kept = np.flatnonzero(number >= most + spare)
    if most < 4 or len(kept) < 2:
        raise ValueError(
            f"{name}: {len(kept)} rows have {most} votes and {spare} for the reference, and a curve needs 4 votes of 2 "
            "rows or more. Mend: lower max_votes, or take reference='full'."
        )
    return most, table.select(kept)


def _measure(curves: Curves, measure: str) -> dict[str, Any]:
    first = int(measure == "correlation")  # the entropy of one vote is 0 everywhere
    n = curves.n[first:]
    observed, null, boot = (getattr(curves, part + measure)[..., first:] for part in ("", "null_", "boot_"))
    if not np.isfinite(observed).all():
        return {"defined": False}
    boot, null = boot[np.isfinite(boot).all(axis=1)], null[np.isfinite(null).all(axis=1)]
    # redrawn votes are less spread: their deviations are what counts, not their level
    centred = np.clip(observed + boot - boot.mean(axis=0), *_BOUNDS[measure])
    null_mean = null.mean(axis=0)
    shape, null_shape = _shape(observed), _shape(null_mean)
    distance = float(np.abs(shape - null_shape).max())
    null_distances = np.abs(_shape(null) - null_shape).max(axis=1)
    p_value = float((1 + (null_distances >= distance).sum()) / (1 + len(null_distances)))
    found: dict[str, Any] = {
        "defined": True,
        "n": n.tolist(),
        "observed": observed.tolist(),
        "low": np.quantile(centred, 0.025, axis=0).tolist(),
        "high": np.quantile(centred, 0.975, axis=0).tolist(),
        "null": null_mean.tolist(),
        "null_low": np.quantile(null, 0.025, axis=0).tolist(),
        "null_high": np.quantile(null, 0.975, axis=0).tolist(),
        "shape_distance": distance,
        "p_value": p_value,
        "differs": bool(p_value < LEVEL and distance >= MATERIAL),
    }
    for name, fit in (("exponential", fit_exponential), ("hyperbola", fit_hyperbola)):
        own, resampled, redrawn = fit(n, observed), fit(n, centred), fit(n, null)
        found[name] = {
            "a": float(own.a[0]),
            "b": float(own.b[0]),
            **({} if math.isnan(own.c[0]) else {"c": float(own.c[0])}),
            "error": float(own.error[0]),
            "n_relative": _point(own.relative_point(), resampled.relative_point()),
            "n_tolerance": _point(own.absolute_point(TOLERANCE), resampled.absolute_point(TOLERANCE)),
            "null_n_relative": _point(fit(n, null_mean).relative_point(), redrawn.relative_point()),
            "asymptote": _point(own.a, resampled.a, whole=False),
            "curve": own.at(n)[0].tolist(),
        }
    return found


def _point(value: FloatArray, resampled: FloatArray, whole: bool = True) -> dict[str, float]:
    low, high = np.quantile(resampled, [0.025, 0.975])
    numbers = np.array([value[0], low, high])
    numbers = np.ceil(numbers - 1e-6) if whole else numbers
    return {"value": float(numbers[0]), "low": float(numbers[1]), "high": float(numbers[2])}


def _shape(curves: FloatArray) -> FloatArray:
    """The curves brought to 1 at the fewest votes and 0 at the most, so that their levels do not matter."""
    fall = curves[..., :1] - curves[..., -1:]
    return np.asarray((curves - curves[..., -1:]) / np.where(np.abs(fall) > 1e-12, fall, 1.0))


def _protocol(votes: str, reference: str, settings: CurveSettings) -> str:
    against = {
        "human": "the shares of all human votes",
        "held_out": f"the shares of the same utterance's other votes, at least {HELD_OUT}, which are not counted",
        "full": "the shares of all votes, the counted ones among them",
    }[reference]
    order = "random subsets" if settings.order == "random" else "in the order given"
    null = {
        "mean": "each row's full-vote mean",
        "posterior": "each row's full-vote mean with its sampling spread put back",
    }
    over = "utterances (whole speakers where known)" + (" and votes" if settings.order == "random" else "")
    return (
        f"the first n {votes} votes ({order}) against {against}; null: as many independent draws from "
        f"{null[settings.null_of()]}; 95 % bootstrap intervals over {over}"
    )


def _findings(name: str, result: dict[str, Any]) -> list[str]:
    lines = []
    for measure, title in MEASURES.items():
        found = result[measure]
        if not found["defined"]:
            lines.append(f"{name}: the {title} is not defined (an entropy is the same everywhere).")
            continue
        point, null = found["exponential"]["n_relative"], found["exponential"]["null_n_relative"]
        last = found["n"][-1]
        text = f"{name}: by the exponential the {title} saturates at {_votes(point)}"
        if point["value"] > last:
            text += f" (beyond the {last} votes that were counted: an extrapolation)"
        if found["differs"]:
            text += (
                f". Its shape differs from that of independent draws, which saturate at {_votes(null)} (largest "
                f"difference {100 * found['shape_distance']:.0f} % of the fall, {p_words(found['p_value'])})."
            )
        else:
            text += (
                f"; independent draws saturate at {_votes(null)}, and the shapes are not told apart "
                f"({p_words(found['p_value'])}): the curve shows the sampling of votes and is no evidence of a "
                "property of the annotators."
            )
        lines.append(text)
    return lines


def _votes(point: dict[str, float]) -> str:
    return f"{point['value']:.0f} votes [{point['low']:.0f}, {point['high']:.0f}]"


def _table(results: dict[str, Any], measure: str) -> StudyTable:
    rows = []
    for name, result in results.items():
        found = result[measure]
        if not found["defined"]:
            rows.append([name, str(result["rows"]), *["-"] * 8])
            continue
        exponential, hyperbola = found["exponential"], found["hyperbola"]
        rows.append(
            [
                name,
                str(result["rows"]),
                f"{found['n'][0]} to {found['n'][-1]}",
                f"{found['observed'][0]:.3f} → {found['observed'][-1]:.3f}",
                interval_words(exponential["asymptote"]),
                interval_words(exponential["n_relative"], ".0f"),
                interval_words(exponential["null_n_relative"], ".0f"),
                interval_words(exponential["n_tolerance"], ".0f"),
                interval_words(hyperbola["n_tolerance"], ".0f"),
                f"{exponential['error']:.4f} / {hyperbola['error']:.4f}",
            ]
        )
    return StudyTable(
        f"{MEASURES[measure]} by number of votes",
        [
            "corpus",
            "rows",
            "n",
            "first → last",
            "asymptote (exponential)",
            "n, exponential",
            "n, independent draws",
            f"n within {TOLERANCE}, exponential",
            f"n within {TOLERANCE}, a + b/n",
            "fit error, exponential / a + b/n",
        ],
        rows,
        "n is the first number of votes within 10 % of the fitted range, from one vote to the asymptote, of the "
        "asymptote (the rule of arXiv 2601.14620). For a + b/n that is 10 whatever the data, so a distance to the "
        "asymptote in the measure's own unit stands beside it. Fit errors are root mean squares.",
    )


def _plot(results: dict[str, Any], notes: list[str]) -> Any:
    figure, axes = panels(len(MEASURES), list(results), notes, "Votes an utterance needs")
    for column, (name, result) in enumerate(results.items()):
        for row, (measure, title) in enumerate(MEASURES.items()):
            axis, found = axes[row][column], result[measure]
            axis.set(title=name if row == 0 else "", ylabel=title if column == 0 else "")
            axis.set_xlabel("votes")
            if found["defined"]:
                _draw(axis, found)
            axis.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes[0][0])
    return polished(figure)


def _draw(axis: Any, found: dict[str, Any]) -> None:
    n, observed = np.array(found["n"]), np.array(found["observed"])
    axis.fill_between(n, found["null_low"], found["null_high"], color=GREY, alpha=0.25, linewidth=0)
    axis.plot(n, found["null"], color=GREY, linewidth=1.2, label="independent draws")
    spread = np.abs(np.array([observed - found["low"], found["high"] - observed]))
    axis.errorbar(n, observed, spread, fmt="o", color=BLUE, markersize=4, linewidth=1, label="observed")
    fine = np.linspace(n[0], n[-1], 200)
    exponential, hyperbola = found["exponential"], found["hyperbola"]
    axis.plot(
        fine, exponential["a"] + exponential["b"] * np.exp(-exponential["c"] * fine), color=ORANGE, label="exponential"
    )
    axis.plot(fine, hyperbola["a"] + hyperbola["b"] / fine, ":", color=ORANGE, linewidth=1.2, label="a + b/n")
    point = exponential["n_relative"]
    if point["value"] <= n[-1]:
        axis.axvline(point["value"], color=ORANGE, linestyle="--", linewidth=0.8)
        axis.axvspan(point["low"], min(point["high"], n[-1]), color=ORANGE, alpha=0.08, linewidth=0)
