"""The encoders that hear a waveform through convolutions, as wav2vec 2.0 does, whatever the padding around it."""

from __future__ import annotations

from collections.abc import Sequence
from contextvars import ContextVar
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from .speech_encoder import SpeechEncoderForEmotionDistribution

# Samples and frames of each clip of the batch that runs: the modules that need them are called by transformers' own
# forward methods, which do not hand them on. No module that runs again in a backward pass (activation checkpointing)
# reads them.
_LENGTHS: ContextVar[tuple[Tensor | None, Tensor | None]] = ContextVar("lengths", default=(None, None))


class WaveformEncoderForEmotionDistribution(SpeechEncoderForEmotionDistribution):
    """A `SpeechEncoderForEmotionDistribution` on waveforms."""

    main_input_name = "input_values"
    audio_input_names: ClassVar[tuple[str, ...]] = ("input_values", "attention_mask")
    # as in transformers' recipes, and in all that is published on these models
    frozen_by_default: ClassVar[tuple[str, ...]] = ("feature_encoder", "text_encoder")
    #: classes of the encoder that padding leaks through → those that keep it out, with the same parameters
    masked_modules: ClassVar[dict[type[nn.Module], type[nn.Module]]] = {}

    def __init__(self, config: Any) -> None:
        super().__init__(config)
        for module in self.encoder.modules():
            # in place, so that names and weights stay
            module.__class__ = self.masked_modules.get(type(module), type(module))

    def layer_states(self, audio: Tensor, mask: Tensor, all_layers: bool) -> tuple[Sequence[Tensor], Tensor]:
        """Run the stock encoder, with the mask."""
        own = self.encoder.config
        samples = mask.sum(-1)
        frames = conv_lengths(samples, own.conv_kernel, own.conv_stride)
        token = _LENGTHS.set((samples, frames))
        try:
            outputs = self.encoder(audio, attention_mask=mask, output_hidden_states=all_layers)
        finally:
            _LENGTHS.reset(token)
        layers = outputs.hidden_states if all_layers else (outputs.last_hidden_state,)
        return layers, torch.arange(layers[0].shape[1], device=mask.device)[None, :] < frames[:, None]


def frame_lengths() -> Tensor | None:
    """Return the frames of each clip of the batch that runs, None outside a forward pass of this library."""
    return _LENGTHS.get()[1]


def conv_lengths(lengths: Any, kernels: Sequence[int], strides: Sequence[int]) -> Any:
    """Return the frames after convolutions without padding, of ints or tensors.

    Example:
        >>> conv_lengths(16000, (10, 3, 3, 3, 3, 2, 2), (5, 2, 2, 2, 2, 2, 2))
        49
    """
    for kernel, stride in zip(kernels, strides, strict=True):
        lengths = (lengths - kernel) // stride + 1
    return lengths


class MaskedFeatureEncoder(nn.Module):
    """The convolutions of an encoder with `feat_extract_norm="group"`, normalised over the clip and not its padding."""

    # Its first layer normalises each channel over all the time there is. The stock encoder counts the padding, and with
    # it a clip's states depend on the longest clip of its batch.
    conv_layers: Any

    def forward(self, input_values: Tensor) -> Tensor:
        """Turn (clips, samples) into (clips, channels, frames)."""
        hidden = input_values[:, None]
        for number, layer in enumerate(self.conv_layers):
            lengths = _LENGTHS.get()[0]
            if number == 0 and lengths is not None and isinstance(getattr(layer, "layer_norm", None), nn.GroupNorm):
                hidden = layer.conv(hidden)
                lengths = conv_lengths(lengths, layer.conv.kernel_size, layer.conv.stride)
                hidden = layer.activation(masked_channel_norm(hidden, lengths, layer.layer_norm))
            else:
                hidden = layer(hidden)
        return hidden


def masked_channel_norm(hidden: Tensor, lengths: Tensor, norm: Any) -> Tensor:
    """`nn.GroupNorm` with a group a channel, over the first `lengths` (clips,) steps of (clips, channels, steps)."""
    valid = (torch.arange(hidden.shape[-1], device=hidden.device)[None, :] < lengths[:, None])[:, None]
    count = lengths[:, None, None]
    values = hidden.float()
    centred = values - torch.where(valid, values, 0.0).sum(-1, keepdim=True) / count
    variance = torch.where(valid, centred, 0.0).square().sum(-1, keepdim=True) / count
    scaled = centred * (variance + norm.eps).rsqrt()
    return (scaled * norm.weight.float()[:, None] + norm.bias.float()[:, None]).to(hidden.dtype)
