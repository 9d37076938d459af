"""How well do listeners agree, and each synthetic annotator with them; which focus adds what, where listeners are sure and where they are not."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..scores.agreement import fleiss_kappa, krippendorff_alpha, observed_agreement
from ..scores.bootstrap import bootstrap_score
from .complementarity import added_by_focus, gain_from_synthetic
from .inputs import add_source_arguments, corpora_of, interval, interval_words, source_facts
from .strata_cut import cut_strata
from .study import Plot, Study, StudyTable
from .vote_table import VoteTable

__all__ = ["agreement_study"]

FloatArray = NDArray[np.float64]


def agreement_study(
    corpora: Mapping[str, VoteTable],
    *,
    num_resamples: int = 500,
    seed: int = 0,
    facts: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
) -> Study:
    """Study agreement among listeners and of synthetic annotators with them.

    Args:
        corpora: Name to votes.
        num_resamples: Bootstrap resamples.
        seed: Of the bootstrap, of halves and of random draws.
        facts: Facts on the data.
        notes: Notes to show.
    """
    told = dict(facts or {})
    told["protocol"] = (
        "agreement with a listener is the chance that one listener, drawn at random, gives the annotator's label; chance is what the shares of labels "
        "alone would give, and kappa is the share of the way from chance to 1; strata are thirds of the entropy of the human votes; 95 % bootstrap "
        "intervals over speakers where known"
    )
    told["seeds"] = f"seed {seed}; {num_resamples} resamples"
    study = Study("agreement", "Agreement of listeners and of synthetic annotators", told, list(notes))
    results = {name: _corpus(table, num_resamples, seed) for name, table in corpora.items()}
    study.results = {"corpora": results}
    study.tables = [_human_table(results)]
    for name, result in results.items():
        study.tables += _synthetic_tables(name, result)
        study.findings += _findings(name, result)
    caption = _CAPTION if any("annotators" in found for found in results.values()) else _CAPTION_OF_PEOPLE
    study.plots = [Plot("agreement", _plot(results, list(notes)), caption)]
    return study


_CAPTION = (
    "Left: agreement with one listener (a listener among the others, and each synthetic annotator), with 95 % intervals. Right: what each focus adds beyond another annotation, by "
    "stratum; above 0 the pool is nearer to the human votes with it."
)
_CAPTION_OF_PEOPLE = "Agreement of listeners among themselves, with 95 % intervals."


def _corpus(table: VoteTable, num_resamples: int, seed: int) -> dict[str, Any]:
    counts = table.counts()
    several = np.flatnonzero(counts.sum(axis=1) >= 2)
    groups = table.speakers()
    members = None if groups is None else np.array([str(group) for group in groups])
    found: dict[str, Any] = {"rows": len(several), "votes": float(counts[several].sum() / max(len(several), 1))}
    if len(several) >= 2:
        own = None if members is None else members[several]
        for name, score in (("fleiss_kappa", fleiss_kappa), ("krippendorff_alpha", krippendorff_alpha)):
            value, low, high = bootstrap_score(
                score, counts[several], groups=own, num_resamples=num_resamples, seed=seed
            )
            found[name] = {"value": value, "low": low, "high": high}
        found["pair_agreement"] = interval(observed_agreement(counts[several]), own, num_resamples, seed)
    if table.annotations is None:
        return found
    with_votes = np.flatnonzero(counts.sum(axis=1) > 0)
    shares = np.zeros_like(counts)
    shares[with_votes] = counts[with_votes] / counts[with_votes].sum(axis=1, keepdims=True)
    strata = cut_strata(shares[with_votes])
    stratum = np.full(len(counts), -1)
    stratum[with_votes] = strata.index
    found["strata"] = list(strata.names)
    found["annotators"] = {
        str(name): _annotator(table, shares, table.annotations.annotator == name, members, num_resamples, seed)
        for name in np.unique(table.annotations.annotator)
    }
    found["focus"] = {
        focus: {
            place: interval(
                values[stratum[rows] == index],
                None if members is None else members[rows[stratum[rows] == index]],
                num_resamples,
                seed,
            )
            for index, place in enumerate(strata.names)
        }
        for focus, (values, rows) in added_by_focus(table, seed).items()
    }
    gains, halves, rows = gain_from_synthetic(table, seed)
    owners = np.array(table.ids) if members is None else members
    found["gain"] = {
        place: interval(gains[halves.index == index], owners[rows[halves.index == index]], num_resamples, seed)
        for index, place in enumerate(halves.names)
    }
    return found


def _annotator(
    table: VoteTable, shares: FloatArray, mine: NDArray[np.bool_], members: Any, num_resamples: int, seed: int
) -> dict[str, Any]:
    annotations = table.annotations
    assert annotations is not None
    inside = mine & (shares.sum(axis=1)[annotations.row] > 0)
    row, given = annotations.row[inside], annotations.distribution[inside]
    if not len(row):
        return {"annotations": 0}
    owners = np.array(table.ids)[row] if members is None else members[row]
    human = shares[row]

    def kappa(answers: FloatArray, listeners: FloatArray) -> float:
        chance = float((answers.mean(axis=0) * listeners.mean(axis=0)).sum())
        return float(((answers * listeners).sum(axis=1).mean() - chance) / (1 - chance)) if chance < 1 else float("nan")

    value, low, high = bootstrap_score(kappa, given, human, groups=owners, num_resamples=num_resamples, seed=seed)
    agreement = (given * human).sum(axis=1)
    found = {
        "annotations": len(row),
        "agreement": interval(agreement, owners, num_resamples, seed),
        "kappa": {"value": value, "low": low, "high": high},
        "label_shares": dict(zip(table.emotions, given.mean(axis=0).tolist(), strict=True)),
    }
    pairs = observed_agreement(table.counts())[row]
    several = ~np.isnan(pairs)
    if several.any():
        found["minus_listener"] = interval(agreement[several] - pairs[several], owners[several], num_resamples, seed)
    return found


def _human_table(results: dict[str, Any]) -> StudyTable:
    rows = [
        [name, str(found["rows"]), f"{found['votes']:.1f}"]
        + [
            interval_words(found[key]) if key in found else "-"
            for key in ("pair_agreement", "fleiss_kappa", "krippendorff_alpha")
        ]
        for name, found in results.items()
    ]
    return StudyTable(
        "Listeners among themselves",
        ["corpus", "rows with 2 votes", "votes a row", "pairs who agree", "Fleiss' kappa", "Krippendorff's alpha"],
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
    tables = [
        StudyTable(
            f"Synthetic annotators with listeners: {name}",
            ["annotator", "annotations", "agree with a listener", "kappa", "minus one listener"],
            annotators,
            "Last column: agreement with a listener, minus that of two listeners of the same row; above 0 the annotator agrees with listeners better than they do with one "
            "another, as a sharp guess of the plurality does.",
        ),
        StudyTable(
            f"What each focus adds: {name}",
            ["focus", *found["strata"]],
            [[focus, *(interval_words(value) for value in by.values())] for focus, by in found["focus"].items()],
            "JS divergence of the pooled annotations to the human votes without the focus, minus that without as many random annotations; above 0 the focus adds more than "
            "another annotation does. Intervals are not widened for the number of foci: of twenty, one is expected to lie off 0 by chance.",
        ),
        StudyTable(
            f"What synthetic votes add to half of the human votes: {name}",
            list(found["gain"]),
            [[interval_words(value) for value in found["gain"].values()]],
            "Fall of the JS divergence to the other half of the human votes when the synthetic votes are added to the first half; strata come from the first half.",
        ),
    ]
    return tables


def _findings(name: str, found: dict[str, Any]) -> list[str]:
    lines = []
    if "fleiss_kappa" in found:
        lines.append(
            f"{name}: listeners agree with kappa {interval_words(found['fleiss_kappa'], '.2f')} over {found['rows']} rows."
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
                f"{name}, {place}: adding synthetic votes {word} the human votes {way} those held out ({interval_words(value)})."
            )
    return lines


def _short(annotators: list[str]) -> list[str]:
    """Names for a narrow axis: without the model and the mode where all have the same."""
    parts = [name.split(", ") for name in annotators]
    if len({(part[0], part[-1]) for part in parts}) == 1 and all(len(part) > 2 for part in parts):
        return [", ".join(part[1:-1]) for part in parts]
    return annotators


def _plot(results: dict[str, Any], notes: list[str]) -> Any:
    from ..evaluation.study_plots import interval_plot, legend_below, panels, polished, slanted

    synthetic = {name: found for name, found in results.items() if "annotators" in found}
    figure, axes = panels(
        max(len(synthetic), 1), ["agreement", "focus"] if synthetic else ["agreement"], notes, "Agreement", (4.6, 3.8)
    )
    nan = dict.fromkeys(("value", "low", "high"), float("nan"))
    same_strata = len({tuple(found["strata"]) for found in synthetic.values()}) == 1
    if not synthetic:
        names = list(results)
        keys = {
            "pair_agreement": "pairs who agree",
            "fleiss_kappa": "Fleiss' kappa",
            "krippendorff_alpha": "Krippendorff's alpha",
        }
        interval_plot(
            axes[0][0],
            {title: [results[name].get(key, nan) for name in names] for key, title in keys.items()},
            names,
            "agreement",
        )
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


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `hf-emo-dist report agreement`."""
    add_source_arguments(parser)


def run(args: argparse.Namespace) -> Study:
    """Run the study that the arguments describe."""
    corpora = corpora_of(args)
    facts, notes = source_facts(args, corpora)
    return agreement_study(corpora, num_resamples=args.num_resamples or 500, seed=args.seed, facts=facts, notes=notes)
