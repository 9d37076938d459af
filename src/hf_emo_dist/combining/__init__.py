"""What a synthetic vote is worth: pooled, weighted, or as evidence in a posterior; and where the next vote goes."""

from .._lazy import lazy_attributes

_NAMES = {
    "Recommendation": "recommending",
    "VoteCombiner": "combiner",
    "next_votes": "allocation",
    "recommend_n": "recommending",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
