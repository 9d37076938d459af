"""Checkpoints: loading fine-tuned models, full or adapters, local or from the Hub."""

from .._lazy import lazy_attributes

_NAMES = {"load_emotion_model": "load"}
__all__ = list(_NAMES)  # lazy: the package is listed without loading torch
__getattr__ = lazy_attributes(__name__, _NAMES)
