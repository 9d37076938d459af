"""Several processes: which rows of a batch count, and what `accelerate launch` may not have done."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from typing import Any

logger = logging.getLogger(__name__)

COUNTED_ROWS = "counted_rows"  # key of a batch whose last rows are repeats, there to give every process as many


def counted_rows(rows: int, remainder: int, process_index: int) -> int:
    """Count the rows of a process's last batch that are not repeats.

    Example:
        >>> [counted_rows(4, 5, rank) for rank in (0, 1)], [counted_rows(4, 0, rank) for rank in (0, 1)]
        ([4, 1], [4, 4])
    """
    # So that all processes take as many steps, accelerate fills the last batches up with rows from the beginning. Of
    # the batches of all processes, one after the other, the first `remainder` rows are the epoch's own: the data set's
    # size modulo the rows of a step over all processes; 0 or less where nothing was filled up.
    return rows if remainder <= 0 else min(max(remainder - process_index * rows, 0), rows)


def rows_that_count(accelerator: Any, rows: int, size: int | None = None) -> int:
    """Count the rows of the batch that accelerate's data loader gave last; all of them where it is not the last."""
    state = accelerator.gradient_state
    if accelerator.num_processes == 1 or not accelerator.even_batches or not state.end_of_dataloader:
        return rows
    # without the data set's size accelerate's own count is used, which is missing in an epoch that is resumed
    remainder = state.remainder if size is None else size % (rows * accelerator.num_processes)
    return counted_rows(rows, remainder, accelerator.process_index)


def warn_about_launch(world_size: int, environment: Mapping[str, str] = os.environ) -> None:
    """Warn where several CPU processes were asked for and one was started."""
    # `accelerate launch --cpu --num_processes N` starts one process unless MPI does the starting, and says nothing. It
    # sets MASTER_PORT for several processes only, which is how to tell.
    asked = environment.get("ACCELERATE_USE_CPU", "").lower() in ("true", "1") and "MASTER_PORT" in environment
    if world_size == 1 and asked and "WORLD_SIZE" not in environment:
        logger.warning(
            "accelerate was asked for several CPU processes and started one: its `--cpu` needs MPI for that. Mend: "
            "leave it out and use `accelerate launch --multi_gpu --num_processes N -m hf_emo_dist train --use_cpu true "
            "...`, which needs no GPU"
        )
