"""Rows of a plan → rows of the data contract: what a mixed row holds, and how all of them are made and kept."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.clips import encode_flac, load_audio
from ..audio.decoding import AudioError
from ..data.map_engine import current_engine, kept
from .mixing import BetweenClassMixer, Mixer, a_weighted_level, mix_distributions

if TYPE_CHECKING:
    from datasets import Dataset, Features

# Nobody has listened to a mixed clip: whatever counts listeners or annotators is empty.
_VOTES = ("human_votes", "human_vote_weights", "human_raters", "synthetic_votes", "synthetic_annotations")
MIX_COLUMNS = ("mixed_from", "mix_ratio")
# Decoded clips that are kept for the next rows: a source stands in several rows, and these are near each other.
_KEPT_CLIPS = 64


def describe_mixed(
    row_id: str, first: Mapping[str, Any], second: Mapping[str, Any], ratio: float, columns: Sequence[str]
) -> dict[str, Any]:
    """A mixed row but for its audio, of two rows of the data contract and λ, the share of the first."""
    dominant = first if ratio >= 0.5 else second
    row: dict[str, Any] = {"mixed_from": [first["id"], second["id"]], "mix_ratio": ratio}
    for name in columns:
        if name == "id":
            row[name] = row_id
        elif name in ("transcript", "speaker"):
            row[name] = dominant.get(name)
        elif name in _VOTES:
            row[name] = []
        elif name in ("human_distribution", "emotion_concentration"):
            row[name] = None
        elif name in ("emotion_distribution", "true_distribution"):
            row[name] = mix_structs(first.get(name), second.get(name), ratio)
        elif name not in ("audio", *MIX_COLUMNS):
            # of columns that nobody knows here, what is true of both sources is true of the mixture
            value: Any = first.get(name)
            other: Any = second.get(name)
            same = np.array_equal(value, other) if isinstance(value, np.ndarray) else value == other
            row[name] = value if same else None
    return row


def mix_structs(
    first: Mapping[str, float] | None, second: Mapping[str, float] | None, ratio: float
) -> dict[str, float] | None:
    """The distribution of a mixed row from its sources' and λ, the share of the first; `None` where one has none.

    Args:
        first: Emotion to its share, over the same emotions as `second`.
        second: Of the other source.
        ratio: λ.

    Example:
        >>> mix_structs({"happy": 1.0, "sad": 0.0}, {"happy": 0.0, "sad": 1.0}, 0.75)
        {'happy': 0.75, 'sad': 0.25}
    """
    if first is None or second is None or any(value is None for value in (*first.values(), *second.values())):
        return None
    names = list(first)
    p, q = np.array([first[name] for name in names]), np.array([second[name] for name in names])
    mixed = mix_distributions(p / p.sum(), q / q.sum(), ratio)
    return dict(zip(names, mixed.tolist(), strict=True))


def undecoded(dataset: Dataset) -> Dataset:
    """The data set with its audio left as bytes and no other format."""
    from datasets import Audio

    feature = dataset.features.get("audio")
    if not isinstance(feature, Audio):
        raise ValueError(
            f"Column 'audio' must be of the type Audio, it is {feature}. Mend: open the data with load_emotion_dataset."
        )
    plain = dataset.with_format(None)
    if feature.decode:
        plain = plain.cast_column("audio", Audio(sampling_rate=feature.sampling_rate, decode=False))
    return plain


def mixed_features(features: Features) -> Features:
    """Features of original and mixed rows together: those of the data set, and `mixed_from`, `mix_ratio`."""
    from datasets import Features, List, Value

    own = {name: feature for name, feature in features.items() if name not in MIX_COLUMNS}
    return Features({**own, "mixed_from": List(Value("string")), "mix_ratio": Value("float32")})


def with_mix_columns(dataset: Dataset) -> Dataset:
    """Original rows with `mixed_from` and `mix_ratio` of null, ready to stand beside mixed ones."""
    import pyarrow as pa
    from datasets import Dataset, Features, concatenate_datasets

    features = mixed_features(dataset.features)
    dataset = dataset.remove_columns([name for name in MIX_COLUMNS if name in dataset.column_names])
    schema = Features({name: features[name] for name in MIX_COLUMNS}).arrow_schema
    nulls = pa.table([pa.nulls(len(dataset), type=field.type) for field in schema], schema=schema)
    return concatenate_datasets([dataset, Dataset(nulls)], axis=1).select_columns(list(features))


def cached_map(
    dataset: Dataset,
    function: Any,
    features: Features,
    depends_on: Sequence[object],
    num_proc: int | None,
    batch_size: int,
    desc: str,
) -> Dataset:
    """What a function makes of all columns of a data set, kept in a file named by what it depends on.

    By `num_proc` processes, or by the engine of this block (`data.map_engine`).
    """
    # without a file name, `datasets` keeps what it makes from a data set in memory in memory, too
    from datasets import Dataset, config

    fingerprint = hashlib.sha256("\x00".join(map(str, depends_on)).encode()).hexdigest()[:16]
    folder = Path(config.HF_DATASETS_CACHE) / "hf_emo_dist"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"dime-{fingerprint}.arrow"
    if (engine := current_engine()) is not None:
        if path.is_file():
            return Dataset.from_file(str(path))
        return kept(engine.map(dataset, function, features, batch_size, desc), features, path)
    return dataset.map(
        function,
        batched=True,
        batch_size=batch_size,
        writer_batch_size=4 * batch_size,  # few rows of audio in memory at a time
        num_proc=num_proc if num_proc and num_proc > 1 and len(dataset) > 1 else None,
        remove_columns=dataset.column_names,
        features=features,
        cache_file_name=str(path),
        new_fingerprint=fingerprint,
        desc=desc,
    )


class RowMixer:
    """Mixes rows of a plan, for ``Dataset.map``; a row that cannot be mixed has no audio, and `problem` says why.

    It can be pickled, and so works on Ray's workers (``with RayEngine(): DiMEAug(…).augment(train)``): the sources are
    pickled as the names of their files, which all workers must be able to read.
    """

    # Without a mixer every row is as it will be but for its audio, which is made when the row is read.

    def __init__(self, sources: Dataset, mixer: Mixer | None, columns: Sequence[str]) -> None:
        self.sources, self.mixer, self.columns = sources, mixer, tuple(columns)
        self._clips: OrderedDict[int, tuple[np.ndarray, float]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_clips": OrderedDict()}

    def rows(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The sources with these row numbers."""
        wanted = sorted(set(numbers))
        return dict(zip(wanted, self.sources.__getitems__(wanted), strict=True))

    def clip(self, number: int, row: Mapping[str, Any]) -> tuple[np.ndarray, float]:
        """The waveform of a source and its level."""
        if number in self._clips:
            self._clips.move_to_end(number)
            return self._clips[number]
        wave = load_audio(row["audio"], row_id=row["id"])
        self._clips[number] = wave, a_weighted_level(wave)
        if len(self._clips) > _KEPT_CLIPS:
            self._clips.popitem(last=False)
        return self._clips[number]

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The mixed rows of a batch of `id`, `mix_ratio` and the sources' row numbers `i` and `j`."""
        rows = self.rows([*batch["i"], *batch["j"]])
        made = []
        for row_id, ratio, i, j in zip(batch["id"], batch["mix_ratio"], batch["i"], batch["j"], strict=True):
            row = describe_mixed(row_id, rows[i], rows[j], ratio, self.columns)
            row["audio"] = {"bytes": None, "path": None}
            if self.mixer is not None:
                try:
                    data = encode_flac(self.mix(rows[i], rows[j], ratio, i, j))
                    row["audio"] = {"bytes": data, "path": f"{row_id}.flac"}
                except AudioError as error:
                    row.update(audio=None, problem=f"{rows[i]['id']} and {rows[j]['id']}: {error}")
            made.append(row)
        return {name: [row.get(name) for row in made] for name in (*self.columns, *MIX_COLUMNS, "problem")}

    def mix(self, first: Mapping[str, Any], second: Mapping[str, Any], ratio: float, i: int, j: int) -> np.ndarray:
        """The mixed waveform of two rows; raises `AudioError` where a clip cannot be read or mixed."""
        assert self.mixer is not None
        (a, level_a), (b, level_b) = self.clip(i, first), self.clip(j, second)
        if isinstance(self.mixer, BetweenClassMixer):  # levels of clips that stay are not measured again
            return self.mixer.with_levels(a, b, ratio, level_a, level_b)
        return self.mixer(a, b, ratio)
