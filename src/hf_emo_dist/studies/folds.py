"""What is to be beaten on folds of whole speakers, by a protocol of the field or by folds of one's own."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np

from ..corpora.cremad import holds_responses
from ..data.protocols import Kept, Protocol, protocol_of
from ..data.rows import rough_intervals
from ..data.splits import speaker_folds
from ..evaluation.fold_figures import (
    FLOOR,
    KNOWN,
    MEAN,
    UNIFORM,
    FoldedVotes,
    constant_predictions,
    fold_figures,
    folds_markdown,
)
from ..evaluation.scoring import Bootstrap, interval_words
from .study import Study, StudyTable
from .vote_table import Sources, VoteTable, read_vote_table, shares_of

logger = logging.getLogger(__name__)


def folds(
    data: Sources,
    *,
    protocol: str | None = None,
    fold_column: str | None = None,
    num_folds: int = 5,
    known: Sequence[str] | None = None,
    late_responses: Literal["keep", "drop"] | None = None,
    num_resamples: int = 2000,
    seed: int = 0,
) -> Study:
    """Score what hears nothing on folds of whole speakers, and the floor: what a model is to be held against.

    Every row is predicted from the rows of other folds, whose speakers are others. No model is trained;
    `hf-emo-dist cross-validate` trains one on the same folds and scores it by the same code.

    Args:
        data: Votes of one corpus.
        protocol: Folds, rows and labels of a protocol of the field: emo_superb, CREMA-D's voice votes in five ranges of
            actors (arXiv 2402.13018).
        fold_column: Column that names the folds.
        num_folds: Folds of whole speakers, where neither a protocol nor a column names them.
        known: Columns whose knowledge is a predictor, such as intended,level: the mean of the other folds' rows that
            are alike in all of them.
        late_responses: For CREMA-D's finishedResponses.csv: whether responses later than 10 s after the clip count
            (default: keep with emo_superb, else drop, as the corpus's authors do).
        num_resamples: Bootstrap resamples.
        seed: Of folds that are drawn, and of the bootstrap.
    """
    bootstrap = Bootstrap(num_resamples, seed)
    if data.by:
        raise ValueError("--by shows corpora side by side. Mend: here, one --where COLUMN=VALUE.")
    if protocol is not None and fold_column is not None:
        raise ValueError(f"{protocol} has folds of its own. Mend: leave --fold_column out, or --protocol.")
    rules = None if protocol is None else protocol_of(protocol)
    table, told = _table(data, rules, late_responses)
    table = table.select(np.flatnonzero(table.counts().sum(axis=1) > 0))
    fold = _folds(table, rules, fold_column, num_folds, seed)
    counts = table.counts()
    shares = shares_of(counts)
    cells = None if not known else list(zip(*(table.column(name) for name in known), strict=True))
    predictions, unseen = constant_predictions(shares, fold, cells)
    if unseen:
        logger.warning("values of %s that no other fold has: %s; they get the mean", ", ".join(known or ()), unseen)
    labels = shares if rules is None else rules.labels(shares)
    votes = FoldedVotes(shares, counts, fold, table.groups(), labels)
    figures = fold_figures(predictions, votes, bootstrap)

    speakers = len(set(votes.groups.tolist()))
    facts = data.facts()
    facts["split"] = _split_words(rules, fold_column, num_folds)
    facts["protocol"] = _protocol_words(rules)
    facts["scored"] = f"{len(shares)} rows of {speakers} " + ("speakers" if table.speakers() else "rows, one by one")
    facts["seeds"] = f"seed {seed}; {num_resamples} resamples"
    notes = [*data.notes(), *table.notes, *told]
    if rules is not None:
        notes += rules.differs(table.emotions)
        if len(figures["folds"]) < len(rules.speakers):
            notes.append(f"{len(figures['folds'])} of the protocol's {len(rules.speakers)} folds have rows: a subset")
    notes += rough_intervals(speakers) if table.speakers() else []
    title = f"Folds of {protocol}" if protocol else f"{len(figures['folds'])} folds of whole speakers"
    study = Study("folds", title, facts, list(dict.fromkeys(notes)))
    study.results = {"protocol": protocol, "known": list(known or ()), "rows": len(shares), "speakers": speakers}
    study.results |= figures
    titles = {
        UNIFORM: "uniform",
        MEAN: "mean of the other folds",
        KNOWN: f"knowing {' and '.join(known or ())}",
        FLOOR: "floor: the true distributions",
    }
    columns, rows = folds_markdown(figures, titles)
    study.tables = [
        StudyTable(
            "All folds (JS base 2; JS lower, the others higher is better)",
            columns,
            rows,
            "95 % intervals over speakers. Macro-F1 is of the emotions whose share is over 1/K, the mean over the "
            "folds. The floor is what the true distributions would be expected to score against so few votes.",
        ),
        _by_fold(figures, rules, titles),
    ]
    study.findings = _findings(figures, titles)
    return study


def _table(data: Sources, rules: Protocol | None, late_responses: Kept | None) -> tuple[VoteTable, list[str]]:
    """The rows that are scored, and what must be said of how they were read."""
    told = []
    source = next(iter(data.opened.values())) if len(data.opened) == 1 else None
    if isinstance(source, Path) and holds_responses(source):
        late: Kept = late_responses or (rules.late_responses if rules else "drop")
        table = read_vote_table(
            source, split=data.split, emotions=data.emotions, speaker_column=data.speaker_column, late_responses=late
        )
        if data.where:
            table = table.where(data.where)
        if rules is not None and late != rules.late_responses:
            told.append(f"late responses: {late}, where {rules.name} has {rules.late_responses}")
    elif late_responses is not None:
        raise ValueError(
            "--late_responses is for CREMA-D's finishedResponses.csv, which says who answered when. Mend: give that "
            "file, or leave the option out."
        )
    else:
        table = data.one("Folds")
        if rules is not None and rules.late_responses == "keep" and isinstance(source, Path):
            told.append(
                f"counts: where they are those of the corpus's authors they leave out responses later than 10 s, which "
                f"{rules.name} keeps"
            )
    for column, value in (rules.rows if rules else {}).items():
        if column in table.columns and column not in (data.where or {}):
            table = table.where({column: value})
    return table, told


def _folds(table: VoteTable, rules: Protocol | None, fold_column: str | None, num_folds: int, seed: int) -> np.ndarray:
    """The number of each row's fold, from 1."""
    speakers = table.speakers()
    if rules is not None:
        return rules.fold_of(speakers or table.ids, table.columns.get("corpus"))
    if speakers is None:
        raise ValueError(
            "Who speaks is not known of every row, so that no fold is of speakers whom the others do not have. Mend: "
            "name the column with --speaker_column."
        )
    if fold_column is None:
        from datasets import Dataset

        rows = Dataset.from_dict({"speaker": [str(name) for name in speakers]})
        fold = np.empty(len(speakers), dtype=np.int64)
        for number, (_, test) in enumerate(speaker_folds(rows, num_folds, seed=seed), start=1):
            fold[test] = number
        return fold
    names, fold = np.unique(np.array([str(value) for value in table.column(fold_column)]), return_inverse=True)
    if len(names) < 2:
        raise ValueError(f"Column {fold_column!r} names one fold only. Mend: name another, or use --num_folds.")
    place: dict[str, int] = {}
    for speaker, number in zip(map(str, speakers), fold.reshape(-1).tolist(), strict=True):
        if place.setdefault(speaker, number) != number:
            raise ValueError(
                f"Speaker {speaker!r} is in the folds {str(names[place[speaker]])!r} and {str(names[number])!r} of "
                f"column {fold_column!r}. Mend: use --num_folds, which keeps speakers together."
            )
    return fold.reshape(-1) + 1


def _split_words(rules: Protocol | None, fold_column: str | None, num_folds: int) -> str:
    if rules is not None:
        ranges = ", ".join(f"{first}-{last}" for first, last in rules.speakers)
        return f"folds of {rules.source}, by ranges of speakers: {ranges}"
    return f"folds of the column {fold_column}" if fold_column else f"{num_folds} folds of whole speakers, drawn"


def _protocol_words(rules: Protocol | None) -> str:
    told = "each row is predicted from the rows of the other folds and scored on its human votes"
    if rules is None:
        return told
    chosen = "".join(f"; rows with {column} {value}" for column, value in rules.rows.items())
    return (
        f"{told}{chosen}; JS and Bhattacharyya on the shares of the votes, macro-F1 on labels smoothed by "
        f"{rules.smoothing}, as {rules.name}'s are"
    )


def _by_fold(figures: dict[str, Any], rules: Protocol | None, titles: dict[str, str]) -> StudyTable:
    names = [name for name in figures if name != "folds"]
    rows = []
    for fold in figures["folds"]:
        tested = f" ({'-'.join(map(str, rules.speakers[fold['fold'] - 1]))})" if rules else ""
        cells = [fold[name]["js_divergence"] for name in names]
        cells = ["-" if value is None else f"{value:.3f}" for value in cells]
        rows.append([f"{fold['fold']}{tested}", str(fold["rows"]), str(fold["speakers"]), *cells])
    return StudyTable(
        "JS divergence, fold by fold", ["fold", "rows", "speakers", *(titles[name] for name in names)], rows
    )


def _findings(figures: dict[str, Any], titles: dict[str, str]) -> list[str]:
    lines = [
        f"{titles[name]}: JS {interval_words(figures[name]['js_divergence'])}, Bhattacharyya "
        f"{interval_words(figures[name]['bhattacharyya_coefficient'])}."
        for name in (UNIFORM, MEAN, KNOWN)
        if name in figures
    ]
    if FLOOR in figures:
        lines.append(f"{titles[FLOOR]} would score JS {interval_words(figures[FLOOR]['js_divergence'])}.")
    return lines
