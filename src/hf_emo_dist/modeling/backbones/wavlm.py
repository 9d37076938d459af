"""WavLM."""

from __future__ import annotations

from typing import ClassVar

from torch import nn
from transformers.models.wavlm.modeling_wavlm import WavLMFeatureEncoder, WavLMModel

from ..lora_targets import speech_encoder_targets
from .speech_processing import WaveformEmotionProcessor
from .waveform_encoder import MaskedFeatureEncoder, WaveformEncoderForEmotionDistribution


class _MaskedWavLMFeatureEncoder(MaskedFeatureEncoder, WavLMFeatureEncoder):
    pass


class WavLMForEmotionDistribution(WaveformEncoderForEmotionDistribution):
    """WavLM with a head for distributions of emotions."""

    family = "wavlm"
    family_name = "WavLM"
    family_example = "microsoft/wavlm-large"
    processor_class = WaveformEmotionProcessor
    lora_targets = speech_encoder_targets(None, "intermediate_dense|output_dense")
    lora_lacks: ClassVar[dict[str, str]] = {
        "attention": "its attention takes the projections' weights and never calls them, so an adapter would do nothing"
    }
    _supports_sdpa = False
    _supports_flash_attn = False
    _supports_flex_attn = False
    encoder_class = WavLMModel
    encoder_prefix = "wavlm"
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {WavLMFeatureEncoder: _MaskedWavLMFeatureEncoder}
    _no_split_modules: ClassVar[list[str]] = ["WavLMEncoderLayer", "WavLMEncoderLayerStableLayerNorm"]
