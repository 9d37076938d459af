"""Losses between predicted logits and target distributions (or vote counts), one value a row, and the paper's entropy
term.

They live beside the model because the model computes its own loss (`labels` in, `loss` out). All are computed in
float32 (`dirichlet_multinomial` in float64) whatever the logits' dtype, so that one-hot targets, targets with zeros and
saturated fp16 or bf16 logits have finite values and gradients.
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
    """Return the Jensen–Shannon divergence of softmax(logits) and the target, (N,) in nats (Lin 1991)."""
    # gradient with respect to the logits: p ⊙ (g − ⟨p, g⟩) with g = ½ ln(p / m), m = ½(p + q); bounded
    log_p, q = log_softmax(logits.float(), dim=-1), target.float()
    log_q = _log_target(q)
    log_m = torch.logaddexp(log_p, log_q) - math.log(2.0)
    return 0.5 * (log_p.exp() * (log_p - log_m) + q * (log_q - log_m)).sum(-1)


def kl_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return KL(target ‖ softmax(logits)), (N,) in nats; its gradient with respect to the logits is p − q."""
    log_p, q = log_softmax(logits.float(), dim=-1), target.float()
    return (q * (_log_target(q) - log_p)).sum(-1)


def soft_cross_entropy_loss(logits: Tensor, target: Tensor) -> Tensor:
    """Return −Σ q ln p, (N,) in nats: `kl_loss` plus the target's entropy, with the same gradient p − q."""
    # On relative vote frequencies it is the negative log-likelihood a vote, which rewards the true distribution, while
    # JS against a few votes rewards predictions that are sharper than it.
    return -(target.float() * log_softmax(logits.float(), dim=-1)).sum(-1)


def dirichlet_multinomial_loss(logits: Tensor, counts: Tensor) -> Tensor:
    """Return the negative log-likelihood a vote of counts under a Dirichlet-multinomial with α = exp(logits), (N,)."""
    # softmax(logits) is its mean, so predictions mean what they mean under the other losses, and Σα says how sure the
    # model is of it. The multinomial coefficient is left out; it does not depend on the logits. Fractional counts
    # (weighted votes) are allowed; a row without votes has loss 0.
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


def concentration(logits: Tensor) -> Tensor:
    """Return Σα, α = exp(logits): how sure a model trained with `dirichlet_multinomial` is, (N,) float64, in votes."""
    # The loss determines it wherever training rows have two votes or more: a single vote is as likely under every α of
    # the same mean. Under the other losses the logits' level is arbitrary, and this says nothing.
    dtype = torch.float32 if logits.device.type == "mps" else torch.float64
    return logits.to(dtype).clamp(-LOG_CONCENTRATION_RANGE, LOG_CONCENTRATION_RANGE).exp().sum(-1).cpu().double()


def prediction_entropy(logits: Tensor) -> Tensor:
    """Return the entropy of softmax(logits), (N,) in nats: the term that the paper adds with weight 0.08."""
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
    row_weight: Tensor | None = None,
) -> Tensor:
    """Return the mean over rows of the named loss, plus `entropy_weight` times the mean prediction entropy.

    Args:
        logits: (N, K) Any floating dtype.
        target: (N, K) Distributions, or vote counts for `dirichlet_multinomial`.
        loss_type: `js`, `kl`, `soft_cross_entropy` or `dirichlet_multinomial`.
        entropy_weight: 0.08 in the paper; a positive weight makes predictions sharper.
        row_weight: (N,) What each row's loss, its entropy term too, is multiplied by. The sum is divided by N and not
            by the weights' sum, so that the losses of parts of a batch add up to that of the whole.

    Returns:
        A scalar, float32, in nats.

    Raises:
        ValueError: The loss is not known, or the shapes differ.

    Example:
        >>> import torch
        >>> round(distribution_loss(torch.zeros(2, 2), torch.full((2, 2), 0.5), entropy_weight=0.1).item(), 4)
        0.0693
    """
    if loss_type not in _LOSSES:
        raise ValueError(f"loss_type={loss_type!r} is not known. Mend: use one of {', '.join(_LOSSES)}.")
    if logits.shape != target.shape:
        raise ValueError(
            f"logits {tuple(logits.shape)} and targets {tuple(target.shape)} differ in shape. Mend: pass a target a "
            "row, over the model's own emotions."
        )
    # of a model that is spread over devices, the logits are where its head is
    target = target.to(logits.device)
    if row_weight is not None:
        row_weight = row_weight.to(logits.device)
        if row_weight.shape != logits.shape[:1]:
            raise ValueError(f"weights {tuple(row_weight.shape)} for {len(logits)} rows. Mend: pass one a row.")
        rows = _LOSSES[loss_type](logits, target)
        if entropy_weight:
            rows = rows + entropy_weight * prediction_entropy(logits)
        return (rows * row_weight.to(rows.dtype)).mean()
    loss = _LOSSES[loss_type](logits, target).mean()
    return loss + entropy_weight * prediction_entropy(logits).mean() if entropy_weight else loss
