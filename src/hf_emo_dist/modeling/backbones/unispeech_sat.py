"""UniSpeech-SAT."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from transformers.models.unispeech_sat.modeling_unispeech_sat import UniSpeechSatFeatureEncoder, UniSpeechSatModel

from ..lora_targets import speech_encoder_targets
from .speech_processing import WaveformEmotionProcessor
from .waveform_encoder import MaskedFeatureEncoder, WaveformEncoderForEmotionDistribution


class _MaskedUniSpeechSatFeatureEncoder(MaskedFeatureEncoder, UniSpeechSatFeatureEncoder):
    pass


class UniSpeechSatForEmotionDistribution(WaveformEncoderForEmotionDistribution):
    """UniSpeech-SAT with a head for distributions of emotions."""

    family = "unispeech-sat"
    family_name = "UniSpeech-SAT"
    family_example = "microsoft/unispeech-sat-large"
    processor_class = WaveformEmotionProcessor
    lora_targets = speech_encoder_targets("q_proj|k_proj|v_proj|out_proj", "intermediate_dense|output_dense")
    encoder_class = UniSpeechSatModel
    encoder_prefix = "unispeech_sat"
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {
        UniSpeechSatFeatureEncoder: _MaskedUniSpeechSatFeatureEncoder
    }
    _no_split_modules: ClassVar[list[str]] = ["UniSpeechSatEncoderLayer", "UniSpeechSatEncoderLayerStableLayerNorm"]
