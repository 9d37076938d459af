"""Asking for a hearing test: look after look at more answers, until they say something or are enough.

The questions are ordinary jobs: sent, paced, capped, judged and kept like all others, each under its natural key.
Answers to a clip's own audio are those that the run buys anyway.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

from ...audio.clips import audio_hash
from ...audio.decoding import AudioError, BadClip
from ..ledger.run_ledger import RunLedger
from ..reading import Utterance
from ..run.jobs import Job, RunSettings
from ..types import OK, PanelMember, Record
from .clips import silence
from .judging import AGREE_ON, ALPHA, ALPHA_NO, MARGIN, STAY, ClipAnswers, Finding, Shares, judge

#: Clips of a test, and with how many there is one at all.
CLIPS, LEAST = 20, 8
#: Members that are asked with other audio too, look after look.
_TESTED = (1, 2, 4, 8)
#: Requests of its own that a test may take: so many a clip, but not more than the run; of a large run, this share.
_A_CLIP, _SHARE = 4, 0.05
#: How often a member is asked the very same question again, where that is to tell its noise.
AGAIN = 2
# Of the risks, what earlier looks may take; the last one has the rest.
_FIRST_ALPHA, _ALPHA, _ALPHA_NO = 0.005, 0.01, 0.0025

# Shares of read-outs that differ by less are the same, in float32 and in half precision (or where it is not known).
_EXACT, _HALF = 1e-4, 0.05

#: The jobs of some members about an utterance.
JobsOf = Callable[[Utterance, Sequence[PanelMember]], list[Job]]
#: A job once more: the same question under a key of its own, numbered.
JobAgain = Callable[[Job, int], Job]


@dataclass(frozen=True)
class Look:
    """What is known when answers are looked at: so many clips, `tested` members with other audio, `own` with theirs; of
    each of the tested ones' answers to the latter, `again` replicates."""

    clips: int
    tested: int
    own: int
    alpha: float
    alpha_no: float
    again: int = 0


@dataclass(frozen=True)
class Trial:
    """One clip of the test: its utterance, the row whose audio stands in for its own, and the clip's duration."""

    utterance: Utterance
    other: Utterance
    seconds: float
    alike: bool = False  # whether people heard the same emotion in both


def looks(clips: int, panel: int, replies: int, again: bool = False) -> list[Look]:
    """The looks at a test of so many clips by a panel of so many members, in a run of so many replies; none where that
    is smaller than the test would be. `again`: with replicates once all clips were looked at."""
    most = max(min(_A_CLIP * clips, replies), _SHARE * replies)
    sizes = [(min(LEAST, clips), 1), *((clips, min(tested, panel)) for tested in _TESTED)]
    sizes = [(number, tested) for number, tested in dict.fromkeys(sizes) if 2 * number * tested <= most]
    repeats = [0] * len(sizes)
    if again:
        first = [size for size in sizes if size[1] == 1]
        second = [size for size in sizes if size[0] == clips and (2 + AGAIN) * size[0] * size[1] <= most]
        sizes, repeats = first + second, [0] * len(first) + [AGAIN] * len(second)
    last = len(sizes) - 1
    spent = _FIRST_ALPHA + _ALPHA * (last - 1) if last else 0.0
    # Looks with replicates share what is left after the one at all clips without.
    each_no = [(ALPHA_NO - _ALPHA_NO) / sum(map(bool, repeats)) if more else _ALPHA_NO for more in repeats]
    spent_no = sum(each_no[1:last])
    return [
        Look(
            number,
            tested,
            min(panel, 3 * tested),
            ALPHA - spent if place == last else _ALPHA if place else _FIRST_ALPHA,
            ALPHA_NO - spent_no if place == last else each_no[place],
            repeats[place],
        )
        for place, (number, tested) in enumerate(sizes)
    ]


def trials_of(
    pairs: Sequence[tuple[Utterance, Utterance]],
    alike: Sequence[bool],
    number: int,
    heard_s: Callable[[Utterance], float],
) -> list[Trial]:
    """The first `number` pairs whose clips can be sent and are not the same; `heard_s` tells how much would be."""
    trials: list[Trial] = []
    for (utterance, other), is_alike in zip(pairs, alike, strict=True):
        try:
            heard_s(other)
            if len(trials) < number and audio_hash(utterance.audio) != audio_hash(other.audio):
                trials.append(Trial(utterance, other, heard_s(utterance), is_alike))
        except (AudioError, BadClip):  # the run tells of it
            continue
    return trials


def askable(panel: Sequence[PanelMember]) -> list[PanelMember]:
    """The members whose answers are compared: of one mode, at least two; a single one gets a second of its kind.

    Read-outs first: nothing is drawn there. Then labels, then stated distributions.
    """
    modes = ("readout", "label", "distribution")
    by_mode = [[member for member in panel if member.mode == mode] for mode in modes]
    members = next((some for some in by_mode if len(some) > 1), None) or next(filter(None, by_mode), list(panel))
    if len(members) == 1:
        members = [members[0], replace(members[0], replicate=members[0].replicate + 1)]
    return members


def wants_again(found: Finding, look: Look, left: Sequence[Look]) -> bool:
    """Whether replicates tell more from here than further members: the answers mostly stay the same with other audio,
    and members differ among themselves, so that these do not tell the noise."""
    if not left or look.clips < left[-1].clips or look.tested > 1 or look.again or found.stay is None:
        return False
    return found.stay >= STAY and found.agreement["own"] < AGREE_ON


class Questions:
    """The jobs of one test, by clip, member and audio."""

    def __init__(
        self,
        trials: Sequence[Trial],
        members: Sequence[PanelMember],  # who is asked
        panel: Sequence[PanelMember],  # whose answers the run wants
        jobs_of: JobsOf,
        plan: str,  # of replies that are no vote of the panel's
        again: JobAgain,
    ) -> None:
        self._trials, self._members = trials, members
        self.alike = [trial.alike for trial in trials]
        self._wanted = [member in panel for member in members]
        self._jobs_of, self._plan, self._again = jobs_of, plan, again

    def of(self, look: Look) -> Iterator[tuple[int, int, str, Job]]:
        """Those of a look: clip, member, kind (``"own"``, ``"other"``, ``"silence"`` or ``"again"``), and the job."""
        for clip, trial in enumerate(self._trials[: look.clips]):
            for job, member in self._asked(trial.utterance, self._members[: look.own]):
                if not self._wanted[member]:
                    job.plan = self._plan
                yield clip, member, "own", job
                for number in range(look.again if member < look.tested else 0):
                    repeated = self._again(job, number)
                    repeated.plan = self._plan
                    yield clip, member, "again", repeated
            yield from ((clip, *question) for question in self._swapped(trial, self._members[: look.tested]))

    def _swapped(self, trial: Trial, members: Sequence[PanelMember]) -> Iterator[tuple[int, str, Job]]:
        asked, other = trial.utterance, trial.other
        ordinary = {member: job for job, member in self._asked(other, members)}
        row_id = f"{asked.row_id} with the audio of {other.row_id}"
        for job, member in self._asked(replace(asked, audio=other.audio, row_id=row_id), members):
            # Where the words are the same, it is the other row's own question, which the run asks anyway.
            if self._wanted[member] and member in ordinary and ordinary[member].key == job.key:
                job = ordinary[member]
            else:
                job.plan = self._plan
            yield member, "other", job
        quiet = replace(asked, audio=silence(trial.seconds, asked.row_id), row_id=f"{asked.row_id} in silence")
        for job, member in self._asked(quiet, members):
            job.plan = self._plan
            yield member, "silence", job

    def _asked(self, utterance: Utterance, members: Sequence[PanelMember]) -> Iterator[tuple[Job, int]]:
        return ((job, member) for member, job in enumerate(self._jobs_of(utterance, members)))


def _rounding(records: Sequence[Record]) -> float | None:
    """By how much shares of equal read-outs may differ, by the precision that they were computed in; None of others.

    The same clip in another batch differs by some 1e-6 in float32, and by steps of the logits in half precision.
    """
    if not all(record.mode == "readout" for record in records):
        return None
    return _EXACT if all(record.settings.get("dtype") == "float32" for record in records) else _HALF


def ask(
    questions: Questions,
    plan: Sequence[Look],
    plan_again: Sequence[Look],
    ledger: RunLedger,
    settings: RunSettings,
    shares_of: Callable[[Record], Shares | None],
    send: Callable[[list[Job]], bool],
    margin: float = MARGIN,
) -> tuple[Finding | None, Look, list[Record]]:
    """Ask, and look, until there is a finding.

    Args:
        questions: The jobs.
        plan: The looks.
        plan_again: Those that follow where replicates are to tell the noise.
        ledger: Where replies are.
        settings: Of the run, which say what is asked for again.
        shares_of: What a reply says of the emotions.
        send: Gets replies into the ledger; False where that had to stop.
        margin: Of `judge`.

    Returns:
        The finding, None where sending had to stop before there was one; the look that it is of; and the records of
        all replies that the test alone needed.
    """
    found: Finding | None = None
    done = plan[0]
    of_test: dict[str, Record] = {}
    left = list(plan)
    while left:
        look = left.pop(0)
        asked = list(questions.of(look))
        keys = [job.key for *_, job in asked]
        there = ledger.lookup(keys)
        if any(job.key not in there or settings.asks_again(there[job.key]) for *_, job in asked):
            if not send([job for *_, job in asked]):
                break
            there = ledger.lookup(keys)
        votes: list[dict[str, dict[int, Shares | None]]] = [
            {"own": {}, "other": {}, "silence": {}} for _ in range(look.clips)
        ]
        again: list[dict[int, list[Shares]]] = [{} for _ in range(look.clips)]
        for clip, member, audio, job in asked:
            record = there.get(job.key)
            shares = None if record is None or record.outcome != OK else shares_of(record)
            if audio != "again":
                votes[clip][audio][member] = shares
            elif shares is not None:
                again[clip].setdefault(member, []).append(shares)
            if job.plan is not None and record is not None:
                of_test[job.key] = record
        clips = [
            ClipAnswers(**one, again=more, alike=alike)
            for one, more, alike in zip(votes, again, questions.alike, strict=False)
        ]
        same = _rounding([there[key] for key in keys if key in there])
        found, done = judge(clips, look.alpha, look.alpha_no, margin, same), look
        if found.verdict != "undecided":
            break
        if same is None and wants_again(found, look, left):
            left = [later for later in plan_again if later.again]
    return found, done, list(of_test.values())
