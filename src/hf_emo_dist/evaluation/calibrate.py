"""Fitting the temperature of a checkpoint that is on disk already, on the human votes of one split."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from ..audio.check import check_audio
from ..data.loading import DatasetLoadError, emotions_of
from ..data.mixed_rows import refuse_mixed
from ..data.opened import open_dataset
from ..data.rows import column_of, notes_about
from ..modeling.calibration import fit_calibration, store_calibration
from .checkpoint import check_label_set, open_model

logger = logging.getLogger(__name__)


def calibrate_checkpoint(
    model: str | Path,
    dataset: str | Path,
    split: str = "validation",
    *,
    train_split: str | None = "train",
    batch_size: int = 8,
    device: str | None = None,
    long_audio: str | None = None,
    vote_source: str | None = None,
    progress: bool = True,
) -> dict[str, Any]:
    """Fit a temperature on a split's human votes and keep it in the checkpoint's configuration, weights left alone.

    Training does it by itself at its end; this is for checkpoints from before, or for other listeners. The temperature
    is reported by `evaluate_checkpoint` and applied where `apply_temperature` asks for it.

    Args:
        model: Checkpoint, full or adapter: a local folder.
        dataset: Local Parquet folder or Hub id.
        split: Whose votes it is fitted on: speakers that the model was not trained on, and that nobody will score it
            on.
        train_split: The training split; it is refused as `split`, and speakers that it shares with `split` are told of.
        batch_size: Clips a forward pass.
        device: Such as `cuda` or `cpu`; the default is a GPU where there is one.
        long_audio: What to do beyond 30 s (`error`, `truncate`, `window`); the default is the checkpoint's own setting.
        vote_source: Where the votes come from; the default is what the data set's card says.
        progress: Show progress bars.

    Returns:
        The calibration, see `modeling.calibration.fit_calibration`.

    Raises:
        DatasetLoadError: Nothing is at `dataset`, or it has no such split.
        OSError: No checkpoint can be loaded from the folder.
        ValueError: The split is the training split, has no or too few votes, or is over other emotions.
        AudioError: Listing every clip that cannot be used.

    Example:
        >>> calibrate_checkpoint("runs/mini", "data/mine")["temperature"]  # doctest: +SKIP
        1.42
    """
    from ..modeling.prediction import predict_distributions

    if not Path(model).is_dir():
        raise OSError(
            f"'{model}' is no local folder, and the temperature is written into the checkpoint. Mend: download it (hf "
            "download OWNER/NAME --local-dir FOLDER), name the folder, and push it again with hf-emo-dist push model."
        )
    if split == train_split:
        raise ValueError(
            f"the split {split!r} is the training split, of whose speakers the model is surer than of others. Mend: "
            "fit on another, or pass train_split=None where the model was trained on other data."
        )
    opened = open_dataset(dataset, vote_source=vote_source)
    rows = opened.rows(split)
    refuse_mixed(rows)
    if column_of(rows, "human_votes") is None:
        raise ValueError(
            f"{opened.name!r} has no column 'human_votes', and a temperature is fitted on votes. Mend: name a data set "
            "with human votes."
        )
    notes = notes_about(rows, opened.vote_source)
    try:
        shared = opened.speakers(train_split) & opened.speakers(split) if train_split else set()
    except DatasetLoadError:
        shared = set()
    if shared:
        notes.append(f"{len(shared)} of the speakers are also in the training split")
    network, processor = open_model(model, device)
    emotions = network.config.emotions
    if column_of(rows, "human_distribution") is not None:
        check_label_set(model, emotions, opened.name, "human_distribution", emotions_of(rows, "human_distribution"))
    if long_audio is not None:
        processor.long_audio = long_audio
    check_audio(rows, long_audio=processor.long_audio, progress=progress).raise_if_any()
    predicted = predict_distributions(network, processor, rows, batch_size=batch_size, progress=progress)
    calibration = fit_calibration(predicted, rows, emotions, dataset=str(dataset), split=split, notes=notes)
    store_calibration(model, calibration)
    logger.info("the temperature %.3f is kept in %s", calibration["temperature"], model)
    return calibration
