"""Who got votes of a service lately and who did not, asked how, since when. What tells a clip's failure from all's.

A clip is compared with other clips that were asked about alike (`Job.voice`: the same member of the panel): where they
get votes, it is the clip; where none of them does, and other members do, it is the member; where nobody does, it is the
service. It lives as long as its annotator, so that batches that follow one another share it. What other processes have
seen is in the ledger (`Ledger.answered_since`, `Ledger.unanswered`).
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from typing import Any

#: A `jobs.Job`, of which only its clip, its voice and the time of its last request are looked at here.
Job = Any
#: A `PanelMember`, but for its number among those that are alike.
Voice = Any

#: Tries of which the failure rate is taken.
WINDOW = 200
#: Requests, about so many clips, of which it is taken at the end of a run that has fewer tries.
LEAST_REQUESTS, LEAST_CLIPS = 20, 8
#: Clips without a vote, and nobody got one who was asked later, from which on nothing is sent until it is clear why.
DOUBTED = 8
#: Others that must have been answered meanwhile, before a job that stands apart is asked again in the midst of a run.
OTHERS = 3
_REMEMBERED = 64
# Where a control was answered, twice as many clips are waited for before the next one, up to so many times as many.
_MOST_DOUBTED = 8


@dataclass
class Pace:
    """What was learnt of a service's speed. It outlives a batch."""

    allowed: float = 0.0  # requests in flight; 0 before the first batch
    climbing: bool = True  # until the first sign that the service has enough
    fastest_s: float | None = None  # mean latency of the fastest round
    usual: float = 0.0  # the share that is refused however few are in flight


@dataclass
class Try:
    """What came of one try."""

    key: str
    clip: str
    failed: bool
    decided: bool  # False where it is sent again


class Evidence:
    """Who got a vote and who did not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.tries: deque[Try] = deque(maxlen=WINDOW)
        #: Members that are not asked any more in this run, with the service's reason.
        self.barred: dict[Voice, str] = {}
        # Of each voice: clip to when the last request that got a vote was sent; and of the last vote.
        self._votes: dict[Voice, OrderedDict[str, float]] = {}
        self._last: dict[Voice, float] = {}
        # Of each voice: clips that got no vote, to when they were asked last; none that was asked before the last vote.
        self._missed: dict[Voice, dict[str, float]] = {}
        self._first = DOUBTED  # see `missed`
        self._controls = 0  # answered
        # Jobs that got a vote, by voice and clip: two, so that one is another clip's. Then those whose votes the ledger
        # has of another day: to be asked where none of today is there.
        self._answered_jobs: dict[Voice, OrderedDict[str, Job]] = {}
        self._stored_jobs: dict[Voice, OrderedDict[str, Job]] = {}
        self._strained: OrderedDict[str, float] = OrderedDict()  # clip to when it met an overloaded service
        self.pace = Pace()

    def begin(self, whole: bool) -> None:
        """Note that a run begins; `whole`: it goes on with no earlier batch."""
        self.barred.clear()
        self._controls = 0
        if whole:
            self.tries.clear()

    # --- what happened

    @property
    def ever(self) -> bool:
        """Whether anybody ever got a vote."""
        return bool(self._last)

    def answered(self, job: Job, sent: float) -> None:
        """Note that a request of `sent` got a vote."""
        clip, voice = job.audio_hash, job.voice
        votes = self._votes.setdefault(voice, OrderedDict())
        votes[clip] = max(sent, votes.pop(clip, 0.0))
        jobs = self._answered_jobs.setdefault(voice, OrderedDict())
        jobs[clip] = job
        jobs.move_to_end(clip)
        while len(jobs) > 2:
            jobs.popitem(last=False)
        self._voted(voice, sent)

    def answered_elsewhere(self, voice: Voice, clips: set[str]) -> None:
        """Note clips that another process has got votes of just now."""
        for clip in clips:
            self._votes.setdefault(voice, OrderedDict())[clip] = self.clock()
        if clips:
            self._voted(voice, self.clock())

    def _voted(self, voice: Voice, sent: float) -> None:
        self._last[voice] = last = max(sent, self._last.get(voice, sent))
        while len(self._votes[voice]) > _REMEMBERED:
            self._votes[voice].popitem(last=False)
        missed = self._missed.get(voice)
        if missed:
            self._missed[voice] = {clip: at for clip, at in missed.items() if at > last}

    def stored(self, job: Job) -> None:
        """Note a job whose vote the ledger has."""
        jobs = self._stored_jobs.setdefault(job.voice, OrderedDict())
        if job.audio_hash in jobs or len(jobs) < 2:
            jobs[job.audio_hash] = job

    def strain(self, clip: str) -> None:
        """Note a sign of overload."""
        self._strained.pop(clip, None)
        self._strained[clip] = self.clock()
        while len(self._strained) > _REMEMBERED:
            self._strained.popitem(last=False)

    def strained(self, clip: str, since: float) -> bool:
        """Whether other clips have met an overloaded service since then, so that it is not this one's doing."""
        return any(at > since for other, at in self._strained.items() if other != clip)

    def missed(self, job: Job, first: int = DOUBTED) -> None:
        """Note that a job has got no vote.

        Args:
            job: The job.
            first: From how many clips on this is not their doing, where nobody was ever answered.
        """
        self._first = max(self._first, first) if self.unanswered else first
        self._missed.setdefault(job.voice, {})[job.audio_hash] = job.sent

    def settled(self) -> None:
        """Note that a control was answered: what had no vote before is its clips' doing."""
        self._controls += 1

    # --- what follows from it

    @property
    def unanswered(self) -> set[str]:
        """Clips without a vote, asked by members that are still asked, later than anybody who got one."""
        last = max(self._last.values(), default=float("-inf"))
        missed = (found for voice, found in self._missed.items() if voice not in self.barred)
        return {clip for found in missed for clip, at in found.items() if at > last}

    def without_vote(self, voice: Voice) -> set[str]:
        """Clips without a vote, asked later than those that got one of this voice."""
        return set(self._missed.get(voice, ()))

    @property
    def _doubted(self) -> int:
        return DOUBTED * min(2**self._controls, _MOST_DOUBTED)

    @property
    def early(self) -> bool:
        """Whether nobody was ever answered, and what came is hardly a clip's: one is asked after another."""
        return not self.ever and self._first < DOUBTED and bool(self.unanswered)

    @property
    def doubt(self) -> bool:
        """Whether so many have had no vote that nothing more is to be sent until it is clear why."""
        return self.early or len(self.unanswered) >= self._doubted or bool(self.doubted_voices())

    def doubted_voices(self) -> list[Voice]:
        """Members that gave so many clips no vote."""
        found = (voice for voice, missed in self._missed.items() if len(missed) >= self._doubted)
        return [voice for voice in found if voice not in self.barred]

    @property
    def condemned(self) -> bool:
        """Whether these are too many to be their clips' doing, where nobody else could be asked."""
        return len(self.unanswered) >= (DOUBTED if self.ever else self._first)

    def others(self, job: Job, since: float) -> int:
        """How many other clips got votes by requests like this one that were sent after `since`; up to 64."""
        votes: Mapping[str, float] = self._votes.get(job.voice, {})
        return sum(sent > since for other, sent in votes.items() if other != job.audio_hash)

    def elsewhere(self, voice: Voice) -> bool:
        """Whether other members got votes, asked later than the first clip that this one gave none."""
        first = min(self._missed.get(voice, {}).values(), default=float("inf"))
        return any(last > first for other, last in self._last.items() if other != voice)

    def control(self, clips: Container[str], voice: Voice | None = None, but: Voice | None = None) -> Job | None:
        """A job of none of these clips that got a vote, to ask once more whether anybody does.

        Args:
            clips: The clips.
            voice: Of which it is to be; None for any.
            but: Of which it is not to be.
        """
        for jobs in (self._answered_jobs, self._stored_jobs):
            for other, found in reversed(jobs.items()):
                if other in self.barred or other == but or voice not in (None, other):
                    continue
                for clip, job in reversed(found.items()):
                    if clip not in clips:
                        return job
        return None

    def failure_rate(self, at_end: bool = False) -> float:
        """The share of the last `WINDOW` tries that failed, 0 until there are so many; at the end of a run, of the
        requests among the last tries, however often they were sent."""
        if not at_end:
            return sum(one.failed for one in self.tries) / WINDOW if len(self.tries) == WINDOW else 0.0
        last = {one.key: one for one in self.tries if one.decided}
        if len(last) < LEAST_REQUESTS or len({one.clip for one in last.values()}) < LEAST_CLIPS:
            return 0.0
        return sum(one.failed for one in last.values()) / len(last)
