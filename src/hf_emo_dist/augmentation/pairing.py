"""Choosing the pairs of a plan: which utterances begin how many mixed rows, and with which neighbour each."""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..distributions import FloatArray, posterior_mean
from ..scores.divergences import jensen_shannon_divergence
from .neighbours import Neighbours, find_neighbours
from .pool import Pool
from .targets import balance_vector, dict_targets, dominant_targets, mass_to_add, tilted_weights, whole_counts

Indices = NDArray[np.int64]


@dataclass
class Pairs:
    """The pairs of a plan, as rows of a pool, sorted by the first source's id."""

    first: Indices  # (n,) the two sources
    second: Indices
    copy: Indices  # (n,) how often this source began a row before
    distance: NDArray[np.float32]  # (n,) in the scaled features
    unmet: dict[str, str] = field(default_factory=dict)  # emotion to the reason why its target was not reached
    neighbours: Neighbours | None = None  # of those rows that could begin one


def seeded(*parts: object) -> np.random.Generator:
    """A generator that depends on `parts` and nothing else."""
    return np.random.default_rng(_hash(*parts))


def _hash(*parts: object) -> int:
    text = "\x00".join(map(str, parts))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")


def mixed_id(seed: int, first: str, second: str, copy: int) -> str:
    """The id of a mixed row: the same for the same seed, sources and copy."""
    return f"dime-{_hash('id', seed, first, second, copy):016x}"


def draw_ratio(seed: int, row_id: str, epoch: int = 0, alpha: float = 1.0) -> float:
    """λ of a mixed row from (seed, epoch, row): Beta(alpha, alpha), neither 0 nor 1, and float32 holds it exactly."""
    drawn = _hash("ratio", seed, epoch, row_id)
    value = (drawn >> 11) * 2.0**-53 if alpha == 1.0 else np.random.default_rng(drawn).beta(alpha, alpha)
    return float(np.float32(min(max(value, 1e-6), 1 - 1e-6)))


def choose_pairs(pool: Pool, settings: Any) -> Pairs:
    """The pairs that a target asks for; `settings` is a `DiMEAug`, which knows this module."""
    by_mass = settings.target == "mass" or isinstance(settings.target, int)
    return _by_mass(pool, settings) if by_mass else _by_dominant(pool, settings)


def _neighbours(pool: Pool, settings: Any, queries: Indices, same_class: bool) -> Neighbours:
    """Neighbours of `queries` among the usable rows; all are rows of the pool."""
    usable = np.flatnonzero(pool.usable)
    place = np.full(len(pool.ids), -1, dtype=np.int64)
    place[usable] = np.arange(len(usable))
    groups = pool.dominant[usable] if same_class else np.zeros(len(usable), dtype=np.int64)
    speakers = pool.speakers[usable]
    if settings.speakers == "same":
        # who is not known is nobody's companion
        alone = np.where(speakers >= 0, speakers, speakers.max(initial=-1) + 1 + np.arange(len(usable)))
        groups = groups * (int(alone.max(initial=0)) + 1) + alone
    means = None
    if settings.neighbours == "distribution":
        counts = pool.distributions[usable] * pool.votes[usable][:, None]
        means = posterior_mean(counts, settings.concentration)

    def allowed(rows: Indices, candidates: Indices) -> NDArray[np.bool_]:
        fits = np.ones(candidates.shape, dtype=bool)
        if settings.speakers == "different":
            theirs = speakers[candidates]
            fits &= (theirs != speakers[rows][:, None]) & (theirs >= 0) & (speakers[rows] >= 0)[:, None]
        if means is not None:
            size = candidates.shape[1]
            far = jensen_shannon_divergence(means[rows].repeat(size, axis=0), means[candidates.ravel()], base=2)
            fits &= far.reshape(candidates.shape) <= settings.max_divergence
        return fits

    restricted = settings.speakers == "different" or means is not None
    found = find_neighbours(
        pool.features if len(usable) == len(pool.ids) else pool.features[usable],
        settings.num_neighbours,
        queries=place[queries],
        groups=groups,
        allowed=allowed if restricted else None,
        clips=None if pool.clips is None else pool.clips[usable],
        index=settings.index,
        seed=settings.seed,
    )
    indices = np.where(found.indices >= 0, usable[found.indices], -1) if len(usable) else found.indices
    return Neighbours(indices, found.distances, found.index, found.recall)


def _by_dominant(pool: Pool, settings: Any) -> Pairs:
    """Each dominant class is filled with rows mixed within it, so that each of them belongs to it too."""
    classes = pool.dominant
    present = np.bincount(classes, minlength=len(pool.emotions))
    if settings.target == "dominant":
        wanted = dominant_targets(present, settings.target_ratio)
    else:
        wanted = dict_targets(settings.target, pool.emotions, present)
    short = np.flatnonzero(wanted > present)
    queries = np.flatnonzero(np.isin(classes, short) & pool.usable)
    found = _neighbours(pool, settings, queries, same_class=True)
    has = (found.indices >= 0).any(axis=1)
    counts = np.zeros(len(queries), dtype=np.int64)
    unmet: dict[str, str] = {}
    for label in short:
        name, missing = pool.emotions[label], int(wanted[label] - present[label])
        mine = np.flatnonzero((classes[queries] == label) & has)
        if not len(mine):
            reason = {0: "no utterance has it as its dominant emotion", 1: "a single utterance has no neighbour"}
            unmet[name] = reason.get(int(present[label]), "none of its utterances has a neighbour to mix with")
            continue
        reachable = len(mine) * settings.max_repeats
        if missing > reachable:
            unmet[name] = (
                f"{reachable} of {missing} rows, with max_repeats={settings.max_repeats} and {len(mine)} sources"
            )
            missing = reachable
        rng = seeded(settings.seed, "sources", name)
        if settings.preset == "paper":  # which draws each source anew, so that some are never drawn
            drawn = rng.integers(len(mine), size=missing)
            counts[mine] = np.bincount(drawn, minlength=len(mine))
        else:
            counts[mine] = whole_counts(np.full(len(mine), missing / len(mine)), rng)
    return _pairs(pool, settings, queries, counts, found, unmet)


def _by_mass(pool: Pool, settings: Any) -> Pairs:
    """Sources are drawn so that the sum of the distributions goes towards the balance."""
    mass = pool.distributions.sum(axis=0)
    balance = balance_vector(settings.balance, pool.emotions)
    if isinstance(settings.target, int):
        missing = mass_to_add(mass, balance, np.inf, settings.target) if settings.target else np.zeros_like(mass)
    else:
        limit = None if math.isinf(settings.max_growth) else int(settings.max_growth * len(pool.ids))
        missing = mass_to_add(mass, balance, settings.target_ratio, limit)
    number = round(float(missing.sum()))
    unmet: dict[str, str] = {}
    nothing = np.zeros(0, dtype=np.int64)
    if number < 1:
        return Pairs(nothing, nothing, nothing, nothing.astype(np.float32))
    wanted = missing / missing.sum()
    useful = pool.distributions @ wanted
    for k in np.flatnonzero((missing >= 0.5) & (pool.distributions.max(axis=0) <= 0)):
        unmet[pool.emotions[k]] = "no utterance has any share of it"
    # rows below the average would take the data away from the balance
    queries = np.flatnonzero((useful >= useful.mean() - 1e-12) & pool.usable)
    found = _neighbours(pool, settings, queries, same_class=settings.neighbours == "dominant")
    has = found.indices >= 0
    sources = np.flatnonzero(has.any(axis=1))
    if not len(sources):
        unmet.update(dict.fromkeys(_short(pool.emotions, missing), "no useful utterance has a neighbour to mix with"))
        return Pairs(nothing, nothing, nothing, nothing.astype(np.float32), unmet, found)
    partners = np.where(has[sources][..., None], pool.distributions[found.indices[sources]], 0.0).sum(axis=1)
    expected = 0.5 * (pool.distributions[queries[sources]] + partners / has[sources].sum(axis=1, keepdims=True))
    draws = tilted_weights(expected, wanted, number, settings.max_repeats)
    counts = np.zeros(len(queries), dtype=np.int64)
    counts[sources] = whole_counts(draws, seeded(settings.seed, "sources"))
    if counts.sum() < number - 1:
        reason = f"{counts.sum()} of {number} rows, with max_repeats={settings.max_repeats} and {len(sources)} sources"
        unmet.update(dict.fromkeys(_short(pool.emotions, missing), reason))
    return _pairs(pool, settings, queries, counts, found, unmet)


def _short(emotions: tuple[str, ...], missing: FloatArray) -> list[str]:
    return [name for name, amount in zip(emotions, missing, strict=True) if amount >= 0.5]


def _pairs(
    pool: Pool, settings: Any, queries: Indices, counts: Indices, found: Neighbours, unmet: dict[str, str]
) -> Pairs:
    """A partner for each row: a source's neighbours in turns, in an order drawn for it."""
    first = np.repeat(queries, counts)
    total = len(first)
    second, copy = np.empty(total, dtype=np.int64), np.empty(total, dtype=np.int64)
    distance = np.empty(total, dtype=np.float32)
    at = 0
    for place in np.flatnonzero(counts):
        number = int(counts[place])
        known = np.flatnonzero(found.indices[place] >= 0)
        rng = seeded(settings.seed, "partners", pool.ids[queries[place]])
        if settings.preset == "paper":  # each by itself
            turns = rng.integers(len(known), size=number)
        else:
            turns = np.resize(rng.permutation(len(known)), number)
        chosen = known[turns]
        rows = slice(at, at + number)
        second[rows], distance[rows] = found.indices[place][chosen], found.distances[place][chosen]
        copy[rows] = np.arange(number)
        at += number
    return Pairs(first, second, copy, distance, unmet, found)
