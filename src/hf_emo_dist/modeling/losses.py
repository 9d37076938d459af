"""Losses between predicted logits and target distributions (or vote counts), one value a row.

They live beside the model because the model computes its own loss; `hf_emo_dist.training.loss_options` is their public address.
All are computed in float32 (`dirichlet_multinomial` in float64) whatever the logits' dtype, so that one-hot targets, targets with
zeros and saturated fp16 or bf16 logits have finite values and gradients.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor
from torch.nn.functional import log_softmax

LOG_CONCENTRATION_RANGE = 12.0  # |log alpha| is kept below this, where lgamma differences are exact in float64


def _log_target(target: Tensor) -> Tensor:
    return target.clamp_min(torch.finfo(target.dtype).tiny).log()


def js_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Jensen–Shannon divergence between softmax(logits) and the target, in nats (arXiv 2601.14620; Lin 1991).

    Args:
        logits: (N, K), any floating dtype.
        target: (N, K) distributions.

    Returns:
        (N,) float32 in [0, ln 2]. Gradient with respect to the logits: p ⊙ (g − ⟨p, g⟩) with g = ½ ln(p / m), m = ½(p + q); bounded.

    Example:
        >>> import torch
        >>> js_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item()  # doctest: +ELLIPSIS
        0.2157...
    """
    log_p, q = log_softmax(logits.float(), dim=-1), target.float()
    log_q = _log_target(q)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    return 0.5 * (log_p.exp() * (log_p - log_m) + q * (log_q - log_m)).sum(-1)


def kl_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Kullback–Leibler divergence KL(target ‖ softmax(logits)) in nats.

    Args:
        logits: (N, K), any floating dtype.
        target: (N, K) distributions.

    Returns:
        (N,) float32, ≥ 0. Gradient with respect to the logits: p − q.

    Example:
        >>> import torch
        >>> round(kl_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    log_p, q = log_softmax(logits.float(), dim=-1), target.float()
    return (q * (_log_target(q) - log_p)).sum(-1)


def soft_cross_entropy_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Cross-entropy −Σ q ln p in nats: `kl_loss` plus the target's entropy, with the same gradient p − q.

    On relative vote frequencies it is the negative log-likelihood a vote, which rewards the true distribution, while JS
    against a few votes rewards predictions that are sharper than it.

    Args:
        logits: (N, K), any floating dtype.
        target: (N, K) distributions.

    Returns:
        (N,) float32.

    Example:
        >>> import torch
        >>> round(soft_cross_entropy_loss(torch.zeros(1, 2), torch.tensor([[0.5, 0.5]])).item(), 4)
        0.6931
    """
    return -(target.float() * log_softmax(logits.float(), dim=-1)).sum(-1)


def dirichlet_multinomial_loss(logits: Tensor, counts: Tensor) -> Tensor:
    """Negative log-likelihood a vote of vote counts under a Dirichlet-multinomial with concentrations α = exp(logits).

    softmax(logits) is its mean, so predictions mean what they mean under the other losses, and Σα says how sure the model is of
    it. The multinomial coefficient is left out; it does not depend on the logits. Fractional counts (weighted votes) are allowed.

    Args:
        logits: (N, K); values beyond ±12 are clamped.
        counts: (N, K) vote counts, ≥ 0; a row of zeros has loss 0.

    Returns:
        (N,) float32, in nats a vote.

    Example:
        >>> import torch
        >>> round(dirichlet_multinomial_loss(torch.zeros(1, 2), torch.tensor([[1.0, 0.0]])).item(), 4)
        0.6931
    """
    # lgamma differences of large concentrations cancel in float32; Apple's GPUs have no float64
    dtype = torch.float32 if logits.device.type == "mps" else torch.float64
    alpha = logits.to(dtype).clamp(-LOG_CONCENTRATION_RANGE, LOG_CONCENTRATION_RANGE).exp()
    n = counts.to(dtype)
    total = n.sum(-1)
    log_likelihood = (
        torch.lgamma(alpha.sum(-1))
        - torch.lgamma(alpha.sum(-1) + total)
        + (torch.lgamma(alpha + n) - torch.lgamma(alpha)).sum(-1)
    )
    return (-log_likelihood / total.clamp_min(1e-6)).float()


def prediction_entropy(logits: Tensor) -> Tensor:
    """Entropy of softmax(logits) in nats, (N, K) → (N,): the term that the paper adds to its loss with weight 0.08.

    Example:
        >>> import torch
        >>> round(prediction_entropy(torch.zeros(1, 4)).item(), 4)
        1.3863
    """
    log_p = log_softmax(logits.float(), dim=-1)
    return -(log_p.exp() * log_p).sum(-1)


_LOSSES: dict[str, Callable[[Tensor, Tensor], Tensor]] = {
    "js": js_loss,
    "kl": kl_loss,
    "soft_cross_entropy": soft_cross_entropy_loss,
    "dirichlet_multinomial": dirichlet_multinomial_loss,
}


def distribution_loss(
    logits: Tensor,
    target: Tensor,
    loss_type: str = "js",
    entropy_weight: float = 0.0,
) -> Tensor:
    """Mean over rows of the named loss, plus `entropy_weight` times the mean prediction entropy.

    Args:
        logits: (N, K).
        target: (N, K) distributions, or vote counts for `dirichlet_multinomial`.
        loss_type: `js`, `kl`, `soft_cross_entropy` or `dirichlet_multinomial`.
        entropy_weight: 0.08 in the paper; a positive weight makes predictions sharper.

    Returns:
        scalar float32, in nats.

    Raises:
        ValueError: for an unknown loss or shapes that differ.

    Example:
        >>> import torch
        >>> round(distribution_loss(torch.zeros(2, 2), torch.full((2, 2), 0.5), entropy_weight=0.1).item(), 4)
        0.0693
    """
    if loss_type not in _LOSSES:
        raise ValueError(f"loss_type={loss_type!r} is not known; use one of {', '.join(_LOSSES)}")
    if logits.shape != target.shape:
        raise ValueError(f"logits {tuple(logits.shape)} and targets {tuple(target.shape)} must have the same shape")
    loss = _LOSSES[loss_type](logits, target).mean()
    return loss + entropy_weight * prediction_entropy(logits).mean() if entropy_weight else loss
