"""DiME-Aug: balancing a training split by mixing neighbouring utterances: audio, distributions and transcripts."""

from .._lazy import lazy_attributes

_NAMES = {
    "AugmentationArguments": "augment_splits",
    "BetweenClassMixer": "mixing",
    "DiMEAug": "dime",
    "FeatureExtractor": "features",
    "LazyMixer": "lazy",
    "MixPlan": "plan",
    "PaperMixer": "mixing",
    "PlanReport": "plan_report",
    "WaveformPerturbation": "perturbation",
    "add_features": "features",
    "augment_splits": "augment_splits",
    "class_mass_plot": "plan_report",
    "write_listening_page": "listening_page",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
