"""Sending: who is asked when, pacing, budget, and the report of a run."""

from ..._lazy import lazy_attributes

_NAMES = {
    "AnnotationIncomplete": "run_report",
    "Estimate": "estimate",
    "RunReport": "run_report",
    "RunSettings": "jobs",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
