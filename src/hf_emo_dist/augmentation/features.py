"""Features of a data set: the table of their kinds, computing them once, and reading a column of them as a matrix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._tables import resolve
from .extractors import FeatureExtractor
from .mixed_dataset import cache_place, undecoded

if TYPE_CHECKING:
    from datasets import Dataset

# Any other name is `module:Name` of a user's own, or a column of the data.
FEATURE_KINDS = {
    "paper": "extractors:PaperFeatures",
    "backbone": "backbone_features:BackboneFeatures",
    "text": "extractors:TextFeatures",
    "lexical": "extractors:LexicalFeatures",
}


def _extractor_class(kind: str) -> type[FeatureExtractor]:
    found = resolve(kind, FEATURE_KINDS, "kind of features", __package__)
    if not (isinstance(found, type) and issubclass(found, FeatureExtractor) and found.kind):
        raise ValueError(
            f"Features {kind!r} are no class that can be used. Mend: give a subclass of "
            "hf_emo_dist.augmentation.FeatureExtractor with a `kind` of its own."
        )
    return found


def compute_features(
    dataset: Dataset, kind: str, backbone: Any = None, num_proc: int | None = None, batch_size: int = 32
) -> Dataset:
    """Compute features of every row, as a data set of one column; NaN where the audio cannot be read."""
    from datasets import Audio, Features, List, Value

    extractor = _extractor_class(kind)(backbone=backbone)
    missing = [name for name in extractor.reads if name not in dataset.column_names]
    if missing:
        raise ValueError(
            f"There is no column {missing[0]!r} for features={kind!r} (there are {', '.join(dataset.column_names)}). "
            "Mend: add it, or choose other features."
        )
    wanted = ("id", *extractor.reads, *extractor.optional)
    narrow = dataset.with_format(None).select_columns([name for name in wanted if name in dataset.column_names])
    if isinstance(narrow.features.get("audio"), Audio):
        narrow = undecoded(narrow)
    return narrow.map(
        extractor,
        batched=True,
        batch_size=batch_size,
        num_proc=num_proc if num_proc and num_proc > 1 and len(narrow) > 1 else None,
        remove_columns=narrow.column_names,
        features=Features({extractor.column(): List(Value("float32"), length=extractor.size)}),
        **cache_place("features", narrow._fingerprint, *extractor.fingerprint),
        desc=f"{kind} features",
    )


def add_features(dataset: Dataset, kind: str, backbone: Any = None, num_proc: int | None = None) -> Dataset:
    """The data set with features of a kind as a further column, to look at or to save.

    >>> from datasets import Dataset
    >>> add_features(Dataset.from_dict({"id": ["a"], "transcript": ["No!"]}), "lexical").column_names
    ['id', 'transcript', 'dime_features_lexical']
    """
    from datasets import concatenate_datasets

    if _extractor_class(kind).column() in dataset.column_names:
        return dataset
    return concatenate_datasets([dataset, compute_features(dataset, kind, backbone, num_proc)], axis=1)


def feature_matrix(
    dataset: Dataset, kind: str, backbone: Any = None, num_proc: int | None = None
) -> NDArray[np.float32]:
    """Features (N, d) of a kind, or of a column: what the data set has is taken, what it lacks is computed."""
    # a kind goes before a column of the same name: many data sets have a column "text"
    if kind not in FEATURE_KINDS and (":" not in kind or kind in dataset.column_names):
        return column_matrix(dataset, kind)
    column = _extractor_class(kind).column()
    if column not in dataset.column_names:
        dataset = compute_features(dataset, kind, backbone, num_proc)
    return column_matrix(dataset, column)


def column_matrix(dataset: Dataset, column: str) -> NDArray[np.float32]:
    """A column of equally long lists of numbers as a matrix (N, d); a null row is NaN."""
    import pyarrow as pa
    import pyarrow.compute as pc

    if column not in dataset.column_names:
        raise ValueError(
            f"There is no column {column!r} of features (there are {', '.join(dataset.column_names)}). "
            f"Mend: name one that is there, one of {', '.join(FEATURE_KINDS)}, or 'module:Name' of your own class."
        )
    result: NDArray[np.float32] | None = None
    at = 0
    # by parts and without Python lists where it goes: a million rows of 256 numbers are a gigabyte already
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=4096):
        values = table.column(0).combine_chunks()
        kind = pa.types
        if not (kind.is_list(values.type) or kind.is_large_list(values.type) or kind.is_fixed_size_list(values.type)):
            raise ValueError(
                f"Column {column!r} must hold lists of numbers, it holds {values.type}. Mend: name a column that does."
            )
        lengths = pc.fill_null(pc.list_value_length(values), -1).to_numpy(zero_copy_only=False)
        size = result.shape[1] if result is not None else int(lengths.max(initial=0))
        wrong = np.flatnonzero((lengths != size) & (lengths >= 0))
        if size < 1 or len(wrong):
            row = at + (int(wrong[0]) if len(wrong) else 0)
            raise ValueError(
                f"Column {column!r}, row number {row}: {int(lengths[row - at])} numbers, where others have {size}. "
                "Mend: give every row as many, or null."
            )
        if result is None:
            result = np.full((len(dataset), size), np.nan, dtype=np.float32)
        flat = values.flatten().to_numpy(zero_copy_only=False)  # without the null rows
        result[at : at + len(values)][lengths >= 0] = np.asarray(flat, np.float32).reshape(-1, size)
        at += len(values)
    return np.zeros((0, 1), dtype=np.float32) if result is None else result
