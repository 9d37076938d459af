"""The audio tower on the batch's longest clip instead of on 30 s, with the stock layers, weights and outputs."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import nn
from transformers.masking_utils import create_bidirectional_mask
from transformers.modeling_outputs import BaseModelOutput
from transformers.models.qwen2_audio.modeling_qwen2_audio import Qwen2AudioEncoder

logger = logging.getLogger(__name__)

HOP_LENGTH = 160
MARGIN_FRAMES = 2  # what the two convolutions (kernel 3) can see beyond a clip's last frame
# Those that are known to keep padding out. Under any other the stock outputs depend on how much padding there is.
MASKING_ATTENTION = ("eager", "sdpa", "flash_attention_2", "flash_attention_3", "flex_attention")
SLOW = "the audio tower runs on 30 s a clip, not on the clip"

_Model = TypeVar("_Model", bound=nn.Module)


def num_mel_frames(num_samples: int) -> int:
    """Return the mel frames of a clip of `num_samples` samples at 16 kHz (hop 160)."""
    return -(-num_samples // HOP_LENGTH)


def num_audio_tokens(num_frames: int) -> int:
    """Return the audio tokens of `num_frames` mel frames: stride 2 in the second convolution, then pooling by 2."""
    return ((num_frames - 1) // 2 + 1 - 2) // 2 + 1


def padded_mel_frames(longest: int, maximum: int = 3000) -> int:
    """Return the mel frames to pad a batch to whose longest clip has `longest` frames."""
    # The stock encoder pads to `maximum` (30 s) and masks the padding as keys, so frames beyond the longest clip change
    # nothing but the convolutions' view of the clip's end; two frames of silence keep that view, and an even number
    # keeps stride and pooling aligned.
    frames = longest + MARGIN_FRAMES
    return min(maximum, frames + frames % 2)


def padded_samples(num_samples: int, maximum: int = 3000) -> int:
    """Return the samples to pad a batch to whose longest clip has `num_samples`; `maximum` is in mel frames."""
    return padded_mel_frames(num_mel_frames(num_samples), maximum) * HOP_LENGTH


class TrimmedTower:
    """Forward pass of a tower of Whisper's layers that masks padding, on any even number of mel frames up to 3,000.

    It comes before transformers' class among the bases: same parameters, same valid outputs.
    """

    config: Any
    conv1: Any
    conv2: Any
    embed_positions: Any
    layers: Any
    avg_pooler: Any
    layer_norm: Any
    dropout: float
    layerdrop: float
    training: bool
    parameters: Any

    def forward(
        self, input_features: torch.Tensor, attention_mask: torch.Tensor | None = None, **kwargs: Any
    ) -> BaseModelOutput:
        """Turn (clips, mel bins, even frames) and a 4-D mask over frames / 2 into (clips, frames / 4, d_model)."""
        maximum = self.config.max_source_positions * 2
        frames = input_features.shape[-1]
        if frames > maximum or frames % 2:
            raise ValueError(
                f"input_features has {frames} frames; the audio tower takes an even number of at most {maximum}. "
                "Mend: use EmotionDistributionProcessor, which pads accordingly, or audio_kwargs_for."
            )
        if frames < maximum and (reason := why_not_trimmed(self)):  # type: ignore[arg-type]
            raise ValueError(f"{reason}; or give it features of {maximum} frames")
        # activation checkpointing makes the first layer's outputs require gradients, and a frozen tower would run
        # forward again and backward
        trained = input_features.requires_grad or any(parameter.requires_grad for parameter in self.parameters())
        with torch.set_grad_enabled(torch.is_grad_enabled() and trained):
            weight = self.conv1.weight
            # weights on disk or in another memory come to the features, layer by layer
            where = input_features.device if weight.device.type == "meta" else weight.device
            features = input_features.to(dtype=weight.dtype, device=where)
            hidden = nn.functional.gelu(self.conv1(features))
            hidden = nn.functional.gelu(self.conv2(hidden)).permute(0, 2, 1)
            hidden = hidden + self.embed_positions(torch.arange(hidden.shape[1], device=where))
            hidden = nn.functional.dropout(hidden, p=self.dropout, training=self.training)
            for layer in self.layers:
                if self.training and self.layerdrop > 0.0 and torch.rand([]) < self.layerdrop:
                    continue
                hidden = layer(hidden, attention_mask, **kwargs)
            hidden = self.avg_pooler(hidden.permute(0, 2, 1)).permute(0, 2, 1)
            return BaseModelOutput(last_hidden_state=self.layer_norm(hidden))

    def encode(self, input_features: torch.Tensor, feature_attention_mask: torch.Tensor) -> torch.Tensor:
        """`encode_audio` with this tower."""
        return encode_audio(self, input_features, feature_attention_mask)  # type: ignore[arg-type]


class TrimmedQwen2AudioEncoder(TrimmedTower, Qwen2AudioEncoder):
    """`Qwen2AudioEncoder` on the batch's longest clip."""


def encode_audio(tower: nn.Module, input_features: torch.Tensor, feature_attention_mask: torch.Tensor) -> torch.Tensor:
    """Return the outputs of the valid frames of all clips, one after the other: (total audio tokens, d_model).

    Args:
        tower: A `TrimmedQwen2AudioEncoder`; a stock tower, or an attention that may not keep padding out, runs on 30 s,
            after one warning.
        input_features: (clips, mel bins, frames) Log-mel spectrogram, frames even.
        feature_attention_mask: (clips, frames) 1 for frames of the clip and 0 for padding.
    """
    hidden, lengths = encode_audio_padded(tower, input_features, feature_attention_mask)
    valid = torch.arange(hidden.shape[1], device=hidden.device)[None, :] < lengths[:, None]
    return hidden[valid]


def encode_audio_padded(
    tower: Any, input_features: torch.Tensor, feature_attention_mask: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the outputs (clips, frames / 4, d_model) and how many of each clip are valid; see `encode_audio`."""
    conv_lengths, token_lengths = tower._get_feat_extract_output_lengths(feature_attention_mask.sum(-1))
    reason = why_not_trimmed(tower)
    if reason:
        _warn_once(tower, reason)
        missing = max(0, tower.config.max_source_positions * 2 - input_features.shape[-1])
        # what the feature extractor makes of zeros: 8 decades below the clip's peak, in units of 4, and no less than
        # 1e-10
        silence = (input_features.amax(dim=(1, 2), keepdim=True) - 2).clamp_min(-1.5)
        input_features = torch.cat([input_features, silence.expand(*input_features.shape[:2], missing)], dim=-1)
    steps = torch.arange(input_features.shape[-1] // 2, device=input_features.device)[None, :]
    valid = steps < conv_lengths[:, None]
    weight = tower.conv1.weight
    mask = create_bidirectional_mask(
        config=tower.config,
        inputs_embeds=torch.zeros((*valid.shape, 1), dtype=weight.dtype, device=valid.device),
        attention_mask=valid.long(),
    )
    return tower(input_features, attention_mask=mask).last_hidden_state, token_lengths


def why_not_trimmed(tower: nn.Module) -> str | None:
    """Say why a tower must run on 30 s, or None where it runs on the clip."""
    attention = getattr(tower.config, "_attn_implementation", None)
    if attention not in MASKING_ATTENTION:
        return (
            f"{SLOW}: attention {attention!r} is not known to keep padding out. "
            f"Mend: load the model with attn_implementation='sdpa' (known: {', '.join(MASKING_ATTENTION)})"
        )
    # what wraps a tower (an adapter, a sharded module) hands its `encode` on
    if not hasattr(tower, "encode"):
        return f"{SLOW}: it is a {type(tower).__name__}. Mend: call hf_emo_dist.audio.use_trimmed_audio_tower(model)"
    return None


def use_trimmed_audio_tower(model: _Model) -> _Model:
    """Make a stock Qwen2-Audio model take features of the batch's longest clip instead of 30 s.

    Weights and outputs stay.

    The tower's class is changed in place, so `generate`, `forward`, adapters and saving work as before. Make the inputs
    with `audio_kwargs_for`. Features of 30 s still work.

    Args:
        model: A `Qwen2AudioForConditionalGeneration`, a `Qwen2AudioModel`, or what holds one.

    Returns:
        The same model. Where the fast path would change the outputs (an unknown attention, a tower of another class) it
        stays stock, and one warning says why.

    Raises:
        ValueError: The model has no Qwen2-Audio tower.

    Example:
        >>> model = use_trimmed_audio_tower(
        ...     Qwen2AudioForConditionalGeneration.from_pretrained("Qwen/Qwen2-Audio-7B-Instruct"))  # doctest: +SKIP
        >>> inputs = processor(text=prompts, audio=clips, sampling_rate=16000, padding=True, return_tensors="pt",
        ...     audio_kwargs=audio_kwargs_for(clips, model))  # doctest: +SKIP
        >>> model.generate(**inputs)  # doctest: +SKIP
    """
    towers = [module for module in model.modules() if isinstance(module, Qwen2AudioEncoder)]
    if not towers:
        raise ValueError(
            f"{type(model).__name__} has no Qwen2-Audio tower. Mend: pass a Qwen2AudioForConditionalGeneration."
        )
    for tower in towers:
        if isinstance(tower, TrimmedQwen2AudioEncoder):
            continue
        known = tower.config._attn_implementation in MASKING_ATTENTION
        if known and type(tower) is Qwen2AudioEncoder:
            tower.__class__ = TrimmedQwen2AudioEncoder
        elif known:
            _warn_once(tower, f"{SLOW}: {type(tower).__name__} may have a forward of its own")
        else:
            _warn_once(tower, str(why_not_trimmed(tower)))
    return model


def audio_kwargs_for(waveforms: Sequence[np.ndarray], model: nn.Module | None = None) -> dict[str, Any]:
    """Give `audio_kwargs` for `Qwen2AudioProcessor` that pad to the longest clip and what the tower sees beyond it.

    Args:
        waveforms: (T,) Each, 16 kHz.
        model: The model that gets the features; if `use_trimmed_audio_tower` left it stock, features stay at 30 s.

    Example:
        >>> import numpy as np
        >>> audio_kwargs_for([np.zeros(16000), np.zeros(32000)])
        {'max_length': 32320}
    """
    trimmed = model is None or any(isinstance(module, TrimmedQwen2AudioEncoder) for module in model.modules())
    return {"max_length": padded_samples(max(map(len, waveforms)) if trimmed else 3000 * HOP_LENGTH)}


def add_weights(digest: Any, tower: nn.Module) -> None:
    """Update a hashlib digest with a tower's weights, their names, dtypes and shapes."""
    for name, value in sorted(tower.state_dict().items()):
        if isinstance(value, torch.Tensor):
            digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}:".encode())
            digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy())


def _warn_once(tower: Any, reason: str) -> None:
    if getattr(tower, "_reported", None) != reason:
        tower._reported = reason
        logger.warning("%s", reason)
