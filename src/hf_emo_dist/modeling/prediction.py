"""Distributions for the rows of a data set."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm


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
                parts.append(model(**inputs).logits.double().softmax(-1).cpu().numpy())
                bar.update(len(batch))
    finally:
        model.train(was_training)
    return np.concatenate(parts) if parts else np.zeros((0, len(model.config.emotions)))
