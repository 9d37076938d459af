"""Emotions as distributions, end to end in the Hugging Face ecosystem.

Names are imported when they are first used: `import hf_emo_dist` is quick and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._lazy import lazy_attributes
from ._registration import register_when_transformers_loads

__version__ = "0.1.0"

# public name → the module that defines it
_PUBLIC = {
    "PAPER_EMOTIONS": "emotions",
    "combine_votes": "votes",
    "distributions_to_matrix": "votes",
    "votes_to_distribution": "votes",
    "compute_scores": "scores",
    "load_audio": "audio",
    "check_audio": "audio",
    "load_emotion_dataset": "data",
    "read_table": "corpora",
    "read_iemocap": "corpora",
    "read_msp_podcast": "corpora",
    "read_cremad": "corpora",
    "read_emozionalmente": "corpora",
    "read_dusha": "corpora",
    "read_ravdess": "corpora",
    "read_emodb": "corpora",
    "check_splits": "data",
    "dominant_classes": "data",
    "simulate_corpus": "corpora",
    "speaker_disjoint_split": "data",
    "DiMEAug": "augmentation",
    "MixPlan": "augmentation",
    "WaveformPerturbation": "augmentation",
    "write_dataset": "data",
    "AnnotationIncomplete": "annotation",
    "Annotator": "annotation",
    "GeminiBackend": "annotation",
    "Ledger": "annotation",
    "OpenAIBackend": "annotation",
    "PanelMember": "annotation",
    "SimulatedBackend": "annotation",
    "annotate_with_gemini": "annotation",
    "prepare_dataset": "preparation",
    "EmotionDistributionProcessor": "modeling",
    "Qwen2AudioEmotionConfig": "modeling",
    "Qwen2AudioForEmotionDistribution": "modeling",
    "audio_kwargs_for": "modeling",
    "build_mini_backbone": "modeling",
    "use_trimmed_audio_tower": "modeling",
    "predict_distributions": "modeling",
    "EmotionDistributionCollator": "training",
    "EmotionDistributionTrainer": "training",
    "EmotionDistributionTrainingArguments": "training",
    "emotion_lora_config": "training",
    "paper_lora_config": "training",
    "load_emotion_model": "hub",
    "push_dataset": "hub",
    "push_metric": "hub",
    "push_model": "hub",
    "push_votes": "hub",
    "write_model_card": "hub",
}
_MODULES = (
    "annotation",
    "audio",
    "augmentation",
    "corpora",
    "data",
    "emotions",
    "hub",
    "modeling",
    "preparation",
    "evaluation",
    "studies",
    "scores",
    "training",
    "votes",
)

__all__ = ["scores", *_PUBLIC]

_lazy = lazy_attributes(__name__, _PUBLIC)


def __getattr__(name: str) -> Any:
    return importlib.import_module(f".{name}", __name__) if name in _MODULES else _lazy(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_MODULES, "__version__"})


register_when_transformers_loads()
