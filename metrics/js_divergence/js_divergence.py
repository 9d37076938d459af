"""Jensen-Shannon divergence between predicted and reference emotion distributions, as an `evaluate` module."""

import datasets
import evaluate

from hf_emo_dist.scores.divergences import jensen_shannon_divergence

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
    """Thin adapter over `hf_emo_dist.scores.jensen_shannon_divergence`; needs NumPy and two modules of that package: divergences, rows."""

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
        return {"js_divergence": float(jensen_shannon_divergence(predictions, references, base=base).mean())}
