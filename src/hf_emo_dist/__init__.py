"""Emotions as distributions, end to end in the Hugging Face ecosystem.

Names are imported when they are first used: `import hf_emo_dist` is quick and does not load torch.
"""

from __future__ import annotations

import importlib
from typing import Any

from ._lazy import lazy_attributes
from ._registration import register_when_transformers_loads

__version__ = "0.2.0.dev0"

# public name → the room that offers it, in the order of a user's way; everything else is reached through its room
_PUBLIC = {
    # votes and distributions
    "PAPER_EMOTIONS": "emotions",
    "combine_votes": "votes",
    "distributions_to_matrix": "votes",
    # data
    "load_audio": "audio",
    "check_audio": "audio",
    "read_table": "corpora",
    "simulate_corpus": "corpora",
    "load_emotion_dataset": "data",
    "write_dataset": "data",
    "speaker_disjoint_split": "data",
    "check_splits": "data",
    # annotators
    "annotate_with_gemini": "annotation",
    "Annotator": "annotation",
    "draw_votes": "annotation",
    "AnnotationIncomplete": "annotation",
    # what their votes are worth
    "VoteCombiner": "combining",
    "next_votes": "combining",
    "recommend_n": "combining",
    # balance
    "DiMEAug": "augmentation",
    # model and training
    "EmotionDistributionModel": "modeling",
    "Qwen2AudioForEmotionDistribution": "modeling",
    "EmotionDistributionProcessor": "modeling",
    "predict_distributions": "modeling",
    "EmotionDistributionTrainer": "training",
    "EmotionDistributionTrainingArguments": "training",
    "paper_lora_config": "training",
    "emotion_lora_config": "training",
    # figures
    "compute_scores": "scores",
    # Hub
    "load_emotion_model": "hub",
    "push_model": "hub",
    "push_votes": "hub",
    "push_dataset": "hub",
    "write_model_card": "hub",
}
# names that stood here in 0.1 → where they are now
_MOVED = {
    "votes_to_distribution": "votes",
    **dict.fromkeys(
        (
            "read_iemocap",
            "read_msp_podcast",
            "read_cremad",
            "read_emozionalmente",
            "read_dusha",
            "read_ravdess",
            "read_emodb",
        ),
        "corpora",
    ),
    "dominant_classes": "data",
    **dict.fromkeys(
        ("GeminiBackend", "OpenAIBackend", "SimulatedBackend", "PanelMember", "Ledger"),
        "annotation",
    ),
    "prepare_dataset": "preparation",
    "MixPlan": "augmentation",
    "WaveformPerturbation": "augmentation",
    **dict.fromkeys(
        ("Qwen2AudioEmotionConfig", "build_mini_backbone"),
        "modeling",
    ),
    **dict.fromkeys(("audio_kwargs_for", "use_trimmed_audio_tower"), "audio"),
    "EmotionDistributionCollator": "training",
    "push_metric": "hub",
}
_ROOMS = (
    "annotation",
    "audio",
    "augmentation",
    "combining",
    "corpora",
    "data",
    "emotions",
    "evaluation",
    "hub",
    "modeling",
    "preparation",
    "scores",
    "studies",
    "training",
    "votes",
)

__all__ = ["scores", *_PUBLIC]

_lazy = lazy_attributes(__name__, _PUBLIC, moved={name: f"{__name__}.{room}.{name}" for name, room in _MOVED.items()})


def __getattr__(name: str) -> Any:
    return importlib.import_module(f".{name}", __name__) if name in _ROOMS else _lazy(name)


def __dir__() -> list[str]:
    return sorted({*__all__, *_ROOMS, "__version__"})


register_when_transformers_loads()
