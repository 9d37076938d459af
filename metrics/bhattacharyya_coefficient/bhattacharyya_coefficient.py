"""Bhattacharyya coefficient between predicted and reference emotion distributions, as an `evaluate` module."""

import datasets
import evaluate

from hf_emo_dist.scores.divergences import bhattacharyya_coefficient

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
    """Thin adapter over `hf_emo_dist.scores.bhattacharyya_coefficient`; needs NumPy and two modules of that package: divergences, rows."""

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
