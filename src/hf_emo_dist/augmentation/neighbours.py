"""Who lies near whom: nearest neighbours with faiss, under the restrictions of a plan.

Only real neighbours count: neither the row itself nor a copy of it takes a slot, and of several copies of a neighbour
only the first counts. Copies have equal features to four decimals, unless it is said what else makes them.
"""

from __future__ import annotations

import hashlib
import logging
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from .._lazy import need

logger = logging.getLogger(__name__)

Metric = Literal["standardised", "cosine"]
IndexKind = Literal["auto", "exact", "ivf"]
Indices = NDArray[np.int64]
# of rows (M,) and candidates (M, m): which candidates a row may have, (M, m)
Allowed = Callable[[Indices, Indices], NDArray[np.bool_]]

#: Rows of one group above which `index="auto"` goes from exact search to IVF. Exact search is fine far beyond: with 82
#: features it took 0.7 CPU seconds for 10,000 rows, 5 for 30,000 and 53 for 100,000 (IVF: 1.4, 8 and 39). Twice the
#: rows take four times as long.
EXACT_ROWS = 10_000
# The furthest that a row looks for neighbours that it may have.
_FURTHEST = 2048
_RECALL_WANTED, _RECALL_QUERIES, _RECALL_DEPTH = 0.95, 400, 12
# Rows that a search in IVF compares a row with at most, whatever share of its neighbours it finds so. Where features
# have no clusters, the wanted share takes most of all lists, and the time of a plan would grow as the square of its
# rows; but there the next best are hardly further away.
_MOST_COMPARED = 20_000
# Numbers that are gathered at a time when distances are computed again: 64 MB.
_GATHERED = 1 << 24


@dataclass(frozen=True)
class Neighbours:
    """The neighbours of Q rows, nearest first."""

    indices: Indices  # (Q, k), -1 where a row has fewer
    distances: NDArray[np.float32]  # (Q, k), Euclidean in the scaled features; infinite where there is no neighbour
    index: str  # what was searched: exact, ivf, or both
    recall: float | None  # share of the exact k nearest that IVF found, on a sample; None where all was exact


def scale_features(features: NDArray[Any], metric: Metric = "standardised") -> NDArray[np.float32]:
    """Scale features (N, d) in place, by dimension or to length 1, so that Euclidean distance orders them by angle."""
    # In place, as of a million rows a copy is a gigabyte. Rows that are not finite are left out of mean and deviation,
    # and stay as they are.
    values = np.ascontiguousarray(features, dtype=np.float32)
    if metric == "cosine":
        length = np.linalg.norm(values, axis=1, keepdims=True)
        return np.asarray(values / np.where(length > 0, length, 1.0), dtype=np.float32)
    finite = np.isfinite(values).all(axis=1)
    rows = values if finite.all() else values[finite]
    if not len(rows):
        return values
    mean = rows.mean(axis=0, dtype=np.float64)
    step = max(1, _GATHERED // values.shape[1])
    squares = np.zeros(values.shape[1])
    for start in range(0, len(rows), step):
        squares += ((rows[start : start + step] - mean) ** 2).sum(axis=0)
    deviation = np.sqrt(squares / len(rows))
    # a dimension that is constant but for rounding has no say
    varies = deviation > 1e-6 * np.maximum(np.abs(mean), 1e-6)
    inverse = np.where(varies, 1.0 / np.where(deviation > 0, deviation, 1), 0.0)
    for start in range(0, len(values), step):
        block = values[start : start + step]
        values[start : start + step] = (block - mean) * inverse
    return values


def find_neighbours(
    features: NDArray[np.float32],
    k: int,
    *,
    queries: Indices | None = None,  # (Q,) rows whose neighbours are wanted; all by default
    groups: NDArray[Any] | None = None,  # (N,) labels; neighbours are of the same group
    allowed: Allowed | None = None,  # with it a row looks no further than its 2,048 nearest
    clips: NDArray[Any] | None = None,  # (N,) labels; rows with the same one are copies, not those of equal features
    index: IndexKind = "auto",
    seed: int = 0,
) -> Neighbours:
    """The k nearest rows of each row, among those that it may be mixed with."""
    # The features are finite and scaled, in an order that is always the same: among equals the first row wins.
    wanted = np.arange(len(features)) if queries is None else np.asarray(queries, dtype=np.int64)
    labels = np.zeros(len(features), dtype=np.int64) if groups is None else np.unique(groups, return_inverse=True)[1]
    original = _first_copies(features if clips is None else clips, labels)
    indices, distances = np.full((len(wanted), k), -1, np.int64), np.full((len(wanted), k), np.inf, np.float32)
    kinds: dict[str, None] = {}
    recalls: list[tuple[int, float]] = []
    for label in np.unique(labels[wanted]):
        places = np.flatnonzero(labels[wanted] == label)
        members = np.flatnonzero((labels == label) & (original == np.arange(len(features))))
        if len(members) < 2:
            continue
        search = _Search(features, members, original, allowed, index, seed)
        indices[places], distances[places] = search(wanted[places], k)
        kinds[search.kind] = None
        if search.kind != "exact":
            share, further = search.recall(wanted[places], k, indices[places], distances[places])
            recalls.append((len(places), share))
            if share < _RECALL_WANTED - 0.05:
                logger.warning(
                    "The features of %d rows have hardly any clusters: of their %d nearest neighbours the search found "
                    "%.0f %%, and on average those that it took lie %.1f %% further away. An exact search takes the "
                    "square of the rows: index='exact'.",
                    len(members), k, 100 * share, 100 * further,
                )  # fmt: skip
    recall = None
    if recalls:
        recall = sum(size * value for size, value in recalls) / sum(size for size, _ in recalls)
        logger.info("recall of the %d nearest neighbours: %.3f (%s)", k, recall, ", ".join(kinds))
    return Neighbours(indices, distances, ", ".join(kinds) or "exact", recall)


def _first_copies(features: NDArray[Any], labels: Indices) -> Indices:
    """For each row the first row of its group with the same features to four decimals, or the same label: (N,)."""
    first: dict[Any, int] = {}
    if features.ndim == 1:
        keys = zip(labels.tolist(), features.tolist(), strict=True)
        return np.array([first.setdefault(key, row) for row, key in enumerate(keys)], dtype=np.int64)
    copies = np.empty(len(features), dtype=np.int64)
    step = max(1, _GATHERED // max(1, features.shape[1]))
    for start in range(0, len(features), step):
        rounded = np.round(features[start : start + step], 4) + np.float32(0)  # no negative zero
        for row, values in enumerate(rounded, start):
            key = hashlib.blake2b(values.tobytes(), digest_size=16, key=int(labels[row]).to_bytes(8, "little")).digest()
            copies[row] = first.setdefault(key, row)
    return copies


class _Search:
    """A search among the members of one group."""

    def __init__(
        self,
        features: NDArray[np.float32],
        members: Indices,
        original: Indices,
        allowed: Allowed | None,
        kind: str,
        seed: int,
    ) -> None:
        self.features, self.members, self.original, self.allowed, self.seed = features, members, original, allowed, seed
        self.kind = ("exact" if len(members) <= EXACT_ROWS else "ivf") if kind == "auto" else kind
        self.faiss = need("faiss", "DiMEAug")
        if self.kind == "ivf":
            self._nearest = self._ivf(features if len(members) == len(features) else features[members])
        else:
            self._nearest = self._exact

    def _exact(self, queries: NDArray[np.float32], k: int) -> tuple[Any, Indices]:
        """Squared distances and places among the members of the k nearest, without a copy of the features."""
        if len(self.members) == len(self.features):
            return self.faiss.knn(queries, self.features, k)
        best = np.full((len(queries), 0), np.inf, dtype=np.float32)
        places = np.empty((len(queries), 0), dtype=np.int64)
        for start in range(0, len(self.members), 65536):
            part = self.members[start : start + 65536]
            distance, at = self.faiss.knn(queries, np.ascontiguousarray(self.features[part]), min(k, len(part)))
            best, places = np.hstack([best, distance]), np.hstack([places, at + start])
            order = np.argsort(best, axis=1, kind="stable")[:, :k]
            best, places = np.take_along_axis(best, order, 1), np.take_along_axis(places, order, 1)
        return best, places

    def _ivf(self, rows: NDArray[np.float32]) -> Callable[..., tuple[Any, Indices]]:
        # Zeros change no distance, and faiss decodes eight numbers at a time only where their number is a multiple.
        wide = -rows.shape[1] % 8
        if wide:
            search = self._ivf(np.pad(rows, ((0, 0), (0, wide))))
            return lambda queries, k: search(np.pad(queries, ((0, 0), (0, wide))), k)
        lists = 1 << max(0, round(math.log2(2 * math.sqrt(len(rows)))))
        lists = max(1, min(lists, len(rows) // 39))  # faiss wants 39 points or more to train each
        # half precision halves the memory; the distances that count are computed again from the features
        coarse = self.faiss.IndexFlatL2(rows.shape[1])
        index = self.faiss.IndexIVFScalarQuantizer(
            coarse, rows.shape[1], lists, self.faiss.ScalarQuantizer.QT_fp16, self.faiss.METRIC_L2
        )
        index.cp.seed, index.cp.niter = self.seed % (1 << 31) or 1, 10
        rng = np.random.default_rng(self.seed)
        sample = np.sort(rng.choice(len(rows), size=min(len(rows), 40 * lists), replace=False))
        index.train(np.ascontiguousarray(rows[sample]))
        for start in range(0, len(rows), 65536):
            index.add(rows[start : start + 65536])
        some = np.sort(rng.choice(len(rows), size=min(len(rows), _RECALL_QUERIES), replace=False))
        exact = self.faiss.knn(rows[some], rows, _RECALL_DEPTH)[1]
        most = max(4, min(lists, round(_MOST_COMPARED * lists / len(rows))))
        index.nprobe = min(lists, 4)
        while index.nprobe < most:
            found = index.search(rows[some], _RECALL_DEPTH)[1]
            hits = np.mean([len(set(a) & set(b)) for a, b in zip(exact, found, strict=True)])
            if hits >= _RECALL_WANTED * _RECALL_DEPTH:
                break
            index.nprobe = min(most, math.ceil(1.25 * index.nprobe))
        self._coarse = coarse  # the index does not own it
        return index.search  # type: ignore[no-any-return]

    def __call__(self, rows: Indices, k: int) -> tuple[Indices, NDArray[np.float32]]:
        """Neighbours (Q, k) and distances of `rows`; copies are searched once."""
        unique, back = np.unique(self.original[rows], return_inverse=True)
        if self.allowed is not None and len(unique) < len(rows):
            unique, back = rows, np.arange(len(rows))  # copies may have other restrictions
        found = np.full((len(unique), k), -1, np.int64)
        distances = np.full((len(unique), k), np.inf, np.float32)
        # two more than asked for, so that the order of the last ones is decided by exact distances
        keep, fetch = k + 2, (k + 3 if self.allowed is None else 4 * (k + 2))
        left = np.arange(len(unique))
        while len(left):
            fetch = min(fetch, len(self.members))
            open_rows = []
            step = max(1, min(16384, (1 << 20) // fetch))
            for start in range(0, len(left), step):
                part = left[start : start + step]
                candidates, full = self._candidates(unique[part], fetch, keep)
                order, exact = self._order(unique[part], candidates, k)
                found[part], distances[part] = order, exact
                open_rows.append(part[~full])
            left = np.concatenate(open_rows)
            if fetch >= min(len(self.members), _FURTHEST):
                break
            fetch = min(4 * fetch, _FURTHEST)
        return found[back], distances[back]

    def _candidates(self, rows: Indices, fetch: int, keep: int) -> tuple[Indices, NDArray[np.bool_]]:
        """Up to `keep` candidates of each row, -1 where there are no more, and which rows have as many as that."""
        places = self._nearest(np.ascontiguousarray(self.features[rows]), fetch)[1]
        candidates = np.where(places >= 0, self.members[places], -1)
        good = (candidates >= 0) & (candidates != self.original[rows][:, None])
        if self.allowed is not None:
            good &= self.allowed(rows, candidates)
        order = np.argsort(~good, axis=1, kind="stable")[:, :keep]
        chosen = np.take_along_axis(np.where(good, candidates, -1), order, axis=1)
        return chosen, good.sum(axis=1) >= keep

    def _order(self, rows: Indices, candidates: Indices, k: int) -> tuple[Indices, NDArray[np.float32]]:
        """The k nearest candidates by exact distance, the first row among equals."""
        distances = np.full(candidates.shape, np.inf, dtype=np.float32)
        step = max(1, _GATHERED // (candidates.shape[1] * self.features.shape[1]))
        for start in range(0, len(rows), step):
            some = slice(start, start + step)
            difference = self.features[candidates[some]] - self.features[rows[some], None]
            distances[some] = np.sqrt(np.einsum("nkd,nkd->nk", difference, difference))
        distances[candidates < 0] = np.inf
        # five digits: sums in another order must not decide
        digits = np.where(np.isfinite(distances), np.round(distances, 5), np.inf)
        order = np.lexsort((candidates, digits), axis=1)[:, :k]
        best, exact = np.take_along_axis(candidates, order, axis=1), np.take_along_axis(distances, order, axis=1)
        if best.shape[1] < k:
            missing = k - best.shape[1]
            best = np.pad(best, ((0, 0), (0, missing)), constant_values=-1)
            exact = np.pad(exact, ((0, 0), (0, missing)), constant_values=np.inf)
        return best, exact

    def recall(self, rows: Indices, k: int, found: Indices, distances: NDArray[np.float32]) -> tuple[float, float]:
        """Share of the exact neighbours among those found, and by what share these lie further, on a sample."""
        rng = np.random.default_rng([self.seed, 1])
        some = np.sort(rng.choice(len(rows), size=min(len(rows), _RECALL_QUERIES), replace=False))
        exact = _Search(self.features, self.members, self.original, self.allowed, "exact", self.seed)
        truth, nearest = exact(rows[some], k)
        hits = sum(len(set(a[a >= 0]) & set(b)) for a, b in zip(truth, found[some], strict=True))
        both = np.isfinite(nearest) & np.isfinite(distances[some])
        further = distances[some][both].sum() / max(nearest[both].sum(), 1e-12) - 1.0 if both.any() else 0.0
        return float(hits / max(1, (truth >= 0).sum())), float(further)
