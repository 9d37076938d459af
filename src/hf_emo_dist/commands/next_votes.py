"""`hf-emo-dist next-votes DATASET --budget N --output FILE`: which utterances should get the next human votes."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from ..markdown import csv_text
from .arguments import Options, Values

if TYPE_CHECKING:
    from ..combining.combiner import VoteCombiner
    from ..data.opened import OpenedDataset

_SUFFIXES = (".csv", ".parquet", ".jsonl")


def options() -> Options:
    """Those of `next_votes`."""
    return Options(next_votes)


def run(values: Values) -> None:
    """Choose, write and say what it brings."""
    values.call(next_votes)


def next_votes(
    dataset: str,
    *,
    budget: int,
    output: str,
    combiner: str | None = None,
    split: str = "train",
    most_per_row: int | None = None,
    overwrite: bool = False,
) -> None:
    """Tell which utterances should get the next human votes: where these lower the expected squared error of the
    targets most.

    Args:
        dataset: Local folder or Hub id of a data set with votes.
        budget: Human votes to ask for in all.
        output: File to write, CSV, Parquet or JSON lines by its suffix: id, votes to ask for, and how much the expected
            squared error of the row's target falls by them.
        combiner: JSON file of a fitted combiner. Default: the combiner.json in the data set's folder; where there is
            none, one is fitted on the split train.
        split: Split to ask about.
        most_per_row: Votes of one utterance at most. Default: no bound.
        overwrite: Replace a file that is there.
    """
    from ..combining.allocation import next_votes as chosen_votes
    from ..combining.worth import expected_error
    from ..data.opened import open_dataset
    from ..data.output import claimed_file, output_file

    suffix = Path(output).suffix.lower()
    if suffix not in _SUFFIXES:
        raise ValueError(f"--output {output} is of no known kind. Mend: a name that ends in {', '.join(_SUFFIXES)}.")
    with claimed_file(output, overwrite) as file:
        opened = open_dataset(dataset)
        rows = opened.rows(split)
        fitted = _combiner(opened, combiner)
        chosen = chosen_votes(rows, fitted, budget, most_per_row)
        before = expected_error(fitted.rows_and_concentration(rows)[1])
        with output_file(file) as part:
            if suffix == ".csv":
                chosen.map(lambda row: {"id": csv_text(row["id"])}).to_csv(part, index=False)
            elif suffix == ".parquet":
                chosen.to_parquet(part)
            else:
                chosen.to_json(part)
    asked, fall = sum(chosen["votes"]), sum(chosen["expected_gain"]) / before.sum()
    notes = f" ({', '.join(opened.notes(rows))})" if opened.notes(rows) else ""
    sys.stdout.write(
        f"{asked:,} votes for {len(chosen):,} of {len(before):,} utterances: the expected squared error of the targets "
        f"falls from {before.mean():.4f} to {before.mean() * (1 - fall):.4f}, by {fall:.1%}{notes}.\nWrote {output}\n"
    )


def _combiner(opened: OpenedDataset, file: str | None) -> VoteCombiner:
    """The combiner named, that of the folder, or one that is fitted on the training split."""
    from ..combining.combiner import VoteCombiner
    from ..data.preparation_file import COMBINER_NAME
    from ..preparation.combine_settings import load_combiner
    from ..preparation.combine_splits import fit_on_splits

    beside = Path(opened.name).expanduser() / COMBINER_NAME
    if file is not None or beside.is_file():
        return load_combiner(file or beside, opened.emotions())
    combiner = VoteCombiner(opened.emotions())
    fit_on_splits(combiner, opened.splits)
    return combiner
