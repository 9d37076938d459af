"""What cards say of a data set: rows, speakers and votes, counted from its columns."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from .loading import folder_card
from .mixed_rows import is_mixed

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
            if column in rows.column_names:
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
    """What cards take over from a data set's folder: `license`, `vote_source`, `pretty_name` and `restricted` of its
    README.
    """
    card = folder_card(folder)
    return {key: card[key] for key in ABOUT if key in card}
