"""What a plan needs to know of a data set, in an order that is always the same."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..audio.clips import audio_hash
from ..data.mixed_rows import is_mixed
from ..distributions import FloatArray, dominant
from ..emotions import validate_emotions
from ..votes import distributions_to_matrix

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

# Votes that a distribution is taken to rest on where the data set has none of them.
_ASSUMED_VOTES = 5.0


@dataclass
class Pool:
    """The rows that can be counted and mixed, sorted by id."""

    ids: list[str]
    emotions: tuple[str, ...]
    distributions: FloatArray  # (N, K), the training targets
    votes: FloatArray  # (N,), behind each
    speakers: NDArray[np.int64]  # (N,) numbers, -1 where the speaker is not known
    features: NDArray[np.float32]  # (N, d), scaled; rows of NaN are not mixed
    left_out: dict[str, list[str]]  # reason to ids: rows that are no source, or not even counted
    clips: NDArray[Any] | None = None  # (N,) labels of the recordings, where features do not tell them apart

    @property
    def dominant(self) -> NDArray[np.int64]:
        """(N,) index of each row's largest emotion; the first of equals."""
        return dominant(self.distributions)

    @property
    def usable(self) -> NDArray[np.bool_]:
        """(N,) whether a row has features, so that it can be mixed."""
        return np.asarray(np.isfinite(self.features).all(axis=1))


def check_trainable(dataset: Any, needed: Sequence[str] = ("id", "emotion_distribution")) -> None:
    """Raise for what must not be augmented: several splits, a stream, a test split, rows that were mixed already."""
    from datasets import Dataset, DatasetDict

    if isinstance(dataset, DatasetDict | dict):
        raise TypeError(
            f"This holds several splits ({', '.join(dataset)}). "
            "Mend: augment the training split alone, dataset['train']."
        )
    if not isinstance(dataset, Dataset):
        raise TypeError(
            f"A plan needs the whole data set, got {type(dataset).__name__}. Mend: load it with streaming=False; "
            "plan.lazy().iterable_dataset() then mixes on the fly."
        )
    split = str(dataset.split or "").lower()
    if split.startswith(("validation", "valid", "val", "dev", "test", "eval")):
        raise ValueError(
            f"This is the split {split!r}: only training data is augmented, since nobody has listened to mixed clips. "
            "Mend: augment dataset['train']."
        )
    for name in needed:
        if name not in dataset.column_names:
            raise ValueError(
                f"There is no column {name!r} (there are {', '.join(dataset.column_names)}). Mend: read the data with "
                "hf_emo_dist.read_table, or write the distributions with dataset.map(combine_votes)."
            )
    if is_mixed(dataset).any():
        raise ValueError(
            f"{is_mixed(dataset).sum()} rows were mixed already. Mend: augment the original rows, "
            "dataset.filter(lambda row: not row['mixed_from'])."
        )


def row_positions(dataset: Dataset) -> dict[str, int]:
    """Id to row number; raises for an id that is missing or stands twice."""
    places: dict[str, int] = {}
    for place, row_id in enumerate(dataset["id"][:]):
        if not isinstance(row_id, str) or not row_id:
            raise ValueError(
                f"Column 'id', row number {place}: {row_id!r} is no id. Mend: give every row a unique string."
            )
        if row_id in places:
            raise ValueError(f"Column 'id': {row_id!r} stands twice. Mend: make ids unique.")
        places[row_id] = place
    return places


def read_pool(
    dataset: Dataset,
    emotions: Sequence[str] | None,
    features: NDArray[np.float32],
    ids: Sequence[str],
    order: NDArray[np.int64],
    hash_clips: bool = False,
) -> Pool:
    """Read a data set; `features` (N, d) are of the rows sorted by id, whose `ids` have the row numbers `order`."""
    structs = dataset["emotion_distribution"][:]
    structs = [structs[i] for i in order.tolist()]
    filled = np.array([row is not None and any(value is not None for value in row.values()) for row in structs])
    if not filled.any():
        raise ValueError("No row has an 'emotion_distribution'. Mend: write it with dataset.map(combine_votes).")
    left_out: dict[str, list[str]] = {}
    kept = [row_id for row_id, there in zip(ids, filled, strict=True) if there]
    if not filled.all():
        left_out["no emotion_distribution"] = sorted(set(ids) - set(kept))
        structs = [struct for struct, there in zip(structs, filled, strict=True) if there]
        features, order = features[filled], order[filled]
    names = validate_emotions(list(structs[0]) if emotions is None else emotions)
    matrix = distributions_to_matrix(structs, names, ids=kept)
    speakers = np.full(len(kept), -1, dtype=np.int64)
    if "speaker" in dataset.column_names:
        values = dataset["speaker"][:]
        known = sorted({values[i] for i in order} - {None, ""}, key=str)
        number = {name: index for index, name in enumerate(known)}
        speakers = np.array([number.get(values[i], -1) for i in order], dtype=np.int64)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if len(bad):
        left_out["features that are not finite"] = [kept[i] for i in bad]
    clips = np.array([audio_hash(dataset[int(i)]["audio"]) for i in order]) if hash_clips else None
    pool = Pool(kept, names, matrix, _votes(dataset, order), speakers, features, left_out, clips)
    for reason, rows in left_out.items():
        logger.warning("%d rows are not mixed: %s (%s)", len(rows), reason, ", ".join(rows[:5]))
    return pool


def _votes(dataset: Dataset, order: NDArray[np.int64]) -> FloatArray:
    import pyarrow as pa
    import pyarrow.compute as pc

    total = np.zeros(len(dataset))
    for name in {"human_votes", "synthetic_votes"} & set(dataset.column_names):
        column = dataset.select_columns([name]).with_format("arrow")[:].column(0)
        if pa.types.is_null(column.type):
            continue
        total += pc.fill_null(pc.list_value_length(column), 0).to_numpy()
    return np.where(total > 0, total, _ASSUMED_VOTES)[order]
