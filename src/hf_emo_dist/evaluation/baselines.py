"""A simple rival: soft multinomial logistic regression on mean-pooled features of the frozen backbone."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from ..scores.divergences import jensen_shannon_divergence

# Penalties that are tried, and the folds of that cross-validation.
GRID, FOLDS = (1e-3, 3e-3, 1e-2, 3e-2, 1e-1, 3e-1, 1.0), 4

logger = logging.getLogger(__name__)


def tower_features(model: Any, processor: Any, rows: Any, batch_size: int = 8, progress: bool = True) -> np.ndarray:
    """Mean over each clip's frames of what the frozen encoder or audio tower hears, (N, d).

    Of Qwen2-Audio these are the states of the tower's last layer, of others what the model's `mean_states` gives. The
    training mode is restored. With `long_audio="window"` a row is the mean of its windows, weighted by duration. A clip
    that cannot be used raises `AudioError`, which names it.
    """
    import torch
    from tqdm.auto import tqdm

    network = model.get_base_model() if hasattr(model, "get_base_model") else model
    tower = network.cached_part
    device = next(tower.parameters()).device
    was_training = tower.training
    tower.eval()
    parts = []
    try:
        with torch.inference_mode(), tqdm(total=len(rows), desc="tower", disable=not progress, unit="clip") as bar:
            for start in range(0, len(rows), batch_size):
                batch = [rows[i] for i in range(start, min(start + batch_size, len(rows)))]
                inputs = processor.from_rows(batch)
                audio = {name: inputs[name].to(device) for name in network.audio_input_names}
                # figures of Qwen2-Audio were published on these
                of_last = network.family == "qwen2_audio"
                means = _last_layer_means(tower, audio) if of_last else network.mean_states(audio)
                parts.append(_join_windows(means.cpu().numpy(), inputs))
                bar.update(len(batch))
    finally:
        tower.train(was_training)
    return np.concatenate(parts)


def _last_layer_means(tower: Any, audio: Any) -> Any:
    """The means (clips, d) of the last layer's states; pairs of frames are averaged, and a norm comes, after it."""
    import torch

    from ..modeling.backbones.qwen2_audio_tower import encode_audio_padded

    seen: list[Any] = []
    handle = tower.layers[-1].register_forward_hook(
        lambda module, inputs, output: seen.append(output[0] if isinstance(output, tuple) else output)
    )
    mask = audio["feature_attention_mask"]
    try:
        encode_audio_padded(tower, audio["input_features"], mask)
    finally:
        handle.remove()
    # frames after the second convolution, which halves them
    lengths = (mask.sum(-1) - 1) // 2 + 1
    hidden = seen.pop().double()
    valid = torch.arange(hidden.shape[1], device=hidden.device)[None] < lengths[:, None]
    return torch.where(valid[:, :, None], hidden, 0.0).sum(dim=1) / lengths[:, None]


def _join_windows(means: np.ndarray, inputs: Any) -> np.ndarray:
    if "row_index" not in inputs:
        return means
    index = np.asarray(inputs["row_index"])
    weight = np.asarray(inputs["row_weight"], dtype=np.float64)
    joined = np.zeros((index.max() + 1, means.shape[1]))
    np.add.at(joined, index, means * weight[:, None])
    return joined / np.bincount(index, weights=weight)[:, None]


def group_folds(groups: ArrayLike, k: int, seed: int = 0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Indices of rows to fit on and to check on, at most k times; whole groups are held out, drawn by the seed."""
    names, member = np.unique(np.asarray(groups), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    for held_out in np.array_split(order, min(k, len(names))):
        test = np.isin(member, held_out)
        yield np.flatnonzero(~test), np.flatnonzero(test)


class SoftLogisticRegression:
    """Multinomial logistic regression on distributions: cross-entropy with soft targets and an L2 penalty.

    Minimises `mean(-sum_k q_k log p_k) + l2 / 2 * ||W||^2` over standardised features, by L-BFGS from zero: the problem
    is convex, so the outcome does not depend on a seed other than through the folds that choose `l2`.

    Args:
        l2: The penalty; `None` chooses it by base-2 JS divergence in a cross-validation over the groups of the rows
            that `fit` is given, and of no others.
        seed: Draws the groups into folds.

    Example:
        >>> x = np.array([[-1.0], [1.0], [-1.0], [1.0]])
        >>> q = np.array([[1.0, 0.0], [0.25, 0.75], [1.0, 0.0], [0.25, 0.75]])
        >>> SoftLogisticRegression(l2=1e-6).fit(x, q).predict([[1.0]]).round(2).tolist()
        [[0.25, 0.75]]
    """

    def __init__(self, l2: float | None = None, seed: int = 0) -> None:
        if l2 is not None and not l2 > 0:
            raise ValueError(
                f"l2={l2} gives no finite optimum for some data. Mend: a penalty over 0, or None to choose one."
            )
        self.l2, self.seed = l2, seed
        self.chosen_l2: float | None = None
        self._weights: np.ndarray | None = None

    def fit(self, features: ArrayLike, targets: ArrayLike, groups: ArrayLike | None = None) -> SoftLogisticRegression:
        """Fit to features (N, d) and distributions (N, K); `groups` (N,) are speakers, by default each row."""
        x, q = np.asarray(features, dtype=np.float64), np.asarray(targets, dtype=np.float64)
        if x.ndim != 2 or q.ndim != 2 or len(x) != len(q) or len(x) == 0:
            raise ValueError(f"features and targets must have shapes (N, d) and (N, K), got {x.shape} and {q.shape}.")
        if not (np.isfinite(x).all() and np.isfinite(q).all()):
            raise ValueError("features and targets must be finite.")
        members = np.arange(len(x)) if groups is None else np.asarray(groups)
        if len(members) != len(x):
            raise ValueError(f"{len(x)} rows but {len(members)} groups. Mend: give one a row.")
        self.chosen_l2 = self.l2 if self.l2 is not None else self._choose(x, q, members)
        self._fit(x, q, self.chosen_l2)
        return self

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Distributions (N, K) for features (N, d)."""
        from scipy.special import softmax

        if self._weights is None:
            raise ValueError("The regression has not been fitted. Mend: call fit(features, targets) first.")
        x = (np.asarray(features, dtype=np.float64) - self._mean) / self._scale
        return np.asarray(softmax(x @ self._weights[:-1] + self._weights[-1], axis=1))

    def _choose(self, x: np.ndarray, q: np.ndarray, groups: np.ndarray) -> float:
        if len(np.unique(groups)) < 2:
            logger.warning("only one speaker to fit on: the regression's l2 is 0.1, not chosen by cross-validation")
            return 0.1
        losses = np.zeros(len(GRID))
        for fit, check in group_folds(groups, FOLDS, self.seed):
            start = None
            # from the strongest penalty on, each solution starting the next search
            for i in range(len(GRID))[::-1]:
                start = self._fit(x[fit], q[fit], GRID[i], start)
                losses[i] += jensen_shannon_divergence(self.predict(x[check]), q[check], base=2).sum()
        return GRID[int(np.argmin(losses))]

    def _fit(self, x: np.ndarray, q: np.ndarray, l2: float, start: np.ndarray | None = None) -> np.ndarray:
        from scipy.optimize import minimize
        from scipy.special import log_softmax

        self._mean, deviation = x.mean(axis=0), x.std(axis=0)
        self._scale = np.where(deviation > 1e-12, deviation, 1.0)
        z = np.hstack([(x - self._mean) / self._scale, np.ones((len(x), 1))])
        shape = (z.shape[1], q.shape[1])

        def objective(flat: np.ndarray) -> tuple[float, np.ndarray]:
            weights = flat.reshape(shape)
            log_p = log_softmax(z @ weights, axis=1)
            gradient = z.T @ (np.exp(log_p) - q) / len(z)
            gradient[:-1] += l2 * weights[:-1]
            loss = -(q * log_p).sum() / len(z) + 0.5 * l2 * (weights[:-1] ** 2).sum()
            return float(loss), gradient.ravel()

        first = np.zeros(shape) if start is None else start
        found = minimize(objective, first.ravel(), jac=True, method="L-BFGS-B", options={"maxiter": 300})
        self._weights = found.x.reshape(shape)
        return self._weights
