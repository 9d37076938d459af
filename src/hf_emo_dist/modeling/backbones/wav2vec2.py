"""wav2vec 2.0."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from transformers.models.wav2vec2.modeling_wav2vec2 import Wav2Vec2FeatureEncoder, Wav2Vec2Model

from ..lora_targets import speech_encoder_targets
from .speech_processing import WaveformEmotionProcessor
from .waveform_encoder import MaskedFeatureEncoder, WaveformEncoderForEmotionDistribution


class _MaskedWav2Vec2FeatureEncoder(MaskedFeatureEncoder, Wav2Vec2FeatureEncoder):
    pass


class Wav2Vec2ForEmotionDistribution(WaveformEncoderForEmotionDistribution):
    """wav2vec 2.0 with a head for distributions of emotions."""

    family = "wav2vec2"
    family_name = "wav2vec 2.0"
    family_example = "facebook/wav2vec2-large-robust"
    processor_class = WaveformEmotionProcessor
    lora_targets = speech_encoder_targets("q_proj|k_proj|v_proj|out_proj", "intermediate_dense|output_dense")
    encoder_class = Wav2Vec2Model
    encoder_prefix = "wav2vec2"
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {
        Wav2Vec2FeatureEncoder: _MaskedWav2Vec2FeatureEncoder
    }
    _no_split_modules: ClassVar[list[str]] = ["Wav2Vec2EncoderLayer", "Wav2Vec2EncoderLayerStableLayerNorm"]
