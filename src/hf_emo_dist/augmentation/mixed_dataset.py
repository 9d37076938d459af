"""Rows of a plan → rows of the data contract: what a mixed row holds, and the function that makes them for ``Dataset.map``."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ..audio.clips import encode_flac, load_audio
from ..audio.decoding import SAMPLING_RATE, AudioError
from .mixing import BetweenClassMixer, Mixer, a_weighted_level, mix_distributions

if TYPE_CHECKING:
    from datasets import Dataset, Features

__all__ = ["MIX_AUDIO", "RowMixer", "Sources", "describe_mixed", "mixed_features"]

#: Column of the second source's clip, on rows that the model mixes in its embedding space.
MIX_AUDIO = "mix_audio"
#: Nobody has listened to a mixed clip: whatever counts listeners or annotators is empty.
_VOTES = (
    "human_votes",
    "human_vote_weights",
    "human_raters",
    "synthetic_votes",
    "synthetic_annotations",
)
_KEPT_CLIPS = 64


def describe_mixed(
    row_id: str, first: Mapping[str, Any], second: Mapping[str, Any], ratio: float, columns: Sequence[str]
) -> dict[str, Any]:
    """A mixed row but for its audio.

    `emotion_distribution` is mixed by λ exactly; transcript and speaker are those of the dominant source (λ ≥ 0.5: the first); votes are empty,
    `human_distribution` is null; a `true_distribution` is mixed like the target. Of other columns the value is kept that both sources have, else null.

    Args:
        row_id: Of the mixed row.
        first, second: Rows of the data contract.
        ratio: λ, the share of the first.
        columns: Columns to give, beside `mixed_from` and `mix_ratio`.

    Example:
        >>> a = {"id": "a", "transcript": "Yes.", "emotion_distribution": {"angry": 1.0, "sad": 0.0}}
        >>> b = {"id": "b", "transcript": "No.", "emotion_distribution": {"angry": 0.0, "sad": 1.0}}
        >>> describe_mixed("m", a, b, 0.25, list(a))["transcript"]
        'No.'
    """
    dominant = first if ratio >= 0.5 else second
    row: dict[str, Any] = {"mixed_from": [first["id"], second["id"]], "mix_ratio": ratio}
    for name in columns:
        if name == "id":
            row[name] = row_id
        elif name in ("transcript", "speaker"):
            row[name] = dominant.get(name)
        elif name in _VOTES:
            row[name] = []
        elif name == "human_distribution":
            row[name] = None
        elif name in ("emotion_distribution", "true_distribution"):
            row[name] = _mix_structs(first.get(name), second.get(name), ratio)
        elif name not in ("audio", MIX_AUDIO, "mixed_from", "mix_ratio"):
            same = first.get(name)
            row[name] = same if _equal(same, second.get(name)) else None
    return row


def _mix_structs(
    first: Mapping[str, float] | None, second: Mapping[str, float] | None, ratio: float
) -> dict[str, float] | None:
    if first is None or second is None or any(value is None for value in (*first.values(), *second.values())):
        return None
    names = list(first)
    p, q = np.array([first[name] for name in names]), np.array([second[name] for name in names])
    mixed = mix_distributions(p / p.sum(), q / q.sum(), ratio)
    return dict(zip(names, mixed.tolist(), strict=True))


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, np.ndarray) or isinstance(b, np.ndarray):
        return bool(np.array_equal(a, b))
    return bool(a == b)


def mixed_features(features: Features, pairs: bool = False) -> Features:
    """Features of original and mixed rows together: those of the data set, `mixed_from`, `mix_ratio` and, for embedding mixing, `mix_audio`."""
    from datasets import Audio, Features, List, Value

    own = {name: feature for name, feature in features.items() if name not in ("mixed_from", "mix_ratio", MIX_AUDIO)}
    own.update({"mixed_from": List(Value("string")), "mix_ratio": Value("float32")})
    if pairs:
        own[MIX_AUDIO] = Audio(sampling_rate=SAMPLING_RATE, decode=False)
    return Features(own)


def stored_features(features: Features) -> Features:
    """The same with the structs that `Audio` columns are stored as: encoding an Audio column would need torchcodec."""
    from datasets import Audio, Features, Value

    struct = {"bytes": Value("binary"), "path": Value("string")}
    return Features({name: struct if isinstance(value, Audio) else value for name, value in features.items()})


class Sources:
    """Rows of the data set by number, and the decoded clips of those that were used last."""

    def __init__(self, dataset: Dataset) -> None:
        self.dataset = dataset
        self._clips: OrderedDict[int, tuple[np.ndarray, float]] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        return {"dataset": self.dataset, "_clips": OrderedDict()}

    def rows(self, numbers: Sequence[int]) -> dict[int, dict[str, Any]]:
        """The rows with these numbers."""
        wanted = sorted(set(numbers))
        batch = self.dataset[wanted]
        names = list(batch)
        return {
            number: dict(zip(names, values, strict=True))
            for number, values in zip(wanted, zip(*batch.values(), strict=True), strict=True)
        }

    def clip(self, number: int, row: Mapping[str, Any]) -> tuple[np.ndarray, float]:
        """The waveform of a row and its level."""
        if number in self._clips:
            self._clips.move_to_end(number)
            return self._clips[number]
        wave = load_audio(row["audio"], row_id=row["id"])
        self._clips[number] = wave, a_weighted_level(wave)
        if len(self._clips) > _KEPT_CLIPS:
            self._clips.popitem(last=False)
        return self._clips[number]


class RowMixer:
    """Mixes rows of a plan, for ``Dataset.map(batched=True)``; the batch has `id`, `mix_ratio` and the sources' row numbers `i` and `j`.

    A row that cannot be mixed has no audio, and `problem` says why.

    Args:
        sources: The data set that the plan was made for, its audio undecoded.
        mixer: Makes one waveform of two; `None` leaves both as they are, for mixing in the embedding space.
        columns: Columns of the mixed rows.
    """

    def __init__(self, sources: Dataset, mixer: Mixer | None, columns: Sequence[str]) -> None:
        self.sources, self.mixer, self.columns = Sources(sources), mixer, tuple(columns)

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The mixed rows of a batch."""
        rows = self.sources.rows([*batch["i"], *batch["j"]])
        made = []
        for row_id, ratio, i, j in zip(batch["id"], batch["mix_ratio"], batch["i"], batch["j"], strict=True):
            row = describe_mixed(row_id, rows[i], rows[j], ratio, self.columns)
            row.update(self.audio(row_id, rows[i], rows[j], ratio, i, j))
            made.append(row)
        return {name: [row.get(name) for row in made] for name in (*self.columns, "mixed_from", "mix_ratio", "problem")}

    def audio(
        self, row_id: str, first: Mapping[str, Any], second: Mapping[str, Any], ratio: float, i: int, j: int
    ) -> dict[str, Any]:
        """`audio` (and `mix_audio`) of one row, and its `problem`, if any."""
        if self.mixer is None:
            return {"audio": first["audio"], MIX_AUDIO: second["audio"], "problem": None}
        try:
            wave = self.mix(first, second, ratio, i, j)
            data = {"bytes": encode_flac(wave), "path": f"{row_id}.flac"}
            return {"audio": data, "problem": None}
        except AudioError as error:
            return {"audio": None, "problem": f"{first['id']} and {second['id']}: {error}"}

    def mix(self, first: Mapping[str, Any], second: Mapping[str, Any], ratio: float, i: int, j: int) -> np.ndarray:
        """The mixed waveform of two rows.

        Raises:
            AudioError: A clip cannot be read, or cannot be mixed.
        """
        (a, level_a), (b, level_b) = self.sources.clip(i, first), self.sources.clip(j, second)
        if isinstance(self.mixer, BetweenClassMixer):
            return self.mixer.with_levels(a, b, ratio, level_a, level_b)
        assert self.mixer is not None
        return self.mixer(a, b, ratio)
