"""Answers in words from transformers' own `generate`, each request with its own seed, in any company."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from torch import Tensor

    from .families.family import Family

__all__ = ["generate"]


def generate(
    family: Family,
    prompts: Sequence[Sequence[int]],
    inputs: dict[str, Tensor],
    *,
    temperature: float | None,
    seeds: Sequence[int],
    max_new_tokens: int,
    closing: Sequence[int],
) -> list[str]:
    """Write an answer to each prompt.

    An answer is drawn by adding Gumbel noise to the logits and taking the largest (Gumbel 1954), which draws from the
    softmax: so each request has a generator of its own, and no other request of a batch changes its answer. The model's
    own settings of top-k, top-p and penalties are left out, so that sampled labels follow what is read out.

    Args:
        family: Of the model.
        prompts: Token ids, the clip's included.
        inputs: Of the clips, one a prompt, as the family gives them.
        temperature: None for 1; at 0 the likeliest token is taken.
        seeds: One a prompt.
        max_new_tokens: At most.
        closing: Tokens that end an answer.
    """
    import torch
    from transformers import GenerationConfig, LogitsProcessorList

    device = family.model.device
    padding = family.tokenizer.pad_token_id
    padding = closing[0] if padding is None else padding
    longest = max(map(len, prompts))
    ids = np.full((len(prompts), longest), padding, dtype=np.int64)
    mask = np.zeros_like(ids)
    for row, prompt in enumerate(prompts):  # on the left, since what is generated goes on at the right
        ids[row, longest - len(prompt) :] = prompt
        mask[row, longest - len(prompt) :] = 1
    heat = 1.0 if temperature is None else float(temperature)
    processors = LogitsProcessorList([_Drawing(heat, seeds)] if heat > 0 else [])
    config = GenerationConfig(
        do_sample=False, max_new_tokens=max_new_tokens, eos_token_id=list(closing), pad_token_id=padding
    )
    with torch.inference_mode(), _own_settings(family.model, config):
        written: Any = family.model.generate(
            input_ids=torch.from_numpy(ids).to(device),
            attention_mask=torch.from_numpy(mask).to(device),
            **inputs,
            generation_config=config,
            logits_processor=processors,
        )
    texts: list[str] = family.tokenizer.batch_decode(written[:, longest:], skip_special_tokens=True)
    return texts


class _own_settings:
    """For a while, a model without the generation settings of its checkpoint: `generate` fills gaps from them."""

    def __init__(self, model: Any, config: Any) -> None:
        self.model, self.config = model, config

    def __enter__(self) -> None:
        self.there = self.model.generation_config
        self.model.generation_config = self.config

    def __exit__(self, *_: object) -> None:
        self.model.generation_config = self.there


class _Drawing:
    """A logits processor: divide by the temperature, add Gumbel noise of each row's own generator."""

    def __init__(self, temperature: float, seeds: Sequence[int]) -> None:
        import torch

        self.temperature = temperature
        self.generators = [torch.Generator().manual_seed(int(seed) % 2**63) for seed in seeds]

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        import torch

        # on the CPU and in float64, so that a seed means the same on every device
        waits = torch.stack(
            [
                torch.empty(scores.shape[-1], dtype=torch.float64).exponential_(generator=generator)
                for generator in self.generators
            ]
        )
        # `exponential_` may give 0 of what is rounded
        noise = -waits.clamp_min(torch.finfo(torch.float64).tiny).log()
        return scores.double() / self.temperature + noise.to(scores.device)
