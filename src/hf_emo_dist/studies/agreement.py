"""How well do listeners agree, and each synthetic annotator with them; what does each focus add, and to whom."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..evaluation.scoring import Bootstrap, interval_words
from ..scores.agreement import fleiss_kappa, krippendorff_alpha, observed_agreement
from ..scores.divergences import jensen_shannon_divergence
from .strata import Strata, cut_strata
from .study import Plot, Study, StudyTable, interval_plot, legend_below, panels, polished, slanted
from .vote_table import Annotations, FloatArray, Sources, VoteTable, shares_of

# Random halves of each row's human votes, and random draws of as many annotations as a focus gave.
HALVES, DRAWS = 5, 10
# How listeners agree among themselves.
AMONG_LISTENERS = {
    "pair_agreement": "pairs who agree",
    "fleiss_kappa": "Fleiss' kappa",
    "krippendorff_alpha": "Krippendorff's alpha",
}


def agreement(data: Sources, *, num_resamples: int = 500, seed: int = 0) -> Study:
    """Study agreement among listeners, and of synthetic annotators with them.

    Args:
        data: Votes.
        num_resamples: Bootstrap resamples.
        seed: Of subsets, halves and the bootstrap.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    results = {name: _corpus(table, bootstrap) for name, table in data.tables.items()}
    told = data.facts()
    told["protocol"] = (
        "agreement with a listener is the chance that one listener, drawn at random, gives the annotator's label; "
        "chance is what the shares of labels alone would give, and kappa is the share of the way from chance to 1; "
        "strata are thirds of the entropy of the human votes; 95 % bootstrap intervals over speakers where known"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    study = Study("agreement", "Agreement of listeners and of synthetic annotators", told, data.notes())
    study.results = {"corpora": results}
    study.tables = [_human_table(results)]
    for name, result in results.items():
        study.tables += _synthetic_tables(name, result)
        study.findings += _findings(name, result)
    caption = "Agreement of listeners among themselves, with 95 % intervals."
    if any("annotators" in found for found in results.values()):
        caption = (
            "Left: agreement with one listener (a listener among the others, and each synthetic annotator), with 95 % "
            "intervals. Right: what each focus adds beyond another annotation, by stratum; above 0 the pool is nearer "
            "to the human votes with it."
        )
    study.plots = [Plot("agreement", _plot(results, study.notes), caption)]
    return study


def _corpus(table: VoteTable, bootstrap: Bootstrap) -> dict[str, Any]:
    counts = table.counts()
    several = np.flatnonzero(counts.sum(axis=1) >= 2)
    groups = table.groups()
    found: dict[str, Any] = {"rows": len(several), "votes": float(counts[several].sum() / max(len(several), 1))}
    if len(several) >= 2:
        for name, score in (("fleiss_kappa", fleiss_kappa), ("krippendorff_alpha", krippendorff_alpha)):
            found[name] = bootstrap.score(score, counts[several], groups=groups[several], bounds=(-1.0, 1.0))
        found["pair_agreement"] = bootstrap.interval(
            observed_agreement(counts[several]), groups[several], bounds=(0.0, 1.0)
        )
    if table.annotations is None:
        return found
    with_votes = np.flatnonzero(counts.sum(axis=1) > 0)
    shares = np.zeros_like(counts)
    shares[with_votes] = shares_of(counts[with_votes])
    strata = cut_strata(shares[with_votes])
    stratum = np.full(len(counts), -1)
    stratum[with_votes] = strata.index
    found["strata"] = list(strata.names)
    found["annotators"] = {
        str(name): _annotator(table, table.annotations, shares, str(name), bootstrap)
        for name in np.unique(table.annotations.annotator)
    }
    found["focus"] = {}
    for focus, (values, rows) in added_by_focus(table, table.annotations, bootstrap.seed).items():
        parts = {place: stratum[rows] == index for index, place in enumerate(strata.names)}
        found["focus"][focus] = {
            place: bootstrap.interval(values[inside], groups[rows[inside]], bounds=(-1.0, 1.0))
            for place, inside in parts.items()
        }
    gains, halves, rows = gain_from_synthetic(table, bootstrap.seed)
    found["gain"] = {
        place: bootstrap.interval(gains[halves.index == index], groups[rows[halves.index == index]], bounds=(-1.0, 1.0))
        for index, place in enumerate(halves.names)
    }
    return found


def _annotator(
    table: VoteTable, annotations: Annotations, shares: FloatArray, name: str, bootstrap: Bootstrap
) -> dict[str, Any]:
    inside = (annotations.annotator == name) & (shares.sum(axis=1)[annotations.row] > 0)
    row, given = annotations.row[inside], annotations.distribution[inside]
    if not len(row):
        return {"annotations": 0}
    owners, human = table.groups()[row], shares[row]

    def kappa(answers: FloatArray, listeners: FloatArray) -> float:
        chance = float((answers.mean(axis=0) * listeners.mean(axis=0)).sum())
        return float(((answers * listeners).sum(axis=1).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")

    agreement = (given * human).sum(axis=1)
    found = {
        "annotations": len(row),
        "agreement": bootstrap.interval(agreement, owners, bounds=(0.0, 1.0)),
        "kappa": bootstrap.score(kappa, given, human, groups=owners, bounds=(-1.0, 1.0)),
        "label_shares": dict(zip(table.emotions, given.mean(axis=0).tolist(), strict=True)),
    }
    pairs = observed_agreement(table.counts())[row]
    several = ~np.isnan(pairs)
    if several.any():
        found["minus_listener"] = bootstrap.interval(
            agreement[several] - pairs[several], owners[several], bounds=(-1.0, 1.0)
        )
    return found


def _human_table(results: dict[str, Any]) -> StudyTable:
    rows = [
        [name, str(found["rows"]), f"{found['votes']:.1f}"]
        + [interval_words(found[key]) if key in found else "-" for key in AMONG_LISTENERS]
        for name, found in results.items()
    ]
    return StudyTable(
        "Listeners among themselves",
        ["corpus", "rows with 2 votes", "votes a row", *AMONG_LISTENERS.values()],
        rows,
        "Low agreement is what ambiguous speech sounds like; it does not make the votes wrong.",
    )


def _synthetic_tables(name: str, found: dict[str, Any]) -> list[StudyTable]:
    if "annotators" not in found:
        return []
    annotators = [
        [
            annotator,
            str(result["annotations"]),
            *(
                interval_words(result[key]) if key in result else "-"
                for key in ("agreement", "kappa", "minus_listener")
            ),
        ]
        for annotator, result in found["annotators"].items()
    ]
    return [
        StudyTable(
            f"Synthetic annotators with listeners: {name}",
            ["annotator", "annotations", "agree with a listener", "kappa", "minus one listener"],
            annotators,
            "Last column: agreement with a listener, minus that of two listeners of the same row; above 0 the "
            "annotator agrees with listeners better than they do with one another, as a sharp guess of the plurality "
            "does.",
        ),
        StudyTable(
            f"What each focus adds: {name}",
            ["focus", *found["strata"]],
            [[focus, *(interval_words(value) for value in by.values())] for focus, by in found["focus"].items()],
            "JS divergence of the pooled annotations to the human votes without the focus, minus that without as many "
            "random annotations; above 0 the focus adds more than another annotation does. Intervals are not widened "
            "for the number of foci: of twenty, one is expected to lie off 0 by chance.",
        ),
        StudyTable(
            f"What synthetic votes add to half of the human votes: {name}",
            list(found["gain"]),
            [[interval_words(value) for value in found["gain"].values()]],
            "Fall of the JS divergence to the other half of the human votes when the synthetic votes are added to the "
            "first half; strata come from the first half.",
        ),
    ]


def _findings(name: str, found: dict[str, Any]) -> list[str]:
    lines = []
    if "fleiss_kappa" in found:
        lines.append(
            f"{name}: listeners agree with kappa {interval_words(found['fleiss_kappa'], '.2f')} over {found['rows']} "
            "rows."
        )
    if "annotators" not in found:
        return [*lines, f"{name}: no synthetic annotations."] if lines else [f"{name}: no row has 2 votes."]
    for focus, by in found["focus"].items():
        best = [place for place, value in by.items() if value["low"] > 0]
        if best:
            lines.append(f"{name}: the focus '{focus}' adds more than another annotation in: {', '.join(best)}.")
    for place, value in found["gain"].items():
        word = "brings" if value["low"] > 0 else "takes" if value["high"] < 0 else None
        if word:
            way = "nearer to" if word == "brings" else "away from"
            lines.append(
                f"{name}, {place}: adding synthetic votes {word} the human votes {way} those held out "
                f"({interval_words(value)})."
            )
    return lines


def _short(annotators: list[str]) -> list[str]:
    """Names for a narrow axis: without the model and the mode where all have the same."""
    parts = [name.split(", ") for name in annotators]
    if len({(part[0], part[-1]) for part in parts}) == 1 and all(len(part) > 2 for part in parts):
        return [", ".join(part[1:-1]) for part in parts]
    return annotators


def _plot(results: dict[str, Any], notes: list[str]) -> Any:
    synthetic = {name: found for name, found in results.items() if "annotators" in found}
    figure, axes = panels(
        max(len(synthetic), 1), ["agreement", "focus"] if synthetic else ["agreement"], notes, "Agreement", (4.6, 3.8)
    )
    nan = dict.fromkeys(("value", "low", "high"), float("nan"))
    same_strata = len({tuple(found["strata"]) for found in synthetic.values()}) == 1
    if not synthetic:
        names = list(results)
        series = {title: [results[name].get(key, nan) for name in names] for key, title in AMONG_LISTENERS.items()}
        interval_plot(axes[0][0], series, names, "agreement")
        legend_below(figure, axes[0][0])
    for row, (name, found) in enumerate(synthetic.items()):
        people = ["a listener", *_short(list(found["annotators"]))]
        values = [
            found.get("pair_agreement", nan),
            *(result.get("agreement", nan) for result in found["annotators"].values()),
        ]
        interval_plot(axes[row][0], {name: values}, people, "agreement with a listener")
        slanted(axes[row][0])
        axes[row][0].set_title(name)
        by = {place: [found["focus"][focus][place] for focus in found["focus"]] for place in found["strata"]}
        interval_plot(axes[row][1], by, list(found["focus"]), "what the focus adds", zero=True)
        slanted(axes[row][1])
        if not same_strata:
            axes[row][1].legend(frameon=False, fontsize=7)
    if synthetic and same_strata:
        legend_below(figure, axes[0][1])
    return polished(figure)


# --- what synthetic votes add to human ones, with the number of votes taken into account


def pooled_annotations(annotations: Annotations, rows: int, keep: NDArray[np.bool_] | None = None) -> FloatArray:
    """Sum of the annotations of each row, (rows, K); a stated distribution weighs as one vote."""
    inside = slice(None) if keep is None else keep
    total = np.zeros((rows, annotations.distribution.shape[1]))
    np.add.at(total, annotations.row[inside], annotations.distribution[inside])
    return total


def gain_from_synthetic(table: VoteTable, seed: int = 0) -> tuple[FloatArray, Strata, NDArray[np.int64]]:
    """How much nearer half of the human votes comes to the other half when the synthetic votes are added to it.

    JS(half, other half) - JS(half + synthetic, other half), base 2, with the stratum and the row of each, a row once
    for each split; strata come from the first half, which is not scored against.
    """
    # stated distributions count too
    annotations = table.annotations
    mass = table.counts("synthetic") if annotations is None else pooled_annotations(annotations, len(table.ids))
    rows = np.flatnonzero(((table.votes >= 0).sum(axis=1) >= 2) & (mass.sum(axis=1) > 0))
    if not len(rows):
        raise ValueError("No row has 2 human votes and a synthetic one. Mend: annotate the data set first.")
    voted, gains, shares = table.select(rows), [], []
    for half in range(HALVES):
        first, other = voted.halves(seed, half)
        own, target = shares_of(first), shares_of(other)
        with_synthetic = jensen_shannon_divergence(shares_of(first + mass[rows]), target)
        gains.append(jensen_shannon_divergence(own, target) - with_synthetic)
        shares.append(own)
    return np.concatenate(gains), cut_strata(np.concatenate(shares)), np.tile(rows, HALVES)


def added_by_focus(
    table: VoteTable, annotations: Annotations, seed: int = 0
) -> dict[str, tuple[FloatArray, NDArray[np.int64]]]:
    """What each focus adds to the pooled annotations, and the rows: how much further from the human votes they are
    without it.

    JS(pool without the focus, human) - JS(pool without as many annotations drawn at random, human), base 2, row by row:
    any annotation that is left out makes the pool noisier, so the random draw of as many is the fair comparison.
    """
    counts, number = table.counts(), len(table.ids)
    rng = np.random.default_rng(seed)
    total = np.bincount(annotations.row, minlength=number)
    found = {}
    for focus in np.unique(annotations.focus).tolist():
        mine = annotations.focus == focus
        own = np.bincount(annotations.row[mine], minlength=number)
        rows = np.flatnonzero((own > 0) & (own < total) & (counts.sum(axis=1) > 0))
        if not len(rows):
            continue
        human = shares_of(counts[rows])

        def distance(keep: NDArray[np.bool_], rows: Any = rows, human: FloatArray = human) -> FloatArray:
            pool = pooled_annotations(annotations, number, keep)[rows]
            return jensen_shannon_divergence(shares_of(pool), human)

        drawn = [distance(~_drop(annotations.row, own, rng)) for _ in range(DRAWS)]
        found[focus] = (distance(~mine) - np.mean(drawn, axis=0), rows)
    return found


def _drop(row: NDArray[np.int64], number: NDArray[np.int64], rng: np.random.Generator) -> NDArray[np.bool_]:
    """Mark `number` annotations of each row, drawn at random."""
    order = np.lexsort((rng.random(len(row)), row))
    sorted_row = row[order]
    start = np.searchsorted(sorted_row, sorted_row)
    dropped = np.empty(len(row), dtype=bool)
    dropped[order] = np.arange(len(row)) - start < number[sorted_row]
    return dropped
