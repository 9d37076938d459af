"""The Hub: loading checkpoints of every layout, cards, and pushing models, votes, data sets and metrics."""

from .._lazy import lazy_attributes

_NAMES = {
    "load_emotion_model": "load",
    "push_dataset": "push_data",
    "push_metric": "metric_space",
    "push_model": "push",
    "push_votes": "push_data",
    "write_dataset_card": "dataset_card",
    "write_model_card": "card",
}
__all__ = list(_NAMES)  # lazy: the package is listed without loading torch
__getattr__ = lazy_attributes(__name__, _NAMES)
