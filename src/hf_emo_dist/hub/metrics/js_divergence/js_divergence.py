"""Jensen-Shannon divergence between predicted and reference emotion distributions, as an `evaluate` module."""

import datasets
import evaluate
import numpy as np

_DESCRIPTION = """
Jensen-Shannon divergence, base 2, between predicted distributions and reference distributions, averaged over the rows.
It is 0 where the two are equal and 1 where they share no label.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of lists of float): one predicted distribution a row; K numbers that sum to 1.
    references (list of lists of float): the reference distributions, in the same order of labels.
    base (float): base of the logarithm. Default: 2.
Returns:
    js_divergence (float): the mean over the rows, between 0 and 1 in base 2.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metrics/js_divergence")
    >>> metric.compute(predictions=[[1.0, 0.0], [0.5, 0.5]], references=[[0.0, 1.0], [0.5, 0.5]])
    {'js_divergence': 0.5}
"""

_CITATION = """
@article{lin1991divergence,
  author  = {Lin, Jianhua},
  title   = {Divergence measures based on the Shannon entropy},
  journal = {IEEE Transactions on Information Theory},
  volume  = {37},
  number  = {1},
  pages   = {145--151},
  year    = {1991},
  doi     = {10.1109/18.61115}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class JSDivergence(evaluate.Metric):
    """The mean of `jensen_shannon_divergence`; needs NumPy alone."""

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": row, "references": row}),
            reference_urls=["https://doi.org/10.1109/18.61115"],
        )

    def _compute(self, predictions: list, references: list, base: float = 2) -> dict[str, float]:
        return {"js_divergence": float(jensen_shannon_divergence(predictions, references, base).mean())}


# Added to both sides of a ratio: 0/0 becomes 1 and 0/y a finite logarithm, which a factor of 0 then removes.
_TINY = 1e-300


def jensen_shannon_divergence(predictions: list, references: list, base: float = 2) -> np.ndarray:
    """One figure a row, (N,), as `hf_emo_dist.scores.jensen_shannon_divergence` gives it."""
    p, q = _distributions(predictions, "predictions"), _distributions(references, "references")
    if p.shape != q.shape:
        raise ValueError(f"`predictions` has the shape {p.shape} and `references` {q.shape}; they must be alike.")
    if not base > 0 or base == 1:
        raise ValueError(f"`base` of a logarithm must be over 0 and not 1, got {base}.")
    middle = (p + q) / 2 + _TINY
    nats = sum((x * np.log((x + _TINY) / middle)).sum(axis=1) for x in (p, q)) / 2
    return np.clip(nats, 0.0, np.log(2)) / np.log(base)


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
