"""One temperature for predicted distributions, fitted on votes: are they sharper, or flatter, than listeners are?"""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from .checking import EPSILON, FloatArray, checked_counts, checked_rows
from .likelihood import log_likelihood

#: What a temperature is kept within. Beyond it nearly nothing changes: the distributions are one-hot or uniform.
TEMPERATURE_RANGE = (0.1, 10.0)
#: Rows with votes that a fit needs; with fewer the temperature is mostly the luck of the rows.
MIN_ROWS = 20

# Under predicted probabilities, so that one that underflowed to 0 has a logarithm.
_TINY = 1e-30


class TemperatureFit(NamedTuple):
    """A temperature, and the votes that it was fitted on."""

    temperature: float
    rows: int  # that have votes
    votes: float
    log_likelihood_before: float  # nats a vote, on these votes
    log_likelihood_after: float
    at_bound: bool  # of `TEMPERATURE_RANGE`: the best one lies beyond


def at_temperature(p: ArrayLike, temperature: float) -> FloatArray:
    """Return the distributions at a temperature: ``p ** (1 / T)``, divided by its sum.

    Of logits that is ``softmax(logits / T)``. Above 1 they are flatter, below 1 sharper; the order of the emotions in a
    row stays.

    Args:
        p: Distributions (N, K) or (K,).
        temperature: T, above 0; 1 changes nothing.

    Returns:
        float64 array of the same shape.

    Raises:
        ValueError: A row is not a distribution, or the temperature is not a finite number above 0.

    Example:
        >>> at_temperature([0.9, 0.1], 2.0)
        array([0.75, 0.25])
    """
    if not (math.isfinite(temperature) and temperature > 0):
        raise ValueError(f"temperature={temperature} is none. Mend: give a finite number above 0; 1 changes nothing.")
    predicted = checked_rows(p, "p")
    if temperature == 1.0:
        return predicted
    log_p = np.log(np.maximum(predicted, _TINY)) / temperature
    shares = np.exp(log_p - log_p.max(axis=-1, keepdims=True))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def fit_temperature(p: ArrayLike, counts: ArrayLike) -> TemperatureFit:
    """Fit the temperature under which the votes are most likely (Guo et al. 2017, arXiv 1706.04599, on vote counts).

    Maximises the multinomial log-likelihood ``sum(counts * ln(at_temperature(p, T)))``, every vote counting alike. It
    is concave in 1 / T, so that halving finds its one maximum within :data:`TEMPERATURE_RANGE`. Fit it on speakers that
    nobody will be scored on.

    Args:
        p: Predicted distributions (N, K).
        counts: Votes (N, K), not negative; rows may be without.

    Returns:
        The fit. Where no prediction says anything (all are uniform), or the best temperature does not raise the
        likelihood, it is 1.

    Raises:
        ValueError: The shapes differ, a row of `p` is not a distribution, there are no votes, or fewer than
            :data:`MIN_ROWS` rows have any.

    Example:
        >>> rng = np.random.default_rng(0)
        >>> true = rng.dirichlet([1.0, 1.0, 1.0], 2000)
        >>> votes = rng.multinomial(5, true)
        >>> round(fit_temperature(at_temperature(true, 0.5), votes).temperature, 1)  # twice as sharp as it should be
        2.0
    """
    predicted, votes = np.atleast_2d(checked_rows(p, "p")), np.atleast_2d(checked_counts(counts))
    before, number = log_likelihood(predicted, votes)
    heard = number > 0
    rows = int(heard.sum())
    if not rows:
        raise ValueError("No row has a vote, and a temperature is fitted on votes. Mend: give rows with human votes.")
    if rows < MIN_ROWS:
        raise ValueError(
            f"Only {rows} rows have votes, and a temperature fitted on fewer than {MIN_ROWS} is luck. Mend: fit it on "
            "a larger split of speakers that nobody is scored on."
        )
    predicted, votes, total = predicted[heard], votes[heard], float(number[heard].sum())
    best = _best(np.log(np.maximum(predicted, _TINY)), votes)
    first = float(before[heard].sum() / total)
    after = float(log_likelihood(at_temperature(predicted, best), votes)[0].sum() / total)
    if after < first:  # only under the floor that `log_likelihood` puts under predictions that deny votes
        best, after = 1.0, first
    return TemperatureFit(best, rows, total, first, after, best in TEMPERATURE_RANGE)


def _best(log_p: FloatArray, votes: FloatArray) -> float:
    """The temperature at which the derivative of the log-likelihood by 1 / T is 0; it falls with 1 / T."""
    number = votes.sum(axis=1)
    observed = float((votes * log_p).sum())

    def slope(temperature: float) -> float:
        scaled = log_p / temperature
        shares = np.exp(scaled - scaled.max(axis=1, keepdims=True))
        shares /= shares.sum(axis=1, keepdims=True)
        return observed - float(number @ (shares * log_p).sum(axis=1))

    sharpest, flattest = TEMPERATURE_RANGE
    at_sharpest, at_flattest = slope(sharpest), slope(flattest)
    if at_flattest - at_sharpest <= EPSILON * float(number.sum()):
        return 1.0  # the same at every temperature
    if at_flattest <= 0:
        return flattest
    if at_sharpest >= 0:
        return sharpest
    low, high = math.log(sharpest), math.log(flattest)
    for _ in range(50):
        middle = (low + high) / 2
        if slope(math.exp(middle)) < 0:
            low = middle  # too sharp
        else:
            high = middle
    return math.exp((low + high) / 2)
