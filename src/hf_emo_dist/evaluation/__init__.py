"""Scoring a checkpoint next to simple predictors, cross-validation, baselines and plots."""

from .._lazy import lazy_attributes

_NAMES = {
    "CrossValidationReport": "cross_validation",
    "DistributionPredictor": "predictor",
    "EvaluationReport": "scoring",
    "SoftLogisticRegression": "baselines",
    "calibrate_checkpoint": "calibrate",
    "cross_validate": "cross_validation",
    "evaluate_checkpoint": "checkpoint",
    "evaluate_distributions": "scoring",
    "predicted_against_target_plot": "plots",
    "reliability_plot": "plots",
    "scores_by_group": "groups",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
