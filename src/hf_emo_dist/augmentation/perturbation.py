"""The waveform perturbation of arXiv 2601.14620: now and then another pitch or another tempo."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from .._lazy import need
from ..audio.clips import load_audio
from ..audio.decoding import MAX_SECONDS, MIN_SAMPLES, SAMPLING_RATE
from .mixing import Waveform, without_clipping
from .pairing import seeded


class DrawnAnew:
    """A transform that draws anew each epoch."""

    def __init__(self) -> None:
        self._epoch: Any = 0
        # Shared with the data loader's workers, also those that live on from epoch to epoch. There are none where torch
        # was not loaded, and it is not loaded for this.
        if "torch" in sys.modules:
            import torch

            self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()

    def __deepcopy__(self, memo: Any) -> Any:
        return self  # data sets copy their format; all copies must hear of the epoch

    @property
    def epoch(self) -> int:
        """The epoch that is drawn for."""
        return int(self._epoch)

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is drawn for; also in workers that are running."""
        if isinstance(self._epoch, int):
            self._epoch = int(epoch)
        else:
            self._epoch.fill_(int(epoch))


class WaveformPerturbation(DrawnAnew):
    """Changes pitch or tempo of some rows, by librosa's phase vocoder; for ``Dataset.set_transform``: anew each epoch.

    With probability `p` a row is changed, in pitch or in tempo with equal chances, drawn from (seed, epoch, row id).
    Training data only: a data set that is evaluated must not have it. `EmotionDistributionTrainer` announces each
    epoch; elsewhere call `set_epoch`.

    Args:
        p: Share of the rows that are changed.
        semitones: The pitch is shifted by up to so many semitones, up or down, evenly distributed.
        tempo: The range of tempo, evenly distributed; 1.05 is 5 % faster. A clip that would pass 30 s keeps its tempo.
        seed: Of all draws.

    Raises:
        ValueError: An argument is out of range.

    Example:
        >>> perturb = WaveformPerturbation(p=1.0, seed=0)
        >>> tone = np.sin(np.arange(8000) * 0.1).astype(np.float32)
        >>> changed = perturb.waveform(tone, "a")
        >>> changed.dtype, bool(np.array_equal(changed, perturb.waveform(tone, "a")))
        (dtype('float32'), True)
        >>> dataset.set_transform(perturb)  # doctest: +SKIP
    """

    def __init__(
        self, p: float = 0.3, semitones: float = 1.0, tempo: tuple[float, float] = (0.95, 1.05), seed: int = 0
    ) -> None:
        super().__init__()
        low, high = tempo
        if not 0 <= p <= 1 or not 0 <= semitones <= 12 or not 0.25 <= low <= high <= 4:
            raise ValueError(
                f"Need p from 0 to 1, semitones from 0 to 12 and tempo within 0.25 to 4, got {p}, {semitones}, {tempo}."
                " Mend: the paper has p=0.3, semitones=1.0, tempo=(0.95, 1.05)."
            )
        self.p, self.semitones, self.tempo, self.seed, self.version = p, semitones, (low, high), seed, 1

    @property
    def changes_audio(self) -> bool:
        """Whether a row may have other audio in another epoch."""
        return self.p > 0

    def draw(self, row_id: str) -> tuple[str, float]:
        """What becomes of a row in this epoch: ``("none", 0.0)``, ``("pitch", semitones)`` or ``("tempo", rate)``."""
        rng = seeded("perturbation", self.seed, self.epoch, row_id)
        chosen, kind, place = rng.random(3)
        if chosen >= self.p:
            return "none", 0.0
        if kind < 0.5:
            return "pitch", float(self.semitones * (2 * place - 1))
        return "tempo", float(self.tempo[0] + (self.tempo[1] - self.tempo[0]) * place)

    def waveform(self, waveform: Waveform, row_id: str) -> Waveform:
        """The changed waveform (T',) of a row's (T,), 16 kHz; itself where nothing was drawn."""
        kind, amount = self.draw(row_id)
        if kind == "none" or len(waveform) < 2 * MIN_SAMPLES:
            return waveform  # too short for the vocoder's frames
        effects = need("librosa", "WaveformPerturbation").effects
        frame = min(2048, 1 << (len(waveform).bit_length() - 1))
        wave = np.asarray(waveform, dtype=np.float32)
        if kind == "pitch":
            changed = effects.pitch_shift(wave, sr=SAMPLING_RATE, n_steps=amount, n_fft=frame)
        elif len(wave) / amount > MAX_SECONDS * SAMPLING_RATE:
            return waveform  # slowed down, it would be cut off by the model
        else:
            changed = effects.time_stretch(wave, rate=amount, n_fft=frame)
        return without_clipping(np.asarray(changed, dtype=np.float32))

    def __call__(self, batch: Mapping[str, Sequence[Any]]) -> dict[str, list[Any]]:
        """The batch with its audio changed; rows that nothing was drawn for stay as they are stored."""
        result = {name: list(values) for name, values in batch.items()}
        if "audio" not in result or "id" not in result:
            return result
        for place, row_id in enumerate(result["id"]):
            if self.draw(row_id)[0] == "none":
                continue
            wave = self.waveform(load_audio(result["audio"][place], row_id=row_id), row_id)
            result["audio"][place] = {"array": wave, "sampling_rate": SAMPLING_RATE}
        return result
