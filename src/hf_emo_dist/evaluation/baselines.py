"""A simple rival: soft multinomial logistic regression on mean-pooled states of the frozen backbone's best layer."""

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
    """Mean over each clip's frames of what the frozen encoder or audio tower hears.

    Of a speech encoder these are the states of each layer, (N, layers, d) float32, as its head gets them (`layer_means`
    of the model); of an audio tower its outputs, (N, d), of Qwen2-Audio's the states of the last layer. The training
    mode is restored. With `long_audio="window"` a row is the mean of its windows, weighted by duration. A clip that
    cannot be used raises `AudioError`, which names it.
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
                means = _last_layer_means(tower, audio) if of_last else network.layer_means(audio)
                joined = _join_windows(means.cpu().numpy(), inputs)
                # of all layers half the memory; more digits than the states have
                parts.append(joined.astype(np.float32) if joined.ndim == 3 else joined)
                bar.update(len(batch))
    finally:
        tower.train(was_training)
    return np.concatenate(parts)


def _last_layer_means(tower: Any, audio: Any) -> Any:
    """The means (clips, d) of the last layer's states; pairs of frames are averaged, and a norm comes, after it."""
    import torch

    from ..audio.qwen2_audio_tower import encode_audio_padded

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
    joined = np.zeros((index.max() + 1, *means.shape[1:]))
    each = (-1, *[1] * (means.ndim - 1))
    np.add.at(joined, index, means * weight.reshape(each))
    return joined / np.bincount(index, weights=weight).reshape(each)


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

    Features of several layers, (N, layers, d), are a regression on one of them, which is chosen like the penalty and
    together with it.

    Args:
        l2: The penalty; `None` chooses it by base-2 JS divergence in a cross-validation over the groups of the rows
            that `fit` is given, and of no others.
        seed: Draws the groups into folds.

    Attributes:
        chosen_l2: The penalty of the last `fit`.
        chosen_layer: Its layer, from 0; None where the features are of one.

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
        self.chosen_layer: int | None = None
        self._weights: np.ndarray | None = None

    def fit(self, features: ArrayLike, targets: ArrayLike, groups: ArrayLike | None = None) -> SoftLogisticRegression:
        """Fit to features and targets.

        Args:
            features: (N, d), or (N, layers, d).
            targets: Distributions (N, K).
            groups: (N,) The speaker of each row; by default each row is its own.

        Raises:
            ValueError: Shapes do not fit, or a value is not finite.
        """
        x, q = np.asarray(features), np.asarray(targets, dtype=np.float64)
        if x.ndim not in (2, 3) or q.ndim != 2 or len(x) != len(q) or x.size == 0:
            raise ValueError(
                "features and targets must have shapes (N, d) or (N, layers, d), and (N, K), got "
                f"{x.shape} and {q.shape}."
            )
        if not (np.isfinite(x).all() and np.isfinite(q).all()):
            raise ValueError("features and targets must be finite.")
        members = np.arange(len(x)) if groups is None else np.asarray(groups)
        if len(members) != len(x):
            raise ValueError(f"{len(x)} rows but {len(members)} groups. Mend: give one a row.")
        layers = x[:, None] if x.ndim == 2 else x
        layer, self.chosen_l2 = self._choose(layers, q, members)
        self.chosen_layer = None if x.ndim == 2 else layer
        self._fit(layers[:, layer].astype(np.float64), q, self.chosen_l2)
        return self

    def predict(self, features: ArrayLike) -> np.ndarray:
        """Distributions (N, K) for features like those of `fit`."""
        if self._weights is None:
            raise ValueError("The regression has not been fitted. Mend: call fit(features, targets) first.")
        x = np.asarray(features)
        return self._predict(x if self.chosen_layer is None else x[:, self.chosen_layer])

    def _predict(self, x: np.ndarray) -> np.ndarray:
        from scipy.special import softmax

        assert self._weights is not None
        z = (np.asarray(x, dtype=np.float64) - self._mean) / self._scale
        return np.asarray(softmax(z @ self._weights[:-1] + self._weights[-1], axis=1))

    def _choose(self, layers: np.ndarray, q: np.ndarray, groups: np.ndarray) -> tuple[int, float]:
        # the place of the layer among (N, layers, d), and the penalty
        grid = GRID if self.l2 is None else (self.l2,)
        count = layers.shape[1]
        if count * len(grid) == 1:
            return 0, grid[0]
        if len(np.unique(groups)) < 2:
            told = "l2 is 0.1" if self.l2 is None else f"l2 is {self.l2:g}"
            if count > 1:
                told += f" and its layer {count // 2}, the middle one"
            logger.warning("only one speaker to fit on: the regression's %s, not chosen by cross-validation", told)
            return count // 2, 0.1 if self.l2 is None else self.l2
        losses = np.zeros((count, len(grid)))
        for fit, check in group_folds(groups, FOLDS, self.seed):
            for layer in range(count):
                x, start = layers[:, layer].astype(np.float64), None
                # from the strongest penalty on, each solution starting the next search
                for i in range(len(grid))[::-1]:
                    start = self._fit(x[fit], q[fit], grid[i], start)
                    predicted = self._predict(x[check])
                    losses[layer, i] += jensen_shannon_divergence(predicted, q[check], base=2).sum()
        layer, i = divmod(int(np.argmin(losses)), len(grid))
        return layer, grid[i]

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
