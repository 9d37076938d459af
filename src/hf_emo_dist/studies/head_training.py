"""Training the head alone, on hidden states that are computed once: what an ablation of the training data can afford many times."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["frozen_states", "train_head"]


def frozen_states(
    model: Any, processor: Any, rows: Any, mix_embeddings: bool = False, batch_size: int = 16, progress: bool = True
) -> list[Any]:
    """What the head sees of each row, with the rest of the model frozen: the hidden states of its tokens.

    Args:
        model: a `Qwen2AudioForEmotionDistribution`.
        processor: its processor.
        rows: a `Dataset` or a sequence of mappings.
        mix_embeddings: mix rows with two clips behind the audio tower.
        batch_size: rows a forward pass.
        progress: show a progress bar.

    Returns:
        One float16 tensor (tokens, d) a row.
    """
    import torch
    from tqdm.auto import tqdm

    from ..training.collator import EmotionDistributionCollator

    collate = EmotionDistributionCollator(processor, target_column=None, mix_embeddings=mix_embeddings)
    seen: list[tuple[Any, Any]] = []
    handle = model.head.register_forward_pre_hook(lambda module, inputs: seen.append(inputs))
    states: list[Any] = []
    try:
        with torch.inference_mode(), tqdm(total=len(rows), desc="hidden states", disable=not progress) as bar:
            for start in range(0, len(rows), batch_size):
                batch = collate([rows[i] for i in range(start, min(start + batch_size, len(rows)))])
                if "row_index" in batch:
                    raise ValueError("clips over 30 s are not supported here: leave them out")
                model(**{name: value.to(model.device) for name, value in batch.items()})
                hidden, mask = seen.pop()
                states += [h[m.bool()].half().cpu() for h, m in zip(hidden, mask, strict=True)]
                bar.update(len(mask))
    finally:
        handle.remove()
    return states


def train_head(
    model: Any,
    states: Sequence[Any],
    targets: np.ndarray,
    test_states: Sequence[Any],
    *,
    steps: int,
    batch_size: int = 16,
    learning_rate: float = 3e-4,
    weight_decay: float = 0.03,
    loss_type: str = "soft_cross_entropy",
    seed: int = 0,
) -> np.ndarray:
    """Trains a new head for a number of steps and predicts the test rows; the same for the same seed.

    AdamW, one tenth of the steps warm-up, then a cosine to 0; gradients cut at norm 1: as in `recipes/configs/mini.yaml`.

    Args:
        model: whose configuration the head has; it is not changed.
        states: what `frozen_states` gave for the N training rows.
        targets: (N, K) distributions.
        test_states: of the rows to predict.
        steps: optimizer steps, whatever N is.
        batch_size: rows a step.
        learning_rate, weight_decay: of AdamW.
        loss_type: one of the model's losses on distributions.
        seed: of the weights, the dropout and the order.

    Returns:
        (M, K) predicted distributions.
    """
    import torch

    from ..modeling.head import EmotionDistributionHead
    from ..modeling.losses import distribution_loss
    from ..training.sampler import EmotionSampler

    def padded(chosen: Sequence[Any]) -> tuple[Any, Any]:
        hidden = torch.nn.utils.rnn.pad_sequence([state.float() for state in chosen], batch_first=True)
        lengths = torch.tensor([len(state) for state in chosen])
        return hidden, (torch.arange(hidden.shape[1])[None] < lengths[:, None]).long()

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        head = EmotionDistributionHead(copy.deepcopy(model.config)).train()
        # as transformers initialises the model's own
        for module in head.modules():
            if isinstance(module, torch.nn.Linear):
                torch.nn.init.normal_(module.weight, std=0.02)
                torch.nn.init.zeros_(module.bias)
        optimizer = torch.optim.AdamW(head.parameters(), lr=learning_rate, weight_decay=weight_decay)
        warm = max(1, steps // 10)
        schedule = torch.optim.lr_scheduler.LambdaLR(
            optimizer,
            lambda step: (
                (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))
            ),
        )
        goal = torch.from_numpy(np.asarray(targets, dtype=np.float32))
        sampler, order = EmotionSampler(len(states), batch_size, seed=seed), iter(())
        for _ in range(steps):
            batch: list[int] = []
            while len(batch) < batch_size:
                row = next(order, None)
                if row is None:
                    order = iter(sampler)
                    sampler.set_epoch(sampler.epoch + 1)
                    continue
                batch.append(row)
            hidden, mask = padded([states[row] for row in batch])
            loss = distribution_loss(head(hidden, mask), goal[batch], loss_type, 0.0)
            optimizer.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
            optimizer.step()
            schedule.step()
        head.eval()
        with torch.inference_mode():
            parts = [
                head(*padded(test_states[start : start + 32])).double().softmax(-1)
                for start in range(0, len(test_states), 32)
            ]
    return torch.cat(parts).numpy()
