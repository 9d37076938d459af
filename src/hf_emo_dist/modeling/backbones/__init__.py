"""The families of backbones, one file each: how audio (and words) become hidden states, and what goes with that."""

from __future__ import annotations

from typing import Any

from ..._tables import resolve

#: `model_type` of a backbone's configuration → its model class. Imported when it is used.
FAMILIES: dict[str, str] = {
    "audioflamingo3": "audioflamingo3:AudioFlamingo3ForEmotionDistribution",
    "data2vec-audio": "data2vec_audio:Data2VecAudioForEmotionDistribution",
    "gemma4": "gemma4:Gemma4ForEmotionDistribution",
    "granite_speech": "granite_speech:GraniteSpeechForEmotionDistribution",
    "hubert": "hubert:HubertForEmotionDistribution",
    "qwen2_5_omni": "qwen2_5_omni:Qwen2_5OmniForEmotionDistribution",
    "qwen2_5_omni_thinker": "qwen2_5_omni:Qwen2_5OmniForEmotionDistribution",
    "qwen2_audio": "qwen2_audio:Qwen2AudioForEmotionDistribution",
    "unispeech-sat": "unispeech_sat:UniSpeechSatForEmotionDistribution",
    "voxtral": "voxtral:VoxtralForEmotionDistribution",
    "wav2vec2": "wav2vec2:Wav2Vec2ForEmotionDistribution",
    "wav2vec2-bert": "wav2vec2_bert:Wav2Vec2BertForEmotionDistribution",
    "wavlm": "wavlm:WavLMForEmotionDistribution",
    "whisper": "whisper:WhisperForEmotionDistribution",
}


def family_class(name: str) -> Any:
    """Return the model class of a family.

    Args:
        name: A key of `FAMILIES`; or `module:Name`, a subclass of `EmotionDistributionModel` in the user's own code.

    Raises:
        ValueError: There is no such family.

    Example:
        >>> family_class("qwen2_audio").__name__
        'Qwen2AudioForEmotionDistribution'
    """
    return resolve(name, FAMILIES, "backbone", __name__)
