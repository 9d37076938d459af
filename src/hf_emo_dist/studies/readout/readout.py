"""A read-out, votes drawn from it, votes that were bought and a stated distribution: how they relate, and to people."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...annotation.readout.probabilities import draw_labels, panel_mean
from ...evaluation.plots import BLUE, GREY, ORANGE
from ...evaluation.scoring import Bootstrap, interval_words
from ...scores.divergences import jensen_shannon_divergence
from ..study import COLOURS, Plot, Study, StudyTable, legend_below, panels, polished
from ..vote_table import FloatArray, Sources, VoteTable, count_labels, shares_of
from .expected import expected_divergences, in_turn

_SHOWN = (1, 2, 3, 5, 8, 10, 15, 20, 30, 50, 100)
_WORDS = {
    "readout": "the panel's mean read-out",
    "member": "one member's read-out",
    "labels": "labels that were bought",
    "stated": "the stated distribution",
    "other": "the mean read-out of another row",
}


def readout(
    data: Sources,
    *,
    max_votes: int = 20,
    random_weights: Sequence[str] = (),
    num_resamples: int = 500,
    seed: int = 0,
) -> Study:
    """Study how read-outs, votes drawn from them and stated distributions relate, and how many votes make a read-out.

    Args:
        data: Votes of people, and stored annotations of which some are read-outs.
        max_votes: Votes at most that are drawn from a read-out.
        random_weights: Models that were not trained: every figure says so. They show how the study works alone.
        num_resamples: Bootstrap resamples.
        seed: Of the drawn votes, of the rows that are swapped and of the bootstrap.

    Raises:
        ValueError: No row with votes of people has a read-out, or `max_votes` is below 1.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    if max_votes < 1:
        raise ValueError(f"max_votes={max_votes} draws nothing. Mend: at least 1; 20 is the default.")
    results: dict[str, Any] = {}
    for name, table in data.tables.items():
        for model, panel in _panels_of(table).items():
            results[f"{name}, {model}"] = _compared(panel, max_votes, bootstrap)
    if not results:
        raise ValueError(
            "No row that people voted on has a read-out. Mend: annotate with members in readout mode first "
            "(hf-emo-dist annotate … --mode readout), of a model that shows its probabilities."
        )
    told = data.facts()
    told["protocol"] = (
        "JS divergence, base 2; votes are drawn from a panel's read-outs, its members in turn; expected distances are "
        "exact sums over the counts of each label, and no vote is drawn for them; 95 % bootstrap intervals over "
        "speakers where known"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    notes = data.notes()
    models = {found["model"] for found in results.values()}
    if unknown := [name for name in random_weights if name not in models]:
        raise ValueError(f"There are no read-outs of {', '.join(unknown)}. Mend: one of {', '.join(sorted(models))}.")
    notes += [f"{name} has random weights: its figures show how the study works alone" for name in random_weights]
    study = Study("readout", "What a read-out says, and how many votes make one", told, notes)
    study.results = {"panels": results}
    for name, found in results.items():
        study.tables += _tables(name, found)
        study.findings += _findings(name, found)
    caption = (
        "Blue: how far the shares of n votes drawn from the read-outs are from people on average, with 95 % intervals; "
        "the line is the read-out itself, which is what infinitely many votes come to. Orange: how far they are from "
        "the read-out. Grey: the mean read-out of another row."
    )
    study.plots = [Plot("readout", _plot(results, study.notes, max_votes), caption)]
    return study


@dataclass(frozen=True)
class _Panel:
    """The rows of one model's read-outs that people voted on, with what else the model said of them."""

    model: str
    ids: list[str]
    groups: NDArray[np.str_]
    people: FloatArray  # (N, K)
    members: list[FloatArray]  # of each row (M_i, K)
    labels: FloatArray  # (N, K) counts of labels that were bought; rows of zeros where there are none
    stated: FloatArray  # (N, K) sums of stated distributions, likewise

    @property
    def mean(self) -> FloatArray:
        return np.stack([panel_mean(own) for own in self.members])


def _panels_of(table: VoteTable) -> dict[str, _Panel]:
    annotations = table.annotations
    if annotations is None:
        return {}
    models = np.array([name.partition(", ")[0] for name in annotations.annotator])
    modes = np.array([name.rpartition(", ")[2] for name in annotations.annotator])
    counts, groups = table.counts(), table.groups()
    found = {}
    for model in np.unique(models[modes == "readout"]).tolist():
        read = (models == model) & (modes == "readout")
        rows = np.unique(annotations.row[read])
        rows = rows[counts[rows].sum(axis=1) > 0]
        if not len(rows):
            continue

        def total(mode: str, model: str = model, rows: Any = rows) -> FloatArray:
            summed, inside = np.zeros_like(counts), (models == model) & (modes == mode)
            np.add.at(summed, annotations.row[inside], annotations.distribution[inside])
            return np.asarray(summed[rows])

        members = [annotations.distribution[read & (annotations.row == row)] for row in rows]
        ids = [table.ids[row] for row in rows]
        people = shares_of(counts[rows])
        found[model] = _Panel(model, ids, groups[rows], people, members, total("label"), total("distribution"))
    return found


def _compared(panel: _Panel, max_votes: int, bootstrap: Bootstrap) -> dict[str, Any]:
    mean, people, groups = panel.mean, panel.people, panel.groups
    to_people = jensen_shannon_divergence(mean, people)
    sizes = [len(own) for own in panel.members]
    found: dict[str, Any] = {
        "model": panel.model,
        "rows": len(panel.ids),
        "members": [min(sizes), max(sizes)],
        "to_people": {
            "readout": {"rows": len(people), **bootstrap.interval(to_people, groups, bounds="js_divergence")}
        },
        "minus_readout": {},
        "between": {},
    }

    def compare(name: str, distances: FloatArray, rows: Any = slice(None)) -> None:
        estimate = bootstrap.interval(distances, groups[rows], bounds="js_divergence")
        found["to_people"][name] = {"rows": len(distances), **estimate}
        found["minus_readout"][name] = bootstrap.interval(distances - to_people[rows], groups[rows], bounds=(-1.0, 1.0))

    def between(name: str, distances: FloatArray, rows: Any) -> None:
        found["between"][name] = bootstrap.interval(distances, groups[rows], bounds="js_divergence")

    each = [
        jensen_shannon_divergence(own, np.tile(q, (len(own), 1))).mean()
        for own, q in zip(panel.members, people, strict=True)
    ]
    compare("member", np.array(each))
    said = {"labels": panel.labels, "stated": panel.stated}
    rows_of = {name: np.flatnonzero(sums.sum(axis=1) > 0) for name, sums in said.items()}
    for name, rows in rows_of.items():
        if len(rows):
            shares = shares_of(said[name][rows])
            compare(name, jensen_shannon_divergence(shares, people[rows]), rows)
            between(f"readout and {name}", jensen_shannon_divergence(mean[rows], shares), rows)
    both = np.intersect1d(rows_of["labels"], rows_of["stated"])
    if len(both):
        between(
            "labels and stated",
            jensen_shannon_divergence(shares_of(panel.labels[both]), shares_of(panel.stated[both])),
            both,
        )
    if len(rows := rows_of["labels"]):
        # If the labels were drawn from the read-outs, they would be so far from them.
        found["between"]["readout and as many drawn votes"] = bootstrap.interval(
            _expected_of(panel, rows, panel.labels[rows].sum(axis=1)), groups[rows], bounds="js_divergence"
        )
        found["labels_a_row"] = float(panel.labels[rows].sum(axis=1).mean())
    if len(people) > 1:
        order = np.random.default_rng(bootstrap.seed).permutation(len(people))
        other = np.empty_like(order)
        other[order] = np.roll(order, 1)
        compare("other", jensen_shannon_divergence(mean[other], people))
    found["drawn"] = _drawn(panel, max_votes, bootstrap)
    low, high = found["to_people"]["readout"]["low"], found["to_people"]["readout"]["high"]
    fitting = [n for n, entry in found["drawn"].items() if low <= entry["to_people"]["value"] <= high]
    found["votes_to_match"] = fitting[0] if fitting else None
    return found


def _expected_of(panel: _Panel, rows: NDArray[np.int64], numbers: FloatArray) -> FloatArray:
    """The expected distance to the mean read-out of as many drawn votes as each row has labels."""
    turns = in_turn([panel.members[row] for row in rows], int(numbers.max()))
    expected = np.stack(list(expected_divergences(turns, panel.mean[rows])))
    return np.asarray(expected[numbers.astype(np.int64) - 1, np.arange(len(rows))])


def _drawn(panel: _Panel, max_votes: int, bootstrap: Bootstrap) -> dict[int, dict[str, Any]]:
    """For n = 1, 2, … what n votes from the read-outs come to, on average and once."""
    mean, size = panel.mean, panel.people.shape[1]
    turns = in_turn(panel.members, max_votes)
    drawn = np.stack(
        [draw_labels(own, max_votes, bootstrap.seed, name) for own, name in zip(panel.members, panel.ids, strict=True)]
    )
    found = {}
    exact = zip(expected_divergences(turns, mean), expected_divergences(turns, panel.people), strict=True)
    base = jensen_shannon_divergence(mean, panel.people)
    for number, (to_read, to_people) in enumerate(exact, start=1):
        once = shares_of(count_labels(drawn[:, :number], size))
        found[number] = {
            "to_readout": bootstrap.interval(to_read, panel.groups, bounds="js_divergence"),
            "once_to_readout": float(jensen_shannon_divergence(once, mean).mean()),
            "to_people": bootstrap.interval(to_people, panel.groups, bounds="js_divergence"),
            "once_to_people": float(jensen_shannon_divergence(once, panel.people).mean()),
            "minus_readout": bootstrap.interval(to_people - base, panel.groups, bounds=(-1.0, 1.0)),
        }
    return found


# --- how it is shown


def _tables(name: str, found: dict[str, Any]) -> list[StudyTable]:
    nothing = {"value": math.nan, "low": math.nan, "high": math.nan}
    near = [
        [
            _WORDS[key],
            str(value["rows"]),
            interval_words(value),
            interval_words(found["minus_readout"].get(key, nothing)),
        ]
        for key, value in found["to_people"].items()
    ]
    drawn = [
        [
            str(n),
            interval_words(entry["to_readout"]),
            f"{entry['once_to_readout']:.3f}",
            interval_words(entry["to_people"]),
            f"{entry['once_to_people']:.3f}",
            interval_words(entry["minus_readout"]),
        ]
        for n, entry in found["drawn"].items()
        if n in _SHOWN or n == max(found["drawn"])
    ]
    tables = [
        StudyTable(
            f"How near to people: {name}",
            ["what", "rows", "JS to people", "minus the read-out's, same rows"],
            near,
            "Last column: above 0 it is further from people than the mean read-out is.",
        )
    ]
    if found["between"]:
        tables.append(
            StudyTable(
                f"How near to one another: {name}",
                ["what", "JS divergence"],
                [
                    [pair.replace("readout", "read-out"), interval_words(value)]
                    for pair, value in found["between"].items()
                ],
                "As many drawn votes: the expected distance of as many votes, drawn from the read-outs, as there are "
                "labels. Labels that are further off than that are no draws from the read-outs (other temperatures, "
                "another prompt, or what was read is not what the model writes).",
            )
        )
    return [
        *tables,
        StudyTable(
            f"Votes drawn from the read-outs: {name}",
            ["votes", "expected JS to the read-out", "once", "expected JS to people", "once", "minus the read-out's"],
            drawn,
            "Expected: over all draws, in closed form. Once: these draws, the first n of one series.",
        ),
    ]


def _findings(name: str, found: dict[str, Any]) -> list[str]:
    exact = found["to_people"]["readout"]
    lines = [
        f"{name}: the mean read-out is {interval_words(exact)} from people (JS, base 2) over {found['rows']} rows."
    ]
    last = max(found["drawn"])
    match, entry = found["votes_to_match"], found["drawn"][last]
    if match is None:
        lines.append(
            f"{name}: {last} drawn votes are still further from people than the read-out's interval: "
            f"{entry['to_people']['value']:.3f} on average."
        )
    else:
        lines.append(
            f"{name}: {match} drawn votes are as near to people as the read-out, within its interval "
            f"({found['drawn'][match]['to_people']['value']:.3f} on average); {last} votes are "
            f"{entry['to_readout']['value']:.3f} from the read-out itself."
        )
    for key in ("labels", "stated"):
        apart = found["minus_readout"].get(key)
        if apart is not None:
            way = "further from" if apart["low"] > 0 else "nearer to" if apart["high"] < 0 else None
            word = f"are {way} people than" if way else "cannot be told apart in nearness to people from"
            what = "labels that were bought" if key == "labels" else "stated distributions"
            lines.append(f"{name}: {what} {word} the read-out ({interval_words(apart)}).")
    swapped = found["minus_readout"].get("other")
    if swapped is not None and not swapped["low"] > 0:
        lines.append(
            f"{name}: another row's read-out is as near to people as a row's own ({interval_words(swapped)}): the "
            "read-outs say nothing of their clips that could be shown, as those of a model with random weights."
        )
    return lines


def _plot(results: dict[str, Any], notes: list[str], max_votes: int) -> Any:
    figure, axes = panels(len(results), ["votes"], notes, "Votes drawn from read-outs", (6.4, 3.6))
    for row, (name, found) in enumerate(results.items()):
        axis, numbers = axes[row][0], list(found["drawn"])
        for key, colour, label in (("to_people", BLUE, "to people"), ("to_readout", ORANGE, "to the read-out")):
            values = np.array(
                [[entry[key][part] for part in ("value", "low", "high")] for entry in found["drawn"].values()]
            )
            axis.plot(
                numbers, values[:, 0], "o-", color=colour, markersize=3, linewidth=1.2, label=f"drawn votes {label}"
            )
            axis.fill_between(numbers, values[:, 1], values[:, 2], color=colour, alpha=0.15, linewidth=0)
        lines = [
            ("readout", BLUE, "--"),
            ("stated", COLOURS[2], "-."),
            ("labels", COLOURS[3], ":"),
            ("other", GREY, ":"),
        ]
        for key, colour, style in lines:
            if key in found["to_people"]:
                value = found["to_people"][key]["value"]
                axis.axhline(value, color=colour, linestyle=style, linewidth=1.2, label=f"{_WORDS[key]} to people")
        axis.set_title(name)
        axis.set_ylabel("JS divergence (base 2)")
        axis.set_xlim(0.5, max_votes + 0.5)
        axis.set_ylim(bottom=0)
        axis.set_xlabel("votes")
        axis.xaxis.get_major_locator().set_params(integer=True)
    legend_below(figure, axes[0][0])
    return polished(figure)
