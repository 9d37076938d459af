"""Distributions of the first n votes against a reference: as observed, when votes are redrawn independently, and over bootstrap resamples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from ...distributions import entropy
from ...scores.divergences import jensen_shannon_divergence
from ...scores.floor import fit_dirichlet_prior
from ..vote_table import count_labels, shuffle_votes

__all__ = ["CurveSettings", "Curves", "Null", "Order", "Reference", "saturation_curves"]

FloatArray = NDArray[np.float64]
Labels = NDArray[np.int64]
Reference = Literal["human", "held_out", "full"]
Order = Literal["random", "given"]
Null = Literal["auto", "posterior", "mean"]


@dataclass(frozen=True)
class CurveSettings:
    """How the curves are made.

    Attributes:
        max_votes: Votes n go from 1 to this.
        reference: ``human``: the human votes, for synthetic ones; ``held_out``: the votes beyond the first `max_votes`; ``full``: all of the votes, the first
            n among them.
        order: ``random`` subsets, or the order ``given`` in the data.
        num_subsets: Random orders of each row's votes.
        null: What independent draws come from: ``mean``, the full-vote mean of each row; or ``posterior``, the same with the spread put back that a mean of few
            votes lacks: distributions drawn given the row's votes, under a Dirichlet prior fitted to the corpus. ``auto`` is ``mean`` against human votes,
            where the votes are many, and ``posterior`` otherwise: there, independent votes were told apart from draws of their own mean in
            every one of twelve simulations, and from posterior draws in none.
        num_resamples: Bootstrap resamples, and redrawings of the null.
        seed: Of everything.
    """

    max_votes: int
    reference: Reference
    order: Order = "random"
    num_subsets: int = 20
    null: Null = "auto"
    num_resamples: int = 200
    seed: int = 0

    def null_of(self) -> str:
        """The null, ``auto`` resolved."""
        return self.null if self.null != "auto" else "mean" if self.reference == "human" else "posterior"


@dataclass(frozen=True)
class Curves:
    """JS divergence (base 2) and correlation of entropies to the reference, by number of votes.

    Attributes:
        n: (M,) 1 to `max_votes`.
        js: (M,) observed mean.
        correlation: (M,) Pearson; NaN where it is not defined, as for one vote, whose entropy is always 0.
        null_js, null_correlation: (R, M) of redrawn votes.
        boot_js, boot_correlation: (B, M) of resampled rows (whole speakers where they are known) and, in random order, votes.
    """

    n: NDArray[np.int64]
    js: FloatArray
    correlation: FloatArray
    null_js: FloatArray
    null_correlation: FloatArray
    boot_js: FloatArray
    boot_correlation: FloatArray


def saturation_curves(
    labels: Labels,
    size: int,
    settings: CurveSettings,
    ids: Sequence[str],
    human: Labels | None = None,
    groups: Sequence[Any] | None = None,
) -> Curves:
    """Compute the curves.

    Args:
        labels: (N, m) indices of the emotions of the votes, -1 where a row has fewer; each row has `max_votes` of them, and one more where the
            reference is held out.
        size: Number of emotions.
        settings: See there.
        ids: N ids; (seed, id) decides the subsets.
        human: (N, m) the reference's votes where it is ``human``.
        groups: N speakers, resampled as a whole.
    """
    maker = _Maker(size, settings)
    order = np.argsort(np.asarray(ids, dtype=np.str_), kind="stable")
    labels = labels[order]
    reference = None if human is None else human[order]
    members = None if groups is None else _numbers([groups[row] for row in order])

    observed_js, observed_shares, targets = [], [], []
    for subset in range(settings.num_subsets if settings.order == "random" else 1):
        shuffled = labels
        if settings.order == "random":
            shuffled = shuffle_votes(labels, [ids[row] for row in order], settings.seed, subset)
        js, entropies, target = maker.rows(shuffled, reference)
        observed_js.append(js)
        observed_shares.append(entropies)
        targets.append(target)
    js_rows = np.mean(observed_js, axis=0)
    correlations = [_correlation(e, t) for e, t in zip(observed_shares, targets, strict=True)]
    redraw = _Redraw(labels, size, settings.null_of())
    redraw_reference = None if reference is None else _Redraw(reference, size, "mean")

    rng = np.random.default_rng([settings.seed, 1])
    null_js, null_correlation = [], []
    for _ in range(settings.num_resamples):
        # a human reference stays: the null is about the votes that are drawn
        js, entropies, target = maker.rows(redraw.draw(rng), reference)
        null_js.append(js.mean(axis=0))
        null_correlation.append(_correlation(entropies, target))

    rng = np.random.default_rng([settings.seed, 2])
    boot_js, boot_correlation = [], []
    for _ in range(settings.num_resamples):
        rows = _resampled_rows(len(labels), members, rng)
        if settings.order == "random":
            drawn = redraw.with_replacement(rng)
            target_votes = None if redraw_reference is None else redraw_reference.with_replacement(rng)
            js, entropies, target = maker.rows(drawn, target_votes)
        else:
            js, entropies, target = js_rows, observed_shares[0], targets[0]
        boot_js.append(js[rows].mean(axis=0))
        boot_correlation.append(_correlation(entropies[rows], target[rows]))
    return Curves(
        np.arange(1, settings.max_votes + 1),
        js_rows.mean(axis=0),
        np.mean(correlations, axis=0),
        np.array(null_js),
        np.array(null_correlation),
        np.array(boot_js),
        np.array(boot_correlation),
    )


class _Maker:
    """From votes in an order to the divergence and the entropy of the first n of them."""

    def __init__(self, size: int, settings: CurveSettings) -> None:
        self.size, self.settings = size, settings

    def rows(self, labels: Labels, human: Labels | None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Return JS (N, M) to the reference, entropies (N, M) of the first n votes, and of the reference (N,)."""
        most = self.settings.max_votes
        first = labels[:, :most]
        running = np.cumsum(first[:, :, None] == np.arange(self.size), axis=1, dtype=np.float64)
        shares = running / np.arange(1.0, most + 1)[:, None]
        if self.settings.reference == "human":
            assert human is not None
            counts = count_labels(human, self.size)
        else:
            counts = count_labels(labels[:, most:] if self.settings.reference == "held_out" else labels, self.size)
        target = counts / counts.sum(axis=1, keepdims=True)
        flat = shares.reshape(-1, self.size)
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
        return np.where(np.arange(self.labels.shape[1]) < self.number[:, None], drawn, -1)

    def draw(self, rng: np.random.Generator) -> Labels:
        """Draw independent votes under the null."""
        if self.prior is None:
            return self.with_replacement(rng)
        shares = rng.standard_gamma(self.counts + self.prior) + 1e-300
        edges = np.cumsum(shares / shares.sum(axis=1, keepdims=True), axis=1)
        level = rng.random(self.labels.shape)
        drawn = (level[:, :, None] > edges[:, None, :-1]).sum(axis=2)
        return np.where(np.arange(self.labels.shape[1]) < self.number[:, None], drawn, -1)


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


def _numbers(values: Sequence[Any]) -> Labels:
    return np.unique(np.array([str(value) for value in values]), return_inverse=True)[1].astype(np.int64)
