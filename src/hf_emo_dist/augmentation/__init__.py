"""DiME-Aug: balancing a training split by mixing neighbouring utterances, their audio, distributions and transcripts."""

from .._lazy import lazy_attributes

_NAMES = {
    "BetweenClassMixer": "mixing",
    "DiMEAug": "dime",
    "LazyMixer": "lazy",
    "MixPlan": "plan",
    "PaperMixer": "mixing",
    "PlanReport": "report",
    "WaveformPerturbation": "perturbation",
    "add_features": "features",
}
__all__ = list(_NAMES)  # lazy: datasets and scipy are loaded when they are needed
__getattr__ = lazy_attributes(__name__, _NAMES)
