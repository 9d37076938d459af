"""Every figure over predicted and reference distributions, in NumPy: one function a figure, and :func:`compute_scores`
for all of them.

Functions of two distributions take rows (N, K) and give (N,), or take (K,) and give an array of shape (). They compute
in float64 whatever comes in, and divide rows by their sums, so that rounding in float16 or float32 does no harm.
"""

from ..distributions import entropy
from .agreement import fleiss_kappa, krippendorff_alpha, observed_agreement
from .bootstrap import UNBOUNDED, bootstrap_interval, bootstrap_score, paired_bootstrap, paired_permutation_test
from .checking import EPSILON
from .classes import (
    accuracy,
    entropy_correlation,
    entropy_error,
    expected_calibration_error,
    macro_f1,
    multilabel_macro_f1,
    smoothed_labels,
    unweighted_average_recall,
    weighted_f1,
)
from .concordance import concordance_correlation_coefficient
from .divergences import (
    bhattacharyya_coefficient,
    brier_score,
    canberra_metric,
    chebyshev_distance,
    clark_distance,
    cosine_similarity,
    intersection_similarity,
    jensen_shannon_distance,
    jensen_shannon_divergence,
    kl_divergence,
    r2_score,
)
from .floor import (
    fit_dirichlet_prior,
    js_divergence_above_floor,
    js_divergence_floor,
    js_divergence_floor_interval,
)
from .likelihood import log_likelihood_per_vote, unbiased_brier_score
from .raters import effective_votes, share_noise
from .summary import SCORES, VOTE_SCORES, Score, VoteScore, compute_scores, greater_is_better, score_bounds
from .temperature import MIN_ROWS, TEMPERATURE_RANGE, TemperatureFit, at_temperature, fit_temperature
from .transport import PLEASURE_AROUSAL, circumplex_cost, wasserstein_distance

__all__ = [
    "EPSILON",
    "MIN_ROWS",
    "PLEASURE_AROUSAL",
    "SCORES",
    "TEMPERATURE_RANGE",
    "UNBOUNDED",
    "VOTE_SCORES",
    "Score",
    "TemperatureFit",
    "VoteScore",
    "accuracy",
    "at_temperature",
    "bhattacharyya_coefficient",
    "bootstrap_interval",
    "bootstrap_score",
    "brier_score",
    "canberra_metric",
    "chebyshev_distance",
    "circumplex_cost",
    "clark_distance",
    "compute_scores",
    "concordance_correlation_coefficient",
    "cosine_similarity",
    "effective_votes",
    "entropy",
    "entropy_correlation",
    "entropy_error",
    "expected_calibration_error",
    "fit_dirichlet_prior",
    "fit_temperature",
    "fleiss_kappa",
    "greater_is_better",
    "intersection_similarity",
    "jensen_shannon_distance",
    "jensen_shannon_divergence",
    "js_divergence_above_floor",
    "js_divergence_floor",
    "js_divergence_floor_interval",
    "kl_divergence",
    "krippendorff_alpha",
    "log_likelihood_per_vote",
    "macro_f1",
    "multilabel_macro_f1",
    "observed_agreement",
    "paired_bootstrap",
    "paired_permutation_test",
    "r2_score",
    "score_bounds",
    "share_noise",
    "smoothed_labels",
    "unbiased_brier_score",
    "unweighted_average_recall",
    "wasserstein_distance",
    "weighted_f1",
]
