"""data2vec-audio."""

from __future__ import annotations

from typing import ClassVar

import torch
from torch import Tensor, nn
from transformers.models.data2vec.modeling_data2vec_audio import (
    Data2VecAudioModel,
    Data2VecAudioPositionalConvEmbedding,
)

from ..lora_targets import speech_encoder_targets
from .speech_processing import WaveformEmotionProcessor
from .waveform_encoder import WaveformEncoderForEmotionDistribution, frame_lengths


class _MaskedPositions(Data2VecAudioPositionalConvEmbedding):
    # Five convolutions one after the other see a clip's position, and the stock encoder sets what lies beyond the clip
    # to zero before the first of them only: the others would see what the first made of the padding.
    def forward(self, hidden_states: Tensor) -> Tensor:
        lengths = frame_lengths()
        hidden = hidden_states.transpose(1, 2)
        for layer in self.layers:
            hidden = layer(hidden)
            if lengths is not None:
                steps = torch.arange(hidden.shape[-1], device=hidden.device)
                hidden = torch.where((steps[None, :] < lengths[:, None])[:, None], hidden, 0.0)
        return hidden.transpose(1, 2)


class Data2VecAudioForEmotionDistribution(WaveformEncoderForEmotionDistribution):
    """data2vec-audio with a head for distributions of emotions."""

    family = "data2vec-audio"
    family_name = "data2vec-audio"
    family_example = "facebook/data2vec-audio-large"
    processor_class = WaveformEmotionProcessor
    lora_targets = speech_encoder_targets("q_proj|k_proj|v_proj|out_proj", "intermediate_dense|output_dense")
    encoder_class = Data2VecAudioModel
    encoder_prefix = "data2vec_audio"
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {
        Data2VecAudioPositionalConvEmbedding: _MaskedPositions
    }
    _no_split_modules: ClassVar[list[str]] = ["Data2VecAudioEncoderLayer"]
