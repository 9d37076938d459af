"""Distributions for the rows of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm

#: What is said instead of handing NaN on.
ANSWERS_NAN = (
    "the model answers NaN: its training diverged, or float16 is too narrow for it. Mend: load another checkpoint, or "
    "load it with dtype bfloat16 or float32."
)


def predict_distributions(
    model: Any, processor: Any, rows: Any, batch_size: int = 8, progress: bool = True
) -> np.ndarray:
    """Predict the distributions of rows, one each, in their order.

    Args:
        model: An `EmotionDistributionModel`, or a `PeftModel` around one; its training mode is restored.
        processor: Its `EmotionDistributionProcessor`.
        rows: A `Dataset` or a sequence of mappings with `audio` and, where known, `transcript`, `speaker` and `id`.
        batch_size: Rows a forward pass.
        progress: Show a progress bar.

    Returns:
        (N, K) float64; columns in the order of `model.config.emotions`.

    Raises:
        AudioError: A clip cannot be used; the message names it.
        ValueError: The model answers NaN.

    Example:
        >>> predict_distributions(model, processor, dataset["test"])  # doctest: +SKIP
    """
    was_training = model.training
    model.eval()
    parts = []
    try:
        with torch.inference_mode(), tqdm(total=len(rows), desc="predict", disable=not progress, unit="clip") as bar:
            for start in range(0, len(rows), batch_size):
                batch = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
                inputs = processor.from_rows(batch).to(model.device)
                part = model(**inputs).logits.double().softmax(-1).cpu().numpy()
                bad = np.flatnonzero(~np.isfinite(part).all(1))
                if len(bad):
                    name = batch[bad[0]].get("id", start + bad[0])
                    raise ValueError(f"row {name!r}: {ANSWERS_NAN}")
                parts.append(part)
                bar.update(len(batch))
    finally:
        model.train(was_training)
    return np.concatenate(parts) if parts else np.zeros((0, len(model.config.emotions)))
