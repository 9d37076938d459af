"""The findings and tables of the study of worth."""

from __future__ import annotations

from typing import Any

import numpy as np

from ...evaluation.scoring import interval_words
from ..study import StudyTable
from .plots import seen_worth
from .targets import FIGURES, HUMAN, METHODS, POOL, POSTERIOR

_NOTES = {
    "js": "Base 2, to the shares of the votes held out.",
    "unbiased_brier": "Squared error to the distribution behind the votes held out, their noise taken out.",
}


def percent_words(ratio: dict[str, float]) -> str:
    """A ratio and its interval as a change in percent.

    >>> percent_words({"value": 0.9, "low": 0.85, "high": 0.95})
    '-10.0 % [-15.0, -5.0]'
    """
    changed = {name: 100.0 * (value - 1.0) for name, value in ratio.items()}
    if not np.isfinite(changed["value"]):
        return "-"
    told = f"{changed['value']:+.1f} %"
    return told + (f" [{changed['low']:+.1f}, {changed['high']:+.1f}]" if np.isfinite(changed["low"]) else "")


def _human_votes(number: str) -> str:
    return "1 human vote" if number == "1" else f"{number} human votes"


def target_findings(targets: dict[str, Any]) -> list[str]:
    """How targets compare, at each number of human votes."""
    lines = []
    for number, found in targets.items():
        posterior, pool = (percent_words(found[name]["js"][f"ratio_to_{HUMAN}"]) for name in (POSTERIOR, POOL))
        lines.append(
            f"From {_human_votes(number)} a row, JS divergence against smoothed human votes alone: the posterior "
            f"{posterior}, pooling one for one {pool}."
        )
    first, *others = targets
    with_them = targets[first][POSTERIOR]["unbiased_brier"]["value"]
    as_good = [each for each in others if targets[each][HUMAN]["unbiased_brier"]["value"] >= with_them]
    if as_good:
        alone = targets[as_good[-1]][HUMAN]["unbiased_brier"]["value"]
        lines.append(
            f"{_human_votes(first)} a row and these annotators give targets (unbiased Brier {with_them:.3f}) that are "
            f"no worse than those of {as_good[-1]} human votes alone, smoothed ({alone:.3f})."
        )
    return lines


def annotator_findings(annotators: dict[str, Any]) -> list[str]:
    """What each annotator is worth, and how many of its answers to buy."""
    lines = []
    for name, found in annotators.items():
        number, worth_of = seen_worth(found)
        answers = "1 answer a row is" if number == "1" else f"{number} answers a row are"
        told = f"{interval_words(worth_of, '.2f')} human votes"
        if worth_of["low"] > 0:
            lines.append(f"{name}: {answers} worth {told}.")
        else:
            lines.append(f"{name}: {answers} not told apart from worth nothing ({told}).")
        if found["recommended"]:
            lines.append(found["recommended"]["told"])
        else:
            lines.append(f"{name}: no row has two single answers, so that how many to buy cannot be told.")
    return lines


def allocation_finding(found: dict[str, Any], average: int) -> str:
    """What votes gain by being given where they help most."""
    change = percent_words(found["allocated"]["unbiased_brier"]["ratio_to_even"])
    return (
        f"{found['average']:g} human votes a row on average, given where the expected squared error falls most, "
        f"against {average} each: unbiased Brier score {change} ({found['rows']} rows)."
    )


def worth_tables(results: dict[str, Any], average: int) -> list[StudyTable]:
    """All tables of the study."""
    targets, numbers = results["targets"], [str(number) for number in results["votes"]]
    columns = ["target", *map(_human_votes, numbers)]
    assumed = " With 1 vote a row, how much listeners agree cannot be told from the votes and is assumed." * (
        "1" in numbers
    )
    tables = []
    for figure, title in FIGURES.items():
        rows = [[told, *(interval_words(targets[n][m][figure]) for n in numbers)] for m, told in METHODS.items()]
        tables.append(
            StudyTable(f"{title} of targets to human votes held out", columns, rows, _NOTES[figure] + assumed)
        )
        rows = [
            [told, *(percent_words(targets[n][m][figure][f"ratio_to_{HUMAN}"]) for n in numbers)]
            for m, told in METHODS.items()
            if m != HUMAN
        ]
        tables.append(StudyTable(f"{title} against smoothed human votes alone", columns, rows, "Below 0 is better."))
    counts = list(dict.fromkeys(count for found in results["annotators"].values() for count in found["worth"]))
    rows = []
    for name, found in results["annotators"].items():
        worths = [interval_words(found["worth"][count], ".2f") if count in found["worth"] else "-" for count in counts]
        repeats = "-" if found["repeats"] is None else f"{found['repeats']:.2f}"
        best = found["recommended"]
        told = "-" if best is None else f"{best['number']} [{best['low']}, {best['high']}]"
        rows.append([name, str(found["rows"]), f"{found['usual']:g}", *worths, repeats, told])
    titles = [f"{count} answer{'s' * (count != '1')}" for count in counts]
    tables.append(
        StudyTable(
            "Worth of each annotator in human votes",
            ["annotator", "rows", "usual answers", *titles, "repeats", "answers to buy"],
            rows,
            "The human votes that lower the expected squared error of a row as much, nobody else speaking. Repeats: "
            "correlation of its answers about one row, given what listeners hear. More answers than the usual number "
            "are an extrapolation. To buy: those that add 0.05 human votes or more each, with 90 % interval.",
        )
    )
    held = results["held_out"]
    rows = [
        [
            METHODS[name],
            interval_words(value),
            interval_words(held["gain"][name], "+.3f") if name in held["gain"] else "-",
        ]
        for name, value in held["log_likelihood_per_vote"].items()
    ]
    if rows:
        tables.append(
            StudyTable(
                "Log-likelihood of held-out human votes, nats a vote",
                ["target", "log-likelihood", "posterior minus it"],
                rows,
                f"Speakers that were not fitted on, all human votes. Map: {results['map']}.",
            )
        )
    if found := results["allocation"]:
        rows = [
            [
                told,
                *(interval_words(found[kind][figure]) for figure in FIGURES),
                "-" if kind == "even" else percent_words(found[kind]["unbiased_brier"]["ratio_to_even"]),
            ]
            for kind, told in (("even", f"{average} each"), ("allocated", "where they lower the expected error most"))
        ]
        spread = ", ".join(f"{votes} votes: {rows_}" for votes, rows_ in found["rows_by_votes"].items())
        tables.append(
            StudyTable(
                f"{average} human votes a row on average",
                ["votes", *FIGURES.values(), "Brier against even"],
                rows,
                f"Targets by the posterior. One vote each first, the rest in two rounds. Rows by votes: {spread}.",
            )
        )
    return tables
