"""Model and data set cards: the facts, the tables and the Markdown."""

from ..._lazy import lazy_attributes

_NAMES = {
    "write_dataset_card": "dataset_card",
    "write_model_card": "model_card",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
