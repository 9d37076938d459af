"""Training: losses, collator, arguments, LoRA presets and the Trainer."""

from .._lazy import lazy_attributes

_NAMES = {
    "EmotionDistributionCollator": "collator",
    "EmotionDistributionTrainer": "trainer",
    "EmotionDistributionTrainingArguments": "arguments",
    "emotion_lora_config": "lora",
    "paper_lora_config": "lora",
}
__all__ = list(_NAMES)  # lazy: `training.losses` alone does not load peft
__getattr__ = lazy_attributes(__name__, _NAMES)
