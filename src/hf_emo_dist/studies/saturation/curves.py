"""Curves over the number of votes: as observed, redrawn independently, and resampled; and what is fitted to them."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ...distributions import entropy
from ...scores.divergences import jensen_shannon_divergence
from ...scores.floor import fit_dirichlet_prior
from ..vote_table import FloatArray, Labels, count_labels, first_of, row_pieces, shares_of, shuffled_votes

Reference = Literal["human", "held_out", "full"]
Order = Literal["random", "given"]
Null = Literal["auto", "mean", "posterior"]

# Rates that are tried: from a curve that has hardly begun to bend within 100 votes to one that is flat after the first.
_RATES = np.geomspace(0.005, 8.0, 120)


@dataclass(frozen=True)
class CurveSettings:
    """How the curves are made, for votes from 1 to `max_votes`."""

    max_votes: int
    # the human votes, for synthetic ones; the votes beyond the first `max_votes`; or all, the first n among them
    reference: Reference
    order: Order = "random"
    num_subsets: int = 20
    # What independent draws come from: the full-vote mean of each row, or that with the spread put back that a mean of
    # few votes lacks: distributions drawn given the row's votes, under a Dirichlet prior fitted to the corpus. `auto`
    # is the mean against human votes, where the votes are many, and the posterior otherwise: there, independent votes
    # were told apart from draws of their own mean in every one of twelve simulations, and from posterior draws in none.
    null: Null = "auto"
    num_resamples: int = 200
    seed: int = 0

    def null_of(self) -> str:
        """The null, ``auto`` resolved."""
        return self.null if self.null != "auto" else "mean" if self.reference == "human" else "posterior"


@dataclass(frozen=True)
class Curves:
    """JS divergence (base 2) and correlation of entropies to the reference, by number of votes 1 to M."""

    n: NDArray[np.int64]
    js: FloatArray  # (M,) observed mean
    correlation: FloatArray  # (M,) Pearson; NaN where it is not defined, as for one vote, whose entropy is always 0
    null_js: FloatArray  # (R, M) of redrawn votes
    null_correlation: FloatArray
    boot_js: FloatArray  # (R, M) of resampled rows (or whole speakers) and, in random order, votes
    boot_correlation: FloatArray


def saturation_curves(
    labels: Labels,
    size: int,
    settings: CurveSettings,
    ids: Sequence[str],
    human: Labels | None = None,
    groups: Sequence[Any] | None = None,
) -> Curves:
    """The curves of votes (N, m), indices of emotions, -1 where a row has fewer; (seed, id) decides the subsets.

    Each row has `max_votes` votes, and one more where the reference is held out; `human` are the reference's votes
    where it is ``human``, `groups` N speakers, who are resampled as a whole.
    """
    order = np.argsort(np.asarray(ids, dtype=np.str_), kind="stable")
    labels = labels[order]
    reference = None if human is None else human[order]
    members = None
    if groups is not None:
        members = np.unique(np.array([str(groups[row]) for row in order]), return_inverse=True)[1].astype(np.int64)

    orders: Iterable[Labels] = [labels]
    if settings.order == "random":
        orders = shuffled_votes(labels, [ids[row] for row in order], settings.seed, settings.num_subsets)
    js_rows, correlations = np.zeros((len(labels), settings.max_votes)), []
    for votes in orders:
        observed = _scored(votes, reference, size, settings)
        js_rows = js_rows + observed[0]
        correlations.append(_correlation(*observed[1:]))
    js_rows = js_rows / len(correlations)
    redraw = _Redraw(labels, size, settings.null_of())
    redraw_reference = None if reference is None else _Redraw(reference, size, "mean")

    rng = np.random.default_rng([settings.seed, 1])
    null, boot = [], []
    for _ in range(settings.num_resamples):
        # a human reference stays: the null is about the votes that are drawn
        js, entropies, target = _scored(redraw.draw(rng), reference, size, settings)
        null.append((js.mean(axis=0), _correlation(entropies, target)))

    rng = np.random.default_rng([settings.seed, 2])
    for _ in range(settings.num_resamples):
        rows = _resampled_rows(len(labels), members, rng)
        if settings.order == "random":
            drawn = redraw.with_replacement(rng)
            target_votes = None if redraw_reference is None else redraw_reference.with_replacement(rng)
            js, entropies, target = _scored(drawn, target_votes, size, settings)
        else:
            js, entropies, target = observed  # the only order there is
        boot.append((js[rows].mean(axis=0), _correlation(entropies[rows], target[rows])))
    return Curves(
        np.arange(1, settings.max_votes + 1),
        js_rows.mean(axis=0),
        np.mean(correlations, axis=0),
        *map(np.array, zip(*null, strict=True)),
        *map(np.array, zip(*boot, strict=True)),
    )


def _scored(
    labels: Labels, human: Labels | None, size: int, settings: CurveSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """JS (N, M) to the reference, entropies (N, M) of the first n votes, and of the reference (N,)."""
    most = settings.max_votes
    js, entropies = np.empty((len(labels), most)), np.empty((len(labels), most))
    targets = np.empty(len(labels))
    for piece in row_pieces(len(labels)):
        others = None if human is None else human[piece]
        js[piece], entropies[piece], targets[piece] = _scored_piece(labels[piece], others, size, settings)
    return js, entropies, targets


def _scored_piece(
    labels: Labels, human: Labels | None, size: int, settings: CurveSettings
) -> tuple[FloatArray, FloatArray, FloatArray]:
    most = settings.max_votes
    running = np.cumsum(labels[:, :most, None] == np.arange(size), axis=1, dtype=np.float64)
    flat = (running / np.arange(1.0, most + 1)[:, None]).reshape(-1, size)
    if human is None:
        human = labels[:, most:] if settings.reference == "held_out" else labels
    target = shares_of(count_labels(human, size))
    js = jensen_shannon_divergence(flat, np.repeat(target, most, axis=0)).reshape(len(labels), most)
    return js, entropy(flat).reshape(len(labels), most), entropy(target)


class _Redraw:
    """Votes drawn anew for every row, as many as it has."""

    def __init__(self, labels: Labels, size: int, null: str) -> None:
        self.labels, self.number = labels, (labels >= 0).sum(axis=1)
        self.counts = count_labels(labels, size)
        self.packed = np.take_along_axis(labels, np.argsort(labels < 0, axis=1, kind="stable"), axis=1)
        self.prior = fit_dirichlet_prior(self.counts) if null == "posterior" else None

    def with_replacement(self, rng: np.random.Generator) -> Labels:
        """Draw each row's votes from among its votes: from the full-vote mean."""
        place = (rng.random(self.labels.shape) * self.number[:, None]).astype(np.int64)
        drawn = np.take_along_axis(self.packed, place, axis=1)
        return first_of(drawn, self.number)

    def draw(self, rng: np.random.Generator) -> Labels:
        """Draw independent votes under the null."""
        if self.prior is None:
            return self.with_replacement(rng)
        shares = rng.standard_gamma(self.counts + self.prior) + 1e-300
        edges = np.cumsum(shares_of(shares), axis=1)
        level = rng.random(self.labels.shape)
        return first_of((level[:, :, None] > edges[:, None, :-1]).sum(axis=2), self.number)


def _correlation(entropies: FloatArray, target: FloatArray) -> FloatArray:
    """Pearson correlation over the rows of each column (N, M) with the target (N,); NaN for a constant."""
    x, y = entropies - entropies.mean(axis=0), target - target.mean()
    scale = np.sqrt((x**2).sum(axis=0) * (y**2).sum())
    return np.divide(x.T @ y, scale, out=np.full(x.shape[1], math.nan), where=scale > 1e-12)


def _resampled_rows(number: int, groups: Labels | None, rng: np.random.Generator) -> Labels:
    if groups is None:
        return rng.integers(number, size=number)
    order = np.argsort(groups, kind="stable")
    members = np.split(order, np.cumsum(np.bincount(groups))[:-1])
    return np.concatenate([members[group] for group in rng.integers(len(members), size=len(members))])


# --- fits: the exponential of arXiv 2601.14620 and a + b/n, to many curves at once


@dataclass(frozen=True)
class CurveFit:
    """``y = a + b * shape(n)`` for each of S curves; `a` is the asymptote."""

    a: FloatArray
    b: FloatArray
    c: FloatArray  # rate of the exponential ``exp(-c * n)``, NaN for the hyperbola ``1 / n``
    error: FloatArray  # root mean square of the residuals

    def at(self, n: ArrayLike) -> FloatArray:
        """The fitted curves (S, M) at M numbers of votes."""
        x = np.asarray(n, dtype=np.float64)
        shape = np.where(np.isnan(self.c)[:, None], 1.0 / x, np.exp(-np.nan_to_num(self.c)[:, None] * x))
        return np.asarray(self.a[:, None] + self.b[:, None] * shape)

    def relative_point(self) -> FloatArray:
        """First number of votes (real) within 10 % of the range, from one vote to the asymptote, of the asymptote."""
        # 10 for a + b/n whatever the data: such a curve has no saturation point of its own
        return np.where(np.isnan(self.c), 10.0, 1.0 - math.log(0.1) / self.c)

    def absolute_point(self, tolerance: float) -> FloatArray:
        """First number of votes (real, at least 1) at which the curve is within `tolerance` of its asymptote."""
        size = np.abs(self.b) / tolerance
        with np.errstate(divide="ignore"):
            exponential = np.log(np.maximum(size, 1e-300)) / self.c
        return np.maximum(np.where(np.isnan(self.c), size, exponential), 1.0)


def fit_hyperbola(n: ArrayLike, curves: ArrayLike) -> CurveFit:
    """Least squares of ``a + b/n``, what the mean of n independent votes does to first order, to (M,) or (S, M)."""
    x, y = np.asarray(n, dtype=np.float64), np.atleast_2d(np.asarray(curves, dtype=np.float64))
    a, b, rss = _line(np.broadcast_to(1.0 / x, y.shape), y)
    return CurveFit(a, b, np.full(len(y), math.nan), np.sqrt(rss / y.shape[1]))


def fit_exponential(n: ArrayLike, curves: ArrayLike) -> CurveFit:
    """Least squares of ``a + b * exp(-c * n)``, the paper's ``a - b * exp(-c * n)`` with the sign left to the data.

    For each rate c the best a and b are known in closed form; c is searched over 0.005 to 8 a vote, first coarsely and
    then three times more closely.
    """
    x, y = np.asarray(n, dtype=np.float64), np.atleast_2d(np.asarray(curves, dtype=np.float64))
    rates = np.broadcast_to(np.log(_RATES), (len(y), len(_RATES)))
    for _ in range(4):
        shapes = np.exp(-np.exp(rates)[:, :, None] * x)
        _, _, rss = _line(shapes, y[:, None, :])
        best = np.argmin(rss, axis=1)
        places = np.arange(len(y))
        step = rates[:, 1] - rates[:, 0]
        middle = rates[places, best]
        rates = middle[:, None] + step[:, None] * np.linspace(-1.0, 1.0, 21)
    c = np.exp(np.clip(middle, math.log(_RATES[0]), math.log(_RATES[-1])))
    a, b, rss = _line(np.exp(-c[:, None] * x), y)
    return CurveFit(a, b, c, np.sqrt(rss / y.shape[1]))


def _line(shape: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """The least-squares a, b of ``a + b * shape`` over the last axis, and the sum of the squared residuals."""
    mean, level = shape.mean(axis=-1, keepdims=True), y.mean(axis=-1, keepdims=True)
    spread = ((shape - mean) ** 2).sum(axis=-1)
    product = ((shape - mean) * (y - level)).sum(axis=-1)
    b = np.divide(product, spread, out=np.zeros_like(product), where=spread > 1e-300)
    a = level[..., 0] - b * mean[..., 0]
    rss = ((y - a[..., None] - b[..., None] * shape) ** 2).sum(axis=-1)
    return a, b, rss
