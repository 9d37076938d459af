"""Training targets from human, synthetic or combined votes, and the augmentation of the training rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..._lazy import need
from ..._tables import resolve
from ...data.rows import column_of, row_ids
from ...votes import combine_votes

#: Function of (training rows, emotions, seed) that gives the augmented rows.
Augment = Callable[[Any, Sequence[str], int], Any]

#: Source of the training target → weights of combine_votes.
SOURCES: Mapping[str, dict[str, float]] = {
    "human": {"synthetic_weight": 0.0, "distribution_weight": 0.0},
    "synthetic": {"human_weight": 0.0},
    "combined": {},
}

DIME_AUG = "DiME-Aug"


def source_targets(rows: Any, emotions: Sequence[str], source: str) -> list[dict[str, float] | None]:
    """Distributions of the votes of one source, row by row; `None` where a row has none of them.

    Example:
        >>> row = {"id": "a", "human_votes": ["sad"], "synthetic_votes": ["sad", "angry", "angry"]}
        >>> [source_targets([row], ["angry", "sad"], source)[0]["angry"] for source in SOURCES]
        [0.0, 0.6666666666666666, 0.5]
    """
    if source not in SOURCES:
        raise ValueError(f"The source {source!r} is not known. Mend: one of {', '.join(SOURCES)}.")
    names = ("id", "human_votes", "human_vote_weights", "synthetic_votes", "synthetic_annotations")
    columns = {name: values for name in names if (values := column_of(rows, name)) is not None}
    if "human_votes" not in columns:
        raise ValueError("There is no column 'human_votes'. Mend: use a data set that hf-emo-dist read wrote.")
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
        raise ValueError(f"No row has a target for {column!r}. Mend: annotate the rows first.")
    rest = dataset.remove_columns([column]) if column in dataset.column_names else dataset
    features = Features({column: distribution_feature(emotions)})
    added = Dataset.from_dict({column: [targets[place] for place in kept]}, features=features)
    return concatenate_datasets([rest.select(kept).flatten_indices() if len(kept) < len(rest) else rest, added], axis=1)


def augmenter_of(augmentation: str | Augment, preset: str, backbone: Any) -> tuple[Augment, str]:
    """An augmentation and its name in tables: DiME-Aug, or a user's function, as it is or as `module:function`."""
    if not isinstance(augmentation, str):
        return augmentation, getattr(augmentation, "__name__", "another augmentation")
    if augmentation == DIME_AUG:
        from ...augmentation.dime import DiMEAug

        # what is wrong is said before anything is trained, not at the first augmented cell
        need("faiss", "DiMEAug")
        DiMEAug(preset=preset)
        made = DIME_AUG if preset == "default" else f"{DIME_AUG} ({preset})"

        def dime_aug(rows: Any, emotions: Sequence[str], seed: int) -> Any:
            return DiMEAug(emotions=list(emotions), seed=seed, preset=preset, backbone=backbone).augment(rows)

        return dime_aug, made
    return resolve(augmentation, {DIME_AUG: "augmentation.dime:DiMEAug"}, "augmentation", "hf_emo_dist"), augmentation
