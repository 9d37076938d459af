"""What the commands of the studies share: naming sources, choosing rows, splitting them by a column."""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ..scores.bootstrap import bootstrap_interval
from .vote_table import VoteTable, read_vote_table

__all__ = [
    "add_common_arguments",
    "add_source_arguments",
    "corpora_of",
    "interval",
    "interval_words",
    "p_words",
    "predictions_for",
    "source_facts",
]


def add_common_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that every study has."""
    parser.add_argument("--output", required=True, metavar="DIR", help="folder for the report; made if needed")
    parser.add_argument("--seed", type=int, default=0, help="of subsets, halves and the bootstrap (default: 0)")
    parser.add_argument("--num_resamples", type=int, default=None, help="bootstrap resamples")


def add_source_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments that name the votes."""
    parser.add_argument(
        "sources",
        nargs="+",
        metavar="[NAME=]SOURCE",
        help="data set (Parquet folder or Hub id) or table of counts (.csv); several are shown side by side",
    )
    parser.add_argument("--split", help="split of a data set (default: all of them together)")
    parser.add_argument("--emotions", metavar="A,B,C", help="label set (default: that of the data)")
    parser.add_argument("--by", metavar="COLUMN", help="show each value of this column by itself, such as modality")
    parser.add_argument(
        "--where", action="append", default=[], metavar="COLUMN=VALUE", help="only such rows; may be repeated"
    )
    parser.add_argument("--speaker_column", help="who speaks (default: speaker, or actor)")
    add_common_arguments(parser)


def corpora_of(args: argparse.Namespace) -> dict[str, VoteTable]:
    """The votes that the arguments name, by name.

    Raises:
        ValueError: Two sources have one name, or a condition is not COLUMN=VALUE.
    """
    conditions = {}
    for text in args.where:
        name, sign, value = text.partition("=")
        if not sign:
            raise ValueError(f"--where {text!r} is not COLUMN=VALUE.")
        conditions[name] = value
    emotions = [name.strip() for name in args.emotions.split(",")] if args.emotions else None
    found: dict[str, VoteTable] = {}
    for source in args.sources:
        name, sign, path = source.partition("=")
        if not sign:
            name, path = (Path(source).stem or source), source
        table = read_vote_table(path, split=args.split, emotions=emotions, speaker_column=args.speaker_column)
        if conditions:
            table = table.where(conditions)
        parts = {name: table}
        if args.by:
            values = np.array([str(value) for value in table.column(args.by)])
            parts = {f"{name}, {value}": table.select(np.flatnonzero(values == value)) for value in np.unique(values)}
        for part, rows in parts.items():
            if part in found:
                raise ValueError(f"Two sources are named {part!r}. Mend: write NAME=SOURCE.")
            found[part] = rows
    return found


def source_facts(args: argparse.Namespace, corpora: dict[str, VoteTable]) -> tuple[dict[str, str], list[str]]:
    """Facts on the data for a report, and the notes that must be shown."""
    sources = list(dict.fromkeys(table.source for table in corpora.values()))
    facts = {"data": "; ".join(sources)}
    if args.where:
        facts["rows"] = "only " + ", ".join(args.where)
    facts["split"] = args.split or "all rows: no model is trained, so nothing is held out"
    facts["emotions"] = "; ".join(dict.fromkeys(", ".join(table.emotions) for table in corpora.values()))
    notes = list(dict.fromkeys(note for table in corpora.values() for note in table.notes))
    return facts, notes


def predictions_for(path: str | Path, ids: Sequence[str], emotions: Sequence[str]) -> np.ndarray:
    """Predicted distributions (N, K) of these rows from a `predictions.parquet`, matched by id.

    Raises:
        ValueError: The file lacks rows, or holds distributions over other labels.
        FileNotFoundError: There is no such file.
    """
    import pyarrow.parquet as pq

    from ..votes import distributions_to_matrix

    file = Path(path).expanduser()
    if not file.is_file():
        raise FileNotFoundError(
            f"There are no predictions at {file}. Mend: recipes/evaluate.py writes predictions.parquet."
        )
    found = pq.read_table(file, columns=["id", "predicted_distribution"])
    places = {name: place for place, name in enumerate(found["id"].to_pylist())}
    lacking = [name for name in ids if name not in places]
    if lacking:
        raise ValueError(
            f"{file.name} lacks {len(lacking)} of {len(ids)} rows: {', '.join(lacking[:5])}. Mend: predict the same split, or name it with --split."
        )
    column = found["predicted_distribution"].take([places[name] for name in ids])
    return distributions_to_matrix(column, emotions, ids=list(ids), column_name="predicted_distribution")


def interval(values: Any, groups: Any, num_resamples: int, seed: int) -> dict[str, float]:
    """Mean of rows with its interval, over speakers where they are known; NaN where there are no rows.

    >>> interval([1.0, 1.0], ["a", "b"], 10, 0)
    {'value': 1.0, 'low': 1.0, 'high': 1.0}
    """
    data = np.asarray(values, dtype=np.float64)
    if not len(data):
        return dict.fromkeys(("value", "low", "high"), math.nan)
    mean, low, high = bootstrap_interval(data, groups, num_resamples, seed=seed)
    return {"value": mean, "low": float(low), "high": float(high)}


def interval_words(estimate: dict[str, float], spec: str = ".3f") -> str:
    """An estimate with its interval, as text.

    >>> interval_words({"value": 0.25, "low": 0.2, "high": float("nan")})
    '0.250'
    """
    if not math.isfinite(estimate["value"]):
        return "-"
    if not (math.isfinite(estimate["low"]) and math.isfinite(estimate["high"])):
        return f"{estimate['value']:{spec}}"
    return f"{estimate['value']:{spec}} [{estimate['low']:{spec}}, {estimate['high']:{spec}}]"


def p_words(p_value: float) -> str:
    """A p-value as text; none is 0.

    >>> p_words(0.0461), p_words(0.0002)
    ('p = 0.046', 'p < 0.001')
    """
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
