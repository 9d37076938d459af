"""DiME-Aug: balancing a training split by mixing neighbouring utterances, their audio, distributions and transcripts."""

from .._lazy import lazy_attributes

_NAMES = {
    "AugmentationArguments": "recipe",
    "BetweenClassMixer": "mixing",
    "DiMEAug": "dime",
    "LazyMixer": "lazy",
    "MixPlan": "plan",
    "PaperMixer": "mixing",
    "PlanReport": "report",
    "WaveformPerturbation": "perturbation",
    "add_features": "features",
    "augment_splits": "recipe",
    "class_mass_plot": "figures",
    "write_listening_page": "listening_page",
}
__all__ = list(_NAMES)  # lazy: datasets and scipy are loaded when they are needed
__getattr__ = lazy_attributes(__name__, _NAMES)
