"""Every figure of predicted emotion distributions at once, as an `evaluate` module."""

import datasets
import evaluate

from hf_emo_dist.scores import compute_scores

_DESCRIPTION = """
Every figure that the field reports of predicted emotion distributions: divergences and similarities to the
distributions of listeners' votes, calibration, how well ambiguity is predicted, and the dominant class.
"""

_KWARGS_DESCRIPTION = """
Args:
    predictions (list of lists of float): one predicted distribution a row; K numbers that sum to 1.
    references (list of lists of float): the distributions of the votes, in the same order of labels.
    emotions (list of str): the K labels; adds the R2 of each class.
    counts (list of lists of float): the votes themselves; adds the log-likelihood a vote, the unbiased Brier score, and
        the floor of the JS divergence.
    base (float): base of the logarithms. Default: 2.
Returns:
    a dict with js_divergence, bhattacharyya_coefficient, kl_divergence, r2, expected_calibration_error, accuracy, uar
        and others, each a float.
Examples:
    >>> import evaluate
    >>> metric = evaluate.load("metrics/emotion_distribution")
    >>> scores = metric.compute(predictions=[[1.0, 0.0], [0.5, 0.5]], references=[[0.0, 1.0], [0.5, 0.5]])
    >>> scores["js_divergence"], scores["bhattacharyya_coefficient"], scores["accuracy"]
    (0.5, 0.5, 0.5)
"""

_CITATION = """
@article{geng2016label,
  author  = {Geng, Xin},
  title   = {Label Distribution Learning},
  journal = {IEEE Transactions on Knowledge and Data Engineering},
  volume  = {28},
  number  = {7},
  pages   = {1734--1748},
  year    = {2016},
  doi     = {10.1109/TKDE.2016.2545658}
}
"""


@evaluate.utils.file_utils.add_start_docstrings(_DESCRIPTION, _KWARGS_DESCRIPTION)
class EmotionDistribution(evaluate.Metric):
    """`hf_emo_dist.compute_scores` as a metric; needs that package, without any of its extras."""

    def _info(self) -> evaluate.MetricInfo:
        row = datasets.Sequence(datasets.Value("float64"))
        return evaluate.MetricInfo(
            description=_DESCRIPTION,
            citation=_CITATION,
            inputs_description=_KWARGS_DESCRIPTION,
            features=datasets.Features({"predictions": row, "references": row}),
            reference_urls=["https://doi.org/10.1109/TKDE.2016.2545658"],
        )

    def _compute(
        self,
        predictions: list,
        references: list,
        emotions: list[str] | None = None,
        counts: list | None = None,
        base: float = 2,
    ) -> dict[str, float]:
        return compute_scores(predictions, references, emotions=emotions, counts=counts, base=base)
