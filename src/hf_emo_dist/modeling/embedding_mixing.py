"""Mixing two clips behind the audio tower instead of as waveforms: two voices at once are not one ambivalent voice."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def mix_embeddings(embeddings: Tensor, lengths: Tensor, partner: Tensor, ratio: Tensor) -> Tensor:
    """Outputs of the audio tower of a batch's clips, those with a partner replaced by ``ratio * own + (1 - ratio) * partner``.

    A mixture has as many frames as its first clip: the partner is brought to that length, by linear interpolation where it is shorter and by
    averaging where it is longer, so that both are heard whole and the prompt does not depend on `ratio`. The mixing stands before the projector; it is one
    linear layer, so that after it would be the same, and what a frozen tower gave can be kept and mixed anew.

    Args:
        embeddings: (sum of lengths, d), clip after clip: first the C clips of the batch, then the partners.
        lengths: (C + M,) frames of each clip.
        partner: (C,) number of each clip's partner, -1 where it has none.
        ratio: (C,) share of the clip itself; not read where it has no partner.

    Returns:
        (sum of the first C lengths, d).

    Example:
        >>> two = torch.tensor([[1.0], [1.0], [0.0], [0.0], [0.0]])
        >>> mix_embeddings(two, torch.tensor([2, 3]), torch.tensor([1]), torch.tensor([0.25])).tolist()
        [[0.25], [0.25]]
    """
    clips = embeddings.split(lengths.tolist())
    mixed = []
    for own, other, share in zip(clips, partner.tolist(), ratio.to(embeddings.dtype), strict=False):
        mixed.append(own if other < 0 else share * own + (1 - share) * _at_length(clips[other], len(own)))
    return torch.cat(mixed)


def _at_length(frames: Tensor, length: int) -> Tensor:
    if len(frames) == length:
        return frames
    signal = frames.T[None].float()
    if len(frames) > length:
        changed = functional.adaptive_avg_pool1d(signal, length)
    else:
        changed = functional.interpolate(signal, size=length, mode="linear", align_corners=False)
    return changed[0].T.to(frames.dtype)
