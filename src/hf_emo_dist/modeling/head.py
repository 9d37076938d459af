"""The paper's head: attention pooling, a residual block and a projection to one logit an emotion."""

from __future__ import annotations

import torch
from torch import nn

from .configuration import Qwen2AudioEmotionConfig


class AttentionPooling(nn.Module):
    """The first row of multi-head self-attention, and nothing else.

    The paper runs self-attention over the whole sequence and keeps its first position. That position holds a token that is
    the same in every prompt, so with causal hidden states its query is a constant: the layer is attention pooling. This
    module computes that row alone, in O(L) instead of O(L²), and never attends to padding. Its
    projections are not called q_proj and the like, so that LoRA's targets of those names stay in the backbone.
    """

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"head_num_attention_heads={num_heads} does not divide the hidden size {hidden_size}; "
                "give another number, for instance head_num_attention_heads=4"
            )
        self.num_heads = num_heads
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """(batch, L, d) and its mask (batch, L), 1 for tokens → (batch, d)."""
        batch, _, size = hidden.shape
        first = mask.long().argmax(dim=1)  # the first token that is not padding, also with padding on the left
        pooled_by = self.query(hidden[torch.arange(batch, device=hidden.device), first])

        def heads(x: torch.Tensor) -> torch.Tensor:
            return x.view(batch, -1, self.num_heads, size // self.num_heads).transpose(1, 2)

        pooled = nn.functional.scaled_dot_product_attention(
            heads(pooled_by),
            heads(self.key(hidden)),
            heads(self.value(hidden)),
            attn_mask=mask.bool()[:, None, None, :],
        )
        return self.output(pooled.transpose(1, 2).reshape(batch, size))


class EmotionDistributionHead(nn.Module):
    """Hidden states → one logit an emotion, as in the paper (arXiv 2601.14620): attention pooling, a residual MLP
    (LayerNorm, Linear, GELU, dropout), a projection to half the width (LayerNorm, Linear, GELU, dropout), LayerNorm, Linear.

    Shapes:
        hidden: (batch, L, d), any floating dtype; it is computed in the head's own dtype (float32 unless changed).
        mask: (batch, L), 1 for tokens and 0 for padding.
        returns: (batch, K) logits; their softmax is the distribution.
    """

    def __init__(self, config: Qwen2AudioEmotionConfig) -> None:
        super().__init__()
        size = config.text_config.hidden_size
        width = config.head_hidden_size or size // 2
        self.pooling = AttentionPooling(size, config.head_num_attention_heads)
        self.residual = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, size), nn.GELU(), nn.Dropout(config.head_dropout)
        )
        self.projection = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, width), nn.GELU(), nn.Dropout(config.head_projection_dropout)
        )
        self.norm = nn.LayerNorm(width)
        self.classifier = nn.Linear(width, config.num_labels)

    def forward(self, hidden: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """Logits, see the class."""
        pooled = self.pooling(hidden.to(self.classifier.weight.dtype), mask)
        pooled = pooled + self.residual(pooled)
        return self.classifier(self.norm(self.projection(pooled)))
