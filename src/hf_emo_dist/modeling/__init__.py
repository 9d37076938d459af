"""The model: configuration, audio tower, head, processor and their registration with the Auto classes."""

from .._lazy import lazy_attributes

_NAMES = {
    "EmotionDistributionProcessor": "processing",
    "Qwen2AudioEmotionConfig": "configuration",
    "Qwen2AudioForEmotionDistribution": "modeling",
    "audio_kwargs_for": "audio_tower",
    "build_mini_backbone": "mini",
    "use_trimmed_audio_tower": "audio_tower",
    "predict_distributions": "prediction",
}
__all__ = list(_NAMES)  # lazy: the configuration can be registered without loading torch's models
__getattr__ = lazy_attributes(__name__, _NAMES)
