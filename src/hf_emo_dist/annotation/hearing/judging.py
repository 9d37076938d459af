"""Whether answers follow the audio, as a pure function of the answers.

Each clip was asked about with its own audio by several members of the panel, and by some of them again, word for word,
with another row's audio and with silence. The agreement of two answers is the overlap of their shares,
sum_k min(p_k, q_k): 1 or 0 for two labels. For a member j of clip i, G_ij(x) is the mean agreement of an answer x with
the answers of the other members to the clip's own audio, and over the members that were tested

- T_i = mean of G_ij(own) - G_ij(swapped): what the own audio does for the agreement;
- B_i = mean of G_ij(own) - G_ij(own answers to the other clips): what the clip as a whole does, its words included.

Who does not hear answers alike whatever the audio: given the words, a member's own and swapped answers can change
places. So the sum of T_i under all such permutations within clip and member gives an exact p-value, whatever the noise,
however much members differ, and whichever rows lent their audio. Who hears nothing has a mean T of 0, also where B is
large, because the words decide.

That compares members with each other, and says nothing of a server whose members answer by their own prompts: the first
emotion on the list, a hash, a cache that knows texts alone. So the answers of one member to the same words are compared
too. The audio is heard in a clip where it changes answers; three ways to see that it does in none:

- each answer to other audio and to silence is the very same as to the own audio. With who hears, so that the audio
  changes answers in a share r of the clips, n clips are like that with probability (1 - r)^n;
- where members agree about a clip but for some noise, in no clip most of those that were tested agree, with one of the
  other audios, on another answer than most gave to the own one. With a probability of q that a change shows like that,
  which the agreement about one clip tells, (1 - r q)^n;
- where they do not agree, the tested members answer the very same question again (`ClipAnswers.again`), and these
  replicates tell the noise: D_i = mean agreement of a member's answers to the own audio with each other, less that of
  them with its answers to other audio, has an upper bound below `CHANGES_AGAIN`. Replicates never show that anybody
  hears: a cache would answer them from memory.

Read-outs are not drawn. Their T and its p-value are as above; and only who gives the very same one to other audio and
to silence, in every clip, does not hear: a model that is unsure of everything changes little, and hears.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import NormalDist
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

__all__ = ["ALPHA", "ClipAnswers", "Finding", "judge"]

FloatArray = NDArray[np.float64]
Shares = Sequence[float]

#: Risk that who hears nothing is said to hear, over all looks at the answers.
ALPHA = 0.05
#: Risk that who hears (at least as much as the margins below) is said not to, over all looks.
ALPHA_NO = 0.01
#: With fewer clips nobody is said not to hear: a change that one clip in four would show is missed by 16 in 1 of 100.
LEAST_CLIPS = 16
#: An annotator is said not to hear where the mean T is surely below this share of the mean B (of what the clip does for
#: its answers the audio has no such part), where the clip does something at all …
MARGIN_OF_CLIP, OF_CLIP = 0.2, 0.1
#: … or surely below this, where its answers to one clip agree so far that more would have been seen.
MARGIN, AGREE = 0.1, 0.75
#: The same where it is not known that the clips are of different emotions: then who hears may answer alike, too.
MARGIN_UNKNOWN = 0.05
_DRAWS = 9_999
#: Who hears changes answers with the audio in three clips of ten at least, where noise may hide some of it …
CHANGES = 0.3
#: … and, where replicates tell the noise, about one answer in five; half of that with `MARGIN_UNKNOWN`.
CHANGES_AGAIN = 0.18
#: Answers about one clip agree at least so far where that of most members is called the clip's.
AGREE_ON = 0.7
#: With other audio so many answers stay the same at least where replicates are worth their price.
STAY = 0.7
#: Answers about different clips agree at most so far, or they may stay the same because the clips are alike.
VARIED = 0.6
# A swapped question that brings no vote where the clip's own does may be a sign of hearing: silence can be refused.
_MOST_MISSING = 0.2


@dataclass(frozen=True)
class ClipAnswers:
    """The answers about one clip, as shares over the emotions; by member of the panel, None where no vote came."""

    own: Mapping[int, Shares | None]
    other: Mapping[int, Shares | None] = field(default_factory=dict)  # with another row's audio
    silence: Mapping[int, Shares | None] = field(default_factory=dict)
    again: Mapping[int, Sequence[Shares]] = field(default_factory=dict)  # own audio, the very same question again
    alike: bool = False  # whether people heard the same emotion in both audios, so that who hears may answer alike

    def swapped(self, member: int) -> list[Shares]:
        """A member's answers to what is not the clip."""
        return [vote for votes in (self.other, self.silence) if (vote := votes.get(member)) is not None]


@dataclass(frozen=True)
class Finding:
    """What answers say.

    Attributes:
        verdict: ``"hears"``, ``"does not hear"`` or ``"undecided"``.
        p_value: Of the hypothesis that the audio does not matter; None where nothing could be compared.
        effect: Mean T: by how much more answers agree where both heard the clip.
        of_clip: Mean B: what of the agreement is the clip's, its words included.
        at_most: Upper bound of the mean T, at the level of a verdict "does not hear"; None with few clips.
        stay: Share of a member's own answers that stay the same when only the audio changes (their overlap).
        stay_again: The same when nothing changes: of the very same question again; None where it was not asked.
        clips: That could be compared.
        agreement: ``"own"``, ``"other"``, ``"silence"``, ``"other clips"`` to the mean agreement with answers to the
            own audio.
        answers: The same keys, but ``"other clips"``, to how many answers these are.
    """

    verdict: Literal["hears", "does not hear", "undecided"]
    p_value: float | None = None
    effect: float | None = None
    of_clip: float | None = None
    at_most: float | None = None
    stay: float | None = None
    stay_again: float | None = None
    clips: int = 0
    agreement: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, int] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        """All but the verdict."""
        return {name: value for name, value in vars(self).items() if name != "verdict"}


def judge(
    clips: Sequence[ClipAnswers],
    alpha: float = ALPHA,
    alpha_no: float = ALPHA_NO,
    margin: float = MARGIN,
    same: float | None = None,
) -> Finding:
    """Judge the answers of one look.

    Args:
        clips: At least 8, better 20.
        alpha: Risk of a false "hears" of this look.
        alpha_no: Risk of a false "does not hear" of this look.
        margin: `MARGIN`, or `MARGIN_UNKNOWN`.
        same: Of read-outs: by how much shares of equal ones may differ, for the rounding of a computation. Nothing is
            drawn there, so who does not hear gives the same whatever the audio, and who gives another one is not said
            not to hear, however little it differs; None for answers that are drawn.

    Example:
        >>> label = {"angry": (1.0, 0.0), "sad": (0.0, 1.0)}
        >>> deaf = [ClipAnswers({0: label["sad"], 1: label["sad"]}, {0: label["sad"]}, {0: label["sad"]})] * 20
        >>> judge(deaf).verdict
        'does not hear'
        >>> hears = [ClipAnswers({0: label["sad"], 1: label["sad"]}, {0: label["angry"]}, {0: label["angry"]})] * 20
        >>> judge(hears).verdict
        'hears'
    """
    tested = [_Clip(clip) for clip in clips]
    tested = [clip for clip in tested if clip.members]
    counted = {
        "own": sum(vote is not None for clip in clips for vote in clip.own.values()),
        "other": sum(vote is not None for clip in clips for vote in clip.other.values()),
        "silence": sum(vote is not None for clip in clips for vote in clip.silence.values()),
    }
    if not tested:
        return Finding("undecided", answers=counted)
    effects = np.array([clip.effect() for clip in tested])
    of_clip = np.array([clip.agreement("own") for clip in tested]) - _by_chance(tested)
    own = float(np.mean([clip.agreement("own") for clip in tested]))
    means = {"own": own}
    for name in ("other", "silence"):
        found = [value for clip in tested if not math.isnan(value := clip.agreement(name))]
        if found:
            means[name] = float(np.mean(found))
    if len(tested) > 1:
        means["other clips"] = own - float(of_clip.mean())
    p_value = _p_value(tested, float(effects.sum()))
    asked = sum(len(clip.other) + len(clip.silence) for clip in clips)
    missing = 1 - (counted["other"] + counted["silence"]) / asked
    at_most, verdict = None, "undecided"
    if same is not None:
        if len(tested) >= LEAST_CLIPS and missing == 0 and all(clip.unchanged(same) for clip in tested):
            verdict = "does not hear"  # whatever rounding is worth
    elif len(tested) >= LEAST_CLIPS:
        at_most = _upper(effects, alpha_no)
        alike = own >= AGREE and at_most < margin
        alike |= of_clip.mean() >= OF_CLIP and _upper(effects - MARGIN_OF_CLIP * of_clip, alpha_no) < 0
        varied = means["other clips"] <= VARIED
        if varied or margin > MARGIN_UNKNOWN:
            alike |= _same_whatever_the_audio(tested, own, alpha_no, CHANGES_AGAIN * margin / MARGIN)
        # Where all answers are alike, only clips can tell that are not.
        alike &= varied or sum(not clip.alike for clip in tested) >= LEAST_CLIPS
        if alike and missing <= _MOST_MISSING and p_value > alpha:
            verdict = "does not hear"
    if p_value <= alpha and verdict == "undecided":
        verdict = "hears"
    return Finding(
        verdict,  # type: ignore[arg-type]
        p_value,
        float(effects.mean()),
        float(of_clip.mean()) if len(tested) > 1 else None,
        at_most,
        float(np.mean([clip.stay() for clip in tested])),
        float(np.mean(again)) if (again := [v for clip in tested if not math.isnan(v := clip.stay_again())]) else None,
        len(tested),
        means,
        counted,
    )


class _Clip:
    """One clip whose answers can be compared: overlaps of all answers with all others', worked out once."""

    def __init__(self, clip: ClipAnswers) -> None:
        own = {j: np.asarray(vote, dtype=np.float64) for j, vote in clip.own.items() if vote is not None}
        #: Member to its answers, that to the own audio first; of members that were not tested, that alone.
        self.votes: dict[int, FloatArray] = {}
        self.names: dict[int, list[str]] = {}
        for j, vote in own.items():
            names = [name for name in ("other", "silence") if getattr(clip, name).get(j) is not None]
            self.votes[j] = np.stack([vote, *(np.asarray(getattr(clip, name)[j], dtype=np.float64) for name in names)])
            self.names[j] = ["own", *names]
        self.members = [j for j in own if len(self.votes[j]) > 1] if len(own) > 1 else []
        self.alike = clip.alike
        self.again = {j: np.asarray(clip.again[j], dtype=np.float64) for j in self.members if clip.again.get(j)}

    def pairs(self) -> Iterator[tuple[int, int, FloatArray]]:
        """Tested member, another member, and the overlaps of all answers of the one with all of the other."""
        for j in self.members:
            for k in self.votes:
                if k != j:
                    yield j, k, _overlap(self.votes[j][:, None], self.votes[k][None])

    def agreement(self, name: str) -> float:
        """Mean agreement of the tested members' answers of one kind with the others' to the own audio; NaN: none."""
        found = []
        for j in self.members:
            if name in self.names[j]:
                place = self.names[j].index(name)
                with_others = [_overlap(self.votes[j][place], self.votes[k][0]) for k in self.votes if k != j]
                found.append(float(np.mean(with_others)))
        return float(np.mean(found)) if found else math.nan

    def unchanged(self, same: float = 1e-9) -> bool:
        """Whether each tested member's answers are the same, whatever the audio."""
        return all(np.abs(self.votes[j] - self.votes[j][0]).max() < same for j in self.members)

    def stay(self) -> float:
        """Mean agreement of the tested members' answers to other audio with their own to the own one."""
        return float(np.mean([_overlap(self.votes[j][1:], self.votes[j][0]).mean() for j in self.members]))

    def stay_again(self) -> float:
        """The same of their answers to the same question again; NaN: none."""
        found = [_pairs(np.concatenate([self.votes[j][:1], again])) for j, again in self.again.items()]
        return float(np.mean(found)) if found else math.nan

    def beyond_noise(self) -> float:
        """D of this clip; NaN where nothing was asked again."""
        found = []
        for j, again in self.again.items():
            same = np.concatenate([self.votes[j][:1], again])
            found.append(_pairs(same) - float(_overlap(same[:, None], self.votes[j][None, 1:]).mean()))
        return float(np.mean(found)) if found else math.nan

    def most_agree_on_another(self) -> bool:
        """Whether with one of the other audios most of the tested members gave the same other answer than the clip's,
        which is what most members answered to it."""
        usual = Counter(int(votes[0].argmax()) for votes in self.votes.values()).most_common()
        of_clip = {answer for answer, count in usual if count == usual[0][1]}
        for name in ("other", "silence"):
            told = Counter(self._said(j, name) for j in self.members if name in self.names[j])
            if any(2 * count > told.total() and answer not in of_clip for answer, count in told.items()):
                return True
        return False

    def _said(self, member: int, name: str) -> int:
        return int(self.votes[member][self.names[member].index(name)].argmax())

    def effect(self) -> float:
        """T of this clip."""
        return float(self.effects(np.zeros((1, len(self.members)), dtype=np.intp))[0])

    def effects(self, chosen: NDArray[np.intp]) -> FloatArray:
        """T, (D,), where `chosen`, (D, tested members), says which answer of each is taken for the own one."""
        place = {j: chosen[:, column] for column, j in enumerate(self.members)}
        nothing = np.zeros(len(chosen), dtype=np.intp)
        total = np.zeros(len(chosen))
        for j, k, overlaps in self.pairs():
            of_k = overlaps[:, place.get(k, nothing)]  # (answers of j, D)
            as_own = of_k[place[j], np.arange(len(chosen))]
            others = (of_k.sum(axis=0) - as_own) / (len(overlaps) - 1)
            total += as_own - others
        return total / (len(self.members) * (len(self.votes) - 1))


def _same_whatever_the_audio(clips: Sequence[_Clip], own: float, alpha: float, margin: float) -> bool:
    """Whether the audio changes answers in no clip, in one of the three ways; `margin` is that of the third.

    The first needs no `alpha`: who is not found by it at one look is not at the next, which has the same answers and
    more. So its risk is one whatever the number of looks, 0.3 % with 20 clips and a change in one of four.
    """
    if all(clip.unchanged() for clip in clips):
        return True
    if not all((votes.max(axis=1) > 1 - 1e-9).all() for clip in clips for votes in clip.votes.values()):
        return False  # shares: by their overlap, as the mean T has it
    tested = min(len(clip.members) for clip in clips)
    if own >= AGREE_ON and tested > 1:
        seen = own if tested == 2 else math.sqrt(own)  # both must agree, or most of several
        if (1 - CHANGES * seen) ** len(clips) <= alpha and not any(clip.most_agree_on_another() for clip in clips):
            return True
    beyond_noise = np.array([value for clip in clips if not math.isnan(value := clip.beyond_noise())])
    return len(beyond_noise) >= LEAST_CLIPS and _upper(beyond_noise, alpha) < margin


def _overlap(p: FloatArray, q: FloatArray) -> FloatArray:
    return np.minimum(p, q).sum(axis=-1)


def _pairs(answers: FloatArray) -> float:
    """Mean agreement of answers with each other."""
    first, second = np.triu_indices(len(answers), 1)
    return float(_overlap(answers[first], answers[second]).mean())


def _by_chance(clips: Sequence[_Clip]) -> FloatArray:
    """For each clip, the mean agreement of the same members' answers to other clips with its own answers."""
    chance = np.zeros(len(clips))
    for i, clip in enumerate(clips):
        found = []
        for j in clip.members:
            elsewhere = [other.votes[j][0] for other in clips if other is not clip and j in other.votes]
            here = [clip.votes[k][0] for k in clip.votes if k != j]
            if elsewhere:
                found.append(_overlap(np.stack(elsewhere)[:, None], np.stack(here)[None]).mean())
        chance[i] = np.mean(found) if found else clip.agreement("own")
    return chance


def _p_value(clips: Sequence[_Clip], observed: float) -> float:
    """One-sided; by draws of permutations, the same for the same answers."""
    rng = np.random.default_rng(20)
    total = np.zeros(_DRAWS)
    for clip in clips:
        sizes = [len(clip.votes[j]) for j in clip.members]
        total += clip.effects(np.stack([rng.integers(size, size=_DRAWS) for size in sizes], axis=1))
    return float((1 + np.count_nonzero(total >= observed - 1e-9)) / (1 + _DRAWS))


def _upper(values: FloatArray, alpha: float) -> float:
    """Upper bound of a mean at the level 1 - alpha, by Student's t."""
    spread = float(values.std(ddof=1)) / math.sqrt(len(values))
    return float(values.mean()) + _t_quantile(1 - alpha, len(values) - 1) * spread


def _t_quantile(p: float, df: int) -> float:
    """Student's quantile, by the expansion of Abramowitz and Stegun 26.7.5; to 0.5 % from 15 degrees of freedom."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / df ** (power + 1) for power, term in enumerate(terms))
