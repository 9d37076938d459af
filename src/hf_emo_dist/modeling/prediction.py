"""Distributions for the rows of a data set."""

from __future__ import annotations

from typing import Any, Literal, overload

import numpy as np
import torch
from tqdm.auto import tqdm

from ..scores.temperature import at_temperature
from .calibration import check_sure, temperature_of
from .losses import concentration
from .text_lengths import check_row_lengths

#: What is said instead of handing NaN on.
ANSWERS_NAN = (
    "the model answers NaN: its training diverged, or float16 is too narrow for it. Mend: load another checkpoint, or "
    "load it with dtype bfloat16 or float32."
)


@overload
def predict_distributions(
    model: Any,
    processor: Any,
    rows: Any,
    batch_size: int = 8,
    progress: bool = True,
    *,
    apply_temperature: bool = False,
    return_concentration: Literal[False] = False,
) -> np.ndarray: ...
@overload
def predict_distributions(
    model: Any,
    processor: Any,
    rows: Any,
    batch_size: int = 8,
    progress: bool = True,
    *,
    apply_temperature: bool = False,
    return_concentration: Literal[True],
) -> tuple[np.ndarray, np.ndarray]: ...
def predict_distributions(
    model: Any,
    processor: Any,
    rows: Any,
    batch_size: int = 8,
    progress: bool = True,
    *,
    apply_temperature: bool = False,
    return_concentration: bool = False,
) -> np.ndarray | tuple[np.ndarray, np.ndarray]:
    """Predict the distributions of rows, one each, in their order.

    Args:
        model: An `EmotionDistributionModel`, or a `PeftModel` around one; its training mode is restored.
        processor: Its `EmotionDistributionProcessor`.
        rows: A `Dataset` or a sequence of mappings with `audio` and, where known, `transcript`, `speaker` and `id`.
        batch_size: Rows a forward pass.
        progress: Show a progress bar.
        apply_temperature: Give the distributions at the temperature that was fitted on validation votes and is kept
            with the checkpoint, see `modeling.calibration`. Off by default: it was fitted for one data set's listeners.
        return_concentration: Also return how sure the model is, for one trained with `dirichlet_multinomial`.

    Returns:
        (N, K) float64; columns in the order of `model.config.emotions`. With `return_concentration` also (N,) float64,
        the sum of each row's predicted Dirichlet parameters: what it says is worth so many votes. The temperature does
        not change it.

    Raises:
        AudioError: A clip cannot be used; the message names it.
        ValueError: The model answers NaN, a transcript is far longer than a clip can hold, there is no temperature to
            apply, or its loss does not determine a concentration.

    Example:
        >>> predict_distributions(model, processor, dataset["test"])  # doctest: +SKIP
    """
    temperature = temperature_of(model) if apply_temperature else 1.0
    if return_concentration:
        check_sure(model)
    check_row_lengths(processor, rows, batch_size)
    was_training = model.training
    model.eval()
    parts, sure = [], []
    try:
        with torch.inference_mode(), tqdm(total=len(rows), desc="predict", disable=not progress, unit="clip") as bar:
            for start in range(0, len(rows), batch_size):
                batch = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
                inputs = processor.from_rows(batch).to(model.device)
                logits = model(**inputs).logits
                part = logits.double().softmax(-1).cpu().numpy()
                bad = np.flatnonzero(~np.isfinite(part).all(1))
                if len(bad):
                    name = batch[bad[0]].get("id", start + bad[0])
                    raise ValueError(f"row {name!r}: {ANSWERS_NAN}")
                parts.append(part)
                if return_concentration:
                    sure.append(concentration(logits).numpy())
                bar.update(len(batch))
    finally:
        model.train(was_training)
    predicted = np.concatenate(parts) if parts else np.zeros((0, len(model.config.emotions)))
    if temperature != 1.0:
        predicted = at_temperature(predicted, temperature)
    return (predicted, np.concatenate(sure) if sure else np.zeros(0)) if return_concentration else predicted
