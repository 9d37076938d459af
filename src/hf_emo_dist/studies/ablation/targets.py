"""Training targets from human, synthetic or combined votes, and the augmentation of the training rows, looked up when it is used."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..._lazy import need
from ...data.rows import column_of, row_ids
from ...votes import combine_votes

__all__ = ["SOURCES", "Augment", "augmenter_of", "dime_aug", "source_targets", "with_targets"]

#: Function of (training rows, emotions, seed) that gives the augmented rows.
Augment = Callable[[Any, Sequence[str], int], Any]

#: Source of the training target → weights of combine_votes.
SOURCES: Mapping[str, dict[str, float]] = {
    "human": {"synthetic_weight": 0.0, "distribution_weight": 0.0},
    "synthetic": {"human_weight": 0.0},
    "combined": {},
}


def source_targets(rows: Any, emotions: Sequence[str], source: str) -> list[dict[str, float] | None]:
    """Distributions of the votes of one source, row by row; `None` where a row has none of them.

    Args:
        rows: A data set, or a sequence of mappings, with `human_votes` and, for the other sources, `synthetic_votes` or `synthetic_annotations`.
        emotions: The label set.
        source: ``human``, ``synthetic`` or ``combined``.

    Raises:
        ValueError: The source is unknown, or there are no synthetic votes.

    Example:
        >>> row = {"id": "a", "human_votes": ["sad"], "synthetic_votes": ["sad", "angry", "angry"]}
        >>> [source_targets([row], ["angry", "sad"], source)[0]["angry"] for source in SOURCES]
        [0.0, 0.6666666666666666, 0.5]
    """
    if source not in SOURCES:
        raise ValueError(f"A source is one of {', '.join(SOURCES)}, got {source!r}.")
    names = ("id", "human_votes", "human_vote_weights", "synthetic_votes", "synthetic_annotations")
    columns = {name: values for name in names if (values := column_of(rows, name)) is not None}
    if "human_votes" not in columns:
        raise ValueError(
            "There is no column 'human_votes'. Mend: use a data set that the readers or from_table.py wrote."
        )
    if source != "human" and not any(any(columns.get(name, ())) for name in names[3:]):
        raise ValueError(
            f"The source {source!r} needs synthetic votes. Mend: annotate the data set first, or --sources human."
        )
    columns["human_votes"] = [votes or [] for votes in columns["human_votes"]]
    if "id" not in columns:
        columns["id"] = row_ids(rows)
    return list(
        combine_votes(columns, emotions, empty="drop", outside="drop", **SOURCES[source])["emotion_distribution"]
    )


def with_targets(dataset: Any, targets: Sequence[dict[str, float] | None], emotions: Sequence[str]) -> Any:
    """The rows of a data set that have a target, with it in `emotion_distribution`; nothing else of them changes."""
    from datasets import Dataset, Features, concatenate_datasets

    from ...votes import distribution_feature

    column = "emotion_distribution"
    kept = [place for place, target in enumerate(targets) if target is not None]
    if not kept:
        raise ValueError(f"No row has a target for {column!r}.")
    rest = dataset.remove_columns([column]) if column in dataset.column_names else dataset
    features = Features({column: distribution_feature(emotions)})
    added = Dataset.from_dict({column: [targets[place] for place in kept]}, features=features)
    return concatenate_datasets([rest.select(kept).flatten_indices() if len(kept) < len(rest) else rest, added], axis=1)


def dime_aug(dataset: Any, emotions: Sequence[str], seed: int, *, preset: str = "default", backbone: Any = None) -> Any:
    """The rows and those that the library's DiME-Aug mixes from them; its extra is needed only here."""
    from ...augmentation.dime import DiMEAug

    made = DiMEAug(emotions=list(emotions), seed=seed, preset=preset, backbone=backbone)
    return made.augment(dataset)


def augmenter_of(setting: str | None, preset: str, backbone: Any) -> Augment:
    """The function that a setting names, `package.module:function` of (data set, emotions, seed); the library's DiME-Aug without one.

    Raises:
        ValueError: There is no such function, or no such preset.
        ModuleNotFoundError: DiME-Aug is meant, and the extra ``augment`` is not installed.
    """
    if setting is None:
        from ...augmentation.dime import DiMEAug

        need("faiss", "DiMEAug")  # before anything is trained, not at the first augmented cell
        DiMEAug(preset=preset)
        return lambda dataset, emotions, seed: dime_aug(dataset, emotions, seed, preset=preset, backbone=backbone)
    module, sign, name = setting.partition(":")
    if not sign:
        raise ValueError(f"--augment_with {setting!r} is not package.module:function.")
    try:
        return getattr(importlib.import_module(module), name)  # type: ignore[no-any-return]
    except (ImportError, AttributeError) as error:
        raise ValueError(f"--augment_with {setting!r} cannot be imported: {error}.") from error
