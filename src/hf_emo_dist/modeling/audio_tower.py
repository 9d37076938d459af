"""The audio tower on the batch's longest clip instead of on 30 s, with the stock layers, weights and outputs."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

HOP_LENGTH = 160
MARGIN_FRAMES = 2  # what the two convolutions (kernel 3) can see beyond a clip's last frame


def num_mel_frames(num_samples: int) -> int:
    """Mel frames of a clip of `num_samples` samples at 16 kHz (hop 160).

    Example:
        >>> num_mel_frames(16000), num_mel_frames(16001)
        (100, 101)
    """
    return -(-num_samples // HOP_LENGTH)


def num_audio_tokens(num_frames: int) -> int:
    """Audio tokens of `num_frames` mel frames: stride 2 in the second convolution, then average pooling by 2.

    Example:
        >>> num_audio_tokens(100), num_audio_tokens(2)
        (25, 0)
    """
    return ((num_frames - 1) // 2 + 1 - 2) // 2 + 1


def padded_mel_frames(longest: int, maximum: int = 3000) -> int:
    """Mel frames to pad a batch to whose longest clip has `longest` frames.

    The stock encoder pads to `maximum` (30 s) and masks the padding as keys, so frames beyond the longest clip change
    nothing but the convolutions' view of the clip's end; two frames of silence keep that view, and an even number keeps
    stride and pooling aligned.

    Example:
        >>> padded_mel_frames(100), padded_mel_frames(101), padded_mel_frames(2999)
        (102, 104, 3000)
    """
    frames = longest + MARGIN_FRAMES
    return min(maximum, frames + frames % 2)


class TrimmedQwen2AudioEncoder(Qwen2AudioEncoder):
    """`Qwen2AudioEncoder` for any even number of mel frames up to 3,000; same parameters, same valid outputs.

    Args:
        input_features: (clips, mel bins, frames), frames even, as `padded_mel_frames` gives.
        attention_mask: 4-D bidirectional mask over frames / 2 positions, or None.

    Returns:
        `last_hidden_state` (clips, frames / 4, d_model); positions of padding hold values without meaning.
    """

    def forward(  # type: ignore[override]
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        """Log-mel frames → hidden states, see the class."""
        maximum = self.config.max_source_positions * 2
        frames = input_features.shape[-1]
        if frames > maximum or frames % 2:
            raise ValueError(
                f"input_features has {frames} frames; the audio tower takes an even number of at most {maximum}. "
                "Use EmotionDistributionProcessor, which pads accordingly."
            )
        features = input_features.to(dtype=self.conv1.weight.dtype, device=self.conv1.weight.device)
        hidden = nn.functional.gelu(self.conv1(features))
        hidden = nn.functional.gelu(self.conv2(hidden)).permute(0, 2, 1)
        hidden = hidden + self.embed_positions.weight[: hidden.shape[1]]
        hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
        for layer in self.layers:
            if self.training and self.layerdrop > 0.0 and torch.rand([]) < self.layerdrop:
                continue
            hidden = layer(hidden, attention_mask, **kwargs)
        hidden = self.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
        return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))

    def encode(self, input_features: torch.Tensor, feature_attention_mask: torch.Tensor) -> torch.Tensor:
        """Outputs of the valid frames of all clips, one after the other: (total audio tokens, d_model).

        Args:
            input_features: (clips, mel bins, frames) log-mel spectrogram.
            feature_attention_mask: (clips, frames), 1 for frames of the clip and 0 for padding.
        """
        hidden, lengths = self.encode_padded(input_features, feature_attention_mask)
        valid = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]
        return hidden[valid]

    def encode_padded(
        self, input_features: torch.Tensor, feature_attention_mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Outputs (clips, frames / 4, d_model) and the number of valid ones of each clip (clips,)."""
        conv_lengths, token_lengths = self._get_feat_extract_output_lengths(feature_attention_mask.sum(-1))
        positions = input_features.shape[-1] // 2
        steps = torch.arange(positions, device=input_features.device)[None, :]
        valid = steps < conv_lengths[:, None]
        mask = create_bidirectional_mask(
            config=self.config,
            inputs_embeds=torch.zeros(
                (*valid.shape, 1), dtype=self.conv1.weight.dtype, device=self.conv1.weight.device
            ),
            attention_mask=valid.long(),
        )
        return self(input_features, attention_mask=mask).last_hidden_state, token_lengths
