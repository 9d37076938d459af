"""Mixing on the fly: rows are mixed when they are read, and each epoch draws λ anew."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from datasets import Dataset, IterableDataset

from ..audio.decoding import SAMPLING_RATE, AudioError
from .mixed_dataset import RowMixer, describe_mixed
from .mixing import Mixer
from .pairing import draw_ratio
from .perturbation import DrawnAnew, WaveformPerturbation

logger = logging.getLogger(__name__)


class LazyMixer(DrawnAnew):
    """The transform that mixes the rows of a plan as they are read. Made by :meth:`MixPlan.lazy`.

    `dataset` gives the original and the mixed rows with this transform set; `iterable_dataset` the same as a stream;
    and for a data set of one's own there is ``set_transform(lazy)`` (its mixed rows must have the plan's ids). λ of a
    mixed row is drawn from (seed, epoch, row); in epoch 0 it is the plan's. The length of a mixture does not depend on
    λ. `EmotionDistributionTrainer` announces each epoch; elsewhere call `set_epoch`.

    A row whose clips cannot be mixed becomes its dominant source, unmixed, with that source's distribution; the log
    names it.
    """

    changes_audio = True  # a row has other audio in another epoch, so that nothing of it may be kept

    def __init__(self, plan: Any, mixer: Mixer, perturbation: WaveformPerturbation | None = None) -> None:
        super().__init__()
        self.plan, self.perturbation = plan, perturbation  # a `MixPlan`, which knows this module
        self.mixer = RowMixer(plan.dataset, mixer, plan.dataset.column_names)
        self.pairs = dict(zip(plan.rows["id"], zip(*plan.positions(), strict=True), strict=True))
        self._warned: set[str] = set()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch whose λ are drawn; also in workers that are running."""
        super().set_epoch(epoch)
        if self.perturbation is not None:
            self.perturbation.set_epoch(epoch)

    def rows(self) -> Dataset:
        """Original rows and mixed ones; the audio of the mixed is missing until this transform fills it in."""
        return self.plan.joined(self.plan.as_contract(self.plan.made(None, batch_size=256)))

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
        stream.__class__ = MixedStream  # `map` makes plain streams, whose `set_epoch` would change the order alone
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
            sources = self.mixer.rows([number for pair in pairs for number in pair])
            for place, (i, j) in zip(places, pairs, strict=True):
                row = self._mixed(result["id"][place], sources[i], sources[j], i, j, list(result))
                for name, values in result.items():
                    values[place] = row.get(name)
        return result if self.perturbation is None else self.perturbation(result)

    def _mixed(self, row_id: str, first: Any, second: Any, i: int, j: int, columns: list[str]) -> dict[str, Any]:
        ratio = draw_ratio(self.plan.seed, row_id, self.epoch, self.plan.alpha)
        audio: dict[str, Any] = {}
        if "audio" in columns:
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
        """Draw the order and λ of this epoch."""
        super().set_epoch(epoch)
        self.mixer.set_epoch(epoch)
