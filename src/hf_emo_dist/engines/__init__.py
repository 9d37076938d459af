"""Engines: what maps over clips (annotating, checking, features, mixing, predicting) on more than one machine."""

from .._lazy import lazy_attributes

_NAMES = {
    "EngineChoice": "choice",
    "RayEngine": "ray_engine",
    "RayLedger": "ray_ledger",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
