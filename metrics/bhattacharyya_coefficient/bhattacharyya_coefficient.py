"""Bhattacharyya coefficient between predicted and reference emotion distributions, as an `evaluate` module."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Bhattacharyya coefficient between predicted distributions and reference distributions, averaged over the rows.
It is 1 where the two are equal and 0 where they share no label.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of lists of float): one predicted distribution a row; K numbers that sum to 1.
    references (list of lists of float): the reference distributions, in the same order of labels.
Returns:
    bhattacharyya_coefficient (float): the mean over the rows, between 0 and 1.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metrics/bhattacharyya_coefficient")
    >>> metric.compute(predictions=[[1.0, 0.0], [0.5, 0.5]], references=[[0.0, 1.0], [0.5, 0.5]])
    {'bhattacharyya_coefficient': 0.5}
"""

_CITATION = """
@article{bhattacharyya1943measure,
  author  = {Bhattacharyya, Anil Kumar},
  title   = {On a measure of divergence between two statistical populations defined by their probability distributions},
  journal = {Bulletin of the Calcutta Mathematical Society},
  volume  = {35},
  pages   = {99--109},
  year    = {1943}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class BhattacharyyaCoefficient(evaluate.Metric):
    """The mean of `bhattacharyya_coefficient`; needs NumPy alone."""

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": row, "references": row}),
        )

    def _compute(self, predictions: list, references: list) -> dict[str, float]:
        return {"bhattacharyya_coefficient": float(bhattacharyya_coefficient(predictions, references).mean())}


def bhattacharyya_coefficient(predictions: list, references: list) -> np.ndarray:
    """One figure a row, (N,), as `hf_emo_dist.scores.bhattacharyya_coefficient` gives it."""
    p, q = _distributions(predictions, "predictions"), _distributions(references, "references")
    if p.shape != q.shape:
        raise ValueError(f"`predictions` has the shape {p.shape} and `references` {q.shape}; they must be alike.")
    # Not the root of the product, because the product of two tiny numbers would vanish.
    return np.minimum((np.sqrt(p) * np.sqrt(q)).sum(axis=1), 1.0)


def _distributions(values: list, name: str) -> np.ndarray:
    """Float64 rows (N, K) that sum to 1, or an error that names the row which is no distribution."""
    try:
        rows = np.asarray(list(values), dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`{name}` is no table of numbers ({error}). Mend: give K numbers in each row.") from error
    if rows.ndim != 2 or rows.shape[1] < 2:
        raise ValueError(f"`{name}` must have the shape (N, K) with K of at least 2, got {rows.shape}.")
    sums = rows.sum(axis=1)
    # Written so that NaN counts as bad. Sums are a little off 1 where the rows came in float16.
    good = (np.abs(sums - 1) <= 0.01) & (rows >= 0).all(axis=1)
    if not good.all():
        row = int(np.argmin(good))
        raise ValueError(
            f"Row {row} of `{name}` is not a distribution: {rows[row].tolist()}. "
            f"Mend: its numbers must not be negative and sum to 1 (for logits, apply softmax first)."
        )
    return rows / sums[:, None]
