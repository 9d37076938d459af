"""What answers are worth in human votes; and all that was fitted, in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .evidence import Answers, Evidence, FloatArray
from .fitted import Fitted
from .posterior import PosteriorMap

#: Numbers of answers whose worth is reported.
NUMBERS = (1, 5, 10)
#: Rows that a worth is averaged over at most.
MOST_ROWS = 3000
# Under so many human votes an annotator says nothing, and what its answers mean cannot be told either.
_NOTHING = 0.1
# Nats a vote that are no loss to speak of.
_TINY = 5e-4


def expected_error(alpha: FloatArray) -> FloatArray:
    """Expected squared distance of a row's distribution from the mean of its Dirichlet distribution, (N,).

    ``(1 - |m|**2) / (A + 1)`` for mean m and total A: the sum of the variances.
    """
    total = alpha.sum(axis=1)
    return np.asarray((1.0 - ((alpha / total[:, None]) ** 2).sum(axis=1)) / (total + 1.0))


def worth_in_votes(fitted: PosteriorMap, name: str, answers: Answers, number: float, seed: int = 0) -> float:
    """How many human votes lower the expected squared error as much as so many answers of one annotator, nobody else
    speaking.

    h human votes lower the error of a clip of which nothing is known by ``A / (A + h)``, with A the total of its prior
    (the expected posterior variance of a Dirichlet distribution). Fewer answers than there are, are drawn from them;
    for more than there are, the mean answer stays as it is and only its weight grows.
    """
    rows = np.flatnonzero(answers.number > 0)
    if len(rows) == 0:
        return 0.0
    answers = answers.select(rows)
    drawn = answers
    if answers.row is not None:
        drawn = answers.first(np.full(len(rows), int(max(number, 1))), np.random.default_rng([seed, 3]))
    drawn = Answers(np.full(len(rows), float(number)), drawn.mean)
    nothing = Answers(np.zeros(len(rows)), np.zeros(answers.mean.shape))
    names = {other: drawn if other == name else nothing for other in fitted.annotators}
    found = fitted.prior(Evidence(np.zeros(answers.mean.shape), names))
    alone = float(expected_error(fitted.alone[None])[0])
    total = float(fitted.alone.sum())
    return max(0.0, total * (alone / float(expected_error(found).mean()) - 1.0))


def worths_of(
    fitted: PosteriorMap, parts: Sequence[PosteriorMap], evidence: Evidence, seed: int
) -> dict[str, dict[str, tuple[float, float, float]]]:
    """Worth of 1, 5 and 10 answers of each annotator, with a 95 % interval by a jackknife over folds of speakers."""
    from scipy.stats import t

    found: dict[str, dict[str, tuple[float, float, float]]] = {}
    for name, answers in evidence.annotators.items():
        rows = np.flatnonzero(answers.number > 0)[:MOST_ROWS]
        some = answers.select(rows)
        found[name] = {}
        for number in NUMBERS if (answers.number > 1).any() else NUMBERS[:1]:
            value = worth_in_votes(fitted, name, some, number, seed)
            left_out = np.array([worth_in_votes(part, name, some, number, seed) for part in parts])
            spread = float("nan")
            if len(parts) > 1:
                error = np.sqrt((len(parts) - 1) / len(parts) * ((left_out - left_out.mean()) ** 2).sum())
                spread = float(error * t.ppf(0.975, len(parts) - 1))
            found[name][str(number)] = (value, float(np.maximum(0.0, value - spread)), value + spread)
    return found


def summary_of(fitted: Fitted, emotions: Sequence[str]) -> str:
    """The text of `VoteCombiner.summary`."""
    about = fitted.about
    speakers = "speakers not known" if about["speakers"] is None else f"{about['speakers']} speakers"
    used = f", on {about['rows_used']} of them" if about.get("rows_used", about["rows"]) < about["rows"] else ""
    lines = [
        f"Combined by {fitted.method}; emotions: {', '.join(emotions)}.",
        f"Fitted on {about['rows']} rows ({speakers}) with {about['votes']:g} human votes{used}.",
    ]
    if fitted.method == "pool":
        lines.append("Every synthetic vote counts as one human vote, which nobody has measured.")
        return "\n".join(lines)
    assert fitted.alone is not None
    total = float(fitted.alone.sum())
    how = "assumed" if not fitted.scale_is_measured else "measured"
    lines.append(
        f"Beside a row's human votes stands a prior of {total:.2f} votes; listeners agree to a kappa of "
        f"{1 / (1 + total):.2f} ({how})."
    )
    if fitted.method == "weighted":
        lines.append(f"Every synthetic vote counts {fitted.weight:.3g} ({'given' if fitted.given else 'fitted'}).")
    lines += [f"NOTE: {note}" for note in fitted.notes]
    for name, worth in fitted.worth.items():
        told = ", ".join(f"{number} → {_votes(interval)}" for number, interval in worth.items())
        lines.append(f"{name}: answers are worth in human votes: {told}.")
        if fitted.map is not None and max(interval[0] for interval in worth.values()) >= _NOTHING:
            annotator = fitted.map.posterior.annotators[name]
            known = "" if about["answers"][name]["singly"] else " (assumed: no row has several single answers)"
            lines.append(
                f"  a further answer repeats what the first ones said to a share of {annotator.repeat:.2f}{known}"
            )
            lines += [f"  {line}" for line in confusions(annotator.confusion, emotions)]
    if fitted.choice is not None and fitted.choice.per_vote:
        lines.append(f"Map: {fitted.choice.recipe}.")
        lines.append(verdict(fitted.choice.gain["human"], bool(fitted.annotators)))
        held = ", ".join(f"{name} {value[0]:.3f}" for name, value in fitted.choice.per_vote.items())
        lines.append(f"Log-likelihood of held-out votes, nats a vote, on speakers not fitted on: {held}.")
    elif fitted.method == "posterior":
        lines.append("There is only one speaker: what the annotators gain on others could not be measured.")
    return "\n".join(lines)


def _votes(interval: tuple[float, float, float]) -> str:
    value, low, high = interval
    return f"{value:.2f}" if not np.isfinite(low) else f"{value:.2f} [{low:.2f}, {high:.2f}]"


def verdict(gain: tuple[float, float, float], spoken: bool = True) -> str:
    """In words, whether the annotators help on speakers that were not fitted on, beside what people said.

    Example:
        >>> verdict((0.087, 0.075, 0.1))
        'The annotators help: +0.087 nats a vote [0.075, 0.100] over human votes alone.'
    """
    value, low, high = gain
    told = f"{value:+.3f} nats a vote [{low:.3f}, {high:.3f}]"
    if not spoken:
        return "There are no annotators: the targets are human votes, smoothed."
    if low > 0:
        return f"The annotators help: {told} over human votes alone."
    if high < -_TINY:
        return f"The annotators do harm: {told} against human votes alone. Mend: leave them out."
    return f"Whether the annotators help cannot be told: {told} over human votes alone."


def confusions(table: FloatArray, emotions: Sequence[str]) -> list[str]:
    """What listeners hear where an annotator says an emotion, in words: the two most frequent.

    Example:
        >>> confusions(np.array([[0.7, 0.3], [0.1, 0.9]]), ["happy", "sad"])
        ['"happy" is heard as happy 70 %, sad 30 %', '"sad" is heard as sad 90 %, happy 10 %']
    """
    lines = []
    for name, row in zip(emotions, table, strict=True):
        order = np.argsort(-row, kind="stable")[:2]
        lines.append(f'"{name}" is heard as ' + ", ".join(f"{emotions[k]} {100 * row[k]:.0f} %" for k in order))
    return lines
