"""Mixing on the fly: rows are mixed when they are read, and each epoch draws λ anew."""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from datasets import Dataset, IterableDataset, concatenate_datasets

from ..audio.decoding import SAMPLING_RATE, AudioError
from .mixed_dataset import MIX_AUDIO, RowMixer, describe_mixed, mixed_features, stored_features
from .mixing import Mixer
from .pairing import draw_ratio
from .plan import as_contract, with_mix_columns

if TYPE_CHECKING:
    from .plan import MixPlan

__all__ = ["LazyMixer", "MixedStream", "SharedEpoch"]

logger = logging.getLogger(__name__)


class SharedEpoch:
    """A number that the data loader's workers see change, also those that live on from epoch to epoch.

    >>> epoch = SharedEpoch()
    >>> epoch.set(3), epoch.get()
    (None, 3)
    """

    def __init__(self) -> None:
        self._value: Any = 0
        if "torch" in sys.modules:
            import torch

            self._value = torch.zeros((), dtype=torch.int64).share_memory_()

    def set(self, epoch: int) -> None:
        """Sets it."""
        if isinstance(self._value, int):
            self._value = int(epoch)
        else:
            self._value.fill_(int(epoch))

    def get(self) -> int:
        """Reads it."""
        return int(self._value)


class _WithoutAudio(RowMixer):
    """Everything of a mixed row but its audio, which is made when the row is read."""

    def audio(self, row_id: str, first: Any, second: Any, ratio: float, i: int, j: int) -> dict[str, Any]:
        """No audio, no problem."""
        nothing = {"bytes": None, "path": None}
        return {"audio": nothing, MIX_AUDIO: nothing, "problem": None}


class LazyMixer:
    """The transform that mixes the rows of a plan as they are read. Made by :meth:`MixPlan.lazy`.

    `dataset` gives the original and the mixed rows with this transform set; `iterable_dataset` the same as a stream; and for a data set of one's own
    there is ``set_transform(lazy)`` (its mixed rows must have the plan's ids). λ of a mixed row is drawn from (seed, epoch, row); in epoch 0 it is the plan's.
    The length of a mixture does not depend on λ. `EmotionDistributionTrainer` announces each epoch; elsewhere call `set_epoch`.

    A row whose clips cannot be mixed becomes its dominant source, unmixed, with that source's distribution; the log names it.

    Args:
        plan: The plan.
        mixer: Makes one waveform of two; `None` leaves both clips, in `audio` and `mix_audio`, for a trainer with ``mix_embeddings=True``.
        perturbation: A :class:`~hf_emo_dist.augmentation.perturbation.WaveformPerturbation` of all rows, after mixing.

    Raises:
        ValueError: A perturbation without a mixer: it would change one of the two clips only.
    """

    def __init__(self, plan: MixPlan, mixer: Mixer | None, perturbation: Any = None) -> None:
        if mixer is None and perturbation is not None:
            raise ValueError(
                "A perturbation goes with mixed waveforms, not with space='embedding'. Mend: leave it out."
            )
        self.plan, self.perturbation = plan, perturbation
        self.mixer = RowMixer(plan.dataset, mixer, plan.dataset.column_names)
        self.pairs = dict(zip(plan.rows["id"], zip(*plan.positions(), strict=True), strict=True))
        self.epoch = SharedEpoch()
        self._warned: set[str] = set()

    def __deepcopy__(self, memo: Any) -> LazyMixer:
        return self  # data sets copy their format; all copies must hear of the epoch

    @property
    def pairs_stay(self) -> bool:
        """Whether both clips are left as they are, for mixing in the embedding space."""
        return self.mixer.mixer is None

    @property
    def changes_audio(self) -> bool:
        """Whether a row may have other audio in another epoch; pairs for the embedding space keep theirs."""
        return not self.pairs_stay

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch whose λ are drawn; also in workers that are running."""
        self.epoch.set(epoch)
        if self.perturbation is not None:
            self.perturbation.set_epoch(epoch)

    def rows(self) -> Dataset:
        """Original rows and mixed ones; the audio of the mixed is missing until this transform fills it in."""
        features = mixed_features(self.plan.dataset.features, self.pairs_stay)
        originals = with_mix_columns(self.plan.dataset, self.pairs_stay)
        if not len(self.plan.rows):
            return originals
        columns = [name for name in features if name not in ("mixed_from", "mix_ratio")]
        first, second = self.plan.positions()
        work = self.plan.rows.select_columns(["id", "mix_ratio"]).add_column("i", first).add_column("j", second)
        light = work.map(
            _WithoutAudio(self.plan.dataset.remove_columns("audio"), None, columns),
            batched=True,
            batch_size=256,
            remove_columns=[*work.column_names],
            features=_with_problem(features),
            **self.plan.place(None, "without audio", features),
            desc="planning rows",
        )
        mixed = as_contract(light.remove_columns("problem"), features)
        return concatenate_datasets([originals, mixed], split=self.plan.dataset.split)

    def dataset(self) -> Dataset:
        """Original and mixed rows, mixed as they are read."""
        return self.rows().with_transform(self)

    def iterable_dataset(self, num_shards: int = 1, shuffle_buffer: int | None = 1000) -> MixedStream:
        """The same as a stream, whose `set_epoch` draws λ and the order anew.

        Args:
            num_shards: Parts that data loader workers can share out.
            shuffle_buffer: Rows that are shuffled together; `None` keeps the order.
        """
        stream = self.rows().to_iterable_dataset(num_shards=num_shards)
        if shuffle_buffer:
            stream = stream.shuffle(seed=self.plan.seed, buffer_size=shuffle_buffer)
        stream = stream.map(self, batched=True, batch_size=16)
        stream.__class__ = MixedStream
        stream.mixer = self
        return stream

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The batch with its mixed rows made; of the columns that are there."""
        result = {name: list(values) for name, values in batch.items()}
        if "id" not in result:  # one column was asked for: as the plan has it
            return result
        places = [place for place, row_id in enumerate(result["id"]) if row_id in self.pairs]
        if places:
            pairs = [self.pairs[result["id"][place]] for place in places]
            sources = self.mixer.sources.rows([number for pair in pairs for number in pair])
            for place, (i, j) in zip(places, pairs, strict=True):
                row = self._mixed(result["id"][place], sources[i], sources[j], i, j, list(result))
                for name, values in result.items():
                    values[place] = row.get(name)
        return result if self.perturbation is None else self.perturbation(result)

    def _mixed(self, row_id: str, first: Any, second: Any, i: int, j: int, columns: list[str]) -> dict[str, Any]:
        ratio = draw_ratio(self.plan.seed, row_id, self.epoch.get(), self.plan.alpha)
        audio: dict[str, Any] = {}
        if self.pairs_stay:
            audio = {"audio": first["audio"], MIX_AUDIO: second["audio"]}
        elif "audio" in columns:
            try:
                wave = self.mixer.mix(first, second, ratio, i, j)
                audio = {"audio": {"array": wave, "sampling_rate": SAMPLING_RATE}}
            except AudioError as error:
                if row_id not in self._warned:
                    logger.warning("%s: its dominant source is taken instead: %s", row_id, error)
                    self._warned.add(row_id)
                audio = {"audio": (first if ratio >= 0.5 else second)["audio"]}
                ratio = 1.0 if ratio >= 0.5 else 0.0
        return {**describe_mixed(row_id, first, second, ratio, columns), **audio}


class MixedStream(IterableDataset):
    """A stream of rows that a :class:`LazyMixer` mixes."""

    mixer: LazyMixer

    def set_epoch(self, epoch: int) -> None:
        """Draws the order and λ of this epoch."""
        super().set_epoch(epoch)
        self.mixer.set_epoch(epoch)


def _with_problem(features: Any) -> Any:
    from datasets import Features, Value

    return Features({**stored_features(features), "problem": Value("string")})
