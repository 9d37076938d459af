"""Heads on a language model's states: the paper's, a small one, and one that vLLM serves."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class AttentionPooling(nn.Module):
    """The first row of multi-head self-attention, and nothing else."""

    # The paper runs self-attention over the whole sequence and keeps its first position. That position holds a token
    # that is the same in every prompt, so with causal hidden states its query is a constant: the layer is attention
    # pooling. Here that row alone is computed, in O(L) instead of O(L²), and padding is never attended to.

    def __init__(self, hidden_size: int, num_heads: int) -> None:
        super().__init__()
        if hidden_size % num_heads:
            raise ValueError(
                f"head_num_attention_heads={num_heads} does not divide the hidden size {hidden_size}. "
                "Mend: give another number, for instance head_num_attention_heads=4."
            )
        self.num_heads = num_heads
        # not called q_proj and the like: LoRA's targets of those names are to stay in the backbone
        self.query = nn.Linear(hidden_size, hidden_size)
        self.key = nn.Linear(hidden_size, hidden_size)
        self.value = nn.Linear(hidden_size, hidden_size)
        self.output = nn.Linear(hidden_size, hidden_size)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Pool (batch, L, d) with its mask (batch, L), 1 for tokens, to (batch, d)."""
        batch, _, size = hidden.shape
        first = mask.long().argmax(dim=1)  # the first token that is not padding, also with padding on the left
        pooled_by = self.query(hidden[torch.arange(batch, device=hidden.device), first])

        def heads(x: Tensor) -> Tensor:
            return x.view(batch, -1, self.num_heads, size // self.num_heads).transpose(1, 2)

        pooled = nn.functional.scaled_dot_product_attention(
            heads(pooled_by),
            heads(self.key(hidden)),
            heads(self.value(hidden)),
            attn_mask=mask.bool()[:, None, None, :],
        )
        return self.output(pooled.transpose(1, 2).reshape(batch, size))


class EmotionDistributionHead(nn.Module):
    """Hidden states → one logit an emotion, as in the paper (arXiv 2601.14620)."""

    def __init__(self, config: Any, size: int | None = None) -> None:
        super().__init__()
        # a `PaperHeadConfig`; where the states are not its language model's, their size is given
        size = size or int(config.text_config.hidden_size)
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

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn hidden states (batch, L, d) of any floating dtype and their mask (batch, L) into logits (batch, K)."""
        # in the head's own dtype, float32 unless changed, whatever the backbone's
        weight = self.classifier.weight
        pooled = self.pooling(hidden.to(weight.device, weight.dtype), mask.to(weight.device))
        pooled = pooled + self.residual(pooled)
        return self.classifier(self.norm(self.projection(pooled)))


class SmallHead(nn.Module):
    """Hidden states → one logit an emotion, pooled after they were brought to few dimensions."""

    # The paper's head is four d × d matrices for the pooling and one and a half behind it: at d = 4,096 it has 92
    # million parameters, and this one a million. The query of the pooling, a constant in the paper's, is learned.

    def __init__(self, config: Any, size: int | None = None) -> None:
        super().__init__()
        size = size or int(config.text_config.hidden_size)
        width = config.head_hidden_size or 256
        self.reduce = nn.Sequential(
            nn.LayerNorm(size), nn.Linear(size, width), nn.GELU(), nn.Dropout(config.head_dropout)
        )
        self.attention = nn.Linear(width, 1)
        self.norm = nn.LayerNorm(width)
        self.dropout = nn.Dropout(config.head_projection_dropout)
        self.classifier = nn.Linear(width, config.num_labels)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn hidden states (batch, L, d) of any floating dtype and their mask (batch, L) into logits (batch, K)."""
        states = self.reduce(hidden.to(self.classifier.weight.dtype))
        scores = self.attention(states).squeeze(-1).masked_fill(mask == 0, torch.finfo(states.dtype).min)
        pooled = (scores.softmax(-1)[..., None] * states).sum(1)
        return self.classifier(self.dropout(self.norm(pooled)))


class LastTokenHead(nn.Module):
    """The last token's hidden state → one logit an emotion, by one matrix without a bias."""

    # transformers' `*ForSequenceClassification` and what vLLM's `--convert classify` puts on a language model

    def __init__(self, config: Any, size: int | None = None) -> None:
        super().__init__()
        self.score = nn.Linear(size or int(config.text_config.hidden_size), config.num_labels, bias=False)

    def forward(self, hidden: Tensor, mask: Tensor) -> Tensor:
        """Turn hidden states (batch, L, d) of any floating dtype and their mask (batch, L) into logits (batch, K)."""
        last = (mask.long() * torch.arange(mask.shape[1], device=mask.device)).argmax(dim=1)
        state = hidden[torch.arange(len(hidden), device=hidden.device), last]
        return self.score(state.to(self.score.weight.dtype))


#: name in the configuration → class
HEADS: dict[str, type[nn.Module]] = {
    "paper": EmotionDistributionHead,
    "small": SmallHead,
    "last_token": LastTokenHead,
}


def average_windows(logits: Tensor, row_index: Tensor, row_weight: Tensor | None, keep_level: bool = False) -> Tensor:
    """Return the log of the windows' mean distribution a row, weighted by duration: (windows, K) → (rows, K).

    `keep_level` adds the weighted mean of the windows' log-sum-exp, which under a Dirichlet-multinomial is the
    logarithm of the concentration, so that a row is as sure as its windows are; without it every row's is 0.
    """
    rows = int(row_index.max()) + 1
    row_index = row_index.to(logits.device)
    weight = torch.ones_like(logits[:, 0]) if row_weight is None else row_weight.to(logits.device, logits.dtype)
    total = torch.zeros(rows, dtype=logits.dtype, device=logits.device).index_add(0, row_index, weight)
    share = weight / total[row_index]
    probabilities = logits.softmax(-1) * share[:, None]
    mean = torch.zeros(rows, logits.shape[1], dtype=logits.dtype, device=logits.device)
    # a probability that underflows to 0 has no finite logarithm
    log_mean = mean.index_add(0, row_index, probabilities).clamp_min(torch.finfo(logits.dtype).tiny).log()
    if not keep_level:
        return log_mean
    return log_mean + torch.zeros_like(total).index_add(0, row_index, logits.logsumexp(-1) * share)[:, None]
