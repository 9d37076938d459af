"""Scoring a model next to simple predictors, plots, a regression on frozen features and cross-validation."""

from .._lazy import lazy_attributes

_NAMES = {
    "CrossValidationReport": "cross_validation",
    "EvaluationReport": "evaluation",
    "SoftLogisticRegression": "baselines",
    "cross_validate": "cross_validation",
    "evaluate_checkpoint": "checkpoint",
    "evaluate_distributions": "evaluation",
    "predicted_against_target_plot": "figures",
    "reliability_plot": "figures",
    "tower_features": "baselines",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
