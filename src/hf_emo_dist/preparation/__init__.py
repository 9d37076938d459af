"""From speech with human votes to a data set to train on: audio checked, votes added and combined."""

from .._lazy import lazy_attributes

_NAMES = {
    "PrepareSettings": "prepare",
    "estimate_preparation": "prepare",
    "prepare_dataset": "prepare",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
