"""Before anybody is paid: all that would end a preparation afterwards, by its settings or by the data's columns."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ..augmentation.augment_splits import AugmentationArguments, check_augmentation
from ..data.data_facts import data_facts
from ..data.output import check_place, check_space, working_folder
from ..data.writing import check_splits, write_dataset
from ..hub.cards.dataset_card import write_dataset_card
from .combine_settings import CombineArguments
from .combine_splits import check_combining, combine_splits

if TYPE_CHECKING:
    from datasets import Dataset

    from ..combining.combiner import VoteCombiner
    from ..data.opened import OpenedDataset

_REHEARSED = 2  # rows of each split
#: Fields of an entry of `synthetic_annotations`, and what they must hold where there are any.
_TEXTS = ("label", "model", "focus", "mode", "key")


def check_annotations(splits: Mapping[str, Dataset]) -> None:
    """Refuse annotations of another run that could not be kept beside new ones.

    Raises:
        ValueError: The column `synthetic_annotations` is of another form.
    """
    from datasets import List, Value

    for split, rows in splits.items():
        kind: Any = rows.features.get("synthetic_annotations")
        if kind is None:
            continue
        entry = getattr(kind, "feature", None) if isinstance(kind, List) else None
        wrong = [name for name in _TEXTS if not isinstance(entry, Mapping) or entry.get(name) != Value("string")]
        if wrong:
            raise ValueError(
                f"'synthetic_annotations' of {split!r} is no list of entries with {', '.join(_TEXTS)}, each a text "
                f"(wrong: {', '.join(wrong)}). Mend: rename or remove the column."
            )


def check_before_paying(
    combining: CombineArguments,
    augmenting: AugmentationArguments,
    opened: OpenedDataset,
    annotated: Sequence[str],
    folder: Path,
) -> VoteCombiner | None:
    """Find what would end combining, augmenting or writing later: hours and money are spent on what comes first.

    Values are looked at in all rows. For the rest, a few rows are combined and written, into a folder that is removed.

    Args:
        combining: How votes will be combined.
        augmenting: How the training split will be augmented.
        opened: The data set.
        annotated: Splits that will get synthetic votes.
        folder: Where the data set will be written.

    Returns:
        The saved combiner, where the settings name one.

    Raises:
        ValueError, OSError: The message says what does not fit, and the mend.
        ModuleNotFoundError: An extra is missing.
    """
    emotions = opened.emotions()
    if augmenting.augment != "none" and "train" not in opened.splits:
        raise ValueError(
            f"There is no split 'train' to augment (there are {', '.join(opened.splits)}). Mend: augment none."
        )
    check_splits(opened.splits)
    check_annotations(opened.splits)
    try:
        saved = check_combining(combining, opened, annotated)
    except TypeError as error:  # a column of another kind, which says itself what to do
        raise ValueError(str(error)) from error
    if augmenting.augment != "none":
        check_augmentation(augmenting, opened.rows("train"), emotions)
    check_place(folder)
    check_space(folder, _bytes_of(opened, augmenting))
    _rehearse(opened, emotions, folder)
    return saved


def _bytes_of(opened: OpenedDataset, augmenting: AugmentationArguments) -> int:
    """What the output takes about: the data as it is, and as much again where it is augmented."""
    size = sum(int(rows.data.nbytes * len(rows) / max(1, rows.data.num_rows)) for rows in opened.splits.values())
    return size if augmenting.augment == "none" else 2 * size


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Without bars, and without the word that a data set was written: it is not the user's."""
    from datasets import are_progress_bars_disabled, disable_progress_bars, enable_progress_bars

    shown, told = not are_progress_bars_disabled(), logging.getLogger(write_dataset.__module__)
    disable_progress_bars()
    told.disabled = True
    try:
        yield
    finally:
        told.disabled = False
        if shown:
            enable_progress_bars()


def _rehearse(opened: OpenedDataset, emotions: Sequence[str], folder: Path) -> None:
    """Combine the votes of a few rows, and write them as the whole will be written."""
    from datasets import DatasetDict

    few = {split: rows.select(range(min(_REHEARSED, len(rows)))) for split, rows in opened.splits.items()}
    with _quietly(), working_folder(folder) as place:
        few = combine_splits(few, CombineArguments(combine="pool", empty="uniform"), emotions).splits
        write_dataset(
            DatasetDict(few),
            place / "rehearsal",
            description="A rehearsal.",
            vote_source=opened.vote_source or "A rehearsal.",
            emotions=emotions,
            describe=lambda part: write_dataset_card(part, data_facts(few)),
        )
