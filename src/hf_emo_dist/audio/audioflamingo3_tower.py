"""Audio Flamingo 3's tower on the batch's longest clip instead of on 30 s, with the stock layers and outputs."""

from __future__ import annotations

from typing import Any

import torch
from transformers.modeling_outputs import BaseModelOutput, BaseModelOutputWithPooling
from transformers.models.audioflamingo3.modeling_audioflamingo3 import AudioFlamingo3Encoder

from .qwen2_audio_tower import TrimmedTower, encode_audio_padded


class TrimmedAudioFlamingo3Encoder(TrimmedTower, AudioFlamingo3Encoder):
    """`AudioFlamingo3Encoder` on the batch's longest clip; the stock model may call it as it calls its own."""

    def forward(
        self,
        input_features: torch.Tensor,
        attention_mask: torch.Tensor | None = None,
        input_features_mask: torch.Tensor | None = None,
        **kwargs: Any,
    ) -> BaseModelOutput:
        """Turn (clips, mel bins, even frames) and a mask, over frames as the stock one takes it or 4-D, into states."""
        if input_features_mask is not None:
            hidden, _ = encode_audio_padded(self, input_features, input_features_mask)
            return BaseModelOutputWithPooling(last_hidden_state=hidden)
        return super().forward(input_features, attention_mask, **kwargs)
