"""`perturb_waveforms`: training clips with another pitch or tempo, drawn anew each epoch, as arXiv 2601.14620 trains."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from .._lazy import need
from ..audio.decoding import MAX_SECONDS

__all__ = ["longest_durations", "perturbation_for"]


def perturbation_for(dataset: Any, p: float, seed: int) -> Any:
    """The transform that changes a share `p` of the training clips when they are read; `None` where that is 0.

    Raises:
        ValueError: The data set is a stream, or has a transform already.
        ModuleNotFoundError: The extra ``augment`` is not installed.
    """
    if not p or dataset is None:
        return None
    from ..augmentation.perturbation import WaveformPerturbation

    if not hasattr(dataset, "with_transform") or not hasattr(dataset, "__len__"):
        raise ValueError(
            "perturb_waveforms needs a datasets.Dataset. Mend: leave it out; a stream takes "
            "stream.map(perturbation, batched=True, batch_size=16) with a WaveformPerturbation whose set_epoch you call in each epoch"
        )
    if dataset.format["type"] is not None:
        raise ValueError(
            "perturb_waveforms sets a transform, and the training data has one already. Mend: leave it out, and give the perturbation to that "
            "one: plan.lazy(perturbation=WaveformPerturbation())"
        )
    need("librosa", "perturb_waveforms")  # before training, not at the first clip that is drawn
    return WaveformPerturbation(p=p, seed=seed)


def longest_durations(durations: NDArray[np.float64], perturbation: Any) -> NDArray[np.float64]:
    """The durations (N,) in seconds that clips may get at most.

    >>> from hf_emo_dist import WaveformPerturbation
    >>> longest_durations(np.array([1.9, 29.0]), WaveformPerturbation()).tolist()
    [2.0, 29.0]
    """
    slowest = durations / min(1.0, perturbation.tempo[0])
    return np.where(slowest > MAX_SECONDS, durations, slowest)
