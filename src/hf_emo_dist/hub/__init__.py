"""The Hub: loading checkpoints of every layout, cards, and pushing models, votes, data sets and metrics."""

from .._lazy import lazy_attributes

_NAMES = {
    "PushReport": "commit",
    "SecretFoundError": "files",
    "export_model": "export",
    "export_vllm": "vllm_layout",
    "load_emotion_model": "load",
    "metric_folder": "metric_space",
    "push_dataset": "push_data",
    "push_metric": "metric_space",
    "push_model": "push",
    "push_votes": "push_data",
    "write_dataset_card": "cards.dataset_card",
    "write_model_card": "cards.model_card",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
