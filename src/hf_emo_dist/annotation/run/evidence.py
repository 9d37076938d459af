"""What a service has answered and what not, lately: by which clips, since when. What tells a clip's failure from all's.

It lives as long as its annotator, so that batches that follow one another share it. What other processes have seen is
in the ledger (`Ledger.answered_since`, `Ledger.unanswered`).
"""

from __future__ import annotations

import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

#: A `jobs.Job`, of which only its clip is looked at here.
Job = Any

#: Tries of which the failure rate is taken.
WINDOW = 200
#: Clips without an answer, and nobody answered who was asked later, from which on nothing is sent until it is clear
#: whether anybody is answered.
DOUBTED = 8
#: The same where nobody was ever answered and what came (payment, permission, no such model) is hardly a clip's.
DOUBTED_EARLY = 2
#: Others that must have been answered meanwhile, before a job that stands apart is asked again in the midst of a run.
OTHERS = 3
_REMEMBERED = 64


@dataclass
class Pace:
    """What was learnt of a service's speed. It outlives a batch."""

    allowed: float = 0.0  # requests in flight; 0 before the first batch
    climbing: bool = True  # until the first sign that the service has enough
    fastest_s: float | None = None  # mean latency of the fastest round
    usual: float = 0.0  # the share that is refused however few are in flight


class Evidence:
    """Who was answered and who was not."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        #: Clips that have had no answer since somebody was last answered who was asked after the first of them.
        self.unanswered: set[str] = set()
        self._since = 0.0  # the first of them
        self.early = False  # whether all of them met what is hardly a clip's
        self.tries: deque[bool] = deque(maxlen=WINDOW)  # whether each failed
        #: Clip to a job that was answered; two, so that one is another clip's.
        self.answered_jobs: OrderedDict[str, Job] = OrderedDict()
        #: The same for jobs whose answers the ledger has of another day: to be asked where none of today is there.
        self.stored_jobs: OrderedDict[str, Job] = OrderedDict()
        self._sent: OrderedDict[str, float] = OrderedDict()  # clip to when its last answered request was sent
        self._strained: OrderedDict[str, float] = OrderedDict()  # clip to when it met an overloaded service
        self.pace = Pace()

    @property
    def ever(self) -> bool:
        """Whether anybody was ever answered."""
        return bool(self._sent)

    def answered(self, job: Job, sent: float) -> None:
        """Note that a request of `sent` was answered."""
        clip = job.audio_hash
        self._sent[clip] = max(sent, self._sent.pop(clip, 0.0))
        self.answered_jobs[clip] = job
        self.answered_jobs.move_to_end(clip)
        for found, most in ((self._sent, _REMEMBERED), (self.answered_jobs, 2)):
            while len(found) > most:
                found.popitem(last=False)
        if self.unanswered and sent > self._since:
            self.unanswered.clear()

    def stored(self, job: Job) -> None:
        """Note a job whose answer the ledger has."""
        if job.audio_hash in self.stored_jobs or len(self.stored_jobs) < 2:
            self.stored_jobs[job.audio_hash] = job

    def answered_elsewhere(self, clips: set[str]) -> None:
        """Note clips that another process has got answers to just now."""
        for clip in clips:
            self._sent[clip] = self.clock()

    def strain(self, clip: str) -> None:
        """Note a sign of overload."""
        self._strained.pop(clip, None)
        self._strained[clip] = self.clock()
        while len(self._strained) > _REMEMBERED:
            self._strained.popitem(last=False)

    def strained(self, clip: str, since: float) -> bool:
        """Whether other clips have met an overloaded service since then, so that it is not this one's doing."""
        return any(at > since for other, at in self._strained.items() if other != clip)

    def missed(self, job: Job, early: bool) -> None:
        """Note that a job has got no answer; `early` where the reason is hardly its clip's."""
        if not self.unanswered:
            self._since, self.early = self.clock(), True
        self.early &= early
        self.unanswered.add(job.audio_hash)

    @property
    def doubt(self) -> bool:
        """Whether so many have had no answer that nothing more is to be sent until it is clear why."""
        return len(self.unanswered) >= (1 if self.early and not self.ever else DOUBTED)

    @property
    def condemned(self) -> bool:
        """Whether these are too many to be their clips' doing, where nobody else could be asked."""
        return len(self.unanswered) >= (DOUBTED_EARLY if self.early and not self.ever else DOUBTED)

    def others(self, clip: str, since: float) -> int:
        """How many other clips were answered by requests that were sent after `since`; up to 64."""
        return sum(sent > since for other, sent in self._sent.items() if other != clip)

    def control(self, clips: set[str]) -> Job | None:
        """A job of none of these clips that was answered, to ask once more whether anybody is."""
        candidates = [*reversed(self.answered_jobs.items()), *self.stored_jobs.items()]
        return next((job for clip, job in candidates if clip not in clips), None)

    def failure_rate(self) -> float:
        """The share of the last tries that failed; 0 until there are `WINDOW` of them."""
        return sum(self.tries) / WINDOW if len(self.tries) == WINDOW else 0.0
