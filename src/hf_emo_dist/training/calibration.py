"""Before the first step of a new head on a speech encoder: the scale of what it sees, measured on training clips."""

from __future__ import annotations

import logging
from itertools import islice
from typing import Any

import numpy as np
from transformers import TrainerCallback

logger = logging.getLogger(__name__)

CLIPS, BATCH = 64, 8


class CalibrateHead(TrainerCallback):
    """Calls a model's `calibrate` once, where it has one and its head was not calibrated yet."""

    # The scales of an encoder's dimensions differ by a factor of ten and more. Weights are learned over all of them at
    # one rate, so that without this the small ones are hardly heard.

    def __init__(self, trainer: Any) -> None:
        self.trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Calibrate; a checkpoint that is resumed has been loaded by then, with what was measured."""
        trainer = self.trainer
        model = trainer.accelerator.unwrap_model(trainer.model)
        network = model.get_base_model() if hasattr(model, "get_base_model") else model
        if not hasattr(network, "calibrate") or network.is_calibrated or trainer.train_dataset is None:
            return
        if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled:
            logger.warning(
                "the head of a speech encoder is not calibrated under FSDP and DeepSpeed, and learns more slowly. "
                "Mend: use DDP."
            )
            return
        rows = getattr(trainer.train_dataset, "dataset", trainer.train_dataset)
        if hasattr(rows, "__len__"):
            # from everywhere in the data, which may be sorted
            chosen = [rows[int(i)] for i in np.unique(np.linspace(0, len(rows) - 1, CLIPS).astype(int))]
        else:
            chosen = list(islice(rows, CLIPS))
        processor = trainer.processing_class
        parts = (chosen[start : start + BATCH] for start in range(0, len(chosen), BATCH))
        # features come from the data loader otherwise, where there is no autocast; they are not to be of half precision
        batches = [dict(processor.from_rows(part).to(network.device)) for part in parts]
        with trainer.accelerator.autocast():
            network.calibrate(batches)
