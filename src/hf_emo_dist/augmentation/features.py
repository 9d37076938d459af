"""Where utterances lie beside each other: features of the voice and of the words, one vector an utterance.

Features are computed once, kept by ``datasets`` in its cache, and are the same bits whatever `num_proc` or batch size: each clip is computed by
itself, on one thread.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from ..audio.clips import load_audio
from ..audio.decoding import AudioError
from .cache import cache_place

if TYPE_CHECKING:
    from datasets import Dataset

__all__ = [
    "FEATURE_KINDS",
    "LexicalFeatures",
    "PaperFeatures",
    "TextFeatures",
    "add_features",
    "column_matrix",
    "compute_features",
    "feature_column",
    "lexical_counts",
]

logger = logging.getLogger(__name__)

Matrix = NDArray[np.float32]

#: Kinds of features that are computed; any other name is a column of the data set.
FEATURE_KINDS = ("paper", "backbone", "text", "lexical")
_N_FFT, _HOP = 2048, 512


def feature_column(kind: str) -> str:
    """Name of the column that features of a kind are kept in; a user's own column is named by itself.

    >>> feature_column("paper"), feature_column("my_embeddings")
    ('dime_features_paper', 'my_embeddings')
    """
    return f"dime_features_{kind}" if kind in FEATURE_KINDS else kind


def lexical_counts(transcript: str | None) -> NDArray[np.float64]:
    """Ten counts of a transcript, zeros where there is none.

    Characters, words, distinct words (case apart), letters, capital letters, digits, exclamation marks, question marks, commas and full stops.
    arXiv 2601.14620 uses ten lexical counts; which ones is our choice.

    Returns:
        float64 array (10,).

    Example:
        >>> lexical_counts("Oh no, no!").astype(int).tolist()
        [10, 3, 3, 6, 1, 0, 1, 0, 1, 0]
    """
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


class _Extractor(ABC):
    """A function for ``Dataset.map(batched=True)`` that adds one feature column. Subclasses say how for one row.

    `version` is part of the cache file's name, so that a change of the code does not read what older code left there.
    """

    kind = ""
    size = 0
    version = 1
    reads: tuple[str, ...] = ("audio", "transcript")

    def __init__(self) -> None:
        # names the cache file
        self.fingerprint: tuple[Any, ...] = (self.kind, self.version)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        names = list(batch)
        rows = [dict(zip(names, values, strict=True)) for values in zip(*batch.values(), strict=True)]
        with one_thread():
            return {feature_column(self.kind): [self._safely(row) for row in rows]}

    def _safely(self, row: Mapping[str, Any]) -> Matrix:
        try:
            return np.asarray(self.features(row), dtype=np.float32)
        except AudioError as error:  # the row is left out of the plan and named there; the others go on
            logger.warning("no features: %s", error)
            return np.full(self.size, np.nan, dtype=np.float32)

    @abstractmethod
    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """Features (size,) of one row."""


class LexicalFeatures(_Extractor):
    """:func:`lexical_counts` of each row, 10-D.

    >>> LexicalFeatures()({"transcript": ["No!"]})["dime_features_lexical"][0][:2].tolist()
    [3.0, 1.0]
    """

    kind, size, reads = "lexical", 10, ("transcript",)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The ten counts."""
        return lexical_counts(row.get("transcript"))


class TextFeatures(_Extractor):
    """What a transcript says, 256-D: character 2- to 4-grams within words, hashed with signs, unit length; zeros where there is none.

    Stateless, so a row's features do not depend on the others. Needs the extra ``augment`` (scikit-learn).

    >>> a, b, c = TextFeatures()({"transcript": ["shut the door", "close the door", "1234"]})["dime_features_text"]
    >>> bool(a @ b > a @ c)
    True
    """

    kind, size, reads = "text", 256, ("transcript",)

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The hashed n-grams."""
        text = need("sklearn.feature_extraction.text", "text features")
        hasher = text.HashingVectorizer(analyzer="char_wb", ngram_range=(2, 4), n_features=self.size)
        return np.asarray(hasher.transform([row.get("transcript") or ""]).toarray()[0])


class PaperFeatures(_Extractor):
    """The 82 features of arXiv 2601.14620: mean and deviation over frames of 36 acoustic ones, and ten lexical counts.

    13 MFCC, 12 chroma, 7 spectral contrast, zero-crossing rate, roll-off, centroid and RMS, by librosa on frames of 2,048 samples every 512 at 16
    kHz. What the paper leaves open: contrast begins at 100 Hz, since seven bands from librosa's 200 Hz do not fit under 8 kHz; chroma
    takes the tuning as standard, as speech has none. Needs the extra ``augment``.

    >>> out = PaperFeatures()({"audio": [np.zeros(3200, dtype=np.float32)], "transcript": ["No!"]})
    >>> out["dime_features_paper"][0].shape
    (82,)
    """

    kind, size = "paper", 82

    def features(self, row: Mapping[str, Any]) -> NDArray[Any]:
        """The 82 numbers, see the class."""
        librosa = need("librosa", "paper features")
        wave = load_audio(row["audio"], row_id=row.get("id"))
        if len(wave) < _N_FFT:
            wave = np.pad(wave, (0, _N_FFT - len(wave)))
        spectrum = np.abs(librosa.stft(wave, n_fft=_N_FFT, hop_length=_HOP))
        power = spectrum**2
        mel = librosa.power_to_db(librosa.feature.melspectrogram(S=power, sr=16000))
        feature = librosa.feature
        frames = [
            feature.mfcc(S=mel, n_mfcc=13),
            feature.chroma_stft(S=power, sr=16000, tuning=0.0),
            feature.spectral_contrast(S=spectrum, sr=16000, fmin=100.0, n_bands=6),
            feature.zero_crossing_rate(wave, frame_length=_N_FFT, hop_length=_HOP),
            feature.spectral_rolloff(S=spectrum, sr=16000),
            feature.spectral_centroid(S=spectrum, sr=16000),
            feature.rms(y=wave, frame_length=_N_FFT, hop_length=_HOP),
        ]
        acoustic = [value for block in frames for value in (block.mean(axis=1), block.std(axis=1))]
        return np.concatenate([*acoustic, lexical_counts(row.get("transcript"))])


def extractor_for(kind: str, backbone: Any = None) -> _Extractor:
    """The extractor of a kind of features.

    Raises:
        ValueError: The kind is not known, or needs a backbone that was not given.
    """
    if kind == "backbone":
        from .backbone_features import BackboneFeatures

        if backbone is None:
            raise ValueError(
                "features='backbone' needs a checkpoint. Mend: pass backbone=..., a local folder or a Hub id."
            )
        return BackboneFeatures(backbone)
    classes: dict[str, type[_Extractor]] = {"paper": PaperFeatures, "text": TextFeatures, "lexical": LexicalFeatures}
    if kind not in classes:
        raise ValueError(f"Features {kind!r} are not known: {', '.join(FEATURE_KINDS)}, or a column of the data set.")
    return classes[kind]()


def compute_features(
    dataset: Dataset, kind: str, backbone: str | Path | Any = None, num_proc: int | None = None, batch_size: int = 32
) -> Dataset:
    """Features of every row as a data set of one column, in the order of the rows.

    ``datasets`` keeps it in its cache, so that a second call on the same data set reads it back. A row whose audio cannot be read has NaN.

    Args:
        dataset: Rows of the data contract.
        kind: ``"paper"``, ``"backbone"``, ``"text"`` or ``"lexical"``.
        backbone: For ``"backbone"``: a checkpoint (folder or Hub id), or a model and its processor as a pair.
        num_proc: Processes. The features do not depend on it.
        batch_size: Rows handed over at a time; without influence on the features.

    Returns:
        The column :func:`feature_column` ``(kind)``, float32 of fixed size.

    Raises:
        ValueError: The kind is not known, or a column that it reads is missing.
        ModuleNotFoundError: The extra ``augment`` (or ``train`` for ``"backbone"``) is not installed.
    """
    from datasets import Audio, Features, List, Value

    extractor = extractor_for(kind, backbone)
    reads = [name for name in ("id", *extractor.reads) if name in dataset.column_names]
    for name in extractor.reads:
        if name not in reads and not (name == "transcript" and kind == "paper"):
            raise ValueError(
                f"There is no column {name!r} for features={kind!r} (there are {', '.join(dataset.column_names)})."
            )
    narrow = dataset.with_format(None).select_columns(reads)
    feature = narrow.features.get("audio")
    if isinstance(feature, Audio) and feature.decode:
        narrow = narrow.cast_column("audio", Audio(sampling_rate=feature.sampling_rate, decode=False))
    return narrow.map(
        extractor,
        batched=True,
        batch_size=batch_size,
        num_proc=num_proc if num_proc and num_proc > 1 and len(narrow) > 1 else None,
        remove_columns=reads,
        features=Features({feature_column(kind): List(Value("float32"), length=extractor.size)}),
        **cache_place("features", narrow._fingerprint, *extractor.fingerprint),
        desc=f"{kind} features",
    )


def add_features(dataset: Dataset, kind: str, backbone: Any = None, num_proc: int | None = None) -> Dataset:
    """The data set with the features of a kind as a further column, to look at or to save; arguments as for `compute_features`.

    Example:
        >>> from datasets import Dataset
        >>> add_features(Dataset.from_dict({"id": ["a"], "transcript": ["No!"]}), "lexical").column_names
        ['id', 'transcript', 'dime_features_lexical']
    """
    from datasets import concatenate_datasets

    name = feature_column(kind)
    if name in dataset.column_names:
        return dataset
    return concatenate_datasets([dataset, compute_features(dataset, kind, backbone, num_proc)], axis=1)


def column_matrix(dataset: Dataset, column: str) -> Matrix:
    """A column of equally long lists of numbers as a matrix (N, d) float32; a null row is NaN.

    Raises:
        ValueError: There is no such column, it holds no lists of numbers, or the lists differ in length; names the row.

    Example:
        >>> from datasets import Dataset
        >>> column_matrix(Dataset.from_dict({"x": [[1.0, 2.0], [3.0, 4.0]]}), "x").tolist()
        [[1.0, 2.0], [3.0, 4.0]]
    """
    import pyarrow as pa

    if column not in dataset.column_names:
        raise ValueError(
            f"There is no column {column!r} of features (there are {', '.join(dataset.column_names)}). "
            f"Mend: name one that is there, or one of {', '.join(FEATURE_KINDS)}."
        )
    result: Matrix | None = None
    at = 0
    for table in dataset.select_columns([column]).with_format("arrow").iter(batch_size=4096):
        values = table.column(0).combine_chunks()
        values = values.chunk(0) if isinstance(values, pa.ChunkedArray) else values
        if not hasattr(values, "flatten") or isinstance(values, pa.StructArray):
            raise ValueError(f"Column {column!r} must hold lists of numbers, it holds {values.type}.")
        lists = values.to_pylist() if values.null_count else None
        if lists is None:
            lengths = np.asarray(values.value_lengths())
        else:
            lengths = np.array([-1 if entry is None else len(entry) for entry in lists])
        size = result.shape[1] if result is not None else int(lengths.max(initial=0))
        wrong = np.flatnonzero((lengths != size) & (lengths >= 0))
        if size < 1 or len(wrong):
            row = at + (int(wrong[0]) if len(wrong) else 0)
            raise ValueError(
                f"Column {column!r}, row number {row}: {int(lengths[row - at])} numbers, where others have {size}."
            )
        if result is None:
            result = np.full((len(dataset), size), np.nan, dtype=np.float32)
        if lists is None:
            flat = values.flatten()
            result[at : at + len(values)] = np.asarray(flat.to_numpy(zero_copy_only=False), np.float32).reshape(
                -1, size
            )
        else:
            for place, entry in enumerate(lists):
                if entry is not None:
                    result[at + place] = entry
        at += len(values)
    return np.zeros((0, 1), dtype=np.float32) if result is None else result


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps BLAS to one thread: sums then do not depend on how many cores or processes there are, and processes do not fight for them."""
    try:
        from threadpoolctl import threadpool_limits
    except ModuleNotFoundError:
        yield
        return
    with threadpool_limits(1):
        yield
