"""The training losses: `js`, `kl`, `soft_cross_entropy`, `dirichlet_multinomial`, and the paper's entropy term.

They are computed by the model (`labels` in, `loss` out) and therefore defined in `hf_emo_dist.modeling.losses`; this is where
to look for them.
"""

from ..modeling.losses import (
    dirichlet_multinomial_loss,
    distribution_loss,
    js_loss,
    kl_loss,
    prediction_entropy,
    soft_cross_entropy_loss,
)

__all__ = [
    "dirichlet_multinomial_loss",
    "distribution_loss",
    "js_loss",
    "kl_loss",
    "prediction_entropy",
    "soft_cross_entropy_loss",
]
