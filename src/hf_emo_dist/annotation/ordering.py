"""In which order replies are asked for: breadth first, so that a run that is cut short is a smaller run of its kind.

Every clip is asked about once before any is asked about twice, in an order that is drawn from (seed, row id). Whatever
ends the run, all clips then have as many votes, give or take one, of the same annotators.
"""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from ..audio.clips import audio_hash
from ..audio.decoding import AudioError
from .kept_on_disk import Heap, Keys
from .reading import Utterance, read_dataset, read_ids
from .run.jobs import Clip, Job
from .types import Backend, PanelMember, PreparedAudio

if TYPE_CHECKING:
    from datasets import Dataset

    from .run.run_report import RunReport

#: Room on the disk for clips that are ready to be sent, from the first round to the last: some 5,000 clips of 5 s as
#: FLAC. What goes beyond it is prepared anew for each round: 1.5 ms a clip at 16 kHz, 7 ms at 48 kHz in stereo, beside
#: the 4 ms that a client takes for a request.
KEPT_BYTES = 512 * 2**20
_BUNCH = 256


def random_order(ids: Sequence[str], seed: int) -> NDArray[np.int64]:
    """Positions of the ids in an order that depends on the seed and the ids alone.

    >>> random_order(["a", "b", "c"], 0).tolist() == [2 - i for i in random_order(["c", "b", "a"], 0).tolist()]
    True
    """
    drawn = np.empty(len(ids), "S32")
    for place, name in enumerate(ids):
        drawn[place] = hashlib.sha256(f"{seed} {name}".encode("utf-8", "surrogatepass")).digest()
    return np.argsort(drawn, kind="stable")


class ClipStore:
    """Clips as they are sent, kept in a file for later rounds up to a bound; what cannot be sent is looked at once."""

    def __init__(self, most_bytes: int = KEPT_BYTES) -> None:
        self._most_bytes, self._bytes, self._heap = most_bytes, 0, Heap()
        self._kept: dict[Any, tuple[int, int, str, float, str]] = {}  # where it lies, and what it is
        self._unusable: dict[Any, AudioError] = {}
        self._lock = threading.Lock()

    def get(self, name: Any, prepare: Callable[[], PreparedAudio], again: bool) -> PreparedAudio:
        """The clip of that name; `again`: it will be asked for once more. Raises the `AudioError` of `prepare`."""
        if name in self._unusable:
            raise self._unusable[name]
        with self._lock:
            kept = self._kept.get(name) if again else self._kept.pop(name, None)
            if kept is not None and not again:
                self._bytes -= kept[1]
        if kept is not None:
            place, size, mime, seconds, digest = kept
            return PreparedAudio(self._heap.get(place, size), mime, seconds, digest)
        try:
            found = prepare()
        except AudioError as error:
            self._unusable[name] = error
            raise
        size = len(found.data)
        with self._lock, contextlib.suppress(OSError):  # the disk is full: it is prepared again
            if again and name not in self._kept and self._bytes + size <= self._most_bytes:
                self._kept[name] = (self._heap.put(found.data), size, found.mime, found.seconds, found.digest)
                self._bytes += size
        return found


class Asks(Protocol):
    """What an `Annotator` is here."""

    backend: Backend
    members: tuple[PanelMember, ...]
    audio_column: str
    seed: int

    @property
    def clip_by_clip(self) -> bool:
        """Whether all members are asked about one clip before the next."""

    def jobs_about(
        self, utterance: Utterance, members: Sequence[PanelMember], clip: Clip, digest: str, sends: bool = True
    ) -> list[Job]:
        """One reply for each of these members."""


class Rounds:
    """The jobs of a whole data set for one model, a round a panel member; or clip by clip, where the backend answers a
    whole panel at once.

    Attributes:
        keys: For each row of the data set, the keys of its jobs so far, joined, in the order of the panel.
    """

    def __init__(self, annotator: Asks, dataset: Dataset, report: RunReport, store: ClipStore) -> None:
        self._annotator, self._dataset, self._report, self._store = annotator, dataset, report, store
        self._columns = annotator.backend.row_columns
        self._order = random_order(read_ids(dataset), annotator.seed)
        self._audio = dataset.select_columns([annotator.audio_column]).with_format("arrow")
        self._digests = Keys(len(dataset), 1)  # of those that can be asked about
        self._sends = True
        self.keys = Keys(len(dataset), len(annotator.members))
        self._jobs = self._clip_by_clip() if annotator.clip_by_clip else self._breadth_first()

    def groups(self) -> Iterator[list[Job]]:
        """The jobs, some at a time; what is left of them after a run that stopped."""
        return self._jobs

    def rest(self) -> Keys:
        """The keys of all jobs, those too that the run did not come to: the ledger may have their replies."""
        self._sends = False
        rows = self._report.rows
        for _ in self._jobs:
            pass
        self._report.rows = rows
        return self.keys

    def _breadth_first(self) -> Iterator[list[Job]]:
        members = self._annotator.members
        for number, utterance in self._read(self._order):
            yield self._of(number, utterance, 0, 1)
        for place in range(1, len(members)):
            bunch: list[Job] = []
            known = np.fromiter(map(bool, self._digests), bool, len(self._digests))
            wanted = self._order[known[self._order]]
            for number, utterance in self._read(wanted, with_audio=False):
                bunch += self._of(number, utterance, place, place + 1)
                if len(bunch) >= _BUNCH:
                    yield bunch
                    bunch = []
            yield bunch

    def _clip_by_clip(self) -> Iterator[list[Job]]:
        for number, utterance in self._read(self._order):
            yield self._of(number, utterance, 0, len(self._annotator.members))

    def _read(self, order: NDArray[np.int64], with_audio: bool = True) -> Iterator[tuple[int, Utterance]]:
        column = self._annotator.audio_column
        found = read_dataset(self._dataset, column, self._columns, order=order, with_audio=with_audio)
        return zip(map(int, order), found, strict=True)

    def _of(self, number: int, utterance: Utterance, first: int, last: int) -> list[Job]:
        """The jobs of some panel members about one row; none for a mixed row or a clip that cannot be read."""
        annotator, row_id = self._annotator, utterance.row_id
        if first == 0:
            self._report.rows += 1
            digest = None if utterance.mixed else self._digest(utterance)
            if digest is None:
                return []
            self._digests.add(number, 0, bytes.fromhex(digest))
        again = last < len(annotator.members)
        audio = utterance.audio  # only in the first round: it is not kept in memory for the others

        def prepare() -> PreparedAudio:
            clip = self._audio[number].column(annotator.audio_column).to_pylist()[0] if first else audio
            return annotator.backend.prepare(clip, row_id)

        clip = Clip(row_id, lambda: self._store.get((id(self), number), prepare, again))
        members = annotator.members[first:last]
        jobs = annotator.jobs_about(utterance, members, clip, self._digests[number].hex(), self._sends)
        for place, job in enumerate(jobs, first):
            self.keys.add(number, place, bytes.fromhex(job.key))
        return jobs

    def _digest(self, utterance: Utterance) -> str | None:
        try:
            return audio_hash(utterance.audio)
        except AudioError as error:
            self._report.skipped[utterance.row_id] = str(error)
            return None
