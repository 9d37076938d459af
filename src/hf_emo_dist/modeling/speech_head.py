"""The head of speech encoders: learned weights over layers, pooling over time, and one logit an emotion."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import initialization as init

WIDTH = 256
ATTENTION_WIDTH = 128
EPSILON = 1e-5
# Adam moves every parameter by about the learning rate a step. Weights of layers have a softmax to saturate and the
# rest of the head does not: at one rate they hardly leave the mean in a run of minutes, while one layer is far better
# than the mean of all. As logits `LAYER_RATE * w` they learn this many times as fast.
LAYER_RATE = 50.0
# The reverse for attention, which learns the training speakers by heart: on ten speakers of
# RAVDESS a tenth of the head's rate still cost .002 to .003 of JS against the plain mean, a hundredth nothing.
ATTENTION_RATE = 0.01


class SpeechHead(nn.Module):
    """States of an encoder's layers → one logit an emotion.

    With `pooling="statistics"` the states are standardised (`calibrate`), weighted over the layers, and pooled by
    attentive statistics: mean and deviation over time under weights that are learned (Okabe et al. 2018, arXiv
    1803.10963) and start equal; one hidden layer reads these. With `pooling="mean"` it is the head of transformers'
    `*ForSequenceClassification`, under the same parameter names.
    """

    def __init__(self, config: Any, size: int, num_layers: int, text_size: int = 0) -> None:
        super().__init__()
        self.statistics = config.pooling == "statistics"
        self.text_size = text_size
        self.layer_weights = nn.Parameter(torch.zeros(num_layers)) if num_layers > 1 else None
        if self.statistics:
            width = config.head_hidden_size or WIDTH
            # of the states of each layer, over the training data
            self.register_buffer("center", torch.zeros(num_layers, size))
            self.register_buffer("scale", torch.ones(num_layers, size))
            self.register_buffer("calibrated", torch.zeros((), dtype=torch.long))
            self.projector = None
            self.attention = nn.Sequential(nn.Linear(size, ATTENTION_WIDTH), nn.Tanh(), nn.Linear(ATTENTION_WIDTH, 1))
            self.mixing = nn.Sequential(
                nn.Dropout(config.head_dropout),
                nn.Linear(2 * size + text_size, width),
                nn.GELU(),
                nn.Dropout(config.head_projection_dropout),
            )
        else:
            width = config.head_hidden_size or config.encoder_config.classifier_proj_size
            self.projector = nn.Linear(size, width)
            self.attention = self.mixing = None
        self.classifier = nn.Linear(width + (0 if self.statistics else text_size), config.num_labels)

    @torch.no_grad()
    def initialize(self) -> None:
        """Give what starts at a value of its own that; transformers calls this for heads that are new."""
        if self.layer_weights is not None:
            init.zeros_(self.layer_weights)
        if self.statistics:
            init.zeros_(self.center)
            init.ones_(self.scale)
            init.zeros_(self.calibrated)
            assert self.attention is not None
            init.zeros_(self.attention[-1].weight)
            init.zeros_(self.attention[-1].bias)

    @torch.no_grad()
    def calibrate(self, states: Tensor) -> None:
        """Standardise states from now on by the mean and deviation of these (frames, layers, d)."""
        values = states.float()
        self.center.copy_(values.mean(0))
        # over time as well as over clips; a dimension that hardly changes stays small, which half precision would
        # round to noise
        least = (0.01 * self.center.abs()).clamp_min(1e-3)
        self.scale.copy_(torch.maximum(values.std(0), least).reciprocal())
        self.calibrated.fill_(1)

    def weigh(self, states: Tensor) -> Tensor:
        """Weigh the layers of states (…, layers, d) to (…, d), in the head's dtype."""
        states = states.to(self.classifier.weight.dtype)
        if self.layer_weights is None:
            weights = torch.ones(1, dtype=states.dtype, device=states.device)
        else:
            weights = ((LAYER_RATE if self.statistics else 1.0) * self.layer_weights).softmax(-1)
        if not self.statistics:
            return (states * weights[:, None]).sum(-2)
        # Σ w (h − c) s, without a standardised copy of all layers
        weighted = weights[:, None] * self.scale
        return (states * weighted).sum(-2) - (self.center * weighted).sum(0)

    def forward(self, states: Tensor, mask: Tensor, text: Tensor | None = None) -> Tensor:
        """Turn states into logits (clips, K).

        Args:
            states: (clips, L, layers, d); or (states of all clips, layers, d), clip after clip.
            mask: (clips, L) 1 for valid ones; or (clips,) how many each clip has.
            text: (clips, d_text) What was read in the transcripts.
        """
        hidden = self.weigh(states)
        if mask.dim() == 1:
            hidden, mask = _unpacked(hidden, mask)
        valid = mask.bool()
        if self.statistics:
            assert self.attention is not None and self.mixing is not None
            scores = ATTENTION_RATE * self.attention(hidden)[..., 0]
            scores = scores.masked_fill(~valid, torch.finfo(scores.dtype).min)  # not of hidden: autocast
            weights = scores.softmax(-1)[..., None]
            mean = (weights * hidden).sum(1)
            # about the mean and not as a difference of squares, which cancels
            variance = (weights * (hidden - mean[:, None]).square()).sum(1)
            pooled = torch.cat([mean, (variance + EPSILON).sqrt()], -1)
            return self.classifier(self.mixing(self._with(pooled, text)))
        assert self.projector is not None
        pooled = self.projector(hidden).masked_fill(~valid[..., None], 0.0).sum(1) / valid.sum(1)[:, None]
        return self.classifier(self._with(pooled, text))

    def _with(self, pooled: Tensor, text: Tensor | None) -> Tensor:
        if not self.text_size:
            return pooled
        if text is None:
            text = pooled.new_zeros(len(pooled), self.text_size)
        return torch.cat([pooled, text.to(pooled.dtype)], -1)


def _unpacked(packed: Tensor, counts: Tensor) -> tuple[Tensor, Tensor]:
    # (states of all clips, d) → (clips, L, d) and its mask
    mask = torch.arange(int(counts.max()), device=packed.device)[None, :] < counts[:, None]
    hidden = packed.new_zeros(*mask.shape, packed.shape[-1])
    hidden[mask] = packed
    return hidden, mask.long()
