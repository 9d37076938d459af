"""The model: configuration, backbones, head, losses, processor and pipeline."""

from .._lazy import lazy_attributes

_NAMES = {
    "EmotionDistributionModel": "model",
    "EmotionDistributionProcessor": "processing",
    "Qwen2AudioEmotionConfig": "configuration",
    "Qwen2AudioForEmotionDistribution": "backbones.qwen2_audio",
    "audio_kwargs_for": ".audio.qwen2_audio_tower",
    "build_mini_backbone": "mini",
    "predict_distributions": "prediction",
    "use_trimmed_audio_tower": ".audio.qwen2_audio_tower",
}
__all__ = list(_NAMES)
__getattr__ = lazy_attributes(__name__, _NAMES)
