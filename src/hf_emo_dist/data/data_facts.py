"""What cards and commands say of a data set: rows, speakers and votes, counted from its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..columns import distributions_to_matrix
from ..emotions import KNOWN_EMOTIONS
from .loading import emotions_of, folder_card
from .mixed_rows import is_mixed

if TYPE_CHECKING:
    from datasets import Dataset, DatasetDict

#: What cards take over from the metadata of a data set's README.
ABOUT = ("license", "vote_source", "pretty_name", "restricted")


def data_facts(splits: Mapping[str, Any]) -> dict[str, Any]:
    """Counts over the columns of some splits, ready for JSON.

    Args:
        splits: name → `Dataset`; what has no length, such as a stream, is left out.

    Returns:
        `splits` (name → `rows`, `speakers` or None, `human_votes`, `synthetic_votes`, `stated_distributions`,
        `mixed_rows`), the `emotions` of the distributions, `languages`, `corpora` and the `description` of the data;
        all but `splits` where known.

    Example:
        >>> from datasets import Dataset
        >>> rows = Dataset.from_list([{"id": "a", "speaker": "s", "human_votes": ["sad", "sad"]}])
        >>> data_facts({"train": rows})["splits"]["train"]["human_votes"]
        2
    """
    facts: dict[str, Any] = {"splits": {}}
    values: dict[str, set[str]] = {"language": set(), "corpus": set()}
    for name, rows in splits.items():
        if rows is None or not hasattr(rows, "__len__") or not hasattr(rows, "column_names"):
            continue
        facts["splits"][name] = _counts(rows)
        for column, found in values.items():
            if column in rows.column_names and getattr(rows.features[column], "dtype", None) in (
                "string",
                "large_string",
            ):
                found |= {str(value) for value in rows.unique(column) if value}
        for column in ("human_distribution", "emotion_distribution"):
            if "emotions" not in facts and column in rows.column_names and isinstance(rows.features[column], Mapping):
                facts["emotions"] = list(rows.features[column])
        facts.setdefault("description", getattr(rows.info, "description", "") or "")
    return {**facts, "languages": sorted(values["language"]), "corpora": sorted(values["corpus"])}


def _counts(rows: Any) -> dict[str, Any]:
    columns = rows.column_names

    def total(column: str) -> int | None:
        return sum(len(entries or ()) for entries in rows[column]) if column in columns else None

    speakers = {value for value in rows.unique("speaker") if value} if "speaker" in columns else set()
    stated = None
    if "synthetic_annotations" in columns:
        stated = sum(
            entry.get("distribution") is not None and entry.get("label") is None
            for entries in rows["synthetic_annotations"]
            for entry in entries or ()
        )
    return {
        "rows": len(rows),
        "speakers": len(speakers) or None,
        "human_votes": total("human_votes"),
        "synthetic_votes": total("synthetic_votes"),
        "stated_distributions": stated,
        "mixed_rows": int(is_mixed(rows).sum()),
    }


def about_folder(folder: str | Path) -> dict[str, Any]:
    """What cards take over from the README in a data set's folder: those keys of :data:`ABOUT` that it has."""
    card = folder_card(folder)
    return {key: card[key] for key in ABOUT if key in card}


def describe_dataset(dataset: DatasetDict | Dataset) -> str:
    """Describe a data set in a table: rows, speakers, votes and the mean distribution, by split.

    Args:
        dataset: The splits, with ``human_votes`` and ``human_distribution``; or with ``intended`` alone.

    Returns:
        Text of one line a split below a header. ``votes`` is the mean number of votes an utterance; a column named
        like an emotion is its share of the votes, every utterance weighing the same; without votes, the share of
        the utterances that were meant so.

    Example:
        >>> from datasets import Dataset
        >>> row = {"speaker": "s", "human_votes": ["sad"], "human_distribution": {"angry": 0.0, "sad": 1.0}}
        >>> print(describe_dataset(Dataset.from_list([row])))
        split  rows  speakers  votes  angry    sad
        all       1         1    1.0  0.000  1.000
    """
    from datasets import Dataset

    splits = {"all": dataset} if isinstance(dataset, Dataset) else dict(dataset)
    first = next(iter(splits.values()))
    if "human_distribution" not in first.column_names and "intended" in first.column_names:
        present = {label for rows in splits.values() for label in rows["intended"][:]} - {None}
        emotions = (*(name for name in KNOWN_EMOTIONS if name in present), *sorted(present - set(KNOWN_EMOTIONS)))
    else:
        emotions = emotions_of(dataset)
    table = [["split", "rows", "speakers", "votes", *emotions]]
    for split, rows in splits.items():
        speakers = set(rows["speaker"][:]) - {None} if "speaker" in rows.column_names else set()
        if "human_votes" in rows.column_names:
            votes = float(np.mean([len(labels or ()) for labels in rows["human_votes"][:]]))
            mass = distributions_to_matrix(
                rows["human_distribution"][:], emotions, column_name="human_distribution"
            ).mean(0)
        else:
            votes = 0.0
            mass = np.mean([[label == name for name in emotions] for label in rows["intended"][:]], axis=0)
        table.append(
            [split, str(len(rows)), str(len(speakers) or "?"), f"{votes:.1f}", *(f"{value:.3f}" for value in mass)]
        )
    widths = [max(len(line[column]) for line in table) for column in range(len(table[0]))]
    lines = []
    for line in table:
        first, *rest = (cell.rjust(width) for cell, width in zip(line, widths, strict=True))
        lines.append("  ".join([line[0].ljust(len(first)), *rest]))
    return "\n".join(lines)
