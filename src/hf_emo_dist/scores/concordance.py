"""Agreement of predicted and rated values on a scale, such as arousal, valence and dominance."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike


def concordance_correlation_coefficient(predictions: ArrayLike, references: ArrayLike) -> float:
    """Concordance correlation coefficient, CCC (Lin 1989, doi:10.2307/2532051), higher is better.

    ``2 cov(x, y) / (var(x) + var(y) + (mean(x) - mean(y))**2)``, with variances over N as Lin has them: the Pearson
    correlation, less where the values are off by a shift or a scale. 1 is complete agreement, 0 none, -1 the opposite.
    It does not change when both are shifted or scaled alike, but it does when one is: bring both to one scale first.

    Args:
        predictions: Values of one dimension (N,).
        references: What people rated, as means over the raters (N,), on the same scale.

    Returns:
        From -1 to 1; NaN with fewer than 2 rows, or where all values are one and the same.

    Raises:
        ValueError: The shapes are not (N,), differ, or a value is not finite; the message names the row.

    Example:
        >>> round(concordance_correlation_coefficient([1.0, 2.0, 3.0], [2.0, 3.0, 4.0]), 4)
        0.5714
    """
    x, y = np.asarray(predictions, dtype=np.float64), np.asarray(references, dtype=np.float64)
    if x.ndim != 1 or x.shape != y.shape:
        raise ValueError(
            f"Predictions have the shape {x.shape} and references {y.shape}; both must be (N,). Mend: give one "
            "dimension, such as arousal, at a time."
        )
    for name, values in (("predictions", x), ("references", y)):
        if not np.isfinite(values).all():
            row = int(np.flatnonzero(~np.isfinite(values))[0])
            raise ValueError(f"Row {row} of `{name}` is {values[row]}. Mend: leave rows without a rating out first.")
    if len(x) < 2:
        return math.nan
    spread = x.var() + y.var() + (x.mean() - y.mean()) ** 2
    if spread <= 0:
        return math.nan
    return float(np.clip(2.0 * ((x - x.mean()) * (y - y.mean())).mean() / spread, -1.0, 1.0))
