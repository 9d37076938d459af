"""Fits the posterior's map by the likelihood of human votes, shrunk towards annotators that are worth nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from .evidence import Answers, Evidence, FloatArray
from .likelihood import VoteLikelihood, agreement, agreement_penalty, row_products
from .posterior import AnnotatorMap, PosteriorMap, Shape, across_annotators

#: Listeners agree about emotions to a Fleiss' kappa of some .25 to .5: .27 to .28 over the voices of CREMA-D as
#: measured here, .27 and .40 as published for IEMOCAP (Busso et al. 2008). Assumed where no row has two votes.
ASSUMED_AGREEMENT = 0.35
#: How far it may be off, on the logit scale: .28 to .42 within one standard deviation. 450 votes outweigh it.
AGREEMENT_SPREAD = 0.3
#: Log-likelihood, in nats, that a vote of weight has to earn: what keeps noise from being heard where votes are few.
COST_OF_A_VOTE = 2.0
#: The confusion map starts as if so many answers of each emotion had been seen, four out of five of them right.
IDENTITY_VOTES, IDENTITY_SHARE = 2.0, 0.8
#: Prior of the correlations rho and r, and of c, on the logit scale: means (0.3 and 0.9) and standard deviations.
REPEAT_PRIOR, SHARE_PRIOR = (np.log(0.3 / 0.7), 1.5), (np.log(0.9 / 0.1), 1.5)
#: Rows that rho, r and c are fitted on at most.
MOST_ROWS_FOR_SHAPE = 8000


def identity_map(size: int) -> FloatArray:
    """The confusion map that is assumed before anything is seen."""
    if size == 1:
        return np.ones((1, 1))
    rest = (1.0 - IDENTITY_SHARE) / (size - 1)
    return np.asarray(np.full((size, size), rest) + np.eye(size) * (IDENTITY_SHARE - rest))


def fit_alone(human: FloatArray, expected: float = ASSUMED_AGREEMENT, spread: float = AGREEMENT_SPREAD) -> FloatArray:
    """Dirichlet parameters (K,) of a clip of which nothing is known: the prior of smoothed human votes."""
    human = human[human.sum(axis=1) > 0]
    size = human.shape[1]
    if len(human) == 0:
        return np.full(size, (1.0 / expected - 1.0) / size)
    likelihood, rows = VoteLikelihood(human), len(human)

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        alpha = np.broadcast_to(np.exp(x), (rows, size))
        value, gradient = likelihood.value_and_gradient(alpha)
        penalty, by_penalty = agreement_penalty(alpha[:1], expected, spread)
        # as if half a vote of each emotion had been seen: none is impossible because nobody has voted for it yet
        mean = np.exp(x) / np.exp(x).sum()
        lean = 0.5 * (1.0 - size * mean)
        total = (by_penalty[0] - gradient.sum(axis=0)) * np.exp(x)
        return float(penalty - value.sum() - 0.5 * np.log(mean).sum()), total - lean

    start = np.log((human.sum(axis=0) + 0.5) / (human.sum() + 0.5 * size) * (1.0 / expected - 1.0))
    return np.exp(minimise(objective, start, [(-12.0, 12.0)] * size))


def minimise(
    objective: Callable[[FloatArray], tuple[float, FloatArray]],
    start: FloatArray,
    bounds: Sequence[tuple[float, float]] | None = None,
    most_steps: int = 300,
) -> FloatArray:
    """The minimum that L-BFGS-B finds from a start."""
    from scipy.optimize import minimize

    found = minimize(
        objective,
        start,
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": most_steps, "maxfun": 2 * most_steps, "ftol": 1e-8, "gtol": 1e-4, "maxcor": 20},
    )
    return np.asarray(found.x, dtype=np.float64)


class PosteriorFit:
    """The objective of `PosteriorMap`: minus the log-likelihood of the human votes, and the priors.

    The parameters are, in this order: log `beside` (K); for each annotator the log of its weight at the reference
    number of answers, and the logits of its confusion maps (one, or one a focus and a common one that these lean on);
    and, where `shape_is_free`, the logits of each rho, of r and of c.

    Args:
        evidence: Rows with human votes.
        alone: Dirichlet parameters (K,) of a row without annotators.
        shape: rho, r and c; where they are fitted, the start.
        expected: Agreement between listeners that the map is to imply, see `agreement`.
        row_weights: (N,) weight of each row's likelihood. Default: 1.
        shape_is_free: Fit rho, r and c, too.
        foci: How far the map of a focus leans on that of its annotator: the precision of its deviation in logits. None:
            one map an annotator.
    """

    def __init__(
        self,
        evidence: Evidence,
        alone: FloatArray,
        shape: Shape,
        expected: float,
        row_weights: FloatArray | None = None,
        shape_is_free: bool = False,
        foci: float | None = None,
        complete: int | None = None,
    ) -> None:
        self.evidence, self.alone, self.shape, self.expected = evidence, alone, shape, expected
        self.rows, self.size = evidence.human.shape
        self.likelihood = VoteLikelihood(evidence.human)
        self.row_weights, self.free, self.foci = row_weights, shape_is_free, foci
        self.complete = self.rows if complete is None else complete  # the first so many rows have all their answers
        self.names = list(evidence.annotators)
        self.means: list[FloatArray] = []
        self.numbers: list[FloatArray] = []
        self.focus_names: list[tuple[str, ...]] = []
        for answers in evidence.annotators.values():
            split = foci is not None and answers.row is not None and len(answers.foci) > 1
            self.focus_names.append(answers.foci if split else ("",))
            mean = answers.by_focus() if split else answers.mean[:, None, :]
            self.means.append(np.ascontiguousarray(mean.reshape(self.rows, -1)))
            self.numbers.append(answers.number)
        self.identity = identity_map(self.size)

    def start(self, votes: float = 1.0) -> FloatArray:
        """Where to start: weights of a vote each, and confusion maps as the votes of rows and answers have it."""
        parts = [np.log(0.5 * self.alone)]
        shares = self.evidence.human / np.maximum(self.evidence.human.sum(axis=1, keepdims=True), 1e-9)
        for answers, foci in zip(self.evidence.annotators.values(), self.focus_names, strict=True):
            seen = answers.mean.T @ shares + 3.0 * IDENTITY_VOTES * self.identity
            logits = np.log(seen / seen.sum(axis=1, keepdims=True)).ravel()
            parts += [np.array([np.log(votes)]), logits]
            if len(foci) > 1:
                parts.append(np.zeros(len(foci) * self.size**2))
        if self.free:
            parts.append(np.array([_logit(self.shape.repeat[name]) for name in self.names]))
            parts.append(np.array([_logit(self.shape.across), _logit(self.shape.share)]))
        return np.concatenate(parts)

    def bounds(self) -> list[tuple[float, float]]:
        """Bounds of the parameters: wide, and only there so that nothing overflows."""
        found = [(-12.0, 8.0)] * self.size
        for foci in self.focus_names:
            found += [(-9.0, 6.0)] + [(-15.0, 15.0)] * (self.size**2 * (1 + (len(foci) if len(foci) > 1 else 0)))
        return found + ([(-6.0, 6.0)] * (len(self.names) + 2) if self.free else [])

    def fit(self) -> PosteriorMap:
        """The map with the highest likelihood times prior."""
        return self.map_of(minimise(self.objective, self.start(), self.bounds()))

    def _parts(self, x: FloatArray) -> tuple[FloatArray, list[float], list[FloatArray], list[FloatArray], Shape]:
        size, at = self.size, self.size
        logs, maps, deviations = [], [], []
        for foci in self.focus_names:
            logs.append(float(x[at]))
            maps.append(x[at + 1 : at + 1 + size**2].reshape(size, size))
            at += 1 + size**2
            count = len(foci) if len(foci) > 1 else 0
            deviation = x[at : at + count * size**2].reshape(count, size, size)
            # around their mean: what all foci have in common is for the map that they lean on
            deviations.append(deviation - deviation.mean(axis=0) if count else deviation)
            at += count * size**2
        shape = self.shape
        if self.free:
            number = len(self.names)
            values = _sigmoid(x[at:]).tolist()
            repeat = dict(zip(self.names, values[:number], strict=True))
            shape = Shape(repeat, values[number], values[number + 1], shape.reference)
        return np.exp(x[:size]), logs, maps, deviations, shape

    def map_of(self, x: FloatArray) -> PosteriorMap:
        """The map of these parameters."""
        beside, logs, maps, deviations, shape = self._parts(x)
        annotators = {}
        for name, log, logits, deviation, foci in zip(
            self.names, logs, maps, deviations, self.focus_names, strict=True
        ):
            repeat, reference = shape.repeat[name], shape.reference[name]
            worth = np.exp(log) * (1.0 + (reference - 1.0) * repeat) / reference
            by_focus = {focus: _softmax(logits + d) for focus, d in zip(foci, deviation, strict=False)}
            annotators[name] = AnnotatorMap(float(worth), repeat, _softmax(logits), by_focus)
        return PosteriorMap(self.alone, beside, shape.share, shape.across, annotators)

    def objective(self, x: FloatArray) -> tuple[float, FloatArray]:
        """Minus the log posterior density of the parameters, in nats, and its derivatives."""
        beside, logs, maps, deviations, shape = self._parts(x)
        rows, size = self.rows, self.size
        count = len(self.names)
        weights, slopes = np.zeros((rows, count)), np.zeros((rows, count))
        for place, name in enumerate(self.names):
            rho, reference, n = shape.repeat[name], shape.reference[name], self.numbers[place]
            more = np.maximum(n - 1.0, 0.0)
            relative = n * (1.0 + (reference - 1.0) * rho) / (reference * (1.0 + more * rho))
            weights[:, place] = np.exp(logs[place]) * relative
            slopes[:, place] = (reference - 1.0) / (1.0 + (reference - 1.0) * rho) - more / (1.0 + more * rho)
        together, _, by_weight, by_across = across_annotators(weights, shape.across)
        total = weights.sum(axis=1)
        kept = np.exp(-shape.share * together * total / self.alone.sum())
        confusions = [
            _softmax(logits + deviation) if len(deviation) else _softmax(logits)[None]
            for logits, deviation in zip(maps, deviations, strict=True)
        ]
        heard = [mean @ confusion.reshape(-1, size) for mean, confusion in zip(self.means, confusions, strict=True)]
        summed = np.zeros((rows, size))
        for place in range(count):
            summed += weights[:, place, None] * heard[place]
        alpha = kept[:, None] * self.alone + (1.0 - kept)[:, None] * beside + together[:, None] * summed

        value, by_alpha = self.likelihood.value_and_gradient(alpha)
        if self.row_weights is not None:
            value, by_alpha = value * self.row_weights, by_alpha * self.row_weights[:, None]
        loss, by_alpha = -float(value.sum()), -by_alpha
        penalty, gradient = agreement_penalty(alpha[: self.complete], self.expected, AGREEMENT_SPREAD)
        loss += penalty
        by_alpha[: self.complete] += gradient

        # derivatives by g * S, by g with the weights held, and by each weight
        by_kept = (by_alpha @ (beside - self.alone)) * kept / self.alone.sum()
        by_total = by_kept * shape.share
        by_together = row_products(by_alpha, summed) + by_total * total
        parts = [(1.0 - kept) @ by_alpha * beside]
        # log beside leans weakly on log alone
        lean = np.log(beside / self.alone)
        loss += 0.5 * float((lean**2).sum()) / 9.0
        parts[0] = parts[0] + lean / 9.0
        by_repeat = []
        for place in range(count):
            gain = together * row_products(by_alpha, heard[place])
            each = gain + by_together * by_weight[:, place] + by_total * together
            each = each * weights[:, place]
            cost = COST_OF_A_VOTE * np.exp(logs[place])
            loss += float(cost)
            by_repeat.append(float((each * slopes[:, place]).sum()))
            parts.append(np.array([each.sum() + cost]))
            by_map = self.means[place].T @ (by_alpha * (together * weights[:, place])[:, None])
            by_map = by_map.reshape(-1, size, size)
            by_logits = confusions[place] * (by_map - (by_map * confusions[place]).sum(axis=2, keepdims=True))
            common = _softmax(maps[place])
            loss -= IDENTITY_VOTES * float((self.identity * np.log(common)).sum())
            parts.append((by_logits.sum(axis=0) + IDENTITY_VOTES * (common - self.identity)).ravel())
            if len(deviations[place]):
                assert self.foci is not None
                loss += 0.5 * self.foci * float((deviations[place] ** 2).sum())
                parts.append((by_logits - by_logits.mean(axis=0) + self.foci * deviations[place]).ravel())
        if self.free:
            by_share = float((by_kept * together * total).sum())
            found = np.array([*by_repeat, float((by_together * by_across).sum()), by_share])
            correlations = np.array([*(shape.repeat[name] for name in self.names), shape.across, shape.share])
            priors = np.array([REPEAT_PRIOR] * (len(self.names) + 1) + [SHARE_PRIOR])
            away = (_logit(correlations) - priors[:, 0]) / priors[:, 1]
            loss += 0.5 * float((away**2).sum())
            parts.append(found * correlations * (1.0 - correlations) + away / priors[:, 1])
        return loss, np.concatenate(parts)


def assumed_shape(evidence: Evidence) -> Shape:
    """rho, r and c as they are assumed before anything is seen."""
    repeat = float(_sigmoid(np.array(REPEAT_PRIOR[0])))
    reference = {}
    for name, answers in evidence.annotators.items():
        spoke = answers.number[answers.number > 0]
        reference[name] = max(float(np.median(spoke)), 1.0) if len(spoke) else 1.0
    return Shape(
        dict.fromkeys(evidence.annotators, repeat), repeat, float(_sigmoid(np.array(SHARE_PRIOR[0]))), reference
    )


def fit_shape(evidence: Evidence, alone: FloatArray, expected: float, seed: int) -> Shape:
    """rho, r and c by the likelihood of seeded samples of each row's answers, from none of them to all.

    A row with all of its answers says what these are worth together; that the first few of them, or those of fewer
    annotators, are worth less is told by the same row's votes beside the first few. Each row counts once: its votes
    with all, and with two samples of its answers, have a third of the weight each.
    """
    shape = assumed_shape(evidence)
    varied = [answers for answers in evidence.annotators.values() if answers.singly]
    if not varied and len(evidence.annotators) < 2:
        return shape
    rng = np.random.default_rng([seed, 1])
    if len(evidence) > MOST_ROWS_FOR_SHAPE:
        evidence = evidence.select(np.sort(rng.permutation(len(evidence))[:MOST_ROWS_FOR_SHAPE]))
    several = len(evidence.annotators) > 1
    copies = [evidence]
    for _ in range(2):
        drawn = {}
        for name, answers in evidence.annotators.items():
            most = answers.number.astype(np.int64)
            number = rng.integers(1, np.maximum(most, 1) + 1) if answers.singly else np.ceil(answers.number).astype(int)
            if several:  # half of the time an annotator is silent, so that each is also seen without others
                number = number * rng.integers(0, 2, len(evidence))
            drawn[name] = answers.first(number, rng)
        copies.append(Evidence(evidence.human, drawn, evidence.groups))
    stacked = _stacked(copies)
    weights = np.full(len(stacked), 1.0 / len(copies))
    fit = PosteriorFit(stacked, alone, shape, expected, weights, shape_is_free=True, complete=len(evidence))
    found = fit._parts(minimise(fit.objective, fit.start(), fit.bounds()))[4]
    return found


def _stacked(parts: Sequence[Evidence]) -> Evidence:
    """Rows under one another, as far as sums are concerned."""
    annotators: dict[str, Answers] = {}
    for name in parts[0].annotators:
        number = np.concatenate([part.annotators[name].number for part in parts])
        annotators[name] = Answers(number, np.concatenate([part.annotators[name].mean for part in parts]))
    return Evidence(np.concatenate([part.human for part in parts]), annotators)


def fit_posterior(
    evidence: Evidence,
    expected: float = ASSUMED_AGREEMENT,
    seed: int = 0,
    foci: float | None = None,
    shape: Shape | None = None,
) -> PosteriorMap:
    """Fit the whole map on rows of which only those with human votes count."""
    evidence = evidence.select(np.flatnonzero(evidence.human.sum(axis=1) > 0))
    alone = fit_alone(evidence.human, expected)
    if not evidence.annotators or len(evidence) == 0:
        shape = shape or assumed_shape(evidence)
        nothing = {
            name: AnnotatorMap(0.0, shape.repeat[name], identity_map(len(alone))) for name in evidence.annotators
        }
        return PosteriorMap(alone, alone, shape.share, shape.across, nothing)
    kappa = agreement(alone[None])[0]
    shape = shape or fit_shape(evidence, alone, kappa, seed)
    return PosteriorFit(evidence, alone, shape, kappa, foci=foci).fit()


def fit_weight(evidence: Evidence, expected: float = ASSUMED_AGREEMENT) -> tuple[FloatArray, float]:
    """The prior (K,) and the one weight of every synthetic vote, by the same likelihood on the same rows."""
    evidence = evidence.select(np.flatnonzero(evidence.human.sum(axis=1) > 0))
    alone = fit_alone(evidence.human, expected)
    counts = pooled_counts(evidence)
    if counts.sum() == 0 or len(evidence) == 0:
        return alone, 0.0
    likelihood, size = VoteLikelihood(evidence.human), len(alone)
    kappa = agreement(alone[None])[0]
    each = float(counts.sum() / len(evidence))

    def objective(x: FloatArray) -> tuple[float, FloatArray]:
        prior, weight = np.exp(x[:size]), float(np.exp(x[size]))
        alpha = prior + weight * counts
        value, gradient = likelihood.value_and_gradient(alpha)
        penalty, by_penalty = agreement_penalty(alpha, kappa, AGREEMENT_SPREAD)
        gradient = by_penalty - gradient
        lean = np.log(prior / alone)
        cost = COST_OF_A_VOTE * weight * each
        by_weight = weight * float((gradient * counts).sum()) + cost
        loss = penalty - float(value.sum()) + cost + 0.5 * float((lean**2).sum()) / 9.0
        return loss, np.append(gradient.sum(axis=0) * prior + lean / 9.0, by_weight)

    start = np.append(np.log(0.5 * alone), np.log(1.0 / max(each, 1e-9)))
    found = minimise(objective, start, [(-12.0, 8.0)] * size + [(-14.0, 3.0)])
    return np.exp(found[:size]), float(np.exp(found[size]))


def pooled_counts(evidence: Evidence) -> FloatArray:
    """All answers of all annotators, one vote each, (N, K)."""
    result = np.zeros(evidence.human.shape)
    for answers in evidence.annotators.values():
        result += answers.mean * answers.number[:, None]
    return result


def _softmax(logits: FloatArray) -> FloatArray:
    values = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(values / values.sum(axis=-1, keepdims=True))


def _sigmoid(x: FloatArray) -> FloatArray:
    return np.asarray(1.0 / (1.0 + np.exp(-x)))


def _logit(p: float | FloatArray) -> FloatArray:
    values = np.clip(p, 1e-6, 1.0 - 1e-6)
    return np.asarray(np.log(values / (1.0 - values)))
