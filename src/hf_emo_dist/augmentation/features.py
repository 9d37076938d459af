"""Features of the voice and of the words: one vector an utterance, computed from that utterance alone.

A new kind is a subclass of `FeatureExtractor` and a line in `FEATURE_KINDS`.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from .._tables import resolve
from ..audio.clips import load_audio
from ..audio.decoding import SAMPLING_RATE, AudioError
from .mixed_dataset import cached_map, undecoded

if TYPE_CHECKING:
    from datasets import Dataset

logger = logging.getLogger(__name__)

_N_FFT, _HOP = 2048, 512
# Any other name is `module:Name` of a user's own, or a column of the data.
FEATURE_KINDS = {
    "paper": "features:PaperFeatures",
    "backbone": "backbone_features:BackboneFeatures",
    "text": "features:TextFeatures",
    "lexical": "features:LexicalFeatures",
}


class FeatureExtractor(ABC):
    """A function for ``Dataset.map(batched=True)`` that adds one column of features; subclasses say how for one row.

    A plan must be the same whatever the number of processes, so `features` sees one row and nothing of the others. A
    row for which it raises an `AudioError`, since its clip cannot be read, is named and left out.

    Attributes:
        kind: Names the column, ``dime_features_<kind>``.
        size: Numbers in a vector.
        version: To be raised whenever the numbers change: what an older version left in the cache is then not read.
        reads: Columns that `features` needs.
        optional: Columns that it takes where they are there.

    Args:
        backbone: What `DiMEAug` was given as its `backbone`; most kinds need none.

    Example:
        >>> class Length(FeatureExtractor):
        ...     kind, size, reads = "length", 1, ("transcript",)
        ...
        ...     def features(self, row):
        ...         return np.array([len(row["transcript"])])
        >>> Length()({"transcript": ["Oh no!"]})
        {'dime_features_length': [array([6.], dtype=float32)]}
    """

    kind = ""
    size = 0
    version = 1
    reads: tuple[str, ...] = ("audio",)
    optional: tuple[str, ...] = ()

    def __init__(self, backbone: Any = None) -> None:
        # names the cache file; two classes of users may have chosen the same kind
        module = type(self).__module__
        own = () if module.startswith(f"{__package__}.") else (module, type(self).__qualname__)
        self.fingerprint: tuple[Any, ...] = (self.kind, self.version, *own)

    @classmethod
    def column(cls) -> str:
        """Name of the column that the features are kept in."""
        return f"dime_features_{cls.kind}"

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The column of features of a batch."""
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        # on one thread: sums must not depend on how many cores there are, and processes must not fight for them
        with need("threadpoolctl", "features").threadpool_limits(1):
            return {self.column(): [self._safely(row) for row in rows]}

    def _safely(self, row: Mapping[str, Any]) -> NDArray[np.float32]:
        try:
            return np.asarray(self.features(row), dtype=np.float32)
        except AudioError as error:  # the row is left out of the plan and named there; the others go on
            logger.warning("no features: %s", error)
            return np.full(self.size, np.nan, dtype=np.float32)

    @abstractmethod
    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """Features (size,) of one row."""


def lexical_counts(transcript: str | None) -> NDArray[np.float64]:
    """Ten counts of a transcript, (10,), zeros where there is none."""
    # arXiv 2601.14620 uses ten lexical counts and does not say which; these are our choice
    text = transcript or ""
    words = text.split()
    return np.array(
        [
            len(text),
            len(words),
            len({word.lower() for word in words}),
            sum(c.isalpha() for c in text),
            sum(c.isupper() for c in text),
            sum(c.isdigit() for c in text),
            *(text.count(mark) for mark in "!?,."),
        ],
        dtype=np.float64,
    )


class LexicalFeatures(FeatureExtractor):
    """:func:`lexical_counts` of each row, 10-D."""

    kind, size, reads = "lexical", 10, ("transcript",)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The ten counts."""
        return lexical_counts(row.get("transcript"))


class TextFeatures(FeatureExtractor):
    """What a transcript says, 256-D: hashed character 2- to 4-grams within words, of unit length."""

    kind, size, reads = "text", 256, ("transcript",)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The hashed n-grams."""
        text = need("sklearn.feature_extraction.text", "text features")
        # hashing has no vocabulary to fit, so that a row's features do not depend on the others
        hasher = text.HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=self.size)
        return np.asarray(hasher.transform([row.get("transcript") or ""]).toarray()[0])


class PaperFeatures(FeatureExtractor):
    """The 82 features of arXiv 2601.14620: mean and deviation over frames of 36 acoustic ones, ten lexical counts."""

    kind, size, optional = "paper", 82, ("transcript",)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """13 MFCC, 12 chroma, 7 contrast, crossings, roll-off, centroid, RMS, by mean and deviation; the counts."""
        librosa = need("librosa", "paper features")
        wave = load_audio(row["audio"], row_id=row.get("id"))
        if len(wave) < _N_FFT:
            wave = np.pad(wave, (0, _N_FFT - len(wave)))
        spectrum = np.abs(librosa.stft(wave, n_fft=_N_FFT, hop_length=_HOP))
        power = spectrum**2
        feature, rate = librosa.feature, SAMPLING_RATE
        mel = librosa.power_to_db(feature.melspectrogram(S=power, sr=rate))
        frames = [
            feature.mfcc(S=mel, n_mfcc=13),
            # what the paper leaves open: the tuning is standard, as speech has none
            feature.chroma_stft(S=power, sr=rate, tuning=0.0),
            # ... and contrast begins at 100 Hz, since seven bands from librosa's 200 Hz do not fit under 8 kHz
            feature.spectral_contrast(S=spectrum, sr=rate, fmin=100.0, n_bands=6),
            feature.zero_crossing_rate(wave, frame_length=_N_FFT, hop_length=_HOP),
            feature.spectral_rolloff(S=spectrum, sr=rate),
            feature.spectral_centroid(S=spectrum, sr=rate),
            feature.rms(y=wave, frame_length=_N_FFT, hop_length=_HOP),
        ]
        acoustic = [value for block in frames for value in (block.mean(axis=1), block.std(axis=1))]
        return np.concatenate([*acoustic, lexical_counts(row.get("transcript"))])


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
    made = Features({extractor.column(): List(Value("float32"), length=extractor.size)})
    depends_on = ("features", narrow._fingerprint, *extractor.fingerprint)
    return cached_map(narrow, extractor, made, depends_on, num_proc, batch_size, f"{kind} features")


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
